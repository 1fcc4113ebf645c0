"""Scores of a set of rows: chosen metrics, weights, strata, a control; and the same for `Trainer`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax

from dime_hf.distribution import TIE, Array, as_distributions, entropy, normalize
from dime_hf.errors import DistributionError
from dime_hf.score.metrics import DECISIONS, METRICS, ROW_METRICS, Pairs, check_names, metric_sums, metric_values

LEVELS = ("low", "medium", "high")
ROW_DEFAULT = ("squared_score", "js_divergence", "bhattacharyya", "log_likelihood")
DEFAULT = (*ROW_DEFAULT, "accuracy", "macro_f1")


def score(
    predictions: ArrayLike,
    references: ArrayLike,
    *,
    control: ArrayLike | None = None,
    levels: Sequence[str] | None = None,
    metrics: Iterable[str] = DEFAULT,
    weights: ArrayLike | None = None,
) -> dict[str, Any]:
    """Return the scores of predictions (N, C) against held-out vote counts (N, C), by name, and the number of rows.

    `control` (C,), such as `prior`: its scores come under "control". `levels` (N,) names a stratum of every row, such
    as `ambiguity_levels`: scores by stratum come under "levels". `metrics` are of `METRICS`. `weights` (N,) of the
    rows must not come from the scored votes (then no score is proper, and another distribution beats the truth):
    "n_effective" is (sum w)^2 / sum w^2. A predicted tie counts as wrong; `n_tied` says how often. Raises
    `DistributionError`.
    """
    names, pairs = check_names(metrics, METRICS), Pairs.read(predictions, references)
    w = None if weights is None else check_weights(weights, len(pairs.q))
    scores: dict[str, Any] = _scores(pairs, names, w)
    if control is not None:
        scores["control"] = _scores(Pairs(_constant(control, pairs.q), pairs.counts), names, w)
    if levels is not None:
        scores["levels"] = {}
        for name, rows in _strata(levels, len(pairs.q)).items():
            part = None if w is None else w[rows]
            scores["levels"][name] = score(
                pairs.q[rows], pairs.counts[rows], control=control, metrics=names, weights=part
            )
    return scores


def row_scores(
    predictions: ArrayLike, references: ArrayLike, metrics: Iterable[str] = ROW_DEFAULT
) -> dict[str, Array]:
    """Return the scores of every row (N,) that are means over rows: what paired differences are taken of.

    NaN where a row has nothing to score, such as `squared_distance` at one vote.
    """
    names, pairs = check_names(metrics, ROW_METRICS), Pairs.read(predictions, references)
    with np.errstate(divide="ignore", invalid="ignore"):  # rows with nothing to score
        return {name: ROW_METRICS[name](pairs) for name in names}


def compute_metrics(prediction: Any, metrics: Iterable[str] = DEFAULT) -> dict[str, float | int]:
    """Score transformers' `EvalPrediction` of logits and soft labels or vote counts (N, C).

    Give it to `SoftLabelTrainer(compute_metrics=...)`; other metrics by `functools.partial(compute_metrics,
    metrics=[...])`. Soft labels that are not votes of held-out humans make these numbers good for early stopping only.
    """
    logits, labels = prediction.predictions, prediction.label_ids
    logits, labels = (value[0] if isinstance(value, (tuple, list)) else value for value in (logits, labels))
    return score(softmax(np.asarray(logits, dtype=np.float64), axis=-1), labels, metrics=metrics)


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


def _scores(pairs: Pairs, names: Sequence[str], weights: Array | None) -> dict[str, float | int]:
    def add(parts: Array) -> Array:
        return np.asarray(parts.sum(0) if weights is None else np.tensordot(weights, parts, 1))

    found = metric_values(metric_sums(pairs, names, add), names)
    scores: dict[str, float | int] = {name: float(value) for name, value in found.items()}
    if any(name in DECISIONS for name in names):
        decided = pairs.human >= 0
        scores |= {"n_decided": int(decided.sum()), "n_tied": int((pairs.predicted[decided] < 0).sum())}
    scores["n"] = len(pairs.q)
    if weights is not None:
        scores["n_effective"] = float(weights.sum() ** 2 / (weights**2).sum())
    return scores


def check_weights(weights: ArrayLike, rows: int) -> Array:
    """Return weights (N,) of rows; raise `DistributionError` where they are none."""
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (rows,):
        raise DistributionError(f"`weights` must have one number for each of the {rows} rows, not the shape {w.shape}")
    if not (np.isfinite(w).all() and (w >= 0).all() and w.any()):
        raise DistributionError("`weights` must be finite, not negative, and not all 0")
    return w


def _constant(control: ArrayLike, like: Array) -> Array:
    constant = as_distributions(control, "control")
    if constant.shape != like.shape[1:]:
        raise DistributionError(f"`control` must be one distribution of shape {like.shape[1:]}, not {constant.shape}")
    return np.broadcast_to(constant, like.shape)


def _strata(levels: Sequence[str], rows: int) -> dict[str, Any]:
    """Which rows (N,) each stratum has: the levels of ambiguity in their order, others by name."""
    names = np.asarray(levels)
    if names.shape != (rows,):
        raise DistributionError(
            f"`levels` must name the level of each of the {rows} rows, not have the shape {names.shape}"
        )
    order = [*(name for name in LEVELS if name in names), *sorted(set(names.tolist()) - set(LEVELS))]
    return {name: names == name for name in order}
