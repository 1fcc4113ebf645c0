"""Poolers by name, and pooling a dataset."""

from __future__ import annotations

import dataclasses
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from dime_hf import columns
from dime_hf.columns import ANSWERS, ID, VOTE_COUNTS
from dime_hf.errors import ColumnError, FitError, did_you_mean
from dime_hf.pool.calibrated import CalibratedPooler
from dime_hf.pool.crowd import METHODS
from dime_hf.pool.fitted import FittedPooler, PriorPooler
from dime_hf.pool.panel import as_batch
from dime_hf.pool.poolers import (
    DebiasedPooler,
    EqualPooler,
    HumanPooler,
    LinearPooler,
    Pooler,
    SyntheticPooler,
)
from dime_hf.stage import beside, new_columns

POOLERS: dict[str, type[Pooler]] = {
    pooler.name: pooler
    for pooler in (
        HumanPooler,
        SyntheticPooler,
        EqualPooler,
        LinearPooler,
        PriorPooler,
        FittedPooler,
        CalibratedPooler,
        DebiasedPooler,
    )
}


def get_pooler(name: str) -> Pooler:
    """Return the pooler called `name`, not fitted yet."""
    if name in METHODS:
        raise FitError(
            f"`name` {name!r} judges all votes at once, unlike a pooler: call `consensus(dataset, {name!r})`"
        )
    if name not in POOLERS:
        raise FitError(f"`name` is {name!r}, no pooling method.{did_you_mean(name, POOLERS)}")
    return POOLERS[name]()


def pool(dataset: datasets.Dataset, pooler: Pooler) -> datasets.Dataset:
    """Replace the soft labels of `dataset` by those of a (fitted) pooler; adds their intervals and entropy in bits."""
    return beside(dataset, _labels(dataset, pooler))


def cross_pool(dataset: datasets.Dataset, pooler: Pooler, folds: int = 5) -> datasets.Dataset:
    """Pool every utterance with a pooler fitted on the other speakers' utterances; rows keep their order.

    Speakers go to `folds` folds in turn, in sorted order. For labels to be scored when there is no training split.
    """
    columns.require(dataset, ID, VOTE_COUNTS)
    names = [name for name in (*pooler.reads, columns.HARD_LABEL, columns.PARENTS) if name in dataset.column_names]
    votes = dataset.select_columns(names)
    groups = columns.groups(votes[:])
    fold_of = {group: index % folds for index, group in enumerate(sorted(set(groups)))}
    if len(fold_of) < 2:
        raise FitError(
            f"`dataset` has no two groups of utterances but {groups[:1]}: there is no other speaker to fit on"
        )
    member = np.array([fold_of[group] for group in groups])
    inside = [np.flatnonzero(member == fold) for fold in range(folds)]
    parts = [
        _labels(votes.select(rows), pooler.fit(votes.select(np.flatnonzero(member != fold))))
        for fold, rows in enumerate(inside)
        if rows.size
    ]
    order = np.argsort(np.concatenate(inside))
    return beside(dataset, datasets.concatenate_datasets(parts).select(order))


def _labels(dataset: datasets.Dataset, pooler: Pooler) -> datasets.Dataset:
    """The soft-label columns alone."""
    columns.require(dataset, ID, VOTE_COUNTS, *([ANSWERS] if pooler.reads_answers else []))
    if columns.PARENTS in dataset.column_names and any(dataset[columns.PARENTS]):
        raise ColumnError(
            "`dataset` has mixes of DiME-Aug, whose soft labels are no votes to pool: pool first, then augment"
        )
    return new_columns(
        dataset,
        _PoolTable(pooler),
        reads=[name for name in pooler.reads if name in dataset.column_names],
        writes=columns.pooled_features(columns.classes(dataset)),
        batch_format="arrow",
        desc=f"Pooling ({pooler.name})",
    )


@dataclasses.dataclass(frozen=True)
class _PoolTable:
    """The map of `pool`: a pooler on batches as they are stored."""

    pooler: Pooler

    def __call__(self, table: pa.Table) -> dict[str, Any]:
        return self.pooler(as_batch(table))
