"""Pooling: how fast a fit over a whole corpus is."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln

from dime_hf.distribution import Array, normalize
from dime_hf.pool import FittedPooler
from dime_hf.pool.panel import Panel, Training
from dime_hf.pool.strengths import fit_strengths, smoothed_share
from dime_hf.simulation import Proxy, simulate

UTTERANCES, PRIOR = 265_000, (0.24, 0.2, 0.16, 0.12, 0.1, 0.08, 0.06, 0.04)  # of MSP-Podcast's size
PART = 10  # the baseline fits every 10th utterance


def pool_fit_265k() -> dict[str, Any]:
    """Fit `fitted` and label 265,000 utterances x 8 classes x 10 proxies, in memory: s0, kappas, posterior means.

    Baseline: the same two fits (prior alone, prior and proxies) and labels by gamma functions and L-BFGS-B's numerical
    gradients, on one utterance in 10; its seconds are multiplied by 10. Both find the same. Each is timed once.
    """
    proxies = [Proxy(f"p{j}", votes=0.3, correlation=0.5) for j in range(10)]
    corpus = simulate(UTTERANCES, prior=PRIOR, speakers=1000, annotators=5, proxies=proxies)
    votes, drawn = np.ones(corpus.answers.shape[:2]), np.zeros(corpus.answers.shape[:2], dtype=bool)
    names = tuple(proxy.name for proxy in proxies)
    panel = Panel(corpus.counts, names, corpus.answers, votes, drawn, np.zeros((UTTERANCES, 0)))
    started = time.perf_counter()
    pooler = FittedPooler().fit_votes(Training(panel, np.array(corpus.speakers), ()))
    labels = normalize(pooler.total_votes(panel))
    ours = time.perf_counter() - started
    print(f"squared distance to the truth: {((labels - corpus.truth) ** 2).sum(-1).mean():.4f}, {pooler.source}")
    counts, answers = corpus.counts[::PART], corpus.answers[::PART]
    started = time.perf_counter()
    prior = smoothed_share(counts)
    basis = np.stack([np.broadcast_to(prior, counts.shape), *answers.swapaxes(0, 1)])
    numerical_strengths(counts, basis[:1])
    slow = numerical_strengths(counts, basis)
    normalize(counts + np.tensordot(slow, basis, 1))
    baseline = (time.perf_counter() - started) * PART
    fast = fit_strengths(counts, prior, answers, votes[::PART] > 0).votes
    np.testing.assert_allclose(slow, fast, atol=0.05)
    return {
        "name": "pool_fit_265k", "ours": ours, "baseline": baseline, "ratio": baseline / ours, "unit": "s",
        "n": UTTERANCES,
    }  # fmt: skip


def numerical_strengths(counts: Array, basis: Array) -> Array:
    """Strengths by the textbook: gamma functions, and gradients by finite differences."""
    middle = np.log([1.0, *[1 / max(len(basis) - 1, 1)] * (len(basis) - 1)])
    votes = counts.sum(-1)

    def loss(logs: Array) -> float:
        alpha = np.tensordot(np.exp(logs), basis, 1)
        total = alpha.sum(-1)
        value = (gammaln(total) - gammaln(votes + total)).sum() + (gammaln(counts + alpha) - gammaln(alpha)).sum()
        return -(value - ((logs - middle) ** 2).sum() / 8) / len(counts)

    return np.exp(minimize(loss, middle, method="L-BFGS-B", bounds=[(-7, 7)] * len(basis)).x)
