"""Importance weights of untouched utterances, under which every class has the mass that a target asks for.

Weights may only come from votes that are not scored. Made from the scored votes they favour rows where a rare class
happened to be heard, no score is proper any more, and predictions tilted towards rare classes beat the truth.

Few votes overstate what is rare: a clip whose two votes say disgust is less disgusted than that on average. So the
mass of a class is that of the shares expected given the votes, (n + alpha) / (k + A), of a Dirichlet fitted to all
rows; balanced by the shares of the votes themselves, rare classes end below the target.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import scipy.optimize
from numpy.typing import ArrayLike, NDArray

from dime_hf.distribution import Array, as_counts, as_distributions, entropy, normalize
from dime_hf.errors import DistributionError, did_you_mean
from dime_hf.evidence.truth import fit_dirichlet

LEAST_ROWS = 100  # of an effective sample, unless told otherwise,
LEAST_SHARE = 0.05  # and of all rows
CLOSE = 1e-6  # of a mass to its target
STEPS, HIGHEST = 200, 60.0  # of the search; log of the largest weight that it tries


OUT_OF_REACH = "`target` cannot be reached by weights of these rows"
NEARER = (
    "Take a target nearer to the mass of the votes, or keep more votes; `alpha` of zeros balances the votes as they "
    "are, but not the shares they are drawn from"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Weights:
    """Weights `values` (N,) with the mean 1; give them to whatever takes `weights`.

    n_effective: (sum w)^2 / sum w^2, as many rows as these are worth.
    before, after: mass (C,) of the classes, and with the weights; `entropy_before`, `entropy_after`: mean in bits.
    held_out: mass that the scored votes turn out to have with the weights, where these are known.
    """

    values: Array
    n_effective: float
    before: Array
    after: Array
    entropy_before: float
    entropy_after: float
    classes: tuple[str, ...]
    held_out: Array | None = None

    @classmethod
    def of(cls, values: Array, kinds: Kinds, classes: Sequence[str]) -> Self:
        """What weights do to the classes."""
        after = values[:, None] * kinds.shares[kinds.index]
        bits = entropy(kinds.shares)[kinds.index]
        return cls(
            values=values,
            n_effective=float(values.sum() ** 2 / (values**2).sum()),
            before=kinds.mass,
            after=after.sum(0) / values.sum(),
            entropy_before=float(bits.mean()),
            entropy_after=float(values @ bits / values.sum()),
            classes=tuple(classes),
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype=dtype)

    def __str__(self) -> str:
        size = len(self.values)
        lines = [
            f"Weights of {size:,} rows: effective sample {self.n_effective:,.1f} ({self.n_effective / size:.1%}), "
            f"largest weight {self.values.max():.1f}, mean entropy {self.entropy_before:.3f} -> "
            f"{self.entropy_after:.3f} bits",
            mass_table(self.classes, {"mass": self.before, "weighted": self.after, "held out": self.held_out}),
        ]
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Kinds:
    """Rows with the same votes are of one kind, `index` (N,): its expected `shares` (K, C), its rows `times` (K,)."""

    shares: Array
    times: NDArray[np.int64]
    index: NDArray[np.int64]

    @classmethod
    def read(cls, counts: ArrayLike, alpha: ArrayLike | None) -> Self:
        """Read counts (N, C); `alpha` as in `importance_weights`."""
        votes = as_counts(counts)
        if votes.ndim != 2 or not len(votes):
            raise DistributionError(f"`counts` must have the shape (N, C) with at least one row, not {votes.shape}")
        kinds, index, times = np.unique(votes, axis=0, return_inverse=True, return_counts=True)
        return cls(_expected(kinds, votes, alpha), times, index.reshape(-1))

    @property
    def mass(self) -> Array:
        """Mean share (C,) of the classes over all rows."""
        return self.times @ self.shares / self.times.sum()


def importance_weights(
    counts: ArrayLike,
    target: ArrayLike | Literal["uniform"] = "uniform",
    *,
    alpha: ArrayLike | None = None,
    nearest: str = "divergence",
    min_effective: float | None = None,
    classes: Sequence[str] | None = None,
) -> Weights:
    """Return the weights nearest to 1 that give the classes of rows with votes (N, C) the mass `target` (C,).

    counts: not the scored votes. alpha: (C,) of the Dirichlet behind the votes, from other rows say (None: fitted to
    `counts`; zeros: none, the shares of the votes as they are).
    nearest: in Kullback-Leibler "divergence" (entropy balancing: all weights above 0), or in "squares", which leaves
    the largest effective sample there is, and many rows out.
    min_effective: the effective sample that is enough (None: 100 rows, and 5 % of all).
    Raises `DistributionError` for a smaller one or a target out of reach, `FitError` where no row has two votes.
    """
    kinds = Kinds.read(counts, alpha)
    names = class_names(classes, kinds)
    wanted = read_target(target, kinds, names)
    weights = Weights.of(_balance(kinds, wanted, nearest)[kinds.index], kinds, names)
    check_enough(weights.n_effective, kinds, min_effective, "min_effective", "an effective sample")
    return weights


def read_target(target: ArrayLike | Literal["uniform"], kinds: Kinds, classes: Sequence[str]) -> Array:
    """The mass (C,) that is wanted: above 0 for the classes that somebody voted for, 0 for the others."""
    size = kinds.shares.shape[1]
    uniform = isinstance(target, str) and target == "uniform"
    if isinstance(target, str) and not uniform:
        raise DistributionError(f"`target` must be 'uniform' or the mass (C,) of the classes, not {target!r}")
    wanted = np.full(size, 1 / size) if uniform else as_distributions(target, "target")
    if wanted.shape != (size,):
        raise DistributionError(f"`target` must be the mass of the {size} classes, not of the shape {wanted.shape}")
    heard = kinds.mass > 0
    for wrong, what in (
        ((wanted > 0) & ~heard, "has no vote: give it a `target` of 0"),
        ((wanted == 0) & heard, "has votes, and 0 would leave out all who heard it: derive a label set without it"),
    ):
        if wrong.any():
            raise DistributionError(f"`target`: the class {classes[int(wrong.argmax())]!r} {what}")
    return wanted


def mass_table(classes: Sequence[str], columns: Mapping[str, Array | None]) -> str:
    """A line for each class, and its mass by each of the columns that are known."""
    known = {name: values for name, values in columns.items() if values is not None}
    lines = [f"{'class':<12}{''.join(name.rjust(10) for name in known)}"]
    for place, name in enumerate(classes):
        lines.append(f"{name:<12}{''.join(f'{values[place]:>10.4f}' for values in known.values())}")
    return "\n".join(lines)


def class_names(classes: Sequence[str] | None, kinds: Kinds) -> tuple[str, ...]:
    """Names of the classes, their places where none are given."""
    size = kinds.shares.shape[1]
    names = tuple(map(str, range(size))) if classes is None else tuple(classes)
    if len(names) != size:
        raise DistributionError(f"`classes` names {len(names)} classes, `counts` has {size}")
    return names


def check_enough(found: float, kinds: Kinds, least: float | None, argument: str, what: str) -> None:
    """Raise `DistributionError` where what is left of the rows is less than `least`, the value of `argument`."""
    rows, mass = len(kinds.index), kinds.mass
    wanted = max(LEAST_ROWS, LEAST_SHARE * rows) if least is None else least
    if found < wanted:
        raise DistributionError(
            f"`target` leaves {what} of {found:,.1f} of {rows:,} rows, less than {wanted:,.1f}: the rarest class has "
            f"{mass[mass > 0].min():.2%} of the mass. Take a target nearer to the mass of the votes, fewer classes, "
            f"or say by `{argument}` that so few are enough"
        )


def _expected(kinds: Array, votes: Array, alpha: ArrayLike | None) -> Array:
    """Shares (K, C) expected given the votes; 0 for classes that nobody voted for."""
    if alpha is None:
        pseudo = fit_dirichlet(votes)
    else:
        pseudo = as_counts(alpha, "alpha")
        if pseudo.shape != votes.shape[1:]:
            raise DistributionError(f"`alpha` must have the shape {votes.shape[1:]}, not {pseudo.shape}")
    return normalize(kinds + np.where(votes.any(0), pseudo, 0))


@dataclasses.dataclass(frozen=True)
class _Nearness:
    """What "nearest to 1" means: the potential of the dual, its slope (which is the weight) and its curvature."""

    potential: Callable[[Array], Array]
    weight: Callable[[Array], Array]
    curvature: Callable[[Array], Array]
    start: float  # where all weights are 1


def _exp(powers: Array) -> Array:
    return np.exp(np.minimum(powers, HIGHEST))


NEARNESS = {
    "divergence": _Nearness(_exp, _exp, _exp, 0.0),
    "squares": _Nearness(
        lambda x: np.maximum(x, 0) ** 2 / 2, lambda x: np.maximum(x, 0), lambda x: (x > 0).astype(float), 1.0
    ),
}


def _balance(kinds: Kinds, target: Array, nearest: str) -> Array:
    """Weights (K,) of the kinds, from the convex dual: C numbers to find, however many rows there are."""
    if nearest not in NEARNESS:
        raise DistributionError(f"`nearest` is {nearest!r}.{did_you_mean(nearest, NEARNESS)}")
    _check_reachable(kinds.shares, target)
    near, p, rows = NEARNESS[nearest], kinds.shares, kinds.times / kinds.times.sum()

    def loss(tilt: Array) -> tuple[float, Array]:
        scores = p @ tilt
        return float(rows @ near.potential(scores) - target @ tilt), (rows * near.weight(scores)) @ p - target

    def curvature(tilt: Array) -> Array:
        return (p * (rows * near.curvature(p @ tilt))[:, None]).T @ p

    found = scipy.optimize.minimize(
        loss,
        np.full(len(target), near.start),
        jac=True,
        hess=curvature,
        method="trust-exact",
        options={"gtol": CLOSE / 10, "maxiter": STEPS, "max_trust_radius": 1e4},
    )
    weights = near.weight(p @ found.x)
    missed = np.abs((rows * weights) @ p - target).max()
    if missed > CLOSE:
        raise DistributionError(f"{OUT_OF_REACH} (the masses stay {missed:.2g} off it). {NEARER}")
    return weights / (rows @ weights)


def _check_reachable(shares: Array, target: Array) -> None:
    """Raise `DistributionError` where no weights of rows with shares (K, C) give them the mass `target`."""
    found = scipy.optimize.linprog(np.zeros(len(shares)), A_eq=shares.T, b_eq=target, bounds=(0, None))
    if not found.success:
        lowest, highest = (", ".join(f"{share:.3f}" for share in ends) for ends in (shares.min(0), shares.max(0)))
        raise DistributionError(
            f"{OUT_OF_REACH}: rows are expected to have from ({lowest}) to ({highest}) of the classes. {NEARER}"
        )
