"""The votes of a dataset one by one: who cast each, on which utterance, for which classes."""

from __future__ import annotations

import dataclasses

import datasets
import numpy as np
from numpy.typing import NDArray

from dime_hf.columns import HUMAN_VOTES
from dime_hf.corpora.policy import Tally
from dime_hf.corpora.votes import CastVotes
from dime_hf.distribution import Array
from dime_hf.stage import read_column

UNKNOWN = -1


@dataclasses.dataclass(frozen=True)
class Ballots:
    """Votes inside the label set, as the dataset's own policy counts them, in the order of the rows.

    row: (V,) the utterance of each vote, of `rows`.
    annotator: (V,) its place in `annotators`, or -1 where the corpus does not know.
    votes: (V, C) what it gives to each class: usually one vote for one class, otherwise several or parts.
    """

    annotators: tuple[str, ...]
    row: NDArray[np.int64]
    annotator: NDArray[np.int64]
    votes: Array
    rows: int

    @classmethod
    def read(cls, dataset: datasets.Dataset) -> Ballots:
        """Read `human_votes`; raise `ColumnError` where the dataset does not say how they are counted."""
        tally = Tally.read(dataset)
        return cls.count(CastVotes.read(read_column(dataset, HUMAN_VOTES), tally.inventory), tally)

    @classmethod
    def count(cls, cast: CastVotes, tally: Tally) -> Ballots:
        """Count cast votes one by one."""
        by_answer = tally.count(tally.answer_ticks(cast))
        inside = by_answer.sum(-1)[cast.answer] > 0
        cast = cast.where(inside)
        known = cast.annotator.dictionary_encode()
        places = known.indices.fill_null(UNKNOWN).to_numpy(zero_copy_only=False)
        return cls(tuple(known.dictionary.to_pylist()), cast.row, places, by_answer[cast.answer], cast.rows)

    def counts(self, wanted: NDArray[np.bool_] | None = None) -> Array:
        """Vote counts (N, C) of all votes, or of those (V,) that are wanted."""
        row, votes = (self.row, self.votes) if wanted is None else (self.row[wanted], self.votes[wanted])
        totals = np.zeros((self.rows, self.votes.shape[1]))
        np.add.at(totals, row, votes)
        return totals
