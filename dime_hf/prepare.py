"""The commands `prepare` and `check`, and behind `dataset_scripts/<corpus>/<corpus>.py` both in one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datasets

    from dime_hf.corpora.statistics import Check

# as plain values, for importing what they name takes a second (a test compares the two)
PUBLISHED = ("crema_d", "iemocap", "msp_podcast")  # corpora whose counts are known
CORPORA = (*PUBLISHED, "dime_votes")
ROWS = ("voted", "decided", "all")
POLICIES = ("all_inclusive", "emo_superb", "official", "paper")
MISSING_AUDIO = ("keep", "drop", "error")
INCLUDE = ("audio", "text", "votes", "answers", "groups", "ratings")
WHOLE = {"iemocap": "10class", "msp_podcast": "9class"}  # configs with every official label
SHARD = "{split}-00000-of-00001.parquet"  # the names by which `datasets` finds splits in a folder


def main(corpus: str, arguments: Sequence[str] | None = None) -> None:
    """Run the command for `corpus`; exits with 1 when `--check` finds counts that are not the published ones."""
    parser = argparse.ArgumentParser(
        description=f"Load {corpus} with every human vote and a soft label, and say what is in it."
    )
    add_arguments(parser, label_set="--config")
    parser.add_argument(
        "--check", action="store_true", help="compare with the published counts; exit 1 if they differ"
    )
    given = parser.parse_args(arguments)
    prepare(corpus, given)
    if corpus in PUBLISHED and given.check:
        found, same = check(corpus, given, given.label_set)
        print(told(found, same))
        sys.exit(0 if found else 1)


def add_arguments(parser: argparse.ArgumentParser, label_set: str = "--label_set") -> None:
    """Add what `prepare` takes; `label_set` is the name of the option for the corpus's config."""
    add_folder_arguments(parser)
    parser.add_argument(label_set, dest="label_set", help="config name (default: the corpus's own default)")
    parser.add_argument("--rows", default="voted", choices=ROWS, help="which utterances to keep")
    parser.add_argument("--vote_policy", default="official", choices=POLICIES, help="how votes are counted")
    parser.add_argument("--fold", type=int, help="1 to 5: speaker-independent train, validation and test")
    parser.add_argument("--save", metavar="FOLDER", help="write the dataset there as Parquet")
    parser.add_argument("--push_to_hub", metavar="USER/NAME", help="push ids and soft labels to the Hub, private")
    parser.add_argument(
        "--include", nargs="+", default=[], choices=INCLUDE, help="push this as well (see its licence)"
    )
    parser.add_argument("--public", action="store_true", help="push it for everybody")


def add_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says where a corpus is and how it is read."""
    parser.add_argument("--data_dir", required=True, help="the folder of the corpus")
    parser.add_argument("--missing_audio", default="keep", choices=MISSING_AUDIO)
    parser.add_argument("--labels_only", action="store_true", help="leave recordings alone")
    parser.add_argument("--num_proc", type=int, help="processes")


def prepare(corpus: str, given: argparse.Namespace) -> None:
    """Load a corpus, say what is in it, and save or push it where that is asked for."""
    from dime_hf.corpora.leakage import leakage
    from dime_hf.corpora.statistics import describe

    loaded = _load(corpus, given, given.label_set, rows=given.rows, vote_policy=given.vote_policy, fold=given.fold)
    print(describe(loaded))
    if given.fold:
        print(leakage(loaded, audio=not given.labels_only))
    if given.save:
        save(loaded, given.save)
        print(f"saved to {given.save}: datasets.load_dataset({given.save!r}); recordings stay where they are")
    if given.push_to_hub:
        from dime_hf.hub import push_to_hub

        push_to_hub(loaded, given.push_to_hub, include=given.include, private=not given.public)
        print(f"pushed to {given.push_to_hub}: ids and soft labels{''.join(f', {name}' for name in given.include)}")


def check(corpus: str, given: argparse.Namespace, label_set: str | None = None) -> tuple[Check, list[list[str]]]:
    """Compare a corpus with its published releases; also return the ids whose recordings are the same bytes."""
    from dime_hf.corpora import statistics
    from dime_hf.corpora.leakage import duplicates
    from dime_hf.corpora.published import PUBLISHED as RELEASES

    whole = _load(corpus, given, WHOLE.get(corpus, label_set), rows="all")
    return statistics.check(whole, RELEASES[corpus]), duplicates(whole)


def told(found: Check, same: list[list[str]]) -> str:
    """What `check` found, as a text."""
    recordings = [f"  the same recording byte for byte: {' = '.join(ids)}" for ids in same]
    return "\n".join([str(found), *recordings])


def save(splits: datasets.DatasetDict, folder: str) -> None:
    """Write a Parquet file a split, in which recordings are paths, as `datasets.load_dataset(folder)` reads it."""
    data = Path(folder) / "data"
    data.mkdir(parents=True, exist_ok=True)
    for name, split in splits.items():
        split.to_parquet(str(data / SHARD.format(split=name)))


def _load(corpus: str, given: argparse.Namespace, config: str | None, **options: Any) -> datasets.DatasetDict:
    from dime_hf.corpora.register import load_dataset

    return load_dataset(
        corpus,
        config,
        given.data_dir,
        missing_audio=given.missing_audio,
        labels_only=given.labels_only,
        num_proc=given.num_proc,
        **options,
    )
