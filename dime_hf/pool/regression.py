"""Dirichlet regression of votes on what the proxies answered: the maths of calibrated pooling.

alpha_i = softmax(b + x_i W) exp(g0 + g1 H_i + z_i g), with H_i the entropy (nats) of the softmax, x_i what is known of
an utterance, and z_i what may bear on how far to trust it. W = 0, b = log pi, g = 0 is the constant prior.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from dime_hf.dirichlet import VoteLikelihood
from dime_hf.distribution import Array
from dime_hf.errors import FitError
from dime_hf.pool.strengths import LARGEST_LOG

ITERATIONS = 2000
SMALL_SLOPE = 1e-3  # nats an utterance: a line search that ends here found the optimum up to rounding


@dataclasses.dataclass(frozen=True)
class Regression:
    """Weights (F, C), bias (C,) and gate (2 + Z,) of a Dirichlet regression."""

    weights: Array
    bias: Array
    gate: Array

    def alpha(self, x: Array, z: Array) -> Array:
        """Pseudo-votes (N, C) of utterances with inputs x (N, F) and gate inputs z (N, Z)."""
        logs = log_softmax(x @ self.weights + self.bias, axis=-1)
        shares = np.exp(logs)
        return shares * self._strength(-(shares * logs).sum(-1), z)[:, None]

    def _strength(self, entropies: Array, z: Array) -> Array:
        return np.exp(np.clip(self.gate[0] + self.gate[1] * entropies + z @ self.gate[2:], -LARGEST_LOG, LARGEST_LOG))

    def vector(self) -> Array:
        return np.concatenate([self.weights.ravel(), self.bias, self.gate])

    def of(self, vector: Array) -> Regression:
        """The regression of this shape whose parameters are `vector`."""
        inputs, classes = self.weights.shape
        weights, bias, gate = np.split(vector, [inputs * classes, (inputs + 1) * classes])
        return Regression(weights.reshape(inputs, classes), bias, gate)

    def slope(self, x: Array, z: Array, likelihood: VoteLikelihood) -> tuple[float, Array]:
        """Log-likelihood of the votes and its slope in all parameters, as of `vector`."""
        logs = log_softmax(x @ self.weights + self.bias, axis=-1)
        shares = np.exp(logs)
        entropies = -(shares * logs).sum(-1)
        strength = self._strength(entropies, z)
        values, by_alpha = likelihood.of_rows(np.maximum(shares * strength[:, None], 1e-12))
        inside = np.abs(np.log(strength)) < LARGEST_LOG - 1e-9  # beyond, the strength stands still
        by_strength = (by_alpha * shares).sum(-1) * strength * inside
        by_share = by_alpha * strength[:, None] - (by_strength * self.gate[1])[:, None] * (logs + 1)
        by_logit = shares * (by_share - (shares * by_share).sum(-1, keepdims=True))
        gates = [by_strength.sum(), by_strength @ entropies, *(by_strength @ z)]
        return float(values.sum()), np.concatenate([(x.T @ by_logit).ravel(), by_logit.sum(0), gates])


def constant(prior: Array, strength: float, inputs: int, gates: int) -> Regression:
    """The regression that says `strength` votes of `prior` (C,) whatever the inputs are."""
    gate = np.array([np.log(strength), *np.zeros(1 + gates)])
    return Regression(np.zeros((inputs, len(prior))), np.log(prior), gate)


def fit_regression(x: Array, z: Array, likelihood: VoteLikelihood, anchor: Regression, ridge: float) -> Regression:
    """Maximise the mean log-likelihood less `ridge` times the squared distance to `anchor`; its strength is free."""
    center, size = anchor.vector(), len(x)
    penalty = np.full(len(center), ridge)
    penalty[anchor.weights.size + anchor.bias.size] = 0

    def loss(vector: Array) -> tuple[float, Array]:
        value, slope = anchor.of(vector).slope(x, z, likelihood)
        away = vector - center
        return float(penalty @ away**2) - value / size, -slope / size + 2 * penalty * away

    limits = {"maxiter": ITERATIONS, "maxfun": 2 * ITERATIONS, "maxcor": 20}
    result = minimize(loss, center, jac=True, method="L-BFGS-B", options=limits)
    if not result.success and np.abs(result.jac).max() > SMALL_SLOPE:
        raise FitError(f"the calibration did not converge on {size} utterances: {result.message}")
    return anchor.of(result.x)
