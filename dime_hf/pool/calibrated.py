"""Calibrated pooling: de-biasing, weight and a gate by ambiguity in one likelihood, checked against the prior."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

import datasets
import numpy as np
from numpy.typing import NDArray

from dime_hf.dirichlet import VoteLikelihood
from dime_hf.distribution import Array
from dime_hf.errors import FitError
from dime_hf.pool.fitted import PriorPooler
from dime_hf.pool.panel import READS, Panel, Training
from dime_hf.pool.poolers import check_answered
from dime_hf.pool.regression import Regression, constant, fit_regression
from dime_hf.pool.strengths import fit_prior, smoothed_share

RIDGES = (1e-2, 1e-4)
FOLDS = 5
CHECKED_ON = 20_000  # utterances are enough to choose a ridge on
LEAST_PROBABILITY = 1e-4  # option probabilities are clipped here before the logarithm
HALF_A_VOTE = 0.5  # what drawn votes are smoothed by


@dataclasses.dataclass(frozen=True)
class CalibratedPooler(PriorPooler):
    """Human votes, and alpha_i = softmax(b + x_i W) exp(g0 + g1 H_i + ...) pseudo-votes, fitted by their likelihood.

    x_i are the log answers of every proxy, and the numeric `inputs`: columns (such as "duration"), or "off_option",
    the mean mass off the options. The penalty leads towards `prior`, which is taken where the gain on other speakers
    is not above its standard error. A proxy without a valid answer is at its mean over the training set, and the gate
    knows; an utterance without any gets the prior.
    """

    inputs: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    center: tuple[float, ...] = ()  # (J C + E,) means, and scales, of what goes into x
    scale: tuple[float, ...] = ()
    weights: tuple[tuple[float, ...], ...] = ()  # (J C + E, C)
    bias: tuple[float, ...] = ()  # (C,)
    gate: tuple[float, ...] = ()  # (2 + E + J,): g0, g1, inputs, missing proxies
    ridge: float | None = None  # None: the prior was as good

    name = "calibrated"
    reads_answers = True

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*READS, *self.inputs]))

    @property
    def source(self) -> str:
        used = "prior" if self.ridge is None else f"ridge={self.ridge:g}"
        return f"calibrated({used})"

    def read(self, batch: Mapping[str, Any]) -> Panel:
        return Panel.read(batch, self.inputs)

    def read_training(self, dataset: datasets.Dataset) -> Training:
        return Training.read(dataset, self.inputs)

    def fit_votes(self, training: Training) -> Self:
        check_answered(training.panel, "two human votes")
        answered = training.panel.synthetic_votes > 0
        panel, groups = training.panel.select(answered), training.groups[answered]
        _require_groups(groups)
        alone = self._fit_prior(training)
        fitted = dataclasses.replace(alone, proxies=panel.proxies)._standardise(panel)
        x, z = fitted._features(panel)
        some = _enough_groups(groups)
        ridge = _choose_ridge(x[some], z[some], panel.human[some], groups[some])
        found = _fit_all(x, z, panel.human, ridge, some)
        return dataclasses.replace(
            fitted,
            ridge=ridge,
            weights=tuple(map(tuple, found.weights.tolist())),
            bias=tuple(found.bias.tolist()),
            gate=tuple(found.gate.tolist()),
        )

    def total_votes(self, panel: Panel) -> Array:
        prior, answered = self._fitted_prior(panel), (panel.synthetic_votes > 0)[:, None]
        if self.ridge is None:
            return panel.human + self.strength * prior
        regression = Regression(np.array(self.weights), np.array(self.bias), np.array(self.gate))
        calibrated = regression.alpha(*self._features(panel.of_proxies(self.proxies)))
        return panel.human + np.where(answered, calibrated, self.strength * prior)

    def _standardise(self, panel: Panel) -> Self:
        """Learn the mean of every log answer, and mean and scale of the inputs, where they are known."""
        raw = _raw_features(panel)
        known = ~np.isnan(raw)
        count = np.maximum(known.sum(0), 1)
        center = np.where(known, raw, 0).sum(0) / count
        scale = np.sqrt(np.where(known, (raw - center) ** 2, 0).sum(0) / count)
        scale[: panel.answers[0].size] = 1
        return dataclasses.replace(
            self, center=tuple(center.tolist()), scale=tuple(np.where(scale > 0, scale, 1).tolist())
        )

    def _features(self, panel: Panel) -> tuple[Array, Array]:
        """What the regression reads: x (N, J C + E), and z (N, E + J) for the gate."""
        x = np.nan_to_num((_raw_features(panel) - np.array(self.center)) / np.array(self.scale))
        inputs = x[:, len(self.center) - len(self.inputs) :]
        return x, np.concatenate([inputs, panel.votes == 0], axis=1)


def _raw_features(panel: Panel) -> Array:
    """Log answers and inputs (N, J C + E), NaN where missing: log((counts + .5) / (K + C/2)) of drawn votes."""
    size, votes = panel.human.shape[1], panel.votes[..., None]
    drawn = (votes * panel.answers + HALF_A_VOTE) / (votes + HALF_A_VOTE * size)
    logs = np.log(np.where(panel.drawn[..., None], drawn, np.maximum(panel.answers, LEAST_PROBABILITY)))
    logs = np.where(votes > 0, logs, np.nan)
    return np.concatenate([logs.reshape(len(logs), -1), panel.inputs], axis=1)


def _fit(
    x: Array, z: Array, counts: Array, ridges: Sequence[float], start: Regression | None = None
) -> list[Regression]:
    """The constant prior alone, and regressions with these ridges: each search starts where the last one ended."""
    prior = smoothed_share(counts)
    anchor = constant(prior, float(fit_prior(counts, prior).votes[0]), x.shape[1], z.shape[1])
    likelihood, found, start = VoteLikelihood(counts), [anchor], start or anchor
    for ridge in ridges:
        start = fit_regression(x, z, likelihood, anchor, ridge, start)
        found.append(start)
    return found


def _fit_all(x: Array, z: Array, counts: Array, ridge: float | None, some: NDArray[np.int64]) -> Regression:
    """The regression on all utterances; where these are far more than `some`, the search starts from those."""
    ridges = [] if ridge is None else [ridge]
    start = _fit(x[some], z[some], counts[some], ridges)[-1] if 2 * len(some) < len(x) else None
    return _fit(x, z, counts, ridges, start)[-1]


def _choose_ridge(x: Array, z: Array, counts: Array, groups: NDArray[Any]) -> float | None:
    """The ridge of the best likelihood on held-out speakers; None where none is surely better than `prior`."""
    _, group = np.unique(groups, return_inverse=True)
    gains = np.zeros((len(RIDGES), len(x)))
    for fold in range(min(FOLDS, group.max() + 1)):
        out = group % FOLDS == fold
        held = VoteLikelihood(counts[out])
        fits = _fit(x[~out], z[~out], counts[~out], RIDGES)
        alone, *values = (held.of_rows(fit.alpha(x[out], z[out]))[0] for fit in fits)
        gains[:, out] = np.array(values) - alone
    best = int(gains.sum(1).argmax())
    by_group = np.bincount(group, gains[best])
    error = by_group.std(ddof=1) * np.sqrt(len(by_group))
    return RIDGES[best] if by_group.sum() > error else None


def _enough_groups(groups: NDArray[Any]) -> NDArray[np.int64]:
    """Places of the utterances of whole groups, in an order of chance, up to `CHECKED_ON` of them and two groups."""
    names, group = np.unique(groups, return_inverse=True)
    order = np.argsort([zlib.crc32(name.encode()) for name in names])
    before = np.cumsum(np.bincount(group)[order]) - np.bincount(group)[order]
    chosen = order[(before < CHECKED_ON) | (np.arange(len(order)) < 2)]
    return np.flatnonzero(np.isin(group, chosen))


def _require_groups(groups: NDArray[Any]) -> None:
    """Raise `FitError` where there is no second group of utterances to check a fit on."""
    if len(set(groups.tolist())) < 2:
        raise FitError(
            f"`dataset` has answered utterances of {str(groups[0])!r} alone, but 'calibrated' is checked on other "
            "speakers than it is fitted on: add speakers, or use 'fitted'"
        )
