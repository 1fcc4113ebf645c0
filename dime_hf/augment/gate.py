"""The label-drift gate: does an annotator still hear in a new utterance what its parents' label says?

A new utterance should be answered as its parents are, mixed by `parent_weights`. It moves by the total variation
(1/2 sum |p - q|, in [0, 1]) between its mean answer and that, over the questions (prompt and option order) that were
answered on it and on all its parents.

How far may it move? As far as the mean answer to one untouched recording would, had other prompts been asked: the
limit is a quantile of the distance between two means over m prompts each. Halves of the prompts show it on the
parents, all together, since five prompts on one recording have no 95 % quantile. A mean over h prompts against one
over k spreads with sqrt(1/h + 1/k), which scales halves to m, and a mix with weights w to sqrt((1 + sum w^2) / m). An
annotator with one prompt has its option orders halved instead. One that hardly minds how it is asked has a limit near
0 and lets nothing pass that changes the sound: then say by `tolerance` which moves do not matter.

False alarms on untouched copies: none where the same question always gets the same answer; 1 - `quantile`, over all
copies, where they are asked about in prompts of their own; in between where answers are drawn.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Literal

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dime_hf import columns
from dime_hf.annotate import Annotator, annotate
from dime_hf.augment.moves import Asked, Lineage, Moves
from dime_hf.columns import ANSWERS, AUGMENTATION, PARENTS, SOFT_LABEL, SOFT_LABEL_SOURCE, SOFT_LABEL_VOTES
from dime_hf.distribution import UNDECIDED, plurality
from dime_hf.errors import DistributionError
from dime_hf.protocol.reference import by_class
from dime_hf.stage import beside, read_column

QUANTILE = 0.95
ACTIONS, CHOICES = ("drop", "relabel"), ("drop", "keep")


@dataclasses.dataclass(frozen=True)
class GateCount:
    """New utterances of one kind: all, those whose answer moved too far, and those that could not be compared."""

    rows: int
    moved: int
    unanswered: int

    def __str__(self) -> str:
        return f"{self.rows:>9,}{self.moved:>9,} {f'({self.moved / self.rows:.1%})':>8}{self.unanswered:>12,}"


@dataclasses.dataclass(frozen=True)
class GateReport:
    """What `drift_gate` found, and what became of the rows.

    limit: of the move of a copy of one parent with all prompts answered; median_move: of the rows compared.
    swapped_caught: share of parents whose answer is further than that from another parent's: what the gate can see.
    answers, failed: on parents and new rows together.
    """

    action: str
    unanswered: str
    quantile: float
    tolerance: float
    questions: int
    parents: int
    answers: int
    failed: int
    limit: float
    median_move: float
    swapped_caught: float
    kept: int
    total: GateCount
    by_operation: dict[str, GateCount]
    by_class: dict[str, GateCount]

    def __str__(self) -> str:
        rows = {**self.by_operation, "": None, **self.by_class, " ": None, "all": self.total}
        width = max(map(len, rows)) + 2
        done = "dropped" if self.action == "drop" else "labelled anew"
        kept = "dropped" if self.unanswered == "drop" else "kept"
        return "\n".join(
            [
                f"Asked {self.questions} questions; {self.failed:,} of {self.answers:,} answers failed",
                f"Limit of a copy: {self.limit:.3f} in total variation (quantile {self.quantile:.4g} of "
                f"{self.parents:,} parents asked in other words, at least {self.tolerance:.3g}); "
                f"median move {self.median_move:.3f}",
                f"Of recordings swapped for one another, {self.swapped_caught:.0%} would be caught",
                f"{'':<{width}}{'rows':>9}{'moved':>9} {'':>8}{'unanswered':>12}",
                *(f"{name:<{width}}{count or ''}".rstrip() for name, count in rows.items()),
                f"moved rows are {done}, unanswered ones {kept}: {self.kept:,} new rows remain",
            ]
        )


def drift_gate(
    train: datasets.Dataset,
    augmented: datasets.Dataset,
    annotator: Annotator,
    *,
    action: Literal["drop", "relabel"] = "drop",
    effective_votes: float | None = None,
    unanswered: Literal["drop", "keep"] = "drop",
    quantile: float = QUANTILE,
    tolerance: float = 0.0,
    store: Any = None,
    batch_size: int = 8,
) -> tuple[datasets.Dataset, GateReport]:
    """Ask about the rows that DiME-Aug made and about their parents in `train`, and drop those that moved too far.

    action: "relabel" keeps them, with the posterior of the parents' label at its `soft_label_votes` and of the mean
        answer at `effective_votes`, such as those of a `FittedPooler`.
    unanswered: what becomes of rows without a question that was answered on them and on all their parents.
    quantile, tolerance: of the annotator's own spread, and the least limit, in total variation.
    store, batch_size: as in `annotate`. Real rows stay as they are.
    Raises `AnnotationError` where no parent was asked in two prompts or orders, `ColumnError`, `DistributionError`.
    """
    _check(augmented, action, effective_votes, unanswered)
    _check_limits(quantile, tolerance)
    lineage = Lineage.read(train, augmented)
    cells = pa.concat_arrays(
        [
            _ask(train.select(lineage.parents), annotator, store, batch_size),
            _ask(augmented.select(lineage.rows), annotator, store, batch_size),
        ]
    )
    asked, first_new = Asked.read(cells, len(columns.classes(augmented, "augmented"))), len(lineage.parents)
    parents, new = asked.select(slice(first_new)), asked.select(slice(first_new, None))
    moves = Moves.read(parents, new, lineage.weights, quantile, tolerance)
    out = (moves.too_far & (action == "drop")) | (moves.unanswered & (unanswered == "drop"))
    given, far = augmented.select(lineage.rows), moves.too_far
    total = pc.sum(pc.list_value_length(cells)).as_py()
    report = GateReport(
        action=action,
        unanswered=unanswered,
        quantile=quantile,
        tolerance=tolerance,
        questions=asked.there.shape[1],
        parents=first_new,
        answers=total,
        failed=total - int(asked.there.sum()),
        limit=moves.copy_limit,
        median_move=moves.median,
        swapped_caught=moves.swapped_caught,
        kept=int((~out).sum()),
        total=_count(moves, np.ones(len(out), dtype=bool)),
        by_operation=_counts(moves, _operations(given)),
        by_class=_counts(moves, _dominant(given)),
    )
    if effective_votes is not None and action == "relabel":
        augmented = _relabelled(augmented, lineage.rows[far], moves.answers[far], effective_votes)
    return augmented.select(np.setdiff1d(np.arange(len(augmented)), lineage.rows[out])), report


def _check(augmented: datasets.Dataset, action: str, effective_votes: float | None, unanswered: str) -> None:
    names = (columns.ID, PARENTS, columns.PARENT_WEIGHTS, AUGMENTATION, SOFT_LABEL)
    columns.require(augmented, *names, argument="augmented")
    for name, value, choices in (("action", action, ACTIONS), ("unanswered", unanswered, CHOICES)):
        if value not in choices:
            raise DistributionError(f"`{name}` must be one of {choices}, not {value!r}")
    if action == "relabel":
        columns.require(augmented, SOFT_LABEL_VOTES, SOFT_LABEL_SOURCE, argument="augmented")
        if effective_votes is None or not effective_votes > 0:
            raise DistributionError(
                f"`effective_votes` is {effective_votes}, but labelling anew needs what an answer weighs in human "
                "votes: fit the pooler 'fitted' on annotated training data and give its `effective_votes`"
            )


def _check_limits(quantile: float, tolerance: float) -> None:
    if not 0 < quantile < 1:
        raise DistributionError(f"`quantile` must lie between 0 and 1, such as 0.95, not {quantile}")
    if not 0 <= tolerance < 1:
        raise DistributionError(f"`tolerance` must be a total variation from 0 to below 1, not {tolerance}")


def _ask(dataset: datasets.Dataset, annotator: Annotator, store: Any, batch_size: int) -> pa.Array:
    """The answers of this annotator alone."""
    dataset = dataset.remove_columns([name for name in (ANSWERS,) if name in dataset.column_names])
    return read_column(annotate(dataset, annotator, store, batch_size=batch_size), ANSWERS)


def _count(moves: Moves, rows: NDArray[np.bool_]) -> GateCount:
    return GateCount(int(rows.sum()), int(moves.too_far[rows].sum()), int(moves.unanswered[rows].sum()))


def _counts(moves: Moves, names: Sequence[str]) -> dict[str, GateCount]:
    kind = np.array(names)
    return {name: _count(moves, kind == name) for name in sorted(set(names))}


def _operations(new: datasets.Dataset) -> list[str]:
    """What made each row, as its provenance says."""
    made = {text: json.loads(text).get("operation", "unknown") for text in new.unique(AUGMENTATION)}
    return [made[text] for text in new[AUGMENTATION]]


def _dominant(new: datasets.Dataset) -> list[str]:
    """The class that most of each row's label is of."""
    names = columns.classes(new)
    top = plurality(by_class(new, SOFT_LABEL)).tolist()
    return ["(tied)" if place == UNDECIDED else names[place] for place in top]


def _relabelled(
    augmented: datasets.Dataset, rows: NDArray[np.int64], answers: NDArray[np.float64], effective_votes: float
) -> datasets.Dataset:
    """The dataset with posterior labels in some rows: Dirichlet, the parents' label and the answer as its votes."""
    labels = by_class(augmented, SOFT_LABEL)
    votes = np.array(augmented[SOFT_LABEL_VOTES], dtype=np.float64)
    source = np.array(augmented[SOFT_LABEL_SOURCE], dtype=object)
    total = votes[rows, None] * labels[rows] + effective_votes * answers
    votes[rows] += effective_votes
    labels[rows] = total / votes[rows, None]
    source[rows] = [f"{name}+gate(kappa={effective_votes:.3g})" for name in source[rows]]
    made = {SOFT_LABEL: _or_null(labels), SOFT_LABEL_VOTES: votes, SOFT_LABEL_SOURCE: source.tolist()}
    features = datasets.Features({name: augmented.features[name] for name in made})
    return beside(augmented, datasets.Dataset.from_dict(made, features=features))


def _or_null(labels: NDArray[np.float64]) -> list[list[float] | None]:
    return [None if np.isnan(row[0]) else row for row in labels.tolist()]
