"""What judges: the votes of a dataset that no label contains, or, by name, a reference that moves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from dime_hf import columns
from dime_hf.columns import HUMAN, ID, REFERENCE_COUNTS, SOFT_LABEL, SOFT_LABEL_SOURCE, VOTE_COUNTS
from dime_hf.distribution import Array
from dime_hf.errors import DistributionError, LeakageError
from dime_hf.stage import read_column

SYNTHETIC = "synthetic"  # the source of labels that have no human votes
HELD_OUT = "votes of held-out humans"
ALL_HUMAN = "all human votes"
SYNTHETIC_INSIDE = "MOVING REFERENCE: labels that contain synthetic votes"
VOTES_INSIDE = "MOVING REFERENCE: votes that some of these labels contain"
MADE_ROWS = "MOVING REFERENCE: rows that DiME-Aug made, on which nobody voted"
Labels: TypeAlias = datasets.Dataset | ArrayLike


@dataclasses.dataclass(frozen=True)
class Reference:
    """Votes (N, C) that judge, or labels where the reference moves; and all human votes that are known of the rows."""

    kind: str
    votes: Array
    all_votes: Array

    @property
    def moving(self) -> bool:
        return self.kind in (SYNTHETIC_INSIDE, VOTES_INSIDE, MADE_ROWS)

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Rows (N,) that have a reference."""
        return np.nan_to_num(self.votes).sum(-1) > 0

    @classmethod
    def read(cls, dataset: datasets.Dataset, labels: Mapping[str, Labels], moving_allowed: bool) -> Reference:
        """The reference that `dataset` is for `labels`; raise `LeakageError` for one that moves, unless allowed."""
        columns.require(dataset, ID, argument="reference")
        found = cls._held_out(dataset) if REFERENCE_COUNTS in dataset.column_names else cls._human(dataset)
        made = int(made_rows(dataset).sum())
        if made:
            found = dataclasses.replace(found, kind=MADE_ROWS)
        if made and not moving_allowed:
            raise LeakageError(
                f"`reference`: DiME-Aug made {made:,} of its {len(dataset):,} rows, and nobody voted on them. Score "
                "real ones (`balanced_weights` gives rare classes weight), or ask for it by `moving_reference=True`"
            )
        inside = [name for name, given in labels.items() if found.is_in(given)]
        if inside and not found.moving:
            found = dataclasses.replace(found, kind=VOTES_INSIDE)
        if found.moving and not moving_allowed:
            what = f"the labels {inside[0]!r} contain the votes" if inside else "it holds labels of synthetic votes"
            raise LeakageError(
                f"`reference`: {what} that they would be scored on. Take votes out with `hold_out_votes` or "
                "`rotate_annotators` before labels are made, or ask for it by `moving_reference=True`"
            )
        return found

    @classmethod
    def _held_out(cls, dataset: datasets.Dataset) -> Reference:
        votes = by_class(dataset, REFERENCE_COUNTS)
        return cls(HELD_OUT, votes, votes + by_class(dataset, VOTE_COUNTS))

    @classmethod
    def _human(cls, dataset: datasets.Dataset) -> Reference:
        if SOFT_LABEL_SOURCE in dataset.column_names and set(dataset.unique(SOFT_LABEL_SOURCE)) - {HUMAN}:
            labels = by_class(dataset, SOFT_LABEL)
            return cls(SYNTHETIC_INSIDE, labels, labels)
        votes = by_class(dataset, VOTE_COUNTS)
        return cls(ALL_HUMAN, votes, votes)

    def is_in(self, labels: Labels) -> bool:
        """Whether labels contain votes of the reference: all but synthetic ones do, unless these were held out."""
        if not isinstance(labels, datasets.Dataset):
            return False  # predictions, which see no votes
        if SOFT_LABEL_SOURCE in labels.column_names and set(labels.unique(SOFT_LABEL_SOURCE)) == {SYNTHETIC}:
            return False
        return self.kind != HELD_OUT or REFERENCE_COUNTS not in labels.column_names


def values_of(name: str, labels: Labels, reference: datasets.Dataset) -> Array:
    """Labels (N, C) in the order of the reference's rows, NaN where there is none."""
    classes = columns.classes(reference, "reference")
    if not isinstance(labels, datasets.Dataset):
        values = np.asarray(labels, dtype=np.float64)
        if values.shape != (len(reference), len(classes)):
            raise DistributionError(
                f"`labels`: {name!r} has the shape {values.shape}, not that of the {len(reference)} rows of "
                f"`reference` and its {len(classes)} classes"
            )
        return values
    columns.require(labels, ID, SOFT_LABEL, argument=name)
    if columns.classes(labels, name) != classes:
        raise DistributionError(f"`labels`: {name!r} is over {columns.classes(labels)}, `reference` over {classes}")
    rows = _rows_of(name, labels[ID][:], reference[ID][:])
    if REFERENCE_COUNTS in labels.column_names and REFERENCE_COUNTS in reference.column_names:
        _check_same_votes(name, by_class(labels, REFERENCE_COUNTS)[rows], by_class(reference, REFERENCE_COUNTS))
    return by_class(labels, SOFT_LABEL)[rows]


def by_class(dataset: datasets.Dataset, column: str) -> Array:
    """A (C,) column as (N, C), NaN where it is null."""
    columns.require(dataset, column)
    cells = read_column(dataset, column)
    known = cells.is_valid().to_numpy(zero_copy_only=False)
    values = np.full((len(cells), len(columns.classes(dataset))), np.nan)
    values[known] = cells.flatten().cast(pa.float64()).to_numpy(zero_copy_only=False).reshape(-1, values.shape[1])
    return values


def made_rows(dataset: datasets.Dataset) -> NDArray[np.bool_]:
    """Which rows (N,) are made by DiME-Aug, of real ones."""
    if columns.PARENTS not in dataset.column_names:
        return np.zeros(len(dataset), dtype=bool)
    parents = pc.fill_null(pc.list_value_length(read_column(dataset, columns.PARENTS)), 0)
    return np.asarray(parents.to_numpy(zero_copy_only=False) > 0)


def groups_of(dataset: datasets.Dataset) -> list[str]:
    """The cluster of every row, as `columns.groups` has it."""
    names = (ID, columns.SPEAKER, columns.DIALOG, columns.CORPUS)
    return columns.groups(dataset.select_columns([name for name in names if name in dataset.column_names])[:])


def _rows_of(name: str, ids: Sequence[str], wanted: Sequence[str]) -> NDArray[np.int64]:
    """Where the wanted ids are; ids that come several times, as in joined rotations, must be in the same order."""
    if list(ids) == list(wanted):
        return np.arange(len(wanted))
    place = {id: row for row, id in enumerate(ids)}
    if len(place) < len(ids) or len(set(wanted)) < len(wanted):
        raise DistributionError(f"`labels`: {name!r} has ids that come twice, and not in the order of `reference`")
    if missing := [id for id in wanted if id not in place]:
        raise DistributionError(
            f"`labels`: {name!r} has no row {missing[0]!r} ({len(missing)} of {len(wanted)} are missing): label every "
            "utterance of `reference`, or select those of it that are labelled"
        )
    return np.array([place[id] for id in wanted], dtype=np.int64)


def _check_same_votes(name: str, given: Array, wanted: Array) -> None:
    wrong = int((given != wanted).any(-1).sum())
    if wrong:
        raise LeakageError(
            f"`labels`: {name!r} holds out other votes than `reference` on {wrong} of {len(wanted)} rows, so it may "
            "contain those that judge: make all labels from one `hold_out_votes`"
        )
