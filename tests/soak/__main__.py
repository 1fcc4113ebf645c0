"""`python -m tests.soak --runs 50 --corpora 500`: killed runs of annotation, and verdicts on simulated corpora.

Exits with 1 at the first run that lost an answer or asked for one again, or where an error rate is beyond its bound.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter

import datasets

from tests.soak.kills import killed_run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--runs", type=int, default=50, help="runs of annotation that are killed")
    parser.add_argument("--corpora", type=int, default=0, help="simulated corpora for each kind of verdict")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    datasets.disable_progress_bars()
    logging.disable(logging.WARNING)
    return int(not (kills(given.runs, given.seed) and verdicts(given.corpora, given.seed)))


def kills(runs: int, seed: int) -> bool:
    """Kill so many runs, and say whether all was well."""
    total: Counter[str] = Counter()
    for number in range(seed, seed + runs):
        try:
            total.update(killed_run(number))
        except AssertionError as error:
            print(f"run {number}: {error}")
            return False
    print(f"{runs} runs, " + ", ".join(f"{count} {name}" for name, count in total.items()))
    return True


def verdicts(corpora: int, seed: int) -> bool:
    """Measure the error rates on so many corpora, and say whether all are within their bounds."""
    if not corpora:
        return True
    from tests.soak.verdicts import run  # not before the kills, which fork while there is one thread

    started = time.perf_counter()
    fine = run(corpora, seed)
    print(f"{corpora} corpora, {time.perf_counter() - started:.0f} s: " + ("all within bounds" if fine else "FAILS"))
    return fine


if __name__ == "__main__":
    sys.exit(main())
