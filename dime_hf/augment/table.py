"""The table of a plan, one row a new utterance, in memory and as JSON lines that people can edit."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from datasets import Value

from dime_hf import columns
from dime_hf.augment.operations import OPERATIONS
from dime_hf.columns import ID, PARENT_WEIGHTS, PARENTS, SOFT_LABEL, SPEAKER
from dime_hf.distribution import TOLERANCE, Array, entropy
from dime_hf.errors import PlanError, did_you_mean
from dime_hf.score import LEVELS

OPERATION, PARAMETERS, LEVEL = "operation", "parameters", "level"


def plan_features(classes: Sequence[str]) -> datasets.Features:
    """Features of a plan over the label set `classes`; `parameters` is JSON with sorted keys."""
    text = Value("string")
    return datasets.Features(
        {
            ID: text,
            PARENTS: datasets.List(text),
            PARENT_WEIGHTS: datasets.List(Value("float32")),
            OPERATION: text,
            PARAMETERS: text,
            SOFT_LABEL: columns.distribution_feature(len(classes)),
            SPEAKER: text,
            LEVEL: text,
        }
    )


def plan_table(rows: Mapping[str, Any], classes: Sequence[str]) -> datasets.Dataset:
    """Make the table of a plan from its columns; soft labels may be an array (R, C)."""
    features = plan_features(classes)
    labels = np.asarray(rows[SOFT_LABEL], dtype=np.float32).reshape(-1, len(classes))
    made = {name: rows[name] for name in features}
    made[SOFT_LABEL] = pa.FixedSizeListArray.from_arrays(pa.array(labels.ravel()), len(classes))
    return datasets.Dataset(pa.table(made, schema=features.arrow_schema))


def as_json(parameters: Mapping[str, Any]) -> str:
    """The text of an operation's parameters in a plan.

    >>> as_json({"weight": 0.5, "seed": 1})
    '{"seed": 1, "weight": 0.5}'
    """
    return json.dumps(parameters, sort_keys=True)


class Levels:
    """Ambiguity levels by the terciles of the entropy (N,) of the training utterances' soft labels, in bits."""

    def __init__(self, bits: Array):
        self.cuts = np.quantile(bits, [1 / 3, 2 / 3]) + 1e-9

    def __call__(self, bits: Array) -> np.ndarray:
        """Place in `LEVELS` of each entropy (N,)."""
        return np.searchsorted(self.cuts, bits)

    def names(self, labels: Array) -> list[str]:
        """Level of each soft label (N, C)."""
        return np.array(LEVELS)[self(entropy(labels))].tolist()


def write_lines(rows: datasets.Dataset, path: Path) -> None:
    """Write one JSON object a row; numbers are as short as float32 allows."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            line = dict(row)
            for name in (PARENT_WEIGHTS, SOFT_LABEL):
                line[name] = [float(str(np.float32(value))) for value in line[name]]
            line[PARAMETERS] = json.loads(line[PARAMETERS])
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_lines(path: Path, classes: Sequence[str]) -> datasets.Dataset:
    """Read what `write_lines` wrote, and people edited; raise `PlanError` with the line where it is no plan."""
    rows: dict[str, list[Any]] = {name: [] for name in plan_features(classes)}
    first_line: dict[str, int] = {}
    for number, line in _lines(path):
        where = f"{path}, line {number}"
        row = _checked(line, len(classes), where)
        if row[ID] in first_line:
            raise PlanError(f"{where}: the id {row[ID]!r} is that of line {first_line[row[ID]]}, but ids are unique")
        first_line[row[ID]] = number
        row[PARAMETERS] = as_json(row[PARAMETERS])
        for name, values in rows.items():
            values.append(row[name])
    return plan_table(rows, classes)


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: cannot be read as the table of a plan: {error}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                raise PlanError(f"{path}, line {number}: expected a JSON object, but {error}") from error


def _checked(row: Any, size: int, where: str) -> dict[str, Any]:
    """Return a row of a plan over `size` classes as it is, or raise `PlanError`."""
    _check_fields(row, where)
    if row[OPERATION] not in OPERATIONS:
        raise PlanError(
            f"{where}: `operation` is {row[OPERATION]!r}.{did_you_mean(str(row[OPERATION]), sorted(OPERATIONS))}"
        )
    parents, needed = row[PARENTS], OPERATIONS[row[OPERATION]].parents
    _expect(_is_texts(parents) and len(parents) == needed, where, PARENTS, f"{needed} ids", parents)
    _expect(_is_shares(row[PARENT_WEIGHTS], needed), where, PARENT_WEIGHTS,
            f"{needed} numbers that sum to 1", row[PARENT_WEIGHTS])  # fmt: skip
    _expect(_is_shares(row[SOFT_LABEL], size), where, SOFT_LABEL,
            f"{size} numbers that sum to 1", row[SOFT_LABEL])  # fmt: skip
    _expect(isinstance(row[PARAMETERS], dict), where, PARAMETERS, "a JSON object", row[PARAMETERS])
    _expect(row[LEVEL] in LEVELS, where, LEVEL, f"one of {', '.join(LEVELS)}", row[LEVEL])
    _expect(row[SPEAKER] is None or isinstance(row[SPEAKER], str), where, SPEAKER, "a name or null", row[SPEAKER])
    _expect(isinstance(row[ID], str) and row[ID], where, ID, "a name", row[ID])
    return dict(row)


def _check_fields(row: Any, where: str) -> None:
    fields = set(plan_features(()))
    if not isinstance(row, dict):
        raise PlanError(f"{where}: expected a JSON object, found {row!r}")
    for what, names in (("lacks", fields - set(row)), ("has, unknown to a plan,", set(row) - fields)):
        if names:
            raise PlanError(f"{where}: the row {what} {', '.join(map(repr, sorted(names)))}")


def _expect(holds: Any, where: str, field: str, expected: str, found: Any) -> None:
    if not holds:
        raise PlanError(f"{where}: `{field}` must be {expected}, found {found!r}")


def _is_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _is_shares(values: Any, size: int) -> bool:
    """Whether `values` are `size` numbers from 0 that sum to 1."""
    if not isinstance(values, list) or len(values) != size or not _are_numbers(values):
        return False
    return min(values) >= 0 and math.isclose(sum(values), 1, abs_tol=TOLERANCE)


def _are_numbers(values: Iterable[Any]) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
