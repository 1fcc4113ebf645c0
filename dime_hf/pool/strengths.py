"""How many votes a prior and each proxy of a panel are worth: strengths that make the human votes likeliest."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from dime_hf.dirichlet import AlikeLikelihood, VoteLikelihood, log_rising, rising_curvature
from dime_hf.distribution import Array
from dime_hf.errors import FitError

LARGEST_LOG = 7.0  # strengths are sought between exp(-7) and exp(7) votes,
LOG_SPREAD = 2.0  # under a log-normal prior around one vote, of this scale: it decides only where votes are few
FIRST_ROWS = 10_000  # with far more, the search starts from what so many of them say
CELLS = 8192  # at once: they stay in the processor's cache
STEPS, LONGEST_STEP = 100, 3.0  # of Newton's method, in logs
SMALL_SLOPE = 1e-7  # nats an utterance: there it ends
ROUNDING = 1e-13  # share of the log-likelihood that a step may seem to lose


def smoothed_share(counts: Array) -> Array:
    """Share of all votes (C,), half a vote added to each class so that none is impossible."""
    totals = counts.sum(0) + 0.5
    return totals / totals.sum()


@dataclasses.dataclass(frozen=True)
class Strengths:
    """Strengths (J,) of the components, in votes, and the log-likelihood (nats) that they reach."""

    votes: Array
    likelihood: float


@dataclasses.dataclass(frozen=True)
class Expansion:
    """A function at a point: its value, slope (J,) and curvature (J, J)."""

    value: float
    slope: Array
    curvature: Array


@dataclasses.dataclass(frozen=True)
class Terms:
    """Sum of `times` (n,) log rising powers: `votes` (n,), most first, on strengths (J,) @ basis (J, n)."""

    basis: Array
    votes: Array
    times: Array

    def expand(self, strengths: Array) -> Expansion:
        value, slope, curvature = 0.0, np.zeros(len(strengths)), np.zeros((len(strengths), len(strengths)))
        for start in range(0, len(self.votes), CELLS):
            some = slice(start, start + CELLS)
            basis, votes, times = self.basis[:, some], self.votes[some], self.times[some]
            base = np.maximum(strengths @ basis, 1e-12)
            values, slopes = log_rising(base, votes)
            value += float(times @ values)
            slope += basis @ (times * slopes)
            curvature += (basis * (times * rising_curvature(base, votes))) @ basis.T
        return Expansion(value, slope, curvature)


@dataclasses.dataclass(frozen=True)
class MixLikelihood:
    """Log-likelihood of the votes of `size` rows under a mix of components: terms of cells less those of rows."""

    cells: Terms
    rows: Terms
    size: int

    @classmethod
    def of_prior(cls, counts: Array, prior: Array) -> MixLikelihood:
        """With the constant `prior` (C,) as the one component."""
        alike = AlikeLikelihood(counts)
        ones = np.ones((1, len(alike.row_votes)))
        return cls(
            Terms(prior[None, alike.classes], alike.votes, alike.times),
            Terms(ones, alike.row_votes, alike.row_times),
            len(counts),
        )

    @classmethod
    def of_panel(cls, counts: Array, prior: Array, answers: Array, answered: NDArray[np.bool_]) -> MixLikelihood:
        """With the prior and J proxies' answers (N, J, C), zeros where they have not `answered` (N, J)."""
        votes = VoteLikelihood(counts)
        basis = np.empty((1 + answers.shape[1], len(votes.cells)))
        basis[0] = prior[votes.classes]
        for start in range(0, len(votes.cells), CELLS):
            some = slice(start, start + CELLS)
            basis[1:, some] = answers[votes.rows[some], :, votes.classes[some]].T
        cells = Terms(basis, votes.cell_votes, np.ones(len(votes.cells)))
        return cls(cells, _of_rows(answered[votes.order], votes.row_votes), len(counts))

    def expand(self, strengths: Array) -> Expansion:
        cells, rows = self.cells.expand(strengths), self.rows.expand(strengths)
        return Expansion(cells.value - rows.value, cells.slope - rows.slope, cells.curvature - rows.curvature)

    def expand_logs(self, logs: Array, center: Array) -> Expansion:
        """The same in the logs of the strengths, and with their prior around the log `center`."""
        strengths = np.exp(logs)
        found = self.expand(strengths)
        slope = found.slope * strengths
        curvature = found.curvature * np.outer(strengths, strengths) + np.diag(slope - 1 / LOG_SPREAD**2)
        return Expansion(found.value + _log_prior(logs, center), slope - (logs - center) / LOG_SPREAD**2, curvature)


def fit_prior(counts: Array, prior: Array) -> Strengths:
    """Fit the strength of a constant prior (C,) alone by the likelihood of counts (N, C)."""
    return _fit(MixLikelihood.of_prior(counts, prior), np.zeros(1), np.zeros(1))


def fit_strengths(counts: Array, prior: Array, answers: Array, answered: NDArray[np.bool_]) -> Strengths:
    """Fit strengths (1 + J,) of a constant prior (C,) and of J proxies by the likelihood of counts (N, C).

    `answers` (N, J, C) are zeros where `answered` (N, J) is false. A wide prior on the strengths lies around one vote
    for `prior`, and one for the whole panel. Raises `FitError`.
    """
    if len(counts) == 0:
        raise FitError(
            "`dataset` has no utterance that has both two human votes and a valid answer: nothing to fit on"
        )
    center = np.log([1.0, *[1 / answers.shape[1]] * answers.shape[1]])
    start, stride = center, len(counts) // FIRST_ROWS
    if stride > 1:
        start = np.log(fit_strengths(counts[::stride], prior, answers[::stride], answered[::stride]).votes)
    return _fit(MixLikelihood.of_panel(counts, prior, answers, answered), start, center)


def _of_rows(answered: NDArray[np.bool_], votes: Array) -> Terms:
    """Terms of the sums of alpha, one for all rows of as many votes where the same proxies answered."""
    code = np.unique(-votes, return_inverse=True)[1]
    for start in range(0, answered.shape[1], 32):
        bits = answered[:, start : start + 32] @ 2.0 ** np.arange(min(32, answered.shape[1] - start))
        code = np.unique(code * 2**32 + bits.astype(np.int64), return_inverse=True)[1]
    _, first, times = np.unique(code, return_index=True, return_counts=True)
    ones = np.ones((1, len(first)))
    return Terms(np.concatenate([ones, answered[first].T]), votes[first], times.astype(float))


def _log_prior(logs: Array, center: Array) -> float:
    return -float(((logs - center) ** 2).sum()) / (2 * LOG_SPREAD**2)


def _fit(likelihood: MixLikelihood, start: Array, center: Array) -> Strengths:
    """Newton's method in the logs, within their bounds, and with steps halved until they gain."""
    logs, here = start, likelihood.expand_logs(start, center)
    for _ in range(STEPS):
        free = (np.abs(logs) < LARGEST_LOG) | (logs * here.slope < 0)
        if np.abs(here.slope[free]).max(initial=0) < SMALL_SLOPE * likelihood.size:
            return Strengths(np.exp(logs), here.value - _log_prior(logs, center))
        step = _uphill(here, free)
        for halved in range(STEPS):
            trial = np.clip(logs + step / 2**halved, -LARGEST_LOG, LARGEST_LOG)
            there = likelihood.expand_logs(trial, center)
            if there.value >= here.value - ROUNDING * abs(here.value):
                break
        logs, here = trial, there
    raise FitError(f"the pooling strengths did not converge on {likelihood.size} utterances in {STEPS} steps")


def _uphill(here: Expansion, free: NDArray[np.bool_]) -> Array:
    """Newton's step (J,) in the `free` directions, uphill along those that curve the wrong way too."""
    curved, axes = np.linalg.eigh(here.curvature[np.ix_(free, free)])
    step = np.zeros(len(free))
    step[free] = axes @ ((axes.T @ here.slope[free]) / np.maximum(np.abs(curved), 1e-9))
    return step * min(1, LONGEST_STEP / np.abs(step).max())
