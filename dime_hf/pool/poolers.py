"""The pooling methods: what each adds to the human votes of an utterance."""

from __future__ import annotations

import abc
import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import datasets
import numpy as np

from dime_hf import columns
from dime_hf.columns import ANSWERS, ID, REFERENCE_COUNTS
from dime_hf.distribution import Array, dirichlet_entropy, entropy
from dime_hf.errors import DistributionError, FitError, LeakageError
from dime_hf.pool.panel import Panel, training_panel
from dime_hf.pool.strengths import fit_strengths, smoothed_share

ENTROPY_DRAWS = 200
ENTROPIES = (columns.SOFT_LABEL_ENTROPY, columns.SOFT_LABEL_ENTROPY_LOW, columns.SOFT_LABEL_ENTROPY_HIGH)


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

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the soft-label columns of a batch, or of one row; a label is null where there is no vote."""
        if isinstance(batch[ID], str):
            one = self({name: [value] for name, value in batch.items()})
            return {name: values[0] for name, values in one.items()}
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
        panel, groups = training_panel(dataset)
        prior = smoothed_share(panel.human)
        (strength,) = fit_strengths(panel.human, [np.broadcast_to(prior, panel.human.shape)])
        return dataclasses.replace(self, prior=tuple(prior.tolist()), strength=strength, fitted_on=groups)

    def total_votes(self, panel: Panel) -> Array:
        return panel.human + self.strength * self._fitted_prior(panel)

    @property
    def source(self) -> str:
        return f"prior(s0={self.strength:.3g})"

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the soft-label columns; raises `LeakageError` for rows to be scored whose speakers were fitted on."""
        if REFERENCE_COUNTS in columns.column_names(batch) and not isinstance(batch[ID], str):
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
        panel, _ = training_panel(dataset)
        answered = panel.synthetic_votes > 0
        human, synthetic = panel.human[answered], panel.synthetic[answered]
        constant = np.broadcast_to(np.array(alone.prior), human.shape)
        strength, effective = fit_strengths(human, [constant, synthetic])
        return dataclasses.replace(alone, prior_strength=strength, effective_votes=effective)

    def total_votes(self, panel: Panel) -> Array:
        prior, answered = self._fitted_prior(panel), (panel.synthetic_votes > 0)[:, None]
        with_panel = self.prior_strength * prior + self.effective_votes * panel.synthetic
        return panel.human + np.where(answered, with_panel, self.strength * prior)

    @property
    def source(self) -> str:
        return f"fitted(s0={self.prior_strength:.3g}, kappa={self.effective_votes:.3g})"


def _entropy_draws(alpha: Array, id: str) -> Array:
    """Entropies in bits (draws,) of distributions drawn from Dir(alpha), the same for the same utterance."""
    rng = np.random.default_rng(zlib.crc32(id.encode()))
    return entropy(rng.dirichlet(np.maximum(alpha, 1e-6), ENTROPY_DRAWS))
