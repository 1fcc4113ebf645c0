"""Worth in human votes: how many real votes, beside the prior, tell as much of the next vote as a proxy does.

k* is where the human curve LL(k), the mean log-likelihood (nats) of a held-out vote given k other votes and the prior,
reaches that of the proxy and the prior. k* = 0.5 is what a vote on every second utterance tells. It is not kappa, what
a proxy weighs beside votes in pooling: a proxy may weigh a vote, and differ so little from the prior that it tells
less than one.

Each vote is held out in turn. The cell (i, c) stands for the n_ic votes for class c on utterance i, weight n_ic / n_i:
k of the n_i - 1 others are drawn without replacement, so that those for c are hypergeometric, and
E log((h + s0 pi_c) / (k + s0)) is a finite sum. Prior and proxy are fitted on other speakers' votes, and the proxy is
read without any human vote. One s0 serves all k: on CREMA-D's votes the best for each gains .0013 nats at most.

Levels of ambiguity are made from votes that neither judge nor are on the human curve. Made from those on the curve,
they would bend it: a proxy worth 1 vote everywhere then seems to be worth .75 where votes agree, and 1.7 where not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dime_hf.distribution import TIE, Array, dirichlet_entropy
from dime_hf.errors import DistributionError
from dime_hf.evidence import one_more_human
from dime_hf.evidence.intervals import LEVEL, Clusters, Interval, jackknife
from dime_hf.pool import CalibratedPooler, FittedPooler, PriorPooler
from dime_hf.pool.panel import Panel
from dime_hf.score import LEVELS
from dime_hf.validate.cells import Cells, Judges
from dime_hf.validate.crossfit import FOLDS, Folds, ids_of, only, reserve, whole_votes

CALIBRATED = "calibrated"
PANEL = "panel"


@dataclasses.dataclass(frozen=True)
class Worth:
    """k* of a system, in votes, and its `gain` in log-likelihood over the prior, in nats a vote.

    k* and the ends of its interval are kept between 0 and the end of the human curve: `at_least` where the system is
    better than all of it, `worse_than_prior` where k* would be negative. NaN where votes tell no more than the prior,
    and ends NaN for one speaker.
    """

    votes: Interval
    gain: Interval
    at_least: bool
    worse_than_prior: bool

    def __str__(self) -> str:
        k = self.votes
        if np.isnan(k.estimate):
            return "none: here not even human votes tell more than the prior"
        says = f"{'>= ' if self.at_least else ''}{k.estimate:.2f} [{k.low:.2f}, {k.high:.2f}]"
        return says + ("  worse than the prior" if self.worse_than_prior else "")


@dataclasses.dataclass(frozen=True)
class WorthInVotes:
    """Worth of every system: each proxy alone, and "panel" and "calibrated" of them together.

    curve: LL(k) of k = 0 ... K human votes, nats a vote.
    by_class: one class against the rest; by_level: of ambiguity; by name, then by system.
    level_votes: how many votes of an utterance tell its level, and leave so much less of the curve. With 0, as where
    K is 1, there are no levels.
    utterances: those with more than K votes, which all of this is about; `left_out`: the others.
    """

    curve: tuple[float, ...]
    overall: dict[str, Worth]
    by_class: dict[str, dict[str, Worth]]
    by_level: dict[str, dict[str, Worth]]
    level_votes: int
    utterances: int
    left_out: int

    def __str__(self) -> str:
        one = next(iter(self.overall.values())).votes
        lines = [
            f"Worth in human votes, up to {len(self.curve) - 1} (k*, {100 * one.level:.4g} % interval over "
            f"{one.n_groups:,} groups), on {self.utterances:,} utterances; {self.left_out:,} have too few votes",
            "  log-likelihood of a vote given k others: "
            + ", ".join(f"{value:.4f} (k = {k})" for k, value in enumerate(self.curve)),
        ]
        for name, part in (("all", self.overall), *self.by_class.items(), *self.by_level.items()):
            lines += [f"  {name:<12}{system:<28}{worth}" for system, worth in part.items()]
        end = len(self.curve) - 1 - self.level_votes
        lines.append(
            f"  levels of ambiguity by {self.level_votes} other votes; there the curve has up to {end}"
            if self.level_votes
            else "  no levels of ambiguity: no vote is left to tell them"
        )
        return "\n".join(lines)

    def plot(self, axes: Any) -> None:
        """Draw the human curve, and every system as a level line that ends in a point where it meets the curve."""
        axes.plot(range(len(self.curve)), self.curve, "o-", color="#000000", label="human votes and prior")
        looks = (("#0072b2", "--"), ("#d55e00", "-."), ("#009e73", ":"), ("#cc79a7", "--"), ("#56b4e9", "-."))
        for index, (name, worth) in enumerate(self.overall.items()):
            color, style = looks[index % len(looks)]
            value = self.curve[0] + worth.gain.estimate
            axes.plot([0, worth.votes.estimate], [value, value], linestyle=style, color=color, label=name)
            axes.plot([worth.votes.estimate], [value], "s", color=color)
        axes.set(xlabel="human votes on the utterance", ylabel="log-likelihood of the next vote (nats)")
        axes.legend(loc="lower right", fontsize="small")


def worth_in_votes(
    panel: Panel,
    ids: Sequence[str],
    groups: Sequence[str] | NDArray[Any],
    classes: Sequence[str],
    *,
    most: int | None = None,
    calibrated: bool = False,
    folds: int = FOLDS,
    seed: int = 0,
    level: float = LEVEL,
) -> WorthInVotes:
    """Say how many human votes each proxy of a panel is worth, overall, by class and by level of ambiguity.

    The curve has up to `most` votes (None: as many as half of the utterances can spare). Where a proxy did not answer,
    it is the prior. Intervals are jackknifed over `groups` (N,) at the fits as they are. Levels are tertiles of the
    mean entropy given the prior and half of the votes that the curve could have, drawn by (seed, id). Raises
    `DistributionError` for fractional votes.
    """
    counts = whole_votes(panel, "one vote at a time is held out")
    reserve(panel, (PANEL, CALIBRATED))
    if not panel.proxies:
        raise DistributionError("`panel` has no proxies: there is nothing whose worth could be told")
    if len(classes) != counts.shape[1]:
        raise DistributionError(f"`classes` has {len(classes)} names, the votes are over {counts.shape[1]} classes")
    enough = counts.sum(-1) >= 2
    end = _end(counts.sum(-1)[enough], most)
    dealt = Folds.read(panel.select(enough), np.asarray(groups)[enough], folds)
    systems = _systems(dealt, calibrated)
    judged = dealt.panel.human.sum(-1) > end
    rows = Judges(
        dealt.panel.human[judged],
        np.unique(dealt.groups[judged], return_inverse=True)[1],
        np.array([pooler.strength * np.array(pooler.prior) for pooler in dealt.fit(PriorPooler())]),
        dealt.member[judged],
        {name: q[judged] for name, q in systems.items()},
    )
    judging = ids_of(ids, np.flatnonzero(enough)[judged], len(counts))
    cells = Cells.of(rows, end)
    return WorthInVotes(
        tuple((cells.weight @ cells.values[:, : end + 1] / cells.weight.sum()).tolist()),
        _worths(rows, cells, level),
        {name: _of_class(rows, place, end, level) for place, name in enumerate(classes)},
        _by_level(rows, judging, end, seed, level),
        end // 2,
        int(judged.sum()),
        int(len(counts) - judged.sum()),
    )


def votes_worth(curve: Array, value: Array) -> Array:
    """Where values (...) lie on curves (..., K + 1) of 0 ... K votes, linear between whole votes.

    Where a curve falls, it is taken as level. Values beyond its ends go on at the slope of the nearest step (for
    standard errors alone); NaN where it does not rise at all.
    """
    rising = np.maximum.accumulate(curve, axis=-1)
    end = rising.shape[-1] - 1
    mean = (rising[..., -1] - rising[..., 0]) / end
    right = np.clip((rising < value[..., None]).sum(-1), 1, end)[..., None]
    low, high = (np.take_along_axis(rising, place, axis=-1)[..., 0] for place in (right - 1, right))
    slope = np.where(high > low, high - low, mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(mean > TIE, right[..., 0] - 1 + (value - low) / slope, np.nan)


def _end(votes: Array, most: int | None) -> int:
    """The K of the human curve: the most votes that half of the utterances (N,) have beside the one held out."""
    if most is not None and most < 1:
        raise DistributionError(f"`most` must be at least 1 vote, not {most}")
    if not len(votes):
        raise DistributionError("`panel` has no utterance with two votes: none can be held out beside another")
    spared = np.sort(votes)[::-1]
    found = int(spared[(len(votes) - 1) // 2]) - 1
    end = found if most is None else most
    if end >= votes.max():
        raise DistributionError(f"`most` is {end}, but no utterance has more than {votes.max():g} votes")
    return end


def _systems(dealt: Folds, calibrated: bool) -> dict[str, Array]:
    """Soft labels (N, C) by system, from answers alone: each proxy, and those that have all of them."""
    panel = dealt.panel
    alone = [dataclasses.replace(dealt, panel=only(panel, place)) for place in range(len(panel.proxies))]
    found = {name: part.expect(part.fit(FittedPooler())) for name, part in zip(panel.proxies, alone, strict=True)}
    if len(alone) > 1:
        found[PANEL] = dealt.expect(dealt.fit(FittedPooler()))
    if calibrated:
        found[CALIBRATED] = dealt.expect(dealt.fit(CalibratedPooler()))
    return found


def _of_class(rows: Judges, place: int, end: int, level: float) -> dict[str, Worth]:
    two = rows.against_rest(place)
    return _worths(two, Cells.of(two, end), level)


def _by_level(rows: Judges, ids: Sequence[str], end: int, seed: int, level: float) -> dict[str, dict[str, Worth]]:
    """Worths by level of ambiguity: some votes of each utterance tell the level, the others judge."""
    left = rows.counts
    for draw in range(end // 2):
        left = left - one_more_human(left, ids, seed + draw)
    bits = dirichlet_entropy(rows.counts - left + rows.alphas.mean(0))
    cuts = np.quantile(bits, [1 / 3, 2 / 3])
    levels = np.array(LEVELS)[np.searchsorted(cuts + TIE, bits)]
    others = dataclasses.replace(rows, counts=left)
    parts = {name: others.select(levels == name) for name in LEVELS if end > 1 and (levels == name).any()}
    return {name: _worths(part, Cells.of(part, end - end // 2), level) for name, part in parts.items()}


def _worths(rows: Judges, cells: Cells, level: float) -> dict[str, Worth]:
    """Worth of every system on the cells of some utterances."""
    _, group, sizes = np.unique(rows.group, return_inverse=True, return_counts=True)
    clusters, index = Clusters(group, sizes), group[cells.row]
    parts = [*(cells.weight[:, None] * cells.values).T, cells.weight]
    by_group = np.stack([np.bincount(index, part, len(sizes)) for part in parts], axis=1)
    totals = np.concatenate([by_group.sum(0)[None], by_group.sum(0) - by_group])
    with np.errstate(invalid="ignore"):  # one group: nothing without it
        means = totals[:, :-1] / totals[:, -1:]
    curve, systems = np.split(means, [means.shape[1] - len(rows.systems)], axis=1)
    return {name: _worth(curve, value, clusters, level) for name, value in zip(rows.systems, systems.T, strict=True)}


def _worth(curve: Array, value: Array, clusters: Clusters, level: float) -> Worth:
    """Worth of a system whose log-likelihood is value (1 + G,), beside curves (1 + G, K + 1)."""
    end = curve.shape[1] - 1
    found = _interval(votes_worth(curve, value), clusters, level)
    low, estimate, high = np.clip([found.low, found.estimate, found.high], 0, end).tolist()
    kept = dataclasses.replace(found, low=low, estimate=estimate, high=high)
    gain = _interval(value - curve[:, 0], clusters, level)
    return Worth(kept, gain, found.estimate > end, found.estimate < -TIE)


def _interval(estimates: Array, clusters: Clusters, level: float) -> Interval:
    """The jackknife's; its ends are NaN for a single cluster."""
    if len(clusters.sizes) > 1:
        return jackknife(estimates, clusters, level)
    nothing, n = float("nan"), int(clusters.sizes.sum())
    return Interval(float(estimates[0]), nothing, nothing, level, nothing, nothing, n, 1)
