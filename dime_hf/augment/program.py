"""The linear program of a balanced plan: how many copies of each candidate bring the masses nearest to the target.

Masses are divided by their targets. With r copies of M candidates, a = base + gains r, U = max a and L = min a, the
imbalance is U / L. First the least that the caps allow is found, by Dinkelbach's method (minimise U - x L, put U / L
for x, repeat: each a linear program), or the `wanted` one where that can be had; then the fewest rows that keep it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.optimize import linprog

from dime_hf.distribution import Array
from dime_hf.errors import PlanError

EQUAL = 1e-8  # relative difference of imbalances that is no difference
HELPS = 1e-7  # price of a candidate that is more than the solver's error
FEW = 100  # limits that are not worth simplifying first
COLUMNS = 20_000  # candidates that enter the program at a time


@dataclasses.dataclass(frozen=True)
class Cap:
    """Limits that no plan breaks: matrix (K, M) @ r <= limit + per_row * (number of new rows).

    step, step_per_row: by how much limit and per_row (K,) would grow for what `step_name` says, such as "0.01 more".
    """

    name: str
    members: Sequence[str]  # what each limit is of
    matrix: sparse.csr_array
    limit: Array
    per_row: Array
    step: Array
    step_per_row: Array
    step_name: str


@dataclasses.dataclass(frozen=True)
class Relaxed:
    """Copies (M,) that may be fractions, their imbalance, and what the limits cost.

    cap_prices (K,) of the rows of all caps and capacity_prices (M,): by how much the imbalance would fall, to first
    order, for one more unit of a limit; zero where the wanted imbalance is reached.
    """

    copies: Array
    imbalance: float
    reached: bool
    cap_prices: Array
    capacity_prices: Array


@dataclasses.dataclass(frozen=True)
class _Solved:
    """Copies (M,), their reduced costs (M,), the prices (K,) of the caps, and the smallest mass."""

    copies: Array
    costs: Array
    cap_prices: Array
    smallest: float


class Program:
    """Candidates with `gains` (M, D), at most `capacity` (M,) copies of each, and `caps`; `base` (D,) is there.

    D are the classes, or classes by ambiguity level. The first `singles` candidates draw on nothing but their own
    capacity and may be held at it. With many candidates most are held at none or all of their copies, as the prices of
    a sample say, the rest is solved, and those that the new prices contradict are let go, until there are none: the
    same optimum.
    """

    def __init__(self, base: Array, gains: sparse.csr_array, capacity: Array, caps: Sequence[Cap], singles: int):
        self.base, self.gains, self.capacity, self.caps = base, gains.T.tocsc(), capacity, tuple(caps)
        empty = sparse.csr_array((0, len(capacity)))
        self.matrix = sparse.csc_array(sparse.vstack([empty, *(cap.matrix for cap in caps)]))
        self.limit = np.concatenate([np.zeros(0), *(cap.limit for cap in caps)])
        self.per_row = np.concatenate([np.zeros(0), *(cap.per_row for cap in caps)])
        self.holdable = np.where(np.arange(len(capacity)) < singles, capacity, 0)
        self._costs = np.zeros(len(capacity))  # of the last solution

    def imbalance(self, copies: Array) -> float:
        """Largest over smallest of what `copies` (M,) make of the masses."""
        masses = self.base + self.gains @ copies
        return float(masses.max() / masses.min())

    def relax(self, wanted: float) -> Relaxed:
        """Return the copies of least imbalance, or those that bring it to `wanted`, in as few rows as can be."""
        least, best = self._least(wanted)
        reached = least <= wanted * (1 + EQUAL)
        fewest = self._solve(least * (1 + 10 * EQUAL), fewest=True)
        copies = np.clip(fewest.copies, 0, self.capacity)
        # an imbalance of U / L falls by the price of U - x L over L
        worth = 0 if reached else 1 / best.smallest
        return Relaxed(
            copies, self.imbalance(copies), reached, best.cap_prices * worth, np.maximum(-best.costs, 0) * worth
        )

    def _least(self, wanted: float) -> tuple[float, _Solved]:
        tried, solved = wanted, self._solve(wanted)
        while True:
            found = self.imbalance(solved.copies)
            if found <= wanted * (1 + EQUAL):
                return wanted, solved
            if tried > wanted and found >= tried * (1 - EQUAL):
                return tried, solved
            tried, solved = found, self._solve(found)

    def _solve(self, imbalance: float, fewest: bool = False) -> _Solved:
        """Minimise U - imbalance * L; or, with `fewest`, the rows where U <= imbalance * L."""
        nearest, band = self._decided(imbalance, fewest), COLUMNS
        free = np.zeros(len(self.capacity), dtype=bool)
        free[nearest[:band]] = True
        held = np.where(self._costs < 0, self.holdable, 0)
        while True:
            solved = self._solve_free(free, held, imbalance, fewest)
            if solved is None:
                if free.all():
                    raise PlanError("the program of the plan was not solved, though no copies at all keep every cap")
                band *= 4
                free[nearest[:band]] = True
                continue
            wrong = np.where(held > 0, solved.costs, -solved.costs) * ~free
            if wrong.max(initial=0) <= HELPS:
                self._costs = solved.costs
                return solved
            worst = np.argsort(-wrong, kind="stable")[:COLUMNS]
            free[worst[wrong[worst] > HELPS]] = True

    def _decided(self, imbalance: float, fewest: bool) -> NDArray[np.int64]:
        """Candidates, those whose reduced costs leave it most open how many copies to make first; sets the costs."""
        count = len(self.capacity)
        if count > COLUMNS:
            some = np.arange(count) % (-(-count // COLUMNS)) == 0
            sample = self._solve_free(some, np.zeros(count), imbalance, fewest, share=some.mean())
            self._costs = self._costs if sample is None else sample.costs
        return np.argsort(np.abs(self._costs), kind="stable")

    def _solve_free(
        self, free: NDArray[np.bool_], held: Array, imbalance: float, fewest: bool, share: float = 1.0
    ) -> _Solved | None:
        """Solve for the `free` candidates, with the others' copies `held`; None where that cannot be.

        With a `share`, what is there and the limits count by this much: the free ones stand for all.
        The variables are copies of the free candidates, masses (D,), the number of new rows n, U and L.
        """
        places, size = np.flatnonzero(free), len(self.base)
        copies = np.where(free, 0, held)
        masses, count = sparse.eye_array(size), len(places)
        below, above = np.stack([-np.ones(size), np.zeros(size)]), np.stack([np.zeros(size), np.ones(size)])
        at_most = sparse.block_array(
            [
                [self.matrix[:, places], None, -self.per_row[:, None], None],
                [None, masses, None, below.T],
                [None, -masses, None, above.T],
                [None, None, None, np.array([[1, -imbalance]]) * float(fewest)],
            ]
        )
        equal = sparse.block_array(
            [[self.gains[:, places], -masses, None], [np.ones((1, count)), None, np.array([[-1]])]]
        )
        found = linprog(
            np.array([*[float(fewest)] * count, *[0] * (size + 1), *([0, 0] if fewest else [1, -imbalance])]),
            A_ub=at_most.tocsr(),
            b_ub=np.concatenate([self.limit * share - self.matrix @ copies, np.zeros(2 * size + 1)]),
            A_eq=sparse.hstack([equal, sparse.csr_array((size + 1, 2))]).tocsr(),
            b_eq=-np.append(self.base * share + self.gains @ copies, copies.sum()),
            bounds=np.stack(
                [np.zeros(count + size + 3), np.append(self.capacity[places], [np.inf] * (size + 3))], axis=1
            ),
            method="highs",
            options={"presolve": len(self.limit) > FEW},
        )
        if found.status != 0:
            return None
        copies[places] = found.x[:count]
        caps, equalities = found.ineqlin.marginals[: len(self.limit)], found.eqlin.marginals
        costs = fewest - equalities[-1] - self.gains.T @ equalities[:-1] - self.matrix.T @ caps
        return _Solved(copies, costs, -caps, float(found.x[-1]))
