"""Other labels from the same votes, without reading the corpus again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from dime_hf import columns
from dime_hf.columns import HUMAN_VOTES
from dime_hf.corpora.labels import LabelSet
from dime_hf.corpora.policy import Tally, VotePolicy, inventory
from dime_hf.corpora.rows import ROWS, label_columns
from dime_hf.corpora.votes import CastVotes
from dime_hf.errors import ColumnError, CorpusError, LeakageError, did_you_mean
from dime_hf.stage import add_columns, read_column

ROWS_A_BATCH = 10_000


def derive(
    dataset: datasets.Dataset,
    vote_policy: VotePolicy | str = "official",
    label_set: Sequence[str] | Mapping[str, Sequence[str]] | LabelSet | None = None,
    rows: str = "voted",
) -> datasets.Dataset:
    """Count the votes of a dataset again, under another policy or in another label set.

    `vote_policy` is a `VotePolicy` or a name in `POLICIES`, `label_set` what `load_dataset` takes (None: the dataset's
    own), `rows` the utterances to keep, as in `load_dataset`. With a dataset that was loaded with `rows="all"` the
    result is what `load_dataset` gives for these arguments, if the corpus decides by the plurality of its votes.

    Raises `LeakageError` where votes are held out: every vote would count again. Raises `ColumnError` for a dataset
    without votes, with mixes of DiME-Aug, or with answers in another label set; `CorpusError` for an unknown label.
    """
    if rows not in ROWS:
        raise CorpusError(f"`rows` is {rows!r}.{did_you_mean(str(rows), ROWS)}")
    tally = _tally(dataset, VotePolicy.of(vote_policy), label_set)
    _check_stage(dataset, tally.classes)
    derived = add_columns(
        dataset,
        _Count(tally),
        reads=[HUMAN_VOTES],
        writes=columns.label_features(tally.classes),
        batch_format="arrow",
        batch_size=ROWS_A_BATCH,
        desc="Counting votes",
    )
    derived.info.description = tally.redescribe(dataset.info.description or "")
    return derived if rows == "all" else derived.select(_wanted(derived, rows))


@dataclasses.dataclass(frozen=True)
class _Count:
    """The map of `derive`."""

    tally: Tally

    def __call__(self, batch: pa.Table) -> pa.Table:
        ticks = self.tally.ticks(CastVotes.read(batch[HUMAN_VOTES], self.tally.inventory))
        return pa.table(label_columns(self.tally, self.tally.count(ticks), self.tally.decide(ticks)))


def _tally(dataset: datasets.Dataset, policy: VotePolicy, label_set: Any) -> Tally:
    raw_labels = inventory(dataset)
    if label_set is None:
        label_set = Tally.read(dataset).label_set
    elif not isinstance(label_set, LabelSet):
        label_set = LabelSet.of(label_set, raw_labels)
    return Tally.of(policy, label_set, raw_labels)


def _check_stage(dataset: datasets.Dataset, classes: Sequence[str]) -> None:
    """Refuse a dataset that has gone too far for its votes to be counted again."""
    if columns.REFERENCE_COUNTS in dataset.column_names:
        raise LeakageError("`dataset` has held-out votes, which would count again: derive first, then hold out votes")
    if columns.PARENTS in dataset.column_names:
        raise ColumnError("`dataset` has mixes of DiME-Aug, which nobody voted on: derive first, then augment")
    if columns.ANSWERS in dataset.column_names and tuple(classes) != columns.classes(dataset):
        raise ColumnError(
            f"`dataset` has answers over {columns.classes(dataset)}, not {tuple(classes)}: derive first, then annotate"
        )


def _wanted(dataset: datasets.Dataset, rows: str) -> np.ndarray:
    """Places of the rows that are voted on, or decided."""
    column = columns.SOFT_LABEL if rows == "voted" else columns.HARD_LABEL
    return np.flatnonzero(read_column(dataset, column).is_valid())
