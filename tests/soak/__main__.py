"""`python -m tests.soak --runs 50`: exits with 1 at the first run that lost an answer or asked for one again."""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter

import datasets

from tests.soak.kills import killed_run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    datasets.disable_progress_bars()
    logging.disable(logging.WARNING)
    total: Counter[str] = Counter()
    for seed in range(given.seed, given.seed + given.runs):
        try:
            total.update(killed_run(seed))
        except AssertionError as error:
            print(f"run {seed}: {error}")
            return 1
    print(f"{given.runs} runs, " + ", ".join(f"{count} {name}" for name, count in total.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
