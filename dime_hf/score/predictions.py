"""Predictions that somebody else made: a file with an `id` and a column for each class."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from dime_hf import columns
from dime_hf.columns import ID
from dime_hf.distribution import Array, as_distributions
from dime_hf.errors import ColumnError, DistributionError, did_you_mean


def read_predictions(path: str | os.PathLike[str], dataset: Any) -> Array:
    """Return the predictions (N, C) that a .csv or .parquet file has for the rows of `dataset`, in their order.

    The file has the columns `id` and one for each class of the dataset, in any order; further ids are passed over.
    Raises `ColumnError` for a class without a column or a column without a class, `DistributionError` for an id that
    is missing or there twice, and for a row that is not a distribution.
    """
    columns.require(dataset, ID)
    classes = columns.classes(dataset)
    table = _read(Path(path))
    _check_columns(path, table, classes)
    place = _places(path, table[ID].to_pylist())
    wanted = dataset[ID][:]
    missing = [id for id in wanted if id not in place]
    if missing:
        raise DistributionError(
            f"{path} has no prediction for {missing[0]!r} ({len(missing)} of {len(wanted)} rows are missing): predict "
            "every row, or score `dataset.filter(...)` of those that are there"
        )
    table = table.take(pa.array([place[id] for id in wanted], pa.int64()))
    by_class = [_numbers(path, name, table[name]) for name in classes]
    return as_distributions(np.stack(by_class, axis=-1), f"{path}, by row of `dataset`,")


def _read(path: Path) -> pa.Table:
    if path.suffix == ".csv":
        options = pa.csv.ConvertOptions(column_types={ID: pa.string()})
        return pa.csv.read_csv(path, convert_options=options)
    if path.suffix == ".parquet":
        return pa.parquet.read_table(path)
    raise ColumnError(f"`path` must be a .csv or .parquet file, not {path}")


def _check_columns(path: str | os.PathLike[str], table: pa.Table, classes: tuple[str, ...]) -> None:
    expected, found = (ID, *classes), table.column_names
    for name in expected:
        if found.count(name) != 1:
            raise ColumnError(f"{path} has {found.count(name)} columns {name!r}, not 1.{did_you_mean(name, found)}")
    for name in found:
        if name not in expected:
            raise ColumnError(
                f"{path} has the column {name!r}, which is no class of `dataset`.{did_you_mean(name, expected)}"
            )


def _places(path: str | os.PathLike[str], ids: list[Any]) -> dict[str, int]:
    """Row of every id in the file."""
    names = [str(id) for id in ids]
    place = {id: row for row, id in enumerate(names)}
    if len(place) < len(names):
        id, times = Counter(names).most_common(1)[0]
        raise DistributionError(f"{path} has {times} rows of {id!r}: there must be one prediction an utterance")
    return place


def _numbers(path: str | os.PathLike[str], name: str, column: pa.ChunkedArray) -> Array:
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise DistributionError(f"{path}: the column {name!r} must hold probabilities; it holds {column.type}")
    return column.to_numpy().astype(np.float64)
