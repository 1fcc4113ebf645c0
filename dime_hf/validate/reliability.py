"""Reliability: where a proxy gives a class probability p, do humans give it the share p of their votes?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy.optimize
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from dime_hf.distribution import TIE, Array
from dime_hf.errors import DistributionError
from dime_hf.evidence import Interval, score_intervals
from dime_hf.evidence.intervals import LEVEL, Clusters, jackknife
from dime_hf.score.metrics import Pairs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 10
LEAST_PROBABILITY = 1e-6  # probabilities are clipped here before the logarithm
STEEPEST = 100.0  # slopes are sought up to here
ALL = "all classes"
BLUE, GREY = "#0072b2", "#555555"


@dataclasses.dataclass(frozen=True)
class Bin:
    """Probabilities from `low` to `high`: their mean beside the mean share of votes, and share less probability.

    `share.n` is how many there are, one for each class of an utterance. The ends of an interval are NaN where nothing
    tells them: one group alone is there, or all shares are the same.
    """

    low: float
    high: float
    probability: float
    share: Interval
    gap: Interval


@dataclasses.dataclass(frozen=True)
class Reliability:
    """How option probabilities agree with the shares of the votes.

    bins: of all classes together; by_class: of each class alone; about as many probabilities in each bin of a kind.
    class_errors: mean |gap| of the bins of each class; classwise_error is their mean.
    top_label_error: `ece` of `dime_hf.score`. Errors are above 0 also where only chance makes gaps.
    slope: 1 / temperature. At temperature T, softmax(log p / T) is likeliest to give the votes: above 1 the proxy's
    log odds are T times as large as the votes bear out. NaN where no positive slope fits.
    """

    bins: tuple[Bin, ...]
    by_class: dict[str, tuple[Bin, ...]]
    class_errors: dict[str, Interval]
    classwise_error: Interval
    top_label_error: Interval
    slope: Interval
    temperature: Interval

    @property
    def says(self) -> str:
        """`over-confident`, `under-confident` or `calibrated` as far as these votes tell; or `uninformative`."""
        if np.isnan(self.slope.estimate):
            return "no temperature fits"
        if not self.slope.low > 0:
            return "uninformative"
        return "over-confident" if self.slope.high < 1 else "under-confident" if self.slope.low > 1 else "calibrated"

    def __str__(self) -> str:
        lines = [
            f"Reliability of option probabilities: {self.says}",
            f"  temperature              {self.temperature}",
            f"  error, class by class    {self.classwise_error}",
            f"  error of the top label   {self.top_label_error}",
            f"  {'probabilities':<21}{'mean':>9}{'votes':>9}  {'interval':<18}{'n':>9}",
        ]
        lines += [_line(one) for one in self.bins]
        lines += [f"{f'  error of {name}':<25}  {error}" for name, error in self.class_errors.items()]
        return "\n".join(lines)

    def plot(self, axes: Axes) -> None:
        """Draw the reliability diagram: shares of votes over probabilities, with intervals, classes, and equality."""
        axes.plot([0, 1], [0, 1], linestyle="--", color=GREY, label="as the votes")
        for place, (name, bins) in enumerate(self.by_class.items()):
            x, y = [one.probability for one in bins], [one.share.estimate for one in bins]
            axes.plot(x, y, linewidth=0.8, color=GREY, alpha=0.4, label="single classes" if place == 0 else f"_{name}")
        x, y = [one.probability for one in self.bins], [one.share.estimate for one in self.bins]
        half = [one.share.high - one.share.estimate for one in self.bins]
        axes.errorbar(x, y, np.nan_to_num(half), fmt="o", markersize=4, capsize=2, color=BLUE, label=ALL)
        axes.set(xlabel="probability given by the proxy", ylabel="share of human votes", xlim=(0, 1), ylim=(0, 1))
        axes.set_aspect("equal")
        axes.legend(loc="best", fontsize="small")


def reliability(
    probabilities: ArrayLike,
    counts: ArrayLike,
    groups: Sequence[str],
    classes: Sequence[str] | None = None,
    *,
    bins: int = BINS,
    level: float = LEVEL,
) -> Reliability:
    """Compare option probabilities (N, C) with held-out vote counts (N, C), clustered by `groups` (N,).

    `bins` of quantiles; equal probabilities stay together, so there may be fewer. Leave utterances without a valid
    answer out beforehand. Probabilities below 1e-6 count as that in the temperature: shares of a few drawn votes are
    no probabilities, and look over-confident. Raises `DistributionError`.
    """
    pairs = Pairs.read(probabilities, counts, "probabilities")
    clusters = Clusters.read(groups, len(pairs.q))
    names = tuple(classes) if classes is not None else tuple(f"class {place}" for place in range(pairs.q.shape[1]))
    if len(names) != pairs.q.shape[1] or len(set(names)) != len(names):
        raise DistributionError(f"`classes` must be {pairs.q.shape[1]} different names, not {names}")
    if bins < 1:
        raise DistributionError(f"`bins` must be at least 1, not {bins}")
    together = _Binned.of(pairs.q.ravel(), pairs.shares.ravel(), np.repeat(clusters.index, len(names)), bins)
    alone = [_Binned.of(q, p, clusters.index, bins) for q, p in zip(pairs.q.T, pairs.shares.T, strict=True)]
    errors = np.stack([one.errors() for one in alone])
    slopes = _slopes(pairs, clusters)
    temperatures = 1 / np.where(slopes > 0, slopes, np.nan)
    return Reliability(
        bins=together.bins(level),
        by_class={name: one.bins(level) for name, one in zip(names, alone, strict=True)},
        class_errors={name: jackknife(error, clusters, level) for name, error in zip(names, errors, strict=True)},
        classwise_error=jackknife(errors.mean(0), clusters, level),
        top_label_error=score_intervals(pairs.q, pairs.counts, groups, metrics=["ece"], level=level)["ece"],
        slope=jackknife(slopes, clusters, level),
        temperature=jackknife(temperatures, clusters, level),
    )


@dataclasses.dataclass(frozen=True)
class _Binned:
    """Sums (B, G) by bin and cluster: the number of probabilities, the probabilities and the shares; bins' ends."""

    number: Array
    probability: Array
    share: Array
    low: Array
    high: Array

    @classmethod
    def of(cls, probabilities: Array, shares: Array, cluster: NDArray[np.int64], bins: int) -> _Binned:
        """Put probabilities (V,) into bins of quantiles; those between which no quantile lies share one."""
        cuts = np.quantile(probabilities, np.arange(1, bins) / bins)
        _, index = np.unique(np.searchsorted(cuts + TIE, probabilities), return_inverse=True)
        shape = (int(index.max()) + 1, int(cluster.max()) + 1)
        cell = index * shape[1] + cluster

        def add(values: Array) -> Array:
            return np.asarray(np.bincount(cell, values, shape[0] * shape[1]).reshape(shape), np.float64)

        low, high = np.full(shape[0], np.inf), np.full(shape[0], -np.inf)
        np.minimum.at(low, index, probabilities)
        np.maximum.at(high, index, probabilities)
        return cls(add(np.ones_like(probabilities)), add(probabilities), add(shares), low, high)

    def errors(self) -> Array:
        """Mean |share - probability| of the bins (1 + G,): of all rows, and without each cluster."""
        number = _with_and_without(self.number).sum(0)
        return np.abs(_with_and_without(self.share - self.probability)).sum(0) / number

    def bins(self, level: float) -> tuple[Bin, ...]:
        return tuple(self._bin(place, level) for place in range(len(self.number)))

    def _bin(self, place: int, level: float) -> Bin:
        there = self.number[place] > 0
        number, probability, share = (
            _with_and_without(sums[place : place + 1, there])[0]
            for sums in (self.number, self.probability, self.share)
        )
        sizes = self.number[place, there].astype(np.int64)
        return Bin(
            low=float(self.low[place]),
            high=float(self.high[place]),
            probability=float(probability[0] / number[0]),
            share=_interval(share, number, sizes, level),
            gap=_interval(share - probability, number, sizes, level),
        )


def _with_and_without(sums: Array) -> Array:
    """Sums (B, 1 + G) of all clusters, and of all but each, of sums (B, G) by cluster."""
    total = sums.sum(-1, keepdims=True)
    return np.concatenate([total, total - sums], axis=-1)


def _interval(sums: Array, number: Array, sizes: NDArray[np.int64], level: float) -> Interval:
    """Interval of the mean of a bin; ends are NaN where nothing varies between clusters."""
    mean, nan = float(sums[0] / number[0]), float("nan")
    if len(sizes) > 1:
        found = jackknife(sums / number, Clusters(np.arange(len(sizes)), sizes), level)
        if found.standard_error > TIE:
            return found
    return Interval(mean, nan, nan, level, nan, nan, int(number[0]), len(sizes))


def _slopes(pairs: Pairs, clusters: Clusters) -> Array:
    """Slopes b (1 + G,) at which softmax(b log p) is likeliest to give the votes: of all rows, and without a cluster.

    The likelihood is concave in b; from all rows' slope, the others are a Newton step away.
    """
    logs = np.log(np.maximum(pairs.q, LEAST_PROBABILITY))
    votes = pairs.counts.sum(-1)
    spoken = (pairs.counts * logs).sum(-1)

    def slope_and_curve(b: float) -> Array:
        expected = softmax(b * logs, axis=-1)
        mean = (expected * logs).sum(-1)
        return np.stack([spoken - votes * mean, votes * ((expected * logs**2).sum(-1) - mean**2)], axis=-1)

    total = lambda b: float(slope_and_curve(b)[:, 0].sum())  # noqa: E731
    if not total(-STEEPEST) > 0 > total(STEEPEST):
        return np.full(1 + len(clusters.sizes), np.nan)
    found = scipy.optimize.brentq(total, -STEEPEST, STEEPEST, xtol=1e-10)
    first, second = np.moveaxis(clusters.with_and_without(slope_and_curve(found)), -1, 0)
    return found + np.append(0, first[1:] / second[1:])


def _line(one: Bin) -> str:
    ends, span = f"{one.low:.2g} to {one.high:.2g}", f"[{one.share.low:.4f}, {one.share.high:.4f}]"
    return f"  {ends:<21}{one.probability:>9.4f}{one.share.estimate:>9.4f}  {span:<18}{one.share.n:>9,}"
