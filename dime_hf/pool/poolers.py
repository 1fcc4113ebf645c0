"""The pooling methods' common part, and those that need no likelihood: what each adds to the human votes."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import datasets
import numpy as np

from dime_hf import columns
from dime_hf.columns import ANSWERS, ID, REFERENCE_COUNTS
from dime_hf.distribution import Array, dirichlet_entropy
from dime_hf.errors import DistributionError, FitError, LeakageError
from dime_hf.pool.panel import READS, Panel, Training
from dime_hf.pool.strengths import smoothed_share
from dime_hf.pool.uncertainty import class_intervals, entropy_intervals

POSTERIOR = (
    columns.SOFT_LABEL_LOW,
    columns.SOFT_LABEL_HIGH,
    columns.SOFT_LABEL_ENTROPY,
    columns.SOFT_LABEL_ENTROPY_LOW,
    columns.SOFT_LABEL_ENTROPY_HIGH,
)
LARGEST_WEIGHT = 0.999  # of the synthetic mean: a share of 1 would be endless votes


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

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns that are read where they are there."""
        return READS

    def read(self, batch: Mapping[str, Any]) -> Panel:
        """The votes of a batch."""
        return Panel.read(batch)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the soft-label columns of a batch, or of one row; a label is null where there is no vote."""
        if isinstance(batch[ID], str):
            one = self({name: [value] for name, value in batch.items()})
            return {name: values[0] for name, values in one.items()}
        total = self.total_votes(self.read(batch))
        votes = total.sum(-1)
        labels = total / np.where(votes > 0, votes, 1)[:, None]
        return {
            columns.SOFT_LABEL: [row if any(row) else None for row in labels.tolist()],
            columns.SOFT_LABEL_SOURCE: [self.source] * len(votes),
            columns.SOFT_LABEL_VOTES: votes.tolist(),
            **self._posterior(total),
        }

    def _posterior(self, total: Array) -> dict[str, list[Any]]:
        if not self.has_posterior:
            return {name: [None] * len(total) for name in POSTERIOR}
        made = (*class_intervals(total), dirichlet_entropy(total), *entropy_intervals(total))
        return {name: values.tolist() for name, values in zip(POSTERIOR, made, strict=True)}


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
class TrainedPooler(Pooler):
    """A method with parameters, which does not label what it saw and what is to be scored."""

    fitted_on: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)

    least: ClassVar[int] = 2  # human votes of an utterance to fit on

    def fit(self, dataset: datasets.Dataset) -> Self:
        """Fit on `vote_counts`, `answers` where they are used, and inputs; raises `FitError` for too few of them."""
        if self.reads_answers:
            columns.require(dataset, ANSWERS)
        return self.fit_votes(self.read_training(dataset))

    def read_training(self, dataset: datasets.Dataset) -> Training:
        """What there is to fit on."""
        return Training.read(dataset, least=self.least)

    @abc.abstractmethod
    def fit_votes(self, training: Training) -> Self:
        """Fit on votes that were read already; raises `FitError` where nothing identifies the parameters."""

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

    def check_classes(self, size: int, panel: Panel) -> None:
        """Raise unless the pooler was fitted, on as many classes (`size`) as the panel has."""
        if not size:
            raise FitError(f"the pooler {self.name!r} has not been fitted: call `pooler = pooler.fit(train)` first")
        if size != panel.human.shape[1]:
            raise DistributionError(f"the pooler was fitted on {size} classes, the dataset has {panel.human.shape[1]}")


@dataclasses.dataclass(frozen=True)
class LinearPooler(TrainedPooler):
    """A mix (1 - `weight`) human share + `weight` synthetic mean, whichever the number of human votes.

    The weight has the least expected squared distance to the truth at the votes an utterance of the training set has:
    noise / (noise + bias), the noise of the human share and the distance of the synthetic mean, both without bias.
    """

    weight: float | None = None

    name = "linear"
    reads_answers = True

    def fit_votes(self, training: Training) -> Self:
        panel = training.panel.select(training.panel.synthetic_votes > 0)
        votes = panel.human.sum(-1)
        if not len(votes):
            raise FitError("`dataset` has no utterance that has both two human votes and a valid answer")
        pairs = np.maximum(panel.human * (panel.human - 1), 0).sum(-1) / (votes * (votes - 1))  # mean |truth|^2
        noise = ((1 - pairs) / votes).mean()
        shares = panel.human / votes[:, None]
        distance = ((panel.synthetic**2).sum(-1) - 2 * (panel.synthetic * shares).sum(-1) + pairs).mean()
        weight = noise / (noise + max(distance, 0)) if noise > 0 else 0.0
        return dataclasses.replace(self, weight=min(float(weight), LARGEST_WEIGHT), fitted_on=training.seen)

    def total_votes(self, panel: Panel) -> Array:
        if self.weight is None:
            self.check_classes(0, panel)
            return panel.human
        votes = np.maximum(panel.human.sum(-1, keepdims=True), 1)
        return panel.human + votes * self.weight / (1 - self.weight) * panel.synthetic

    @property
    def source(self) -> str:
        return f"linear(weight={self.weight:.3g})"


@dataclasses.dataclass(frozen=True)
class DebiasedPooler(TrainedPooler):
    """Human votes, and `strength` votes of the proxies' answers as humans would have put them: s T.

    T[j, c] = P(human = c | synthetic = j), one table a proxy, each row smoothed by one vote of the human share. It
    needs no second vote on an utterance: the fallback where there are almost no human votes.
    """

    strength: float = 1.0
    proxies: tuple[str, ...] = ()
    tables: tuple[tuple[tuple[float, ...], ...], ...] = ()  # (J, C, C)

    name = "debiased"
    reads_answers = True
    least = 1

    def fit_votes(self, training: Training) -> Self:
        panel = training.panel
        check_answered(panel, "a human vote")
        weight = (panel.votes > 0)[..., None] * panel.answers
        joint = np.einsum("njd,nc->jdc", weight, panel.human) + smoothed_share(panel.human)
        tables = joint / joint.sum(-1, keepdims=True)
        found = tuple(tuple(map(tuple, table)) for table in tables.tolist())
        return dataclasses.replace(self, proxies=panel.proxies, tables=found, fitted_on=training.seen)

    def total_votes(self, panel: Panel) -> Array:
        self.check_classes(len(self.tables[0]) if self.tables else 0, panel)
        panel = panel.of_proxies(self.proxies)
        total = np.where(panel.synthetic_votes > 0, panel.synthetic_votes, 1)[:, None, None]
        return panel.human + self.strength * np.einsum(
            "njd,jdc->nc", panel.answers * panel.votes[..., None] / total, np.array(self.tables)
        )


def check_answered(panel: Panel, votes: str) -> None:
    """Raise `FitError` unless every proxy has a valid answer on some of the utterances of a training panel."""
    if not (panel.votes > 0).any():
        raise FitError(f"`dataset` has no utterance that has both {votes} and a valid answer: nothing to fit on")
    silent = [name for name, votes in zip(panel.proxies, panel.votes.T, strict=True) if not votes.any()]
    if silent:
        raise FitError(
            f"the proxy {silent[0]!r} has no valid answer on any utterance with {votes}, so nothing tells how far to "
            "trust it: drop its answers, or fit on utterances that it answered"
        )
