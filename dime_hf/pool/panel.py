"""The votes that pooling starts from: human counts, and what every proxy answered."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Self

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dime_hf import columns
from dime_hf.columns import ANSWERS, ID, OK, REFERENCE_COUNTS, VOTE_COUNTS
from dime_hf.distribution import Array, as_counts, as_distributions
from dime_hf.errors import ColumnError, DistributionError, FitError

READS = (ID, columns.SPEAKER, columns.DIALOG, columns.CORPUS, VOTE_COUNTS, ANSWERS, REFERENCE_COUNTS)  # where there
OFF_OPTION = "off_option"  # an input that is read from the answers, not from a column
ANSWER = pa.struct(
    {
        "proxy": pa.string(),
        "order": pa.list_(pa.int64()),
        "distribution": pa.list_(pa.float64()),
        "draws": pa.list_(pa.int64()),
        "votes": pa.float64(),
        "off_option": pa.float64(),
        "status": pa.string(),
    }
)


@dataclasses.dataclass(frozen=True)
class Panel:
    """Votes on N utterances: human counts (N, C), and of each of J proxies the mean answer and its votes.

    answers: (N, J, C), zeros where the proxy has no valid answer.
    votes: (N, J), 0 where it has none.
    drawn: (N, J), whether its votes were drawn, and not option probabilities.
    inputs: (N, E), other numbers that a pooler asked for; NaN where unknown.
    """

    human: Array
    proxies: tuple[str, ...]
    answers: Array
    votes: Array
    drawn: NDArray[np.bool_]
    inputs: Array

    @classmethod
    def read(cls, batch: Mapping[str, Any], inputs: Sequence[str] = ()) -> Self:
        """Read the votes of a batch and the numbers `inputs`; failed answers weigh nothing."""
        human = as_counts(batch[VOTE_COUNTS], VOTE_COUNTS)
        given = Answers.read(batch.get(ANSWERS), len(human), human.shape[1])
        names, index = np.unique(given.proxy, return_inverse=True)
        shape = (len(human), len(names))
        answers, votes, drawn = np.zeros((*shape, human.shape[1])), np.zeros(shape), np.zeros(shape, dtype=bool)
        np.add.at(votes, (given.row, index), given.votes)
        np.add.at(answers, (given.row, index), given.votes[:, None] * given.distribution)
        drawn[given.row[given.drawn], index[given.drawn]] = True
        answers /= np.where(votes > 0, votes, 1)[..., None]
        numbers = [given.off_option(len(human)) if name == OFF_OPTION else _numbers(batch, name) for name in inputs]
        made = np.stack(numbers, axis=1) if numbers else np.zeros((len(human), 0))
        return cls(human, tuple(names.tolist()), answers, votes, drawn, made)

    @functools.cached_property
    def synthetic_votes(self) -> Array:
        """How many synthetic votes an utterance has (N,)."""
        return self.votes.sum(-1)

    @functools.cached_property
    def synthetic(self) -> Array:
        """Mean synthetic vote (N, C), zeros where there is none."""
        total = np.where(self.synthetic_votes > 0, self.synthetic_votes, 1)
        return np.einsum("njc,nj->nc", self.answers, self.votes) / total[:, None]

    def select(self, rows: NDArray[Any]) -> Panel:
        """The panel of some utterances: their places, or whether each is among them."""
        if rows.dtype == bool and rows.all():
            return self
        of_rows = {name: getattr(self, name)[rows] for name in ("human", "answers", "votes", "drawn", "inputs")}
        return dataclasses.replace(self, **of_rows)

    def of_proxies(self, names: Sequence[str]) -> Panel:
        """The panel with the proxies `names`, in this order; raise `FitError` where it has one beside them.

        A proxy that this batch lacks has no valid answer in it.
        """
        if unknown := sorted(set(self.proxies) - set(names)):
            raise FitError(
                f"the proxy {unknown[0]!r} has valid answers here, but the pooler was fitted without it, on "
                f"{len(names)} proxies: fit on a dataset with the same proxies, or drop its answers"
            )
        if self.proxies == tuple(names):
            return self
        place = [names.index(name) for name in self.proxies]
        wide = {}
        for name in ("answers", "votes", "drawn"):
            values = getattr(self, name)
            wide[name] = np.zeros((len(values), len(names), *values.shape[2:]), values.dtype)
            wide[name][:, place] = values
        return dataclasses.replace(self, proxies=tuple(names), **wide)


@dataclasses.dataclass(frozen=True)
class Training:
    """What a pooler is fitted on: votes, the group of each of these utterances, and all groups that were seen."""

    panel: Panel
    groups: NDArray[Any]
    seen: tuple[str, ...]

    @classmethod
    def read(cls, dataset: datasets.Dataset, inputs: Sequence[str] = (), least: int = 2) -> Training:
        """Read the utterances with `least` human votes or more; raise `FitError` where there are none."""
        columns.require(dataset, ID, VOTE_COUNTS, *(name for name in inputs if name != OFF_OPTION))
        names = [name for name in dict.fromkeys([*READS, *inputs]) if name in dataset.column_names]
        batch = as_batch(dataset.select_columns(names).with_format("arrow")[:])
        panel, groups = Panel.read(batch, inputs), np.array(columns.groups(batch))
        enough = panel.human.sum(-1) >= least
        if not enough.any():
            wanted = "two votes" if least == 2 else "one vote"
            why = "one vote an utterance cannot tell how far to trust it, so " if least == 2 else ""
            raise FitError(
                f"`dataset` has no utterance with {wanted} or more among {len(enough)}: {why}there is nothing to fit "
                "strengths on"
            )
        return cls(panel.select(enough), groups[enough], tuple(sorted(set(groups.tolist()))))

    def without(self, groups: NDArray[Any]) -> Training:
        """The training of all but some groups of utterances, which were not seen then."""
        others = ~np.isin(self.groups, groups)
        seen = tuple(sorted(set(self.seen) - set(groups.tolist())))
        return Training(self.panel.select(others), self.groups[others], seen)


def as_batch(table: pa.Table) -> dict[str, Any]:
    """The columns of a table as lists, but answers and counts as arrays, which are fast to read."""
    return {name: _column(table[name].combine_chunks(), name) for name in table.column_names}


def _column(values: pa.Array, name: str) -> Any:
    if name == ANSWERS:
        return values
    if name in (VOTE_COUNTS, REFERENCE_COUNTS) and pa.types.is_fixed_size_list(values.type) and not values.null_count:
        return values.flatten().to_numpy(zero_copy_only=False).reshape(len(values), values.type.list_size)
    return values.to_pylist()


def _numbers(batch: Mapping[str, Any], name: str) -> Array:
    try:
        return np.array([np.nan if value is None else value for value in batch[name]], dtype=float)
    except (KeyError, TypeError, ValueError) as error:
        raise ColumnError(f"`inputs`: {name!r} is no column of one number an utterance") from error


@dataclasses.dataclass(frozen=True)
class Answers:
    """Valid answers (A,): the row and proxy of each, its distribution (A, C), votes, and mass off the options.

    order: lists of the classes in the order in which they were shown; empty where none was given.
    """

    row: NDArray[np.int64]
    proxy: NDArray[Any]
    distribution: Array
    votes: Array
    drawn: NDArray[np.bool_]
    off: Array
    order: pa.ListArray

    @classmethod
    def read(cls, cells: Any, rows: int, size: int) -> Answers:
        """Read the cells of an `answers` column, as lists or as an Arrow array, over `size` classes."""
        if cells is None:
            cells = [[]] * rows
        lists = cells if isinstance(cells, pa.Array) else pa.array(cells, pa.list_(ANSWER))
        every = np.repeat(np.arange(rows), pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False))
        flat = lists.flatten()
        valid = pc.equal(flat.field("status"), OK).to_numpy(zero_copy_only=False).astype(bool)
        flat = flat.filter(pa.array(valid))
        field = lambda name: flat.field(name).to_numpy(zero_copy_only=False)  # noqa: E731
        proxy, votes = field("proxy"), field("votes").astype(float)
        draws = pc.fill_null(pc.list_value_length(flat.field("draws")), 0).to_numpy(zero_copy_only=False)
        distribution = _distributions(flat.field("distribution"), proxy, size)
        off = field("off_option").astype(float)
        return cls(
            every[valid], proxy.astype(str), distribution, votes, (draws > 0) | (votes > 1), off, flat.field("order")
        )

    def off_option(self, rows: int) -> Array:
        """Mean mass off the options (rows,), NaN where nothing tells."""
        known = ~np.isnan(self.off)
        count = np.bincount(self.row[known], minlength=rows)
        total = np.bincount(self.row[known], self.off[known], rows)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _distributions(lists: pa.Array, proxy: NDArray[Any], size: int) -> Array:
    """Distributions (A, C) of valid answers, or an error that names the proxy of the first wrong one."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    if wrong := np.flatnonzero(lengths != size).tolist():
        found = lengths[wrong[0]]
        raise ColumnError(f"an answer of {proxy[wrong[0]]!r} is over {found} classes, the votes are over {size}")
    values = lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, size)
    try:
        return as_distributions(values, "answers")
    except DistributionError:
        for name, row in zip(proxy, values, strict=True):
            as_distributions(row, f"answer of {name!r}")
        raise
