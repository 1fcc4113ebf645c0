"""Strata by ambiguity, with the probability that an utterance lies in another one.

A few votes say little of an utterance's ambiguity: of three, every second clip lands in the wrong tertile. Here the
posterior Dir(alpha_i) of each utterance's distribution says how probably its entropy is low, medium or high, in the
terciles of what is known of all entropies; scores by level are also taken of all utterances, by these probabilities.
Where little is known levels blur: scores by level then differ less than by the true levels, and between utterances
that were put in levels by three votes even their order may turn. The paper's tertiles are here too, by that name.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dime_hf.distribution import TIE, Array, as_counts, entropy, normalize
from dime_hf.errors import DistributionError
from dime_hf.evidence import Interval
from dime_hf.evidence.intervals import LEVEL, Clusters, jackknife
from dime_hf.score import LEVELS, ambiguity_levels
from dime_hf.score.metrics import METRICS, Pairs, check_names, metric_sums, metric_values
from dime_hf.score.scoring import ROW_DEFAULT

TERCILES = (1 / 3, 2 / 3)
ENTROPY_DRAWS = 200
ROWS_AT_ONCE = 1000


@dataclasses.dataclass(frozen=True)
class Strata:
    """Levels of ambiguity of N utterances.

    cuts: entropies in bits between low, medium and high: terciles of all posterior draws.
    membership: (N, 3), probabilities of lying in each. level: (N,), the place of the largest in `LEVELS`.
    sizes, misassigned: by level, how many utterances are put there, and the mean probability that one lies elsewhere.
    """

    cuts: tuple[float, float]
    membership: Array
    level: NDArray[np.int64]
    sizes: dict[str, int]
    misassigned: dict[str, float]
    misassigned_overall: float

    @property
    def names(self) -> list[str]:
        """The level of every utterance by name, as `dime_hf.score.score(levels=...)` takes it."""
        return [LEVELS[place] for place in self.level]

    @property
    def misassignment(self) -> Array:
        """Probability (N,) that an utterance lies in another level than it is put in."""
        return 1 - self.membership.max(-1)

    def __str__(self) -> str:
        lines = [
            f"Strata by posterior ambiguity: {self.misassigned_overall:.1%} of utterances expected in another",
            f"{'level':<10}{'entropy, bits':<18}{'utterances':>12}{'expected':>11}{'misassigned':>13}",
        ]
        expected = self.membership.sum(0)
        for place, name in enumerate(LEVELS):
            wrong = f"{self.misassigned[name]:.1%}" if self.sizes[name] else "-"
            lines.append(
                f"{name:<10}{_span(self.cuts, place):<18}{self.sizes[name]:>12,}{expected[place]:>11,.0f}{wrong:>13}"
            )
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class StratifiedScores:
    """Scores by metric and level, of the utterances put there (`hard`), and of all by their membership (`weighted`).

    n: utterances put in each level; n_effective: (sum w)^2 / sum w^2 of the memberships w.
    """

    hard: dict[str, dict[str, Interval]]
    weighted: dict[str, dict[str, Interval]]
    n: dict[str, int]
    n_effective: dict[str, float]

    def __str__(self) -> str:
        lines = ["Scores by posterior ambiguity: of the utterances put in a level, and of all by their membership"]
        lines.append(f"{'metric':<18}{'level':<9}{'n':>9}{'hard':>9}  {'interval':<20}{'weighted':>9}  interval")
        for metric, by_level in self.hard.items():
            for name, hard in by_level.items():
                weighted = self.weighted[metric][name]
                numbers = f"{self.n[name]:>9,}{hard.estimate:>9.4f}  {_ends(hard):<20}{weighted.estimate:>9.4f}"
                lines.append(f"{metric:<18}{name:<9}{numbers}  {_ends(weighted)}")
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class PaperTertiles:
    """The paper's strata: tertiles of the entropy of the human votes, in bits.

    level: (N,), places in `LEVELS`. sizes: how many utterances each really has. values: how many entropies differ.
    """

    cuts: tuple[float, float]
    level: NDArray[np.int64]
    sizes: dict[str, int]
    values: int

    @property
    def names(self) -> list[str]:
        """The level of every utterance by name, as `dime_hf.score.score(levels=...)` takes it."""
        return [LEVELS[place] for place in self.level]

    def __str__(self) -> str:
        lines = [f"The paper's tertiles of the entropy of human votes: {self.values} different entropies"]
        lines.append(f"{'level':<10}{'entropy, bits':<18}{'utterances':>12}{'share':>9}")
        for place, name in enumerate(LEVELS):
            share = self.sizes[name] / len(self.level)
            lines.append(f"{name:<10}{_span(self.cuts, place):<18}{self.sizes[name]:>12,}{share:>9.1%}")
        return "\n".join(lines)


def strata(alpha: ArrayLike, ids: Sequence[str], *, draws: int = ENTROPY_DRAWS) -> Strata:
    """Put utterances into levels of ambiguity by their posteriors Dir(alpha), alpha (N, C).

    alpha are human votes and the pseudo-votes of a fitted pooler, `Pooler.total_votes`; of votes alone it would say
    that nobody else could disagree. Draws of the entropy are keyed by id; 200 of them claim about .3 points too little
    misassignment, as the largest of three frequencies. Raises `DistributionError`.
    """
    posterior = _posteriors(alpha, ids)
    if draws < 3:
        raise DistributionError(f"`draws` must be at least 3, not {draws}")
    drawn = np.empty((len(posterior), draws), np.float32)
    for rows, bits in _entropy_draws(posterior, ids, draws):
        drawn[rows] = bits
    low, high = (float(cut) for cut in np.quantile(drawn.ravel(), TERCILES))
    below, under = (drawn <= low).mean(-1), (drawn <= high).mean(-1)
    membership = np.stack([below, under - below, 1 - under], axis=-1)
    level = membership.argmax(-1)
    wrong = 1 - membership.max(-1)
    return Strata(
        cuts=(low, high),
        membership=membership,
        level=level,
        sizes={name: int((level == place).sum()) for place, name in enumerate(LEVELS)},
        misassigned={name: _mean(wrong[level == place]) for place, name in enumerate(LEVELS)},
        misassigned_overall=float(wrong.mean()),
    )


def _entropy_draws(alpha: Array, ids: Sequence[str], count: int) -> Iterator[tuple[slice, Array]]:
    """Yield rows, some at once, and draws (rows, count) of their entropy in bits, the same for the same utterance."""
    for start in range(0, len(alpha), ROWS_AT_ONCE):
        some = slice(start, start + ROWS_AT_ONCE)
        seeds = [zlib.crc32(id.encode()) for id in ids[some]]
        drawn = [
            np.random.default_rng(seed).dirichlet(row, count) for seed, row in zip(seeds, alpha[some], strict=True)
        ]
        yield some, entropy(np.stack(drawn))


def stratified_scores(
    predictions: ArrayLike,
    references: ArrayLike,
    groups: Sequence[str],
    levels: Strata,
    *,
    metrics: Iterable[str] = ROW_DEFAULT,
    level: float = LEVEL,
) -> StratifiedScores:
    """Score predictions (N, C) against held-out vote counts (N, C) in each level, clustered by `groups` (N,).

    `levels` must come from other votes than `references`: strata and weights made from the scored votes bend the
    scores. An estimate is that of `dime_hf.score.score` on the rows of a level, or with the memberships as `weights`;
    NaN for a level of fewer than two groups. Raises `DistributionError`.
    """
    names, pairs = check_names(metrics, METRICS), Pairs.read(predictions, references)
    if len(levels.level) != len(pairs.q):
        raise DistributionError(f"`levels` are of {len(levels.level)} utterances, `predictions` of {len(pairs.q)}")
    clusters = Clusters.read(groups, len(pairs.q))

    def by_metric(membership: Array) -> dict[str, dict[str, Interval]]:
        by_level = [_scores(pairs, clusters, weights, names, level) for weights in membership.T]
        return {metric: dict(zip(LEVELS, (one[metric] for one in by_level), strict=True)) for metric in names}

    squares = (levels.membership**2).sum(0)
    effective = levels.membership.sum(0) ** 2 / np.where(squares > 0, squares, 1)
    return StratifiedScores(
        hard=by_metric(np.eye(len(LEVELS))[levels.level]),
        weighted=by_metric(levels.membership),
        n=levels.sizes,
        n_effective=dict(zip(LEVELS, effective.tolist(), strict=True)),
    )


def paper_tertiles(counts: ArrayLike) -> PaperTertiles:
    """Put utterances into the paper's strata (2601.14620): tertiles of the entropy of their votes (N, C), in bits.

    The levels are those of `dime_hf.score.ambiguity_levels`: an entropy that equals a cut is in the level below it, so
    utterances of one entropy stay together, and strata are no thirds. Three votes know three entropies: of CREMA-D's
    voices 82 % are then low, none medium, 18 % high.
    """
    bits = entropy(normalize(counts))
    levels = ambiguity_levels(counts)
    low, high = (float(abs(cut)) for cut in np.quantile(bits, TERCILES))
    return PaperTertiles(
        cuts=(low, high),
        level=np.array([LEVELS.index(name) for name in levels]),
        sizes={name: levels.count(name) for name in LEVELS},
        values=len(np.unique(np.rint(bits / TIE))),
    )


def _posteriors(alpha: ArrayLike, ids: Sequence[str]) -> Array:
    posterior = as_counts(alpha, "alpha")
    if posterior.ndim != 2 or not len(posterior) or len(ids) != len(posterior):
        raise DistributionError(
            f"`alpha` {posterior.shape} and `ids` ({len(ids)}) must be of the same utterances, (N, C) and (N,)"
        )
    if not (posterior.sum(-1) > 0).all():
        raise DistributionError("`alpha` has an utterance without any vote or pseudo-vote: it has no posterior")
    return posterior


def _scores(
    pairs: Pairs, clusters: Clusters, weights: Array, names: Sequence[str], level: float
) -> dict[str, Interval]:
    """Scores of rows by their weights (N,), over the clusters that have any."""
    sizes = np.bincount(clusters.index, weights > 0).astype(np.int64)
    if (sizes > 0).sum() < 2:
        return {name: _unknown(level, sizes) for name in names}
    found = metric_values(metric_sums(pairs, names, _weighted(clusters, weights)), names)
    kept = np.append(True, sizes > 0)
    some = Clusters(clusters.index, sizes[sizes > 0])
    return {name: jackknife(values[kept], some, level) for name, values in found.items()}


def _weighted(clusters: Clusters, weights: Array) -> Callable[[Array], Array]:
    """Weighted sums of parts (N, ...), of all rows and of all but those of each cluster."""
    return lambda parts: clusters.with_and_without(weights.reshape(-1, *[1] * (parts.ndim - 1)) * parts)


def _unknown(level: float, sizes: NDArray[np.int64]) -> Interval:
    """The score of a level that one group alone has, or none: one speaker says nothing about others."""
    nan = float("nan")
    return Interval(nan, nan, nan, level, nan, nan, int(sizes.sum()), int((sizes > 0).sum()))


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _span(cuts: tuple[float, float], place: int) -> str:
    low, high = cuts
    return (f"up to {low:.3f}", f"{low:.3f} to {high:.3f}", f"above {high:.3f}")[place]


def _ends(one: Interval) -> str:
    return f"[{one.low:.4f}, {one.high:.4f}]"
