# /// script
# dependencies = ["dime_hf"]
# ///
"""Score labels and predictions against the votes of held-out humans: intervals, a control, a verdict.

    python examples/pool.py && python examples/score.py        # what pool.py left: seconds on a CPU
    python examples/score.py --reference outputs/pool/test --labels prior=outputs/pool/labels/prior model=mine.csv \
        --control prior --verdict_on model
    python examples/score.py --reference labelled --labels model=mine.csv --moving_reference      # as 2601.14620 does

A reference is a folder of `save_to_disk` whose `reference_counts` judge (`hold_out_votes` makes them). Labels are such
folders too, or files of predictions (.csv, .parquet) with the column `id` and one for each class.
In the end: outputs/score/scores.json.
"""

import argparse
import json
from pathlib import Path
from typing import Any


def main() -> None:
    given = parse()

    import datasets

    from dime_hf.evidence import plain
    from dime_hf.protocol import score_labels
    from dime_hf.score import read_predictions

    # 1. The votes that judge
    reference = datasets.load_from_disk(str(given.reference))
    # 2. What is judged: datasets with soft labels, or files that somebody else made
    labels: dict[str, Any] = {
        name: datasets.load_from_disk(str(path)) if path.is_dir() else read_predictions(path, reference)
        for name, path in given.labels.items()
    }
    # 3. Score them on the same rows
    table = score_labels(
        labels,
        reference,
        control=given.control,
        verdict_on=given.verdict_on,
        moving_reference=given.moving_reference,
        metrics=given.metrics,
    )
    print(table)
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "scores.json").write_text(json.dumps(plain(table), indent=2) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made = Path("outputs/pool")
    parser.add_argument("--reference", type=Path, default=made / "test", help="a dataset saved by `save_to_disk`")
    parser.add_argument(
        "--labels", nargs="+", type=named, metavar="NAME=PATH", help="default: all that lie in outputs/pool/labels"
    )
    parser.add_argument("--control", help="the labels that others must beat (default: prior, if it is among them)")
    parser.add_argument("--verdict_on", help="the labels that the study is about: one, declared beforehand")
    parser.add_argument("--metrics", nargs="+", default=["squared_score", "js_divergence", "bhattacharyya"])
    parser.add_argument("--moving_reference", action="store_true", help="allow labels that contain what judges them")
    parser.add_argument("--output", type=Path, default=Path("outputs/score"))
    given = parser.parse_args()
    given.labels = dict(given.labels or [(path.name, path) for path in sorted((made / "labels").glob("*"))])
    if not given.labels:
        parser.error("--labels: name some, or run examples/pool.py first")
    if given.control is None and "prior" in given.labels:
        given.control = "prior"
    return given


def named(argument: str) -> tuple[str, Path]:
    """`name=path`."""
    name, found, path = argument.partition("=")
    if not found or not Path(path).exists():
        raise argparse.ArgumentTypeError(f"{argument!r} must be NAME=PATH, with a path that is there")
    return name, Path(path)


if __name__ == "__main__":
    main()
