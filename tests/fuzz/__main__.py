"""`python -m tests.fuzz --seconds 120`: exits with 1 where a mutant was mistreated, which it saves."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from tests.fuzz import crema_d, dime_votes, iemocap, msp_podcast
from tests.fuzz.harness import OUTCOMES, MutantError, run, total

TARGETS = [*iemocap.TARGETS, *crema_d.TARGETS, *msp_podcast.TARGETS, *dime_votes.TARGETS]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", choices=[target.name for target in TARGETS], help="one kind of file only")
    parser.add_argument("--save", type=Path, default=Path("outputs/fuzz"), help="folder for a failing file")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # of columns that are not used, and the like
    targets = [target for target in TARGETS if arguments.target in (None, target.name)]
    try:
        counts = run(targets, seed=arguments.seed, seconds=arguments.seconds)
    except MutantError as failure:
        print(f"{failure.target}: {failure.reason}\nThe file is kept as {failure.save(arguments.save)}")
        return 1
    print(f"{'label file':<24}{'mutants':>9}" + "".join(f"{outcome:>9}" for outcome in OUTCOMES))
    for name, outcomes in counts.items():
        print(f"{name:<24}{total(outcomes):>9,}" + "".join(f"{outcomes[outcome]:>9,}" for outcome in OUTCOMES))
    return 0


if __name__ == "__main__":
    sys.exit(main())
