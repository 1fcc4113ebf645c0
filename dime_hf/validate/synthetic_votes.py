"""The synthetic votes of a panel one by one, in an order of chance that is keyed by the utterance."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
from numpy.typing import NDArray

from dime_hf.distribution import Array
from dime_hf.errors import DistributionError
from dime_hf.pool.panel import Panel

ROUNDING = 1e-3  # counts of drawn votes travel as shares in float32


@dataclasses.dataclass(frozen=True)
class Chances:
    """Numbers in [0, 1) by (seed, id), the same whatever the other ids."""

    ids: tuple[str, ...]
    rows: int
    seed: int

    def __post_init__(self) -> None:
        different = len(set(self.ids))
        if len(self.ids) != self.rows or different != self.rows:
            raise DistributionError(
                f"`ids` must be {self.rows} different ids; they are {len(self.ids)}, {different} different"
            )

    def __call__(self, purpose: str, count: int) -> Array:
        """`count` numbers for each id (N, count)."""
        digest = lambda id: hashlib.shake_128(f"{self.seed}/{purpose}/{id}".encode()).digest(8 * count)  # noqa: E731
        numbers = np.frombuffer(b"".join(map(digest, self.ids)), dtype="<u8").reshape(self.rows, count)
        return (numbers >> np.uint64(11)) / 2.0**53


def synthetic_votes(panel: Panel, uniform: Chances, draws: int | None) -> tuple[NDArray[np.int64], str]:
    """Classes (N, M) of the votes of each utterance in their order, -1 after the last; and how they were had."""
    asked = panel.votes > 0
    if draws is not None:
        return _draw_from_mean(panel, uniform, draws), f"{draws} drawn from the mean of the option probabilities"
    counts = _whole(panel.answers * panel.votes[..., None], panel.drawn, panel).sum(1)
    if (asked & ~panel.drawn).any():
        counts += _one_for_each_answer(panel, uniform)
    made = "as they were drawn" if (panel.drawn | ~asked).all() else "one drawn from each answer of probabilities"
    return _in_order(counts.astype(np.int64), uniform), made


def _draw_from_mean(panel: Panel, uniform: Chances, draws: int) -> NDArray[np.int64]:
    if draws < 1:
        raise DistributionError(f"`draws` must be at least 1, not {draws}")
    if drawn := [panel.proxies[proxy] for proxy in np.flatnonzero(panel.drawn.any(axis=0))]:
        raise DistributionError(
            f"`draws` are drawn from option probabilities, but {drawn[0]!r} cast votes: leave `draws` out to take them"
        )
    answered = panel.synthetic_votes > 0
    votes = np.stack([_choose(panel.synthetic, chance) for chance in uniform("draws", draws).T], axis=1)
    return np.where(answered[:, None], votes, -1)


def _one_for_each_answer(panel: Panel, uniform: Chances) -> Array:
    """Counts (N, C): of each proxy, as many votes drawn from its probabilities as it was asked for them."""
    asked = np.where(panel.drawn, 0, panel.votes)
    times = _whole(asked, ~panel.drawn, panel).astype(np.int64)
    row, proxy = np.divmod(np.repeat(np.arange(times.size), times.ravel()), times.shape[1])
    place = _places(times.sum(-1))
    chosen = _choose(panel.answers[row, proxy], uniform("answers", int(times.sum(-1).max()))[row, place])
    size = panel.human.shape[1]
    return np.bincount(row * size + chosen, minlength=len(times) * size).reshape(-1, size).astype(np.float64)


def _in_order(counts: NDArray[np.int64], uniform: Chances) -> NDArray[np.int64]:
    """Votes (N, M) of counts (N, C), each row in an order of chance."""
    totals = counts.sum(-1)
    row, chosen = np.divmod(np.repeat(np.arange(counts.size), counts.ravel()), counts.shape[1])
    votes = np.full((len(counts), int(totals.max(initial=0))), -1)
    votes[row, _places(totals)] = chosen
    order = np.where(votes < 0, 1, uniform("order", votes.shape[1])).argsort(axis=1)
    return np.take_along_axis(votes, order, axis=1)


def _choose(distributions: Array, chance: Array) -> NDArray[np.int64]:
    """The class of each distribution (V, C) that a chance (V,) in [0, 1) falls on; never one without probability."""
    cumulated = distributions.cumsum(-1)
    return (cumulated[:, :-1] <= (chance * cumulated[:, -1])[:, None]).sum(-1)


def _places(totals: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, ... within each row of so many."""
    return np.arange(int(totals.sum())) - np.repeat(totals.cumsum() - totals, totals)


def _whole(votes: Array, wanted: NDArray[np.bool_], panel: Panel) -> Array:
    """Whole numbers of votes (N, J, ...) of the proxies that are wanted (N, J), 0 of others."""
    votes = np.where(wanted.reshape(wanted.shape + (1,) * (votes.ndim - 2)), votes, 0)
    whole = np.rint(votes)
    if (wrong := np.abs(votes - whole) > ROUNDING).any():
        name = panel.proxies[int(np.argwhere(wrong)[0, 1])]
        raise DistributionError(
            f"`panel` has parts of votes of {name!r}, but K counts whole ones: let `votes` of its answers be as many "
            "as were drawn"
        )
    return whole
