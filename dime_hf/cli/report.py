"""One page of what the other commands left: data, validation, pooling, DiME-Aug, training, scores, utterances.

    dime-hf pool && dime-hf report                           # in outputs/report: report.html, report.md, report.json
    dime-hf report outputs/pool outputs/augment outputs/train
    dime-hf report study --include text audio                # transcripts and recordings stand in it: keep it private

It looks into the folders for the following; the first that has it counts, and what is nowhere is left out: `labelled/`
or `test/` with answers (validation), `test/` and `labels/` (pooling), `plan/`, `history.json`, `test/` and
`predictions/` (scores).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dime_hf.cli.pool import CONTROL, PAPERS, compare_with_own
from dime_hf.cli.train import CONSTANT, MODEL, read
from dime_hf.errors import DimeError, OptionError, PackageError

if TYPE_CHECKING:
    import datasets

USUAL = tuple(Path("outputs") / name for name in ("train", "augment", "pool"))
MADE_BY = {
    "labelled": "pool", "labels": "pool", "test": "pool or train", "plan": "augment", "train": "augment",
    "history.json": "train", "predictions": "train",
}  # fmt: skip
SECTION = {"plan": "augmentation", "history": "training"}  # names of the page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", nargs="*", type=Path, help="default: outputs/train, outputs/augment, outputs/pool")
    parser.add_argument("--include", nargs="+", default=[], choices=["text", "audio"], help="licensed material")
    parser.add_argument("--title", default="Soft labels of speech emotion", help="of the page")
    parser.add_argument("--utterances", type=int, default=10_000, help="how many the page holds at most")
    parser.add_argument("--output", type=Path, default=Path("outputs/report"))


def run(given: argparse.Namespace) -> None:
    folders = given.folders or [folder for folder in USUAL if folder.is_dir()]
    absent = [str(folder) for folder in folders if not folder.is_dir()]
    if absent or not folders:
        raise OptionError(f"no folder {', '.join(absent or map(str, USUAL))}: name what the other commands left")

    from dime_hf.report import report

    # 1. What there is, and for what there is not the reason
    found, reasons = gather(
        {
            "data": lambda: splits_of(folders),
            "validation": lambda: validation_of(folders),
            "pooling": lambda: pooling_of(folders),
            "plan": lambda: plan_of(folders),
            "history": lambda: json.loads(first(folders, "history.json").read_text()),
            "scores": lambda: scores_of(folders),
            "protocols": lambda: protocols_of(folders),
            "predictions": lambda: {"test": predictions_of(folders)[MODEL]},
        }
    )
    if not found:
        raise OptionError(f"nothing to report in {', '.join(map(str, folders))}: {next(iter(reasons.values()))}")
    # 2. The page
    made = report(**found, include=given.include, utterances=given.utterances, title=given.title)
    made = dataclasses.replace(made, left_out={SECTION.get(name, name): why for name, why in reasons.items()})
    made.save(given.output)
    print(made)
    print(f"In {given.output}: report.html, report.md, report.json")


def gather(wanted: dict[str, Callable[[], Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """The parts that can be had, and for each of the others the reason."""
    found, reasons = {}, {}
    for name, make in wanted.items():
        try:
            found[name] = make()
        except PackageError:
            raise
        except DimeError as error:
            reasons[name] = str(error)
    return found, reasons


def first(folders: list[Path], *names: str) -> Path:
    """The folder's name that is in the first folder that has them all; the last of the names is returned."""
    for folder in folders:
        if all((folder / name).exists() for name in names):
            return folder / names[-1]
    places = ", ".join(map(str, folders))
    raise OptionError(f"no {' and '.join(names)} in {places}: `dime-hf {MADE_BY[names[0]]}` leaves that")


def splits_of(folders: list[Path]) -> dict[str, datasets.Dataset]:
    """What was trained on, and what was scored."""
    splits = {}
    with contextlib.suppress(OptionError):
        splits["train"] = read(first(folders, "train"))
    splits["test"] = test_of(folders)
    return splits


def test_of(folders: list[Path]) -> datasets.Dataset:
    """The utterances that were predicted, or else pooled."""
    with contextlib.suppress(OptionError):
        return read(first(folders, "predictions", "test"))
    with contextlib.suppress(OptionError):
        labels = first(folders, "test", "labels")
        return read(labels / studied(labels))
    return read(first(folders, "test"))


def validation_of(folders: list[Path]) -> Any:
    from dime_hf.validate import validate

    for name in ("labelled", "test"):
        with contextlib.suppress(OptionError):
            return validate(read(first(folders, name)))
    return validate(read(first(folders, "labelled")))


def pooled(folders: list[Path]) -> tuple[dict[str, datasets.Dataset], datasets.Dataset, str | None]:
    """Labels by name, the votes that judge, and the name of the labels that the study is about."""
    folder = first(folders, "labels", "test").parent
    labels = {path.name: read(path) for path in sorted((folder / "labels").iterdir())}
    return labels, read(folder / "test"), studied(folder / "labels")


def studied(labels: Path) -> str:
    """The labels that the study is about, as `dime-hf pool` was told."""
    scores = labels.parent / "scores.json"
    return json.loads(scores.read_text())["verdict_on"] if scores.exists() else "fitted"


def pooling_of(folders: list[Path]) -> Any:
    from dime_hf.protocol import score_labels

    labels, test, verdict_on = pooled(folders)
    return score_labels(labels, test, control=CONTROL, verdict_on=verdict_on)


def protocols_of(folders: list[Path]) -> Any:
    labels, test, _ = pooled(folders)
    compared = compare_with_own(labels, test)
    if compared is None:
        raise OptionError(f"there are no labels of the paper ({', '.join(PAPERS)}) among {', '.join(labels)}")
    return compared


def plan_of(folders: list[Path]) -> Any:
    from dime_hf.augment import Plan

    return Plan.load(first(folders, "plan"))


def predictions_of(folders: list[Path]) -> dict[str, Any]:
    """Predictions (N, C) by name, in the order of the rows of the test set beside them."""
    from dime_hf.score import read_predictions

    test = read(first(folders, "predictions", "test"))
    folder = first(folders, "test", f"predictions/{MODEL}.csv").parent
    return {path.stem: read_predictions(path, test) for path in sorted(folder.glob("*.csv"))}


def scores_of(folders: list[Path]) -> Any:
    from dime_hf.columns import REFERENCE_COUNTS
    from dime_hf.protocol import score_labels, scores_by_level

    predictions, test = predictions_of(folders), read(first(folders, "predictions", "test"))
    score = scores_by_level if REFERENCE_COUNTS in test.column_names else score_labels
    return score(predictions, test, control=CONSTANT, verdict_on=MODEL)
