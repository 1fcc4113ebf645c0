"""The Dirichlet-multinomial likelihood of votes, in nats and without its coefficient, and its slopes.

ln P(n | alpha) = sum_c [ln G(a_c + n_c) - ln G(a_c)] - [ln G(A + N) - ln G(A)], of counts n (C,) that sum to N.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln, zeta

from dime_hf.distribution import Array

MANY_VOTES = 30  # up to so many whole votes a product is faster than the gamma function


def log_rising(base: Array, votes: Array) -> tuple[Array, Array]:
    """Return ln G(base + votes) - ln G(base), and its slope in `base`, both (n,); `votes` are in descending order.

    Few whole votes take no gamma function, but base (base + 1) ... (base + votes - 1).
    """
    if not _few_and_whole(votes):
        return gammaln(base + votes) - gammaln(base), digamma(base + votes) - digamma(base)
    product, slope = np.ones_like(base), np.zeros_like(base)
    for step in range(int(votes.max(initial=0))):
        some = slice(np.count_nonzero(votes > step))
        factor = base[some] + step
        product[some] *= factor
        slope[some] += 1 / factor
    return np.log(product), slope


def rising_curvature(base: Array, votes: Array) -> Array:
    """Return the second derivative of `log_rising` in `base` (n,): at most 0."""
    if not _few_and_whole(votes):
        return zeta(2, base + votes) - zeta(2, base)
    curvature = np.zeros_like(base)
    for step in range(int(votes.max(initial=0))):
        some = slice(np.count_nonzero(votes > step))
        curvature[some] -= 1 / (base[some] + step) ** 2
    return curvature


class VoteLikelihood:
    """The likelihood of vote counts (N, C), each row under an alpha of its own.

    Only the classes that somebody voted for have a term of their own: `rows` and `classes` name these cells, those
    with most votes first; `order` has the rows with most votes first.
    """

    def __init__(self, counts: Array):
        self.counts = counts
        cells = np.flatnonzero(counts > 0)
        cells = cells[_most_first(counts.ravel()[cells])]
        totals = counts.sum(-1)
        self.cells, (self.rows, self.classes) = cells, np.divmod(cells, counts.shape[1])
        self.order = _most_first(totals)
        self.cell_votes, self.row_votes = counts.ravel()[cells], totals[self.order]

    def of_rows(self, alpha: Array) -> tuple[Array, Array]:
        """Log-likelihood of every row (N,), and its slope in alpha (N, C)."""
        cells, cell_slopes = log_rising(alpha.ravel()[self.cells], self.cell_votes)
        totals, total_slopes = log_rising(np.einsum("nc->n", alpha)[self.order], self.row_votes)
        value, slope = np.zeros(len(alpha)), np.empty(alpha.shape)
        value[self.order] = -totals
        value += np.bincount(self.rows, cells, len(alpha))
        slope[self.order] = -total_slopes[:, None]
        slope.ravel()[self.cells] += cell_slopes
        return value, slope


class AlikeLikelihood:
    """The likelihood of vote counts (N, C), all rows under one alpha (C,): `times` each number of votes of a class.

    However many rows there are, it only takes how often `votes` (n,) were given to `classes`, and `row_votes` in all.
    """

    def __init__(self, counts: Array):
        found = [np.unique(column[column > 0], return_counts=True) for column in counts.T]
        votes = np.concatenate([votes for votes, _ in found])
        order = _most_first(votes)
        self.votes, self.times = votes[order], np.concatenate([times for _, times in found])[order].astype(float)
        self.classes = np.repeat(np.arange(len(found)), [len(votes) for votes, _ in found])[order]
        row_votes, row_times = np.unique(counts.sum(-1), return_counts=True)
        self.row_votes, self.row_times = row_votes[::-1], row_times[::-1].astype(float)

    def at(self, alpha: Array) -> tuple[float, Array]:
        """Log-likelihood of all rows, and its slope in alpha (C,)."""
        values, slopes = log_rising(alpha[self.classes], self.votes)
        total, total_slope = log_rising(np.full(len(self.row_votes), alpha.sum()), self.row_votes)
        slope = np.bincount(self.classes, self.times * slopes, len(alpha)) - self.row_times @ total_slope
        return float(self.times @ values - self.row_times @ total), slope


def dirichlet_multinomial(counts: Array, alpha: Array) -> tuple[float, Array]:
    """Log-likelihood of counts (N, C) under alpha (N, C), and its slope in alpha."""
    rows, slope = VoteLikelihood(counts).of_rows(alpha)
    return float(rows.sum()), slope


def _few_and_whole(votes: Array) -> bool:
    return bool(votes.max(initial=0) <= MANY_VOTES and (votes.astype(np.int8) == votes).all())


def _most_first(votes: Array) -> NDArray[np.int64]:
    """Places of `votes` in descending order, those of few whole votes by counting."""
    return np.argsort(-(votes.astype(np.int8) if _few_and_whole(votes) else votes), kind="stable")
