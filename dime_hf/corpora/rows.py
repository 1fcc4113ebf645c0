"""From blocks of utterances to Arrow tables: votes are counted, rows chosen, missing recordings remembered."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Audio
from numpy.typing import NDArray

from dime_hf import audio, columns
from dime_hf.corpora.folder import Block, CorpusFolder
from dime_hf.corpora.votes import Tally, Vote
from dime_hf.distribution import Array
from dime_hf.errors import CorpusError

logger = logging.getLogger(__name__)
ROWS_PER_TABLE = 4000


class Rows:
    """Makes the tables of one split."""

    def __init__(self, folder: CorpusFolder, tally: Tally, schema: pa.Schema, *, which: str, missing_audio: str):
        self.folder, self.tally, self.schema = folder, tally, schema
        self.which, self.missing_audio = which, missing_audio  # as in `CorpusConfig`: `rows` and `missing_audio`
        self.row_count = 0
        self.missing: dict[str, list[str]] = {}

    def tables(self, shards: Sequence[str]) -> Iterator[pa.Table]:
        """Tables of about 4,000 rows; at least one, so that a split without rows is a split."""
        waiting, made = Block(), 0
        for block in self.folder.read(shards):
            waiting.extend(block)
            if len(waiting) >= ROWS_PER_TABLE:
                yield self._table(waiting)
                waiting, made = Block(), made + 1
        if len(waiting) or not made:
            yield self._table(waiting)

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
                "they stay, with null audio" if self.missing_audio == "keep" else "they are left out",
            )

    def _table(self, block: Block) -> pa.Table:
        """Arrow table of the wanted rows of a block; fields that a corpus does not know are null."""
        votes = CastVotes.of(block.votes)
        counts, hard_labels = votes.count(self.tally), self._hard_labels(block)
        wanted = self._wanted(counts, hard_labels)
        human_votes = votes.column(self.schema.field(columns.HUMAN_VOTES).type, self.tally.inventory)
        block = block.where(wanted)
        missing = self._missing(block)
        made = {
            columns.ID: block.id,
            columns.AUDIO: _audio_cells(block.audio, missing),
            columns.DURATION: _durations(block.audio, missing) if columns.DURATION not in block.fields else None,
            columns.HUMAN_VOTES: human_votes if wanted.all() else human_votes.filter(pa.array(wanted)),
            columns.HARD_LABEL: list(itertools.compress(hard_labels, wanted)),
            **_human_labels(counts[wanted]),
            **block.fields,
        }
        arrays = [_array(made.get(field.name), field.type, len(block)) for field in self.schema]
        table = pa.table(arrays, schema=self.schema)
        return table.filter(table[columns.AUDIO].is_valid()) if self.missing_audio == "drop" else table

    def _wanted(self, counts: Array, hard_labels: Sequence[int | None]) -> NDArray[np.bool_]:
        """Which rows to keep: a mask (N,)."""
        if self.which == "voted":
            return counts.sum(-1) > 0
        return np.array([label is not None or self.which == "all" for label in hard_labels], dtype=bool)

    def _hard_labels(self, block: Block) -> list[int | None]:
        if self.tally.follows_the_corpus:
            class_of = self.tally.label_set.class_of
            return [class_of.get(raw) if raw is not None else None for raw in block.official]
        return [self.tally.decide(self.tally.ballots(votes)) for votes in block.votes]

    def _missing(self, block: Block) -> NDArray[np.bool_]:
        """Which rows have no recording: a mask (N,); remembered for the report."""
        self.row_count += len(block)
        reasons = self.folder.missing(block.audio)
        for path, reason in reasons.items():
            if self.missing_audio == "error":
                id = block.id[block.audio.index(path)]
                raise CorpusError(f"{path}: no recording of utterance {id!r} ({reason}); see `missing_audio`")
            self.missing.setdefault(reason, []).append(path)
        if not reasons:
            return np.zeros(len(block), dtype=bool)
        return np.fromiter((path in reasons for path in block.audio), dtype=bool, count=len(block))


@dataclasses.dataclass(frozen=True)
class CastVotes:
    """The votes of N utterances: every different vote once, and which of them was cast (V,) on which row (V,)."""

    different: list[Vote]
    cast: NDArray[np.int64]
    row: NDArray[np.int64]
    rows: int

    @classmethod
    def of(cls, votes: Sequence[tuple[Vote, ...]]) -> CastVotes:
        index_of: dict[Vote, int] = {}
        indices = {  # readers give equal rows as one object: each is looked up once
            key: [index_of.setdefault(vote, len(index_of)) for vote in row]
            for key, row in {id(row): row for row in votes}.items()
        }
        cast = [index for row in votes for index in indices[id(row)]]
        row = np.repeat(np.arange(len(votes)), [len(row) for row in votes])
        return cls(list(index_of), np.array(cast, dtype=np.int64), row, len(votes))

    def count(self, tally: Tally) -> Array:
        """(N, C) vote counts: a sum over votes, so that each different vote needs to be counted once."""
        size = len(tally.classes)
        single = np.array([tally.count(tally.ballots([vote])) for vote in self.different]).reshape(-1, size)
        cast = single[self.cast]
        return np.stack([np.bincount(self.row, cast[:, index], self.rows) for index in range(size)], axis=1)

    def column(self, type: pa.ListType, inventory: Sequence[str]) -> pa.ListArray:
        """The `human_votes` column."""
        index = {raw: number for number, raw in enumerate(inventory)}
        different = [
            {
                **vote._asdict(),
                "choices": [index[raw] for raw in vote.choices],
                "secondary": [index[raw] for raw in vote.secondary],
            }
            for vote in self.different
        ]
        votes = pa.array(different, type=type.value_type).take(pa.array(self.cast))
        offsets = np.searchsorted(self.row, np.arange(self.rows + 1))
        return pa.ListArray.from_arrays(pa.array(offsets, type=pa.int32()), votes, type=type)


def _human_labels(counts: Array) -> dict[str, Any]:
    """The columns that follow from vote counts (N, C) alone; no soft label where nobody voted."""
    totals = counts.sum(-1)
    voted = totals > 0
    return {
        columns.VOTE_COUNTS: _fixed_lists(counts, voted | True),
        columns.SOFT_LABEL: _fixed_lists(counts / np.where(voted, totals, 1)[:, None], voted),
        columns.SOFT_LABEL_SOURCE: [columns.HUMAN if any_vote else None for any_vote in voted.tolist()],
        columns.SOFT_LABEL_VOTES: totals,
    }


def _fixed_lists(values: Array, valid: NDArray[np.bool_]) -> pa.FixedSizeListArray:
    """(N, C) as a column of lists of C float32, null where not valid."""
    flat = pa.array(values.astype(np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=pa.array(~valid))


def _audio_cells(paths: Sequence[str], missing: NDArray[np.bool_]) -> pa.StructArray:
    """Audio cells that point to files, null where the file is missing."""
    fields = [pa.nulls(len(paths), pa.binary()), pa.array(paths, type=pa.string())]
    return pa.StructArray.from_arrays(fields, names=["bytes", "path"], mask=pa.array(missing)).cast(Audio.pa_type)


def _durations(paths: Sequence[str], missing: NDArray[np.bool_]) -> list[float | None]:
    """Seconds from the files' headers."""
    return [None if absent else audio.duration(path) for path, absent in zip(paths, missing, strict=True)]


def _array(values: Any, type: pa.DataType, length: int) -> pa.Array:
    if values is None:
        return pa.nulls(length, type)
    return values.cast(type) if isinstance(values, pa.Array) else pa.array(values, type=type)
