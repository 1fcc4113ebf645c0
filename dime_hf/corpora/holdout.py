"""Votes held out for scoring: no fit may see them."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
from datasets import Value

from dime_hf import columns
from dime_hf.columns import HUMAN_VOTES, ID, REFERENCE_COUNTS, VOTE_COUNTS
from dime_hf.corpora.votes import Tally, Vote, human_columns
from dime_hf.errors import DistributionError
from dime_hf.stage import Batch, add_columns


def hold_out_votes(dataset: datasets.Dataset, keep: int, seed: int = 0) -> datasets.Dataset:
    """Keep the votes of `keep` annotators an utterance in `vote_counts`, and move the others' to `reference_counts`.

    Annotators are drawn without replacement by (seed, id): the same for any order of rows, and all ticks of one go to one
    side. `soft_label`, its votes and `hard_label` follow the kept votes. Only annotators with a vote inside the label set
    count. Utterances with no more than `keep` of them have nothing to hold out: they are left out of the result.
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
    held = add_columns(dataset, HoldOut(tally, keep, seed), reads=[ID, HUMAN_VOTES], writes=writes, desc="Holding out votes")
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
        split = [self._split(id, self._named(votes)) for id, votes in zip(batch[ID], batch[HUMAN_VOTES], strict=True)]
        kept = [self.tally.count(keep) for keep, _ in split]
        return {
            REFERENCE_COUNTS: [self.tally.count(held) for _, held in split],
            columns.HARD_LABEL: [self.tally.decide(keep) for keep, _ in split],
            **human_columns(kept),
        }

    def _named(self, votes: Sequence[Vote]) -> list[Vote]:
        """The votes with raw labels for class indices."""
        return [{**vote, "choices": [self.tally.inventory[choice] for choice in vote["choices"]]} for vote in votes]

    def _split(self, id: str, votes: list[Vote]) -> tuple[list[Vote], list[Vote]]:
        """The votes kept and those held out."""
        counted = [vote for vote in votes if any(self.tally.count([vote]))]
        if len(counted) <= self.keep:
            return counted, []
        order = np.random.default_rng([self.seed, zlib.crc32(id.encode())]).permutation(len(counted))
        drawn = [counted[index] for index in order]
        return drawn[: self.keep], drawn[self.keep :]
