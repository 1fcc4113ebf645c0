"""The command behind `dataset_scripts/<corpus>/<corpus>.py`: load a corpus, describe, check, save, push it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets

from dime_hf.corpora.builder import MISSING_AUDIO
from dime_hf.corpora.leakage import duplicates, leakage
from dime_hf.corpora.policy import POLICIES
from dime_hf.corpora.published import PUBLISHED
from dime_hf.corpora.register import load_dataset
from dime_hf.corpora.rows import ROWS
from dime_hf.corpora.statistics import check, describe
from dime_hf.hub import INCLUDE, push_to_hub

WHOLE = {"iemocap": "10class", "msp_podcast": "9class"}  # configs with every official label
SHARD = "{split}-00000-of-00001.parquet"  # the names by which `datasets` finds splits in a folder


def main(corpus: str, arguments: Sequence[str] | None = None) -> None:
    """Run the command for `corpus`; exits with 1 when `--check` finds counts that are not the published ones."""
    given = _parser(corpus).parse_args(arguments)
    loaded = _load(corpus, given, given.config, rows=given.rows, vote_policy=given.vote_policy, fold=given.fold)
    print(describe(loaded))
    if given.fold:
        print(leakage(loaded, audio=not given.labels_only))
    if given.save:
        save(loaded, given.save)
        print(f"saved to {given.save}: datasets.load_dataset({given.save!r}); recordings stay where they are")
    if given.push_to_hub:
        push_to_hub(loaded, given.push_to_hub, include=given.include, private=not given.public)
        print(f"pushed to {given.push_to_hub}: ids and soft labels{''.join(f', {name}' for name in given.include)}")
    if corpus in PUBLISHED and given.check:
        whole = _load(corpus, given, WHOLE.get(corpus, given.config), rows="all")
        found = check(whole, PUBLISHED[corpus])
        print(found)
        for same in duplicates(whole):
            print(f"  the same recording byte for byte: {' = '.join(same)}")
        sys.exit(0 if found else 1)


def save(splits: datasets.DatasetDict, folder: str) -> None:
    """Write a Parquet file a split, in which recordings are paths, as `datasets.load_dataset(folder)` reads it."""
    data = Path(folder) / "data"
    data.mkdir(parents=True, exist_ok=True)
    for name, split in splits.items():
        split.to_parquet(str(data / SHARD.format(split=name)))


def _load(corpus: str, given: argparse.Namespace, config: str | None, **options: Any) -> datasets.DatasetDict:
    return load_dataset(
        corpus,
        config,
        given.data_dir,
        missing_audio=given.missing_audio,
        labels_only=given.labels_only,
        num_proc=given.num_proc,
        **options,
    )


def _parser(corpus: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=f"Load {corpus} with every human vote and a soft label, and say what is in it."
    )
    parser.add_argument("--data_dir", required=True, help=f"the folder of {corpus}")
    parser.add_argument("--config", help="config name (default: the corpus's own default)")
    parser.add_argument("--rows", default="voted", choices=ROWS, help="which utterances to keep")
    parser.add_argument("--vote_policy", default="official", choices=sorted(POLICIES), help="how votes are counted")
    parser.add_argument("--fold", type=int, help="1 to 5: speaker-independent train, validation and test")
    parser.add_argument("--missing_audio", default="keep", choices=MISSING_AUDIO)
    parser.add_argument("--labels_only", action="store_true", help="leave recordings alone")
    parser.add_argument("--num_proc", type=int, help="processes")
    parser.add_argument("--save", metavar="FOLDER", help="write the dataset there as Parquet")
    parser.add_argument(
        "--check", action="store_true", help="compare with the published counts; exit 1 if they differ"
    )
    parser.add_argument("--push_to_hub", metavar="USER/NAME", help="push ids and soft labels to the Hub, private")
    parser.add_argument(
        "--include", nargs="+", default=[], choices=INCLUDE, help="push this as well (see its licence)"
    )
    parser.add_argument("--public", action="store_true", help="push it for everybody")
    return parser
