"""Every metric: what it takes of each row, and the number that sums over rows give.

A metric that is known by its sums costs one pass, whatever the weights, strata, clusters or draws of rows.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from dime_hf import distribution
from dime_hf.distribution import TIE, Array, as_counts, as_distributions, entropy, normalize, plurality
from dime_hf.errors import DistributionError, did_you_mean

ECE_BINS = 15
FLAT = 1e-12  # a variance below it is rounding


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Predictions (N, C) beside the vote counts (N, C) they are scored against, and what several metrics need."""

    q: Array
    counts: Array

    @classmethod
    def read(cls, predictions: ArrayLike, references: ArrayLike, name: str = "predictions") -> Pairs:
        """Check both; raise `DistributionError` where they are not distributions and votes of the same rows."""
        q, counts = as_distributions(predictions, name), as_counts(references, "references")
        if q.ndim != 2 or q.shape != counts.shape:
            raise DistributionError(
                f"`{name}` {q.shape} and `references` {counts.shape} must have the same shape (N, C)"
            )
        if len(q) == 0:
            raise DistributionError(f"`{name}` has no rows: there is nothing to score")
        return cls(q, counts)

    @functools.cached_property
    def shares(self) -> Array:
        return normalize(self.counts, "references")

    @functools.cached_property
    def human(self) -> NDArray[np.int64]:
        return plurality(self.counts)

    @functools.cached_property
    def predicted(self) -> NDArray[np.int64]:
        return plurality(self.q)

    @functools.cached_property
    def entropies(self) -> tuple[Array, Array]:
        """Bits (N,) of the votes and of the predictions."""
        return entropy(self.shares), entropy(self.q)


@dataclasses.dataclass(frozen=True)
class Metric:
    """`parts` takes an array (N, ...) of the rows; `value` turns its (weighted) sums (..., ...) into numbers (...)."""

    parts: Callable[[Pairs], Array]
    value: Callable[[Array], Array]


Sums = dict[Callable[[Pairs], Array], Array]


def metric_sums(pairs: Pairs, names: Iterable[str], add: Callable[[Array], Array]) -> Sums:
    """Return what metrics follow from: their parts (N, ...), which `add` sums over rows in one or many ways."""
    sums: Sums = {}
    with np.errstate(divide="ignore", invalid="ignore"):  # rows with nothing to score
        for parts in (METRICS[name].parts for name in names):
            if parts not in sums:
                sums[parts] = add(parts(pairs))
    return sums


def metric_values(sums: Sums, names: Iterable[str]) -> dict[str, Array]:
    """Return the values (...) of metrics by name from the sums of their parts."""
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 is NaN: nothing was there to be scored
        return {name: METRICS[name].value(sums[METRICS[name].parts]) for name in names}


def check_names(names: Iterable[str], possible: Iterable[str]) -> tuple[str, ...]:
    """Return `names` as a tuple; raise `DistributionError` for one that is not `possible`."""
    possible = list(possible)
    if isinstance(names, str):
        raise DistributionError(f"`metrics` must be a sequence of names, such as [{names!r}], not one string")
    names = tuple(names)
    for name in names:
        if name not in possible:
            raise DistributionError(f"`metrics` has {name!r}, which is not known here.{did_you_mean(name, possible)}")
    return names


def squared_score(q: Array, p: Array) -> Array:
    """||q||^2 - 2 q.p along the last axis, in [-1, 1], lower is better: the Brier score less a constant of p."""
    return (q**2).sum(-1) - 2 * (q * p).sum(-1)


def _squared_distance(pairs: Pairs) -> Array:
    """The squared score and an unbiased ||truth||^2 from pairs of votes; NaN where nobody else voted."""
    counts, votes = pairs.counts, pairs.counts.sum(-1)
    if (counts % 1 != 0).any():
        raise DistributionError("`references` must be whole votes for `squared_distance`; some are fractional")
    alike = (counts * (counts - 1)).sum(-1) / (votes * (votes - 1))
    return np.where(votes > 1, squared_score(pairs.q, pairs.shares) + alike, np.nan)


def _r2_within(pairs: Pairs) -> Array:
    """0 where the prediction is uniform, NaN where the votes are."""
    p, q = pairs.shares - 1 / pairs.q.shape[1], pairs.q - 1 / pairs.q.shape[1]
    variance_p, variance_q = (p**2).sum(-1), (q**2).sum(-1)
    r2 = (p * q).sum(-1) ** 2 / (variance_p * variance_q)
    return np.where(variance_p < FLAT, np.nan, np.where(variance_q < FLAT, 0.0, r2))


def _entce(pairs: Pairs) -> Array:
    human, predicted = pairs.entropies
    return predicted - human


def _rankcs(pairs: Pairs) -> Array:
    """1 where no two classes that the votes put in order are tied or in another order in the prediction."""
    right = np.ones(len(pairs.q), dtype=bool)
    for one in range(pairs.q.shape[1]):
        for other in range(one):
            human = pairs.counts[:, one] - pairs.counts[:, other]
            predicted = pairs.q[:, one] - pairs.q[:, other]
            right &= (np.abs(human) < TIE) | (human * predicted > TIE * np.abs(human))
    return right.astype(np.float64)


def _of_shares(measure: Callable[[ArrayLike, ArrayLike], Array]) -> Callable[[Pairs], Array]:
    """A metric of rows from a function of the votes' shares and the prediction, in this order."""
    return lambda pairs: measure(pairs.shares, pairs.q)


ROW_METRICS: dict[str, Callable[[Pairs], Array]] = {
    "squared_score": lambda pairs: squared_score(pairs.q, pairs.shares),
    "squared_distance": _squared_distance,
    "js_divergence": _of_shares(distribution.js_divergence),
    "js_distance": _of_shares(distribution.js_distance),
    "bhattacharyya": _of_shares(distribution.bhattacharyya),
    "log_likelihood": lambda pairs: xlogy(pairs.shares, pairs.q).sum(-1),
    "kl_human_to_model": _of_shares(distribution.kl_divergence),
    "total_variation": _of_shares(distribution.total_variation),
    "manhattan_distance": _of_shares(distribution.manhattan_distance),
    "chebyshev_distance": _of_shares(distribution.chebyshev_distance),
    "clark_distance": _of_shares(distribution.clark_distance),
    "canberra_distance": _of_shares(distribution.canberra_distance),
    "cosine_similarity": _of_shares(distribution.cosine_similarity),
    "intersection_similarity": _of_shares(distribution.intersection_similarity),
    "r2_within": _r2_within,
    "distce": _of_shares(distribution.total_variation),
    "entce": _entce,
    "entce_absolute": lambda pairs: np.abs(_entce(pairs)),
    "rankcs": _rankcs,
}


def _mean(rows: Callable[[Pairs], Array]) -> Metric:
    """Mean over the rows that are not NaN; one infinite row makes it infinite, also among weights and differences."""

    def parts(pairs: Pairs) -> Array:
        scores = rows(pairs)
        finite = np.isfinite(scores)
        infinite = np.where(np.isinf(scores), np.sign(scores), 0)
        return np.stack([np.where(finite, scores, 0), finite, infinite], axis=-1)

    return Metric(parts, _mean_value)


def _mean_value(sums: Array) -> Array:
    total, number, infinite = np.moveaxis(sums, -1, 0)
    return np.where(infinite != 0, np.copysign(np.inf, infinite), total / number)


def _decisions(pairs: Pairs) -> Array:
    """(N, 3, C) by class: hits, human decisions and predictions, on the rows that humans decided."""
    places = np.arange(pairs.q.shape[1])
    human = pairs.human[:, None] == places
    predicted = (pairs.predicted[:, None] == places) & (pairs.human >= 0)[:, None]
    return np.stack([human & predicted, human, predicted], axis=1).astype(np.float64)


def _presences(pairs: Pairs) -> Array:
    """(N, 3, C) by class: hits, presences in the votes and in the predictions."""
    threshold = 1 / pairs.q.shape[1] + TIE
    human, predicted = pairs.shares > threshold, pairs.q > threshold
    return np.stack([human & predicted, human, predicted], axis=1).astype(np.float64)


def _accuracy(sums: Array) -> Array:
    hits, decided, _ = np.moveaxis(sums, -2, 0)
    return hits.sum(-1) / decided.sum(-1)


def _macro_f1(sums: Array) -> Array:
    hits, decided, given = np.moveaxis(sums, -2, 0)
    return _mean_where(2 * hits / (decided + given), decided > 0)


def _weighted_f1(sums: Array) -> Array:
    hits, decided, given = np.moveaxis(sums, -2, 0)
    f1 = 2 * hits / np.where(decided > 0, decided + given, 1)
    return (decided * f1).sum(-1) / decided.sum(-1)


def _recall(sums: Array) -> Array:
    hits, decided, _ = np.moveaxis(sums, -2, 0)
    return _mean_where(hits / decided, decided > 0)


def _mean_where(by_class: Array, counted: NDArray[np.bool_]) -> Array:
    """Mean over the last axis of what counts; NaN where nothing does."""
    return np.where(counted, by_class, 0).sum(-1) / counted.sum(-1)


def _regression(pairs: Pairs) -> Array:
    p = pairs.shares
    return np.stack([np.ones_like(p), p, p**2, (p - pairs.q) ** 2], axis=1)


def _r2_per_class(sums: Array) -> Array:
    """Classes whose share is the same in all rows have no variance to explain and are left out."""
    number, total, squares, residual = np.moveaxis(sums, -2, 0)
    variance = squares - total**2 / number
    return _mean_where(1 - residual / variance, variance > FLAT * number)


def _moments(pairs: Pairs) -> Array:
    human, predicted = pairs.entropies
    return np.stack([np.ones_like(human), human, predicted, human**2, predicted**2, human * predicted], axis=-1)


def _correlation(sums: Array) -> Array:
    """Pearson; NaN where either side does not vary."""
    number, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    variance_x, variance_y = xx / number - (x / number) ** 2, yy / number - (y / number) ** 2
    r = (xy / number - x * y / number**2) / np.sqrt(variance_x * variance_y)
    return np.where((variance_x > FLAT) & (variance_y > FLAT), np.clip(r, -1, 1), np.nan)


def _confidence_gaps(pairs: Pairs) -> Array:
    """(N, bins + 1): the confidence less the share of votes that it met, in the bin of the confidence; and 1."""
    confidence = pairs.q.max(-1, keepdims=True)
    top = confidence - pairs.q < TIE
    met = (pairs.shares * top).sum(-1) / top.sum(-1)
    bins = np.clip(np.ceil(confidence * ECE_BINS - TIE) - 1, 0, ECE_BINS - 1) == np.arange(ECE_BINS)
    return np.concatenate([bins * (confidence - met[:, None]), np.ones_like(confidence)], axis=-1)


def _ece(sums: Array) -> Array:
    return np.abs(sums[..., :-1]).sum(-1) / sums[..., -1]


DECISIONS = {
    "accuracy": _accuracy,
    "macro_f1": _macro_f1,
    "weighted_f1": _weighted_f1,
    "unweighted_average_recall": _recall,
}
METRICS: dict[str, Metric] = {
    **{name: _mean(rows) for name, rows in ROW_METRICS.items()},
    **{name: Metric(_decisions, value) for name, value in DECISIONS.items()},
    "multilabel_macro_f1": Metric(_presences, _macro_f1),
    "r2_per_class": Metric(_regression, _r2_per_class),
    "entropy_correlation": Metric(_moments, _correlation),
    "ece": Metric(_confidence_gaps, _ece),
}
