"""Pool human and synthetic votes: are the proxies any good, which labels are better, and where to ask humans next?

    dime-hf pool                                          # a simulated corpus: a minute on a CPU, offline
    dime-hf annotate && dime-hf pool --dataset outputs/annotate/annotated --keep 2
    dime-hf pool --dataset annotated --rotate             # annotators judge in turn: for three votes

A dataset is a folder of `save_to_disk` with human votes and answers, such as `dime-hf annotate` leaves. Poolers are
fitted on other speakers than they label. In outputs/pool: labelled/ (all votes pooled by --method: what to train on),
test/ and labels/ (votes held out: what `dime-hf score` reads), validation.json with its figures, scores.json, and
next_votes.csv.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from dime_hf.cli.choices import POOLERS
from dime_hf.errors import FitError, OptionError

CONTROL = "prior"
PAPERS = ("human", "equal")  # labels of arXiv 2601.14620


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", type=Path, help="a dataset saved by `save_to_disk` (default: a simulated one)")
    parser.add_argument("--utterances", type=int, default=2000, help="size of the simulated corpus")
    parser.add_argument("--method", default="fitted", choices=POOLERS, help="the pooler that the study is about")
    parser.add_argument("--compare", nargs="*", default=["human", "equal"], choices=POOLERS, help="others")
    parser.add_argument("--keep", type=int, default=2, help="votes an utterance that labels may use; others judge")
    parser.add_argument("--rotate", action="store_true", help="let a third of the annotators judge in turn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("outputs/pool"))


def run(given: argparse.Namespace) -> None:
    if given.method == CONTROL:
        raise OptionError(f"--method: {CONTROL!r} is the control that others are compared to")

    import datasets

    from dime_hf.evidence import plain
    from dime_hf.pool import cross_pool, get_pooler, rank_for_votes
    from dime_hf.protocol import score_labels
    from dime_hf.validate import validate

    out: Path = given.output
    out.mkdir(parents=True, exist_ok=True)
    # 1. Human votes, and what proxies answered
    dataset = datasets.load_from_disk(str(given.dataset)) if given.dataset else simulated(given.utterances)
    # 2. Are the proxies any good?
    validation = validate(dataset)
    print(validation)
    validation.save(out)
    # 3. Hold votes out to judge by, and pool the others in every way
    turns = held_out(dataset, given)
    names = dict.fromkeys([*given.compare, CONTROL, given.method])
    test = datasets.concatenate_datasets(turns)
    labels = {
        name: datasets.concatenate_datasets([cross_pool(turn, get_pooler(name)) for turn in turns]) for name in names
    }
    for name, made in {"test": test, **{f"labels/{name}": one for name, one in labels.items()}}.items():
        made.save_to_disk(out / name)
    # 4. Which labels are better? And what would the paper's protocol say?
    table = score_labels(labels, test, control=CONTROL, verdict_on=given.method)
    print(f"\n{table}\n")
    protocols = compare_with_own(labels, test)
    if protocols:
        print(protocols)
    scores = {"verdict_on": given.method, "scores": plain(table), "protocols": plain(protocols)}
    (out / "scores.json").write_text(json.dumps(scores, indent=2) + "\n")
    # 5. Labels of all votes, and the utterances where one more human vote would help most
    cross_pool(dataset, get_pooler(given.method)).save_to_disk(out / "labelled")
    made = "labelled/, test/, labels/, validation.json, scores.json"
    try:
        ranked = rank_for_votes(dataset, get_pooler(given.method).fit(dataset))
        ranked.to_csv(out / "next_votes.csv")
        print(f"\nIn {out}: {made}, next_votes.csv")
    except FitError as error:  # of poolers that do not say how sure they are
        print(f"\nIn {out}: {made}; no next_votes.csv: {error}")


def simulated(utterances: int) -> Any:
    """Twenty speakers, five votes an utterance, a proxy worth two votes and one that always says the next class."""
    import numpy as np

    from dime_hf.simulation import Proxy, simulate

    print("no --dataset given: a simulated corpus of known truth")
    wrong = Proxy("wrong", votes=1, bias=np.roll(np.eye(4), 1, axis=1), draws=5)
    return simulate(utterances, annotators=5, proxies=[Proxy("good", votes=2), wrong]).dataset()


def held_out(dataset: Any, given: argparse.Namespace) -> list[Any]:
    """The dataset with votes held out: once, or in turns in which no annotator is on both sides."""
    from dime_hf.corpora.holdout import hold_out_votes
    from dime_hf.corpora.rotation import rotate_annotators

    if given.rotate:
        return rotate_annotators(dataset, seed=given.seed)
    return [hold_out_votes(dataset, given.keep, given.seed)]


def compare_with_own(labels: dict[str, Any], test: Any) -> Any:
    """Scores against held-out humans beside those against labels of their own, as the paper has it; or None."""
    from dime_hf.pool import get_pooler
    from dime_hf.protocol import compare_protocols, own_labels

    own: dict[str, Any] = {name: own_labels(test, get_pooler(name)) for name in PAPERS if name in labels}
    if not own:
        return None
    return compare_protocols({name: labels[name] for name in own}, own, test, metrics=["js_divergence"])
