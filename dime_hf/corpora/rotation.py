"""Votes split by annotator, in turn: each annotator judges once, and is then unknown to every fit."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence

import datasets
import numpy as np
import pyarrow as pa
import scipy.sparse
from numpy.typing import NDArray

from dime_hf import columns
from dime_hf.columns import HUMAN_VOTES, ID, REFERENCE_COUNTS, VOTE_COUNTS
from dime_hf.corpora.cast import UNKNOWN, Ballots
from dime_hf.corpora.holdout import split_votes
from dime_hf.corpora.policy import Tally
from dime_hf.corpora.votes import CastVotes
from dime_hf.errors import DistributionError
from dime_hf.stage import add_columns


def rotate_annotators(dataset: datasets.Dataset, folds: int = 3, seed: int = 0) -> list[datasets.Dataset]:
    """Split the votes by annotator into `folds`, and let each fold be the reference once: one dataset a turn.

    In every turn `reference_counts` has the votes of one fold of annotators, and `vote_counts`, `soft_label`,
    `hard_label` and `human_votes` those of the others, who are other people on all utterances. Annotators who meet on
    utterances go to different folds as far as that can be, so that with three annotators an utterance each is held
    out once. Votes of unknown annotators are dealt by (seed, id) to the folds that an utterance has least of. An
    utterance is left out of a turn in which it has no votes on one side.
    """
    columns.require(dataset, ID, HUMAN_VOTES, VOTE_COUNTS)
    if folds < 2:
        raise DistributionError(f"`folds` must be at least 2, not {folds}")
    tally = Tally.read(dataset)
    fold_of = annotator_folds(Ballots.read(dataset), folds)
    writes = {
        HUMAN_VOTES: dataset.features[HUMAN_VOTES],
        **columns.label_features(tally.classes),
        REFERENCE_COUNTS: columns.distribution_feature(len(tally.classes)),
    }
    turns = [
        add_columns(
            dataset,
            _Turn(tally, fold_of, folds, turn, seed),
            reads=[ID, HUMAN_VOTES],
            writes=writes,
            batch_format="arrow",
            desc=f"Holding out annotators ({turn + 1} of {folds})",
        )
        for turn in range(folds)
    ]
    return [
        turn.filter(_both_sides, input_columns=[VOTE_COUNTS, REFERENCE_COUNTS], desc="Keeping rows with both sides")
        for turn in turns
    ]


def _both_sides(counts: Sequence[float], reference: Sequence[float]) -> bool:
    return sum(counts) > 0 and sum(reference) > 0


def annotator_folds(ballots: Ballots, folds: int) -> dict[str, int]:
    """The fold of every annotator: those with most votes first, each to the fold they meet fewest votes of."""
    known = ballots.annotator != UNKNOWN
    places = (ballots.annotator[known], ballots.row[known])
    votes = scipy.sparse.csr_array(
        (np.ones(len(places[0])), places), shape=(len(ballots.annotators), ballots.rows), dtype=np.float64
    )
    sizes = np.asarray(votes.sum(1)).ravel()
    member = np.full(len(sizes), UNKNOWN)
    there, total = np.zeros((folds, ballots.rows)), np.zeros(folds)  # votes of a fold on every utterance, and on all
    for annotator in np.argsort(-sizes, kind="stable"):
        voted = votes.indices[votes.indptr[annotator] : votes.indptr[annotator + 1]]
        fold = np.lexsort((total, there[:, voted].sum(-1)))[0]
        member[annotator] = fold
        there[fold, voted] += 1
        total[fold] += len(voted)
    return dict(zip(ballots.annotators, member.tolist(), strict=True))


@dataclasses.dataclass(frozen=True)
class _Turn:
    """The map of one turn of `rotate_annotators`."""

    tally: Tally
    fold_of: dict[str, int]
    folds: int
    turn: int
    seed: int

    def __call__(self, batch: pa.Table) -> pa.Table:
        votes = CastVotes.read(batch[HUMAN_VOTES], self.tally.inventory)
        inside = (self.tally.count(self.tally.answer_ticks(votes)).sum(-1) > 0)[votes.answer]
        fold = np.array([self.fold_of.get(name, UNKNOWN) for name in votes.annotator.to_pylist()], dtype=int)
        ids, unknown = batch[ID].to_pylist(), inside & (fold == UNKNOWN)
        for row in np.unique(votes.row[unknown]):
            first, last = np.searchsorted(votes.row, [row, row + 1])
            there = first + np.flatnonzero(inside[first:last])
            fold[there] = self._deal(ids[row], fold[there])
        return split_votes(votes, inside, fold == self.turn, self.tally, batch.schema.field(HUMAN_VOTES).type)

    def _deal(self, id: str, fold: NDArray[np.int64]) -> NDArray[np.int64]:
        """Folds (V,) of the votes of an utterance, whose unknown annotators go to the folds it has least of."""
        rng = np.random.default_rng([self.seed, zlib.crc32(id.encode())])
        fold, order = fold.copy(), rng.permutation(self.folds)
        for place in rng.permutation(np.flatnonzero(fold == UNKNOWN)):
            counts = np.bincount(fold[fold != UNKNOWN], minlength=self.folds)
            fold[place] = order[counts[order].argmin()]
        return fold
