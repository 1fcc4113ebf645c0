"""All scores against a loop over rows, and their clustered bootstrap against a loop over draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.spatial.distance as distance
import scipy.stats
import sklearn.metrics

from dime_hf.evidence import bootstrap
from dime_hf.score import METRICS, score
from tests.bench.timing import fastest

ROWS, CLASSES, LOOPED_ROWS = 100_000, 8, 2_000
UTTERANCES, SPEAKERS, DRAWS, LOOPED_DRAWS = 10_000, 91, 2_000, 20


def metrics_vs_row_loop() -> dict[str, Any]:
    """All metrics. Baseline: scipy row by row for the means over rows, on 2,000 rows, scaled to all; then sklearn."""
    predictions, counts = _rows(ROWS)
    looped = loop(predictions[:LOOPED_ROWS], counts[:LOOPED_ROWS])
    ours = score(predictions[:LOOPED_ROWS], counts[:LOOPED_ROWS], metrics=METRICS)
    for name, value in looped.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-6)
    mine = fastest(lambda: score(predictions, counts, metrics=METRICS))
    theirs = fastest(lambda: _row_by_row(predictions[:LOOPED_ROWS], counts[:LOOPED_ROWS])) * ROWS / LOOPED_ROWS
    theirs += fastest(lambda: _whole(predictions, counts))
    return _row("metrics_vs_row_loop", mine, theirs, ROWS)


def bootstrap_10k() -> dict[str, Any]:
    """2,000 draws of 91 speakers, all metrics of 10,000 rows. Baseline: 20 draws in a loop of `score`, scaled."""
    predictions, counts = _rows(UTTERANCES)
    groups = np.random.default_rng(1).integers(0, SPEAKERS, UTTERANCES).astype(str).tolist()
    mine = fastest(lambda: bootstrap(predictions, counts, groups, metrics=METRICS, draws=DRAWS))
    theirs = fastest(lambda: _drawn(predictions, counts, groups)) * DRAWS / LOOPED_DRAWS
    return _row("bootstrap_10k", mine, theirs, UTTERANCES)


def loop(predictions: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    """Mean scores one row at a time, and scikit-learn's numbers of the whole set."""
    return {**_row_by_row(predictions, counts), **_whole(predictions, counts)}


def _row_by_row(predictions: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    rows = [_one(q, n) for q, n in zip(predictions, counts, strict=True)]
    return {name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]}


def _whole(predictions: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    decided = (counts == counts.max(-1, keepdims=True)).sum(-1) == 1
    human, predicted = counts[decided].argmax(-1), predictions[decided].argmax(-1)
    shares = counts / counts.sum(-1, keepdims=True)
    return {
        "accuracy": sklearn.metrics.accuracy_score(human, predicted),
        "macro_f1": sklearn.metrics.f1_score(human, predicted, average="macro"),
        "weighted_f1": sklearn.metrics.f1_score(human, predicted, average="weighted"),
        "unweighted_average_recall": sklearn.metrics.balanced_accuracy_score(human, predicted),
        "r2_per_class": sklearn.metrics.r2_score(shares, predictions),
    }


def _one(q: np.ndarray, n: np.ndarray) -> dict[str, float]:
    p, votes = n / n.sum(), n.sum()
    js = distance.jensenshannon(p, q, base=2)
    voted = p > 0
    human, predicted = scipy.stats.entropy(p, base=2), scipy.stats.entropy(q, base=2)
    return {
        "squared_score": q @ q - 2 * q @ p,
        "squared_distance": q @ q - 2 * q @ p + (n * (n - 1)).sum() / (votes * (votes - 1)),
        "js_divergence": js**2,
        "js_distance": js,
        "bhattacharyya": np.sqrt(p * q).sum(),
        "log_likelihood": (p[voted] * np.log(q[voted])).sum(),
        "kl_human_to_model": scipy.stats.entropy(p, q, base=2),
        "total_variation": distance.cityblock(p, q) / 2,
        "manhattan_distance": distance.cityblock(p, q),
        "chebyshev_distance": distance.chebyshev(p, q),
        "clark_distance": np.sqrt((((p - q) / (p + q)) ** 2).sum()),
        "canberra_distance": distance.canberra(p, q),
        "cosine_similarity": 1 - distance.cosine(p, q),
        "intersection_similarity": np.minimum(p, q).sum(),
        "r2_within": scipy.stats.pearsonr(p, q).statistic ** 2,
        "entce": predicted - human,
        "entce_absolute": abs(predicted - human),
    }


def _drawn(predictions: np.ndarray, counts: np.ndarray, groups: list[str]) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    names = np.array(groups)
    rows = {name: np.flatnonzero(names == name) for name in np.unique(names)}
    speakers = list(rows)
    scores = []
    for _ in range(LOOPED_DRAWS):
        taken = np.concatenate([rows[speakers[place]] for place in rng.integers(0, len(speakers), len(speakers))])
        scores.append(score(predictions[taken], counts[taken], metrics=METRICS))
    return scores


def _rows(size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.full(CLASSES, 0.5), size)
    return rng.dirichlet(np.full(CLASSES, 0.5), size), rng.multinomial(5, truth)


def _row(name: str, mine: float, theirs: float, n: int) -> dict[str, Any]:
    return {"name": name, "ours": mine, "baseline": theirs, "ratio": theirs / mine, "unit": "s", "n": n}
