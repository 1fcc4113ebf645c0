"""Answer stores as Parquet: a folder of three files, `answers`, `failures` and `proxies`, for any reader of tables."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from dime_hf.annotate import schema
from dime_hf.annotate.store import AnswerStore
from dime_hf.errors import StoreError

ORDER = {"answers": "key, part", "failures": "rowid", "proxies": "proxy, field, value"}  # that in which they are kept
BATCH = 10_000


class Copied(NamedTuple):
    """Rows that were copied."""

    answers: int
    failures: int
    proxies: int


def store_to_parquet(store: AnswerStore | str | os.PathLike[str], folder: str | os.PathLike[str]) -> Copied:
    """Write everything that an answer store holds to Parquet files in `folder`, and return how many rows.

    The files appear when all are whole; older ones of the same names are replaced. Raises `StoreError`.
    """
    if not isinstance(store, AnswerStore):
        if not Path(store).is_file():
            raise StoreError(f"`store`: there is no answer store {os.fspath(store)}")
        with AnswerStore(Path(store)) as opened:
            return store_to_parquet(opened, folder)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = {table: store.export(table, _file(folder, table, ".unfinished"), ORDER[table]) for table in ORDER}
    for table in ORDER:
        _file(folder, table, ".unfinished").replace(_file(folder, table))
    return Copied(**written)


def store_from_parquet(folder: str | os.PathLike[str], path: str | os.PathLike[str]) -> Copied:
    """Make an answer store at `path`, which must not exist yet, of the files that `store_to_parquet` wrote.

    Annotation goes on from it as from the first store; to add it to another one, see `AnswerStore.merge`. The store
    appears when it is whole. Raises `StoreError` with the file for what is not such a table.
    """
    folder, path = Path(folder), Path(path)
    if path.exists():
        raise StoreError(f"`path`: {path} exists already; name a file that does not")
    files = {table: _open(_file(folder, table), schema.PARQUET[table]) for table in ORDER}
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    try:
        with AnswerStore(unfinished, write_ahead=False) as store:
            for table, file in files.items():
                names = schema.PARQUET[table].names
                columns = ", ".join(f'"{name}"' for name in names)
                marks = ", ".join("?" * len(names))
                store.write(f"INSERT INTO {table} ({columns}) VALUES ({marks})", _rows(_file(folder, table), file))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
        for file in files.values():
            file.close()
    return Copied(*(file.metadata.num_rows for file in files.values()))


def _file(folder: Path, table: str, suffix: str = "") -> Path:
    return folder / f"{table}.parquet{suffix}"


def _open(path: Path, expected: pa.Schema) -> pq.ParquetFile:
    """A Parquet file; raise `StoreError` unless it has the columns of its table."""
    if not path.is_file():
        raise StoreError(f"{path}: there is no such file; `store_to_parquet` writes three: {', '.join(ORDER)}")
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreError(f"{path}: cannot be read as Parquet: {error}") from error
    if not file.schema_arrow.equals(expected):
        file.close()
        raise StoreError(f"{path}: must have the columns {expected.names} as `store_to_parquet` writes them")
    return file


def _rows(path: Path, file: pq.ParquetFile) -> Iterator[tuple[Any, ...]]:
    """Rows as the store keeps them: lists as JSON."""
    try:
        for batch in file.iter_batches(BATCH):
            values = [column.to_pylist() for column in batch.columns]
            for place, field in enumerate(batch.schema):
                if pa.types.is_list(field.type):
                    values[place] = [json.dumps(cell) for cell in values[place]]
            yield from zip(*values, strict=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreError(f"{path}: cannot be read as Parquet: {error}") from error
