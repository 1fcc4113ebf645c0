"""Poolers fitted on other speakers, and what they say of an utterance before any human has voted on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dime_hf.distribution import Array, as_counts
from dime_hf.errors import DistributionError, FitError
from dime_hf.pool import PriorPooler
from dime_hf.pool.panel import Panel, Training

FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Folds:
    """The fold (N,) of every utterance of a panel, whole groups (N,) together, dealt out in turn in sorted order."""

    panel: Panel
    groups: NDArray[Any]
    member: NDArray[np.int64]

    @classmethod
    def read(cls, panel: Panel, groups: Sequence[str] | NDArray[Any], folds: int = FOLDS) -> Folds:
        """Deal out groups; raises `FitError` for fewer than two groups or folds."""
        names = np.asarray(groups)
        if names.shape != (len(panel.human),):
            raise DistributionError(f"`groups` must name the group of each of the {len(panel.human)} utterances")
        if folds < 2:
            raise FitError(
                f"`folds` must be at least 2, not {folds}: what is fitted must not have seen what it judges"
            )
        found, index = np.unique(names, return_inverse=True)
        if len(found) < 2:
            raise FitError(
                f"`groups` has only {found.tolist()}: there is no other speaker to fit on; take two groups or more"
            )
        return cls(panel, names, index % folds)

    def fit(self, pooler: PriorPooler) -> list[PriorPooler]:
        """The pooler of each fold, fitted on the utterances of the other folds that have two votes or more."""
        enough = self.panel.human.sum(-1) >= 2
        return [self._fit_on(pooler, enough & (self.member != fold)) for fold in range(self.member.max() + 1)]

    def expect(self, poolers: Sequence[PriorPooler]) -> Array:
        """Soft labels (N, C) of the poolers of the folds, human votes set to zero: what the panel alone tells."""
        total = self.total_votes(poolers, np.zeros_like(self.panel.human))
        return total / total.sum(-1, keepdims=True)

    def total_votes(self, poolers: Sequence[PriorPooler], human: Array) -> Array:
        """Human votes (N, C), which may be others than the panel's, and what the poolers of the folds add to them."""
        panel, total = dataclasses.replace(self.panel, human=human), np.zeros_like(human)
        for fold, pooler in enumerate(poolers):
            rows = self.member == fold
            total[rows] = pooler.total_votes(panel.select(rows))
        return total

    def _fit_on(self, pooler: PriorPooler, rows: NDArray[np.bool_]) -> PriorPooler:
        groups = self.groups[rows]
        return pooler.fit_votes(Training(self.panel.select(rows), groups, tuple(np.unique(groups).tolist())))


def only(panel: Panel, place: int) -> Panel:
    """The panel of one of its proxies."""
    one = slice(place, place + 1)
    of_proxy = {name: getattr(panel, name)[:, one] for name in ("answers", "votes", "drawn")}
    return dataclasses.replace(panel, proxies=panel.proxies[one], **of_proxy)


def whole_votes(panel: Panel, why: str) -> Array:
    """Human vote counts (N, C); raise `DistributionError` where one is fractional, saying `why` that cannot be."""
    counts = as_counts(panel.human, "panel.human")
    if wrong := np.flatnonzero((counts % 1 != 0).any(-1)).tolist():
        raise DistributionError(
            f"`panel.human` must be whole votes, since {why}; row {wrong[0]} has {counts[wrong[0]].tolist()}: count "
            "the votes by a policy under which an annotator has one vote, of one class"
        )
    return counts


def ids_of(ids: Sequence[str], rows: NDArray[np.int64], size: int) -> list[str]:
    """The ids of some rows; raise `DistributionError` unless there is one for each of `size` utterances."""
    if len(ids) != size:
        raise DistributionError(f"`ids` must name each of the {size} utterances, not {len(ids)}")
    return [ids[row] for row in rows.tolist()]


def reserve(panel: Panel, names: Sequence[str]) -> None:
    """Raise `DistributionError` for a proxy whose name is that of another system."""
    if taken := set(panel.proxies).intersection(names):
        raise DistributionError(f"`panel` has a proxy called {min(taken)!r}, which names another system: rename it")
