"""Scores of predictions during training, against votes, and by level of ambiguity where other votes tell it."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
from scipy.special import softmax

from dime_hf.columns import REFERENCE_COUNTS, SOFT_LABEL, VOTE_COUNTS
from dime_hf.distribution import Array
from dime_hf.errors import ColumnError
from dime_hf.protocol.reference import by_class
from dime_hf.score import DEFAULT, LEVELS, ambiguity_levels, score

BY_LEVEL = ("squared_score", "js_divergence")


def probabilities(logits: Any) -> Array:
    """Softmax of logits (N, C) in float64; of the first, where a model gives several arrays."""
    logits = logits[0] if isinstance(logits, (tuple, list)) else logits
    return softmax(np.asarray(logits, dtype=np.float64), axis=-1)


def votes_of(dataset: datasets.Dataset) -> Array:
    """Votes (N, C) that judge: those held out, or else all, 0 where there are none."""
    for column in (REFERENCE_COUNTS, VOTE_COUNTS):
        if column in dataset.column_names:
            return np.nan_to_num(by_class(dataset, column))
    raise ColumnError(f"`dataset` has no votes: neither {REFERENCE_COUNTS!r} nor {VOTE_COUNTS!r}")


def has_votes(dataset: Any) -> bool:
    names = (REFERENCE_COUNTS, VOTE_COUNTS)
    return isinstance(dataset, datasets.Dataset) and any(name in dataset.column_names for name in names)


def scores(predicted: Array, references: Any, kept: Array | None = None) -> dict[str, float | int]:
    """Score predictions (N, C) against votes or soft labels (N, C), by name; rows without any are left out.

    Levels are made of the `kept` votes (N, C), which judge nothing; their scores bear them before the name.
    """
    votes = np.asarray(references, dtype=np.float64)
    judged = votes.sum(-1) > 0
    if not judged.any():
        return {}
    found: dict[str, float | int] = score(predicted[judged], votes[judged], metrics=DEFAULT)
    if kept is None:
        return found
    known = judged & (kept.sum(-1) > 0)
    if not known.any():
        return found
    levels = ambiguity_levels(kept[known])
    if len(set(levels)) == 1:  # single votes tell nothing
        return found
    by_level = score(predicted[known], votes[known], levels=levels, metrics=BY_LEVEL)["levels"]
    return found | {
        f"{level}_{name}": by_level[level][name] for level in LEVELS if level in by_level for name in (*BY_LEVEL, "n")
    }


def score_dataset(predicted: Array, dataset: Any, labels: Any) -> dict[str, float | int]:
    """Score predictions for the rows of a dataset: against its votes, or `labels` (N, C) where it has none."""
    if not has_votes(dataset) or len(dataset) != len(predicted):
        return scores(predicted, labels)
    held_out = REFERENCE_COUNTS in dataset.column_names and VOTE_COUNTS in dataset.column_names
    kept = np.nan_to_num(by_class(dataset, VOTE_COUNTS)) if held_out else None
    return scores(predicted, votes_of(dataset), kept)


def mean_label(dataset: Any) -> Array | None:
    """Mean soft label (C,) of a training set, the constant that a model must beat; None where it is not known."""
    if not isinstance(dataset, datasets.Dataset) or SOFT_LABEL not in dataset.column_names:
        return None
    labels = by_class(dataset, SOFT_LABEL)
    return np.asarray(np.nanmean(labels, axis=0))
