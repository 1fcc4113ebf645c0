"""Scores of a model on a named set, beside its control: overall, and by level of ambiguity."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import datasets
import numpy as np
from numpy.typing import NDArray

from dime_hf.columns import REFERENCE_COUNTS, VOTE_COUNTS
from dime_hf.distribution import Array
from dime_hf.evidence import Interval, score_intervals
from dime_hf.protocol import ScoreTable, score_labels
from dime_hf.protocol.reference import by_class, groups_of
from dime_hf.score import LEVELS, ambiguity_levels

METRIC = "squared_score"
NO_LEVELS = (
    "No table by ambiguity: it takes votes that do not judge to tell how ambiguous an utterance is (`hold_out_votes`)."
)


@dataclasses.dataclass(frozen=True)
class LevelScores:
    """The squared score of every kind of labels, by name, on the `n` rows of `n_groups` speakers of a level."""

    level: str
    n: int
    n_groups: int
    scores: dict[str, Interval]


@dataclasses.dataclass(frozen=True)
class ModelScores(ScoreTable):
    """A `ScoreTable` of the set called `scored_on`, in which `n_votes` votes judge; by level where others tell it."""

    scored_on: str = ""
    n_votes: int = 0
    levels: tuple[LevelScores, ...] = ()

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
        for one in self.levels:
            cells = (f"{s.estimate:.4f} [{s.low:.4f}, {s.high:.4f}]" for s in (one.scores[name] for name in names))
            lines.append(f"{one.level:<10}{one.n:>8,}" + "".join(f"{cell:>{width}}" for cell in cells))
        return "\n".join(lines)


def model_scores(
    labels: Mapping[str, Array], dataset: datasets.Dataset, *, control: str | None = None, name: str | None = None
) -> ModelScores:
    """Score predictions (N, C), by name, on the votes of `dataset`, as `score_labels` does, and by level of ambiguity.

    `name` says which set it is, such as "test speakers of fold 1"; without it the corpus and split that are known.
    """
    table = score_labels(labels, dataset, control=control)
    fields = {field.name: getattr(table, field.name) for field in dataclasses.fields(table)}
    votes = np.nan_to_num(by_class(dataset, REFERENCE_COUNTS if _held_out(dataset) else VOTE_COUNTS))
    return ModelScores(
        **fields, scored_on=name or _name(dataset), n_votes=int(votes.sum()), levels=_by_level(labels, dataset, votes)
    )


def _held_out(dataset: datasets.Dataset) -> bool:
    return REFERENCE_COUNTS in dataset.column_names


def _name(dataset: datasets.Dataset) -> str:
    """What is known of where a dataset comes from; votes held out and rows joined make it forget."""
    known = [part for part in (dataset.info.dataset_name, dataset.info.config_name, dataset.split) if part]
    return ", ".join(map(str, known)) or "a set without a name"


def _by_level(labels: Mapping[str, Array], dataset: datasets.Dataset, votes: Array) -> tuple[LevelScores, ...]:
    if not (_held_out(dataset) and VOTE_COUNTS in dataset.column_names):
        return ()
    kept = np.nan_to_num(by_class(dataset, VOTE_COUNTS))
    known = (votes.sum(-1) > 0) & (kept.sum(-1) > 0)
    if not known.any():
        return ()
    level_of: NDArray[np.str_] = np.full(len(dataset), "", dtype="<U6")
    level_of[known] = ambiguity_levels(kept[known])
    if len(set(level_of[known])) == 1:  # single votes tell nothing
        return ()
    groups = np.array(groups_of(dataset))
    found = []
    for level in LEVELS:
        rows = level_of == level
        if rows.any():
            speakers = groups[rows].tolist()
            scores = {
                name: score_intervals(np.asarray(values)[rows], votes[rows], speakers, metrics=(METRIC,))[METRIC]
                for name, values in labels.items()
            }
            found.append(LevelScores(level, int(rows.sum()), len(set(speakers)), scores))
    return tuple(found)
