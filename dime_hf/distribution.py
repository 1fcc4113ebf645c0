"""Maths on distributions: arrays of shape (..., C) whose last axis sums to 1.

Zero-safe, vectorised, in float64. Entropies and divergences are in bits (base 2); losses, in `losses.py`, are in nats.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma, rel_entr, xlogy

from dime_hf.errors import DistributionError

Array = NDArray[np.float64]
TOLERANCE = 1e-3
UNDECIDED = -1
TIE = 1e-9  # values that differ by less are tied: shares of a vote do not add up exactly


def as_distributions(values: ArrayLike, name: str = "distributions") -> Array:
    """Return `values` (..., C) as float64 distributions; raise `DistributionError` where one is not.

    Sums may be off by 1e-3 (float16 and rounded files) and are then made exact; anything else is refused.
    """
    array = as_counts(values, name)
    sums = array.sum(-1)
    wrong = np.abs(sums - 1) > TOLERANCE
    if wrong.any():
        raise DistributionError(
            f"`{name}` must sum to 1 along the last axis; {_first(wrong)} sums to {sums[wrong].flat[0]:g}"
        )
    return array / sums[..., None]


def as_counts(values: ArrayLike, name: str = "counts") -> Array:
    """Return `values` (..., C) as float64; raise `DistributionError` where one is missing, infinite or negative."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DistributionError(f"`{name}` must be a rectangular array of numbers (..., C): {error}") from error
    if array.ndim == 0 or array.shape[-1] == 0:
        raise DistributionError(f"`{name}` must have the shape (..., C) with at least one class, not {array.shape}")
    for wrong, what in ((np.isnan(array), "NaN"), (np.isinf(array), "an infinity"), (array < 0, "a negative number")):
        if wrong.any():
            where = _first(wrong.any(axis=-1))
            raise DistributionError(f"`{name}` must be finite and not negative; {where} has {what}")
    return array


def normalize(counts: ArrayLike, name: str = "counts") -> Array:
    """Shares of the votes: counts (..., C) over their sum; raise `DistributionError` where nobody voted.

    >>> normalize([3, 1, 0, 0]).tolist()
    [0.75, 0.25, 0.0, 0.0]
    """
    array = as_counts(counts, name)
    sums = array.sum(-1)
    if (sums == 0).any():
        raise DistributionError(f"`{name}` must hold at least one vote a row; {_first(sums == 0)} has none")
    return array / sums[..., None]


def entropy(p: ArrayLike) -> Array:
    """Shannon entropy of p (..., C) in bits, in [0, log2 C]: the ambiguity.

    >>> float(entropy([0.5, 0.5, 0.0]))
    1.0
    """
    p = np.asarray(p, dtype=np.float64)
    return -xlogy(p, p).sum(-1) / np.log(2)


def kl_divergence(p: ArrayLike, q: ArrayLike) -> Array:
    """KL(p||q) in bits, in [0, inf]; infinite where q lacks a class that p has."""
    return rel_entr(np.asarray(p, np.float64), np.asarray(q, np.float64)).sum(-1) / np.log(2)


def js_divergence(p: ArrayLike, q: ArrayLike) -> Array:
    """Jensen-Shannon divergence of p and q (..., C) in bits, in [0, 1]: 1/2 KL(p||m) + 1/2 KL(q||m), m = (p + q) / 2.

    >>> float(js_divergence([1.0, 0.0], [0.0, 1.0]))
    1.0
    """
    p, q = np.asarray(p, np.float64), np.asarray(q, np.float64)
    middle = (p + q) / 2
    return (kl_divergence(p, middle) + kl_divergence(q, middle)) / 2


def js_distance(p: ArrayLike, q: ArrayLike) -> Array:
    """Square root of `js_divergence`, in [0, 1]: a metric."""
    return np.sqrt(np.maximum(js_divergence(p, q), 0))


def bhattacharyya(p: ArrayLike, q: ArrayLike) -> Array:
    """Bhattacharyya coefficient sum_c sqrt(p_c q_c), in [0, 1]; 1 is equality.

    >>> float(bhattacharyya([0.5, 0.5], [0.5, 0.5]))
    1.0
    """
    return np.sqrt(np.asarray(p, np.float64) * np.asarray(q, np.float64)).sum(-1)


def total_variation(p: ArrayLike, q: ArrayLike) -> Array:
    """Total variation distance 1/2 sum_c |p_c - q_c|, in [0, 1].

    >>> float(total_variation([1.0, 0.0], [0.5, 0.5]))
    0.5
    """
    return manhattan_distance(p, q) / 2


def manhattan_distance(p: ArrayLike, q: ArrayLike) -> Array:
    """Sum_c |p_c - q_c|, in [0, 2]."""
    return np.abs(np.asarray(p, np.float64) - np.asarray(q, np.float64)).sum(-1)


def chebyshev_distance(p: ArrayLike, q: ArrayLike) -> Array:
    """Largest |p_c - q_c|, in [0, 1]."""
    return np.abs(np.asarray(p, np.float64) - np.asarray(q, np.float64)).max(-1)


def clark_distance(p: ArrayLike, q: ArrayLike) -> Array:
    """Square root of sum_c (p_c - q_c)^2 / (p_c + q_c)^2, in [0, sqrt C]; a class that both lack adds nothing."""
    return np.sqrt((_relative_gaps(p, q) ** 2).sum(-1))


def canberra_distance(p: ArrayLike, q: ArrayLike) -> Array:
    """Sum_c |p_c - q_c| / (p_c + q_c), in [0, C]; a class that both lack adds nothing."""
    return _relative_gaps(p, q).sum(-1)


def cosine_similarity(p: ArrayLike, q: ArrayLike) -> Array:
    """p.q / (||p|| ||q||), in [0, 1]."""
    p, q = np.asarray(p, np.float64), np.asarray(q, np.float64)
    return (p * q).sum(-1) / np.sqrt((p**2).sum(-1) * (q**2).sum(-1))


def intersection_similarity(p: ArrayLike, q: ArrayLike) -> Array:
    """Sum_c min(p_c, q_c), in [0, 1]: 1 less the total variation."""
    return np.minimum(np.asarray(p, np.float64), np.asarray(q, np.float64)).sum(-1)


def _relative_gaps(p: ArrayLike, q: ArrayLike) -> Array:
    p, q = np.asarray(p, np.float64), np.asarray(q, np.float64)
    both = p + q
    return np.abs(p - q) / np.where(both > 0, both, 1)


def dirichlet_entropy(alpha: ArrayLike) -> Array:
    """Mean entropy in bits of draws from Dir(alpha), alpha (..., C) > 0: psi(A + 1) - sum_c a_c/A psi(a_c + 1)."""
    alpha = np.asarray(alpha, np.float64)
    total = alpha.sum(-1)
    return (digamma(total + 1) - (alpha * digamma(alpha + 1)).sum(-1) / total) / np.log(2)


def _first(wrong: NDArray[np.bool_] | np.bool_) -> str:
    """Name the first place where `wrong` holds."""
    index = np.argwhere(np.atleast_1d(wrong))[0]
    return f"row {', '.join(map(str, index))}" if np.ndim(wrong) else "it"


def plurality(values: ArrayLike) -> NDArray[np.int64]:
    """Place of the unique largest positive value of each row (..., C); -1 where it is tied, or nothing is positive.

    >>> plurality([[2, 1, 0], [1, 1, 0], [0, 0, 0]]).tolist()
    [0, -1, -1]
    """
    array = np.asarray(values, dtype=float)
    top = array.max(-1, keepdims=True)
    unique = ((top - array < TIE).sum(-1) == 1) & (top[..., 0] > 0)
    return np.where(unique, array.argmax(-1), UNDECIDED)


def smooth(distributions: ArrayLike, epsilon: float) -> Array:
    """Label smoothing of (..., C) as EMO-SUPERB writes it: 0 becomes epsilon / (C - 1), and 1 becomes 1 - epsilon.

    >>> smooth([1.0, 0.0, 0.0], 0.1).round(6).tolist()
    [0.9, 0.05, 0.05]
    """
    array = np.asarray(distributions, dtype=float)
    share = epsilon / (array.shape[-1] - 1)
    return share + array * (1 - epsilon - share)


def krippendorff_alpha(counts: ArrayLike) -> float:
    """Agreement of several annotators on classes: Krippendorff's alpha for nominal data, from vote counts (N, C).

    1 is perfect, 0 what chance gives. Rows with fewer than two votes say nothing about agreement and are left out;
    NaN where none is left, or all votes are for one class. Source: Krippendorff 2011, "Computing Krippendorff's
    Alpha-Reliability".

    >>> krippendorff_alpha([[3, 0], [0, 3]])
    1.0
    """
    array = as_counts(counts)
    paired = array[array.sum(-1) >= 2]
    sizes, marginal = paired.sum(-1), paired.sum(0)
    total = marginal.sum()
    expected = total**2 - (marginal**2).sum()
    if expected <= 0:
        return float("nan")
    observed = ((sizes**2 - (paired**2).sum(-1)) / (sizes - 1)).sum()
    return float(1 - (total - 1) * observed / expected)
