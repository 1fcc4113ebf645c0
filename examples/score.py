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
The same as `dime-hf score`, whose steps stand in dime_hf/cli/score.py.
"""

import sys

from dime_hf.cli import main

if __name__ == "__main__":
    if code := main(["score", *sys.argv[1:]]):
        sys.exit(code)
