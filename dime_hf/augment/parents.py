"""The utterances that a balanced plan may draw on, and which of them make pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import datasets
import numpy as np
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from dime_hf import columns
from dime_hf.augment.features import neighbour_features
from dime_hf.augment.neighbours import NOBODY, find_neighbours
from dime_hf.columns import DURATION, ID, SOFT_LABEL, SPEAKER
from dime_hf.distribution import Array, as_distributions
from dime_hf.errors import ColumnError
from dime_hf.stage import read_column

if TYPE_CHECKING:
    from dime_hf.augment.recipe import DimeAug

Places = NDArray[np.int64]
UNKNOWN = -1
PERTURB, CONCATENATE = "perturb", "concatenate"
FEATURES = "features"  # partners near by the 82 statistics


@dataclasses.dataclass(frozen=True)
class Codes:
    """A column (N,) as places in the sorted `names` of its values; -1 for null."""

    of: Places
    names: tuple[str, ...] = ()

    @classmethod
    def read(cls, train: datasets.Dataset, column: str) -> Codes:
        columns.require(train, column, argument="train")
        encoded = pc.dictionary_encode(read_column(train, column))
        names = [str(value) for value in encoded.dictionary.to_pylist()]
        places = encoded.indices.fill_null(UNKNOWN).to_numpy(zero_copy_only=False)
        order = sorted(range(len(names)), key=names.__getitem__)
        rank = np.append(np.argsort(order), UNKNOWN).astype(np.int64)
        return cls(rank[places], tuple(names[place] for place in order))

    def select(self, rows: Places) -> Codes:
        return Codes(self.of[rows], self.names)


@dataclasses.dataclass(frozen=True)
class Parents:
    """The utterances in the order of their ids, so that the order of the rows does not matter.

    match (N,): code of what partners must share, -1 where unknown. vectors (N, D): what partners are near by, or None.
    turn (N,): place in an order drawn by (seed, id), in which copies are dealt out. durations are in seconds.
    """

    ids: Sequence[str]
    labels: Array
    durations: Array
    speaker: Codes
    fold: Codes
    match: Places
    vectors: Array | None
    turn: Places

    @classmethod
    def read(cls, train: datasets.Dataset, settings: DimeAug, num_proc: int | None = None) -> Parents:
        """Read what `settings` need of a training set whose utterances all have a soft label."""
        ids = train[ID][:]
        if len(set(ids)) < len(ids):
            raise ColumnError("`train` has the same id twice: a plan names utterances by their ids")
        order = np.array(sorted(range(len(ids)), key=ids.__getitem__))
        pairing = any(name != PERTURB for name in settings.operations)
        unknown, speakers = Codes(np.full(len(ids), UNKNOWN)), SPEAKER in train.column_names
        labels = as_distributions(train.with_format("numpy")[SOFT_LABEL][:], SOFT_LABEL)
        return cls(
            ids=[ids[row] for row in order],
            labels=labels[order],
            durations=_durations(train, settings)[order],
            speaker=(Codes.read(train, SPEAKER) if speakers else unknown).select(order),
            fold=(Codes.read(train, settings.fold) if settings.fold else unknown).select(order),
            match=(_match(train, settings) if pairing else unknown.of)[order],
            vectors=_vectors(train, settings.near, num_proc)[order] if pairing and settings.near else None,
            turn=turns([ids[row] for row in order], settings.seed),
        )


def turns(ids: Sequence[str], seed: int) -> Places:
    """Place of every utterance in an order that (seed, id) gives."""
    keys = np.array([xxhash.xxh64_intdigest(id.encode(), seed) for id in ids], dtype=np.uint64)
    return np.argsort(np.argsort(keys, kind="stable"))


def _durations(train: datasets.Dataset, settings: DimeAug) -> Array:
    """Durations (N,); NaN where unknown."""
    if DURATION not in train.column_names and CONCATENATE not in settings.operations:
        return np.full(len(train), np.nan)
    columns.require(train, DURATION, argument="train")
    return read_column(train, DURATION).to_numpy(zero_copy_only=False).astype(np.float64)


def _match(train: datasets.Dataset, settings: DimeAug) -> Places:
    """Code of what partners must share: the columns `match`, and the fold; -1 where any of it is unknown."""
    code, unknown = np.zeros(len(train), np.int64), np.zeros(len(train), dtype=bool)
    for name in (*settings.match, *([settings.fold] if settings.fold else [])):
        own = Codes.read(train, name).of
        unknown |= own == UNKNOWN
        code = np.unique(code * (own.max(initial=0) + 2) + own + 1, return_inverse=True)[1]
    if CONCATENATE in settings.operations:  # its weights are the durations
        unknown |= ~(_durations(train, settings) > 0)
    return np.where(unknown, UNKNOWN, code)


def _vectors(train: datasets.Dataset, near: str, num_proc: int | None) -> Array:
    if near == FEATURES:
        return neighbour_features(train, num_proc)
    columns.require(train, near, argument="train")
    return np.asarray(train.with_format("numpy")[near][:], dtype=np.float64)


def partners(parents: Parents, count: int) -> Places:
    """Pairs (P, 2) of utterances that share what must match, each with up to `count` partners, no pair twice.

    Partners are the nearest by `parents.vectors`; without them, those that come next in the order of `parents.turn`.
    """
    known = np.flatnonzero(parents.match != UNKNOWN)
    order = known[np.lexsort((parents.turn[known], parents.match[known]))]
    code = parents.match[order]
    starts = np.flatnonzero(np.r_[True, code[1:] != code[:-1]]) if len(code) else np.zeros(0, np.int64)
    sizes = np.diff(np.append(starts, len(code)))
    pairs = _next_in_turn(order, starts, sizes, count) if parents.vectors is None else _nearest(parents, count)
    return pairs[np.sort(np.unique(np.sort(pairs, axis=1), axis=0, return_index=True)[1])]


def _next_in_turn(order: Places, starts: Places, sizes: Places, count: int) -> Places:
    start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    place = np.arange(len(order)) - start
    parts = [
        np.stack([order, order[start + (place + step) % size]], axis=1)[size > step] for step in range(1, count + 1)
    ]
    return np.concatenate([np.zeros((0, 2), np.int64), *parts])


def _nearest(parents: Parents, count: int) -> Places:
    """Pairs (P, 2) of each utterance and its nearest others."""
    within = [None if code == UNKNOWN else code for code in parents.match.tolist()]
    found, _ = find_neighbours(parents.vectors, count, within=within, ids=parents.ids)  # type: ignore[arg-type]
    first = np.repeat(np.arange(len(found)), found.shape[1])
    pairs = np.stack([first, found.ravel()], axis=1)
    return pairs[pairs[:, 1] != NOBODY]
