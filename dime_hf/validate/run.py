"""Everything that can be said of the proxies of a dataset, in one go."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from dime_hf import columns
from dime_hf.columns import ANSWERS, HUMAN_VOTES, ID, REFERENCE_COUNTS, VOTE_COUNTS
from dime_hf.corpora.cast import Ballots
from dime_hf.distribution import Array
from dime_hf.errors import ColumnError, DistributionError, FitError, PackageError
from dime_hf.evidence import plain
from dime_hf.evidence.intervals import LEVEL
from dime_hf.pool.panel import Panel, as_batch
from dime_hf.validate.agreement import measure_agreement
from dime_hf.validate.alignment import align
from dime_hf.validate.alt_test import run_alt_tests
from dime_hf.validate.drift import measure_drift
from dime_hf.validate.levels import score_by_level
from dime_hf.validate.rates import class_rates
from dime_hf.validate.reliability import Reliability, reliability
from dime_hf.validate.saturation import saturation
from dime_hf.validate.worth import worth_in_votes

READS = (ID, columns.SPEAKER, columns.DIALOG, columns.CORPUS, VOTE_COUNTS, REFERENCE_COUNTS, ANSWERS)


@dataclasses.dataclass(frozen=True)
class Validation:
    """What `validate` found: `parts` by name, each with a text table, and for each part `not_done` the reason.

    `str()` is the whole text, `plain(validation)` the whole as JSON has it; `save` writes both, and the figures.
    """

    utterances: int
    voted: int
    proxies: tuple[str, ...]
    answers: int
    failed: int
    parts: dict[str, Any]
    not_done: dict[str, str]

    def __str__(self) -> str:
        head = (
            f"Validation of {len(self.proxies)} proxies on {self.utterances:,} utterances, {self.voted:,} with human "
            f"votes; {self.answers:,} answers, {self.failed:,} of them failed"
        )
        left = [f"{name}: not done, {reason}" for name, reason in self.not_done.items()]
        return "\n\n".join([head, *map(str, self.parts.values()), *left])

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write validation.json, validation.txt and a figure of each part that has one; returns the paths."""
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise PackageError("`Validation.save`", "matplotlib", "report") from error
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        written = [folder / "validation.json", folder / "validation.txt"]
        written[0].write_text(json.dumps(plain(self), indent=2) + "\n", encoding="utf-8")
        written[1].write_text(f"{self}\n", encoding="utf-8")
        for name, part in self.parts.items():
            if not hasattr(part, "plot"):
                continue
            figure = Figure(figsize=(7, 4.5), layout="constrained")
            part.plot(figure.subplots())
            written.append(folder / f"validation-{name}.png")
            figure.savefig(written[-1], dpi=150)
        return written


def validate(
    dataset: datasets.Dataset,
    *,
    annotators: str | float = "crowd",
    calibrated: bool = False,
    level: float = LEVEL,
    seed: int = 0,
) -> Validation:
    """Say how good the proxies of a dataset are, from its `answers` and all its human votes, also held-out ones.

    Answers know no human vote, so that all votes may judge them; whatever is fitted is fitted on other speakers.
    `annotators` ("crowd", "skilled", "expert" or epsilon) sets the bar of the alternative annotator test; `calibrated`
    adds the worth of the calibrated panel, which takes longer. Parts that these votes do not allow are left out, with
    the reason. Raises `ColumnError` where there are no answers or votes.
    """
    columns.require(dataset, ID, VOTE_COUNTS, ANSWERS)
    names = columns.classes(dataset)
    needed = dataset.select_columns([name for name in READS if name in dataset.column_names])
    batch = _with_all_votes(as_batch(needed.with_format("arrow")[:]))
    panel, groups, ids = Panel.read(batch), columns.groups(batch), list(batch[ID])
    if not panel.proxies:
        raise ColumnError("`dataset` has no valid answer: there is no proxy to validate")
    ballots = _ballots(dataset)
    known = ballots if ballots is not None and ballots.annotators else None
    shared: dict[str, Any] = {"seed": seed, "level": level}
    wanted: dict[str, Callable[[], Any]] = {
        "alignment": functools.partial(align, panel, ids, groups, **shared),
        "worth": functools.partial(worth_in_votes, panel, ids, groups, names, calibrated=calibrated, **shared),
        "agreement": functools.partial(measure_agreement, panel, groups, ballots=ballots, level=level),
        "alt_test": functools.partial(run_alt_tests, known, panel, annotators=annotators, groups=groups),
        "saturation": functools.partial(saturation, panel, ids, groups, **shared),
        "reliability": functools.partial(_reliability, panel, groups, names, level),
        "levels": functools.partial(score_by_level, panel, ids, groups, **shared),
        "drift": functools.partial(measure_drift, batch, groups, level=level),
        "class_rates": functools.partial(class_rates, panel, groups, names, level=level),
    }
    parts, not_done = _carry_out(wanted)
    answers, failed = _answers(dataset)
    voted = int((panel.human.sum(-1) > 0).sum())
    return Validation(len(ids), voted, panel.proxies, answers, failed, parts, not_done)


def _carry_out(wanted: Mapping[str, Callable[[], Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """The parts, and for those that the data do not allow the reason."""
    parts, not_done = {}, {}
    for name, find in wanted.items():
        try:
            parts[name] = find()
        except (DistributionError, FitError, ColumnError, PackageError) as error:
            not_done[name] = str(error)
    return parts, not_done


def _with_all_votes(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch with held-out votes among the others."""
    if REFERENCE_COUNTS in batch:
        batch[VOTE_COUNTS] = np.asarray(batch[VOTE_COUNTS], dtype=float) + np.asarray(batch.pop(REFERENCE_COUNTS))
    return batch


def _ballots(dataset: datasets.Dataset) -> Ballots | None:
    """The votes one by one, where the dataset has all of them."""
    if HUMAN_VOTES not in dataset.column_names or REFERENCE_COUNTS in dataset.column_names:
        return None
    return Ballots.read(dataset)


def _reliability(panel: Panel, groups: Sequence[str], names: Sequence[str], level: float) -> Reliability:
    """Of the mean of option probabilities, on the utterances that have both votes and probabilities."""
    weights = np.where(panel.drawn, 0, panel.votes)
    rows = np.flatnonzero((weights.sum(-1) > 0) & (panel.human.sum(-1) > 0))
    if not rows.size:
        raise DistributionError("no utterance has both human votes and an answer of probabilities: votes were drawn")
    means: Array = np.einsum("njc,nj->nc", panel.answers[rows], weights[rows]) / weights[rows].sum(-1, keepdims=True)
    return reliability(means, panel.human[rows], np.asarray(groups)[rows].tolist(), names, level=level)


def _answers(dataset: datasets.Dataset) -> tuple[int, int]:
    """How many answers there are, and how many of them failed."""
    cells = dataset.select_columns([ANSWERS]).with_format("arrow")[:][ANSWERS].combine_chunks()
    status = cells.flatten().field("status").to_numpy(zero_copy_only=False)
    return len(status), int((status != columns.OK).sum())
