"""Scores of predicted distributions against votes of humans that no fit has seen.

References are vote counts (N, C), so that a score knows how many voted; a known truth (N, C) may stand in their place.

| score | unit and range | better |
|---|---|---|
| `squared_score` | ||q||^2 - 2 q.p, p the share of votes; in [-1, 1]; proper, also at one vote: decide by it | lower |
| `js_divergence` | bits, in [0, 1], against the share of votes; not proper: the truth does not score 0 | lower |
| `bhattacharyya` | coefficient in [0, 1] against the share of votes; not proper | higher |
| `log_likelihood` | nats a vote, at most 0; proper; -inf where a vote met probability 0 | higher |
| `accuracy`, `macro_f1` | share in [0, 1], over the rows whose votes have a unique plurality | higher |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import xlogy

from dime_hf.distribution import (
    TIE,
    Array,
    as_counts,
    as_distributions,
    bhattacharyya,
    entropy,
    js_divergence,
    normalize,
    plurality,
)
from dime_hf.errors import DistributionError

LEVELS = ("low", "medium", "high")


def score(
    predictions: ArrayLike,
    references: ArrayLike,
    *,
    control: ArrayLike | None = None,
    levels: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return the mean scores of predictions (N, C) against held-out vote counts (N, C), and the number of rows.

    `control` is a constant distribution (C,), such as `prior`: its scores come under "control", to be read beside the
    others. `levels` (N,) names a stratum of every row, such as `ambiguity_levels`: scores by stratum come under
    "levels". A predicted tie is no decision: it counts as wrong, and `n_tied` says how often. Raises
    `DistributionError`.
    """
    q, counts = _pair(predictions, references)
    scores: dict[str, Any] = _means(q, counts)
    if control is not None:
        scores["control"] = _means(_constant(control, q), counts)
    if levels is not None:
        scores["levels"] = _by_level(q, counts, levels, control)
    return scores


def row_scores(predictions: ArrayLike, references: ArrayLike) -> dict[str, Array]:
    """Return the scores of every row (N,) that are means over rows: what paired differences are taken of."""
    return _row_scores(*_pair(predictions, references))


def squared_score(q: Array, p: Array) -> Array:
    """||q||^2 - 2 q.p along the last axis, in [-1, 1], lower is better: the Brier score less a constant of p."""
    return (q**2).sum(-1) - 2 * (q * p).sum(-1)


def prior(counts: ArrayLike) -> Array:
    """Return the mean share of votes (C,) of utterances (N, C): the constant that every system must beat."""
    return normalize(counts).mean(0)


def ambiguity_levels(counts: ArrayLike) -> list[str]:
    """Return the level of every row (N, C): low, medium or high tercile of the entropy of its votes.

    Take other votes than those scored: strata made from the scored votes bend the scores. A few votes allow few
    entropies, so levels may differ in size, and three votes put every second clip into the wrong one.
    """
    bits = entropy(normalize(counts))
    cuts = np.quantile(bits, [1 / 3, 2 / 3])
    return [LEVELS[index] for index in np.searchsorted(cuts + TIE, bits)]


def _pair(predictions: ArrayLike, references: ArrayLike) -> tuple[Array, Array]:
    q, counts = as_distributions(predictions, "predictions"), as_counts(references, "references")
    if q.ndim != 2 or q.shape != counts.shape:
        raise DistributionError(
            f"`predictions` {q.shape} and `references` {counts.shape} must have the same shape (N, C)"
        )
    if len(q) == 0:
        raise DistributionError("`predictions` has no rows: there is nothing to score")
    return q, counts


def _row_scores(q: Array, counts: Array) -> dict[str, Array]:
    shares = normalize(counts, "references")
    return {
        "squared_score": squared_score(q, shares),
        "js_divergence": js_divergence(shares, q),
        "bhattacharyya": bhattacharyya(shares, q),
        "log_likelihood": xlogy(shares, q).sum(-1),
    }


def _means(q: Array, counts: Array) -> dict[str, float | int]:
    means = {name: float(values.mean()) for name, values in _row_scores(q, counts).items()}
    return {**means, **_decisions(q, counts), "n": len(q)}


def _decisions(q: Array, counts: Array) -> dict[str, float | int]:
    """Accuracy and macro-F1 (over the classes that humans decided for) on the rows with a unique plurality."""
    human, predicted = plurality(counts), plurality(q)
    human, predicted = human[human >= 0], predicted[human >= 0]
    size = q.shape[1]
    hits, decided, given = (
        np.bincount(values, minlength=size) for values in (human[human == predicted], human, predicted[predicted >= 0])
    )
    with np.errstate(invalid="ignore"):  # 0 / 0 for classes that nobody decided for, and where nothing is decided
        f1 = (2 * hits / (decided + given))[decided > 0]
        return {
            "accuracy": float(np.divide(hits.sum(), len(human))),
            "macro_f1": float(f1.mean()) if f1.size else float("nan"),
            "n_decided": len(human),
            "n_tied": int((predicted < 0).sum()),
        }


def _constant(control: ArrayLike, like: Array) -> Array:
    constant = as_distributions(control, "control")
    if constant.shape != like.shape[1:]:
        raise DistributionError(f"`control` must be one distribution of shape {like.shape[1:]}, not {constant.shape}")
    return np.broadcast_to(constant, like.shape)


def _by_level(q: Array, counts: Array, levels: Sequence[str], control: ArrayLike | None) -> dict[str, Any]:
    names = np.asarray(levels)
    if names.shape != (len(q),):
        raise DistributionError(
            f"`levels` must name the level of each of the {len(q)} rows, not have the shape {names.shape}"
        )
    order = [*(name for name in LEVELS if name in names), *sorted(set(names.tolist()) - set(LEVELS))]
    return {name: score(q[names == name], counts[names == name], control=control) for name in order}
