"""Agreement of votes: between humans, between humans and proxies, between proxies.

A vote is a row v of counts: one class, or a distribution where a proxy answers with probabilities, whose draws agree
with those of another vote w with probability v . w. A vote is never paired with itself. Of an utterance i with k_i
votes, P_i is the share of pairs of different votes that agree.

| coefficient | observed | expected by chance |
|---|---|---|
| Fleiss' kappa | mean P_i | sum_c p_c^2, p the mean over utterances of the share of votes |
| Krippendorff's alpha, nominal | mean P_i, weighed by k_i | P of the pairs of votes of all utterances together |
| Cohen's kappa | mean P_i | sum_c p_c q_c, p and q the mean shares of the two sides |

Each is (observed - expected) / (1 - expected). The first is Fleiss' where all utterances have as many votes, and with
varying numbers Gwet's extension of it (Handbook of Inter-Rater Reliability, 2014), on the utterances with two votes or
more. Between two sides, one vote of each is drawn for every utterance: P_i is h_i . s_i, of their shares of votes, and
the coefficients are those of two annotators, in expectation over the draws.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dime_hf.corpora.cast import Ballots
from dime_hf.distribution import Array, as_counts
from dime_hf.errors import DistributionError
from dime_hf.evidence.intervals import LEVEL, Clusters, Interval, jackknife
from dime_hf.pool.panel import Panel

ROUNDING = 1e-6  # votes are stored as float32
COEFFICIENTS = {
    "percent": "agree %",
    "fleiss_kappa": "Fleiss' kappa",
    "krippendorff_alpha": "Krippendorff's alpha",
    "cohen_kappa": "Cohen's kappa",
}
SPLIT = "some votes are split between classes, and counts do not tell which: give `ballots`"


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far votes agree on `utterances`: 1 is perfect, 0 what chance gives; `percent` is of pairs of votes.

    `cohen_kappa` is for two sides only. Without numbers, `reason` says why; NaN where all votes are for one class.
    """

    utterances: int
    percent: Interval | None = None
    fleiss_kappa: Interval | None = None
    krippendorff_alpha: Interval | None = None
    cohen_kappa: Interval | None = None
    reason: str | None = None

    def __str__(self) -> str:
        if self.reason:
            return f"{self.utterances:>10,}  no agreement: {self.reason}"
        cells = [_cell(getattr(self, name), 1 if name == "percent" else 3) for name in COEFFICIENTS]
        return f"{self.utterances:>10,}" + "".join(f"{cell:>24}" for cell in cells)


@dataclasses.dataclass(frozen=True)
class Agreements:
    """Agreement within the human votes, between humans and proxies, within the synthetic votes, and by proxy.

    `by_proxy` is of all humans with each proxy.
    """

    human: Agreement
    across: Agreement
    synthetic: Agreement
    by_proxy: dict[str, Agreement]

    def __str__(self) -> str:
        rows = {
            "human - human": self.human,
            "human - synthetic": self.across,
            "synthetic - synthetic": self.synthetic,
            **{f"human - {name}": found for name, found in self.by_proxy.items()},
        }
        width = max(map(len, rows)) + 2
        head = f"{'':<{width}}{'utterances':>10}" + "".join(f"{title:>24}" for title in COEFFICIENTS.values())
        return "\n".join(["Agreement of votes", head, *(f"{name:<{width}}{row}" for name, row in rows.items())])


@dataclasses.dataclass(frozen=True)
class Votes:
    """The votes of N utterances, and what to take off so that no vote is paired with itself.

    counts: (N, C), their sum.
    own_agreement: (N,), sum over votes v of v . v.
    own_pairs: (N,), sum over votes of the square of their size.
    """

    counts: Array
    own_agreement: Array
    own_pairs: Array

    @classmethod
    def whole(cls, counts: ArrayLike) -> Votes:
        """Vote counts (N, C), each vote for one class."""
        n = as_counts(counts)
        return cls(n, n.sum(-1), n.sum(-1))

    @classmethod
    def cast(cls, ballots: Ballots) -> Votes:
        """Votes one by one: an annotator's vote may be split between classes, or be for several."""
        agreement, pairs = (ballots.votes**2).sum(-1), ballots.votes.sum(-1) ** 2
        by_row = [np.bincount(ballots.row, part, ballots.rows).astype(float) for part in (agreement, pairs)]
        return cls(ballots.counts(), *by_row)

    @classmethod
    def synthetic(cls, panel: Panel) -> Votes:
        """Drawn votes as they fell; a proxy that answers with probabilities has one vote, in however many orders."""
        size = np.where(panel.drawn, panel.votes, panel.votes > 0)
        own = np.where(panel.drawn, size, (panel.answers**2).sum(-1))
        return cls(
            np.einsum("njc,nj->nc", panel.answers, size), own.sum(-1), np.where(panel.drawn, size, size**2).sum(-1)
        )

    @property
    def shares(self) -> Array:
        """Shares of the votes (N, C), zeros where there is none."""
        totals = self.counts.sum(-1, keepdims=True)
        return self.counts / np.where(totals > 0, totals, 1)


def measure_agreement(
    panel: Panel, groups: Sequence[str], *, ballots: Ballots | None = None, level: float = LEVEL
) -> Agreements:
    """Return the agreement of the votes of a panel, with intervals clustered by `groups` (N,).

    `ballots` has the human votes one by one, which is needed where an annotator's vote is split between classes.
    """
    _, clusters = np.unique(np.asarray(groups), return_inverse=True)  # numbers are faster to group by than names
    human, synthetic = Votes.whole(panel.human), Votes.synthetic(panel)
    split = ballots is None and bool((np.abs(panel.human - np.rint(panel.human)) > ROUNDING).any())
    within_human = Agreement(0, reason=SPLIT)
    if not split:
        within_human = agreement_within(human if ballots is None else Votes.cast(ballots), clusters, level=level)
    return Agreements(
        human=within_human,
        across=agreement_across(human.shares, synthetic.shares, clusters, level=level),
        synthetic=agreement_within(synthetic, clusters, level=level),
        by_proxy={
            name: agreement_across(human.shares, panel.answers[:, place], clusters, level=level)
            for place, name in enumerate(panel.proxies)
        },
    )


def agreement_within(votes: Votes, groups: ArrayLike, *, level: float = LEVEL) -> Agreement:
    """Return the agreement of votes with each other, on the utterances that have two or more."""
    totals = votes.counts.sum(-1)
    pairs = totals**2 - votes.own_pairs
    agreeing = (votes.counts**2).sum(-1) - votes.own_agreement
    share = agreeing / np.where(pairs > ROUNDING, pairs, 1)
    parts = [np.ones_like(share), share, totals, totals * share, votes.own_agreement, votes.own_pairs]
    together = np.column_stack([*parts, votes.shares, votes.counts])
    return _measured(together, pairs > ROUNDING, groups, level, _coefficients_within, "no utterance has two votes")


def agreement_across(one: ArrayLike, other: ArrayLike, groups: ArrayLike, *, level: float = LEVEL) -> Agreement:
    """Return the agreement of a vote of one side with one of the other, from their shares (N, C).

    Rows of zeros have no vote.
    """
    h, s = as_counts(one, "one"), as_counts(other, "other")
    if h.shape != s.shape:
        raise DistributionError(f"`one` {h.shape} and `other` {s.shape} must be of the same utterances and classes")
    parts = np.column_stack([np.ones(len(h)), (h * s).sum(-1), (h**2 + s**2).sum(-1), h, s])
    both = (h.sum(-1) > 0) & (s.sum(-1) > 0)
    return _measured(parts, both, groups, level, _coefficients_across, "no utterance has votes of both sides")


def _measured(
    parts: Array,
    rows: NDArray[np.bool_],
    groups: ArrayLike,
    level: float,
    coefficients: Callable[[Array], Mapping[str, Array]],
    nothing: str,
) -> Agreement:
    """The coefficients of the sums of parts (N, ...) over some rows, with intervals."""
    names, n = np.asarray(groups), int(rows.sum())
    if names.shape != rows.shape:
        raise DistributionError(f"`groups` must name the cluster of each of the {len(rows)} rows, not {names.shape}")
    if not n:
        return Agreement(0, reason=nothing)
    if (names[rows] == names[rows][0]).all():
        return Agreement(n, reason="all its utterances are of one group, which says nothing about others")
    clusters = Clusters.read(names[rows].tolist(), n)
    with np.errstate(divide="ignore", invalid="ignore"):  # all votes for one class
        found = coefficients(clusters.with_and_without(parts[rows]))
    known = {name: jackknife(values, clusters, level) for name, values in found.items()}
    percent, fleiss, krippendorff, cohen = (known.get(name) for name in COEFFICIENTS)
    return Agreement(n, percent, fleiss, krippendorff, cohen)


def _coefficients_within(sums: Array) -> dict[str, Array]:
    rows, share, totals, weighed, own_agreement, own_pairs = sums[:, :6].T
    shares, counts = np.split(sums[:, 6:], 2, axis=1)
    any_two = ((counts**2).sum(-1) - own_agreement) / (totals**2 - own_pairs)
    return {
        "percent": 100 * share / rows,
        "fleiss_kappa": _beyond_chance(share / rows, ((shares / rows[:, None]) ** 2).sum(-1)),
        "krippendorff_alpha": _beyond_chance(weighed / totals, any_two),
    }


def _coefficients_across(sums: Array) -> dict[str, Array]:
    rows, share, own = sums[:, :3].T
    one, other = np.split(sums[:, 3:], 2, axis=1)
    squares = ((one + other) ** 2).sum(-1)
    return {
        "percent": 100 * share / rows,
        "fleiss_kappa": _beyond_chance(share / rows, squares / (2 * rows) ** 2),
        "krippendorff_alpha": _beyond_chance(share / rows, (squares - own) / (2 * rows * (2 * rows - 1))),
        "cohen_kappa": _beyond_chance(share / rows, (one * other).sum(-1) / rows**2),
    }


def _beyond_chance(observed: Array, expected: Array) -> Array:
    """(observed - expected) / (1 - expected), NaN where chance alone agrees always."""
    room = 1 - expected
    return np.where(room > ROUNDING, (observed - expected) / np.where(room > ROUNDING, room, 1), np.nan)


def _cell(found: Interval | None, digits: int) -> str:
    if found is None:
        return "-"
    return f"{found.estimate:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"
