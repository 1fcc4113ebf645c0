"""Rare classes scored as if they were not rare, on real utterances: by weights, or by a selection.

Both go by the votes that were kept when others were held out (`hold_out_votes`): never by those that judge.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import datasets
import numpy as np
import scipy.optimize
from numpy.typing import ArrayLike, NDArray

from dime_hf import columns
from dime_hf.columns import ID, REFERENCE_COUNTS, VOTE_COUNTS
from dime_hf.distribution import Array, entropy, normalize
from dime_hf.errors import DistributionError, LeakageError
from dime_hf.evidence.controls import chances
from dime_hf.evidence.weights import Kinds, Weights, check_enough, importance_weights, mass_table, read_target
from dime_hf.protocol.reference import by_class, made_rows

Target = ArrayLike | Literal["uniform"]


@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
    """What `balanced_selection` chose: `rows` of `of`, where fractions of rows would have allowed `most`.

    before, after: mass (C,) of the classes by the kept votes, of all rows and of the chosen ones; `held_out` by the
    votes that judge. entropy_before, entropy_after: mean entropy in bits.
    """

    rows: int
    of: int
    most: float
    target: Array
    before: Array
    after: Array
    held_out: Array
    entropy_before: float
    entropy_after: float
    classes: tuple[str, ...]

    def __str__(self) -> str:
        masses = {"mass": self.before, "target": self.target, "chosen": self.after, "held out": self.held_out}
        return (
            f"{self.rows:,} of {self.of:,} utterances (at most {self.most:,.1f}), mean entropy "
            f"{self.entropy_before:.3f} -> {self.entropy_after:.3f} bits\n{mass_table(self.classes, masses)}"
        )


def balanced_weights(test: datasets.Dataset, target: Target = "uniform", **how: Any) -> Weights:
    """Return weights of the rows of `test` that give its classes the mass `target`: for `score_labels(weights=...)`.

    They are made from the kept votes (`vote_counts`); the masses that the held-out votes (`reference_counts`) have
    under them are told beside. `how` are arguments of `evidence.importance_weights`. Raises `LeakageError` where no
    votes are held out, since weights of the scored votes make a score improper.
    """
    kept, held = _votes(test)
    weights = importance_weights(kept, target, classes=columns.classes(test, "test"), **how)
    return dataclasses.replace(weights, held_out=np.average(normalize(held), axis=0, weights=weights.values))


def balanced_selection(
    test: datasets.Dataset,
    target: Target = "uniform",
    *,
    seed: int = 0,
    alpha: ArrayLike | None = None,
    min_rows: int | None = None,
) -> tuple[datasets.Dataset, Selection]:
    """Return the most utterances of `test` on which the classes have the mass `target` (C,), by the kept votes.

    A linear program says how many utterances of every kind of votes to take, and whole numbers leave each class within
    (C - 1) / (2 x rows chosen) of the target; which of a kind, goes by (seed, id). `alpha` as in `importance_weights`,
    `min_rows` as its `min_effective`. Whole kinds of utterances may be left out: where that matters, take weights.
    """
    kept, held = _votes(test)
    names, kinds = columns.classes(test, "test"), Kinds.read(kept, alpha)
    wanted = read_target(target, kinds, names)
    take = _most(kinds, wanted)
    whole = np.rint(take).astype(np.int64)
    check_enough(float(whole.sum()), kinds, min_rows, "min_rows", "a balanced selection")
    chosen = np.flatnonzero(_first_of(kinds.index, chances(test[ID][:], len(test), seed)) < whole[kinds.index])
    bits = entropy(kinds.shares)[kinds.index]
    return test.select(chosen), Selection(
        rows=len(chosen),
        of=len(test),
        most=float(take.sum()),
        target=wanted,
        before=kinds.mass,
        after=kinds.shares[kinds.index[chosen]].mean(0),
        held_out=normalize(held[chosen]).mean(0),
        entropy_before=float(bits.mean()),
        entropy_after=float(bits[chosen].mean()),
        classes=names,
    )


def _votes(test: datasets.Dataset) -> tuple[Array, Array]:
    """The kept and the held-out votes (N, C)."""
    columns.require(test, ID, VOTE_COUNTS, argument="test")
    if REFERENCE_COUNTS not in test.column_names:
        raise LeakageError(
            f"`test` has no {REFERENCE_COUNTS!r}: weights made from the votes that are scored make a score improper. "
            "Keep some votes and score on the others, by `hold_out_votes` or `rotate_annotators`"
        )
    if made_rows(test).any():
        raise LeakageError("`test` has rows that DiME-Aug made: balance the real utterances")
    kept, held = by_class(test, VOTE_COUNTS), by_class(test, REFERENCE_COUNTS)
    if silent := int((np.nan_to_num(held).sum(-1) == 0).sum()):
        raise DistributionError(
            f"`test` has {silent:,} rows without a held-out vote, which cannot be scored: drop them"
        )
    return kept, held


def _most(kinds: Kinds, target: Array) -> Array:
    """How many rows of each kind (K,) to take at most: fractions in fewer than C kinds."""
    found = scipy.optimize.linprog(
        -np.ones(len(kinds.times)),
        A_eq=(kinds.shares - target).T,
        b_eq=np.zeros(len(target)),
        bounds=np.column_stack([np.zeros(len(kinds.times)), kinds.times]),
        method="highs-ds",  # the simplex ends in a corner, which has few fractions
    )
    if not found.success:
        raise DistributionError(f"`target`: no selection was found on {len(kinds.index):,} rows: {found.message}")
    return np.asarray(found.x)


def _first_of(index: NDArray[np.int64], draws: Array) -> NDArray[np.int64]:
    """Place (N,) of every row among those of its kind, in the order of its draw."""
    order = np.lexsort((draws, index))
    starts = np.searchsorted(index[order], np.arange(index.max() + 1))
    place = np.empty(len(index), dtype=np.int64)
    place[order] = np.arange(len(index)) - starts[index[order]]
    return place
