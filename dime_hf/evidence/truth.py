"""The score of the truth: what a system that knew the distribution behind the votes would score at so few of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import scipy.optimize
from numpy.typing import ArrayLike, NDArray

from dime_hf.dirichlet import AlikeLikelihood
from dime_hf.distribution import Array, as_counts, as_distributions
from dime_hf.errors import DistributionError, FitError
from dime_hf.score import DEFAULT, score

ROWS = 100_000  # rows that are drawn, unless there are more
BOUNDS = (-9.0, 12.0)  # of the logs of a fitted alpha


def score_of_truth(
    votes: ArrayLike,
    *,
    truth: ArrayLike | None = None,
    alpha: ArrayLike | None = None,
    metrics: Iterable[str] = DEFAULT,
    rows: int = ROWS,
    seed: int = 0,
) -> dict[str, float | int]:
    """Return the expected scores of the truth against references of votes (N,) whole votes an utterance.

    The truths are either known, `truth` (N, C), or drawn from Dirichlet distributions `alpha`, (C,) as `fit_dirichlet`
    finds it or (N, C). By simulation of about `rows` rows. It is no bound: `js_divergence` is not proper, and a
    sharper distribution may score better. Raises `DistributionError`.
    """
    numbers = _votes(votes)
    if (truth is None) == (alpha is None):
        raise DistributionError("give either `truth`, the known distributions (N, C), or `alpha` of their Dirichlet")
    repeated = np.repeat(numbers, -(-rows // len(numbers)))
    rng = np.random.default_rng(seed)
    if truth is not None:
        drawn = _rows_of(as_distributions(truth, "truth"), "truth", numbers, len(repeated))
    else:
        drawn = _draw(_rows_of(as_counts(alpha, "alpha"), "alpha", numbers, len(repeated)), rng)  # type: ignore[arg-type]
    return score(drawn, rng.multinomial(repeated, drawn), metrics=metrics)


def fit_dirichlet(counts: ArrayLike) -> Array:
    """Return the alpha (C,) under which the vote counts (N, C) are likeliest (Dirichlet-multinomial).

    Its sum is how much utterances are alike: near 0, each has one class; large, all have the same shares. Raises
    `FitError` where no utterance has two votes, which alone tell ambiguity from variety.
    """
    votes = as_counts(counts)
    if not (votes.sum(-1) > 1).any():
        raise FitError("`counts` has no utterance with two votes: how ambiguous they are cannot be told")
    likelihood, size = AlikeLikelihood(votes), np.count_nonzero(votes.sum(-1))

    def loss(logs: Array) -> tuple[float, Array]:
        value, slope = likelihood.at(np.exp(logs))
        return -value / size, -slope * np.exp(logs) / size

    start = np.log(votes.sum(0) / votes.sum() + 0.01)
    result = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[BOUNDS] * len(start))
    if not result.success:
        raise FitError(f"the Dirichlet did not converge on {len(votes)} utterances: {result.message}")
    return np.exp(result.x)


def _votes(votes: ArrayLike) -> NDArray[np.int64]:
    numbers = np.asarray(votes)
    if numbers.ndim != 1 or not len(numbers) or (numbers < 1).any() or (numbers % 1 != 0).any():
        raise DistributionError(
            "`votes` must be how many voted, (N,) whole numbers from 1 on, such as `counts.sum(-1)`"
        )
    return numbers.astype(np.int64)


def _rows_of(array: Array, name: str, votes: NDArray[np.int64], rows: int) -> Array:
    """Rows (N, C), or one (C,) for all of them, each repeated as often as its votes are."""
    if array.ndim == 1:
        return np.broadcast_to(array, (rows, *array.shape))
    if array.ndim != 2 or len(array) != len(votes):
        raise DistributionError(f"`{name}` must have the shape (C,) or ({len(votes)}, C), not {array.shape}")
    return np.repeat(array, rows // len(votes), axis=0)


def _draw(alpha: Array, rng: np.random.Generator) -> Array:
    """A distribution from each Dirichlet (N, C); by logs, since gamma draws of a small alpha vanish."""
    if (alpha <= 0).any():
        raise DistributionError("`alpha` must be above 0")
    logs = np.log(rng.gamma(alpha + 1)) + np.log1p(-rng.random(alpha.shape)) / alpha
    drawn = np.exp(logs - logs.max(-1, keepdims=True))
    return drawn / drawn.sum(-1, keepdims=True)
