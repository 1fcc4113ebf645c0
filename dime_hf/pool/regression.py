"""Dirichlet regression of votes on what the proxies answered: the maths of calibrated pooling.

alpha_i = softmax(b + x_i W) exp(g0 + g1 H_i + z_i g), with H_i the entropy (nats) of the softmax, x_i what is known of
an utterance, and z_i what may bear on how far to trust it. W = 0, b = log pi, g = 0 is the constant prior.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Self

import numpy as np
from scipy.optimize import minimize

from dime_hf.dirichlet import VoteLikelihood
from dime_hf.distribution import Array
from dime_hf.errors import FitError
from dime_hf.pool.strengths import LARGEST_LOG

ITERATIONS = 2000
SMALL_SLOPE = 1e-3  # nats an utterance: a line search that ends here found the optimum up to rounding


@dataclasses.dataclass(frozen=True)
class Scores:
    """Log-likelihood of the votes, and its slopes, row by row, in the logits (N, C) and in the log strength (N,)."""

    value: float
    by_logit: Array
    by_strength: Array
    entropies: Array


@dataclasses.dataclass(frozen=True)
class Regression:
    """Weights (F, C), bias (C,) and gate (2 + Z,) of a Dirichlet regression."""

    weights: Array
    bias: Array
    gate: Array

    def alpha(self, x: Array, z: Array) -> Array:
        """Pseudo-votes (N, C) of utterances with inputs x (N, F) and gate inputs z (N, Z)."""
        logs = _log_softmax(x @ self.weights + self.bias)
        shares = np.exp(logs)
        return shares * self._strength(-_row_sums(shares, logs), z)[:, None]

    def _strength(self, entropies: Array, z: Array) -> Array:
        return np.exp(np.clip(self.gate[0] + self.gate[1] * entropies + z @ self.gate[2:], -LARGEST_LOG, LARGEST_LOG))

    def vector(self) -> Array:
        return np.concatenate([self.weights.ravel(), self.bias, self.gate])

    def of(self, vector: Array) -> Regression:
        """The regression of this shape whose parameters are `vector`."""
        inputs, classes = self.weights.shape
        weights, bias, gate = np.split(vector, [inputs * classes, (inputs + 1) * classes])
        return Regression(weights.reshape(inputs, classes), bias, gate)

    def scores(self, x: Array, z: Array, likelihood: VoteLikelihood) -> Scores:
        logs = _log_softmax(x @ self.weights + self.bias)
        shares = np.exp(logs)
        entropies = -_row_sums(shares, logs)
        strength = self._strength(entropies, z)
        values, by_alpha = likelihood.of_rows(np.maximum(shares * strength[:, None], 1e-12))
        inside = np.abs(np.log(strength)) < LARGEST_LOG - 1e-9  # beyond, the strength stands still
        by_strength = _row_sums(by_alpha, shares) * strength * inside
        by_share = by_alpha * strength[:, None] - (by_strength * self.gate[1])[:, None] * (logs + 1)
        by_logit = shares * (by_share - _row_sums(shares, by_share)[:, None])
        return Scores(float(values.sum()), by_logit, by_strength, entropies)

    def slope(self, x: Array, z: Array, likelihood: VoteLikelihood) -> tuple[float, Array]:
        """Log-likelihood of the votes and its slope in all parameters, as of `vector`."""
        found = self.scores(x, z, likelihood)
        gates = [found.by_strength.sum(), found.by_strength @ found.entropies, *(found.by_strength @ z)]
        return found.value, np.concatenate([(x.T @ found.by_logit).ravel(), found.by_logit.sum(0), gates])


@dataclasses.dataclass(frozen=True)
class Axes:
    """Coordinates in which the loss curves about as much in every direction, so that a search takes few steps.

    Its curvature in the weights is near cov(x) times the covariance of the scores in the logits (their information),
    and twice the ridge: weights are measured along the axes of both (F, F) and (C, C).
    """

    inputs: Array
    classes: Array
    weights: Array  # (F, C) lengths
    bias: Array
    gate: float

    @classmethod
    def of(cls, x: Array, scores: Scores, ridge: float) -> Self:
        spread, inputs = np.linalg.eigh(x.T @ x / len(x))
        information, classes = np.linalg.eigh(scores.by_logit.T @ scores.by_logit / len(x))
        curved = np.maximum(np.outer(np.append(spread, 1), information), 0) + 2 * ridge
        gate = np.mean(scores.by_strength**2) + 2 * ridge
        return cls(inputs, classes, curved[:-1] ** -0.5, curved[-1] ** -0.5, float(gate) ** -0.5)

    def out(self, point: Regression) -> Regression:
        """From these coordinates to parameters."""
        weights = self.inputs @ (point.weights * self.weights) @ self.classes.T
        return Regression(weights, self.classes @ (point.bias * self.bias), point.gate * self.gate)

    def slopes(self, slope: Regression) -> Regression:
        """From slopes in the parameters to those in these coordinates."""
        weights = (self.inputs.T @ slope.weights @ self.classes) * self.weights
        return Regression(weights, (slope.bias @ self.classes) * self.bias, slope.gate * self.gate)


def constant(prior: Array, strength: float, inputs: int, gates: int) -> Regression:
    """The regression that says `strength` votes of `prior` (C,) whatever the inputs are."""
    gate = np.array([np.log(strength), *np.zeros(1 + gates)])
    return Regression(np.zeros((inputs, len(prior))), np.log(prior), gate)


def fit_regression(
    x: Array, z: Array, likelihood: VoteLikelihood, anchor: Regression, ridge: float, start: Regression
) -> Regression:
    """Maximise the mean log-likelihood less `ridge` times the squared distance to `anchor`; its strength is free."""
    axes, size = Axes.of(x, start.scores(x, z, likelihood), ridge), len(x)
    center, origin = anchor.vector(), start.vector()
    penalty = np.full(len(center), ridge)
    penalty[anchor.weights.size + anchor.bias.size] = 0

    def parameters(point: Array) -> Array:
        return origin + axes.out(anchor.of(point)).vector()

    def loss(point: Array) -> tuple[float, Array]:
        vector = parameters(point)
        value, slope = anchor.of(vector).slope(x, z, likelihood)
        away = vector - center
        by_vector = 2 * penalty * away - slope / size
        return float(penalty @ away**2) - value / size, axes.slopes(anchor.of(by_vector)).vector()

    limits = {"maxiter": ITERATIONS, "maxfun": 2 * ITERATIONS, "maxcor": 20}
    result = minimize(loss, np.zeros(len(center)), jac=True, method="L-BFGS-B", options=limits)
    if not result.success and np.abs(result.jac).max() > SMALL_SLOPE:
        raise FitError(f"the calibration did not converge on {size} utterances: {result.message}")
    return anchor.of(parameters(result.x))


def _log_softmax(logits: Array) -> Array:
    """Logs of the softmax of (N, C): several times as fast as scipy's, whose maxima and sums go row by row."""
    lowered = logits - functools.reduce(np.maximum, logits.T)[:, None]
    return lowered - np.log(np.einsum("nc->n", np.exp(lowered)))[:, None]


def _row_sums(one: Array, other: Array) -> Array:
    return np.einsum("nc,nc->n", one, other)
