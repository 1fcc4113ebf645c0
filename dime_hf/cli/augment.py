"""Augment a training set with DiME-Aug: plan which utterances become new ones, look at the plan, then carry it out.

    dime-hf augment                                     # toy corpus: seconds on a CPU, offline
    dime-hf augment --dataset outputs/pool/labelled --ratio 0.5
    dime-hf augment --plan_only                         # write the plan; edit it, and then
    dime-hf augment --plan outputs/augment/plan         # carry it out
    dime-hf augment --folder outputs/augment/audio      # the new sounds as files; a killed run goes on

A dataset is a folder of `save_to_disk` with soft labels and audio: training data, for scores need real utterances. In
outputs/augment: plan/ and train/ (`datasets.load_from_disk`); neither with --lazy, which makes sounds when read.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dime_hf.cli.choices import ENCODINGS
from dime_hf.errors import OptionError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", type=Path, help="a dataset saved by `save_to_disk` (default: the toy corpus)")
    parser.add_argument("--utterances", type=int, default=300, help="size of the toy corpus")
    parser.add_argument("--recipe", help="of DiME-Aug; the paper's is 'paper'")
    parser.add_argument("--ratio", type=float, help="what the smallest class shall have of the largest, in (0, 1]")
    parser.add_argument("--target", help="instead: 'uniform', or a share for every class: .3,.3,.2,.2")
    parser.add_argument("--plan_only", action="store_true", help="write the plan and stop")
    parser.add_argument("--plan", type=Path, help="carry out this plan, edited or not")
    parser.add_argument("--lazy", action="store_true", help="write no sound: make it when a row is read")
    parser.add_argument("--folder", type=Path, help="write the new sounds as files here")
    parser.add_argument("--encoding", default="float", choices=ENCODINGS, help="of new sounds; float: 32-bit wav")
    parser.add_argument("--num_proc", type=int, help="processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("outputs/augment"))


def run(given: argparse.Namespace) -> None:
    import datasets

    from dime_hf.augment import DimeAug, Plan, augment

    # 1. The training set
    train = datasets.load_from_disk(str(given.dataset)) if given.dataset else toy(given.output, given.utterances)
    # 2. The plan: made, or read as somebody left it
    if given.plan:
        plan = Plan.load(given.plan)
    else:
        settings = {name: getattr(given, name) for name in ("ratio", "recipe", "seed")}
        settings["target"] = target(given.target)
        plan = DimeAug(**{name: value for name, value in settings.items() if value is not None}).plan(train)
    print(plan)
    if given.plan_only:
        plan.save(given.output / "plan")
        print(f"\nPlanned only. Edit {given.output / 'plan'}, then give it as --plan")
        return
    # 3. The new utterances
    augmented = augment(
        train, plan, lazy=given.lazy, folder=given.folder, encoding=given.encoding, num_proc=given.num_proc
    )
    print(f"\n{len(train):,} utterances of people and {len(augmented) - len(train):,} new ones")
    # 4. What was made of what
    for row in augmented.select(range(len(train), min(len(train) + 3, len(augmented)))):
        print(f"  {row['id']}: {row['duration']:.2f} s, {row['text']!r}\n    {row['augmentation']}")
    # 5. Keep it, unless it is made anew whenever it is read: then train on `augmented` itself
    if not given.lazy:
        augmented.save_to_disk(given.output / "train")
        if not given.plan:
            plan.save(given.output / "plan")
        print(f"\nIn {given.output}: train/{'' if given.plan else ', plan/'}")


def target(given: str | None) -> Any:
    """A target as people write it."""
    if given in (None, "uniform"):
        return given
    try:
        return tuple(map(float, str(given).split(",")))
    except ValueError:
        raise OptionError(f"--target must be 'uniform' or shares such as .3,.3,.2,.2, not {given!r}") from None


def toy(out: Path, utterances: int) -> Any:
    """The training part of a toy corpus."""
    import dime_hf
    from dime_hf.corpora import toy

    print("no --dataset given: a toy corpus")
    root = toy.write(out / "corpus", utterances=utterances)
    return dime_hf.load_dataset("iemocap", data_dir=root, fold=1, cache_dir=str(out / "cache"))["train"]
