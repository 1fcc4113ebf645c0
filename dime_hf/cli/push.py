"""Share on the Hub: ids and soft labels of a dataset, private, unless more is named; or a metric's folder.

    dime-hf push outputs/pool/labelled user/soft-labels                     # a dataset: ids and soft labels
    dime-hf push outputs/pool/labelled user/soft-labels --include answers --store outputs/annotate/answers.sqlite
    dime-hf push outputs/train/test user/listen --space --include audio \\
        --predictions outputs/train/predictions/model.csv                   # a page that plays and compares
    dime-hf push metrics/soft_label user/soft_label --metric                # evaluate.load("user/soft_label")

What may leave is said by the licence of the corpus; what leaves is named: --include audio text votes answers groups
ratings, or names of columns. Log in with `hf auth login`, or set HF_TOKEN.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dime_hf.errors import OptionError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="a dataset: folder of `save_to_disk` or of Parquet; or a metric's folder")
    parser.add_argument("repo", metavar="user/name", help="where to; without owner: yours")
    parser.add_argument("--include", nargs="+", default=[], metavar="WHAT", help="push this as well (see its licence)")
    parser.add_argument("--public", action="store_true", help="for everybody (default: private)")
    parser.add_argument("--store", type=Path, help="answers that the card of a dataset tells of")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--space", action="store_true", help="a page to look at the dataset, and to listen to it")
    kind.add_argument("--metric", action="store_true", help="a metric that `evaluate.load` finds")
    parser.add_argument("--predictions", type=Path, help="with --space: what a model says, .csv or .parquet")


def run(given: argparse.Namespace) -> None:
    check_options(given)

    from dime_hf.hub import push_metric, push_space, push_to_hub

    private = not given.public
    if given.metric:
        push_metric(given.repo, given.source, private=private)
    elif given.space:
        dataset = read_dataset(given)
        push_space(
            dataset, given.repo, include=given.include, predictions=predictions_of(given, dataset), private=private
        )
    else:
        push_to_hub(read_dataset(given), given.repo, include=given.include, private=private, store=given.store)
    what = "metric" if given.metric else ", ".join(["ids and soft labels", *given.include])
    print(f"pushed to {given.repo}, {'private' if private else 'public'}: {what}")


def check_options(given: argparse.Namespace) -> None:
    """Refuse options that would mean nothing."""
    if given.predictions and not given.space:
        raise OptionError("--predictions are shown on a page: give --space, too")
    if given.metric and (given.include or given.store):
        raise OptionError("--metric pushes a folder as it is: leave out --include and --store")
    if given.store and given.space:
        raise OptionError("--store is for the card of a dataset: leave it out with --space")


def read_dataset(given: argparse.Namespace) -> Any:
    from dime_hf.cli.train import read

    if not Path(given.source).is_dir():
        raise OptionError(f"{given.source} is no folder: give one that `save_to_disk` or `dime-hf prepare` wrote")
    return read(given.source)


def predictions_of(given: argparse.Namespace, dataset: Any) -> Any:
    from dime_hf.score import read_predictions

    if given.predictions is None:
        return None
    if isinstance(dataset, dict):
        raise OptionError(f"--predictions are of one split: give the folder of one, not of {list(dataset)}")
    return read_predictions(given.predictions, dataset)
