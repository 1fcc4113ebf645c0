"""Votes held out one at a time: how likely each is given k others and the prior, and what systems said of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from dime_hf.distribution import Array


@dataclasses.dataclass(frozen=True)
class Judges:
    """Utterances that judge: counts (N, C), group (N,) by number, prior votes by fold (F, C), fold (N,), systems."""

    counts: Array
    group: NDArray[np.int64]
    alphas: Array
    member: NDArray[np.int64]
    systems: dict[str, Array]  # soft labels (N, C)

    def select(self, chosen: NDArray[np.bool_]) -> Judges:
        systems = {name: q[chosen] for name, q in self.systems.items()}
        return Judges(self.counts[chosen], self.group[chosen], self.alphas, self.member[chosen], systems)

    def against_rest(self, place: int) -> Judges:
        """The same of two classes: the one at `place`, and the others together."""
        two = lambda values: np.stack([values[..., place], np.delete(values, place, -1).sum(-1)], -1)  # noqa: E731
        systems = {name: two(q) for name, q in self.systems.items()}
        return dataclasses.replace(self, counts=two(self.counts), alphas=two(self.alphas), systems=systems)


@dataclasses.dataclass(frozen=True)
class Cells:
    """Held-out votes: the row and column (M,) of each cell, its weight, and log-likelihoods (M, K + 1 + systems)."""

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    weight: Array
    values: Array

    @classmethod
    def of(cls, rows: Judges, end: int) -> Cells:
        row, column = np.nonzero(rows.counts)
        own, total = rows.counts[row, column].astype(int), rows.counts.sum(-1)[row].astype(int)
        size, classes = total.max() + 1, rows.counts.shape[1]
        alike = ((rows.member[row] * classes + column) * size + own) * size + total
        codes, place = np.unique(alike, return_inverse=True)
        prior, (mine, votes) = codes // size**2, np.divmod(codes % size**2, size)
        strength = rows.alphas.sum(-1)[prior // classes]
        curve = human_curve(mine - 1, votes - 1, rows.alphas.ravel()[prior], strength, end)
        logs = [np.log(q[row, column]) for q in rows.systems.values()]
        return cls(row, column, own / total, np.column_stack([curve[place], *logs]))


def human_curve(same: Array, others: Array, alpha: Array, strength: Array, end: int) -> Array:
    """E log((h + alpha) / (k + strength)) for k = 0 ... `end`, (M, end + 1).

    h is how many of k votes, drawn from `others` (M,) without replacement, are among `same` (M,) of them.
    """
    hits = np.arange(min(end, int(same.max(initial=0))) + 1)
    logs = np.log(hits + alpha[:, None])
    curve = np.zeros((len(same), end + 1))
    for k in range(end + 1):
        chances = scipy.stats.hypergeom.pmf(hits, others[:, None], same[:, None], k)
        curve[:, k] = (chances * logs).sum(-1) - np.log(k + strength)
    return curve
