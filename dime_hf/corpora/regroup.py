"""Splits that share nothing: what hangs together stays together."""

from __future__ import annotations

import bisect
import itertools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from dime_hf import columns
from dime_hf.columns import ID, SPEAKER
from dime_hf.corpora.keys import KINDS, Keys, as_tuple, read_keys
from dime_hf.corpora.splits import Corpus, LeakageWarning, as_one, members_of_fold, select
from dime_hf.errors import CorpusError

SIZES = {"train": 0.6, "validation": 0.2, "test": 0.2}


def regroup(
    dataset: Corpus,
    *,
    by: str | Sequence[str] = KINDS,
    sizes: Mapping[str, float] | None = None,
    fold: int | None = None,
    folds: int = 5,
    seed: int = 0,
) -> datasets.DatasetDict:
    """Return splits that share nothing of the kinds `by`: utterances that do, through any others, stay together.

    `sizes` are shares by split (60, 20 and 20 % unless given), or `fold` is one of `folds` blocks of equal size, which
    tests while the next one validates. Groups go to splits largest first, to one with room for them that `seed`
    draws; the same for any order of rows. Warns with `LeakageWarning` of unknown speakers. Raises `CorpusError` when a
    split would get less than half of its share, since too much hangs together: IEMOCAP's lines join its sessions.
    """
    dataset, by = as_one(dataset), as_tuple(by)
    columns.require(dataset, ID, *by)
    shares = _shares(sizes, fold, folds)
    ids, keys = read_keys([dataset], by)
    component = _components(list(keys.values()), len(dataset))
    block_of = _assign(component, ids, np.array(list(shares.values())), np.random.default_rng(seed))
    _check_filled(block_of, shares, component, keys)
    if SPEAKER in by and (unknown := int((keys[SPEAKER].codes < 0).sum())):
        warnings.warn(
            f"{unknown:,} of {len(dataset):,} utterances are of unknown speakers: may be anyone",
            LeakageWarning,
            stacklevel=2,
        )
    if fold is not None:
        return select(dataset, members_of_fold(block_of, list(shares), fold, folds))
    return select(dataset, {name: block_of == block for block, name in enumerate(shares)})


def _shares(sizes: Mapping[str, float] | None, fold: int | None, folds: int) -> dict[str, float]:
    """The share of every split, or of every block of the folds."""
    if fold is not None:
        if sizes is not None:
            raise CorpusError("`sizes` and `fold` cannot both be given: blocks of folds have equal sizes")
        members_of_fold(np.arange(folds), list(map(str, range(folds))), fold, folds)
        return {f"block {number}": 1 / folds for number in range(1, folds + 1)}
    shares = dict(SIZES if sizes is None else sizes)
    if not all(share > 0 for share in shares.values()) or not np.isclose(sum(shares.values()), 1):
        raise CorpusError(f"`sizes` must be positive shares that add up to 1, not {shares}")
    return shares


def _components(keys: Sequence[Keys], size: int) -> NDArray[np.intp]:
    """The number of every row's group, where rows that share a value are in one, and so on."""
    offsets = np.cumsum([size, *(len(each.values) for each in keys)])
    rows = [np.flatnonzero(each.codes >= 0) for each in keys]
    values = [each.codes[own] + offset for each, own, offset in zip(keys, rows, offsets[:-1], strict=True)]
    ends = (np.concatenate([*rows, []]).astype(int), np.concatenate([*values, []]).astype(int))
    graph = coo_matrix((np.ones(len(ends[0]), bool), ends), shape=(offsets[-1], offsets[-1]))
    return connected_components(graph, directed=False)[1][:size].astype(np.intp)


def _assign(
    component: NDArray[np.intp], ids: NDArray[Any], shares: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.intp]:
    """The block of every row. Components are handed out largest first, those of one size as `rng` shuffles them."""
    _, first = np.unique(component[np.argsort(ids)], return_index=True)
    shuffled = rng.permutation(np.argsort(first))  # of an order that does not depend on the rows'
    sizes = np.bincount(component, minlength=1)
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    block_of = np.empty(len(order), np.intp)
    block_of[order] = _fill(sizes[order].tolist(), (shares * len(component)).tolist(), rng.random(len(order)).tolist())
    return block_of[component]


def _fill(sizes: list[int], room: list[float], draws: list[float]) -> list[int]:
    """The block of every component: drawn in proportion to the room in those where it fits, else where most is left.

    The last components go where there are none yet.
    """
    room, blocks = list(room), []
    empty = set(range(len(room)))
    for position, (size, draw) in enumerate(zip(sizes, draws, strict=True)):
        allowed = sorted(empty) if len(sizes) - position <= len(empty) else range(len(room))
        fitting = [block for block in allowed if room[block] >= size]
        rooms = list(itertools.accumulate(room[block] for block in fitting))
        block = fitting[bisect.bisect_left(rooms, draw * rooms[-1])] if fitting else max(allowed, key=room.__getitem__)
        blocks.append(block)
        room[block] -= size
        empty.discard(block)
    return blocks


def _check_filled(
    block_of: NDArray[np.intp], shares: Mapping[str, float], component: NDArray[np.intp], keys: Mapping[str, Keys]
) -> None:
    """Raise `CorpusError` when a split gets less than half of its share, and say what hangs together."""
    total, filled = len(component), np.bincount(block_of, minlength=len(shares))
    for (split, share), size in zip(shares.items(), filled.tolist(), strict=True):
        if size == 0 or size < share * total / 2:
            without = {
                kind: _largest(_components([each for other, each in keys.items() if other != kind], total))
                for kind in keys
            }
            advice = ", ".join(f"without {kind!r} {largest:,}" for kind, largest in without.items())
            raise CorpusError(
                f"`by`: {_largest(component):,} of {total:,} utterances hang together, so that {split!r} would get "
                f"{size:,} where about {share * total:,.0f} are wanted. Still together would be: {advice}"
            )


def _largest(component: NDArray[np.intp]) -> int:
    return int(np.bincount(component, minlength=1).max())
