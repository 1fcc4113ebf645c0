"""The plan of DiME-Aug: which new utterances are made of which others; nothing is made yet."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from dime_hf.augment.summary import Content, Summary
from dime_hf.augment.table import read_lines, write_lines
from dime_hf.columns import SOFT_LABEL
from dime_hf.errors import PlanError

ROWS, SUMMARY = "rows.jsonl", "summary.json"


@dataclasses.dataclass(frozen=True)
class Plan:
    """A table of new utterances and what they do to the training set; `augment(train, plan)` carries it out.

    rows: columns id, parents, parent_weights, operation, parameters (JSON), soft_label, speaker, level.
    classes: names of the C classes of `soft_label`.
    """

    rows: datasets.Dataset
    classes: tuple[str, ...]
    summary: Summary

    def __str__(self) -> str:
        return str(self.summary)

    def save(self, folder: str | Path) -> None:
        """Write `rows.jsonl`, one new utterance a line, to read and to edit, and `summary.json`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_lines(self.rows, folder / ROWS)
        summary = {**self.summary.as_dict(), "checksum": _checksum(folder / ROWS)}
        (folder / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Plan:
        """Read a plan, edited or not; raises `PlanError` that names file and line where it is none.

        What an edited table does is summed up anew; the planner's notes on caps and rounding then hold no more.
        """
        folder = Path(folder)
        saved, checksum = _read_summary(folder / SUMMARY)
        rows = read_lines(folder / ROWS, saved.classes)
        if checksum == _checksum(folder / ROWS):
            return cls(rows, saved.classes, saved)
        notes = ("edited after it was planned",)
        return cls(rows, saved.classes, summarise(saved.classes, saved.before, rows, saved.recipe, notes))


def summarise(
    classes: Sequence[str], before: Content, rows: datasets.Dataset, recipe: str, notes: Sequence[str], **numbers: Any
) -> Summary:
    """Sum up the rows of a plan; `numbers` are those that only the planner knows."""
    new = Content.of(rows.with_format("numpy")[SOFT_LABEL][:] if len(rows) else (), len(classes))
    return Summary(tuple(classes), before, new, recipe, tuple(notes), **numbers)


def _read_summary(path: Path) -> tuple[Summary, int]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        checksum = fields.pop("checksum")
        return Summary.from_dict(fields), checksum
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise PlanError(f"{path}: expected the summary of a plan as `Plan.save` writes it: {error!r}") from error


def _checksum(path: Path) -> int:
    return zlib.crc32(path.read_bytes()) if path.exists() else 0


def keyed_rng(seed: int, key: str) -> np.random.Generator:
    """Random numbers of one row of a plan: they depend on the seed and the row's id alone."""
    return np.random.default_rng([seed, zlib.crc32(key.encode())])
