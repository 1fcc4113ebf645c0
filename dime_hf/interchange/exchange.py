"""What every format shares: the votes an export reads, and the dataset that an import makes of votes."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Audio
from numpy.typing import NDArray

from dime_hf import audio, columns
from dime_hf.columns import AUDIO, DURATION, EXTERNAL, HUMAN_VOTES, ID
from dime_hf.corpora.labels import LabelSet
from dime_hf.corpora.policy import Tally, VotePolicy, inventory
from dime_hf.corpora.rows import label_columns
from dime_hf.corpora.votes import CastVotes
from dime_hf.errors import ColumnError, CorpusError, did_you_mean
from dime_hf.stage import read_column

logger = logging.getLogger(__name__)

ANONYMOUS = "anonymous:"  # and a number: an annotator without a name, in formats that need one


@dataclasses.dataclass(frozen=True)
class Exported:
    """The votes of a dataset as they were cast, and the ids (N,) of its utterances."""

    ids: pa.Array
    votes: CastVotes

    @classmethod
    def read(cls, dataset: datasets.Dataset) -> Exported:
        """Read `id` and `human_votes`; raise `ColumnError` for mixes of DiME-Aug and for an id that comes twice."""
        columns.require(dataset, ID, HUMAN_VOTES)
        if columns.PARENTS in dataset.column_names and any(dataset[columns.PARENTS]):
            raise ColumnError("`dataset` has mixes of DiME-Aug, on which nobody voted: export the real utterances")
        ids = read_column(dataset, ID)
        if len(different := pc.value_counts(ids)) < len(ids):
            again = different.filter(pc.greater(different.field("counts"), 1))[0].as_py()["values"]
            raise ColumnError(f"`dataset` has the id {again!r} more than once: votes go by id")
        return cls(ids, CastVotes.read(read_column(dataset, HUMAN_VOTES), inventory(dataset)))

    def numbered(self) -> pa.Array:
        """Annotators (V,), those without a name as "anonymous:1", ... by their place among these in the utterance."""
        names = self.votes.annotator
        if pc.any(pc.starts_with(names, ANONYMOUS)).as_py():
            raise ColumnError(f"`dataset` has an annotator whose name begins with {ANONYMOUS!r}, as nameless ones do")
        row = self.votes.row[nameless := names.is_null().to_numpy(zero_copy_only=False)]
        number = np.zeros(len(names), dtype=np.int64)
        number[nameless] = np.arange(len(row)) - np.searchsorted(row, row) + 1
        return pc.coalesce(names, pc.binary_join_element_wise(ANONYMOUS, pa.array(number).cast(pa.string()), ""))


def named(annotator: pa.Array) -> pa.Array:
    """Annotators (V,), null where an export gave them a number in place of a name."""
    return pc.if_else(pc.starts_with(annotator, ANONYMOUS), None, annotator)


def left_behind(format: str, losses: Mapping[str, int]) -> None:
    """Say what a format has no place for: how many of each thing."""
    if some := [f"{count:,} {what}" for what, count in losses.items() if count]:
        logger.warning("%s has no place for: %s", format, ", ".join(some))


def lists(vote: NDArray[np.int64], place: NDArray[np.int64], votes: int) -> pa.ListArray:
    """Lists (V,) of the labels that ticks (T,) give to votes, in their order."""
    order = np.argsort(vote, kind="stable")
    offsets = np.searchsorted(vote[order], np.arange(votes + 1))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(place[order], pa.int64()))


def cast_votes(
    labels: Sequence[str],
    rows: int,
    row: NDArray[np.int64],
    annotator: pa.Array,
    choices: pa.ListArray,
    secondary: pa.ListArray | None = None,
    kind: pa.Array | None = None,
    note: pa.Array | None = None,
) -> CastVotes:
    """Votes (V,), whose `row` may come in any order, over the inventory `labels`; external ones unless `kind` says."""
    votes, empty = len(row), np.zeros(0, dtype=np.int64)
    answers = {
        "kind": pa.repeat(EXTERNAL, votes) if kind is None else kind,
        "choices": choices,
        "secondary": lists(empty, empty, votes) if secondary is None else secondary,
        "note": pa.repeat("", votes) if note is None else pc.fill_null(note, ""),
    }
    order = pa.array(np.argsort(row, kind="stable"))
    sorted_answers = pa.StructArray.from_arrays(list(answers.values()), names=list(answers)).take(order)
    return CastVotes(tuple(labels), sorted_answers, np.arange(votes), annotator.take(order), np.sort(row), rows)


def places(labels: pa.Array, classes: Sequence[str] | None, where: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """All labels that votes may name (`classes`, or those found, in house order), and the place of each (T,)."""
    found = [label for label in pc.unique(labels).to_pylist() if label is not None]
    known = columns.in_house_order(sorted(found) if classes is None else classes)
    for label in found:
        if label not in known:
            raise CorpusError(
                f"{where} has the label {label!r}, which is not in `classes`.{did_you_mean(label, known)}"
            )
    if len(known) < 2:
        raise CorpusError(f"{where} names the labels {list(known)}: say by `classes` what else could be voted for")
    return known, pc.index_in(labels, pa.array(known, pa.string())).fill_null(-1).to_numpy().astype(np.int64)


def dataset_of(
    ids: pa.Array, votes: CastVotes, facts: Mapping[str, pa.Array], about: str, tally: Tally | None = None
) -> datasets.Dataset:
    """Return utterances under the data contract: all of them, counted by `tally`, or each label as its own class.

    `facts` are further columns, by name; they replace what the votes say (the soft label of a pooler, say). `derive`
    counts the same votes in other label sets.
    """
    tally = tally or Tally.of(VotePolicy(), LabelSet.of(votes.inventory, votes.inventory), votes.inventory)
    features = columns.corpus_features(tally.classes, votes.inventory)
    schema, ticks = features.arrow_schema, tally.ticks(votes)
    made = {
        ID: ids,
        HUMAN_VOTES: votes.column(schema.field(HUMAN_VOTES).type),
        **label_columns(tally, tally.count(ticks), tally.decide(ticks)),
        **facts,
    }
    arrays = [_array(made.get(field.name), field.type, len(ids)) for field in schema]
    info = datasets.DatasetInfo(description=f"{about}\n{tally.describe()}", features=features)
    return datasets.Dataset(datasets.table.InMemoryTable(pa.table(arrays, schema=schema)), info=info)


def recordings(paths: pa.Array, format: str, durations: bool = True) -> dict[str, pa.Array]:
    """The columns `audio` and `duration` of files; null where there is none on this machine, which is said."""
    names = paths.to_pylist()
    here = [name if name is not None and os.path.isfile(name) else None for name in names]
    absent = [name for name, found in zip(names, here, strict=True) if name is not None and found is None]
    if absent:
        logger.warning(
            "%s: %s of %s recordings are no files here (first: %s): they are null",
            format,
            f"{len(absent):,}",
            f"{len(names):,}",
            absent[0],
        )
    cells = {AUDIO: Audio(decode=False).cast_storage(pa.array(here, pa.string()))}
    if durations:
        cells[DURATION] = pa.array([None if name is None else audio.duration(name) for name in here], pa.float32())
    return cells


def paths(dataset: datasets.Dataset) -> list[str | None]:
    """Path of every recording, null where there is none; those of bytes alone are not exported, which is said."""
    if AUDIO not in dataset.column_names:
        return [None] * len(dataset)
    cells = read_column(dataset, AUDIO)
    files = pc.struct_field(cells, "path")
    if embedded := files.null_count - cells.null_count:
        logger.warning("%s recordings are bytes in the dataset, not files: they are left out", f"{embedded:,}")
    return files.to_pylist()


def below(path: str, root: str | os.PathLike[str]) -> str:
    """Path as it is called in the folder `root`, with forward slashes; raise `ColumnError` for one outside."""
    relative = os.path.relpath(path, root).replace(os.sep, "/")
    if relative.startswith("../"):
        raise ColumnError(f"`root` is {os.fspath(root)}, but the recording {path} lies outside")
    return relative


def _array(values: Any, type: pa.DataType, length: int) -> pa.Array:
    if values is None:
        return pa.nulls(length, type)
    return values.cast(type) if isinstance(values, pa.Array) else pa.array(values, type=type)
