# /// script
# dependencies = ["dime_hf[augment]"]
# ///
"""Augment a training set with DiME-Aug: plan which utterances become new ones, look at the plan, then carry it out.

    python examples/augment.py                                     # toy corpus: seconds on a CPU, offline
    python examples/augment.py --dataset outputs/pool/labelled --ratio 0.5
    python examples/augment.py --plan_only                         # write the plan; edit it, and then
    python examples/augment.py --plan outputs/augment/plan         # carry it out
    python examples/augment.py --folder outputs/augment/audio      # the new sounds as files; a killed run goes on

A dataset is a folder of `save_to_disk` with soft labels and audio: training data, for scores need real utterances. In
outputs/augment: plan/ or train/ (`datasets.load_from_disk`); neither with --lazy, which makes sounds as they are read.
The same as `dime-hf augment`, whose steps stand in dime_hf/cli/augment.py.
"""

import sys

from dime_hf.cli import main

if __name__ == "__main__":
    if code := main(["augment", *sys.argv[1:]]):
        sys.exit(code)
