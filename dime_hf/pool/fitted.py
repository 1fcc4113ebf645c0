"""Pooling by the Dirichlet-multinomial likelihood: a constant prior, and proxies that weigh what humans bear out."""

from __future__ import annotations

import dataclasses
from typing import Self

import numpy as np

from dime_hf.distribution import Array
from dime_hf.pool.panel import Panel, Training
from dime_hf.pool.poolers import TrainedPooler, check_answered
from dime_hf.pool.strengths import fit_prior, fit_strengths, smoothed_share


@dataclasses.dataclass(frozen=True)
class PriorPooler(TrainedPooler):
    """Human votes and `strength` pseudo-votes of the constant `prior` (C,): the control that needs no proxy."""

    prior: tuple[float, ...] = ()
    strength: float = 0.0

    name = "prior"
    has_posterior = True

    def fit_votes(self, training: Training) -> Self:
        return self._fit_prior(training)

    def total_votes(self, panel: Panel) -> Array:
        return panel.human + self.strength * self._fitted_prior(panel)

    @property
    def source(self) -> str:
        return f"prior(s0={self.strength:.3g})"

    def _fit_prior(self, training: Training) -> Self:
        prior = smoothed_share(training.panel.human)
        strength = float(fit_prior(training.panel.human, prior).votes[0])
        return dataclasses.replace(self, prior=tuple(prior.tolist()), strength=strength, fitted_on=training.seen)

    def _fitted_prior(self, panel: Panel) -> Array:
        self.check_classes(len(self.prior), panel)
        return np.array(self.prior)


@dataclasses.dataclass(frozen=True)
class FittedPooler(PriorPooler):
    """Human votes, a prior, and proxies of which each weighs as many votes as the training humans bear out.

    alpha_i = s0 pi + sum_j kappa_j s_ij. A proxy without a valid answer adds nothing; an utterance without any gets
    the prior alone, at the strength that fits best then. A wide prior around one vote for the whole panel makes
    redundant proxies share their weight, and proxies that gain less than a nat each in likelihood weigh nothing.
    `effective_votes` is the sum of the kappas; without `proxies` it is what the mean of all answers weighs.
    """

    effective_votes: float = 0.0  # kappa
    prior_strength: float = 0.0  # s0 beside kappa
    proxies: tuple[str, ...] = ()
    proxy_votes: tuple[float, ...] = ()  # kappa_j

    name = "fitted"
    reads_answers = True

    def fit_votes(self, training: Training) -> Self:
        check_answered(training.panel, "two human votes")
        return self._fit_prior(training)._fit_proxies(training.panel)

    def total_votes(self, panel: Panel) -> Array:
        prior, answered = self._fitted_prior(panel), (panel.synthetic_votes > 0)[:, None]
        with_panel = self.prior_strength * prior + self._pseudo_votes(panel)
        return panel.human + np.where(answered, with_panel, self.strength * prior)

    @property
    def source(self) -> str:
        return f"fitted(s0={self.prior_strength:.3g}, kappa={self.effective_votes:.3g})"

    def _pseudo_votes(self, panel: Panel) -> Array:
        if not self.proxies:
            return self.effective_votes * panel.synthetic
        return np.einsum("njc,j->nc", panel.of_proxies(self.proxies).answers, np.array(self.proxy_votes))

    def _fit_proxies(self, panel: Panel) -> Self:
        panel, count = panel.select(panel.synthetic_votes > 0), len(panel.proxies)
        prior = np.array(self.prior)
        alone = fit_prior(panel.human, prior)
        found = fit_strengths(panel.human, prior, panel.answers, panel.votes > 0)
        if found.likelihood - alone.likelihood < count:  # Akaike's price of as many parameters
            found = dataclasses.replace(alone, votes=np.append(alone.votes, np.zeros(count)))
        strength, *votes = found.votes.tolist()
        return dataclasses.replace(
            self, prior_strength=strength, effective_votes=sum(votes), proxies=panel.proxies, proxy_votes=tuple(votes)
        )
