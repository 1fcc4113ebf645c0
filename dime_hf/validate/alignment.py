"""How close proxies come to human votes, beside the controls that know nothing, and one more human.

One more human is one vote, a hard label: fair beside accuracies. In scores of distributions a vote is worse than the
prior however much it tells; what a proxy is worth in votes is said by `dime_hf.validate.worth`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dime_hf.distribution import Array
from dime_hf.errors import DistributionError
from dime_hf.evidence import (
    Interval,
    Paired,
    fit_dirichlet,
    holm,
    one_more_human,
    paired,
    prior_control,
    score_intervals,
    score_of_truth,
    shuffled,
    uniform_control,
)
from dime_hf.evidence.intervals import LEVEL
from dime_hf.pool import FittedPooler
from dime_hf.pool.panel import Panel
from dime_hf.score import METRICS, row_scores
from dime_hf.score.metrics import check_names
from dime_hf.validate.crossfit import FOLDS, Folds, ids_of, reserve, whole_votes

SHOWN = ("squared_score", "js_divergence", "bhattacharyya", "accuracy")
SQUARED = "squared_score"
PROXY, POOLED, CONTROL = "proxy", "pooled", "control"  # kinds of systems
PANEL_MEAN, FITTED = "panel mean", "fitted"
CONTROLS = PRIOR, UNIFORM, SHUFFLED, ONE_MORE_HUMAN = "prior", "uniform", "shuffled", "one more human"


@dataclasses.dataclass(frozen=True)
class Aligned:
    """Scores of one system, by metric, and how its squared score differs from that of the prior: below 0 is better.

    kind: "proxy", "pooled" (of all proxies) or "control". p_holm: the difference's two-sided p-value, adjusted for
    all systems but the controls, which have none.
    """

    system: str
    kind: str
    scores: dict[str, Interval]
    difference: Paired
    p_holm: float | None


@dataclasses.dataclass(frozen=True)
class Alignment:
    """Every system on the same rows and the same references: the votes of an utterance but one, the spare.

    truth: what the true distributions would score against so few votes; no bound where a metric is not proper.
    votes: mean votes of a reference. Left out: utterances with one vote or none (`too_few_votes`), and of the others
    those that not every proxy answered (`unanswered`).
    """

    systems: tuple[Aligned, ...]
    truth: dict[str, float]
    utterances: int
    votes: float
    too_few_votes: int
    unanswered: int

    def __str__(self) -> str:
        names = list(self.truth)
        one = self.systems[0].difference.difference
        lines = [
            f"Alignment with {self.votes:.3g} human votes on {self.utterances:,} utterances ({100 * one.level:.4g} % "
            f"intervals over {one.n_groups:,} groups); left out: {self.too_few_votes:,} with fewer than two votes, "
            f"{self.unanswered:,} that not every proxy answered",
            f"  {'system':<28}" + "".join(f"{name:<26}" for name in names) + "squared score less prior's    p (Holm)",
        ]
        for system in self.systems:
            shown = "".join(f"{_cell(system.scores[name]):<26}" for name in names)
            p = "" if system.p_holm is None else f"{system.p_holm:.2g}" if system.p_holm > 1e-4 else "< 1e-4"
            less = "" if system.system == PRIOR else _cell(system.difference.difference)
            lines.append(f"  {system.system:<28}{shown}{less:<30}{p}".rstrip())
        lines.append(f"  {'the truth':<28}" + "".join(f"{value:<26.4f}" for value in self.truth.values()).rstrip())
        return "\n".join(lines)

    def plot(self, axes: Any) -> None:
        """Draw how much better or worse than the prior every system is in the squared score, with its interval."""
        looks = {PROXY: ("#0072b2", "o"), POOLED: ("#d55e00", "s"), CONTROL: ("#555555", "x")}
        for system in self.systems:
            (color, marker), value = looks[system.kind], system.difference.difference
            ends = [[value.estimate - value.low], [value.high - value.estimate]]
            axes.errorbar([value.estimate], [system.system], xerr=ends, fmt=marker, color=color)
        axes.axvline(0, linestyle="--", color="#555555")
        axes.set(xlabel="squared score less that of the prior (lower is better)")
        axes.invert_yaxis()


def align(
    panel: Panel,
    ids: Sequence[str],
    groups: Sequence[str] | NDArray[Any],
    *,
    metrics: Iterable[str] = SHOWN,
    folds: int = FOLDS,
    seed: int = 0,
    level: float = LEVEL,
) -> Alignment:
    """Score each proxy of a panel, their mean, and the panel pooled without human votes, beside the controls.

    All are scored on the utterances that have two votes or more and that every proxy answered. One vote of each, drawn
    by (seed, id), is spared and is the "one more human"; the others are the reference. "fitted" and "prior" come from
    the other folds' groups (N,), all of their votes. Raises `DistributionError`, for fractional votes too.
    """
    names = check_names(metrics, METRICS)
    counts = whole_votes(panel, "one vote at a time is spared")
    reserve(panel, (PANEL_MEAN, FITTED, *CONTROLS))
    enough, answered = counts.sum(-1) >= 2, (panel.votes > 0).all(-1)
    rows = np.flatnonzero(enough & answered)
    if not len(panel.proxies) or not len(rows):
        raise DistributionError(
            f"`panel` has {len(panel.proxies)} proxies, {int(enough.sum())} utterances with two votes or more, and "
            f"{len(rows)} of them answered by every proxy: there is nothing to align; drop proxies that failed"
        )
    chosen = ids_of(ids, rows, len(counts))
    spare = one_more_human(counts[rows], chosen, seed)
    references = counts[rows] - spare
    kinds = _systems(panel, groups, rows, folds, chosen, seed)
    kinds[ONE_MORE_HUMAN] = CONTROL, spare
    clusters = np.unique(np.asarray(groups)[rows], return_inverse=True)[1]
    systems = _compare(kinds, references, clusters, names, level)
    votes = references.sum(-1)
    truth = score_of_truth(votes, alpha=fit_dirichlet(counts[rows]), metrics=names, seed=seed)
    few, silent = int((~enough).sum()), int((enough & ~answered).sum())
    return Alignment(systems, {name: truth[name] for name in names}, len(rows), float(votes.mean()), few, silent)


def _systems(
    panel: Panel, groups: Sequence[str] | NDArray[Any], rows: NDArray[Any], folds: int, ids: Sequence[str], seed: int
) -> dict[str, tuple[str, Array]]:
    """Kind and predictions (M, C), by system, for some rows of a panel; those that need a fit have it elsewhere."""
    dealt, answers = Folds.read(panel, groups, folds), panel.answers[rows]
    mean = panel.synthetic[rows]
    found = {name: (PROXY, answers[:, place]) for place, name in enumerate(panel.proxies)}
    if len(panel.proxies) > 1:
        found[PANEL_MEAN] = POOLED, mean
    found[FITTED] = POOLED, dealt.expect(dealt.fit(FittedPooler()))[rows]
    found[PRIOR] = CONTROL, _prior(dealt)[rows]
    found[UNIFORM] = CONTROL, uniform_control(*mean.shape)
    found[SHUFFLED] = CONTROL, shuffled(mean, ids, seed)
    return found


def _prior(dealt: Folds) -> Array:
    """Mean share (N, C) of the votes of the other folds."""
    human, prior = dealt.panel.human, np.zeros_like(dealt.panel.human)
    voted = human.sum(-1) > 0
    for fold in range(dealt.member.max() + 1):
        inside = dealt.member == fold
        prior[inside] = prior_control(human[voted & ~inside], int(inside.sum()))
    return prior


def _compare(
    kinds: dict[str, tuple[str, Array]], references: Array, groups: Any, names: tuple[str, ...], level: float
) -> tuple[Aligned, ...]:
    squared = {name: row_scores(q, references, [SQUARED])[SQUARED] for name, (_, q) in kinds.items()}
    against = {name: paired(scores, squared[PRIOR], groups, level=level) for name, scores in squared.items()}
    tested = [name for name, (kind, _) in kinds.items() if kind != CONTROL]
    adjusted = dict(zip(tested, holm([against[name].p_value for name in tested]).tolist(), strict=True))
    return tuple(
        Aligned(
            name,
            kind,
            score_intervals(q, references, groups, metrics=names, level=level),
            against[name],
            adjusted.get(name),
        )
        for name, (kind, q) in kinds.items()
    )


def _cell(value: Interval) -> str:
    return f"{value.estimate:.3f} [{value.low:.3f}, {value.high:.3f}]"
