"""crowd-kit's long form: a table of task, worker and label, one vote a row, which its aggregations take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dime_hf.errors import ColumnError, CorpusError, did_you_mean
from dime_hf.interchange.exchange import cast_votes, dataset_of, lists, named, places
from dime_hf.interchange.single import Anonymous, Counting, Several, SingleVotes

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = TASK, WORKER, LABEL = "task", "worker", "label"
FORMAT = "crowd-kit's long form"


def to_crowd_kit(
    dataset: datasets.Dataset,
    *,
    votes: Counting = "cast",
    several_choices: Several = "refuse",
    anonymous: Anonymous = "refuse",
) -> pd.DataFrame:
    """Return the external votes as a frame of task (the id), worker (the annotator) and label (its name).

    `votes`: as they were "cast", over the corpus's inventory, or as the dataset's policy has "counted" them, in its
    label set. `several_choices` of one annotator on an utterance are refused, become "rows" of their own, which
    aggregations take for independent votes, or are left out ("leave_out"). `anonymous="number"` names the nameless.
    What finds no place (self votes, secondary answers, notes, utterances without votes) is counted in a warning.
    Raises `ColumnError`.
    """
    import pandas as pd

    single = SingleVotes.read(dataset, FORMAT, votes, several_choices, anonymous)
    names = pa.array(single.labels, pa.string())
    made = (single.ids.take(pa.array(single.row)), single.annotator, names.take(pa.array(single.label)))
    return pd.DataFrame({name: values.to_pandas() for name, values in zip(COLUMNS, made, strict=True)})


def from_crowd_kit(
    frame: pd.DataFrame, *, classes: Sequence[str] | None = None, utterances: Sequence[str] | None = None
) -> datasets.Dataset:
    """Return a frame of task, worker and label as a dataset: a row a task, each label its own class.

    Several labels of one worker on a task are several choices of one vote; workers that are missing, or numbered by
    `to_crowd_kit`, are annotators without a name. `classes` are all labels that could be voted for (default: those
    found), `utterances` all ids in their order (default: those found, as they come). For other label sets see
    `derive`. Raises `ColumnError` for a missing column or value, `CorpusError` for an unknown label or id.
    """
    for name in COLUMNS:
        if name not in frame.columns:
            raise ColumnError(f"`frame` has no column {name!r}.{did_you_mean(name, map(str, frame.columns))}")
    task, worker, label = (_texts(frame, name) for name in COLUMNS)
    ids = pc.unique(task) if utterances is None else pa.array(list(utterances), pa.string())
    row = pc.index_in(task, ids)
    if row.null_count:
        raise CorpusError(f"`frame` has votes on {task.filter(row.is_null())[0].as_py()!r}, not in `utterances`")
    known, place = places(label, classes, "`frame`")
    return _dataset(ids, row.to_numpy().astype(np.int64), named(worker), known, place)


def _dataset(
    ids: pa.Array, row: np.ndarray, worker: pa.Array, labels: Sequence[str], place: np.ndarray
) -> datasets.Dataset:
    """The dataset of ticks (T,): those of one worker on an utterance are one vote, those of the nameless one each."""
    who = worker.dictionary_encode()
    code = who.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    ballot = np.where(code < 0, -1 - np.arange(len(row)), row * max(len(who.dictionary), 1) + code)
    _, first, vote = np.unique(ballot, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))  # votes in the order of their first tick
    vote, first = order[vote], np.sort(first)
    votes = cast_votes(labels, len(ids), row[first], worker.take(pa.array(first)), lists(vote, place, len(first)))
    return dataset_of(ids, votes, {}, "Votes from a table of task, worker and label.")


def _texts(frame: pd.DataFrame, name: str) -> pa.Array:
    """A column as text; raise `ColumnError` for a task or label that is missing."""
    try:
        column = pa.Array.from_pandas(frame[name]).cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise ColumnError(f"`frame`: the column {name!r} must hold text, or numbers of one type: {error}") from error
    if name != WORKER and column.null_count:
        raise ColumnError(f"`frame` has no {name} in row {pc.index(column.is_null(), True).as_py()}")
    return column
