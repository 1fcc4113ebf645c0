"""The plan of DiME-Aug: which utterances are mixed with which, and how much of each; nothing is mixed yet.

The paper's recipe (2601.14620): an utterance's class is its dominant emotion. Classes with fewer than `ratio` times
the utterances of the largest class are topped up to that number: an utterance of the class is interpolated with one of
its nearest neighbours of the same class, with a weight drawn from U(0, 1).
"""

from __future__ import annotations

import collections
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from scipy.spatial import KDTree

from dime_hf import columns
from dime_hf.augment.features import neighbour_features
from dime_hf.columns import AUDIO, ID, PARENT_WEIGHTS, PARENTS, REFERENCE_COUNTS, SOFT_LABEL, TEXT
from dime_hf.distribution import Array, as_distributions
from dime_hf.errors import DistributionError, LeakageError, did_you_mean
from dime_hf.stage import undecoded

RECIPES = ("paper",)


@dataclasses.dataclass(frozen=True)
class ClassPlan:
    """What becomes of a class: utterances that it dominates, how many there should be, how many mixes are planned."""

    name: str
    utterances: int
    target: int
    mixes: int
    reason: str = ""  # why the target cannot be reached


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a plan does to every class."""

    classes: tuple[ClassPlan, ...]
    recipe: str

    def __str__(self) -> str:
        lines = [f"{'class':<12}{'utterances':>12}{'target':>8}{'mixes':>7}"]
        lines += [
            f"{c.name:<12}{c.utterances:>12}{c.target:>8}{c.mixes:>7}  {c.reason}".rstrip() for c in self.classes
        ]
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Plan:
    """A printable table of new utterances, one a row, and its sum by class."""

    rows: datasets.Dataset
    classes: tuple[str, ...]
    summary: Summary

    def __str__(self) -> str:
        return str(self.summary)

    def save(self, folder: str | Path) -> None:
        """Write `rows.jsonl`, one new utterance a line, to read and to edit, and `summary.json`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({**row, "parameters": json.loads(row["parameters"])}) + "\n" for row in self.rows]
        (folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
        summary = {"names": self.classes, **dataclasses.asdict(self.summary)}
        (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Plan:
        """Read a plan, edited or not."""
        saved = json.loads((Path(folder) / "summary.json").read_text(encoding="utf-8"))
        rows = [json.loads(line) for line in (Path(folder) / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
        for row in rows:
            row["parameters"] = json.dumps(row["parameters"], sort_keys=True)
        summary = Summary(tuple(ClassPlan(**plan) for plan in saved["classes"]), saved["recipe"])
        return cls(_rows(rows, saved["names"]), tuple(saved["names"]), summary)


@dataclasses.dataclass(frozen=True)
class DimeAug:
    """Plans DiME-Aug on a training set.

    ratio: classes below this share of the largest class's utterances are topped up to it; in (0, 1], the paper has 0.2
        to 0.3.
    neighbours: how many nearest utterances of the same class a partner is drawn from (the paper has 3).
    seed: of every draw; the same plan for the same seed and utterances, whatever their order.
    """

    ratio: float = 0.25
    neighbours: int = 3
    seed: int = 0
    recipe: str = "paper"

    def __post_init__(self) -> None:
        if self.recipe not in RECIPES:
            raise DistributionError(f"`recipe` is {self.recipe!r}.{did_you_mean(self.recipe, RECIPES)}")
        if not 0 < self.ratio <= 1:
            raise DistributionError(f"`ratio` must lie in (0, 1], not {self.ratio}")
        if self.neighbours < 1:
            raise DistributionError(f"`neighbours` must be at least 1, not {self.neighbours}")

    def plan(self, train: datasets.Dataset, num_proc: int | None = None) -> Plan:
        """Return the plan for a training set; raises `LeakageError` for a dataset that is there to be scored.

        Utterances without audio or without a soft label take no part.
        """
        names = columns.classes(train, "train")
        columns.require(train, ID, AUDIO, TEXT, SOFT_LABEL, argument="train")
        _refuse_test_data(train)
        usable = _usable(undecoded(train))
        dominant = as_distributions(usable[SOFT_LABEL], SOFT_LABEL).argmax(-1)
        counts = np.bincount(dominant, minlength=len(names))
        features = neighbour_features(usable, num_proc)
        target = math.ceil(self.ratio * counts.max())
        plans, mixes = [], []
        for index, name in enumerate(names):
            rows = np.flatnonzero(dominant == index)
            made = self._top_up(name, [usable[ID][row] for row in rows], features[rows], target - len(rows))
            reason = "" if len(rows) + len(made) >= target else f"needs two utterances to mix, has {len(rows)}"
            plans.append(ClassPlan(name, len(rows), max(target, len(rows)), len(made), reason))
            mixes += made
        return Plan(_table(mixes, usable), names, Summary(tuple(plans), self.recipe))

    def _top_up(self, name: str, ids: list[str], features: Array, missing: int) -> list[dict[str, object]]:
        """Rows of the plan for `missing` mixes of a class."""
        if missing <= 0 or len(ids) < 2:
            return []
        order = np.argsort(ids)  # by id, so that the order of the rows does not matter
        ids, features = [ids[row] for row in order], features[order]
        reach = min(self.neighbours, len(ids) - 1)
        nearest = KDTree(features).query(features, k=len(ids) if len(ids) <= reach + 1 else reach + 1)[1]
        rng = np.random.default_rng([self.seed, *name.encode()])
        firsts = np.concatenate([rng.permutation(len(ids)) for _ in range(math.ceil(missing / len(ids)))])[:missing]
        made: collections.Counter[str] = collections.Counter()
        rows = []
        for first in firsts:
            partners = [row for row in nearest[first] if row != first][:reach]
            second, weight = int(rng.choice(partners)), float(rng.uniform())
            pair = f"{ids[first]}+{ids[second]}"
            made[pair] += 1
            rows.append(self._row(f"{pair}#{made[pair]}", (ids[first], ids[second]), weight, name))
        return rows

    def _row(self, id: str, parents: tuple[str, str], weight: float, name: str) -> dict[str, object]:
        return {
            ID: id,
            PARENTS: list(parents),
            PARENT_WEIGHTS: [1 - weight, weight],
            "operation": "interpolate",
            "parameters": json.dumps({"weight": weight}),
        }


def _table(rows: list[dict[str, Any]], train: datasets.Dataset) -> datasets.Dataset:
    labels = dict(zip(train[ID], train[SOFT_LABEL], strict=True))
    for row in rows:
        row[SOFT_LABEL] = np.average([labels[id] for id in row[PARENTS]], axis=0, weights=row[PARENT_WEIGHTS])
    return _rows(rows, columns.classes(train))


def _rows(rows: list[dict[str, Any]], names: Sequence[str]) -> datasets.Dataset:
    text = datasets.Value("string")
    features = datasets.Features(
        {
            ID: text,
            PARENTS: datasets.List(text),
            PARENT_WEIGHTS: datasets.List(datasets.Value("float32")),
            "operation": text,
            "parameters": text,
            SOFT_LABEL: columns.distribution_feature(len(names)),
        }
    )
    return datasets.Dataset.from_dict({name: [row[name] for row in rows] for name in features}, features=features)


def _usable(train: datasets.Dataset) -> datasets.Dataset:
    table = train.select_columns([AUDIO, SOFT_LABEL]).with_format("arrow")[:]
    valid = [table[name].is_valid().to_numpy(zero_copy_only=False) for name in (AUDIO, SOFT_LABEL)]
    rows = np.flatnonzero(valid[0] & valid[1])
    if not rows.size:
        raise DistributionError(
            "`train` has no utterance with both audio and a soft label: there is nothing to augment"
        )
    return train.select(rows)


def _refuse_test_data(train: datasets.Dataset) -> None:
    split = str(train.split or "")
    if REFERENCE_COUNTS in train.column_names or split.startswith(("test", "validation")):
        what = f"carries {REFERENCE_COUNTS!r}" if REFERENCE_COUNTS in train.column_names else f"is the split {split!r}"
        raise LeakageError(f"`train` {what}: only training data may be augmented, scores need real utterances")
