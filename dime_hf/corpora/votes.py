"""Votes as they were cast: one at a time for readers, and as columns for everything that counts them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


class Vote(NamedTuple):
    """One annotator's answer for one utterance, as `human_votes` keeps it; labels are raw ones of the corpus."""

    annotator: str | None
    kind: str
    choices: tuple[str, ...]
    secondary: tuple[str, ...] = ()
    note: str = ""


class Answer(NamedTuple):
    """A vote whoever cast it."""

    kind: str
    choices: tuple[str, ...]
    secondary: tuple[str, ...] = ()
    note: str = ""


@dataclasses.dataclass(frozen=True)
class CastVotes:
    """The votes of N utterances as columns.

    answers: every different answer once, a struct array (A,) of kind, choices, secondary and note; choices are places
        in `inventory`.
    answer, annotator, row: of each vote (V,) which answer it gave, who cast it (strings, or null), and on which of
        the `rows` utterances, in ascending order.
    """

    inventory: tuple[str, ...]
    answers: pa.StructArray
    answer: NDArray[np.int64]
    annotator: pa.Array
    row: NDArray[np.int64]
    rows: int

    @classmethod
    def of(cls, votes: Sequence[tuple[Vote, ...]] | CastVotes, inventory: Sequence[str]) -> CastVotes:
        """Votes of N utterances; fastest where a reader gives equal utterances as one object."""
        if isinstance(votes, CastVotes):
            return votes
        different = {id(row): row for row in votes}
        place: dict[tuple[Any, ...], int] = {}  # of an answer, which is a vote without its annotator
        answer = np.array([place.setdefault(vote[1:], len(place)) for row in different.values() for vote in row], int)
        annotator = pa.array([vote[0] for row in different.values() for vote in row], type=pa.string())
        number = dict(zip(different, range(len(different)), strict=True))
        utterance = np.array([number[id(row)] for row in votes], dtype=int)  # which of the different ones
        sizes = np.array([len(row) for row in different.values()], dtype=int)
        row = np.repeat(np.arange(len(votes)), sizes[utterance])
        ends = np.cumsum(sizes[utterance])
        within = np.arange(len(row)) - (ends - sizes[utterance])[row]
        vote = (np.cumsum(sizes) - sizes)[utterance][row] + within
        answers = answer_column([Answer(*answer) for answer in place], inventory)
        return cls(tuple(inventory), answers, answer[vote], annotator.take(pa.array(vote)), row, len(votes))

    @classmethod
    def read(cls, column: pa.ListArray | pa.ChunkedArray, inventory: Sequence[str]) -> CastVotes:
        """The votes of a `human_votes` column."""
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        votes = column.flatten()
        fields = [votes.field(name) for name in ("kind", "choices", "secondary", "note")]
        answers = pa.StructArray.from_arrays(fields, names=["kind", "choices", "secondary", "note"])
        row = np.repeat(np.arange(len(column)), pc.fill_null(pc.list_value_length(column), 0).to_numpy())
        return cls(tuple(inventory), answers, np.arange(len(votes)), votes.field("annotator"), row, len(column))

    def __len__(self) -> int:
        return len(self.answer)

    def where(self, wanted: NDArray[np.bool_]) -> CastVotes:
        """The votes (V,) that are wanted, on the same rows."""
        mask = pa.array(wanted)
        return dataclasses.replace(
            self, answer=self.answer[wanted], annotator=self.annotator.filter(mask), row=self.row[wanted]
        )

    def of_rows(self, wanted: NDArray[np.bool_]) -> CastVotes:
        """The votes on the rows (N,) that are wanted, which are all rows of the result."""
        if wanted.all():
            return self
        kept = self.where(wanted[self.row])
        new_row = np.cumsum(wanted) - 1
        return dataclasses.replace(kept, row=new_row[kept.row], rows=int(wanted.sum()))

    def column(self, type: pa.ListType) -> pa.ListArray:
        """The `human_votes` column of a dataset, as its features have it."""
        answers = self.answers.take(pa.array(self.answer))
        fields = {"annotator": self.annotator}
        fields.update((name, answers.field(name)) for name in ("kind", "choices", "secondary", "note"))
        names = [field.name for field in type.value_type]
        votes = pa.StructArray.from_arrays([fields[name] for name in names], names=names).cast(type.value_type)
        offsets = np.searchsorted(self.row, np.arange(self.rows + 1))
        return pa.ListArray.from_arrays(pa.array(offsets, type=pa.int32()), votes, type=type)


def answer_column(answers: Sequence[Answer], inventory: Sequence[str]) -> pa.StructArray:
    """Answers as a struct array, labels as places in `inventory`."""
    place = {raw: number for number, raw in enumerate(inventory)}
    fields = [
        pa.array([answer.kind for answer in answers], type=pa.string()),
        _places([answer.choices for answer in answers], place),
        _places([answer.secondary for answer in answers], place),
        pa.array([answer.note for answer in answers], type=pa.string()),
    ]
    return pa.StructArray.from_arrays(fields, names=["kind", "choices", "secondary", "note"])


def _places(lists: Sequence[Sequence[str]], place: Mapping[str, int]) -> pa.ListArray:
    """Lists of labels as lists of places."""
    ends = np.cumsum([len(labels) for labels in lists], dtype=np.int32)
    flat = pa.array([place[label] for labels in lists for label in labels], type=pa.int64())
    return pa.ListArray.from_arrays(pa.array(np.concatenate([np.zeros(1, dtype=np.int32), ends])), flat)
