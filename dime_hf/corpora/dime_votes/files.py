"""Tables that a user brings: CSV, TSV, Parquet or JSONL, as Arrow columns that know where each value was written."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dime_hf import columns
from dime_hf.corpora.folder import read_text
from dime_hf.errors import CorpusError, LabelFileError, did_you_mean

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*DELIMITERS, ".parquet", ".jsonl")
INDEXES = {"Unnamed: 0", "__index_level_0__"}  # row numbers that pandas saves; or the first column, without a name
SEPARATOR = ";"  # between the choices of one vote
HALF = re.compile(r"\\u[dD][89a-fA-F]")  # an escape of JSON; two of them make a character
A_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"


@dataclasses.dataclass(frozen=True)
class Sheet:
    """One file as a table; its columns have the names of this package where `names` says what the file calls them."""

    path: str
    table: pa.Table

    @classmethod
    def read(cls, path: str, names: Mapping[str, str | None], texts: Collection[str]) -> Sheet:
        """Read a file; the columns `texts` are never taken for numbers."""
        suffix = os.path.splitext(path)[1].lower()
        if suffix not in SUFFIXES:
            raise CorpusError(f"{path}: the file must end with one of {', '.join(SUFFIXES)}")
        written = {names.get(name) or name for name in texts}
        if suffix in DELIMITERS:
            table = _read_delimited(path, DELIMITERS[suffix], written)
        elif suffix == ".jsonl":
            table = _read_jsonl(path, written)
        else:
            table = _read_parquet(path)
        return cls(path, _renamed(table, names))

    @property
    def names(self) -> list[str]:
        return list(self.table.column_names)

    def require(self, *names: str) -> None:
        """Raise `CorpusError` unless the file has all columns `names`."""
        for name in names:
            if name not in self.names:
                hint = did_you_mean(name, self.names)
                raise CorpusError(f"{self.path}: has no column {name!r} (see `column_names`).{hint}")

    def refuse(self, row: int, value: Any, expected: str) -> NoReturn:
        """Raise `LabelFileError` for a value of a row."""
        raise LabelFileError(self.path, line_of(self.path, row), "" if value is None else str(value), expected)

    def texts(self, name: str) -> pa.Array:
        """A column as strings, null where empty; lists of labels are joined by `SEPARATOR`."""
        column = self._column(name)
        try:
            if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
                column = pa.array(map(_json_text, column.to_pylist()), type=pa.string())
            text = column.cast(pa.string())
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            raise CorpusError(f"{self.path}: the column {name!r} is {column.type}, where text is needed") from error
        return pc.if_else(pc.equal(text, ""), None, text)

    def required_texts(self, name: str, expected: str) -> pa.Array:
        """A column of strings where no cell may be empty."""
        column = self.texts(name)
        if column.null_count:
            self.refuse(first(column.is_null()), None, expected)
        return column

    def numbers(self, name: str, expected: str) -> pa.Array:
        """A column as float64, null where empty."""
        column = self._column(name)
        if pa.types.is_string(column.type):
            column = self.texts(name)
            wrong = pc.invert(pc.fill_null(pc.match_substring_regex(column, A_NUMBER), True))
            if pc.any(wrong).as_py():
                self.refuse(first(wrong), column[first(wrong)].as_py(), f"{expected} in the column {name!r}")
            column = pc.utf8_trim_whitespace(column)
        try:
            number = column.cast(pa.float64())
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            raise CorpusError(f"{self.path}: the column {name!r} is {column.type}, not numbers") from error
        return pc.if_else(pc.is_nan(number), None, number)

    def values(self, name: str) -> pa.Array:
        """A column of its own type; text is null where empty."""
        column = self._column(name)
        return self.texts(name) if pa.types.is_string(column.type) or pa.types.is_null(column.type) else column

    def numeric(self, name: str) -> bool:
        """Whether a column holds numbers."""
        type = self.table.schema.field(name).type
        return pa.types.is_integer(type) or pa.types.is_floating(type) or pa.types.is_decimal(type)

    def _column(self, name: str) -> pa.Array:
        column = self.table[name].combine_chunks()
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        large = pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type)
        return column.cast(pa.string()) if large else column


def first(mask: pa.BooleanArray) -> int:
    """Place of the first true value."""
    return int(pc.index(mask, True).as_py())


def line_of(path: str, row: int) -> int:
    """Line of a file on which a row starts, or the number of the row, from 1, in a format without lines."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix == ".parquet":
        return row + 1
    text, header = read_text(path), int(suffix != ".jsonl")
    if not header or '"' not in text:
        lines = enumerate(text.split("\n"), start=1)
        return [number for number, line in lines if (line if header else line.strip())][row + header]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=DELIMITERS[suffix])
    starts, last = [], 0
    for cells in reader:
        starts += [last + 1] if cells else []
        last = reader.line_num
    return starts[row + header]


def _renamed(table: pa.Table, names: Mapping[str, str | None]) -> pa.Table:
    """The table under our names, without indexes; a name that is given to another column means that one alone."""
    ours = {written: name for name, written in names.items() if written in table.column_names}
    unnamed = {name for name in table.column_names[:1] if not name}
    hidden = INDEXES | unnamed | {name for name in names if name != columns.ID or columns.ID in ours.values()}
    kept = [name for name in table.column_names if name in ours or name not in hidden]
    return table.select(kept).rename_columns([ours.get(name, name) for name in kept])


def _read_delimited(path: str, delimiter: str, texts: Iterable[str]) -> pa.Table:
    content = read_text(path)
    if '"' in content:
        _check_quotes(path, content, delimiter)
    invalid: list[Any] = []

    def skip(row: Any) -> str:
        invalid.append(row)
        return "skip"

    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(content.encode()),
            read_options=arrow_csv.ReadOptions(use_threads=False),  # else rows have no numbers
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip
            ),
            convert_options=arrow_csv.ConvertOptions(column_types=dict.fromkeys(texts, pa.string())),
        )
    except pa.ArrowInvalid as error:
        raise CorpusError(f"{path}: {error}") from error
    if invalid:
        row = invalid[0]
        line = line_of(path, row.number - 2)
        raise LabelFileError(path, line, row.text, f"{row.expected_columns} cells, as the header has")
    repeated = [name for name in table.column_names if table.column_names.count(name) > 1]
    if repeated:
        raise LabelFileError(path, 1, ", ".join(table.column_names), f"one column {repeated[0]!r}")
    return table


def _check_quotes(path: str, content: str, delimiter: str) -> None:
    """Raise `LabelFileError` for a quote that is never closed: all lines up to the next quote would be one cell."""
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    good = 0
    try:
        for _ in reader:
            good = reader.line_num
    except csv.Error as error:
        line = content.split("\n")[good]
        raise LabelFileError(path, good + 1, line, f"cells whose quotes are closed ({error})") from error


def _read_jsonl(path: str, texts: Collection[str]) -> pa.Table:
    rows = _json_rows(path, read_text(path).split("\n"))
    made = {}
    for name in dict.fromkeys(itertools.chain.from_iterable(rows)):
        values = [row.get(name) for row in rows]
        try:
            made[name] = _json_texts(values) if name in texts else pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise CorpusError(f"{path}: the column {name!r} has values of different types: {error}") from error
        except OverflowError as error:
            raise CorpusError(f"{path}: the column {name!r} has a number of too many digits") from error
    return pa.table(made)


def _json_rows(path: str, lines: Sequence[str]) -> list[dict[str, Any]]:
    """The object on every line that is not blank."""
    written = [line for line in lines if line.strip()]
    try:  # at once: five times faster than line by line
        rows = json.loads(f"[{','.join(written)}]", object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        rows = []
    if len(rows) != len(written) or not all(isinstance(row, dict) for row in rows):
        _refuse_json(path, lines)
    for number, line in enumerate(lines, start=1):
        if HALF.search(line) and not _is_text(json.loads(line)):
            raise LabelFileError(path, number, line, "text, not half of a character")
    return rows


def _refuse_json(path: str, lines: Sequence[str]) -> NoReturn:
    """Raise `LabelFileError` for the first line that is no object."""
    wrong = next(n for n, line in enumerate(lines) if line.strip() and not _is_object(line, _distinct))
    once = ", with every name once" if _is_object(lines[wrong], dict) else ""
    raise LabelFileError(path, wrong + 1, lines[wrong], f"a JSON object{once}")


def _is_object(line: str, make: Callable[[list[tuple[str, Any]]], dict[str, Any]]) -> bool:
    try:
        return isinstance(json.loads(line, object_pairs_hook=make), dict)
    except (ValueError, RecursionError):
        return False


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; `ValueError` where a name comes twice, as where two lines have become one."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(pairs)
    return values


def _is_text(value: Any) -> bool:
    """Whether all that a value of JSON says is text: an escape may spell half of a surrogate pair."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _json_texts(values: Sequence[Any]) -> pa.Array:
    """Strings as they are, lists of labels joined, and numbers as they are written."""
    try:
        return pa.array(values, type=pa.string())
    except pa.ArrowTypeError:
        return pa.array([_json_text(value) for value in values], type=pa.string())


def _json_text(value: Any) -> str | None:
    if isinstance(value, list):
        return SEPARATOR.join(str(label) for label in value if label is not None)
    return value if value is None else str(value)


def _read_parquet(path: str) -> pa.Table:
    try:
        return pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise CorpusError(f"{path}: cannot be read as Parquet: {error}") from error


def codes(column: pa.Array) -> tuple[NDArray[np.int64], pa.Array]:
    """Place (V,) of every value among the different values, and these; null is one of them."""
    encoded = pc.dictionary_encode(column, null_encoding="encode")
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary


def choices(text: str) -> list[str]:
    """Labels that a cell names.

    >>> choices("Sad; Angry;")
    ['Sad', 'Angry']
    """
    return [choice.strip() for choice in text.split(SEPARATOR) if choice.strip()]
