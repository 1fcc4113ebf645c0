"""The votes that pooling starts from: human counts, and the mean of what the proxies answered."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np

from dime_hf import columns
from dime_hf.columns import ANSWERS, ID, OK, REFERENCE_COUNTS, VOTE_COUNTS
from dime_hf.distribution import Array, as_counts, as_distributions
from dime_hf.errors import ColumnError, FitError
from dime_hf.stage import Batch

READS = (
    ID,
    columns.SPEAKER,
    columns.DIALOG,
    VOTE_COUNTS,
    ANSWERS,
    REFERENCE_COUNTS,
)  # where there


@dataclasses.dataclass(frozen=True)
class Panel:
    """Votes on a batch of utterances: human counts (N, C), mean synthetic answer (N, C), synthetic votes (N,)."""

    human: Array
    synthetic: Array
    synthetic_votes: Array

    @classmethod
    def read(cls, batch: Batch) -> Panel:
        """Read the votes of a batch; failed answers weigh nothing, no answers make 0 synthetic votes."""
        human = as_counts(batch[VOTE_COUNTS], VOTE_COUNTS)
        rows = batch[ANSWERS] if ANSWERS in columns.column_names(batch) else [[]] * len(human)
        sums, votes = np.zeros_like(human), np.zeros(len(human))
        for index, answers in enumerate(rows):
            for answer in answers:
                if answer["status"] == OK:
                    sums[index] += answer["votes"] * _answer_distribution(answer, human.shape[1])
                    votes[index] += answer["votes"]
        return cls(human, sums / np.where(votes > 0, votes, 1)[:, None], votes)


def training_panel(dataset: datasets.Dataset) -> tuple[Panel, tuple[str, ...]]:
    """Votes of the utterances with two votes or more, and the groups of all utterances."""
    columns.require(dataset, ID, VOTE_COUNTS)
    votes = dataset.select_columns([name for name in READS if name in dataset.column_names])[:]
    panel = Panel.read(votes)
    several = panel.human.sum(-1) >= 2
    if not several.any():
        raise FitError(
            f"`dataset` has no utterance with two votes or more among {len(several)}: one vote an utterance cannot "
            "tell how far to trust it, so there is nothing to fit strengths on"
        )
    fit = Panel(panel.human[several], panel.synthetic[several], panel.synthetic_votes[several])
    return fit, tuple(sorted(set(columns.groups(votes))))


def _answer_distribution(answer: Mapping[str, Any], size: int) -> Array:
    distribution = as_distributions(answer["distribution"], f"answer of {answer['proxy']!r}")
    if distribution.shape != (size,):
        raise ColumnError(
            f"an answer of {answer['proxy']!r} is over {distribution.size} classes, the votes are over {size}"
        )
    return distribution
