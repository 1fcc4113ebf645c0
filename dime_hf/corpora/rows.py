"""From blocks of utterances to Arrow tables: votes are counted, rows chosen, missing recordings remembered."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Audio
from numpy.typing import NDArray

from dime_hf import audio, columns
from dime_hf.corpora.folder import Block, CorpusFolder
from dime_hf.corpora.policy import Tally
from dime_hf.corpora.votes import CastVotes
from dime_hf.distribution import UNDECIDED, Array
from dime_hf.errors import CorpusError

logger = logging.getLogger(__name__)
ROWS = ("voted", "decided", "all")


class RowsWanted(Protocol):
    """The part of a `CorpusConfig` that says which rows to make."""

    rows: str
    missing_audio: str
    labels_only: bool


class Rows:
    """Makes the tables of one split."""

    def __init__(self, folder: CorpusFolder, tally: Tally, schema: pa.Schema, config: RowsWanted):
        self.folder, self.tally, self.schema, self.config = folder, tally, schema, config
        self.row_count = 0
        self.missing: dict[str, list[str]] = {}

    def tables(self, shards: Sequence[str]) -> Iterator[pa.Table]:
        """A table a block; at least one, so that a split without rows is a split."""
        made = 0
        for block in self.folder.read(shards):
            yield self._table(block)
            made += 1
        if not made:
            yield self.schema.empty_table()

    def report(self) -> None:
        """Say in one line a reason how many utterances have no recording."""
        for reason, paths in self.missing.items():
            logger.warning(
                "%s: %s of %s utterances have no recording (%s, first: %s); %s",
                self.folder.corpus,
                f"{len(paths):,}",
                f"{self.row_count:,}",
                reason,
                paths[0],
                "they stay, with null audio" if self.config.missing_audio == "keep" else "they are left out",
            )

    def _table(self, block: Block) -> pa.Table:
        """Arrow table of the wanted rows of a block; fields that a corpus does not know are null."""
        votes, counts, hard_labels = self._counted(block)
        wanted = self._wanted(counts, hard_labels)
        block, votes = block.where(wanted), votes.of_rows(wanted)
        missing = self._missing(block)
        made = {
            columns.ID: block.id,
            columns.AUDIO: _audio_cells(block.audio, missing),
            columns.DURATION: _durations(block.audio, missing) if columns.DURATION not in block.fields else None,
            columns.HUMAN_VOTES: votes.column(self.schema.field(columns.HUMAN_VOTES).type),
            **label_columns(self.tally, counts[wanted], hard_labels[wanted]),
            **block.fields,
            **self.folder.late_fields(block),
        }
        arrays = [_array(made.get(field.name), field.type, len(block)) for field in self.schema]
        table = pa.table(arrays, schema=self.schema)
        return table.filter(table[columns.AUDIO].is_valid()) if self.config.missing_audio == "drop" else table

    def wanted(self, block: Block) -> NDArray[np.bool_]:
        """Which rows of a block a table would have, by their votes: a mask (N,)."""
        _, counts, hard_labels = self._counted(block)
        return self._wanted(counts, hard_labels)

    def _counted(self, block: Block) -> tuple[CastVotes, Array, NDArray[np.int64]]:
        """Votes, counts (N, C) and hard labels (N,) of a block."""
        votes = CastVotes.of(block.votes, self.tally.inventory)
        ticks = self.tally.ticks(votes)
        return votes, self.tally.count(ticks), self._hard_labels(block, ticks)

    def _wanted(self, counts: Array, hard_labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which rows to keep: a mask (N,)."""
        everything = np.ones(len(counts), dtype=bool)
        return {"voted": counts.sum(-1) > 0, "decided": hard_labels != UNDECIDED, "all": everything}[self.config.rows]

    def _hard_labels(self, block: Block, ticks: Array) -> NDArray[np.int64]:
        if not self.tally.follows_the_corpus:
            return self.tally.decide(ticks)
        labels, classes = zip(*self.tally.label_set.class_of.items(), strict=True)
        official = pc.index_in(_array(block.official, pa.string(), len(block)), pa.array(labels))
        return np.array([*classes, UNDECIDED])[pc.fill_null(official, -1).to_numpy()]

    def _missing(self, block: Block) -> NDArray[np.bool_]:
        """Which rows have no recording: a mask (N,); remembered for the report."""
        self.row_count += len(block)
        if self.config.labels_only:
            return np.ones(len(block), dtype=bool)
        reasons = self.folder.missing(block.audio)
        for path, reason in reasons.items():
            if self.config.missing_audio == "error":
                id = block.id[block.audio.index(path)]
                raise CorpusError(f"{path}: no recording of utterance {id!r} ({reason}); see `missing_audio`")
            self.missing.setdefault(reason, []).append(path)
        if not reasons:
            return np.zeros(len(block), dtype=bool)
        return np.fromiter((path in reasons for path in block.audio), dtype=bool, count=len(block))


def label_columns(tally: Tally, counts: Array, hard_labels: NDArray[np.int64]) -> dict[str, Any]:
    """The columns that follow from vote counts (N, C) and decisions (N,); no soft label where nobody voted."""
    voted = counts.sum(-1) > 0
    return {
        columns.VOTE_COUNTS: fixed_lists(counts),
        columns.HARD_LABEL: pa.array(hard_labels, mask=hard_labels == UNDECIDED),
        columns.SOFT_LABEL: fixed_lists(tally.soft_labels(counts), voted),
        columns.SOFT_LABEL_SOURCE: pa.array(np.full(len(counts), columns.HUMAN), mask=~voted),
        columns.SOFT_LABEL_VOTES: counts.sum(-1),
    }


def fixed_lists(values: Array, valid: NDArray[np.bool_] | None = None) -> pa.FixedSizeListArray:
    """(N, C) as a column of lists of C float32, null where not valid."""
    flat = pa.array(values.astype(np.float32).ravel())
    mask = None if valid is None else pa.array(~valid)
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=mask)


def _audio_cells(paths: Sequence[str], missing: NDArray[np.bool_]) -> pa.StructArray:
    """Audio cells that point to files, null where the file is missing."""
    if missing.all():
        return pa.nulls(len(paths), Audio.pa_type)
    fields = [pa.nulls(len(paths), pa.binary()), pa.array(paths, type=pa.string())]
    return pa.StructArray.from_arrays(fields, names=["bytes", "path"], mask=pa.array(missing)).cast(Audio.pa_type)


def _durations(paths: Sequence[str], missing: NDArray[np.bool_]) -> list[float | None] | pa.Array:
    """Seconds from the files' headers."""
    if missing.all():
        return pa.nulls(len(paths), pa.float32())
    return [None if absent else audio.duration(path) for path, absent in zip(paths, missing, strict=True)]


def _array(values: Any, type: pa.DataType, length: int) -> pa.Array:
    if values is None:
        return pa.nulls(length, type)
    return values.cast(type) if isinstance(values, pa.Array) else pa.array(values, type=type)
