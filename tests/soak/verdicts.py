"""How often our verdicts and intervals are wrong, on simulated corpora whose truth and proxies are known.

Each experiment measures numbers on many corpora; their means must lie within bounds. It fails where the interval of a
mean, exact binomial for rates and Student's t otherwise, lies wholly outside. IEMOCAP's size is 10,039 utterances of
10 speakers with three votes, of which two are kept; `calibrated`, which takes seconds for that, is mostly run on
smaller corpora, and on fewer.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import logging
import math
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import datasets
import numpy as np
import scipy.stats

from dime_hf import columns
from dime_hf.distribution import Array, entropy, normalize
from dime_hf.evidence import verdict
from dime_hf.pool import FittedPooler, get_pooler, pool
from dime_hf.pool.panel import Training
from dime_hf.score import squared_score
from dime_hf.simulation import Proxy, Simulation
from dime_hf.validate.study import Study, judge, panel_of

PRIOR = (0.4, 0.3, 0.2, 0.1)
ALWAYS_WRONG = tuple(map(tuple, np.roll(np.eye(4), 1, axis=0).tolist()))  # says the next class
IEMOCAP = 10_039  # utterances
ROWS = 240_000  # that a true difference is averaged over
LEVEL = 0.999  # of the interval of a measured mean

Measure = Callable[[int], Mapping[str, float]]


@dataclasses.dataclass(frozen=True)
class Bound:
    """Where the mean of a number must lie; without ends it is printed alone."""

    low: float = -math.inf
    high: float = math.inf

    def __str__(self) -> str:
        ends = [f">= {self.low:g}"] * (self.low > -math.inf) + [f"<= {self.high:g}"] * (self.high < math.inf)
        return ", ".join(ends) or "-"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Numbers measured on the corpus of a seed, with the bounds of their means; on one corpus in `every`."""

    name: str
    measure: Measure
    bounds: Mapping[str, Bound]
    every: int = 1


@dataclasses.dataclass(frozen=True)
class Rate:
    """The mean of a number over the corpora, its interval, and its bound."""

    name: str
    mean: float
    low: float
    high: float
    corpora: int
    bound: Bound

    @classmethod
    def of(cls, name: str, values: Sequence[float], bound: Bound, level: float = LEVEL) -> Rate:
        numbers = np.asarray(values, dtype=float)
        if np.isin(numbers, (0, 1)).all():
            ends = scipy.stats.binomtest(int(numbers.sum()), len(numbers)).proportion_ci(level)
            low, high = ends.low, ends.high
        else:
            half = scipy.stats.t.ppf((1 + level) / 2, len(numbers) - 1) * scipy.stats.sem(numbers)
            low, high = numbers.mean() - half, numbers.mean() + half
        return cls(name, float(numbers.mean()), float(low), float(high), len(numbers), bound)

    @property
    def fails(self) -> bool:
        return self.low > self.bound.high or self.high < self.bound.low

    def __str__(self) -> str:
        interval = f"[{self.low:.4f}, {self.high:.4f}]"
        return (
            f"{self.name:<58}{self.mean:>9.4f} {interval:<19}{self.corpora:>8}  {self.bound}{'  FAILS' * self.fails}"
        )


HEADER = f"{'measured':<58}{'mean':>9} {f'{100 * LEVEL:g} %':<19}{'corpora':>8}  bound"


def shuffled(corpus: Simulation, seed: int) -> Simulation:
    """The corpus with its answers handed to other utterances."""
    return dataclasses.replace(corpus, answers=np.random.default_rng(seed).permutation(corpus.answers))


def says(study: Study, shuffle: bool, seed: int) -> dict[str, float]:
    """Whether the verdict is "helps", and "hurts"."""
    corpus = study.corpus(seed)
    found = judge(shuffled(corpus, seed) if shuffle else corpus, study.method)
    return {word: float(found.says == word) for word in ("helps", "hurts")}


def kappa(study: Study, seed: int) -> dict[str, float]:
    """The votes that the panel is found to be worth."""
    corpus = study.corpus(seed)
    pooler = FittedPooler().fit_votes(Training(panel_of(corpus), np.array(corpus.speakers), ()))
    return {"kappa": pooler.effective_votes}


def credible(study: Study, seed: int) -> dict[str, float]:
    """Share of the truths inside the 90 % credible intervals, of classes' shares and of entropies, on new speakers."""
    corpus = study.corpus(seed)
    dataset = corpus.dataset().remove_columns(columns.REFERENCE_COUNTS)
    test = np.isin(corpus.speakers, sorted(set(corpus.speakers))[::4])
    pooler = get_pooler(study.method).fit(dataset.select(np.flatnonzero(~test)))
    labels, truth = pool(dataset.select(np.flatnonzero(test)), pooler), corpus.truth[test]
    ends = ((columns.SOFT_LABEL_LOW, columns.SOFT_LABEL_HIGH), truth), (
        (columns.SOFT_LABEL_ENTROPY_LOW, columns.SOFT_LABEL_ENTROPY_HIGH), entropy(truth),
    )  # fmt: skip
    inside = [(np.array(labels[low]) <= known) & (known <= np.array(labels[high])) for (low, high), known in ends]
    return {"shares": float(inside[0].mean()), "entropies": float(inside[1].mean())}


def known_labels(corpus: Simulation, study: Study) -> tuple[Array, Array]:
    """Labels by the strengths that the corpus was made with, and without its proxy: nothing is fitted."""
    base = corpus.counts + study.strength * np.array(PRIOR)
    return normalize(base + study.proxies[0].votes * corpus.answers[:, 0]), normalize(base)


@functools.lru_cache
def true_difference(study: Study) -> float:
    """The difference in squared score over a great many speakers, by the truth."""
    each = study.utterances // study.speakers
    many = dataclasses.replace(study, speakers=ROWS // each, utterances=ROWS // each * each)
    corpus = many.corpus(seed=10**6)
    ours, control = (squared_score(labels, corpus.truth) for labels in known_labels(corpus, many))
    return float((ours - control).mean())


def clustered(study: Study, seed: int) -> dict[str, float]:
    """Whether the 95 % interval of a verdict's difference holds the true one."""
    corpus = study.corpus(seed)
    ours, control = known_labels(corpus, study)
    found = verdict(ours, corpus.reference, corpus.speakers, control).paired.difference
    return {"covered": float(found.low <= true_difference(study) <= found.high)}


def experiments(utterances: int = IEMOCAP, small: int = 1000) -> Iterator[Experiment]:
    """All of them: `fitted` on corpora of so many utterances, `calibrated` and the credible intervals on `small`."""
    yield from verdict_experiments("fitted", utterances, 1)
    yield from verdict_experiments("calibrated", small, 10)
    good = Study(utterances=utterances, proxies=(Proxy(votes=1),), method="calibrated")
    yield Experiment("calibrated at IEMOCAP's size, worth 1 vote", functools.partial(says, good, False), GOOD, 20)
    yield from strength_experiments(utterances)
    yield from interval_experiments()
    yield from credible_experiments(2 * small)


RARELY_HURTS = {"helps": Bound(), "hurts": Bound(high=0.025)}
USELESS = {"helps": Bound(high=0.05), "hurts": Bound(high=0.025)}
GOOD = {"helps": Bound(low=0.9), "hurts": Bound(high=0.025)}


def verdict_experiments(method: str, utterances: int, every: int) -> Iterator[Experiment]:
    """Verdicts on proxies of all kinds; speakers differ in half of them (ten votes tell), on half the corpora."""
    constant = Proxy(votes=0, bias=(PRIOR,) * 4)
    off = Proxy(votes=0, bias=((0.1, 0.1, 0.1, 0.7),) * 4)
    large = utterances >= IEMOCAP
    kinds = (
        ("noise", Proxy(votes=0, noise=1), None, False, USELESS),
        ("noise of one vote, speakers differ", Proxy(votes=0, draws=1), 10.0, False, USELESS),
        ("constant", constant, None, False, USELESS),
        ("constant and off, speakers differ", off, 10.0, False, USELESS),
        ("shuffled", Proxy(votes=2), None, True, USELESS),
        ("shuffled, speakers differ", Proxy(votes=2), 10.0, True, USELESS),
        ("always wrong", Proxy(votes=2, bias=ALWAYS_WRONG), None, False, RARELY_HURTS),
        ("always wrong, speakers differ", Proxy(votes=2, bias=ALWAYS_WRONG), 10.0, False, RARELY_HURTS),
        ("worth 1 vote", Proxy(votes=1), None, False, GOOD if large else RARELY_HURTS),
        ("worth 1 vote, speakers differ", Proxy(votes=1), 10.0, False, GOOD if large else RARELY_HURTS),
    )
    for name, proxy, speaker_votes, shuffle, bounds in kinds:
        study = Study(utterances=utterances, proxies=(proxy,), method=method, speaker_votes=speaker_votes)
        measure = functools.partial(says, study, shuffle)
        yield Experiment(f"{method}, {name}", measure, bounds, every if speaker_votes is None else 2 * every)


def strength_experiments(utterances: int) -> Iterator[Experiment]:
    """Strengths that are found, to a hundredth; copies of one proxy share its votes."""
    for votes in (0.5, 1.0, 3.0):
        study = Study(utterances=utterances, proxies=(Proxy(votes=votes),))
        bound = {"kappa": Bound(0.99 * votes, 1.01 * votes)}
        yield Experiment(f"fitted, one proxy worth {votes:g}", functools.partial(kappa, study), bound, 2)
    for name, votes, correlation in (("1 proxy", 1.0, 0.0), ("5 copies of it", 0.2, 1.0), ("5, correlated", 0.2, 0.7)):
        copies = tuple(Proxy(f"copy {n}", votes, correlation=correlation) for n in range(round(1 / votes)))
        measure = functools.partial(kappa, Study(utterances=utterances, proxies=copies))
        yield Experiment(f"fitted, {name} worth 1 in all", measure, {"kappa": Bound(0.95, 1.05)}, 5)


def interval_experiments() -> Iterator[Experiment]:
    """Clustered intervals with few speakers who differ."""
    for speakers in (10, 5, 2):
        study = Study(utterances=60 * speakers, speakers=speakers, proxies=(Proxy(votes=2),), speaker_votes=5.0)
        measure, bound = functools.partial(clustered, study), {"covered": Bound(low=0.93, high=0.97)}
        yield Experiment(f"95 % intervals, {speakers} speakers", measure, bound)


def credible_experiments(utterances: int) -> Iterator[Experiment]:
    """Credible intervals, under the model's own assumptions and under wrong ones."""
    within = {"shares": Bound(0.87, 0.93), "entropies": Bound(0.87, 0.93)}
    printed = {"shares": Bound(), "entropies": Bound()}
    right = Study(utterances=utterances, speakers=20, proxies=(Proxy(votes=2),))
    biased = Proxy(votes=2, bias=ALWAYS_WRONG, noise=0.3, draws=5)
    wrong = (
        ("fitted, biased and noisy proxy", dataclasses.replace(right, proxies=(biased,))),
        ("calibrated, biased and noisy proxy", dataclasses.replace(right, proxies=(biased,), method="calibrated")),
        ("fitted, human votes correlated by .3", dataclasses.replace(right, correlation=0.3)),
        ("fitted, speakers differ", dataclasses.replace(right, speaker_votes=5.0)),
    )
    yield Experiment("90 % credible, fitted", functools.partial(credible, right), within, 10)
    prior = dataclasses.replace(right, method="prior", proxies=(Proxy(votes=0),))
    yield Experiment("90 % credible, prior", functools.partial(credible, prior), within, 10)
    for name, study in wrong:
        yield Experiment(f"90 % credible, {name}", functools.partial(credible, study), printed, 25)


def rates(experiment: Experiment, found: Sequence[Mapping[str, float]], level: float = LEVEL) -> list[Rate]:
    """The means of what an experiment measured."""
    return [
        Rate.of(f"{experiment.name}: {key}", [values[key] for values in found], bound, level)
        for key, bound in experiment.bounds.items()
    ]


def run(corpora: int, seed: int = 0) -> bool:
    """Run everything in as many processes as there are cores, print the table, and say whether all bounds hold."""
    every = list(experiments())
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes: there is one a core
    with concurrent.futures.ProcessPoolExecutor(
        os.cpu_count(), multiprocessing.get_context("spawn"), initializer=_quietly
    ) as processes:
        found = [
            [processes.submit(experiment.measure, seed + n) for n in range(max(3, corpora // experiment.every))]
            for experiment in every
        ]
        print(HEADER, flush=True)
        fine = True
        for experiment, futures in zip(every, found, strict=True):
            for rate in rates(experiment, [future.result() for future in futures]):
                print(rate, flush=True)
                fine = fine and not rate.fails
    return fine


def _quietly() -> None:
    datasets.disable_progress_bars()
    logging.disable(logging.WARNING)
