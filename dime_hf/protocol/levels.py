"""Scores by ambiguity: levels are told by the votes that were kept, and the votes that were held out judge."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import datasets
import numpy as np

from dime_hf import columns
from dime_hf.columns import REFERENCE_COUNTS, VOTE_COUNTS
from dime_hf.distribution import Array
from dime_hf.errors import DistributionError, FitError, LeakageError
from dime_hf.evidence import fit_dirichlet, score_of_truth
from dime_hf.evidence.intervals import LEVEL
from dime_hf.protocol.reference import Labels, by_class, values_of
from dime_hf.protocol.scoring import SHOWN, ScoreTable, score_labels
from dime_hf.score import LEVELS, ambiguity_levels


@dataclasses.dataclass(frozen=True)
class LevelScores:
    """Scores of the same labels on all rows, and by level of ambiguity; for each level that is missing the reason.

    The truth of a level is fitted to the votes that judge alone: those that chose its rows say too much of them.
    """

    overall: ScoreTable
    by_level: dict[str, ScoreTable]
    not_done: dict[str, str]

    def __str__(self) -> str:
        parts = [f"{name} ambiguity\n{table}" for name, table in self.by_level.items()]
        return "\n\n".join(
            [str(self.overall), *parts, *(f"{name}: not scored, {why}" for name, why in self.not_done.items())]
        )


def scores_by_level(
    labels: Mapping[str, Labels],
    reference: datasets.Dataset,
    *,
    control: str | None = None,
    verdict_on: str | None = None,
    metrics: Iterable[str] = SHOWN,
    level: float = LEVEL,
) -> LevelScores:
    """Score labels as `score_labels` does, on all rows and by the terciles of the entropy of the kept votes.

    A verdict there is on all rows alone. Raises `LeakageError` where no votes are held out: levels made of the votes
    that judge bend the scores.
    """
    columns.require(reference, VOTE_COUNTS, argument="reference")
    if REFERENCE_COUNTS not in reference.column_names:
        raise LeakageError(
            f"`reference` has no {REFERENCE_COUNTS!r}: levels of ambiguity made from the votes that judge bend the "
            "scores. Hold some votes out with `hold_out_votes`"
        )
    names = tuple(metrics)
    overall = score_labels(labels, reference, control=control, verdict_on=verdict_on, metrics=names, level=level)
    values = {name: values_of(name, given, reference) for name, given in labels.items()}
    kept = np.nan_to_num(by_class(reference, VOTE_COUNTS))
    judged = np.nan_to_num(by_class(reference, REFERENCE_COUNTS)).sum(-1) > 0
    known = judged & (kept.sum(-1) > 0) & ~np.any([np.isnan(value).any(-1) for value in values.values()], axis=0)
    if not known.any():
        return LevelScores(overall, {}, dict.fromkeys(LEVELS, "no utterance has a kept vote"))
    at = np.full(len(reference), "", dtype=object)
    at[known] = ambiguity_levels(kept[known])
    done, not_done = {}, {}
    for name in LEVELS:
        rows = np.flatnonzero(at == name)
        some = {one: values[one][rows] for one in labels}
        try:
            table = score_labels(some, reference.select(rows), control=control, metrics=names, level=level)
        except DistributionError as error:
            not_done[name] = str(error) if len(rows) else "the kept votes put no utterance there"
            continue
        votes = by_class(reference.select(rows), REFERENCE_COUNTS)
        sources = {row.name: row.source for row in overall.rows}
        own = tuple(dataclasses.replace(row, source=sources[row.name]) for row in table.rows)
        done[name] = dataclasses.replace(table, rows=own, truth=_truth(votes, names))
    return LevelScores(overall, done, not_done)


def _truth(votes: Array, metrics: tuple[str, ...]) -> dict[str, float]:
    """Scores of the truth behind these votes; none where they are fractional, or too few to tell it."""
    if (votes % 1).any():
        return {}
    try:
        alpha = fit_dirichlet(votes)
    except FitError:
        return {}
    found = score_of_truth(votes.sum(-1), alpha=alpha, metrics=metrics)
    return {name: float(found[name]) for name in metrics}
