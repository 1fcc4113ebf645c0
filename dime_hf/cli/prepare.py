"""Load a corpus with every human vote and a soft label, say what is in it, and save it.

    dime-hf prepare iemocap --data_dir IEMOCAP_full_release --fold 1 --save outputs/iemocap
    dime-hf prepare dime_votes --data_dir votes --save outputs/mine          # votes.csv and metadata.csv of your own

What is saved is Parquet, a file a split (`datasets.load_dataset(folder)`); recordings stay where they are.
"""

from __future__ import annotations

import argparse

from dime_hf import prepare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", choices=prepare.CORPORA)
    prepare.add_arguments(parser)


def run(given: argparse.Namespace) -> None:
    prepare.prepare(given.corpus, given)
