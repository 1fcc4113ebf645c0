"""Score labels and predictions against the votes of held-out humans: intervals, a control, a verdict.

    dime-hf pool && dime-hf score                       # what `pool` left: seconds on a CPU
    dime-hf score --reference outputs/pool/test --labels prior=outputs/pool/labels/prior model=mine.csv \\
        --control prior --verdict_on model
    dime-hf score --reference labelled --labels model=mine.csv --moving_reference      # as 2601.14620 does

A reference is a folder of `save_to_disk` whose `reference_counts` judge (`hold_out_votes` makes them). Labels are such
folders too, or files of predictions (.csv, .parquet) with the column `id` and one for each class.
In the end: outputs/score/scores.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from dime_hf.errors import OptionError

MADE = Path("outputs/pool")  # by `dime-hf pool`
CONTROL = "prior"  # where it is among the labels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reference", type=Path, default=MADE / "test", help="a dataset saved by `save_to_disk`")
    parser.add_argument(
        "--labels", nargs="+", metavar="NAME=PATH", help="default: all that lie in outputs/pool/labels"
    )
    parser.add_argument("--control", help="the labels that others must beat (default: prior, if it is among them)")
    parser.add_argument("--verdict_on", help="the labels that the study is about: one, declared beforehand")
    parser.add_argument("--metrics", nargs="+", default=["squared_score", "js_divergence", "bhattacharyya"])
    parser.add_argument("--moving_reference", action="store_true", help="allow labels that contain what judges them")
    parser.add_argument("--output", type=Path, default=Path("outputs/score"))
    parser.add_argument("--json", action="store_true", help="print the scores as JSON")


def run(given: argparse.Namespace) -> None:
    paths = named(given.labels)

    import datasets

    from dime_hf.evidence import plain
    from dime_hf.protocol import score_labels
    from dime_hf.score import read_predictions

    # 1. The votes that judge
    reference = datasets.load_from_disk(str(given.reference))
    # 2. What is judged: datasets with soft labels, or files that somebody else made
    labels: dict[str, Any] = {
        name: datasets.load_from_disk(str(path)) if path.is_dir() else read_predictions(path, reference)
        for name, path in paths.items()
    }
    control = CONTROL if given.control is None and CONTROL in labels else given.control
    # 3. Score them on the same rows
    table = score_labels(
        labels,
        reference,
        control=control,
        verdict_on=given.verdict_on,
        moving_reference=given.moving_reference,
        metrics=given.metrics,
    )
    # 4. Show them, and keep them
    scores = json.dumps(plain(table), indent=2)
    print(scores if given.json else table)
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "scores.json").write_text(f"{scores}\n")


def named(given: list[str] | None) -> dict[str, Path]:
    """Paths by name, from `NAME=PATH` each; what `dime-hf pool` left where nothing is given."""
    paths = {}
    for one in given or [f"{path.name}={path}" for path in sorted((MADE / "labels").glob("*"))]:
        name, found, path = one.partition("=")
        if not found or not Path(path).exists():
            raise OptionError(f"--labels: {one!r} must be NAME=PATH, with a path that is there")
        paths[name] = Path(path)
    if not paths:
        raise OptionError("--labels: name some, or run `dime-hf pool` (examples/pool.py) first")
    return paths
