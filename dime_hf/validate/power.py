"""Power: how many reference votes, utterances and speakers a verdict needs, from a pilot.

From a pilot, a paired difference in squared score varies by

    between / speakers + (within + per_vote / votes) / utterances

(`Spread`), and the noncentral t distribution turns that into the chance of a verdict. It holds for utterances spread
evenly over speakers, and for labels that stay as they are; what more votes in the labels change, the simulation in
`study` tells.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Self

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from dime_hf.distribution import Array, normalize
from dime_hf.errors import DistributionError
from dime_hf.evidence.comparisons import ALPHA, minimum_detectable_difference
from dime_hf.evidence.intervals import Clusters
from dime_hf.score.metrics import Pairs, squared_score

POWER = 0.8
MOST = 10_000_000  # where that many do not suffice, no number is said to


@dataclasses.dataclass(frozen=True)
class Spread:
    """What makes a difference in squared score vary, as variances.

    between: of the speakers' means. within: of the utterances of a speaker, but for the reference's votes.
    per_vote: of one reference vote, of which k an utterance leave a k-th; None where no utterance of the pilot has two
    whole ones, and then `within` holds their part too. `votes` is the pilot's harmonic mean of them.
    """

    difference: float
    between: float
    within: float
    per_vote: float | None
    votes: float
    n: int
    n_groups: int

    @classmethod
    def read(cls, predictions: ArrayLike, control: ArrayLike, references: ArrayLike, groups: Sequence[str]) -> Self:
        """Read a pilot: predictions and control (N, C), held-out vote counts (N, C), and speakers `groups` (N,).

        By the analysis of variance for speakers of different sizes; a part that comes out below 0 is 0.
        """
        ours, theirs = Pairs.read(predictions, references), Pairs.read(control, references, "control")
        differences = squared_score(ours.q, ours.shares) - squared_score(theirs.q, theirs.shares)
        clusters = Clusters.read(groups, len(differences))
        between, inside = _components(differences, clusters)
        counts = np.asarray(references, dtype=np.float64)
        votes = float(1 / (1 / counts.sum(-1)).mean())
        per_vote = _vote_variance(ours.q - theirs.q, counts)
        within = inside if per_vote is None else max(inside - per_vote / votes, 0.0)
        size, n_groups = len(differences), len(clusters.sizes)
        return cls(float(differences.mean()), between, within, per_vote, votes, size, n_groups)

    def standard_error(self, *, speakers: int, utterances: int, votes: float | None = None) -> float:
        """Standard error of the difference with so many `speakers`, `utterances` in all, and reference `votes` each.

        Without `votes`, those of the pilot. Raises `DistributionError`.
        """
        if speakers < 2 or utterances < speakers:
            raise DistributionError(
                f"`speakers` must be at least 2 and `utterances` as many, not {speakers} and {utterances}"
            )
        return float(np.sqrt(self.between / speakers + self._of_utterance(votes) / utterances))

    def power(self, gain: float, *, speakers: int, utterances: int, votes: float | None = None) -> float:
        """Chance of the verdict "helps" where the squared score is truly lower by `gain`."""
        _check_gain(gain)
        error = self.standard_error(speakers=speakers, utterances=utterances, votes=votes)
        critical = scipy.stats.t.ppf(1 - ALPHA, speakers - 1)
        return 1.0 if error == 0 else float(scipy.stats.nct.sf(critical, speakers - 1, gain / error))

    def required_speakers(
        self, gain: float, *, each: int, votes: float | None = None, power: float = POWER
    ) -> int | None:
        """How many speakers of `each` utterances find `gain` with this `power`; None where no number does."""
        return _least(
            lambda size: self.power(gain, speakers=size, utterances=size * each, votes=votes), power, 2, MOST // each
        )

    def required_utterances(
        self, gain: float, *, speakers: int, votes: float | None = None, power: float = POWER
    ) -> int | None:
        """How many utterances in all, of so many speakers; None where no number makes up for few speakers."""
        return _least(
            lambda size: self.power(gain, speakers=speakers, utterances=size, votes=votes), power, speakers, MOST
        )

    def required_votes(self, gain: float, *, speakers: int, utterances: int, power: float = POWER) -> int | None:
        """How many reference votes an utterance; None where no number does."""
        return _least(
            lambda size: self.power(gain, speakers=speakers, utterances=utterances, votes=size), power, 1, MOST
        )

    def _of_utterance(self, votes: float | None) -> float:
        if self.per_vote is None:
            if votes is not None and votes != self.votes:
                raise DistributionError(
                    f"`votes` is {votes}, but no utterance of the pilot has two whole reference votes, which alone "
                    "tell what more of them are worth: leave `votes` out, or hold out two or more"
                )
            return self.within
        if votes is not None and votes <= 0:
            raise DistributionError(f"`votes` must be above 0, not {votes}")
        return self.within + self.per_vote / (self.votes if votes is None else votes)

    def __str__(self) -> str:
        total = self.between + self.within + (self.per_vote or 0) / self.votes
        votes = "unknown (no reference of two whole votes)" if self.per_vote is None else f"{self.per_vote:.3g}"
        return (
            f"Differences in squared score vary by {total:.3g} (n = {self.n:,} in {self.n_groups:,} groups, "
            f"{self.votes:.3g} reference votes)\n"
            f"  between speakers {self.between:.3g}, within {self.within:.3g}, one reference vote {votes}"
        )


def required_groups(
    differences: ArrayLike, groups: Sequence[str], difference: float, *, power: float = POWER, alpha: float = ALPHA
) -> int | None:
    """How many groups like those of a pilot find a mean difference: `minimum_detectable_difference`, turned round.

    For differences (N,) in any score. None where ten million do not.
    """
    _check_gain(difference, "difference")
    found = lambda size: minimum_detectable_difference(differences, groups, power=power, alpha=alpha, n_groups=size)  # noqa: E731
    return _least(lambda size: -found(size), -difference, 2, MOST)


@dataclasses.dataclass(frozen=True)
class PowerRow:
    """Power of one design; `low` and `high` are its 95 % binomial interval over `corpora` simulated ones."""

    utterances: int
    speakers: int
    votes: int
    power: float
    low: float | None = None
    high: float | None = None
    corpora: int | None = None


@dataclasses.dataclass(frozen=True)
class PowerTable:
    """Power over a grid of designs: utterances in all, speakers, reference votes an utterance."""

    headline: str
    rows: tuple[PowerRow, ...]

    def __str__(self) -> str:
        lines = [self.headline, f"{'utterances':>10}{'speakers':>10}{'votes':>7}{'power':>8}"]
        for row in self.rows:
            bounds = "" if row.low is None else f"  [{row.low:.3f}, {row.high:.3f}]"
            lines.append(f"{row.utterances:>10,}{row.speakers:>10,}{row.votes:>7}{row.power:>8.3f}{bounds}")
        return "\n".join(lines)


def power_table(
    spread: Spread, gain: float, *, utterances: Iterable[int], speakers: Iterable[int], votes: Iterable[int]
) -> PowerTable:
    """Power to find `gain` in every combination of the numbers, by a pilot's spread."""
    rows = [
        PowerRow(size, people, count, spread.power(gain, speakers=people, utterances=size, votes=count))
        for size, people, count in itertools.product(utterances, speakers, votes)
    ]
    return PowerTable(f'Power to say "helps" at a true gain of {gain:.4g} in squared score', tuple(rows))


def _components(differences: Array, clusters: Clusters) -> tuple[float, float]:
    """Variance between clusters, and within them, by the analysis of variance for clusters of different sizes."""
    sizes, size = clusters.sizes, len(differences)
    if size == len(sizes):
        raise DistributionError("`groups` has one row a group: what lies between and within them cannot be told")
    means = clusters.sums(differences) / sizes
    inside = float(((differences - means[clusters.index]) ** 2).sum() / (size - len(sizes)))
    outside = float((sizes * (means - differences.mean()) ** 2).sum() / (len(sizes) - 1))
    typical = (size - (sizes**2).sum() / size) / (len(sizes) - 1)
    return max((outside - inside) / typical, 0.0), inside


def _vote_variance(shift: Array, counts: Array) -> float | None:
    """Variance of -2 shift.vote over the votes of an utterance, its mean over those with two whole votes or more."""
    votes = counts.sum(-1)
    some = (votes >= 2) & (counts % 1 == 0).all(-1)
    if not some.any():
        return None
    shares, k = normalize(counts[some]), votes[some]
    spread = (shares * shift[some] ** 2).sum(-1) - (shares * shift[some]).sum(-1) ** 2
    return float((4 * spread * k / (k - 1)).mean())


def _least(value: Callable[[int], float], wanted: float, low: int, most: int) -> int | None:
    """The least number from `low` to `most` whose value, which grows with it, is `wanted`; None where none is."""
    if value(most) < wanted:
        return None
    high = low
    while value(high) < wanted:
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if value(middle) >= wanted else (middle, high)
    return high


def _check_gain(gain: float, name: str = "gain") -> None:
    if not gain > 0:
        raise DistributionError(f"`{name}` must be above 0, the least that is worth finding, not {gain}")
