"""How a stage runs: a pure function from a batch of few columns to new columns, over a dataset of many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import datasets

from dime_hf import columns

Batch = Mapping[str, Sequence[Any]]


def add_columns(
    dataset: datasets.Dataset,
    function: Callable[..., Mapping[str, Sequence[Any]]],
    *,
    reads: Sequence[str],
    writes: Mapping[str, Any],
    **map_arguments: Any,
) -> datasets.Dataset:
    """Map the columns `reads` to the columns `writes` (name to feature), and put these beside the others or in place.

    The same as `dataset.map(function, batched=True, features=...)`, but the columns that `function` does not read
    (audio, every single vote) are neither decoded nor written again. `map_arguments` go to `map`.
    """
    return beside(dataset, new_columns(dataset, function, reads=reads, writes=writes, **map_arguments))


def new_columns(
    dataset: datasets.Dataset,
    function: Callable[..., Mapping[str, Sequence[Any]]],
    *,
    reads: Sequence[str],
    writes: Mapping[str, Any],
    **map_arguments: Any,
) -> datasets.Dataset:
    """Return the dataset of the columns `writes` alone."""
    columns.require(dataset, *reads)
    given = dataset.select_columns(list(reads))
    features = datasets.Features(dict(writes))
    return given.map(function, batched=True, remove_columns=list(reads), features=features, **map_arguments)


def beside(dataset: datasets.Dataset, made: datasets.Dataset) -> datasets.Dataset:
    """Put the columns of `made` beside those of `dataset`, row by row; a column of the same name is replaced."""
    kept = dataset.remove_columns([name for name in made.column_names if name in dataset.column_names])
    joined = datasets.concatenate_datasets([kept, made], axis=1)
    return joined.select_columns(list(dict.fromkeys([*dataset.column_names, *made.column_names])))
