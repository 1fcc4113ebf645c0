"""Power by simulation: how often a whole study says "helps", on corpora whose truth and proxies are known."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np
import scipy.stats

from dime_hf.distribution import Array, normalize
from dime_hf.errors import DistributionError
from dime_hf.evidence.comparisons import ALPHA, Verdict, verdict
from dime_hf.pool import CalibratedPooler, FittedPooler, PriorPooler, get_pooler
from dime_hf.pool.panel import Panel, Training
from dime_hf.simulation import Annotator, Proxy, Simulation, simulate
from dime_hf.validate.power import PowerRow, PowerTable

FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Study:
    """A study of labels pooled by `method` against those pooled by `prior`, on simulated corpora.

    Of an utterance's `annotators`, `kept` vote in the labels, two or more; the others are the reference. Poolers are
    fitted on the kept votes of other speakers. The rest is as in `simulate`.
    """

    utterances: int = 1000
    speakers: int = 10
    annotators: int | tuple[Annotator, ...] = 3
    kept: int = 2
    proxies: tuple[Proxy, ...] = (Proxy(),)
    method: str = "fitted"
    prior: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1)
    strength: float = 2.0
    speaker_votes: float | None = None
    correlation: float = 0.0

    def corpus(self, seed: int) -> Simulation:
        """Draw a corpus, its votes held out."""
        if self.kept < 2:
            raise DistributionError(
                f"`kept` must be at least 2 votes, which alone identify strengths, not {self.kept}"
            )
        drawn = simulate(
            self.utterances, prior=self.prior, strength=self.strength, speakers=self.speakers,
            speaker_votes=self.speaker_votes, annotators=self.annotators, correlation=self.correlation,
            proxies=self.proxies, seed=seed,
        )  # fmt: skip
        return drawn.held_out(self.kept)

    def verdict(self, seed: int, alpha: float = ALPHA) -> Verdict:
        """Draw a corpus, pool its labels, and judge them."""
        return judge(self.corpus(seed), self.method, alpha)


def judge(corpus: Simulation, method: str, alpha: float = ALPHA) -> Verdict:
    """The verdict on labels pooled by `method` against those pooled by `prior`, on the corpus's held-out votes."""
    if corpus.reference is None:
        raise DistributionError("`corpus` has no held-out votes: take `corpus.held_out(keep)`")
    ours, control = cross_fitted(corpus, method)
    return verdict(normalize(ours), corpus.reference, corpus.speakers, normalize(control), alpha=alpha)


def cross_fitted(corpus: Simulation, method: str, folds: int = FOLDS) -> tuple[Array, Array]:
    """Total votes (N, C) by `method`, and by `prior`, from poolers fitted on the other speakers, as `cross_pool` does.

    Without the intervals that `cross_pool` adds, which take most of its time.
    """
    judged = get_pooler(method)
    if not isinstance(judged, FittedPooler | CalibratedPooler):
        raise DistributionError(f"`method` must be 'fitted' or 'calibrated', compared to 'prior', not {method!r}")
    panel, groups = panel_of(corpus), np.array(corpus.speakers)
    fold = np.unique(corpus.speakers, return_inverse=True)[1] % folds
    ours, control = np.zeros_like(panel.human), np.zeros_like(panel.human)
    for inside in (fold == number for number in np.unique(fold)):
        pooler = judged.fit_votes(Training(panel.select(~inside), groups[~inside], ()))
        some = panel.select(inside)
        ours[inside] = pooler.total_votes(some)
        control[inside] = PriorPooler(pooler.prior, pooler.strength).total_votes(some)
    return ours, control


def panel_of(corpus: Simulation) -> Panel:
    """The votes of a simulated corpus, as poolers read them from its dataset."""
    votes = corpus.answered * np.array([proxy.draws or 1.0 for proxy in corpus.proxies])
    drawn = corpus.answered & np.array([proxy.draws > 0 for proxy in corpus.proxies], dtype=bool)
    answers = corpus.answers * corpus.answered[..., None]
    names = tuple(proxy.name for proxy in corpus.proxies)
    return Panel(corpus.counts, names, answers, votes, drawn, np.zeros((len(answers), 0)))


@dataclasses.dataclass(frozen=True)
class SimulatedPower:
    """How often a study says "helps" and "hurts"; `low` and `high` are the 95 % interval of `power`."""

    power: float
    low: float
    high: float
    helps: int
    hurts: int
    corpora: int
    gain: float  # mean over corpora of the squared score that is won against `prior`

    def __str__(self) -> str:
        return (
            f'"helps" in {self.helps} of {self.corpora} simulated corpora: {self.power:.3f} [{self.low:.3f}, '
            f'{self.high:.3f}] (95 %), "hurts" in {self.hurts}; mean gain {self.gain:.4f}'
        )


def simulated_power(study: Study, *, corpora: int = 200, seed: int = 0) -> SimulatedPower:
    """Run a study on `corpora` simulated corpora, with the seeds from `seed` on, and count its verdicts."""
    if corpora < 1:
        raise DistributionError(f"`corpora` must be at least 1, not {corpora}")
    verdicts = [study.verdict(number) for number in range(seed, seed + corpora)]
    helps, hurts = (sum(found.says == word for found in verdicts) for word in ("helps", "hurts"))
    bounds = scipy.stats.binomtest(helps, corpora).proportion_ci(0.95)
    gain = -float(np.mean([found.paired.difference.estimate for found in verdicts]))
    return SimulatedPower(helps / corpora, float(bounds.low), float(bounds.high), helps, hurts, corpora, gain)


def simulated_table(
    study: Study,
    *,
    utterances: Iterable[int],
    speakers: Iterable[int],
    votes: Iterable[int],
    corpora: int = 200,
    seed: int = 0,
) -> PowerTable:
    """Power of a study in every combination of the numbers, by simulation; `votes` are those of the reference."""
    if not isinstance(study.annotators, int):
        raise DistributionError("`study.annotators` must be a number for the votes to vary, not annotators one by one")
    rows = []
    for size, people, count in itertools.product(utterances, speakers, votes):
        design = dataclasses.replace(study, utterances=size, speakers=people, annotators=study.kept + count)
        found = simulated_power(design, corpora=corpora, seed=seed)
        rows.append(PowerRow(size, people, count, found.power, found.low, found.high, corpora))
    worth = " + ".join(f"{proxy.votes:g}" for proxy in study.proxies)
    return PowerTable(f'How often {study.method!r} says "helps" with proxies worth {worth} votes', tuple(rows))
