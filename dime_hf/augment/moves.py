"""How far an annotator's answers to new utterances are from what it answered about their parents."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Self

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dime_hf.columns import ID, PARENT_WEIGHTS, PARENTS
from dime_hf.distribution import Array, total_variation
from dime_hf.errors import AnnotationError, ColumnError, DistributionError
from dime_hf.pool.panel import Answers
from dime_hf.protocol.reference import made_rows
from dime_hf.stage import read_column

HALVES = 64  # ways to halve the prompts that are tried at most
ROUNDING = 1e-6  # of answers as they are stored
Bools = NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Lineage:
    """The new `rows` (R,) of an augmented dataset, their `parents` (M,) as rows of `train`, and `weights` (R, M)."""

    rows: NDArray[np.int64]
    parents: NDArray[np.int64]
    weights: csr_array

    @classmethod
    def read(cls, train: datasets.Dataset, augmented: datasets.Dataset) -> Self:
        """Find the parents; raise `ColumnError` where `train` lacks one."""
        rows = np.flatnonzero(made_rows(augmented))
        if not rows.size:
            raise DistributionError("`augmented` has no rows that DiME-Aug made: there is nothing to ask about")
        new = augmented.select(rows)
        names, shares = read_column(new, PARENTS), read_column(new, PARENT_WEIGHTS)
        counts = pc.list_value_length(names).to_numpy(zero_copy_only=False)
        if not pc.list_value_length(shares).equals(pc.list_value_length(names)):
            raise DistributionError(f"`augmented` has rows whose {PARENTS!r} and {PARENT_WEIGHTS!r} differ in number")
        found = names.flatten().dictionary_encode()
        place = {id: row for row, id in enumerate(train[ID][:])}
        if unknown := [id for id in found.dictionary.to_pylist() if id not in place]:
            raise ColumnError(
                f"`train` lacks {len(unknown)} parents of `augmented`, the first is {unknown[0]!r}: give the dataset "
                "that it was made of"
            )
        parents = np.array([place[id] for id in found.dictionary.to_pylist()])
        ends = np.concatenate([[0], np.cumsum(counts)])
        values = shares.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
        shape = (len(rows), len(parents))
        return cls(rows, parents, csr_array((values, np.asarray(found.indices), ends), shape=shape))


@dataclasses.dataclass(frozen=True)
class Asked:
    """Answers (R, Q, C) to Q questions, zeros where `there` (R, Q) is false; `unit` (Q,) is the prompt of each.

    With a single prompt, a unit is an option order.
    """

    answers: Array
    there: Bools
    unit: NDArray[np.int64]

    @classmethod
    def read(cls, cells: pa.Array, size: int) -> Self:
        """Read an `answers` column over `size` classes: a question is a proxy and an option order."""
        given = Answers.read(cells, len(cells), size)
        prompts = pa.array(given.proxy, pa.string()).dictionary_encode()
        orders = pc.fill_null(pc.binary_join(given.order.cast(pa.list_(pa.string())), ","), "").dictionary_encode()
        prompt, order = (np.asarray(one.indices).astype(np.int64) for one in (prompts, orders))
        many = max(len(orders.dictionary), 1)
        code, question = np.unique(prompt * many + order, return_inverse=True)
        answers = np.zeros((len(cells), len(code), size))
        there = np.zeros(answers.shape[:2], dtype=bool)
        answers[given.row, question], there[given.row, question] = given.distribution, True
        _, unit = np.unique(code // many, return_inverse=True)
        return cls(answers, there, unit if unit.any() else np.arange(len(code)))

    def select(self, rows: slice) -> Asked:
        """The answers about some of the rows."""
        return Asked(self.answers[rows], self.there[rows], self.unit)

    def only(self, there: Bools) -> Asked:
        """Without the answers that are not in `there` (R, Q)."""
        return Asked(self.answers * there[..., None], self.there & there, self.unit)

    def mixed(self, weights: csr_array) -> Asked:
        """Mixes of the rows by weights (N, R), where all that are mixed have an answer."""
        shape = (weights.shape[0], *self.answers.shape[1:])
        answers = (weights @ self.answers.reshape(len(self.answers), -1)).reshape(shape)
        whole = (weights > 0).astype(float) @ (~self.there).astype(float) == 0
        return Asked(answers * whole[..., None], whole, self.unit)

    @property
    def mean(self) -> Array:
        """Mean answer (R, C), zeros where there is none."""
        return self.answers.sum(1) / np.maximum(self.there.sum(1), 1)[:, None]

    @property
    def prompts(self) -> NDArray[np.int64]:
        """How many prompts (R,) have an answer."""
        return np.count_nonzero(self._by_unit(self.there.astype(float)), axis=1)

    def spread(self) -> Array:
        """Distances between means over two halves of the prompts, h and k of them, divided by sqrt(1/h + 1/k)."""
        if not self.unit.size:
            return np.zeros(0)
        sums, counts = self._by_unit(self.answers), self._by_unit(self.there.astype(float))
        found = [np.zeros(0)]
        for half in _halves(counts.shape[1]):
            sides = (half, ~half)
            prompts = [np.count_nonzero(counts[:, side], axis=1) for side in sides]
            both = (prompts[0] > 0) & (prompts[1] > 0)
            one, other = (sums[both][:, side].sum(1) / counts[both][:, side].sum(1)[:, None] for side in sides)
            found.append(total_variation(one, other) / np.sqrt(sum(1 / some[both] for some in prompts)))
        return np.concatenate(found)

    def _by_unit(self, values: Array) -> Array:
        """Sums (R, U, ...) over the questions of each prompt."""
        return np.stack([values[:, self.unit == unit].sum(1) for unit in range(self.unit.max() + 1)], axis=1)


@dataclasses.dataclass(frozen=True)
class Moves:
    """Of new rows (R,): the distance `moved`, NaN where nothing can be compared, the `limit` of it, and mean answers.

    copy_limit: of a copy of one parent on which all prompts are answered. swapped_caught: share of the parents that
    are further than that from another parent.
    """

    moved: Array
    limit: Array
    answers: Array
    copy_limit: float
    swapped_caught: float

    @classmethod
    def read(cls, parents: Asked, new: Asked, weights: csr_array, quantile: float, tolerance: float = 0.0) -> Self:
        """Compare `new` (R) with the mixes of `parents` (M) by weights (R, M); no limit is below `tolerance`."""
        spread = parents.spread()
        if not spread.size:
            raise AnnotationError(
                "`annotator` answered no two prompts or option orders on any parent, so its own spread is not known: "
                "ask with several `prompts`, or with `Options(orders=2)`"
            )
        unit = float(np.quantile(spread, quantile, method="higher"))
        expected = parents.mixed(weights)
        both = expected.there & new.there
        here, there = new.only(both), expected.only(both)
        prompts = here.prompts
        with np.errstate(divide="ignore"):
            limit = np.maximum(unit * np.sqrt((1 + (weights**2).sum(1)) / prompts), tolerance)
        moved = np.where(prompts > 0, total_variation(here.mean, there.mean), np.nan)
        copy_limit = max(unit * np.sqrt(2 / parents.prompts.max()), tolerance)
        means = parents.mean[parents.prompts > 0]
        swapped = total_variation(means, np.roll(means, len(means) // 2, axis=0)) > copy_limit + ROUNDING
        return cls(moved, limit, new.mean, float(copy_limit), float(swapped.mean()))

    @property
    def too_far(self) -> Bools:
        """Rows (R,) beyond their limit."""
        return np.nan_to_num(self.moved) > self.limit + ROUNDING

    @property
    def median(self) -> float:
        """Median distance of the rows that could be compared, NaN without any."""
        known = self.moved[~self.unanswered]
        return float(np.median(known)) if known.size else float("nan")

    @property
    def unanswered(self) -> Bools:
        """Rows (R,) that could not be compared."""
        return np.isnan(self.moved)


def _halves(prompts: int) -> list[Bools]:
    """Ways to halve so many prompts: all of them, or as many as are tried, drawn."""
    if prompts < 2:
        return []
    if prompts <= 8:  # at most 70
        chosen = list(itertools.combinations(range(prompts), prompts // 2))
    else:
        rng = np.random.default_rng(0)
        chosen = [tuple(rng.permutation(prompts)[: prompts // 2].tolist()) for _ in range(HALVES)]
    return [np.isin(np.arange(prompts), half) for half in chosen]
