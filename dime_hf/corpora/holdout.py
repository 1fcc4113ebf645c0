"""Votes held out for scoring: no fit may see them."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
from datasets import Value

from dime_hf import columns
from dime_hf.columns import HUMAN_VOTES, ID, REFERENCE_COUNTS, VOTE_COUNTS
from dime_hf.corpora.votes import Ballots, Tally, Vote
from dime_hf.distribution import normalize
from dime_hf.errors import DistributionError
from dime_hf.stage import Batch, add_columns


def hold_out_votes(dataset: datasets.Dataset, keep: int, seed: int = 0) -> datasets.Dataset:
    """Keep the votes of `keep` annotators an utterance in `vote_counts`, and move the others' to `reference_counts`.

    Annotators are drawn without replacement by (seed, id): the same for any order of rows, and all ticks of one go to
    one side. `soft_label`, its votes and `hard_label` follow the kept votes. Only annotators with a vote inside the
    label set count. Utterances with no more than `keep` of them have nothing to hold out: they are left out of the
    result.
    """
    columns.require(dataset, ID, HUMAN_VOTES, VOTE_COUNTS)
    if keep < 1:
        raise DistributionError(f"`keep` must be at least 1 annotator, not {keep}")
    tally = Tally.read(dataset)
    size = columns.distribution_feature(len(tally.classes))
    writes = {
        VOTE_COUNTS: size,
        REFERENCE_COUNTS: size,
        columns.HARD_LABEL: dataset.features[columns.HARD_LABEL],
        columns.SOFT_LABEL: size,
        columns.SOFT_LABEL_SOURCE: Value("string"),
        columns.SOFT_LABEL_VOTES: Value("float32"),
    }
    held = add_columns(
        dataset, HoldOut(tally, keep, seed), reads=[ID, HUMAN_VOTES], writes=writes, desc="Holding out votes"
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

    def __call__(self, batch: Batch) -> dict[str, list[Any]]:
        split = [
            self._split(id, self._ballots(votes)) for id, votes in zip(batch[ID], batch[HUMAN_VOTES], strict=True)
        ]
        kept = [self.tally.count(keep) for keep, _ in split]
        totals = [sum(counts) for counts in kept]
        return {
            VOTE_COUNTS: kept,
            REFERENCE_COUNTS: [self.tally.count(held) for _, held in split],
            columns.HARD_LABEL: [self.tally.decide(keep) for keep, _ in split],
            columns.SOFT_LABEL: [normalize(row).tolist() if n else None for row, n in zip(kept, totals, strict=True)],
            columns.SOFT_LABEL_SOURCE: [columns.HUMAN if n else None for n in totals],
            columns.SOFT_LABEL_VOTES: totals,
        }

    def _ballots(self, votes: Sequence[Mapping[str, Any]]) -> Ballots:
        """The ballots of an utterance that hold a vote inside the label set."""
        inventory = self.tally.inventory
        named = (
            Vote(vote["annotator"], vote["kind"], tuple(inventory[choice] for choice in vote["choices"]))
            for vote in votes
        )
        return tuple(ballot for ballot in self.tally.ballots(named) if any(self.tally.count((ballot,))))

    def _split(self, id: str, ballots: Ballots) -> tuple[Ballots, Ballots]:
        """The ballots kept and those held out."""
        if len(ballots) <= self.keep:
            return ballots, ()
        order = np.random.default_rng([self.seed, zlib.crc32(id.encode())]).permutation(len(ballots))
        drawn = tuple(ballots[index] for index in order)
        return drawn[: self.keep], drawn[self.keep :]
