"""Saturation: how the share of K synthetic votes comes nearer to the human votes as K grows, and what no K removes.

The paper's figure (2601.14620, 2605.29797) is the mean JS divergence over K with a fitted exponential. Its asymptote
has three parts that the figure cannot tell apart: the bias of the panel, the noise that few human votes have
themselves (`score_of_truth`: what the truth would score), and what is left of the noise of the synthetic votes, which
falls as 1/K while an exponential levels off: the asymptote may lie above the JS of the last K seen. The squared
distance to the truth splits exactly: bias + noise / K.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from dime_hf.distribution import Array, js_divergence
from dime_hf.errors import DistributionError
from dime_hf.evidence import Interval, fit_dirichlet, score_of_truth
from dime_hf.evidence.intervals import LEVEL, Clusters, jackknife
from dime_hf.pool.panel import Panel
from dime_hf.validate.synthetic_votes import Chances, synthetic_votes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEAR = 0.1  # of the asymptote: the paper's saturation
RATES = (1e-3, 10.0)  # between which the rate of the curve is sought
PARAMETERS = 3
MOST_LEFT_OUT = 0.1  # of the utterances: those with too few synthetic votes for the largest K
TABLE = 10  # every K up to here has a line, then every fifth
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#555555"


@dataclasses.dataclass(frozen=True)
class Curve:
    """The fitted JS(K) = asymptote + height exp(-rate K), in bits.

    saturation: first K at which it is within 10 % of the asymptote, maybe beyond those seen; None where there is none.
    """

    asymptote: Interval
    height: float
    rate: float
    saturation: int | None

    def __call__(self, votes: Array) -> Array:
        return self.asymptote.estimate + self.height * np.exp(-self.rate * votes)


@dataclasses.dataclass(frozen=True)
class Saturation:
    """Distances of the share of K = 1, 2, ... synthetic votes, on the same utterances for every K.

    js_divergence: to the share of the human votes, in bits, at each K.
    truth: what the truth itself would score there, at these numbers of human votes.
    curve: fitted to it, or None for a `reason`.
    distance: the squared distance to the truth at each K, expected over the votes: bias + noise / K, without bias.
    bias_share: the bias in `distance` at each K; below 0 where the bias is estimated so.
    """

    votes: str
    js_divergence: tuple[Interval, ...]
    truth: float
    curve: Curve | None
    reason: str
    bias: Interval
    noise: Interval
    distance: tuple[Interval, ...]
    bias_share: tuple[Interval, ...]
    left_out: int

    def __str__(self) -> str:
        first, last = self.bias_share[0].estimate, self.bias_share[-1].estimate
        largest = len(self.js_divergence)
        shown = [k for k in range(1, largest + 1) if k <= TABLE or k % 5 == 0 or k == largest]
        lines = [
            f"Saturation over K = 1 to {largest} synthetic votes ({self.votes})",
            f"  JS asymptote, bits    {self._fitted()}",
            f"  score of the truth    {self.truth:.4f} bits: the JS of no bias and endless votes",
            f"  bias                  {self.bias}",
            f"  squared distance to the truth = bias + noise / K, noise {self.noise.estimate:.4f}; "
            f"the bias is {first:.0%} of it at K = 1, {last:.0%} at K = {largest}",
            f"  left out: {self.left_out:,} utterances with fewer votes than that, or fewer than 2 human ones",
            f"{'K':>5}{'JS bits':>10}  {'interval':<18}{'distance':>10}{'bias':>9}{'noise/K':>9}{'bias share':>12}",
        ]
        return "\n".join([*lines, *(self._line(k) for k in shown)])

    def plot(self, axes: Axes) -> None:
        """Draw JS(K) with its intervals, the fitted curve, its asymptote, and the score of the truth."""
        k = np.arange(1, len(self.js_divergence) + 1)
        low, middle, high = np.array([(at.low, at.estimate, at.high) for at in self.js_divergence]).T
        axes.fill_between(k, low, high, color=BLUE, alpha=0.2, linewidth=0)
        axes.plot(k, middle, "o", color=BLUE, markersize=4, label="synthetic votes")
        if self.curve is not None:
            fine = np.linspace(1, len(k), 200)
            axes.plot(fine, self.curve(fine), color=BLUE, label="fitted curve")
            axes.axhline(self.curve.asymptote.estimate, linestyle="--", color=ORANGE, label="its asymptote")
        axes.axhline(self.truth, linestyle=":", color=GREY, label="score of the truth")
        axes.set(xlabel="synthetic votes an utterance, K", ylabel="JS divergence to human votes (bits)")
        axes.legend(loc="best", fontsize="small")

    def _fitted(self) -> str:
        if self.curve is None:
            return f"none: {self.reason}"
        near = "at no K" if self.curve.saturation is None else f"from K = {self.curve.saturation} on"
        return f"{self.curve.asymptote}, within {NEAR:.0%} of it {near}"

    def _line(self, k: int) -> str:
        js, distance, share = self.js_divergence[k - 1], self.distance[k - 1], self.bias_share[k - 1]
        span = f"[{js.low:.4f}, {js.high:.4f}]"
        parts = f"{distance.estimate:>10.4f}{self.bias.estimate:>9.4f}{self.noise.estimate / k:>9.4f}"
        return f"{k:>5}{js.estimate:>10.4f}  {span:<18}{parts}{share.estimate:>12.0%}"


def saturation(
    panel: Panel,
    ids: Sequence[str],
    groups: Sequence[str],
    *,
    draws: int | None = None,
    largest: int | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> Saturation:
    """Measure the panel's votes against its human votes for K = 1 to `largest`, clustered by `groups` (N,).

    The votes of an utterance are those drawn from its proxies, and one for each answer of probabilities, drawn from
    them; in an order of chance by (`seed`, id). `draws` instead draws so many from the mean of the probabilities,
    which has no largest K. By default `largest` is what nine of ten utterances have. The bias is that of endlessly
    many votes like these; where all answers are probabilities, it is their mean's, and the noise that of votes drawn
    from it. Raises `DistributionError` where human votes are not whole, or nowhere two.
    """
    Clusters.read(groups, len(panel.human))
    uniform = Chances(tuple(ids), len(panel.human), seed)
    _check_human(panel.human)
    votes, made = synthetic_votes(panel, uniform, draws)
    largest, enough = _enough(panel, votes, largest)
    panel, votes, names = panel.select(enough), votes[enough], np.asarray(groups)[enough].tolist()
    clusters = Clusters.read(names, len(names))
    values = [_js_divergences(votes, panel.human, largest), *_bias_and_noise(panel, votes)]
    sums = clusters.with_and_without(np.column_stack(values))
    means = sums / (len(votes) - np.append(0, clusters.sizes))[:, None]
    truth = _score_of_truth(panel.human, seed)
    return _summary(means, clusters, level, votes=made, truth=truth, left_out=int((~enough).sum()))


def _summary(means: Array, clusters: Clusters, level: float, **facts: Any) -> Saturation:
    """What follows from the means (1 + G, K + 2) of JS at each K, the bias and the noise, and from other facts."""
    js, bias, noise = means[:, :-2], means[:, -2], means[:, -1]
    curve, reason = fit_curve(js, clusters, level)
    distance = bias[:, None] + noise[:, None] / np.arange(1, js.shape[1] + 1)
    with np.errstate(divide="ignore", invalid="ignore"):  # no distance has no shares
        share = bias[:, None] / distance
    read = lambda values: tuple(jackknife(at, clusters, level) for at in values.T)  # noqa: E731
    return Saturation(
        js_divergence=read(js),
        curve=curve,
        reason=reason,
        bias=jackknife(bias, clusters, level),
        noise=jackknife(noise, clusters, level),
        distance=read(distance),
        bias_share=read(share),
        **facts,
    )


def _check_human(counts: Array) -> None:
    if (counts % 1 != 0).any():
        raise DistributionError(
            "`panel` has fractional human votes, of which no pairs can be counted: take a vote policy that gives each "
            "annotator one whole vote"
        )
    if not (counts.sum(-1) >= 2).any():
        raise DistributionError(
            "`panel` has no utterance with two human votes: one vote tells no ambiguity from error, so no bias either"
        )


def _enough(panel: Panel, votes: NDArray[np.int64], largest: int | None) -> tuple[int, NDArray[np.bool_]]:
    """The largest K, and which utterances (N,) have so many synthetic votes and two human ones."""
    totals, human = (votes >= 0).sum(-1), panel.human.sum(-1) >= 2
    answered = totals[human & (totals > 0)]
    if not len(answered):
        raise DistributionError("`panel` has no utterance with both two human votes and a synthetic one")
    if largest is None:
        largest = int(np.quantile(answered, MOST_LEFT_OUT, method="lower"))
    if not 1 <= largest <= answered.max():
        raise DistributionError(f"`largest` must be from 1 to the {answered.max()} votes there are, not {largest}")
    least = largest if largest > 1 or not panel.drawn.any() else 2  # two drawn votes are a pair
    if not (enough := human & (totals >= least)).any():
        raise DistributionError("`panel` has one drawn vote an utterance, which tells no bias from noise: draw two")
    return largest, enough


def _js_divergences(votes: NDArray[np.int64], human: Array, largest: int) -> Array:
    """JS divergences (N, K) of the shares of the first 1, ..., K votes (N, M) to the human shares, in bits."""
    shares, rows = human / human.sum(-1, keepdims=True), np.arange(len(human))
    counts, found = np.zeros_like(human), np.empty((len(human), largest))
    for k in range(largest):
        counts[rows, votes[:, k]] += 1
        found[:, k] = js_divergence(counts / (k + 1), shares)
    return found


def _bias_and_noise(panel: Panel, votes: NDArray[np.int64]) -> tuple[Array, Array]:
    """Unbiased ||s - t||^2 and 1 - ||s||^2 (N,) of the votes' distribution s and the truth t, from pairs of votes."""
    human = panel.human
    if panel.drawn.any():
        counts = (votes[..., None] == np.arange(human.shape[1])).sum(1).astype(np.float64)
        s, alike = counts / counts.sum(-1, keepdims=True), _pairs_alike(counts)
    else:
        s = panel.synthetic
        alike = (s**2).sum(-1)
    across = (s * human).sum(-1) / human.sum(-1)
    return alike - 2 * across + _pairs_alike(human), 1 - alike


def _pairs_alike(counts: Array) -> Array:
    """Share of the pairs of different votes (N, C) that are for the same class: an unbiased ||p||^2."""
    total = counts.sum(-1)
    return (counts * (counts - 1)).sum(-1) / (total * (total - 1))


def fit_curve(means: Array, clusters: Clusters, level: float = LEVEL) -> tuple[Curve | None, str]:
    """Fit the curve to the first of the means (1 + G, K) at K = 1, 2, ..., or say why there is none.

    The other means lack one cluster each; a Gauss-Newton step to each gives the asymptote's interval.
    """
    y, k = means[0], np.arange(1.0, means.shape[1] + 1)
    if len(k) <= PARAMETERS:
        return None, f"K = 1 to {len(k)} are too few for a curve of {PARAMETERS} parameters"
    if np.ptp(y) < 1e-9:
        return None, "JS does not change with K"
    curve = lambda k, a, b, c: a + b * np.exp(-c * (k - 1))  # noqa: E731
    lower, upper = zip((-np.inf, np.inf), (-np.inf, np.inf), RATES, strict=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.optimize.OptimizeWarning)  # of the covariance, which is not used
            (a, b, c), _ = scipy.optimize.curve_fit(
                curve, k, y, (y[-1], y[0] - y[-1], 0.5), bounds=(lower, upper), ftol=1e-12, xtol=1e-12, gtol=1e-12
            )
    except RuntimeError:
        c = RATES[0]
    if not 1.01 * RATES[0] < c < 0.99 * RATES[1]:
        return None, "JS is level from K = 2 on" if c > 1 else f"no curve that levels off fits K = 1 to {len(k)}"
    decay = np.exp(-c * (k - 1))
    step = np.linalg.pinv(np.stack([np.ones_like(k), decay, -b * (k - 1) * decay], axis=1))[0]
    asymptote = jackknife(a + (means - y) @ step, clusters, level)
    height = float(b * np.exp(c))
    return Curve(asymptote, height, float(c), _first_near(a, height, c)), ""


def _first_near(a: float, b: float, c: float) -> int | None:
    """First K >= 1 with |b| exp(-c K) <= a / 10."""
    return None if a <= 0 else max(1, math.ceil(math.log(abs(b) / (NEAR * a)) / c))


def _score_of_truth(human: Array, seed: int) -> float:
    found = score_of_truth(human.sum(-1), alpha=fit_dirichlet(human), metrics=["js_divergence"], seed=seed)
    return float(found["js_divergence"])
