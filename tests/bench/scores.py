"""Scoring against a loop over rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.spatial.distance

from dime_hf.score import row_scores, score
from tests.bench.timing import compare

ROWS, CLASSES = 10_000, 8


def score_vs_row_loop() -> dict[str, Any]:
    """Baseline: squared score, JS (scipy), BC and log-likelihood row by row; ours computes these and the decisions."""
    rng = np.random.default_rng(0)
    predictions = rng.dirichlet(np.full(CLASSES, 0.5), ROWS)
    counts = rng.multinomial(5, rng.dirichlet(np.full(CLASSES, 0.5), ROWS))
    looped, vectorised = loop(predictions, counts), row_scores(predictions, counts)
    for name, values in vectorised.items():
        np.testing.assert_allclose(values.mean(), looped[name], rtol=1e-6)
    return compare(
        "score_vs_row_loop",
        lambda: score(predictions, counts),
        lambda: loop(predictions, counts),
        unit="s",
        n=ROWS,
        repetitions=3,
    )


def loop(predictions: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    """Mean scores, one row at a time."""
    sums = dict.fromkeys(("squared_score", "js_divergence", "bhattacharyya", "log_likelihood"), 0.0)
    for q, n in zip(predictions, counts, strict=True):
        p = n / n.sum()
        voted = p > 0
        sums["squared_score"] += q @ q - 2 * q @ p
        sums["js_divergence"] += scipy.spatial.distance.jensenshannon(p, q, base=2) ** 2
        sums["bhattacharyya"] += np.sqrt(p * q).sum()
        sums["log_likelihood"] += (p[voted] * np.log(q[voted])).sum()
    return {name: total / len(predictions) for name, total in sums.items()}
