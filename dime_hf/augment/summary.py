"""What a plan does to a training set, in numbers and as a table to print."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dime_hf.distribution import entropy


@dataclasses.dataclass(frozen=True)
class Content:
    """What some utterances hold: how many they are, mass of every class (C,), mean entropy of soft labels in bits."""

    rows: int
    mass: tuple[float, ...]
    entropy: float

    @classmethod
    def of(cls, labels: ArrayLike, size: int) -> Content:
        """Sum up soft labels (N, C) of `size` classes."""
        labels = np.asarray(labels, dtype=np.float64).reshape(-1, size)
        bits = float(entropy(labels).mean()) if len(labels) else 0.0
        return cls(len(labels), tuple(labels.sum(0).tolist()), bits)

    def __add__(self, other: Content) -> Content:
        rows = self.rows + other.rows
        bits = self.rows * self.entropy + other.rows * other.entropy
        return Content(rows, tuple(np.add(self.mass, other.mass).tolist()), bits / max(rows, 1))

    @property
    def ratio(self) -> float:
        """Largest mass over smallest, of the classes that have any."""
        present = [mass for mass in self.mass if mass > 0]
        return max(present) / min(present) if present else float("nan")


@dataclasses.dataclass(frozen=True)
class Summary:
    """A plan's effect: `before`, the `new` rows, and `notes` of the planner (targets, caps that bind, rounding).

    imbalance: of the whole copies: largest over smallest of mass / target. relaxed: the same where copies may be
        fractions, the least that the caps allow or the target asks for. bound: what rounding cannot exceed. None where
        no program was solved.
    """

    classes: tuple[str, ...]
    before: Content
    new: Content
    recipe: str = "paper"
    notes: tuple[str, ...] = ()
    imbalance: float | None = None
    relaxed: float | None = None
    bound: float | None = None

    @property
    def after(self) -> Content:
        return self.before + self.new

    @property
    def rounding_cost(self) -> float | None:
        """Imbalance of the whole copies less that of the relaxed program."""
        return None if self.imbalance is None or self.relaxed is None else self.imbalance - self.relaxed

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Summary:
        """Make it of what `as_dict` gave, though it went through JSON."""
        read: dict[str, Any] = dict(fields)
        for name in ("before", "new"):
            read[name] = Content(**{**fields[name], "mass": tuple(fields[name]["mass"])})
        return cls(**{**read, "classes": tuple(fields["classes"]), "notes": tuple(fields["notes"])})

    def __str__(self) -> str:
        before, after = self.before, self.after
        shares = [np.divide(content.mass, max(sum(content.mass), 1e-12)) for content in (before, after)]
        lines = [f"{'class':<12}{'mass':>12}{'share':>8}{'after':>12}{'share':>8}"]
        lines += [
            f"{name:<12}{old:>12,.1f}{old_share:>8.3f}{new:>12,.1f}{new_share:>8.3f}"
            for name, old, old_share, new, new_share in zip(
                self.classes, before.mass, shares[0], after.mass, shares[1], strict=True
            )
        ]
        lines += [
            f"largest / smallest {before.ratio:.3f} -> {after.ratio:.3f}",
            f"mean entropy {before.entropy:.3f} -> {after.entropy:.3f} bits",
            f"utterances {before.rows:,} -> {after.rows:,} ({self.new.rows:,} new)",
        ]
        return "\n".join([*lines, *self.notes])
