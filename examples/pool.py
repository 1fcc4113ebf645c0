# /// script
# dependencies = ["dime_hf[report]"]
# ///
"""Pool human and synthetic votes: are the proxies any good, which labels are better, and where to ask humans next?

    python examples/pool.py                                     # a simulated corpus: a minute on a CPU, offline
    python examples/annotate.py && python examples/pool.py --dataset outputs/annotate/annotated --keep 2
    python examples/pool.py --dataset annotated --rotate        # annotators judge in turn: for three votes

A dataset is a folder of `save_to_disk` with human votes and answers, such as annotate.py leaves. Poolers are fitted on
other speakers than they label. In outputs/pool: labelled/ (all votes pooled by --method: what to train on), test/ and
labels/ (votes held out: what score.py reads), validation.json with its figures, scores.json, and next_votes.csv.
The same as `dime-hf pool`, whose steps stand in dime_hf/cli/pool.py.
"""

import sys

from dime_hf.cli import main

if __name__ == "__main__":
    if code := main(["pool", *sys.argv[1:]]):
        sys.exit(code)
