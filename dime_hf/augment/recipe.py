"""DiME-Aug's recipes by name, their settings, and what they refuse."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import datasets
import numpy as np
from numpy.typing import ArrayLike

from dime_hf import columns
from dime_hf.augment.balance import Balance
from dime_hf.augment.operations import get_operation
from dime_hf.augment.paper import TopUp
from dime_hf.augment.parents import PERTURB
from dime_hf.augment.plan import Plan
from dime_hf.columns import AUDIO, ID, REFERENCE_COUNTS, SOFT_LABEL, TEXT
from dime_hf.distribution import Array, as_distributions
from dime_hf.errors import ColumnError, LeakageError, PlanError, did_you_mean
from dime_hf.score import LEVELS
from dime_hf.stage import read_column, undecoded

BALANCE, PAPER = "balance", "paper"
RECIPES = (BALANCE, PAPER)
UNIFORM = "uniform"
OF_BOTH = ("ratio", "neighbours", "seed", "recipe")


@dataclasses.dataclass(frozen=True)
class DimeAug:
    """Plans DiME-Aug on a training set; the same plan for the same seed and utterances, whatever their order.

    ratio: no class shall have less than this share of the largest one's mass (recipe "paper": of its utterances).
    neighbours: how many partners an utterance may be mixed with; in "paper" one of so many nearest is drawn.
    recipe: "balance", a linear program on mass, or "paper" (2601.14620); the settings below are of "balance".
    target: instead of `ratio`: "uniform", a distribution (C,), or with `per_level` one for each level (3, C).
    per_level: the target holds in every ambiguity level (tercile of entropy), and the levels keep their shares.
    operations: "perturb" copies one utterance, "concatenate" and "interpolate" mix two.
    copies: new rows that an utterance may have a part in. speaker_share, fold_share: of the new rows, at most, that
        one speaker or one value of the column `fold` has a part in. Mixes never join two values of `fold`.
    entropy_shift: by how many bits the mean entropy may move, or None.
    match: columns in which partners agree. near: the column of vectors by which they are near, or "features" (82
        statistics of sound and words); without it they are drawn.
    """

    ratio: float = 0.25
    neighbours: int = 3
    seed: int = 0
    recipe: str = BALANCE
    target: float | str | Sequence[float] | Sequence[Sequence[float]] | None = None
    per_level: bool = False
    operations: tuple[str, ...] = (PERTURB,)
    copies: int = 5
    speaker_share: float | None = None
    fold: str | None = None
    fold_share: float | None = None
    entropy_shift: float | None = 0.1
    match: tuple[str, ...] = ("speaker",)
    near: str | None = None

    def __post_init__(self) -> None:
        if self.recipe not in RECIPES:
            raise PlanError(f"`recipe` is {self.recipe!r}.{did_you_mean(self.recipe, RECIPES)}")
        for name in ("ratio", "speaker_share", "fold_share", *(["target"] if _is_number(self.target) else [])):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise PlanError(f"`{name}` must lie in (0, 1], not {value}")
        for name in ("neighbours", "copies"):
            if getattr(self, name) < 1:
                raise PlanError(f"`{name}` must be at least 1, not {getattr(self, name)}")
        if isinstance(self.target, str) and self.target != UNIFORM:
            raise PlanError(f"`target` is {self.target!r}.{did_you_mean(self.target, [UNIFORM])}")
        if self.entropy_shift is not None and self.entropy_shift < 0:
            raise PlanError(f"`entropy_shift` must be at least 0 bits or None, not {self.entropy_shift}")
        if self.fold_share is not None and self.fold is None:
            raise PlanError("`fold_share` needs `fold`, the column that names each utterance's fold")
        self._check_recipe()
        self._check_operations()

    def _check_recipe(self) -> None:
        settings = [field for field in dataclasses.fields(self) if field.name not in OF_BOTH]
        other = [field.name for field in settings if repr(getattr(self, field.name)) != repr(field.default)]
        if self.recipe == PAPER and other:
            raise PlanError(f"`{other[0]}` is a setting of the recipe 'balance', but `recipe` is 'paper'")

    def _check_operations(self) -> None:
        if isinstance(self.operations, str) or isinstance(self.match, str):
            raise PlanError("`operations` and `match` are tuples of names, such as ('perturb',)")
        if not self.operations or len(set(self.operations)) < len(self.operations):
            raise PlanError(f"`operations` must name one or more, each once, not {self.operations}")
        for name in self.operations if self.recipe == BALANCE else ():
            if name != PERTURB and get_operation(name).parents != 2:
                raise PlanError(
                    f"`operations` has {name!r}, which a plan cannot choose: take 'perturb' or mixes of two"
                )

    @property
    def wanted(self) -> float:
        """The imbalance (largest over smallest of mass / target) that is asked for; 1 is the target itself."""
        if self.target is None:
            return 1 / self.ratio
        return 1 / float(np.asarray(self.target)) if _is_number(self.target) else 1.0

    def shares(self, classes: int) -> Array:
        """Target shares of the classes (C,), or by level (3, C)."""
        if self.target is None or _is_number(self.target) or isinstance(self.target, str):
            return np.full(classes, 1 / classes)
        shares = as_distributions(self.target, "target")
        allowed = [(classes,), (len(LEVELS), classes)] if self.per_level else [(classes,)]
        if shares.shape not in allowed:
            raise PlanError(f"`target` must have the shape {' or '.join(map(str, allowed))}, not {shares.shape}")
        return shares

    def plan(self, train: datasets.Dataset, num_proc: int | None = None) -> Plan:
        """Return the plan for a training set; raises `LeakageError` for a dataset that is there to be scored.

        Utterances without a soft label take no part, nor do those without audio where the dataset has recordings.
        "balance" needs neither audio nor text, unless partners are to be near by "features".
        """
        needed = (ID, SOFT_LABEL, AUDIO, TEXT) if self.recipe == PAPER else (ID, SOFT_LABEL)
        columns.classes(train, "train")
        columns.require(train, *needed, argument="train")
        _refuse_test_data(train)
        usable = _usable(train)
        if self.recipe == PAPER:
            plan = TopUp(self.ratio, self.neighbours, self.seed).plan(usable, num_proc)
        else:
            plan = Balance(usable, self, num_proc).plan()
        _refuse_known_ids(plan, train)
        return plan


def _refuse_known_ids(plan: Plan, train: datasets.Dataset) -> None:
    known = set(train[ID][:]).intersection(plan.rows[ID][:])
    if known:
        raise ColumnError(
            f"`train` has the id {min(known)!r} already, which a new row would have: plan on what is not augmented yet"
        )


def _is_number(target: ArrayLike | None) -> bool:
    return target is not None and not isinstance(target, str) and np.ndim(target) == 0


def _usable(train: datasets.Dataset) -> datasets.Dataset:
    if AUDIO in train.column_names:
        train = undecoded(train)
    names = [name for name in (AUDIO, SOFT_LABEL) if name in train.column_names]
    valid = [read_column(train, name).is_valid().to_numpy(zero_copy_only=False) for name in names]
    rows = np.flatnonzero(np.logical_and.reduce(valid))
    if not rows.size:
        what = "both audio and a soft label" if len(names) == 2 else "a soft label"
        raise PlanError(f"`train` has no utterance with {what}: there is nothing to augment")
    return train if len(rows) == len(train) else train.select(rows)


def _refuse_test_data(train: datasets.Dataset) -> None:
    split = str(train.split or "")
    if REFERENCE_COUNTS in train.column_names or split.startswith(("test", "validation")):
        what = f"carries {REFERENCE_COUNTS!r}" if REFERENCE_COUNTS in train.column_names else f"is the split {split!r}"
        raise LeakageError(f"`train` {what}: only training data may be augmented, scores need real utterances")
