"""How a stage runs: a pure function from a batch of few columns to new columns, over a dataset of many."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import datasets
import pyarrow as pa

from dime_hf import columns
from dime_hf.errors import ColumnError

Batch = Mapping[str, Sequence[Any]]


def add_columns(dataset: datasets.Dataset, function: Callable[..., Any], **how: Any) -> datasets.Dataset:
    """Map columns to new ones, and put these beside the others or in place; `how` are arguments of `new_columns`.

    The same as `dataset.map(function, batched=True, features=...)`, but the columns that `function` does not read
    (audio, every single vote) are neither decoded nor written again.
    """
    return beside(dataset, new_columns(dataset, function, **how))


def new_columns(
    dataset: datasets.Dataset,
    function: Callable[..., Mapping[str, Sequence[Any]]],
    *,
    reads: Sequence[str],
    writes: Mapping[str, Any],
    batch_format: str | None = None,
    **map_arguments: Any,
) -> datasets.Dataset:
    """Map the columns `reads` to a dataset of the columns `writes` (name to feature) alone.

    With `batch_format="arrow"`, `function` takes and returns an Arrow table. `map_arguments` go to `map`.
    """
    columns.require(dataset, *reads)
    if not isinstance(dataset, datasets.Dataset):
        raise ColumnError(f"`dataset` is a stream ({type(dataset).__name__}): load it without `streaming=True`")
    features = datasets.Features(dict(writes))
    if not len(dataset):
        return _empty(dataset, features)
    given = dataset.select_columns(list(reads)).with_format(batch_format)
    made = given.map(function, batched=True, remove_columns=list(reads), features=features, **map_arguments)
    return made.with_format(None)


def beside(dataset: datasets.Dataset, made: datasets.Dataset) -> datasets.Dataset:
    """Put the columns of `made` beside those of `dataset`, row by row; a column of the same name is replaced."""
    if not len(dataset):
        return _empty(dataset, datasets.Features({**dataset.features, **made.features}))
    kept = dataset.remove_columns([name for name in made.column_names if name in dataset.column_names])
    joined = datasets.concatenate_datasets([kept, made], axis=1, split=dataset.split)
    return joined.select_columns(list(dict.fromkeys([*dataset.column_names, *made.column_names])))


def _empty(dataset: datasets.Dataset, features: datasets.Features) -> datasets.Dataset:
    """No rows, but all columns: `map` and `concatenate_datasets` leave an empty dataset as it is."""
    info = dataset.info.copy()
    info.features = features
    return datasets.Dataset.from_dict(
        {name: [] for name in features}, features=features, info=info, split=dataset.split
    )


def undecoded(dataset: datasets.Dataset) -> datasets.Dataset:
    """Leave recordings as files: `audio.read` decodes those that are needed, with or without torchcodec."""
    feature = dataset.features[columns.AUDIO]
    if not isinstance(feature, datasets.Audio) or not feature.decode:
        return dataset
    return dataset.cast_column(columns.AUDIO, dataclasses.replace(feature, decode=False))


def read_column(dataset: datasets.Dataset, column: str) -> pa.Array:
    """Return a column as it is stored."""
    return dataset.select_columns([column]).with_format("arrow")[:][column].combine_chunks()
