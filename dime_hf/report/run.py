"""One report of what was found, as a page, as Markdown and as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import datasets
from numpy.typing import ArrayLike

import dime_hf
from dime_hf.augment import Plan
from dime_hf.augment.summary import Summary
from dime_hf.cards import with_levels
from dime_hf.errors import DistributionError
from dime_hf.evidence import plain
from dime_hf.protocol import LevelScores, ProtocolComparison, ScoreTable
from dime_hf.report import markdown, page
from dime_hf.report.blocks import Figure, Section, number
from dime_hf.report.checks import validation_section, worth_sentence
from dime_hf.report.corpus import Split, corpus_section, facts, licences, read_splits
from dime_hf.report.explorer import check_include, explore, read_predictions
from dime_hf.report.findings import pooling_section, protocols_section, says, scores_section
from dime_hf.report.training import augmentation_section, training_section
from dime_hf.validate import Validation

TITLE = "Soft labels of speech emotion"
WHERE_FROM = {  # what a part is made of
    "data": "`data` was not given: the dataset, or its splits by name",
    "validation": "`validation` was not given: what `dime_hf.validate.validate` returns",
    "pooling": "`pooling` was not given: the table of `dime_hf.protocol.score_labels` on pooled labels",
    "augmentation": "`plan` was not given: the plan of DiME-Aug",
    "training": "`history` was not given: `trainer.state.log_history`",
    "scores": "`scores` was not given: what `trainer.score_table`, `scores_by_level` or `score_labels` returns",
    "protocols": "`protocols` was not given: what `dime_hf.protocol.compare_protocols` returns",
    "utterances": "`data` was not given: the dataset, or its splits by name",
    "predictions": "`predictions` were not given: distributions (N, C) of the rows of `data`",
}
Data: TypeAlias = datasets.Dataset | Mapping[str, datasets.Dataset]


@dataclasses.dataclass(frozen=True)
class Report:
    """A report: its `sections`, and for each part that is left out the reason. `save` writes all three forms.

    results: what the parts were made of, as JSON has it. utterances: columns of the explorer; None without data.
    holds: licensed material that was asked for ("text", "audio"), which stands in the page and beside it.
    """

    title: str
    in_short: tuple[str, ...]
    sections: tuple[Section, ...]
    left_out: dict[str, str]
    results: dict[str, Any] = dataclasses.field(repr=False)
    utterances: dict[str, Any] | None = dataclasses.field(repr=False, default=None)
    holds: tuple[str, ...] = ()
    licence: str = ""
    version: str = dime_hf.__version__

    def __str__(self) -> str:
        left = [f"{name}: left out, {why}" for name, why in self.left_out.items()]
        return "\n".join([self.title, *self.in_short, *left])

    @property
    def figures(self) -> list[Figure]:
        """All figures, in the order of the page."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Figure)]

    def html(self) -> str:
        """The page, which needs no other file and no network."""
        return page.render(self)

    def markdown(self, figures: str = "figures") -> str:
        """The same as Markdown, whose figures lie in the folder `figures`."""
        return markdown.text(self, figures)

    def json(self) -> str:
        """All results and the utterances; recordings are in the page alone."""
        utterances = None
        if self.utterances is not None:
            utterances = {name: values for name, values in self.utterances.items() if name != "audio"}
        whole = {
            "title": self.title,
            "dime_hf": self.version,
            "licence": self.licence,
            "in_short": self.in_short,
            "left_out": self.left_out,
            **self.results,
            "utterances": utterances,
        }
        return json.dumps(plain(whole), separators=(",", ":"), allow_nan=False) + "\n"

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write report.html, report.md with its figures, and report.json; returns the paths."""
        folder = Path(folder)
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        written = {"report.html": self.html(), "report.md": self.markdown(), "report.json": self.json()}
        written |= {f"figures/{figure.name}.svg": figure.svg for figure in self.figures}
        for name, content in written.items():
            (folder / name).write_text(content, encoding="utf-8")
        return [folder / name for name in written]


def report(
    data: Data | None = None,
    *,
    validation: Validation | None = None,
    pooling: ScoreTable | None = None,
    plan: Plan | Summary | None = None,
    history: Sequence[Mapping[str, Any]] | None = None,
    scores: ScoreTable | LevelScores | None = None,
    protocols: ProtocolComparison | None = None,
    predictions: ArrayLike | Mapping[str, ArrayLike] | None = None,
    include: Collection[str] = (),
    utterances: int = 10_000,
    recordings: int = 200,
    title: str = TITLE,
) -> Report:
    """Make a report of whatever there is; what is not given is left out, and the report says so.

    data: splits with the columns that stages made. predictions: (N, C) of its rows, by split where there are several.
    include: "text" and "audio" stand in the page only when named; mind the corpus's licence. `utterances` and
        `recordings`: how many the page holds at most, evenly spread.
    Raises `ColumnError` or `DistributionError` for what is not as it should be.
    """
    _check_types(validation, pooling, scores, protocols)
    scores = with_levels(scores) if isinstance(scores, ScoreTable) else scores
    splits = None if data is None else read_splits(data)
    if splits is None and (predictions is not None or include):
        raise DistributionError("`predictions` and `include` need `data`, whose rows they are of")
    check_include(include, splits or {})
    predicted = read_predictions(predictions, splits or {})
    wanted: dict[str, tuple[Any, Callable[[], Section]]] = {
        "data": (splits, lambda: corpus_section(splits or {})),
        "validation": (validation, lambda: validation_section(validation)),  # type: ignore[arg-type]
        "pooling": (pooling, lambda: pooling_section(pooling)),  # type: ignore[arg-type]
        "augmentation": (plan, lambda: augmentation_section(plan)),
        "training": (history, lambda: training_section(history or ())),
        "scores": (scores, lambda: scores_section(scores)),  # type: ignore[arg-type]
        "protocols": (protocols, lambda: protocols_section(protocols)),  # type: ignore[arg-type]
    }
    sections = tuple(make() for given, make in wanted.values() if given is not None)
    given = {name: given for name, (given, _) in wanted.items()}
    given |= {"utterances": splits, "predictions": predictions}
    rows = splits and explore(splits, predicted, include=include, utterances=utterances, recordings=recordings)
    return Report(
        title=title,
        in_short=_in_short(splits, validation, pooling, scores),
        sections=sections,
        left_out={name: why for name, why in WHERE_FROM.items() if given[name] is None},
        results=_results(splits, validation, pooling, plan, history, scores, protocols),
        utterances=rows or None,
        holds=tuple(include),
        licence=licences(splits) if splits else "not known",
    )


def _check_types(validation: Any, pooling: Any, scores: Any, protocols: Any) -> None:
    kinds: tuple[tuple[str, Any, tuple[type, ...]], ...] = (
        ("validation", validation, (Validation,)),
        ("pooling", pooling, (ScoreTable,)),
        ("scores", scores, (ScoreTable, LevelScores)),
        ("protocols", protocols, (ProtocolComparison,)),
    )
    for name, given, types in kinds:
        if given is not None and not isinstance(given, types):
            wanted = " or ".join(kind.__name__ for kind in types)
            raise DistributionError(f"`{name}` must be a {wanted}, not {type(given).__name__}")


def _in_short(
    splits: Mapping[str, Split] | None,
    validation: Validation | None,
    pooling: ScoreTable | None,
    scores: ScoreTable | LevelScores | None,
) -> tuple[str, ...]:
    """The findings, a sentence each."""
    found = []
    if splits:
        total, votes = (
            sum(part) for part in zip(*((len(one.rows), one.human.sum()) for one in splits.values()), strict=True)
        )
        found.append(f"Data. {total:,} utterances with {number(votes, 0).text} human votes.")
    if validation:
        found.append(worth_sentence(validation))
    final = scores.overall if isinstance(scores, LevelScores) else scores
    for name, table in (("Pooled labels", pooling), ("Scores", final)):
        if table is not None and table.verdict is not None:
            found.append(f"{name}. {says(table)}")
    return tuple(filter(None, found))


def _results(splits: Any, validation: Any, pooling: Any, plan: Any, history: Any, scores: Any, protocols: Any) -> Any:
    summary = getattr(plan, "summary", plan)
    return plain(
        {
            "data": {name: facts(split) for name, split in splits.items()} if splits else None,
            "validation": validation,
            "pooling": pooling,
            "augmentation": summary.as_dict() if summary is not None else None,
            "training": list(history) if history is not None else None,
            "scores": scores,
            "protocols": protocols,
        }
    )
