"""Comparisons of two systems on the same rows: paired differences, the verdict, correction for many, power."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import scipy.optimize
import scipy.stats
from numpy.typing import ArrayLike

from dime_hf.distribution import TIE, Array
from dime_hf.errors import DistributionError
from dime_hf.evidence.intervals import LEVEL, Clusters, Interval, as_values, interval, jackknife
from dime_hf.score.metrics import METRICS, Pairs, check_names, metric_sums, metric_values, squared_score
from dime_hf.score.scoring import DEFAULT

ALPHA = 0.025  # of the one-sided test of a verdict


@dataclasses.dataclass(frozen=True)
class Paired:
    """The mean of a - b with its interval. `p_value` is two-sided, `p_lower` one-sided for a < b, in [0, 1]."""

    difference: Interval
    p_value: float
    p_lower: float

    def __str__(self) -> str:
        return f"{self.difference}, p = {self.p_value:.2g}"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the pre-declared test says: `helps`, `hurts`, or `undecided`. Scores are squared: lower is better."""

    says: str
    score: float
    control_score: float
    paired: Paired

    @property
    def helps(self) -> bool:
        return self.says == "helps"

    def __str__(self) -> str:
        return (
            f"{self.says}: squared score {self.score:.4f}, control {self.control_score:.4f}, "
            f"difference {self.paired.difference}, one-sided p = {self.paired.p_lower:.2g}"
        )


def paired(
    a: ArrayLike,
    b: ArrayLike,
    groups: Sequence[str],
    *,
    weights: ArrayLike | None = None,
    level: float = LEVEL,
) -> Paired:
    """Compare two systems' scores (N,) of the same rows, such as `row_scores` gives; clustered by `groups` (N,).

    Raises `DistributionError` where a score is not finite, or for fewer than two groups.
    """
    one, other = as_values(a, "a"), as_values(b, "b")
    if one.shape != other.shape:
        raise DistributionError(f"`a` {one.shape} and `b` {other.shape} must score the same rows")
    return _tested(interval(one - other, groups, weights=weights, level=level))


def paired_scores(
    predictions: ArrayLike,
    others: ArrayLike,
    references: ArrayLike,
    groups: Sequence[str],
    *,
    metrics: Iterable[str] = DEFAULT,
    weights: ArrayLike | None = None,
    level: float = LEVEL,
) -> dict[str, Paired]:
    """Compare two systems' predictions (N, C) in every metric: score of `predictions` less score of `others`.

    Put the p-values through `holm`. NaN where a score is infinite, or undefined without one of the groups.
    """
    names = check_names(metrics, METRICS)
    one, other = Pairs.read(predictions, references), Pairs.read(others, references, "others")
    clusters = Clusters.read(groups, len(one.q), weights)
    ours, theirs = (
        metric_values(metric_sums(pairs, names, clusters.with_and_without), names) for pairs in (one, other)
    )
    with np.errstate(invalid="ignore"):  # infinite scores have no difference
        return {name: _tested(jackknife(ours[name] - theirs[name], clusters, level)) for name in names}


def verdict(
    predictions: ArrayLike,
    references: ArrayLike,
    groups: Sequence[str],
    control: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    alpha: float = ALPHA,
) -> Verdict:
    """Say whether predictions (N, C) beat a control in the squared score on held-out votes (N, C).

    `control` is what the same pipeline gives without the system under test: (N, C), such as labels pooled by `prior`,
    or one distribution (C,). `helps` at one-sided `alpha`, clustered by `groups` (N,); `weights` (N,) as in `score`.
    One verdict a study: it holds when the system was chosen before these votes were seen.
    """
    if not 0 < alpha < 0.5:
        raise DistributionError(f"`alpha` must lie between 0 and 0.5, such as 0.025, not {alpha}")
    pairs = Pairs.read(predictions, references)
    constant = np.ndim(control) == 1
    other = Pairs.read(np.tile(control, (len(pairs.q), 1)) if constant else control, references, "control")
    ours, theirs = (squared_score(one.q, one.shares) for one in (pairs, other))
    found = paired(ours, theirs, groups, weights=weights, level=1 - 2 * alpha)
    says = "undecided"
    if found.p_value < 2 * alpha:
        says = "helps" if found.difference.estimate < 0 else "hurts"
    w = None if weights is None else np.asarray(weights)
    return Verdict(says, float(np.average(ours, weights=w)), float(np.average(theirs, weights=w)), found)


def holm(p_values: ArrayLike) -> Array:
    """Return p-values (M,) adjusted for being M (Holm): those below alpha keep the chance of any error below it.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise DistributionError(f"`p_values` must be numbers (M,) in [0, 1], not {p_values!r}")
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted


def minimum_detectable_difference(
    differences: ArrayLike,
    groups: Sequence[str],
    *,
    power: float = 0.8,
    alpha: float = ALPHA,
    n_groups: int | None = None,
) -> float:
    """Return the true mean difference that the one-sided test at `alpha` finds with probability `power`.

    `differences` (N,) of a pilot, or of the study at hand, give the spread between `groups` (N,); `n_groups` plans for
    another number of groups like these. In the unit of the differences, above 0.
    """
    if not alpha < power < 1:
        raise DistributionError(f"`power` must lie between `alpha` ({alpha}) and 1, not {power}")
    found = interval(as_values(differences, "differences"), groups)
    freedom, error = found.degrees_of_freedom, found.standard_error
    if n_groups is not None:
        if n_groups < 2:
            raise DistributionError(f"`n_groups` must be at least 2, not {n_groups}")
        freedom = max(1.0, freedom * (n_groups - 1) / (found.n_groups - 1))
        error *= np.sqrt(found.n_groups / n_groups)
    critical = scipy.stats.t.ppf(1 - alpha, freedom)

    def lacking(shift: float) -> float:
        return float(scipy.stats.nct.sf(critical, freedom, shift)) - power

    return float(error * scipy.optimize.brentq(lacking, 0, 10 + 4 * critical))


def _tested(difference: Interval) -> Paired:
    """Test against 0; systems that differ by rounding alone do not differ."""
    if abs(difference.estimate) < TIE and difference.standard_error < TIE:
        return Paired(difference, 1.0, 0.5)
    with np.errstate(divide="ignore"):  # the same difference in every group
        t = np.float64(difference.estimate) / difference.standard_error
    lower = float(scipy.stats.t.cdf(t, difference.degrees_of_freedom))
    return Paired(difference, 2 * min(lower, 1 - lower), lower)
