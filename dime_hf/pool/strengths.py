"""How many votes a prior and a panel of proxies are worth: the Dirichlet-multinomial likelihood of human votes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import digamma, gammaln

from dime_hf.distribution import Array
from dime_hf.errors import FitError

LARGEST_LOG = 7.0  # strengths are sought between exp(-7) and exp(7) votes,
LOG_SPREAD = 2.0  # under a log-normal prior around one vote, of this scale: it decides only where votes are few


def smoothed_share(counts: Array) -> Array:
    """Share of all votes (C,), half a vote added to each class so that none is impossible."""
    totals = counts.sum(0) + 0.5
    return totals / totals.sum()


def fit_strengths(counts: Array, components: Sequence[Array]) -> list[float]:
    """Strengths w of the components that maximise the likelihood of counts (N, C): alpha = sum_j w_j components_j."""
    if len(counts) == 0:
        raise FitError(
            "`dataset` has no utterance that has both two human votes and a valid answer: nothing to fit on"
        )
    basis = np.stack(components)

    def loss(logs: Array) -> tuple[float, Array]:
        strengths = np.exp(logs)
        alpha = np.maximum(np.tensordot(strengths, basis, 1), 1e-12)
        value, slope = dirichlet_multinomial(counts, alpha)
        slopes = (basis * slope).sum((1, 2)) * strengths - logs / LOG_SPREAD**2
        return -(value - (logs**2).sum() / (2 * LOG_SPREAD**2)) / len(counts), -slopes / len(counts)

    bounds = [(-LARGEST_LOG, LARGEST_LOG)] * len(basis)
    result = minimize(loss, np.zeros(len(basis)), jac=True, method="L-BFGS-B", bounds=bounds)
    if not result.success:
        raise FitError(f"the pooling strengths did not converge on {len(counts)} utterances: {result.message}")
    return np.exp(result.x).tolist()


def dirichlet_multinomial(counts: Array, alpha: Array) -> tuple[float, Array]:
    """Log-likelihood (nats, without the multinomial coefficient) of counts (N, C) and its slope in alpha (N, C)."""
    total, votes = alpha.sum(-1), counts.sum(-1)
    value = (gammaln(total) - gammaln(votes + total)).sum() + (gammaln(counts + alpha) - gammaln(alpha)).sum()
    slope = (digamma(total) - digamma(votes + total))[:, None] + digamma(counts + alpha) - digamma(alpha)
    return float(value), slope
