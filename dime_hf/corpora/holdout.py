"""Votes held out for scoring: no fit may see them."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence

import datasets
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dime_hf import columns
from dime_hf.columns import HUMAN_VOTES, ID, REFERENCE_COUNTS, VOTE_COUNTS
from dime_hf.corpora.policy import Tally
from dime_hf.corpora.rows import fixed_lists, label_columns
from dime_hf.corpora.votes import CastVotes
from dime_hf.errors import DistributionError
from dime_hf.stage import add_columns


def hold_out_votes(dataset: datasets.Dataset, keep: int, seed: int = 0) -> datasets.Dataset:
    """Keep the votes of `keep` annotators an utterance in `vote_counts`, and move the others' to `reference_counts`.

    Annotators are drawn without replacement by (seed, id): the same for any order of rows, and all ticks of one go to
    one side. `soft_label`, its votes, `hard_label` and `human_votes` follow the kept votes. Annotators without a vote
    inside the label set do not count. Utterances with no more than `keep` of the others have nothing to hold out: they
    are left out of the result.
    """
    columns.require(dataset, ID, HUMAN_VOTES, VOTE_COUNTS)
    if keep < 1:
        raise DistributionError(f"`keep` must be at least 1 annotator, not {keep}")
    tally = Tally.read(dataset)
    writes = {
        HUMAN_VOTES: dataset.features[HUMAN_VOTES],
        **columns.label_features(tally.classes),
        REFERENCE_COUNTS: columns.distribution_feature(len(tally.classes)),
    }
    held = add_columns(
        dataset,
        HoldOut(tally, keep, seed),
        reads=[ID, HUMAN_VOTES],
        writes=writes,
        batch_format="arrow",
        desc="Holding out votes",
    )
    return held.filter(_has_votes, input_columns=[REFERENCE_COUNTS], desc="Keeping rows with held-out votes")


def _has_votes(counts: Sequence[float]) -> bool:
    return sum(counts) > 0


@dataclasses.dataclass(frozen=True)
class HoldOut:
    """The map of `hold_out_votes`: rows that cannot be split get a reference of zeros."""

    tally: Tally
    keep: int
    seed: int

    def __call__(self, batch: pa.Table) -> pa.Table:
        votes = CastVotes.read(batch[HUMAN_VOTES], self.tally.inventory)
        inside = (self.tally.count(self.tally.answer_ticks(votes)).sum(-1) > 0)[votes.answer]
        held = inside.copy()
        held[inside] = ~self._draw(batch[ID].to_pylist(), np.bincount(votes.row[inside], minlength=votes.rows))
        return split_votes(votes, inside, held, self.tally, batch.schema.field(HUMAN_VOTES).type)

    def _draw(self, ids: Sequence[str], voters: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which votes (V,) are kept, given how many voters each utterance (N,) has."""
        draws = [self._draw_row(id, count) for id, count in zip(ids, voters.tolist(), strict=True)]
        return np.concatenate([np.zeros(0, dtype=bool), *draws])

    def _draw_row(self, id: str, voters: int) -> NDArray[np.bool_]:
        if voters <= self.keep:
            return np.ones(voters, dtype=bool)
        order = np.random.default_rng([self.seed, zlib.crc32(id.encode())]).permutation(voters)
        return np.isin(np.arange(voters), order[: self.keep])


def split_votes(
    votes: CastVotes, inside: NDArray[np.bool_], held: NDArray[np.bool_], tally: Tally, type: pa.DataType
) -> pa.Table:
    """Columns of both sides: of votes (V,), those `held` are the reference; of the others, those `inside` count."""
    ticks = tally.ticks(votes.where(inside & ~held))
    labels = label_columns(tally, tally.count(ticks), tally.decide(ticks))
    reference = tally.count(tally.ticks(votes.where(held)))
    return pa.table({HUMAN_VOTES: votes.where(~held).column(type), **labels, REFERENCE_COUNTS: fixed_lists(reference)})
