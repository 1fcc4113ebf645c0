"""The utterances of an MSP-Podcast release: what its label files say of each, and the votes on it, side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dime_hf import columns
from dime_hf.corpora.msp_podcast.cells import FILE
from dime_hf.corpora.msp_podcast.labels import INVENTORY, OFFICIAL, RATINGS, SPLIT, SPLITS, WorkerVotes, utterance_ids
from dime_hf.corpora.votes import CastVotes, answer_column
from dime_hf.distribution import UNDECIDED, plurality

UNASSIGNED = "unassigned"  # split of what is in no set, or in `NA`
DIALOG = r"^MSP-PODCAST_(?P<recording>\d+)_\d+"
HEADS = {  # what a consensus file says
    **dict.fromkeys([OFFICIAL, columns.SPEAKER, columns.GENDER, SPLIT], pa.string()),
    **dict.fromkeys(RATINGS.values(), pa.float64()),
}


@dataclasses.dataclass(frozen=True)
class Utterances:
    """N utterances by split, within a split in the order of the label files, and the V votes in the same order.

    table: FILE and the columns of the data contract, the corpus's own ratings as `released_*`, OFFICIAL and SPLIT.
    rows: of each split that there is. votes_before (N + 1,): how many votes lie before each utterance's.
    """

    table: pa.Table
    rows: dict[str, range]
    votes_before: NDArray[np.int64]
    answers: pa.StructArray
    answer: NDArray[np.int32]
    workers: pa.StringArray
    worker: NDArray[np.int32]

    @classmethod
    def of(
        cls,
        given: WorkerVotes,
        consensus: pa.Table | None,
        sets: pa.Table,
        speakers: pa.Table | None,
        genders: Mapping[str | None, str | None],
    ) -> Utterances:
        """Put together the label files: every file that one of them names is an utterance.

        The consensus goes before `sets`, `speakers` (both by FILE) and `genders` (by speaker). An utterance that it
        lacks gets the official label that the corpus's own rule gives to its votes.
        """
        consensus = consensus if consensus is not None else _no_heads()
        files = [consensus[FILE].combine_chunks(), given.files, sets[FILE].combine_chunks()]
        different, (_, voted, listed) = _numbered(files)
        ids = utterance_ids(different)
        count, row = len(ids), voted[given.file]
        table = pa.table({columns.ID: ids, FILE: _with_extension(different)})
        heads = {name: _grow(consensus[name], count) for name in HEADS}
        heads[SPLIT] = _split(heads[SPLIT], listed, sets[SPLIT].combine_chunks())
        if speakers is not None:
            heads |= _speakers(heads, ids, speakers, genders)
        heads[OFFICIAL] = _official(heads[OFFICIAL], len(consensus), row, given)
        heads |= {columns.RELEASED + name: heads[name] for name in RATINGS.values()}
        heads |= {name: _means(row, ratings, count) for name, ratings in given.ratings.items()}
        heads[columns.DIALOG] = pc.struct_field(pc.extract_regex(ids, DIALOG), "recording")
        for name, values in heads.items():
            table = table.append_column(name, values)
        return cls._ordered(table, row, given)

    @classmethod
    def _ordered(cls, table: pa.Table, row: NDArray[np.int32], given: WorkerVotes) -> Utterances:
        """Bring the splits, and the votes with them, into order."""
        names = [*SPLITS, UNASSIGNED]
        split = pc.index_in(table[SPLIT], pa.array(names)).to_numpy()
        order = np.argsort(split, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        votes = np.argsort(place[row], kind="stable")
        ends = np.cumsum(np.bincount(split, minlength=len(names)))
        return cls(
            table=table.take(pa.array(order)),
            rows={
                name: range(end - size, end)
                for name, end, size in zip(names, ends.tolist(), np.diff(ends, prepend=0).tolist(), strict=True)
                if size
            },
            votes_before=np.concatenate([[0], np.cumsum(np.bincount(place[row], minlength=len(order)))]),
            answers=answer_column(given.answers, INVENTORY),
            answer=given.answer[votes],
            workers=given.workers,
            worker=given.worker[votes],
        )

    def votes(self, rows: range) -> CastVotes:
        """The votes on some utterances."""
        bounds = self.votes_before[rows.start : rows.stop + 1]
        votes = slice(bounds[0], bounds[-1])
        given, answer = np.unique(self.answer[votes], return_inverse=True)
        row = np.repeat(np.arange(len(rows)), np.diff(bounds))
        annotators = self.workers.take(pa.array(self.worker[votes]))
        return CastVotes(INVENTORY, self.answers.take(pa.array(given)), answer, annotators, row, len(rows))


def _numbered(lists: Sequence[pa.StringArray]) -> tuple[pa.StringArray, list[NDArray[np.int32]]]:
    """The different files of some lists, in order of appearance, and which of them each entry of each list is.

    Names that differ in their extension alone are one file. A list that repeats the first, as those of one release do,
    is not looked up again.
    """
    others = [part for part in lists[1:] if not part.equals(lists[0])]
    names = pa.concat_arrays([lists[0], *others])
    ids = utterance_ids(names).dictionary_encode()
    number = ids.indices.to_numpy()
    first = np.empty(len(ids.dictionary), dtype=int)
    first[number[::-1]] = np.arange(len(ids))[::-1]
    numbers = iter(np.split(number, np.cumsum([len(lists[0]), *map(len, others)])))
    of_first = next(numbers)
    return names.take(pa.array(first)), [
        of_first,
        *(of_first if part.equals(lists[0]) else next(numbers) for part in lists[1:]),
    ]


def _with_extension(files: pa.StringArray) -> pa.StringArray:
    """The recordings' names, where a label file left out `.wav`."""
    return pc.if_else(pc.equal(files, utterance_ids(files)), pc.binary_join_element_wise(files, ".wav", ""), files)


def _no_heads() -> pa.Table:
    return pa.schema([(FILE, pa.string()), *HEADS.items()]).empty_table()


def _grow(column: pa.ChunkedArray, count: int) -> pa.Array:
    """A column with nulls at its end, up to `count` rows."""
    return pa.concat_arrays([*column.chunks, pa.nulls(count - len(column), column.type)])


def _split(split: pa.Array, listed: NDArray[np.int32], splits: pa.StringArray) -> pa.Array:
    """Split of every utterance: the consensus's, else that of the partitions `listed`, else `UNASSIGNED`."""
    place = np.full(len(split), -1)
    place[listed] = np.arange(len(listed))
    return pc.coalesce(split, splits.take(pa.array(place, mask=place < 0)), UNASSIGNED)


def _speakers(
    heads: Mapping[str, pa.Array],
    ids: pa.StringArray,
    listed: pa.Table,
    gender_of: Mapping[str | None, str | None],
) -> dict[str, pa.Array]:
    """Speakers and genders, those that the consensus does not know from the list of speakers."""
    listed_ids, text = utterance_ids(listed[FILE].combine_chunks()), pa.string()
    speakers = _look_up(ids, listed_ids, listed[columns.SPEAKER].combine_chunks())
    speaker = pc.coalesce(heads[columns.SPEAKER], speakers)
    genders = _look_up(speaker, pa.array(gender_of, text), pa.array(gender_of.values(), text))
    return {columns.SPEAKER: speaker, columns.GENDER: pc.coalesce(heads[columns.GENDER], genders)}


def _look_up(wanted: pa.Array, names: pa.Array, values: pa.Array) -> pa.Array:
    """The value beside each wanted name; null where it is not among the names."""
    return values if wanted.equals(names) else values.take(pc.index_in(wanted, names, skip_nulls=True))


def _official(official: pa.Array, known: int, row: NDArray[np.int32], given: WorkerVotes) -> pa.Array:
    """Official labels: the `known` first ones are the corpus's own, others are the plurality of the primary votes."""
    if known == len(official):
        return official
    choice = np.array([INVENTORY.index(answer.choices[0]) if answer.choices else -1 for answer in given.answers])
    label = choice[given.answer]
    counted = (row >= known) & (label >= 0)
    cells = (row[counted] - known) * len(INVENTORY) + label[counted]
    ticks = np.bincount(cells, minlength=(len(official) - known) * len(INVENTORY)).reshape(-1, len(INVENTORY))
    winner = plurality(ticks)
    decided = pa.array(INVENTORY).take(pa.array(winner, mask=winner == UNDECIDED))
    return pa.concat_arrays([official[:known], decided])


def _means(row: NDArray[np.int32], ratings: NDArray[np.float64], count: int) -> pa.Array:
    """Mean valid rating of every utterance; null without any."""
    valid = ~np.isnan(ratings)
    voters = np.bincount(row[valid], minlength=count)
    sums = np.bincount(row[valid], ratings[valid], minlength=count)
    return pa.array(np.divide(sums, voters, where=voters > 0, out=np.full(count, np.nan)), from_pandas=True)
