"""cleanlab's multi-annotator form: a frame of one row an utterance and one column an annotator, beside predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import datasets
import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from dime_hf.distribution import Array, as_distributions
from dime_hf.errors import ColumnError, CorpusError, DistributionError
from dime_hf.interchange.exchange import cast_votes, dataset_of, lists, named
from dime_hf.interchange.single import Anonymous, SingleVotes

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "cleanlab's frame of labels"


class CleanlabVotes(NamedTuple):
    """What `cleanlab.multiannotator` takes.

    labels_multiannotator: indexed by id, a column an annotator; a cell is a place in `classes`, NaN where they did not
        vote. pred_probs: (N, C) of the same rows, or None.
    """

    labels_multiannotator: pd.DataFrame
    pred_probs: Array | None
    classes: tuple[str, ...]


def to_cleanlab(
    dataset: datasets.Dataset,
    predictions: ArrayLike | None = None,
    *,
    several_choices: Literal["refuse", "leave_out"] = "refuse",
    anonymous: Anonymous = "refuse",
) -> CleanlabVotes:
    """Return the votes that the dataset's policy counts as cleanlab takes them.

    `predictions` (N, C) become `pred_probs`; they must come from a model that has not seen these votes, so soft labels
    are none. Utterances without a vote are left out of both, since cleanlab refuses them. `several_choices` of one
    annotator on an utterance are refused or left out; `anonymous="number"` gives the first nameless vote of each
    utterance the column anonymous:1, and so on: what cleanlab then says of that column means nothing. What finds no
    place is counted in a warning. Raises `ColumnError`, `DistributionError`.
    """
    import pandas as pd

    allowed = ("refuse", "leave_out")
    single = SingleVotes.read(dataset, FORMAT, "counted", several_choices, anonymous, allowed)
    who = single.annotator.dictionary_encode()
    cells = np.full((len(single.ids), len(who.dictionary)), np.nan)
    cells[single.row, who.indices.to_numpy()] = single.label
    voted = ~np.isnan(cells).all(-1)
    ids = single.ids.filter(pa.array(voted)).to_pylist()
    names = np.array(who.dictionary.to_pylist(), dtype=object)
    order = np.argsort(names)
    frame = pd.DataFrame(cells[voted][:, order], index=pd.Index(ids, name="id"), columns=list(names[order]))
    return CleanlabVotes(frame, _predictions(predictions, voted, len(single.labels)), single.labels)


def from_cleanlab(labels_multiannotator: pd.DataFrame, classes: Sequence[str]) -> datasets.Dataset:
    """Return a frame of labels, such as `to_cleanlab` makes, as a dataset: a row an utterance.

    The index are the ids, the columns the annotators, the cells places in `classes`. Raises `CorpusError` for a cell
    that is none, `ColumnError` for an id or an annotator that comes twice.
    """
    ids, names = (
        [str(name) for name in axis] for axis in (labels_multiannotator.index, labels_multiannotator.columns)
    )
    for what, found in (("an id", ids), ("an annotator", names), ("a class", list(classes))):
        if len(set(found)) < len(found):
            raise ColumnError(f"`labels_multiannotator` has {what} that comes twice: {_twice(found)!r}")
    try:
        cells = labels_multiannotator.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise CorpusError(f"`labels_multiannotator` must hold places in `classes`, or NaN: {error}") from error
    row, column = np.nonzero(~np.isnan(cells))
    label = cells[row, column]
    wrong = (label % 1 != 0) | (label < 0) | (label >= len(classes))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise CorpusError(
            f"`labels_multiannotator` has {label[first]:g} by {names[column[first]]!r} on {ids[row[first]]!r}, "
            f"which is no place in `classes`: 0 to {len(classes) - 1}"
        )
    annotator = named(pa.array(names, pa.string()).take(pa.array(column)))
    choices = lists(np.arange(len(row)), label.astype(np.int64), len(row))
    votes = cast_votes(classes, len(ids), row, annotator, choices)
    return dataset_of(pa.array(ids, pa.string()), votes, {}, "Votes from a table of labels by annotator.")


def _predictions(predictions: ArrayLike | None, voted: np.ndarray, size: int) -> Array | None:
    """Predictions of the rows with votes."""
    if predictions is None:
        return None
    q = as_distributions(predictions, "predictions")
    if q.shape != (len(voted), size):
        raise DistributionError(
            f"`predictions` must have the shape ({len(voted)}, {size}) of `dataset`, not {q.shape}"
        )
    return q[voted]


def _twice(names: Sequence[str]) -> str:
    return next(name for name in names if list(names).count(name) > 1)
