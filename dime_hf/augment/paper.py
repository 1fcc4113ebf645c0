"""The paper's recipe (2601.14620): small classes are topped up with mixes of near utterances of the same class.

An utterance's class is its dominant emotion. Classes with fewer than `ratio` times the utterances of the largest class
are topped up to that number: an utterance of the class is interpolated with one of its nearest neighbours of the same
class, with a weight drawn from U(0, 1).
"""

from __future__ import annotations

import collections
import dataclasses
import math
from typing import Any

import datasets
import numpy as np

from dime_hf import columns
from dime_hf.augment.neighbours import DOMINANT, NOBODY, Rows, nearest_utterances
from dime_hf.augment.plan import Plan, summarise
from dime_hf.augment.summary import Content
from dime_hf.augment.table import LEVEL, OPERATION, PARAMETERS, Levels, as_json, plan_table
from dime_hf.columns import ID, PARENT_WEIGHTS, PARENTS, SOFT_LABEL, SPEAKER
from dime_hf.distribution import Array, as_distributions, entropy

INTERPOLATE = "interpolate"


@dataclasses.dataclass(frozen=True)
class Mix:
    """One mix: parents by row, and the weight of the second."""

    id: str
    parents: tuple[int, int]
    weight: float


@dataclasses.dataclass(frozen=True)
class TopUp:
    """Tops classes up to `ratio` times the largest; `neighbours` and `seed` as in `DimeAug`."""

    ratio: float
    neighbours: int
    seed: int

    def plan(self, train: datasets.Dataset, num_proc: int | None = None) -> Plan:
        """Return the plan for utterances that all have audio and a soft label."""
        names = columns.classes(train, "train")
        labels = as_distributions(train[SOFT_LABEL][:], SOFT_LABEL)
        dominant = labels.argmax(-1)
        counts = np.bincount(dominant, minlength=len(names))
        ids = train[ID][:]
        nearest, _ = nearest_utterances(train, self.neighbours, match=[DOMINANT], num_proc=num_proc)
        target = math.ceil(self.ratio * counts.max())
        mixes: list[Mix] = []
        notes = [f"{'dominant class':<16}{'utterances':>10}{'target':>8}{'mixes':>7}"]
        for index, name in enumerate(names):
            made = self._top_up(name, np.flatnonzero(dominant == index), ids, nearest, target - counts[index])
            mixes += made
            short = counts[index] + len(made) < target
            reason = f"  needs two utterances to mix, has {counts[index]}" if short else ""
            notes.append(f"{name:<16}{counts[index]:>10}{max(target, counts[index]):>8}{len(made):>7}{reason}")
        rows = plan_table(_columns(mixes, train, labels), names)
        return Plan(rows, names, summarise(names, Content.of(labels, len(names)), rows, "paper", notes))

    def _top_up(self, name: str, rows: np.ndarray, ids: list[str], nearest: Rows, missing: int) -> list[Mix]:
        """Make `missing` mixes of the class whose utterances are `rows`, each with one of its nearest (N, k)."""
        if missing <= 0 or len(rows) < 2:
            return []
        rows = np.array(sorted(rows, key=ids.__getitem__))  # so that the order of the rows does not matter
        rng = np.random.default_rng([self.seed, *name.encode()])
        turns = [rng.permutation(len(rows)) for _ in range(math.ceil(missing / len(rows)))]
        made: collections.Counter[str] = collections.Counter()
        mixes = []
        for first in rows[np.concatenate(turns)[:missing]].tolist():
            partners = [row for row in nearest[first].tolist() if row != NOBODY]
            second, weight = int(rng.choice(partners)), float(rng.uniform())
            pair = f"{ids[first]}+{ids[second]}"
            made[pair] += 1
            mixes.append(Mix(f"{pair}#{made[pair]}", (first, second), weight))
        return mixes


def _columns(mixes: list[Mix], train: datasets.Dataset, labels: Array) -> dict[str, Any]:
    ids, count = train[ID][:], len(mixes)
    speakers = train[SPEAKER][:] if SPEAKER in train.column_names else [None] * len(ids)
    parents = np.array([mix.parents for mix in mixes], dtype=int).reshape(-1, 2)
    weights = np.array([(1 - mix.weight, mix.weight) for mix in mixes]).reshape(-1, 2)
    mixed = (weights[:, :, None] * labels[parents]).sum(1)
    return {
        ID: [mix.id for mix in mixes],
        PARENTS: [[ids[row] for row in mix.parents] for mix in mixes],
        PARENT_WEIGHTS: weights.tolist(),
        OPERATION: [INTERPOLATE] * count,
        PARAMETERS: [as_json({"weight": mix.weight}) for mix in mixes],
        SOFT_LABEL: mixed,
        SPEAKER: [speakers[i] if speakers[i] == speakers[j] else None for i, j in parents],
        LEVEL: Levels(entropy(labels)).names(mixed),
    }
