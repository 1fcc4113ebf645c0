"""Scores of several kinds of labels on the same rows, with intervals, beside a control and the score of the truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import datasets
import numpy as np
from numpy.typing import ArrayLike

from dime_hf.columns import SOFT_LABEL_SOURCE
from dime_hf.distribution import Array, as_distributions
from dime_hf.errors import DistributionError, FitError, LeakageError, did_you_mean
from dime_hf.evidence import (
    Interval,
    Paired,
    Verdict,
    fit_dirichlet,
    holm,
    paired,
    score_intervals,
    score_of_truth,
    verdict,
)
from dime_hf.evidence.intervals import LEVEL
from dime_hf.protocol.reference import Labels, Reference, groups_of, values_of
from dime_hf.score import row_scores
from dime_hf.score.scoring import check_weights

SHOWN = ("squared_score", "js_divergence", "bhattacharyya")
WIDTH = 28  # of a score and its interval in a table


@dataclasses.dataclass(frozen=True)
class ScoredLabels:
    """Scores of one kind of labels; `source` is their `soft_label_source`. The difference is in the squared score."""

    name: str
    source: str
    scores: dict[str, Interval]
    against_control: Paired | None
    p_holm: float | None  # corrected for all kinds of labels but the one of the verdict


@dataclasses.dataclass(frozen=True)
class ScoreTable:
    """What `score_labels` finds: `n` rows of `n_groups` speakers; `left_out` rows lack a reference or some label.

    `truth`: scores of the truth at as many votes, empty where they cannot be told. `n_effective`: rows that weighted
    ones are worth, None where all weigh the same.
    """

    reference: str
    moving: bool
    n: int
    n_groups: int
    left_out: int
    control: str | None
    rows: tuple[ScoredLabels, ...]
    truth: dict[str, float]
    verdict: Verdict | None
    n_effective: float | None = None

    def __str__(self) -> str:
        names = list(self.rows[0].scores)
        left_out = f"; {self.left_out:,} rows without reference or label are left out" if self.left_out else ""
        head = "".join(f"{name:>{WIDTH}}" for name in names)
        lines = [
            f"Against {self.reference} (n = {self.n:,} in {self.n_groups:,} groups{left_out})",
            f"{'labels':<{self._first}}{head}{'   difference to the control' if self.control else ''}",
        ]
        if self.n_effective is not None:
            lines.insert(
                1, f"WEIGHTED rows: all scores are of the weighted set, effective sample {self.n_effective:,.1f}"
            )
        for row in self.rows:
            lines.append(f"{row.name:<{self._first}}{cells(row)}{_difference(row)}")
        if self.truth:
            truths = "".join(f"{self.truth[name]:.4f}".rjust(WIDTH) for name in names)
            lines.append(f"{'(truth)':<{self._first}}{truths}")
        if self.control:
            lines.append(f"control: {self.control}; differences in the squared score, two-sided p, corrected (Holm)")
        if self.verdict:
            lines.append(f"verdict: {self.verdict}")
        return "\n".join(lines)

    @property
    def _first(self) -> int:
        return max(len("(truth)"), *(len(row.name) for row in self.rows)) + 2


def cells(row: ScoredLabels) -> str:
    """The scores of a row as a table shows them."""
    shown = (f"{one.estimate:.4f} [{one.low:.4f}, {one.high:.4f}]" for one in row.scores.values())
    return "".join(cell.rjust(WIDTH) for cell in shown)


def _difference(row: ScoredLabels) -> str:
    if row.against_control is None:
        return ""
    gap = row.against_control.difference
    p = "(the verdict's)"
    if row.p_holm is not None:
        p = f"p = {row.p_holm:.2g}" if row.p_holm > 1e-4 else "p < 1e-4"
    return f"   {gap.estimate:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}] {p}"


def score_labels(
    labels: Mapping[str, Labels],
    reference: datasets.Dataset,
    *,
    control: str | None = None,
    verdict_on: str | None = None,
    moving_reference: bool = False,
    weights: ArrayLike | None = None,
    metrics: Iterable[str] = SHOWN,
    level: float = LEVEL,
) -> ScoreTable:
    """Score labels, by name, against the human votes of `reference`, on the rows where all of them have a label.

    labels: datasets with `soft_label`, or predictions (N, C) in the order of the rows of `reference`.
    reference: its `reference_counts` judge; without them its `vote_counts`, then labels may hold no human vote.
    control: name of the labels that others must beat, such as those pooled by "prior".
    verdict_on: name of the labels that the study is about: one, declared before any score is seen.
    weights: (N,) of the rows of `reference`, such as `balanced_weights(reference)`; never made from the votes that
        judge.
    Raises `LeakageError` for a reference that moves, unless `moving_reference` asks for it; `DistributionError`.
    """
    _check_names(labels, control, verdict_on)
    found = Reference.read(reference, labels, moving_reference)
    if found.moving and verdict_on:
        raise LeakageError(f"`verdict_on`: there is no verdict by a reference that moves ({found.kind})")
    values = {name: values_of(name, given, reference) for name, given in labels.items()}
    kept = found.judged & ~np.any([np.isnan(value).any(-1) for value in values.values()], axis=0)
    if not kept.any():
        raise DistributionError("`labels`: there is no row where all kinds have a label and the reference has votes")
    predictions = {name: as_distributions(value[kept], name) for name, value in values.items()}
    groups = np.array(groups_of(reference))[kept].tolist()
    votes, names = found.votes[kept], tuple(metrics)
    w = None if weights is None else check_weights(check_weights(weights, len(kept))[kept], int(kept.sum()))
    differences = _differences(predictions, votes, groups, control, w, level)
    corrected = _corrected({name: one for name, one in differences.items() if name != verdict_on})
    return ScoreTable(
        reference=found.kind,
        moving=found.moving,
        n=int(kept.sum()),
        n_groups=len(set(groups)),
        left_out=int((~kept).sum()),
        control=control,
        rows=tuple(
            ScoredLabels(
                name,
                _source(labels[name]),
                score_intervals(one, votes, groups, metrics=names, weights=w, level=level),
                differences.get(name),
                corrected.get(name),
            )
            for name, one in predictions.items()
        ),
        truth={} if found.moving else _truth(votes, found.all_votes[kept], names, w),
        verdict=verdict(predictions[verdict_on], votes, groups, predictions[control], weights=w)
        if verdict_on and control
        else None,
        n_effective=None if w is None else float(w.sum() ** 2 / (w**2).sum()),
    )


def _check_names(labels: Mapping[str, Labels], control: str | None, verdict_on: str | None) -> None:
    if not labels:
        raise DistributionError("`labels` names no labels: there is nothing to score")
    for name, given in (("control", control), ("verdict_on", verdict_on)):
        if given is not None and given not in labels:
            raise DistributionError(f"`{name}` is {given!r}, none of the `labels`.{did_you_mean(given, labels)}")
    if verdict_on and (control is None or verdict_on == control):
        raise DistributionError(f"`verdict_on` {verdict_on!r} needs a `control` that it is compared to")


def _source(labels: Labels) -> str:
    if not isinstance(labels, datasets.Dataset):
        return "predictions"
    if SOFT_LABEL_SOURCE not in labels.column_names:
        return "unknown"
    return ", ".join(sorted(map(str, labels.unique(SOFT_LABEL_SOURCE))))


def _differences(
    predictions: Mapping[str, Array],
    votes: Array,
    groups: Sequence[str],
    control: str | None,
    weights: Array | None,
    level: float,
) -> dict[str, Paired]:
    """Every kind of labels less the control, in the squared score."""
    if control is None:
        return {}
    squared = {name: row_scores(one, votes, ["squared_score"])["squared_score"] for name, one in predictions.items()}
    return {
        name: paired(one, squared[control], groups, weights=weights, level=level)
        for name, one in squared.items()
        if name != control
    }


def _corrected(differences: Mapping[str, Paired]) -> dict[str, float]:
    p_values = holm([one.p_value for one in differences.values()]).tolist()
    return dict(zip(differences, p_values, strict=True))


def _truth(votes: Array, all_votes: Array, metrics: Sequence[str], weights: Array | None) -> dict[str, float]:
    """Scores of the truth; none where votes are fractional, or too few to tell how ambiguous utterances are.

    With weights, of rows drawn by them: then the votes that chose the rows would say too much of a rare class, and the
    reference tells alone.
    """
    if (votes % 1).any():
        return {}
    if weights is not None:
        drawn = np.random.default_rng(0).choice(len(votes), len(votes), p=weights / weights.sum())
        votes = all_votes = votes[drawn]
    try:
        alpha = fit_dirichlet(all_votes)
    except FitError:
        return {}
    found = score_of_truth(votes.sum(-1), alpha=alpha, metrics=metrics)
    return {name: float(found[name]) for name in metrics}
