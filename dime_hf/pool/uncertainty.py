"""How uncertain a posterior Dir(alpha) leaves the soft label and its entropy: 90 % credible intervals."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.special import betaincinv

from dime_hf.distribution import Array, entropy

TAILS = (0.05, 0.95)
ENTROPY_DRAWS = 200
ROWS_AT_ONCE = 1000


def class_intervals(alpha: Array) -> tuple[Array, Array]:
    """Ends of the 90 % credible interval of every class's share, (N, C) each: Dir(alpha) has beta marginals."""
    alpha = np.maximum(alpha, 1e-6)
    others = np.maximum(alpha.sum(-1, keepdims=True) - alpha, 1e-6)
    low, high = (betaincinv(alpha, others, tail) for tail in TAILS)
    return low, high


def entropy_intervals(alpha: Array, ids: Sequence[str]) -> tuple[Array, Array]:
    """Ends of the 90 % credible interval of the entropy in bits, (N,) each, from draws keyed by the utterance."""
    low, high = np.zeros(len(alpha)), np.zeros(len(alpha))
    for some, draws in entropy_draws(alpha, ids):
        low[some], high[some] = np.quantile(draws, TAILS, axis=1)
    return low, high


def entropy_draws(alpha: Array, ids: Sequence[str], count: int = ENTROPY_DRAWS) -> Iterator[tuple[slice, Array]]:
    """Yield rows, some at once, and draws (rows, count) of their entropy in bits from Dir(alpha), alpha (N, C)."""
    for start in range(0, len(alpha), ROWS_AT_ONCE):
        some = slice(start, start + ROWS_AT_ONCE)
        yield some, entropy(np.stack([_draw(row, id, count) for row, id in zip(alpha[some], ids[some], strict=True)]))


def _draw(alpha: Array, id: str, count: int) -> Array:
    """Distributions (count, C) from Dir(alpha), the same for the same utterance."""
    rng = np.random.default_rng(zlib.crc32(id.encode()))
    return rng.dirichlet(np.maximum(alpha, 1e-6), count)
