"""Budget: the utterances where one more human vote would lower the uncertainty of the label most.

Under the posterior Dir(a), A = sum_c a_c, the label m = a / A has the expected squared distance to the truth
S = (1 - sum_c m_c^2) / (A + 1), the sum of the posterior variances. The next vote falls on class c with probability
m_c, so by the law of total variance k more votes are expected to leave S A / (A + k): the k-th takes away
S A / ((A + k - 1) (A + k)), less than the one before. A plan that takes the largest next gain again and again is
therefore the best of all plans that are made beforehand. Squared distance, and not entropy, as in the primary score.
"""

from __future__ import annotations

import heapq
from typing import Any

import datasets
import numpy as np
from datasets import Value
from numpy.typing import ArrayLike, NDArray

from dime_hf import columns
from dime_hf.columns import ANSWERS, ID, VOTE_COUNTS
from dime_hf.distribution import Array, as_counts
from dime_hf.errors import DistributionError, FitError
from dime_hf.pool.panel import as_batch
from dime_hf.pool.poolers import Pooler

VOTES = "votes"  # human votes so far
UNCERTAINTY = "expected_squared_distance"
REDUCTION = "expected_reduction"
PLANNED = "planned_votes"


def rank_for_votes(dataset: datasets.Dataset, pooler: Pooler, votes: int | None = None) -> datasets.Dataset:
    """Return a table of the utterances of `dataset`, first those where one more human vote is worth most.

    Columns: `id`; `votes` so far; `expected_squared_distance` of the label to the truth, in [0, 1]; the
    `expected_reduction` of it by one more vote; and with a budget of `votes`, `planned_votes` of each utterance, which
    together lower it most. Ties go by id. `pooler` is fitted, and has a posterior: "prior", "fitted" or "calibrated".
    Raises `FitError`, and `DistributionError` for a negative budget.
    """
    columns.require(dataset, ID, VOTE_COUNTS, *([ANSWERS] if pooler.reads_answers else []))
    if not pooler.has_posterior:
        raise FitError(f"`pooler` {pooler.name!r} has no posterior: fit 'prior', 'fitted' or 'calibrated'")
    names = [name for name in pooler.reads if name in dataset.column_names]
    batch = as_batch(dataset.select_columns(names).with_format("arrow")[:])
    panel, ids = pooler.read(batch), np.array(batch[ID], dtype=str)
    alpha = pooler.total_votes(panel)
    reduction = expected_reduction(alpha)
    rows: dict[str, Any] = {
        ID: ids,
        VOTES: panel.human.sum(-1),
        UNCERTAINTY: expected_squared_distance(alpha),
        REDUCTION: reduction,
    }
    number, by_id = Value("float64"), np.argsort(ids, kind="stable")
    features = {ID: Value("string"), VOTES: number, UNCERTAINTY: number, REDUCTION: number}
    if votes is not None:
        rows[PLANNED], features[PLANNED] = np.zeros(len(ids), dtype=np.int64), Value("int64")
        rows[PLANNED][by_id] = plan_votes(alpha[by_id], votes)
    order = by_id[np.argsort(-reduction[by_id], kind="stable")]
    ranked = {name: values[order] for name, values in rows.items()}
    return datasets.Dataset.from_dict(ranked, features=datasets.Features(features))


def expected_squared_distance(alpha: ArrayLike) -> Array:
    """Expected squared distance of alpha / A to the truth under Dir(alpha), alpha (..., C) > 0: (1 - |m|^2) / (A + 1).

    >>> float(expected_squared_distance([1.0, 1.0]))
    0.16666666666666666
    """
    a = as_counts(alpha, "alpha")
    total = a.sum(-1)
    return (1 - ((a / total[..., None]) ** 2).sum(-1)) / (total + 1)


def expected_reduction(alpha: ArrayLike, vote: ArrayLike = 1) -> Array:
    """What the `vote`-th more vote is expected to take off that distance S: S A / ((A + k - 1) (A + k)), (...,)."""
    total, vote = as_counts(alpha, "alpha").sum(-1), np.asarray(vote)
    return expected_squared_distance(alpha) * total / ((total + vote - 1) * (total + vote))


def plan_votes(alpha: ArrayLike, votes: int) -> NDArray[np.int64]:
    """How many of `votes` more votes each utterance gets (N,), so that alpha (N, C) expects to gain most.

    Of equal gains the first row's is taken.
    """
    a = as_counts(alpha, "alpha")
    if votes < 0:
        raise DistributionError(f"`votes` must not be negative, and is {votes}")
    plan = np.zeros(len(a), dtype=np.int64)
    total = a.sum(-1)
    weight = (expected_squared_distance(a) * total).tolist()  # S A
    behind = total.tolist()  # A + k - 1, what is behind the label when the next vote comes
    heap = list(zip((-expected_reduction(a)).tolist(), range(len(a)), strict=True))
    heapq.heapify(heap)
    for _ in range(votes if heap else 0):
        row = heap[0][1]
        plan[row] += 1
        behind[row] += 1
        heapq.heapreplace(heap, (-weight[row] / (behind[row] * (behind[row] + 1)), row))
    return plan
