"""Scores of a model on a named set, beside its control: overall, and by level of ambiguity."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import datasets
import numpy as np

from dime_hf.columns import REFERENCE_COUNTS, VOTE_COUNTS
from dime_hf.distribution import Array
from dime_hf.protocol import LevelScores, ScoreTable, score_labels, scores_by_level
from dime_hf.protocol.reference import by_class

METRIC = "squared_score"
NO_LEVELS = (
    "No table by ambiguity: it takes votes that do not judge to tell how ambiguous an utterance is (`hold_out_votes`)."
)


@dataclasses.dataclass(frozen=True)
class ModelScores(ScoreTable):
    """A `ScoreTable` of the set called `scored_on`, in which `n_votes` votes judge; by level where others tell it."""

    scored_on: str = ""
    n_votes: int = 0
    levels: Mapping[str, ScoreTable] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"On {self.scored_on}: {self.n:,} utterances, {self.n_votes:,} votes that judge", super().__str__()]
        if not self.levels:
            return "\n".join([*lines, NO_LEVELS])
        names = [row.name for row in self.rows]
        width = max(26, *(len(name) + 2 for name in names))
        lines.append(
            "Squared score by ambiguity, a third of the rows each by the entropy of the votes that do not judge"
        )
        lines.append(f"{'level':<10}{'rows':>8}" + "".join(f"{name:>{width}}" for name in names))
        for level, table in self.levels.items():
            scores = [row.scores[METRIC] for row in table.rows]
            cells = [f"{one.estimate:.4f} [{one.low:.4f}, {one.high:.4f}]" for one in scores]
            lines.append(f"{level:<10}{table.n:>8,}" + "".join(f"{cell:>{width}}" for cell in cells))
        return "\n".join(lines)


def model_scores(
    labels: Mapping[str, Array], dataset: datasets.Dataset, *, control: str | None = None, name: str | None = None
) -> ModelScores:
    """Score predictions (N, C), by name, on the votes of `dataset`, as `score_labels` does, and by level of ambiguity.

    `name` says which set it is, such as "test speakers of fold 1"; without it the corpus and split that are known.
    """
    votes = np.nan_to_num(by_class(dataset, REFERENCE_COUNTS if _held_out(dataset) else VOTE_COUNTS))
    if _held_out(dataset) and VOTE_COUNTS in dataset.column_names:
        found = scores_by_level(labels, dataset, control=control)
        table, levels = found.overall, found.by_level
    else:
        table, levels = score_labels(labels, dataset, control=control), {}
    fields = {field.name: getattr(table, field.name) for field in dataclasses.fields(table)}
    if len(levels) < 2:  # single votes tell nothing
        levels = {}
    return ModelScores(**fields, scored_on=name or _name(dataset), n_votes=int(votes.sum()), levels=levels)


def with_levels(scores: ScoreTable) -> ScoreTable | LevelScores:
    """A model's scores as `scores_by_level` gives them, where its table has levels."""
    levels = scores.levels if isinstance(scores, ModelScores) else {}
    return LevelScores(scores, dict(levels), {}) if levels else scores


def _held_out(dataset: datasets.Dataset) -> bool:
    return REFERENCE_COUNTS in dataset.column_names


def _name(dataset: datasets.Dataset) -> str:
    """What is known of where a dataset comes from; votes held out and rows joined make it forget."""
    known = [part for part in (dataset.info.dataset_name, dataset.info.config_name, dataset.split) if part]
    return ", ".join(map(str, known)) or "a set without a name"
