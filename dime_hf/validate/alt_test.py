"""The alternative annotator test: may a proxy stand in for a human? (Calderon and others, ACL 2025, 2501.10970)

Each annotator is left out in turn. On each of their utterances, the proxy and they are scored by the share of the
remaining annotators who agree with them. W_proxy = 1 where the proxy scores at least as high, W_human = 1 where the
annotator does; where they tie, both are 1. The annotator loses against the proxy if mean(W_human - W_proxy) < epsilon,
by a one-sided t-test over their utterances, Benjamini-Yekutieli's correction over annotators; epsilon is what a proxy
may lose because it is cheaper. The proxy passes if at least half of the annotators lose. Its advantage probability is
the mean over annotators of their mean W_proxy: the number to compare proxies by.

Here an annotator has one vote an utterance, and one that is split between classes agrees by its parts. A proxy answers
with its most probable class, or, in the soft variant, by all its probabilities: it scores their expected agreement
s . share. The soft variant is not the paper's, and rarely beats an annotator with whom all others agree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from dime_hf.corpora.cast import Ballots
from dime_hf.distribution import TIE, Array, as_counts
from dime_hf.errors import DistributionError, did_you_mean
from dime_hf.evidence.intervals import interval
from dime_hf.pool.panel import Panel

EPSILON = {"crowd": 0.1, "skilled": 0.15, "expert": 0.2}
LEAST_UTTERANCES = 30  # of an annotator
LEAST_ANNOTATORS = 3
RATE = 0.05  # of false discoveries among the annotators who lose
PASSES = 0.5
SHOWN = 20  # annotators in the table
ALL = "all proxies"


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """One annotator against the proxy on `utterances`; `difference` is mean(W_human - W_proxy)."""

    annotator: str
    utterances: int
    human_advantage: float
    proxy_advantage: float
    difference: float
    p_value: float
    p_adjusted: float
    loses: bool


@dataclasses.dataclass(frozen=True)
class AltTest:
    """The test of one proxy: `winning_rate` is the share of annotators who lose, `advantage` the mean W_proxy.

    `too_few` annotators had fewer utterances than needed and were left aside. Without a result, `reason` says why.
    """

    proxy: str
    epsilon: float
    soft: bool
    passes: bool = False
    winning_rate: float = float("nan")
    advantage: float = float("nan")
    annotators: tuple[LeftOut, ...] = ()
    too_few: int = 0
    reason: str | None = None

    def __str__(self) -> str:
        lines = [self.line()]
        if self.annotators:
            head = ("utterances", "W human", "W proxy", "difference", "adjusted p")
            lines.append(f"{'annotator':<16}" + "".join(f"{title:>12}" for title in head))
        for one in self.annotators[:SHOWN]:
            advantages = f"{one.human_advantage:>12.3f}{one.proxy_advantage:>12.3f}{one.difference:>12.3f}"
            says = "  loses" if one.loses else ""
            lines.append(f"{one.annotator:<16}{one.utterances:>12,}{advantages}{one.p_adjusted:>12.2g}{says}")
        if len(self.annotators) > SHOWN:
            lines.append(f"and {len(self.annotators) - SHOWN:,} more annotators")
        return "\n".join(lines)

    def line(self) -> str:
        """The result in one line."""
        if self.reason:
            return f"{self.proxy}: no alternative annotator test: {self.reason}"
        says = "passes" if self.passes else "fails"
        return (
            f"{self.proxy}: {says}; winning rate {self.winning_rate:.2f} of {len(self.annotators):,} annotators "
            f"({self.too_few:,} with too few utterances), advantage probability {self.advantage:.3f}"
        )


@dataclasses.dataclass(frozen=True)
class AltTests:
    """The test of every proxy, and of their mean where there are several."""

    by_proxy: dict[str, AltTest]

    def __str__(self) -> str:
        tests = list(self.by_proxy.values())
        heads = {f"Alternative annotator test, epsilon {one.epsilon:g}{', soft' * one.soft}" for one in tests}
        return "\n".join([*(heads or {"Alternative annotator test: no proxy"}), *(one.line() for one in tests)])


def run_alt_tests(
    ballots: Ballots | None,
    panel: Panel,
    *,
    annotators: str | float = "crowd",
    soft: bool = False,
    groups: Sequence[str] | None = None,
) -> AltTests:
    """Test every proxy of a panel, and the mean of all, as `run_alt_test` does.

    `ballots` None says that nobody knows who voted: the results say so. A proxy that was picked as the best of many
    by this very test has its luck in the result.
    """
    systems = {name: panel.answers[:, place] for place, name in enumerate(panel.proxies)}
    if len(systems) > 1:
        systems[ALL] = panel.synthetic
    return AltTests(
        {
            name: run_alt_test(ballots, answers, proxy=name, annotators=annotators, soft=soft, groups=groups)
            for name, answers in systems.items()
        }
    )


def run_alt_test(
    ballots: Ballots | None,
    answers: ArrayLike,
    *,
    proxy: str = "proxy",
    annotators: str | float = "crowd",
    soft: bool = False,
    groups: Sequence[str] | None = None,
    least: int = LEAST_UTTERANCES,
) -> AltTest:
    """Test one proxy by its distributions (N, C), zeros where it has no answer, against the votes of `ballots`.

    `annotators` are "crowd", "skilled" or "expert", or name epsilon itself. `groups` (N,) makes the tests clustered,
    which the paper's are not. Needs three identified annotators with `least` utterances each that others voted on too.
    """
    epsilon = _epsilon(annotators)
    if ballots is None or (ballots.annotator < 0).all():
        return AltTest(proxy, epsilon, soft, reason="the annotators of the votes are not known")
    s = as_counts(answers, "answers")
    if s.shape != (ballots.rows, ballots.votes.shape[1]):
        raise DistributionError(f"`answers` must be ({ballots.rows}, {ballots.votes.shape[1]}), not {s.shape}")
    if groups is not None and len(groups) != ballots.rows:
        raise DistributionError(
            f"`groups` must name the cluster of each of the {ballots.rows} rows, not {len(groups)}"
        )
    duels = _Duels.read(ballots, s if soft else _top(s))
    utterances = duels.count()
    tested = np.flatnonzero(utterances >= max(least, 2))
    too_few = int((utterances > 0).sum()) - len(tested)
    if len(tested) < LEAST_ANNOTATORS:
        found = f"{len(tested)} annotators have {least} utterances with an answer and another vote"
        return AltTest(proxy, epsilon, soft, too_few=too_few, reason=f"{found}, {LEAST_ANNOTATORS} are needed")
    p_values = duels.p_values(epsilon) if groups is None else duels.clustered_p_values(epsilon, tested, groups)
    return _result(AltTest(proxy, epsilon, soft, too_few=too_few), ballots.annotators, duels, tested, p_values[tested])


def _result(test: AltTest, names: Sequence[str], duels: _Duels, tested: NDArray[np.int64], p_values: Array) -> AltTest:
    adjusted = scipy.stats.false_discovery_control(p_values, method="by")
    utterances, human, proxy = duels.count(), duels.mean(duels.human), duels.mean(duels.proxy)
    people = tuple(
        LeftOut(
            annotator=names[place],
            utterances=int(utterances[place]),
            human_advantage=float(human[place]),
            proxy_advantage=float(proxy[place]),
            difference=float(human[place] - proxy[place]),
            p_value=float(p),
            p_adjusted=float(q),
            loses=bool(q <= RATE),
        )
        for place, p, q in zip(tested, p_values, adjusted, strict=True)
    )
    rate = float((adjusted <= RATE).mean())
    advantage = float(proxy[tested].mean())
    return dataclasses.replace(test, passes=rate >= PASSES, winning_rate=rate, advantage=advantage, annotators=people)


@dataclasses.dataclass(frozen=True)
class _Duels:
    """Votes (V,) of `size` known annotators where others voted and the proxy answered: W_human and W_proxy of each."""

    size: int
    row: NDArray[np.int64]
    annotator: NDArray[np.int64]
    human: Array
    proxy: Array

    @classmethod
    def read(cls, ballots: Ballots, answers: Array) -> _Duels:
        row, annotator, votes = _one_each(ballots)
        count, total = np.bincount(row, minlength=ballots.rows), np.zeros((ballots.rows, votes.shape[1]))
        np.add.at(total, row, votes)
        use = (annotator >= 0) & (count[row] >= 2) & (answers.sum(-1)[row] > 0)
        row, annotator, votes = row[use], annotator[use], votes[use]
        others = (total[row] - votes) / (count[row] - 1)[:, None]
        ahead = ((votes - answers[row]) * others).sum(-1)
        size = len(ballots.annotators)
        return cls(size, row, annotator, (ahead >= -TIE).astype(float), (ahead <= TIE).astype(float))

    def count(self) -> NDArray[np.int64]:
        """Utterances (A,) of each annotator."""
        return np.bincount(self.annotator, minlength=self.size)

    def mean(self, values: Array) -> Array:
        """Mean (A,) over each annotator's utterances, 0 where there are none."""
        return np.bincount(self.annotator, values, self.size) / np.maximum(self.count(), 1)

    def p_values(self, epsilon: float) -> Array:
        """One-sided p-values (A,) of mean(W_human - W_proxy) >= epsilon, for those with two utterances or more."""
        lead, n = self.human - self.proxy, np.maximum(self.count(), 2)
        mean = self.mean(lead)
        variance = np.maximum(self.mean(lead**2) - mean**2, 0) * n / (n - 1)
        return _below(mean - epsilon, np.sqrt(variance / n), n - 1)

    def clustered_p_values(self, epsilon: float, tested: NDArray[np.int64], groups: Sequence[str]) -> Array:
        """The same with errors clustered by groups (N,); 1 where all an annotator's utterances are of one group."""
        _, clusters = np.unique(np.asarray(groups), return_inverse=True)
        by_annotator = np.split(np.argsort(self.annotator, kind="stable"), np.cumsum(self.count())[:-1])
        p_values = np.ones(self.size)
        for place in tested:
            rows = by_annotator[place]
            names = clusters[self.row[rows]]
            if (names != names[0]).any():
                found = interval((self.human - self.proxy)[rows], names.tolist())
                p_values[place] = _below(found.estimate - epsilon, found.standard_error, found.degrees_of_freedom)
        return p_values


def _below(distance: ArrayLike, error: ArrayLike, freedom: ArrayLike) -> Array:
    """One-sided p-value that a mean at this distance lies below 0, of Student's t; 0 or 1 where nothing varies."""
    distance, error = np.asarray(distance, float), np.asarray(error, float)
    t = distance / np.where(error > TIE, error, 1)
    return np.where(error > TIE, scipy.stats.t.cdf(t, freedom), distance > -TIE)


def _one_each(ballots: Ballots) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """Rows (V,), annotators (V,) and votes (V, C) that sum to 1, one for each annotator of an utterance."""
    key = np.where(ballots.annotator >= 0, ballots.row * len(ballots.annotators) + ballots.annotator, -1)
    unknown = np.flatnonzero(key < 0)
    key[unknown] = -1 - unknown
    _, first, place = np.unique(key, return_index=True, return_inverse=True)
    votes = np.zeros((len(first), ballots.votes.shape[1]))
    np.add.at(votes, place, ballots.votes)
    return ballots.row[first], ballots.annotator[first], votes / votes.sum(-1, keepdims=True)


def _top(answers: Array) -> Array:
    """The most probable class of each row (N, C) as a vote, which classes that tie share; zeros stay zeros."""
    top = answers.max(-1, keepdims=True)
    best = (top - answers < TIE) & (top > 0)
    return best / np.maximum(best.sum(-1, keepdims=True), 1)


def _epsilon(annotators: str | float) -> float:
    if isinstance(annotators, str):
        if annotators not in EPSILON:
            raise DistributionError(f"`annotators` is {annotators!r}.{did_you_mean(annotators, EPSILON)}")
        return EPSILON[annotators]
    if not 0 <= annotators < 1:
        raise DistributionError(f"`annotators` as a number is epsilon, in [0, 1), not {annotators}")
    return float(annotators)
