"""The linear program of a balanced plan: how many copies of each candidate bring the masses nearest to the target.

Masses are divided by their targets. With r copies of M candidates, a = base + gains r, U = max a and L = min a, the
imbalance is U / L. First the least that the caps allow is found, by Dinkelbach's method (minimise U - x L, put U / L
for x, repeat: each a linear program), or the `wanted` one where that can be had; then the fewest rows that keep it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sparse
from scipy.optimize import OptimizeResult, linprog

from dime_hf.distribution import Array
from dime_hf.errors import PlanError

EQUAL = 1e-8  # relative difference of imbalances that is no difference
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


class Program:
    """Candidates with `gains` (M, D), at most `capacity` (M,) copies of each, and `caps`; `base` (D,) is there already.

    D are the classes, or classes by ambiguity level. Candidates from `first` on enter only where their prices say that
    they help (column generation), which finds the same optimum.
    """

    def __init__(self, base: Array, gains: sparse.csr_array, capacity: Array, caps: Sequence[Cap], first: int):
        self.base, self.gains, self.capacity, self.caps = base, gains.T.tocsc(), capacity, tuple(caps)
        empty = sparse.csr_array((0, len(capacity)))
        self.matrix = sparse.csc_array(sparse.vstack([empty, *(cap.matrix for cap in caps)]))
        self.limit = np.concatenate([np.zeros(0), *(cap.limit for cap in caps)])
        self.per_row = np.concatenate([np.zeros(0), *(cap.per_row for cap in caps)])
        self.rows = sparse.csc_array(sparse.vstack([self.gains, -self.gains, self.matrix]))
        self.active = np.arange(len(capacity)) < max(first, COLUMNS)

    def imbalance(self, copies: Array) -> float:
        """Largest over smallest of what `copies` (M,) make of the masses."""
        masses = self.base + self.gains @ copies
        return float(masses.max() / masses.min())

    def relax(self, wanted: float) -> Relaxed:
        """Return the copies of least imbalance, or those that bring it to `wanted`, in as few rows as can be."""
        least, found = self._least(wanted)
        reached = least <= wanted * (1 + EQUAL)
        prices = np.zeros(len(self.limit)), np.zeros(len(self.capacity))
        if not reached:  # an imbalance of U / L falls by the price of U - x L over L
            prices[0][:] = -found.ineqlin.marginals[2 * len(self.base) :] / found.x[-2]
            prices[1][self.active] = -found.upper.marginals[:-3] / found.x[-2]
        fewest = self._solve(least * (1 + 10 * EQUAL), fewest=True)
        copies = np.clip(self._copies(fewest), 0, self.capacity)
        return Relaxed(copies, self.imbalance(copies), reached, *prices)

    def _least(self, wanted: float) -> tuple[float, OptimizeResult]:
        tried, found = wanted, self._solve(wanted)
        while True:
            masses = self.base + self.gains @ self._copies(found)
            reached = float(masses.max() / masses.min())
            if reached <= wanted * (1 + EQUAL):
                return wanted, found
            if tried > wanted and reached >= tried * (1 - EQUAL):
                return tried, found
            tried, found = reached, self._solve(reached)

    def _copies(self, found: OptimizeResult) -> Array:
        copies = np.zeros(len(self.capacity))
        copies[self.active] = found.x[:-3]
        return copies

    def _solve(self, imbalance: float, fewest: bool = False) -> OptimizeResult:
        """Minimise U - imbalance * L; or, with `fewest`, the rows where U <= imbalance * L."""
        while True:
            found = self._solve_active(imbalance, fewest)
            idle = np.flatnonzero(~self.active)
            rows = len(self.base) * 2 + len(self.limit)
            worth = fewest - self.rows[:, idle].T @ found.ineqlin.marginals[:rows] - found.eqlin.marginals[0]
            if not (worth < -1e-7).any():
                return found
            self.active[idle[np.argsort(worth, kind="stable")[:COLUMNS]][np.sort(worth)[:COLUMNS] < -1e-7]] = True

    def _solve_active(self, imbalance: float, fewest: bool) -> OptimizeResult:
        size, count = len(self.base), int(self.active.sum())
        ones, none = np.ones((size, 1)), np.zeros((size, 1))
        # the last three variables are U, L and n, the number of new rows
        beside = np.concatenate(
            [
                np.hstack([-ones, none, none]),
                np.hstack([none, ones, none]),
                np.stack([np.zeros_like(self.per_row)] * 2 + [-self.per_row], axis=1),
            ]
        )
        matrix = sparse.hstack([self.rows[:, np.flatnonzero(self.active)], beside])
        limits = np.concatenate([-self.base, self.base, self.limit])
        cost = np.array([*[float(fewest)] * count, *([0, 0] if fewest else [1, -imbalance]), 0])
        if fewest:
            matrix = sparse.vstack([matrix, _row([0] * count + [1, -imbalance, 0])])
            limits = np.append(limits, 0)
        bounds = np.stack([np.zeros(count + 3), np.append(self.capacity[self.active], [np.inf] * 3)], axis=1)
        total = _row([1] * count + [0, 0, -1])
        return _linprog(cost, A_ub=matrix.tocsr(), b_ub=limits, A_eq=total, b_eq=[0], bounds=bounds)


def _row(values: Sequence[float]) -> sparse.csr_array:
    return sparse.csr_array(np.array([values], dtype=float))


def _linprog(cost: Array, **program: Any) -> OptimizeResult:
    found = linprog(cost, method="highs", **program)
    if found.status != 0:
        raise PlanError(f"the program of the plan was not solved: {found.message}")
    return found
