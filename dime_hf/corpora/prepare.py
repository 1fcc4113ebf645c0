"""The command behind `dataset_scripts/<corpus>/<corpus>.py`: load a corpus, say what is in it, and save it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import datasets
import numpy as np

from dime_hf import columns
from dime_hf.corpora.builder import MISSING_AUDIO
from dime_hf.corpora.register import load_dataset
from dime_hf.corpora.rows import ROWS
from dime_hf.distribution import entropy


def main(corpus: str, arguments: Sequence[str] | None = None) -> None:
    """Run the command for `corpus`."""
    parser = argparse.ArgumentParser(
        description=f"Load {corpus} with every human vote and a soft label, and say what is in it."
    )
    parser.add_argument("--data_dir", required=True, help=f"the folder of {corpus}")
    parser.add_argument("--config", help="config name (default: the corpus's own default)")
    parser.add_argument("--rows", default="voted", choices=ROWS, help="which utterances to keep")
    parser.add_argument("--fold", type=int, help="1 to 5: speaker-independent train, validation and test")
    parser.add_argument("--missing_audio", default="keep", choices=MISSING_AUDIO)
    parser.add_argument(
        "--save", metavar="FOLDER", help="write the dataset there, to be read by datasets.load_from_disk"
    )
    given = parser.parse_args(arguments)
    loaded = load_dataset(
        corpus, given.config, given.data_dir, rows=given.rows, fold=given.fold, missing_audio=given.missing_audio
    )
    print(describe(loaded))
    if given.save:
        loaded.save_to_disk(given.save)
        print(f"saved to {given.save} (recordings included)")


def describe(splits: datasets.DatasetDict) -> str:
    """Return a table of utterances, recordings, votes, decided utterances, mean entropy and class mass by split."""
    names = columns.classes(next(iter(splits.values())))
    head = f"{'split':<12}{'rows':>8}{'audio':>8}{'votes':>10}{'decided':>9}{'bits':>7}  votes: {' '.join(names)}"
    return "\n".join([head, *(_line(name, split) for name, split in splits.items())])


def _line(name: str, split: datasets.Dataset) -> str:
    table = split.select_columns([columns.AUDIO, columns.HARD_LABEL]).with_format("arrow")[:]
    counts = np.asarray(split[columns.VOTE_COUNTS], dtype=float)
    voted = counts[counts.sum(-1) > 0]
    bits = entropy(voted / voted.sum(-1, keepdims=True)).mean() if len(voted) else float("nan")
    audio, decided = (len(split) - table[column].null_count for column in (columns.AUDIO, columns.HARD_LABEL))
    mass = " ".join(f"{share:.3f}" for share in counts.sum(0) / max(counts.sum(), 1))
    return f"{name:<12}{len(split):>8,}{audio:>8,}{counts.sum():>10,.0f}{decided:>9,}{bits:>7.3f}  {mass}"
