"""What is known of a new utterance before its sound is made: its parents, its soft label, what its parents share."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from datasets import Value
from numpy.typing import NDArray

from dime_hf import columns
from dime_hf.augment.operations import Operation, Parameters, get_operation
from dime_hf.augment.plan import Plan
from dime_hf.augment.table import OPERATION, PARAMETERS
from dime_hf.columns import AUGMENTATION, DURATION, ID, PARENT_WEIGHTS, PARENTS, SOFT_LABEL
from dime_hf.distribution import Array
from dime_hf.errors import PlanError
from dime_hf.stage import read_column

PROVENANCE = {
    PARENTS: datasets.List(Value("string")),
    PARENT_WEIGHTS: datasets.List(Value("float32")),
    AUGMENTATION: Value("string"),
}
SHARED = (columns.CORPUS, columns.SPEAKER, columns.GENDER, columns.SESSION, columns.DIALOG)  # where parents agree
OWN = (ID, PARENTS, PARENT_WEIGHTS, SOFT_LABEL)  # of a plan's columns, those that are columns of the new row too
TOLERANCE = 1e-3  # a plan's numbers are float32, and people round


@dataclasses.dataclass(frozen=True, eq=False)
class Family:
    """The parents of R new utterances in a training set, one row's after the other's.

    places (P,): rows of the training set. starts (R,): where each new row's parents begin. weights (P,): of each
    parent in the label. operations and parameters (R,): what makes the row of them.
    """

    places: NDArray[np.int64]
    starts: NDArray[np.int64]
    weights: Array
    operations: Sequence[Operation]
    parameters: Sequence[Parameters]

    @classmethod
    def read(cls, train: datasets.Dataset, rows: datasets.Dataset, own: Sequence[Operation] = ()) -> Family:
        """Look the parents up; raise `PlanError` for rows that were not planned on `train`."""
        columns.require(rows, *OWN, OPERATION, PARAMETERS, argument="plan.rows")
        row_of = {id: row for row, id in enumerate(_listed(train, ID))}
        ids, parents, weights = (_listed(rows, name) for name in (ID, PARENTS, PARENT_WEIGHTS))
        _check_ids(ids, parents, row_of)
        called = {name: get_operation(name, own) for name in dict.fromkeys(_listed(rows, OPERATION))}
        operations = [called[name] for name in _listed(rows, OPERATION)]
        for id, given, shares, operation in zip(ids, parents, weights, operations, strict=True):
            if not len(given) == len(shares) == operation.parents:
                raise PlanError(
                    f"`plan`: {operation.name!r} takes {operation.parents} utterances and as many weights, but row "
                    f"{id!r} has the parents {given} and the weights {shares}"
                )
        counts = [len(given) for given in parents]
        return cls(
            places=np.array([row_of[id] for given in parents for id in given]),
            starts=np.cumsum([0, *counts[:-1]]),
            weights=np.array([weight for shares in weights for weight in shares], dtype=np.float64),
            operations=operations,
            parameters=[json.loads(parameters) for parameters in _listed(rows, PARAMETERS)],
        )

    def of(self, row: int) -> NDArray[np.int64]:
        """Places of the parents of a new row."""
        return self.places[self.starts[row] : self.starts[row + 1] if row + 1 < len(self.starts) else None]

    def mean(self, values: Array) -> Array:
        """Weighted mean over each row's parents; `values` (P, ...) are the parents'."""
        return np.add.reduceat(self.weights.reshape(-1, *[1] * (values.ndim - 1)) * values, self.starts, axis=0)

    def shared(self, values: NDArray[Any]) -> list[Any]:
        """The value of each row's parents where they agree, else None; `values` (P,) are the parents'."""
        counts = np.diff([*self.starts, len(self.places)])
        agree = np.logical_and.reduceat(values == np.repeat(values[self.starts], counts), self.starts)
        return [value if same else None for value, same in zip(values[self.starts], agree, strict=True)]


@dataclasses.dataclass(frozen=True, eq=False)
class _Known:
    """What the training set says of the parents; back (P,): the row of each in the table."""

    table: pa.Table
    back: NDArray[np.int64]

    @classmethod
    def of(cls, train: datasets.Dataset, family: Family) -> _Known:
        used, back = np.unique(family.places, return_inverse=True)
        wanted = (ID, SOFT_LABEL, DURATION, columns.SOFT_LABEL_VOTES, *SHARED)
        kept = train.select_columns([name for name in wanted if name in train.column_names])
        return cls(kept.select(used).with_format("arrow")[:], back)

    def values(self, column: str) -> NDArray[Any]:
        """Values (P,) of a column; None where null."""
        return np.array(self.table[column].to_pylist(), dtype=object)[self.back]

    def labels(self) -> Array:
        """Soft labels (P, C)."""
        stored = self.table[SOFT_LABEL].combine_chunks()
        if stored.null_count:
            lacking = self.table[ID][int(np.flatnonzero(stored.is_null())[0])].as_py()
            raise PlanError(f"`plan` needs the utterance {lacking!r}, which has no `{SOFT_LABEL}`: leave it out")
        values = stored.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
        return values.reshape(len(stored), -1)[self.back]

    def durations(self) -> Array:
        """Seconds (P,); NaN where unknown."""
        if DURATION not in self.table.column_names:
            return np.full(len(self.back), np.nan)
        return self.values(DURATION).astype(np.float64)


def describe(train: datasets.Dataset, plan: Plan, family: Family, features: datasets.Features) -> datasets.Dataset:
    """Return the new rows with the columns `features`: no sound and no words yet, and about how long they last."""
    rows, count = plan.rows, len(plan.rows)
    parents = _Known.of(train, family)
    labels, durations = family.mean(parents.labels()), parents.durations()
    _check_weights(rows, family, durations)
    _check_labels(rows, labels)
    known: dict[str, Any] = {
        **{name: read_column(rows, name) for name in (ID, PARENTS, PARENT_WEIGHTS)},
        **{name: family.shared(parents.values(name)) for name in SHARED if name in train.column_names},
        AUGMENTATION: _augmentation(plan),
        SOFT_LABEL: list(labels.astype(np.float32)),
        columns.SOFT_LABEL_SOURCE: ["dime_aug"] * count,
        DURATION: _lasting(family, durations),
    }
    if columns.VOTE_COUNTS in features:
        known[columns.VOTE_COUNTS] = [[0.0] * labels.shape[1]] * count
    if columns.SOFT_LABEL_VOTES in features:
        known[columns.SOFT_LABEL_VOTES] = family.mean(parents.values(columns.SOFT_LABEL_VOTES).astype(float))
    made = {name: known.get(name, [_nothing(feature)] * count) for name, feature in features.items()}
    return datasets.Dataset(pa.table(made, schema=features.arrow_schema))


def _listed(dataset: datasets.Dataset, column: str) -> list[Any]:
    """Values of a column; to go through it row by row takes thirty times as long."""
    return read_column(dataset, column).to_pylist()


def _check_ids(ids: Sequence[str], parents: Sequence[Sequence[str]], row_of: Mapping[str, int]) -> None:
    unknown = sorted({parent for given in parents for parent in given if parent not in row_of})
    if unknown:
        raise PlanError(
            f"`plan` needs {len(unknown)} utterances that `train` lacks, the first is {unknown[0]!r}: "
            "make the plan on this dataset"
        )
    seen = set(row_of)
    for id in ids:
        if id in seen:
            raise PlanError(f"`plan` makes an utterance {id!r}, but there is one of that id already")
        seen.add(id)


def _lasting(family: Family, durations: Array) -> list[float | None]:
    each = zip(family.operations, np.split(durations, family.starts[1:]), family.parameters, strict=True)
    return [
        operation.duration(seconds.tolist(), parameters) if np.isfinite(seconds).all() else None
        for operation, seconds, parameters in each
    ]


def _check_weights(rows: datasets.Dataset, family: Family, durations: Array) -> None:
    """Refuse a row that was edited in half: its parameters say what its parents weigh, and so do its weights."""
    seconds, given = (np.split(values, family.starts[1:]) for values in (durations, family.weights))
    for row, (operation, parameters) in enumerate(zip(family.operations, family.parameters, strict=True)):
        if len(given[row]) == 1 or not np.isfinite(seconds[row]).all():
            continue
        expected = operation.weights(seconds[row].tolist(), parameters)
        if np.abs(expected - given[row]).max() > TOLERANCE:
            raise PlanError(
                f"`plan`: the row {rows[row][ID]!r} has `{PARENT_WEIGHTS}` {given[row].round(4).tolist()}, but "
                f"{operation.name!r} with the row's parameters weighs its parents {np.round(expected, 4).tolist()}: "
                "change both"
            )


def _check_labels(rows: datasets.Dataset, labels: Array) -> None:
    planned = read_column(rows, SOFT_LABEL).flatten().to_numpy(zero_copy_only=False).reshape(len(labels), -1)
    if planned.shape != labels.shape:
        raise PlanError(f"`plan` has soft labels of {planned.shape[1]} classes, `train` of {labels.shape[1]}")
    off = np.flatnonzero(np.abs(planned - labels).max(axis=1) > TOLERANCE)
    if off.size:
        raise PlanError(
            f"`plan`: {off.size} rows have another `{SOFT_LABEL}` than their parents give; the first is "
            f"{rows[int(off[0])][ID]!r} with {planned[off[0]].round(4).tolist()}, which is "
            f"{labels[off[0]].round(4).tolist()} by its weights: were the labels of `train` pooled again since?"
        )


def _augmentation(plan: Plan) -> list[str]:
    """What the plan says of each row, as JSON."""
    rows, recipe = plan.rows, plan.summary.recipe
    told = rows.select_columns([name for name in rows.column_names if name not in (*OWN, columns.SPEAKER)])
    return [
        json.dumps({**line, PARAMETERS: json.loads(line[PARAMETERS]), "recipe": recipe}, sort_keys=True)
        for line in told.with_format("arrow")[:].to_pylist()
    ]


def _nothing(feature: Any) -> Any:
    """What a new row has in a column that only real utterances fill."""
    return [] if isinstance(feature, datasets.List) and feature.length == -1 else None
