"""Pooling: human and synthetic votes of an utterance -> one soft label.

Every method adds pseudo-votes alpha_i to the human counts n_i and divides by their sum:

| method | pseudo-votes alpha_i | fitted on training votes |
|---|---|---|
| `human` | none | - |
| `synthetic` | the synthetic votes, and the human ones dropped | - |
| `equal` | K_i s_i: every synthetic vote weighs as much as a human one (2601.14620) | - |
| `prior` | s0 pi: the control without any proxy | pi, s0 |
| `fitted` | s0 pi + kappa s_i: the panel of proxies weighs kappa human votes | pi, s0, kappa |

s_i is the mean of the utterance's valid answers, K_i how many there are, pi the share of votes in the training set.
`prior` and `fitted` maximise the Dirichlet-multinomial likelihood of the training votes, times a wide prior on the
strengths, which matters only where utterances are few; their labels are posterior means.
"""

from __future__ import annotations

import abc
import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import datasets
import numpy as np
from datasets import Value
from scipy.optimize import minimize
from scipy.special import digamma, gammaln

from dime_hf import columns
from dime_hf.columns import ANSWERS, ID, OK, REFERENCE_COUNTS, VOTE_COUNTS
from dime_hf.distribution import Array, as_counts, as_distributions, dirichlet_entropy, entropy
from dime_hf.errors import ColumnError, DistributionError, FitError, LeakageError, did_you_mean
from dime_hf.stage import Batch, beside, new_columns

ENTROPY_DRAWS = 200
READS = (ID, columns.SPEAKER, columns.DIALOG, VOTE_COUNTS, ANSWERS, REFERENCE_COUNTS)
LARGEST_LOG = 7.0  # strengths are sought between exp(-7) and exp(7) votes,
LOG_SPREAD = 2.0  # under a log-normal prior around one vote, of this scale: it decides only where votes are few
ENTROPIES = (columns.SOFT_LABEL_ENTROPY, columns.SOFT_LABEL_ENTROPY_LOW, columns.SOFT_LABEL_ENTROPY_HIGH)


@dataclasses.dataclass(frozen=True)
class Panel:
    """Votes on a batch of utterances: human counts (N, C), mean synthetic answer (N, C), synthetic votes (N,)."""

    human: Array
    synthetic: Array
    synthetic_votes: Array

    @classmethod
    def read(cls, batch: Batch) -> Panel:
        """Read the votes of a batch; failed answers weigh nothing, no answers make 0 synthetic votes."""
        human = as_counts(batch[VOTE_COUNTS], VOTE_COUNTS)
        rows = batch[ANSWERS] if ANSWERS in columns.column_names(batch) else [[]] * len(human)
        sums, votes = np.zeros_like(human), np.zeros(len(human))
        for index, answers in enumerate(rows):
            for answer in answers:
                if answer["status"] == OK:
                    sums[index] += answer["votes"] * _answer_distribution(answer, human.shape[1])
                    votes[index] += answer["votes"]
        return cls(human, sums / np.where(votes > 0, votes, 1)[:, None], votes)


@dataclasses.dataclass(frozen=True)
class Pooler(abc.ABC):
    """Turns a batch's votes into soft labels: `fit` on training data, then `dataset.map(pooler, batched=True)`."""

    name: ClassVar[str]
    reads_answers: ClassVar[bool] = False
    has_posterior: ClassVar[bool] = False

    def fit(self, dataset: datasets.Dataset) -> Self:
        """Return this method fitted on the votes of `dataset`; methods without parameters need no fit."""
        return self

    @abc.abstractmethod
    def total_votes(self, panel: Panel) -> Array:
        """Human votes and pseudo-votes (N, C) of every utterance."""

    @property
    def source(self) -> str:
        """What `soft_label_source` says."""
        return self.name

    def __call__(self, batch: Batch) -> dict[str, list[Any]]:
        """Return the soft-label columns of a batch; a label is null where there is no vote to make it from."""
        total = self.total_votes(Panel.read(batch))
        votes = total.sum(-1)
        labels = total / np.where(votes > 0, votes, 1)[:, None]
        return {
            columns.SOFT_LABEL: [row if any(row) else None for row in labels.tolist()],
            columns.SOFT_LABEL_SOURCE: [self.source] * len(votes),
            columns.SOFT_LABEL_VOTES: votes.tolist(),
            **self._entropies(total, batch[ID]),
        }

    def _entropies(self, total: Array, ids: Sequence[str]) -> dict[str, list[Any]]:
        if not self.has_posterior:
            return {name: [None] * len(ids) for name in ENTROPIES}
        draws = np.array([_entropy_draws(alpha, id) for alpha, id in zip(total, ids, strict=True)])
        low, high = np.quantile(draws, [0.05, 0.95], axis=1)
        return dict(zip(ENTROPIES, (dirichlet_entropy(total).tolist(), low.tolist(), high.tolist()), strict=True))


@dataclasses.dataclass(frozen=True)
class HumanPooler(Pooler):
    """The human votes alone."""

    name = "human"

    def total_votes(self, panel: Panel) -> Array:
        return panel.human


@dataclasses.dataclass(frozen=True)
class SyntheticPooler(Pooler):
    """The synthetic votes alone."""

    name = "synthetic"
    reads_answers = True

    def total_votes(self, panel: Panel) -> Array:
        return panel.synthetic * panel.synthetic_votes[:, None]


@dataclasses.dataclass(frozen=True)
class EqualPooler(Pooler):
    """Every synthetic vote weighs as much as a human one: the reference recipe."""

    name = "equal"
    reads_answers = True

    def total_votes(self, panel: Panel) -> Array:
        return panel.human + panel.synthetic * panel.synthetic_votes[:, None]


@dataclasses.dataclass(frozen=True)
class PriorPooler(Pooler):
    """Human votes and `strength` pseudo-votes of the constant `prior` (C,): the control that needs no proxy."""

    prior: tuple[float, ...] = ()
    strength: float = 0.0
    fitted_on: tuple[str, ...] = ()

    name = "prior"
    has_posterior = True

    def fit(self, dataset: datasets.Dataset) -> Self:
        """Fit prior and strength on `vote_counts`; raises `FitError` where no utterance has two votes."""
        panel, groups = _training_panel(dataset)
        prior = _smoothed_share(panel.human)
        (strength,) = _fit_strengths(panel.human, [np.broadcast_to(prior, panel.human.shape)])
        return dataclasses.replace(self, prior=tuple(prior.tolist()), strength=strength, fitted_on=groups)

    def total_votes(self, panel: Panel) -> Array:
        return panel.human + self.strength * self._fitted_prior(panel)

    @property
    def source(self) -> str:
        return f"prior(s0={self.strength:.3g})"

    def __call__(self, batch: Batch) -> dict[str, list[Any]]:
        """Return the soft-label columns; raises `LeakageError` for rows to be scored whose speakers were fitted on."""
        if REFERENCE_COUNTS in columns.column_names(batch):
            seen = set(columns.groups(batch)).intersection(self.fitted_on)
            if seen:
                raise LeakageError(
                    f"the pooler {self.name!r} was fitted on {min(seen)!r} and {len(seen) - 1} other groups of this "
                    f"dataset, which carries {REFERENCE_COUNTS!r} to be scored against: fit on other speakers, or use "
                    "`cross_pool`"
                )
        return super().__call__(batch)

    def _fitted_prior(self, panel: Panel) -> Array:
        if not self.prior:
            raise FitError(f"the pooler {self.name!r} has not been fitted: call `pooler = pooler.fit(train)` first")
        if len(self.prior) != panel.human.shape[1]:
            raise DistributionError(
                f"the pooler was fitted on {len(self.prior)} classes, the dataset has {panel.human.shape[1]}"
            )
        return np.array(self.prior)


@dataclasses.dataclass(frozen=True)
class FittedPooler(PriorPooler):
    """Human votes, a prior, and a panel of proxies that weighs as many votes as the training humans bear out.

    alpha_i = s0 pi + kappa s_i. An utterance without a valid answer gets the prior alone, at the strength that fits
    best then.
    """

    effective_votes: float = 0.0  # kappa
    prior_strength: float = 0.0  # s0 beside kappa

    name = "fitted"
    reads_answers = True

    def fit(self, dataset: datasets.Dataset) -> Self:
        """Fit prior, s0 and kappa on `vote_counts` and `answers`; raises `FitError` where nothing identifies them."""
        columns.require(dataset, ANSWERS)
        alone = super().fit(dataset)
        panel, _ = _training_panel(dataset)
        answered = panel.synthetic_votes > 0
        human, synthetic = panel.human[answered], panel.synthetic[answered]
        constant = np.broadcast_to(np.array(alone.prior), human.shape)
        strength, effective = _fit_strengths(human, [constant, synthetic])
        return dataclasses.replace(alone, prior_strength=strength, effective_votes=effective)

    def total_votes(self, panel: Panel) -> Array:
        prior, answered = self._fitted_prior(panel), (panel.synthetic_votes > 0)[:, None]
        with_panel = self.prior_strength * prior + self.effective_votes * panel.synthetic
        return panel.human + np.where(answered, with_panel, self.strength * prior)

    @property
    def source(self) -> str:
        return f"fitted(s0={self.prior_strength:.3g}, kappa={self.effective_votes:.3g})"


POOLERS: dict[str, type[Pooler]] = {
    pooler.name: pooler for pooler in (HumanPooler, SyntheticPooler, EqualPooler, PriorPooler, FittedPooler)
}


def get_pooler(name: str) -> Pooler:
    """Return the pooler called `name`, not fitted yet."""
    if name not in POOLERS:
        raise FitError(f"`name` is {name!r}, no pooling method.{did_you_mean(name, POOLERS)}")
    return POOLERS[name]()


def pool(dataset: datasets.Dataset, pooler: Pooler) -> datasets.Dataset:
    """Replace the soft labels of `dataset` by those of a (fitted) pooler; adds their entropy in bits."""
    return beside(dataset, _labels(dataset, pooler))


def cross_pool(dataset: datasets.Dataset, pooler: Pooler, folds: int = 5) -> datasets.Dataset:
    """Pool every utterance with a pooler fitted on the other speakers' utterances; rows keep their order.

    Speakers go to `folds` folds in turn, in sorted order. For labels to be scored when there is no training split.
    """
    names = [name for name in (*READS, columns.HARD_LABEL) if name in dataset.column_names]
    votes = dataset.select_columns(names)
    groups = columns.groups(votes[:])
    fold_of = {group: index % folds for index, group in enumerate(sorted(set(groups)))}
    if len(fold_of) < 2:
        raise FitError(f"`dataset` has one group of utterances, {groups[0]!r}: there is no other speaker to fit on")
    member = np.array([fold_of[group] for group in groups])
    inside = [np.flatnonzero(member == fold) for fold in range(folds)]
    parts = [
        _labels(votes.select(rows), pooler.fit(votes.select(np.flatnonzero(member != fold))))
        for fold, rows in enumerate(inside)
        if rows.size
    ]
    order = np.argsort(np.concatenate(inside))
    return beside(dataset, datasets.concatenate_datasets(parts).select(order))


def _labels(dataset: datasets.Dataset, pooler: Pooler) -> datasets.Dataset:
    """The soft-label columns alone."""
    columns.require(dataset, ID, VOTE_COUNTS, *([ANSWERS] if pooler.reads_answers else []))
    writes = {
        columns.SOFT_LABEL: columns.distribution_feature(len(columns.classes(dataset))),
        columns.SOFT_LABEL_SOURCE: Value("string"),
        **dict.fromkeys([columns.SOFT_LABEL_VOTES, *ENTROPIES], Value("float32")),
    }
    reads = [name for name in READS if name in dataset.column_names]
    return new_columns(dataset, pooler, reads=reads, writes=writes, desc=f"Pooling ({pooler.name})")


def _answer_distribution(answer: Mapping[str, Any], size: int) -> Array:
    distribution = as_distributions(answer["distribution"], f"answer of {answer['proxy']!r}")
    if distribution.shape != (size,):
        raise ColumnError(
            f"an answer of {answer['proxy']!r} is over {distribution.size} classes, the votes are over {size}"
        )
    return distribution


def _training_panel(dataset: datasets.Dataset) -> tuple[Panel, tuple[str, ...]]:
    """Votes of the utterances with two votes or more, and the groups of all utterances."""
    columns.require(dataset, ID, VOTE_COUNTS)
    votes = dataset.select_columns([name for name in READS if name in dataset.column_names])[:]
    panel = Panel.read(votes)
    several = panel.human.sum(-1) >= 2
    if not several.any():
        raise FitError(
            f"`dataset` has no utterance with two votes or more among {len(several)}: one vote an utterance cannot "
            "tell how far to trust it, so there is nothing to fit strengths on"
        )
    fit = Panel(panel.human[several], panel.synthetic[several], panel.synthetic_votes[several])
    return fit, tuple(sorted(set(columns.groups(votes))))


def _smoothed_share(counts: Array) -> Array:
    """Share of all votes (C,), half a vote added to each class so that none is impossible."""
    totals = counts.sum(0) + 0.5
    return totals / totals.sum()


def _fit_strengths(counts: Array, components: Sequence[Array]) -> list[float]:
    """Strengths w of the components that maximise the likelihood of counts (N, C): alpha = sum_j w_j components_j."""
    if len(counts) == 0:
        raise FitError(
            "`dataset` has no utterance that has both two human votes and a valid answer: nothing to fit on"
        )
    basis = np.stack(components)

    def loss(logs: Array) -> tuple[float, Array]:
        strengths = np.exp(logs)
        alpha = np.maximum(np.tensordot(strengths, basis, 1), 1e-12)
        value, slope = _dirichlet_multinomial(counts, alpha)
        slopes = (basis * slope).sum((1, 2)) * strengths - logs / LOG_SPREAD**2
        return -(value - (logs**2).sum() / (2 * LOG_SPREAD**2)) / len(counts), -slopes / len(counts)

    bounds = [(-LARGEST_LOG, LARGEST_LOG)] * len(basis)
    result = minimize(loss, np.zeros(len(basis)), jac=True, method="L-BFGS-B", bounds=bounds)
    if not result.success:
        raise FitError(f"the pooling strengths did not converge on {len(counts)} utterances: {result.message}")
    return np.exp(result.x).tolist()


def _dirichlet_multinomial(counts: Array, alpha: Array) -> tuple[float, Array]:
    """Log-likelihood (nats, without the multinomial coefficient) of counts (N, C) and its slope in alpha (N, C)."""
    total, votes = alpha.sum(-1), counts.sum(-1)
    value = (gammaln(total) - gammaln(votes + total)).sum() + (gammaln(counts + alpha) - gammaln(alpha)).sum()
    slope = (digamma(total) - digamma(votes + total))[:, None] + digamma(counts + alpha) - digamma(alpha)
    return float(value), slope


def _entropy_draws(alpha: Array, id: str) -> Array:
    """Entropies in bits (draws,) of distributions drawn from Dir(alpha), the same for the same utterance."""
    rng = np.random.default_rng(zlib.crc32(id.encode()))
    return entropy(rng.dirichlet(np.maximum(alpha, 1e-6), ENTROPY_DRAWS))
