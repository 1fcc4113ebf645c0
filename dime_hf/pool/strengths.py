"""How many votes a prior and a panel of proxies are worth: the Dirichlet-multinomial likelihood of human votes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import digamma, gammaln

from dime_hf.distribution import Array
from dime_hf.errors import FitError

LARGEST_LOG = 7.0  # strengths are sought between exp(-7) and exp(7) votes,
LOG_SPREAD = 2.0  # under a log-normal prior around one vote, of this scale: it decides only where votes are few
FIRST_ROWS = 10_000  # with far more, the search starts from what so many of them say
MANY_VOTES = 30  # up to so many whole votes a product is faster than the gamma function


def smoothed_share(counts: Array) -> Array:
    """Share of all votes (C,), half a vote added to each class so that none is impossible."""
    totals = counts.sum(0) + 0.5
    return totals / totals.sum()


def log_rising(base: Array, votes: Array) -> tuple[Array, Array]:
    """Return ln G(base + votes) - ln G(base), and its slope in `base`, both (n,); `votes` are in descending order.

    Whole votes take no gamma function, but base (base + 1) ... (base + votes - 1).
    """
    if votes.size and (votes[0] > MANY_VOTES or (votes % 1).any()):
        return gammaln(base + votes) - gammaln(base), digamma(base + votes) - digamma(base)
    product, slope = np.ones_like(base), np.zeros_like(base)
    for step in range(int(votes[0]) if votes.size else 0):
        some = slice(np.count_nonzero(votes > step))
        factor = base[some] + step
        product[some] *= factor
        slope[some] += 1 / factor
    return np.log(product), slope


class VoteLikelihood:
    """Dirichlet-multinomial log-likelihood, in nats and without its coefficient, of vote counts (N, C).

    Only the classes that somebody voted for have a term of their own: `rows` and `classes` name these cells, those
    with most votes first; `order` has the rows with most votes first.
    """

    def __init__(self, counts: Array):
        self.counts = counts
        cells = np.flatnonzero(counts)
        cells = cells[np.argsort(-counts.ravel()[cells], kind="stable")]
        self.rows, self.classes = np.divmod(cells, counts.shape[1])
        self.order = np.argsort(-counts.sum(-1), kind="stable")
        self.cell_votes, self.row_votes = counts[self.rows, self.classes], counts.sum(-1)[self.order]

    def of_rows(self, alpha: Array) -> tuple[Array, Array]:
        """Log-likelihood of every row (N,), and its slope in alpha (N, C)."""
        cells, cell_slopes = log_rising(alpha[self.rows, self.classes], self.cell_votes)
        totals, total_slopes = log_rising(alpha.sum(-1)[self.order], self.row_votes)
        value, slope = np.zeros(len(alpha)), np.zeros_like(alpha)
        value[self.order] = -totals
        value += np.bincount(self.rows, cells, len(alpha))
        slope[self.order] -= total_slopes[:, None]
        slope[self.rows, self.classes] += cell_slopes
        return value, slope


def dirichlet_multinomial(counts: Array, alpha: Array) -> tuple[float, Array]:
    """Log-likelihood (nats, without the multinomial coefficient) of counts (N, C) and its slope in alpha (N, C)."""
    rows, slope = VoteLikelihood(counts).of_rows(alpha)
    return float(rows.sum()), slope


@dataclasses.dataclass(frozen=True)
class Strengths:
    """Strengths (J,) of the components, in votes, and the log-likelihood (nats) that they reach."""

    votes: Array
    likelihood: float


def fit_strengths(counts: Array, components: Sequence[Array], centers: ArrayLike = 1.0) -> Strengths:
    """Fit strengths w of components (J, N, C) by the likelihood of counts (N, C): alpha = sum_j w_j components_j.

    The rows of a component are distributions, or zeros where it has nothing to say. `centers` are the votes around
    which the wide prior on the strengths lies. Raises `FitError`.
    """
    if len(counts) == 0:
        raise FitError(
            "`dataset` has no utterance that has both two human votes and a valid answer: nothing to fit on"
        )
    votes = VoteLikelihood(counts)
    cells = np.stack([component[votes.rows, votes.classes] for component in components], axis=1)
    totals = np.stack([component.sum(-1) for component in components], axis=1)[votes.order]
    middle = np.broadcast_to(np.log(centers), cells.shape[1:])

    def likelihood(strengths: Array) -> tuple[float, Array]:
        value, slope = log_rising(np.maximum(cells @ strengths, 1e-12), votes.cell_votes)
        less, row_slope = log_rising(np.maximum(totals @ strengths, 1e-12), votes.row_votes)
        return float(value.sum() - less.sum()), slope @ cells - row_slope @ totals

    def loss(logs: Array) -> tuple[float, Array]:
        value, slope = likelihood(np.exp(logs))
        away = logs - middle
        slopes = slope * np.exp(logs) - away / LOG_SPREAD**2
        return -(value - (away**2).sum() / (2 * LOG_SPREAD**2)) / len(counts), -slopes / len(counts)

    bounds = [(-LARGEST_LOG, LARGEST_LOG)] * len(middle)
    start, stride = middle, len(counts) // FIRST_ROWS
    if stride > 1:
        start = np.log(fit_strengths(counts[::stride], [part[::stride] for part in components], centers).votes)
    result = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    if not result.success:
        raise FitError(f"the pooling strengths did not converge on {len(counts)} utterances: {result.message}")
    return Strengths(np.exp(result.x), likelihood(np.exp(result.x))[0])
