"""The paper's protocol, which scores labels against labels of their own making, beside a fixed reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import datasets

from dime_hf import columns
from dime_hf.columns import REFERENCE_COUNTS, VOTE_COUNTS
from dime_hf.errors import DistributionError, did_you_mean
from dime_hf.evidence.intervals import LEVEL
from dime_hf.pool import Pooler, pool
from dime_hf.protocol.reference import Labels
from dime_hf.protocol.scoring import SHOWN, WIDTH, ScoreTable, cells, score_labels


def own_labels(test: datasets.Dataset, pooler: Pooler) -> datasets.Dataset:
    """Return the labels that `pooler` makes of the held-out votes and the same answers: a reference that moves.

    2601.14620 scores so: against the human, synthetic or combined labels of the test set, whichever were trained on.
    """
    columns.require(test, REFERENCE_COUNTS, VOTE_COUNTS)
    swapped = test.remove_columns([VOTE_COUNTS]).rename_column(REFERENCE_COUNTS, VOTE_COUNTS)
    return pool(swapped, pooler)


@dataclasses.dataclass(frozen=True)
class ProtocolComparison:
    """The same labels against held-out humans (`fixed`), and each against labels of its own making (`moving`)."""

    fixed: ScoreTable
    moving: tuple[ScoreTable, ...]

    def __str__(self) -> str:
        names = list(self.fixed.rows[0].scores)
        first = max(len("labels"), *(len(row.name) for row in self.fixed.rows)) + 2
        sides = ("held-out humans", "MOVING: labels of their own")
        lines = [
            " " * first + "".join(f"{side:>{WIDTH * len(names)}}" for side in sides),
            f"{'labels':<{first}}" + "".join(f"{name:>{WIDTH}}" for name in names) * 2,
        ]
        for fixed, moving in zip(self.fixed.rows, self.moving, strict=True):
            lines.append(f"{fixed.name:<{first}}{cells(fixed)}{cells(moving.rows[0])}".rstrip())
        lines.append("The right half says how alike two mixtures are, not how good either is.")
        return "\n".join(lines)


def compare_protocols(
    labels: Mapping[str, Labels],
    own: Mapping[str, datasets.Dataset],
    test: datasets.Dataset,
    *,
    metrics: Iterable[str] = SHOWN,
    level: float = LEVEL,
) -> ProtocolComparison:
    """Score labels, by name, against held-out votes, and beside it each against `own` labels, as 2601.14620 does.

    `own` has a dataset for every kind of labels, such as `own_labels` gives, or what a model was trained to predict.
    """
    if missing := [name for name in labels if name not in own]:
        raise DistributionError(f"`own` has no labels for {missing[0]!r}.{did_you_mean(missing[0], own)}")
    names = tuple(metrics)
    moving = [
        score_labels({name: given}, own[name], moving_reference=True, metrics=names, level=level)
        for name, given in labels.items()
    ]
    return ProtocolComparison(score_labels(labels, test, metrics=names, level=level), tuple(moving))
