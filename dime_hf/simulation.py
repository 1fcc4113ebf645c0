"""Simulated corpora: a known truth, and annotators and proxies of known bias, noise, correlation and worth.

A way to check every method here, ours and yours. Of each utterance:

1. every proxy perceives a distribution: with probability `correlation` the one that all share, else one of its own;
2. the truth is drawn from Dir(strength pi + sum_j kappa_j perceived_j): kappa_j = `Proxy.votes` is what proxy j is
   worth in human votes, and with plain proxies this is the model that the pooler "fitted" assumes;
3. human annotators draw their votes from the truth, and proxies answer what they perceived, each through its `bias`
   and `noise`.

Everything is drawn at once for all utterances, by `seed`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from dime_hf import columns
from dime_hf.corpora.labels import LabelSet
from dime_hf.corpora.policy import Tally, VotePolicy
from dime_hf.distribution import UNDECIDED, Array, as_distributions, normalize, plurality
from dime_hf.errors import DistributionError


@dataclasses.dataclass(frozen=True)
class Annotator:
    """A human who votes.

    bias: (C, C), row j is what they say where they perceive class j; None says what is perceived.
    noise: share of votes that are cast by chance, in [0, 1].
    """

    bias: ArrayLike | None = None
    noise: float = 0.0


@dataclasses.dataclass(frozen=True)
class Proxy:
    """A simulated annotator.

    votes: the kappa planted, votes that it weighs in the truth; 0 is useless. See `validate.worth` for its worth.
    bias: (C, C), row j is what it says where it perceives class j, a permutation say; None says what is perceived.
    noise: share of its answer that is a random distribution, in [0, 1].
    correlation: how often it perceives what other correlated proxies do, in [0, 1]; 1 makes them redundant.
    draws: votes that it draws from its answer; 0 answers with the probabilities.
    failures: share of utterances without a valid answer, in [0, 1].
    """

    name: str = "proxy"
    votes: float = 1.0
    bias: ArrayLike | None = None
    noise: float = 0.0
    correlation: float = 0.0
    draws: int = 0
    failures: float = 0.0


@dataclasses.dataclass(frozen=True)
class Simulation:
    """A simulated corpus of N utterances: truth and vote counts (N, C), answers (N, J, C), and who voted for what.

    answered: (N, J), whether a proxy has a valid answer.
    choices: (N, A) class that each annotator chose, -1 where they were not asked.
    reference: (N, C) counts of held-out votes, None where none are held out.
    """

    classes: tuple[str, ...]
    speakers: tuple[str, ...]
    truth: Array
    counts: Array
    choices: NDArray[np.int64]
    proxies: tuple[Proxy, ...]
    answers: Array
    answered: NDArray[np.bool_]
    reference: Array | None = None

    def held_out(self, keep: int) -> Simulation:
        """The same corpus with the votes of `keep` annotators an utterance; `reference` has those of the others."""
        asked = self.choices != UNDECIDED
        if not 1 <= keep < asked.sum(-1).min():
            raise DistributionError(f"`keep` must be from 1 to {asked.sum(-1).min() - 1} annotators, not {keep}")
        kept = np.where(asked.cumsum(-1) <= keep, self.choices, UNDECIDED)
        counts = _count(kept, len(self.classes))
        return dataclasses.replace(self, choices=kept, counts=counts, reference=self.counts - counts)

    def dataset(self) -> datasets.Dataset:
        """The corpus as stages take it: id, speaker, human_votes, vote_counts, labels, answers, reference_counts."""
        made = columns.corpus_features(self.classes, self.classes)
        kept = (columns.ID, columns.SPEAKER, columns.HUMAN_VOTES, *columns.label_features(self.classes))
        features = {name: made[name] for name in kept}
        winners = plurality(self.counts)
        rows: dict[str, Any] = {
            columns.ID: [f"u{number:06}" for number in range(len(self.truth))],
            columns.SPEAKER: list(self.speakers),
            columns.HUMAN_VOTES: [_votes(row) for row in self.choices.tolist()],
            columns.VOTE_COUNTS: self.counts.tolist(),
            columns.HARD_LABEL: [None if winner == UNDECIDED else winner for winner in winners.tolist()],
            columns.SOFT_LABEL: normalize(self.counts).tolist(),
            columns.SOFT_LABEL_SOURCE: [columns.HUMAN] * len(self.truth),
            columns.SOFT_LABEL_VOTES: self.counts.sum(-1).tolist(),
        }
        if self.reference is not None:
            features[columns.REFERENCE_COUNTS] = columns.distribution_feature(len(self.classes))
            rows[columns.REFERENCE_COUNTS] = self.reference.tolist()
        if self.proxies:
            features[columns.ANSWERS] = columns.answers_feature(self.classes)
            rows[columns.ANSWERS] = [
                [_answer(*cell) for cell in zip(self.proxies, *row, strict=True)]
                for row in zip(self.answers.tolist(), self.answered.tolist(), strict=True)
            ]
        tally = Tally.of(VotePolicy(), LabelSet.of(self.classes, self.classes), self.classes)
        facts = datasets.DatasetInfo(description=tally.describe(), features=datasets.Features(features))
        return datasets.Dataset.from_dict(rows, features=facts.features, info=facts)


def simulate(
    utterances: int = 1000,
    *,
    prior: ArrayLike = (0.4, 0.3, 0.2, 0.1),
    strength: float = 2.0,
    speakers: int = 20,
    speaker_votes: float | None = None,
    annotators: int | Sequence[Annotator] = 5,
    votes: int | None = None,
    correlation: float = 0.0,
    proxies: Sequence[Proxy] = (),
    seed: int = 0,
) -> Simulation:
    """Simulate a corpus whose classes have the shares `prior` (C,), and each truth `strength` pseudo-votes of them.

    `speaker_votes` is how many votes tell a speaker's own shares from the corpus's (few: speakers differ; None: they
    do not). `votes` of the `annotators` are asked for every utterance (None: all), and with probability `correlation`
    each repeats a vote that they all heard. Raises `DistributionError`.
    """
    shares = as_distributions(prior, "prior")
    people = (Annotator(),) * annotators if isinstance(annotators, int) else tuple(annotators)
    asked = len(people) if votes is None else votes
    _check(utterances, speakers, people, asked, strength, correlation, proxies)
    rng = np.random.default_rng(seed)
    speaker = np.arange(utterances) % speakers
    base = np.broadcast_to(shares, (speakers, len(shares)))
    if speaker_votes is not None:
        base = rng.dirichlet(speaker_votes * shares, speakers)
    perceived = _perceive(utterances, shares, proxies, rng)
    worth = np.array([proxy.votes for proxy in proxies])
    truth = _dirichlet(strength * base[speaker] + np.einsum("njc,j->nc", perceived, worth), rng)
    choices = _vote(truth, people, asked, correlation, rng)
    return Simulation(
        classes=tuple(columns.EMOTIONS[: len(shares)]),
        speakers=tuple(f"s{number:03}" for number in speaker.tolist()),
        truth=truth,
        counts=_count(choices, len(shares)),
        choices=choices,
        proxies=tuple(proxies),
        answers=_say(perceived, proxies, rng),
        answered=rng.random((utterances, len(proxies))) >= [proxy.failures for proxy in proxies],
    )


def _check(
    utterances: int,
    speakers: int,
    annotators: Sequence[Annotator],
    votes: int,
    strength: float,
    correlation: float,
    proxies: Sequence[Proxy],
) -> None:
    for name, number in (("utterances", utterances), ("speakers", speakers), ("strength", strength)):
        if not number > 0:
            raise DistributionError(f"`{name}` must be positive, not {number}")
    if not 1 <= votes <= len(annotators):
        raise DistributionError(f"`votes` must be from 1 to the {len(annotators)} annotators, not {votes}")
    if len({proxy.name for proxy in proxies}) < len(proxies):
        raise DistributionError("`proxies` must have different names")
    rates = [("correlation", correlation), *(("noise", annotator.noise) for annotator in annotators)]
    for proxy in proxies:
        rates += [("noise", proxy.noise), ("correlation", proxy.correlation), ("failures", proxy.failures)]
        if proxy.votes < 0 or proxy.draws < 0:
            raise DistributionError(f"`votes` and `draws` of {proxy.name!r} must not be negative")
    for name, rate in rates:
        if not 0 <= rate <= 1:
            raise DistributionError(f"`{name}` must be in [0, 1], not {rate}")


def _dirichlet(alpha: Array, rng: np.random.Generator) -> Array:
    """A draw from each Dir(alpha), alpha (..., C): in logarithms, since gamma draws of a tiny alpha are no floats."""
    alpha = np.maximum(alpha, 1e-9)
    return softmax(np.log(rng.standard_gamma(alpha + 1)) - rng.exponential(size=alpha.shape) / alpha, axis=-1)


def _perceive(utterances: int, prior: Array, proxies: Sequence[Proxy], rng: np.random.Generator) -> Array:
    """Distributions that the proxies perceive (N, J, C), with the corpus's shares on average."""
    own = _dirichlet(np.broadcast_to(len(prior) * prior, (utterances, len(proxies), len(prior))), rng)
    common = _dirichlet(np.broadcast_to(len(prior) * prior, (utterances, 1, len(prior))), rng)
    shared = rng.random((utterances, len(proxies))) < [proxy.correlation for proxy in proxies]
    return np.where(shared[..., None], common, own)


def _through(bias: ArrayLike | None, perceived: Array) -> Array:
    """What somebody of this bias says for what they perceive (N, C)."""
    if bias is None:
        return perceived
    table = as_distributions(bias, "bias")
    if table.shape != (perceived.shape[-1],) * 2:
        raise DistributionError(f"`bias` must be of shape {(perceived.shape[-1],) * 2}, not {table.shape}")
    return perceived @ table


def _vote(
    truth: Array, annotators: Sequence[Annotator], votes: int, correlation: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Class that each annotator chose (N, A), -1 where they were not asked."""
    size, heard = truth.shape[1], _choose(truth, rng)
    choices = np.zeros((len(truth), len(annotators)), dtype=np.int64)
    for index, annotator in enumerate(annotators):
        says = (1 - annotator.noise) * _through(annotator.bias, truth) + annotator.noise / size
        repeats = rng.random(len(truth)) < correlation
        choices[:, index] = np.where(repeats, heard, _choose(says, rng))
    rank = rng.random(choices.shape).argsort(axis=1).argsort(axis=1)
    return np.where(rank < votes, choices, UNDECIDED)


def _choose(distributions: Array, rng: np.random.Generator) -> NDArray[np.int64]:
    """A class drawn from each distribution (N, C)."""
    reached = distributions.cumsum(-1)[:, :-1] < rng.random((len(distributions), 1))
    return reached.sum(-1)


def _count(choices: NDArray[np.int64], size: int) -> Array:
    """Votes by class (N, C) of choices (N, A)."""
    return (choices[..., None] == np.arange(size)).sum(1).astype(float)


def _say(perceived: Array, proxies: Sequence[Proxy], rng: np.random.Generator) -> Array:
    """What the proxies answer (N, J, C)."""
    answers = np.zeros_like(perceived)
    for index, proxy in enumerate(proxies):
        chance = rng.dirichlet(np.ones(perceived.shape[-1]), len(perceived))
        says = (1 - proxy.noise) * _through(proxy.bias, perceived[:, index]) + proxy.noise * chance
        answers[:, index] = rng.multinomial(proxy.draws, says) / proxy.draws if proxy.draws else says
    return answers


def _votes(choices: Sequence[int]) -> list[dict[str, Any]]:
    """The `human_votes` of an utterance."""
    vote = {"kind": columns.EXTERNAL, "secondary": [], "note": ""}
    return [
        {"annotator": f"a{number}", "choices": [choice], **vote}
        for number, choice in enumerate(choices)
        if choice != UNDECIDED
    ]


def _answer(proxy: Proxy, distribution: Sequence[float], answered: bool) -> dict[str, Any]:
    """The entry of a proxy in the `answers` of an utterance."""
    counts = np.rint(np.array(distribution) * proxy.draws).astype(int)
    return {
        "proxy": proxy.name,
        "order": [],
        "distribution": distribution if answered else None,
        "draws": np.repeat(np.arange(len(counts)), counts).tolist() if answered else [],
        "votes": float(proxy.draws or 1) if answered else 0.0,
        "off_option": 0.0 if answered else None,
        "status": columns.OK if answered else columns.FAILED,
        "error": None if answered else "simulated failure",
    }
