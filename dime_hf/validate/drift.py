"""Drift: how far the answers to one recording move with the prompt, and with the order of the options.

Between prompts, a proxy's answer is its mean over the orders that it was asked in. Between orders, all pairs of a
proxy's answers to an utterance in different orders count, each utterance the same.

The bias for places is fitted by least squares: probability = its class on this utterance + the place where the class
stood. Where every class stood in every place, that is the mean probability of the place, less 1/C. Places between
which no class ever moved cannot be compared; each set of places that can be is then taken to have no bias on average.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dime_hf import columns
from dime_hf.columns import ANSWERS, VOTE_COUNTS
from dime_hf.distribution import UNDECIDED, Array, entropy, plurality
from dime_hf.errors import ColumnError, DistributionError
from dime_hf.evidence.intervals import LEVEL, Clusters, Interval, jackknife
from dime_hf.pool.panel import Answers
from dime_hf.validate.variance import Variance, variance_shares

SHOWN = 15  # pairs of proxies in the table
RANK = 1e-6  # of the largest eigenvalue: what is smaller is no movement of options


@dataclasses.dataclass(frozen=True)
class Moves:
    """Distances between two answers to the same utterance, means over `utterances`: both in [0, 1], JS in bits.

    flips: share of pairs of answers that have each one favourite class, and not the same.
    """

    utterances: int
    total_variation: Interval | None = None
    js_divergence: Interval | None = None
    flips: Interval | None = None
    reason: str | None = None

    def __str__(self) -> str:
        if self.reason:
            return f"{self.utterances:>10,}  {self.reason}"
        cells = (self.total_variation, self.js_divergence, self.flips)
        return f"{self.utterances:>10,}" + "".join(f"{_cell(found):>24}" for found in cells)


@dataclasses.dataclass(frozen=True)
class OrderDrift:
    """What the order of the options does to one proxy.

    flipped: share of utterances on which not all orders have the same favourite class.
    places: probability for standing in first, second ... place, where 1/C each is no bias; `all_compared` says whether
    every place could be compared with every other.
    """

    orders: int
    moves: Moves
    flipped: Interval | None = None
    places: tuple[Interval, ...] = ()
    all_compared: bool = False


@dataclasses.dataclass(frozen=True)
class Drift:
    """Drift between prompts, by pair of proxies, and between option orders, by proxy.

    no_order: valid answers that do not say in which order the options were shown.
    """

    classes: int
    answers: int
    no_order: int
    between_prompts: dict[str, Moves]
    between_orders: dict[str, OrderDrift]
    variance: Variance

    def __str__(self) -> str:
        heads = ("total variation", "JS bits", "flips")
        head = f"{'utterances':>10}" + "".join(f"{title:>24}" for title in heads)
        orders = {name: found.moves for name, found in self.between_orders.items()}
        width = max(map(len, ["between prompts", *self.between_prompts, *orders])) + 2
        shares = ", ".join(f"{name} {share:.3f}" for name, share in dataclasses.asdict(self.variance).items())
        return "\n".join(
            [
                f"Drift of {self.answers:,} answers ({self.no_order:,} without an order); variance by {shares}",
                f"{'between prompts':<{width}}{head}",
                *_lines(self.between_prompts, width),
                f"{'between orders':<{width}}{head}",
                *_lines(orders, width),
                f"probability by place, {1 / self.classes:.3f} without bias",
                *(f"{name:<{width}}{_places(found)}" for name, found in self.between_orders.items()),
            ]
        )

    def plot(self, axes: Any) -> None:
        """Draw the probability that each proxy gives to a place, with its interval, beside 1/C."""
        colours = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
        biased = {name: found for name, found in self.between_orders.items() if found.places}
        for index, (name, found) in enumerate(biased.items()):
            place = np.arange(1, self.classes + 1) + 0.4 * (index + 0.5) / len(biased) - 0.2
            middle = [one.estimate for one in found.places]
            half = [one.high - one.estimate for one in found.places]
            axes.errorbar(place, middle, half, fmt="osD^v"[index % 5], color=colours[index % 6], label=name)
        axes.axhline(1 / self.classes, linestyle=":", color="#555555", label="no bias")
        axes.set(xlabel="place among the options", ylabel="probability", xticks=range(1, self.classes + 1))
        axes.legend(loc="best", fontsize="small")


@dataclasses.dataclass(frozen=True)
class _Asked:
    """One proxy's valid answers, one line an utterance (R,): its `row`, and up to M answers (R, M, C).

    order: (R, M), place of the order of each in the table of orders; -1 where it is not known.
    there: (R, M), whether there is such an answer.
    """

    row: NDArray[np.int64]
    answers: Array
    order: NDArray[np.int64]
    there: NDArray[np.bool_]

    @classmethod
    def read(cls, row: NDArray[np.int64], answers: Array, order: NDArray[np.int64]) -> _Asked:
        """Lay answers (A, C), in the order of their rows (A,), side by side."""
        rows, start, count = np.unique(row, return_index=True, return_counts=True)
        line = np.repeat(np.arange(len(rows)), count)
        number = np.arange(len(row)) - start[line]
        shape = (len(rows), int(count.max(initial=1)))
        side, shown, there = np.zeros((*shape, answers.shape[1])), np.full(shape, -1), np.zeros(shape, dtype=bool)
        side[line, number], shown[line, number], there[line, number] = answers, order, True
        return cls(rows, side, shown, there)

    def mean(self) -> Array:
        """Mean answer (R, C) over orders."""
        return self.answers.sum(1) / self.there.sum(1)[:, None]

    def ordered(self) -> _Asked:
        """The answers whose order is known, on utterances with two different orders or more."""
        known = self.order >= 0
        lowest = np.where(known, self.order, self.order.max(initial=0)).min(1)
        several = self.order.max(1) > lowest
        answers = np.where(known[several, :, None], self.answers[several], 0)
        return _Asked(self.row[several], answers, self.order[several], known[several])


def measure_drift(batch: Mapping[str, Any], groups: Sequence[str], *, level: float = LEVEL) -> Drift:
    """Return the drift of the `answers` of a batch, as `pool.panel.as_batch` reads them, clustered by `groups` (N,).

    Failed answers do not count. Raises `ColumnError` where there are no answers.
    """
    columns.require(batch, ANSWERS, VOTE_COUNTS)
    size = len(batch[VOTE_COUNTS][0]) if len(batch[VOTE_COUNTS]) else 0
    if not size:
        raise ColumnError("`batch` has no rows: there is no drift to measure")
    given = Answers.read(batch[ANSWERS], len(batch[VOTE_COUNTS]), size)
    if len(groups) != len(batch[VOTE_COUNTS]):
        raise DistributionError(f"`groups` must name the cluster of each of the {len(batch[VOTE_COUNTS])} rows")
    _, clusters = np.unique(np.asarray(groups), return_inverse=True)  # numbers are faster to group by than names
    table, order = _orders(given.order, size)
    names, proxy = np.unique(given.proxy, return_inverse=True)
    asked = {}
    for place, name in enumerate(names.tolist()):
        mine = np.flatnonzero(proxy == place)
        asked[name] = _Asked.read(given.row[mine], given.distribution[mine], order[mine])
    return Drift(
        classes=size,
        answers=len(given.row),
        no_order=int((order < 0).sum()),
        between_prompts=_between_prompts(
            {name: (one.row, one.mean()) for name, one in asked.items()}, clusters, level
        ),
        between_orders={name: _between_orders(one.ordered(), table, clusters, level) for name, one in asked.items()},
        variance=variance_shares(given.row, proxy, given.distribution),
    )


def _orders(lists: pa.ListArray, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different orders, as the class in each place (U, C), and which of them each answer has (A,), -1 if none."""
    full = pc.fill_null(pc.equal(pc.list_value_length(lists), size), False)
    values = lists.filter(full).flatten().to_numpy(zero_copy_only=False).astype(np.int64).reshape(-1, size)
    keys = values @ (1_000_003 ** np.arange(size, dtype=np.uint64)).astype(np.int64)  # one number for an order
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    table = values[first]
    valid = (np.sort(table, axis=1) == np.arange(size)).all(-1)
    order = np.full(len(lists), -1, dtype=np.int64)
    order[full.to_numpy(zero_copy_only=False)] = np.where(valid, np.cumsum(valid) - 1, -1)[which]
    return table[valid], order


def _between_prompts(
    means: Mapping[str, tuple[NDArray[np.int64], Array]], clusters: NDArray[np.int64], level: float
) -> dict[str, Moves]:
    known = {name: (row, mean, entropy(mean), plurality(mean)) for name, (row, mean) in means.items()}
    found = {}
    for (one, (row, *mine)), (other, (its_row, *its)) in combinations(known.items(), 2):
        both, here, there = np.intersect1d(row, its_row, assume_unique=True, return_indices=True)
        parts = _distances([part[here] for part in mine], [part[there] for part in its])
        found[f"{one} - {other}"] = _moves(parts, clusters[both], level)
    return found


def _between_orders(asked: _Asked, table: NDArray[np.int64], clusters: NDArray[np.int64], level: float) -> OrderDrift:
    mine = clusters[asked.row]
    if not len(mine):
        return OrderDrift(0, Moves(0, reason="no utterance was asked in two known orders"))
    if (mine == mine[0]).all():
        return OrderDrift(0, Moves(len(mine), reason="all its utterances are of one group"))
    favourite = np.where(asked.there, plurality(asked.answers), UNDECIDED)
    bits = entropy(asked.answers)
    parts = np.zeros((len(mine), 5))
    for a, b in combinations(range(asked.there.shape[1]), 2):
        pair = asked.there[:, a] & asked.there[:, b] & (asked.order[:, a] != asked.order[:, b])
        one, other = ([asked.answers[pair, n], bits[pair, n], favourite[pair, n]] for n in (a, b))
        parts[pair] += _distances(one, other)
    parts /= np.maximum(parts[:, [0, 0, 0, 3, 3]], 1)
    decided = favourite != UNDECIDED
    lowest = np.where(decided, favourite, asked.answers.shape[2]).min(1)
    flipped = np.column_stack([decided.sum(1) >= 2, favourite.max(1) > lowest]).astype(float)
    known = Clusters.read(mine.tolist(), len(mine))
    places, all_compared = _places_of(asked, table, known, level)
    return OrderDrift(
        orders=int((np.bincount(asked.order[asked.there]) > 0).sum()),
        moves=_moves(parts, mine, level),
        flipped=_ratio(known.with_and_without(flipped), known, level),
        places=places,
        all_compared=all_compared,
    )


def _distances(one: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> Array:
    """Pairs, total variation, JS in bits, pairs that have both a favourite, flips: (n, 5)."""
    (p, p_bits, p_top), (q, q_bits, q_top) = one, other
    js = np.maximum(entropy((p + q) / 2) - (p_bits + q_bits) / 2, 0)
    decided = (p_top != UNDECIDED) & (q_top != UNDECIDED)
    return np.column_stack([np.ones(len(p)), np.abs(p - q).sum(-1) / 2, js, decided, decided & (p_top != q_top)])


def _moves(parts: Array, clusters: NDArray[np.int64], level: float) -> Moves:
    """Means of the distances (n, 5) with intervals."""
    if not len(parts):
        return Moves(0, reason="no utterance has both answers")
    if (clusters == clusters[0]).all():
        return Moves(len(parts), reason="all its utterances are of one group")
    known = Clusters.read(clusters.tolist(), len(parts))
    sums = known.with_and_without(parts)
    variation, js = (_ratio(sums[:, [0, place]], known, level) for place in (1, 2))
    return Moves(len(parts), variation, js, _ratio(sums[:, 3:], known, level))


def _places_of(
    asked: _Asked, table: NDArray[np.int64], clusters: Clusters, level: float
) -> tuple[tuple[Interval, ...], bool]:
    """Probability by place, and whether all places could be compared: least squares from sums over utterances."""
    size = table.shape[1]
    shown = (table[..., None] == np.arange(size)).transpose(0, 2, 1).astype(float)  # (U, C, places)
    count = asked.there.sum(1)[:, None, None]
    away = asked.answers - asked.mean()[:, None]
    stood, excess = np.zeros((len(asked.row), size, size)), np.zeros((len(asked.row), size))
    for number in range(asked.there.shape[1]):
        some = np.flatnonzero(asked.there[:, number])
        order = asked.order[some, number]
        stood[some] += shown[order]
        excess[some] += np.take_along_axis(away[some, number], table[order], axis=1)
    moved = clusters.with_and_without(count * np.eye(size) - stood.transpose(0, 2, 1) @ stood / count)
    excess = clusters.with_and_without(excess)
    shares = 1 / size + (np.linalg.pinv(moved, rcond=RANK, hermitian=True) @ excess[..., None])[..., 0]
    strength = np.linalg.eigvalsh(moved[0])
    all_compared = int((strength > RANK * strength[-1]).sum()) == size - 1
    return tuple(jackknife(share, clusters, level) for share in shares.T), all_compared


def _ratio(sums: Array, clusters: Clusters, level: float) -> Interval:
    """Interval of the second sum over the first, (1 + G, 2); NaN where the first is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return jackknife(sums[:, 1] / sums[:, 0], clusters, level)


def _lines(found: Mapping[str, Moves], width: int) -> list[str]:
    """A line for each, those that move most first; the rest are counted."""
    known = {name: one.total_variation.estimate for name, one in found.items() if one.total_variation}
    names = sorted(found, key=lambda name: -known.get(name, -1))
    more = [f"and {len(names) - SHOWN:,} more"] if len(names) > SHOWN else []
    return [f"{name:<{width}}{found[name]}" for name in names[:SHOWN]] + more


def _places(found: OrderDrift) -> str:
    if not found.places:
        return f"  {found.moves.reason}"
    shares = "  ".join(f"{one.estimate:.3f} [{one.low:.3f}, {one.high:.3f}]" for one in found.places)
    return f"  {shares}{'' if found.all_compared else '  (not all places could be compared)'}; flipped {found.flipped}"


def _cell(found: Interval | None) -> str:
    return "-" if found is None else f"{found.estimate:.3f} [{found.low:.3f}, {found.high:.3f}]"
