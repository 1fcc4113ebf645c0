"""How often each class occurs in a corpus of which only a part has human votes: PPI++ (2311.01453).

The rate of a class is the mean over utterances of the share of humans who would vote for it. Humans on the voted part
alone give it without bias, but roughly; proxies on all of it exactly, but with their bias. PPI++ adds to the first
`power` times what the proxies say of the others less what they say of the voted part: without bias whatever the
proxies are worth, and with the power (lambda) that makes the variance least, 0 where they are worth nothing.

It is assumed that the voted utterances were drawn by chance from the corpus, or whole speakers were. Simulated at
nominal 90 %, with the power held fixed: intervals clustered by speaker cover 89-91 % (40 speakers alike, 40 or 10 that
differ) and 88-89 % (all votes on 5 or 10 of 40 speakers); those of independent utterances, as ppi_py has them, cover
89 % where speakers are alike, but 79 and 60 % with 40 and 10 that differ.
"""

from __future__ import annotations

import dataclasses
import types
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dime_hf.distribution import Array
from dime_hf.errors import DistributionError, PackageError
from dime_hf.evidence.intervals import LEVEL, Clusters, Interval, interval, jackknife
from dime_hf.pool.panel import Panel


@dataclasses.dataclass(frozen=True)
class ClassRate:
    """The rate of a class, in [0, 1] but for noise, with intervals clustered by speaker.

    human: of the voted utterances alone.
    proxy: of the answers on all utterances; its interval does not cover their bias.
    rate: by PPI++.
    power: lambda, in [0, 1].
    independent: ends of the interval of `rate` as if utterances were independent: too narrow where speakers differ.
    """

    name: str
    human: Interval
    proxy: Interval
    rate: Interval
    power: float
    independent: tuple[float, float]

    @property
    def worth(self) -> float:
        """How many times as many voted utterances humans alone would need for the same standard error."""
        error = self.rate.standard_error
        return (self.human.standard_error / error) ** 2 if error > 0 else float("nan")


@dataclasses.dataclass(frozen=True)
class ClassRates:
    """Rates of all classes; they add up to 1 nearly, since each has a power of its own."""

    rates: tuple[ClassRate, ...]
    utterances: int
    voted: int
    unanswered: int  # without a valid answer: the mean answer stands for theirs
    level: float

    def __str__(self) -> str:
        width = max(5, *(len(rate.name) for rate in self.rates))
        head = f"{'class':<{width}}  {'PPI++':^24}  {'humans alone':^24}  proxies  power  worth"
        lines = [
            f"{rate.name:<{width}}  {_cell(rate.rate)}  {_cell(rate.human)}  {rate.proxy.estimate:7.3f}  "
            f"{rate.power:5.2f}  {rate.worth:4.1f}x"
            for rate in self.rates
        ]
        title = (
            f"Class rates of {self.utterances:,} utterances, {self.voted:,} of them voted on, "
            f"{self.unanswered:,} without an answer ({100 * self.level:.4g} % intervals)"
        )
        return "\n".join([title, head, *lines])


def class_rates(panel: Panel, groups: Sequence[str], classes: Sequence[str], *, level: float = LEVEL) -> ClassRates:
    """Estimate the rate of each of `classes` (C,) from the human votes and the answers of a panel of N utterances.

    An utterance counts once however many voted on it; its answer is the mean over all proxies. `groups` (N,) names
    speakers. Needs ppi_py (`PackageError` without it). Raises `DistributionError` where no utterance has an answer, or
    where there are not two groups with voted utterances, and two with others.
    """
    voted, answered = panel.human.sum(-1) > 0, panel.synthetic_votes > 0
    clusters = Clusters.read(groups, len(voted))
    _check(voted, answered, clusters, panel, classes)
    proxy = np.where(answered[:, None], panel.synthetic, panel.synthetic[answered].mean(0))
    shares = panel.human / np.maximum(panel.human.sum(-1, keepdims=True), 1)
    power = tuned_power(shares[voted], proxy[voted], proxy[~voted])
    gap = _means(proxy, ~voted, clusters) - _means(proxy, voted, clusters)
    estimates = _means(shares, voted, clusters) + power * gap
    # the votes are what there is least of: their clusters give the degrees of freedom
    by_votes = dataclasses.replace(clusters, sizes=np.bincount(clusters.index, voted).astype(np.int64))
    low, high = _load_ppi().ppi_mean_ci(shares[voted], proxy[voted], proxy[~voted], alpha=1 - level, lam=power)
    rates = tuple(
        ClassRate(
            name,
            interval(shares[voted, index], _some(groups, voted), level=level),
            interval(panel.synthetic[answered, index], _some(groups, answered), level=level),
            jackknife(estimates[:, index], by_votes, level),
            float(power[index]),
            (float(low[index]), float(high[index])),
        )
        for index, name in enumerate(classes)
    )
    return ClassRates(rates, len(voted), int(voted.sum()), int((~answered).sum()), level)


def tuned_power(shares: Array, proxy: Array, others: Array) -> Array:
    """Lambda (C,) of least variance for independent utterances, as ppi_py tunes it, which does not give it out.

    cov(shares, proxy) / ((1 + n / N) var(proxy)), within [0, 1], for shares and proxy (n, C) on the voted utterances
    and proxy on the others (N, C); 0 where the proxy says the same of all. Source: 2311.01453, proposition 2.
    """
    covariance = ((shares - shares.mean(0)) * (proxy - proxy.mean(0))).mean(0)
    spread = (1 + len(proxy) / len(others)) * np.concatenate([proxy, others]).var(0, ddof=1)
    return np.clip(np.divide(covariance, spread, out=np.zeros_like(spread), where=spread > 1e-12), 0, 1)


def _means(values: Array, rows: NDArray[np.bool_], clusters: Clusters) -> Array:
    """Means (1 + G, C) of some rows of values (N, C): of all of these, and without those of each cluster."""
    weights = rows[:, None].astype(np.float64)
    return clusters.with_and_without(values * weights) / clusters.with_and_without(weights)


def _some(groups: Sequence[str], rows: NDArray[np.bool_]) -> list[str]:
    return [group for group, wanted in zip(groups, rows.tolist(), strict=True) if wanted]


def _check(
    voted: NDArray[np.bool_],
    answered: NDArray[np.bool_],
    clusters: Clusters,
    panel: Panel,
    classes: Sequence[str],
) -> None:
    if len(classes) != panel.human.shape[1]:
        raise DistributionError(f"`classes` names {len(classes)} classes, the panel has {panel.human.shape[1]}")
    for rows, what in ((voted, "with human votes"), (~voted, "without"), (answered, "with a valid answer")):
        if len(found := np.unique(clusters.index[rows])) < 2:
            raise DistributionError(
                f"`panel` has utterances {what} in {len(found)} of its {len(clusters.sizes)} groups, but rates and "
                "their intervals need them in two at least"
            )


def _cell(found: Interval) -> str:
    return f"{found.estimate:6.3f} [{found.low:6.3f}, {found.high:6.3f}]"


def _load_ppi() -> types.ModuleType:
    """Import ppi_py, and undo that it silences every warning of the process."""
    with warnings.catch_warnings():
        try:
            import ppi_py
        except ImportError as error:
            raise PackageError("`class_rates`", "ppi-python", "ppi") from error
    return ppi_py
