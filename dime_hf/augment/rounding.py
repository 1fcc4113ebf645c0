"""From fractions of copies to whole ones, without breaking a cap."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from dime_hf.augment.program import Program, Relaxed
from dime_hf.distribution import Array

SLACK = 1e-6  # of a copy: solvers are no more exact


@dataclasses.dataclass(frozen=True)
class Whole:
    """Whole copies (M,), their imbalance, and the `bound` that rounding keeps it under.

    Each of the `fractions` candidates with a fraction of a copy is off by less than one copy, and there are no more of
    them than the program has limits that bind; `taken_back` copies more were given up so that the rest keeps the caps.
    The bound is the imbalance where all of that counts against it.
    """

    copies: NDArray[np.int64]
    imbalance: float
    bound: float
    fractions: int
    taken_back: int


def round_copies(program: Program, relaxed: Relaxed) -> Whole:
    """Round down, take back what then breaks a cap, and add the largest remainders that break none and do no harm."""
    floor = np.floor(relaxed.copies + SLACK)
    remainder = np.maximum(relaxed.copies - floor, 0)
    remainder[remainder < SLACK] = 0
    rounding = _Rounding(program, floor.copy())
    taken_back = rounding.take_back()
    for candidate in np.argsort(-remainder, kind="stable")[: np.count_nonzero(remainder)]:
        rounding.add(candidate)
    fractions = np.where(remainder > 0, remainder, 0), np.where(remainder > 0, 1 - remainder, 0)
    relaxed_masses = program.base + program.gains @ relaxed.copies
    lowest = relaxed_masses - program.gains @ (fractions[0] + np.maximum(floor - rounding.copies, 0))
    highest = relaxed_masses + program.gains @ (fractions[1] + np.maximum(floor - relaxed.copies, 0))
    bound = float(highest.max() / lowest.min()) if lowest.min() > 0 else float("inf")
    copies, imbalance = rounding.copies.astype(np.int64), program.imbalance(rounding.copies)
    return Whole(copies, imbalance, bound, int(np.count_nonzero(remainder)), taken_back)


class _Rounding:
    """Copies on their way to be whole, with what they use of every limit and what they make of the masses."""

    def __init__(self, program: Program, copies: Array):
        self.program, self.copies = program, copies
        self.used, self.masses = program.matrix @ copies, program.base + program.gains @ copies
        self.total, self.by_limit = copies.sum(), program.matrix.tocsr()

    def take_back(self) -> int:
        """Take copies back until no cap is broken (none at all breaks none); return how many."""
        taken = 0
        while True:
            over = self.used - self._limits(self.total)
            if not (over > SLACK).any():
                return taken
            users, uses = _line(self.by_limit, int(over.argmax()))
            self._change(int(users[(uses * (self.copies[users] > 0)).argmax()]), -1)
            taken += 1

    def add(self, candidate: int) -> None:
        """Add a copy of a candidate where all caps hold with it and the imbalance is no worse."""
        limits, (places, uses) = self._limits(self.total + 1), _line(self.program.matrix, candidate)
        if (self.used[places] + uses > limits[places] + SLACK).any():
            return
        before = self.masses.max() / self.masses.min()
        self._change(candidate, 1)
        if self.masses.max() / self.masses.min() > before + 1e-12:
            self._change(candidate, -1)

    def _limits(self, total: float) -> Array:
        return self.program.limit + self.program.per_row * total

    def _change(self, candidate: int, by: int) -> None:
        for totals, matrix in ((self.used, self.program.matrix), (self.masses, self.program.gains)):
            places, values = _line(matrix, candidate)
            totals[places] += by * values
        self.copies[candidate] += by
        self.total += by


def _line(matrix: sparse.csc_array | sparse.csr_array, number: int) -> tuple[NDArray[np.integer], Array]:
    """Places and values of a column of a csc matrix, or of a row of a csr matrix."""
    part = slice(matrix.indptr[number], matrix.indptr[number + 1])
    return matrix.indices[part], matrix.data[part]
