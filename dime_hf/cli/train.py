"""Train a speech encoder on soft labels, or tune an audio LM on them with LoRA, and score it beside its control.

    dime-hf train                                              # toy corpus: a minute on a CPU, offline
    dime-hf train --dataset outputs/augment/train --test outputs/pool/test --encoder microsoft/wavlm-base
    dime-hf train --corpus crema_d --data_dir CREMA-D --encoder microsoft/wavlm-base
    dime-hf train --audio_lm                                   # toy corpus: minutes on a CPU, offline
    dime-hf train --audio_lm --corpus iemocap --data_dir IEMOCAP --annotator Qwen/Qwen2-Audio-7B-Instruct \\
        --dtype bfloat16 --modality audio                      # one GPU; --quantization 4bit: QLoRA
    dime-hf train --audio_lm --corpus iemocap ... --recipe paper --head options

A dataset is a folder of `save_to_disk`, or what `load_dataset` takes: a folder of Parquet, a repository of the Hub. In
outputs/train: model/ (for `pipeline("audio-classification", top_k=None)`), test/, predictions/, history.json and
scores.json. Of an audio LM, in outputs/train_audio_lm: tuned/ (adapters that peft loads, and
`AudioLMAnnotator(..., adapter=folder)`), merged/ (an ordinary checkpoint, with --merge) and scores.json. The tuned
annotator refuses the utterances it was tuned on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dime_hf.cli import tune
from dime_hf.cli.choices import LOSSES
from dime_hf.errors import CorpusError, OptionError

if TYPE_CHECKING:
    import datasets

    from dime_hf.trainer import SoftLabelTrainer

MODEL, CONSTANT = "model", "constant"  # the labels that are scored, and their control
OF_ENCODERS = ("dataset", "test", "encoder")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--audio_lm", action="store_true", help="tune an audio LM")
    parser.add_argument("--corpus", default="toy", help="toy, iemocap, crema_d, ...")
    parser.add_argument("--data_dir", help="folder of the corpus")
    parser.add_argument("--fold", type=int, default=1, help="fold whose test speakers are held out")
    parser.add_argument("--utterances", type=int, default=400, help="size of the toy corpus")
    parser.add_argument("--loss", choices=LOSSES, help="default: kl, or that of --recipe")
    parser.add_argument("--epochs", type=float, help="default: 10; of an audio LM 1, or that of --recipe")
    parser.add_argument("--batch_size", type=int, help="utterances a step of each device (default: 16, or --recipe's)")
    parser.add_argument("--learning_rate", type=float, help="default: 3e-5 for a pretrained encoder, else 2e-3")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="default: outputs/train, or outputs/train_audio_lm")
    encoders = parser.add_argument_group("encoders")
    encoders.add_argument("--dataset", help="instead of --corpus: utterances with soft labels")
    encoders.add_argument("--test", help="utterances with votes to score (default: the split 'test', if there is one)")
    encoders.add_argument("--encoder", help="folder or Hub id (default: a small one, from scratch)")
    tune.add_arguments(parser.add_argument_group("audio LMs (with --audio_lm)"))


def run(given: argparse.Namespace) -> None:
    check_options(given)
    given.output = given.output or Path("outputs/train_audio_lm" if given.audio_lm else "outputs/train")
    if given.audio_lm:
        tune.run(given)
        return

    from dime_hf.protocol import score_labels

    # 1. Utterances to train on, and others to score: of speakers that are not among the first
    splits = splits_of(given)
    test = splits.get("test")
    # 2. Train
    chosen = {
        "loss": given.loss,
        "num_train_epochs": given.epochs,
        "per_device_train_batch_size": given.batch_size,
        "learning_rate": given.learning_rate,
        "seed": given.seed,
    }
    settings = {name: value for name, value in chosen.items() if value is not None}
    trainer = fit_encoder(
        splits["train"], given.output / "model", given.encoder, evaluate_on=splits.get("validation"), **settings
    )
    (given.output / "history.json").write_text(json.dumps(trainer.state.log_history, indent=1) + "\n")
    print(f"In {given.output}: model/, history.json")
    if test is None:
        print("not scored: there is no split 'test'; name one as --test")
        return
    # 3. Predict utterances that it has not heard
    predictions = {MODEL: trainer.predict_distributions(test), CONSTANT: constant(splits["train"], len(test))}
    test.save_to_disk(given.output / "test")
    for name, values in predictions.items():
        write_predictions(given.output / "predictions" / f"{name}.csv", test, values)
    print(f"In {given.output}: test/, predictions/")
    # 4. Score them, beside what a constant would score
    if not {"vote_counts", "reference_counts"} & set(test.column_names):
        print("not scored: the test utterances have no votes")
        return
    from dime_hf.evidence import plain

    table = score_labels(predictions, test, control=CONSTANT, verdict_on=MODEL)
    print(f"\n{table}")
    (given.output / "scores.json").write_text(json.dumps(plain(table), indent=2) + "\n")


def check_options(given: argparse.Namespace) -> None:
    """Refuse options that would mean nothing."""
    other = OF_ENCODERS if given.audio_lm else tune.OPTIONS
    wrong = [name for name in other if getattr(given, name) not in (None, False)]
    if wrong:
        raise OptionError(f"--{wrong[0]} is of {'encoders' if given.audio_lm else 'audio LMs: give --audio_lm, too'}")
    if given.corpus != "toy" and not (given.data_dir or given.dataset):
        raise OptionError(f"--corpus {given.corpus} needs --data_dir, the folder of the corpus")


def splits_of(given: argparse.Namespace) -> dict[str, datasets.Dataset]:
    """The splits by name; those that are trained on or heard have recordings and soft labels."""
    import datasets

    if given.dataset:
        loaded = read(given.dataset)
        splits = dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}
    else:
        splits = dict(fold_of(given))
    if given.test:
        loaded = read(given.test)
        splits["test"] = loaded["test"] if isinstance(loaded, datasets.DatasetDict) else loaded
    if "train" not in splits:
        raise OptionError(f"--dataset {given.dataset} has no split 'train', but {list(splits)}")
    splits = {name: whole(split, name) for name, split in splits.items()}
    return {name: split for name, split in splits.items() if len(split) or name == "train"}


def read(place: str | Path) -> Any:
    """A dataset from a folder of `save_to_disk`, or whatever `load_dataset` finds there."""
    import datasets

    saved = [Path(place) / name for name in ("dataset_dict.json", "state.json")]
    load = datasets.load_from_disk if any(path.exists() for path in saved) else datasets.load_dataset
    return load(str(place))


def fold_of(given: argparse.Namespace) -> datasets.DatasetDict:
    """A fold of the corpus, made first where it is the toy."""
    import dime_hf
    from dime_hf.corpora import toy

    made = given.output / "corpus"
    if given.corpus == "toy" and not made.exists():
        toy.write(made, utterances=given.utterances)
    corpus, root = ("iemocap", made) if given.corpus == "toy" else (given.corpus, given.data_dir)
    return dime_hf.load_dataset(corpus, data_dir=root, fold=given.fold)


def whole(split: datasets.Dataset, name: str) -> datasets.Dataset:
    """The utterances with a recording and a soft label; says how many others there are."""
    import numpy as np
    import pyarrow.compute as pc

    from dime_hf.columns import AUDIO, SOFT_LABEL, require

    require(split, AUDIO, SOFT_LABEL)
    table = split.select_columns([AUDIO, SOFT_LABEL]).with_format("arrow")[:]
    has_both = np.asarray(pc.and_(table[AUDIO].is_valid(), table[SOFT_LABEL].is_valid()))
    if not has_both.any() and name == "train":
        raise CorpusError("no utterance has both a recording and a soft label: there is nothing to train on")
    if not has_both.all():
        print(f"{name}: {(~has_both).sum():,} of {len(split):,} utterances lack a recording or a soft label")
    return split if has_both.all() else split.select(np.flatnonzero(has_both))


def fit_encoder(
    train: datasets.Dataset,
    folder: Path,
    checkpoint: str | None = None,
    evaluate_on: datasets.Dataset | None = None,
    **settings: Any,
) -> SoftLabelTrainer:
    """Train an encoder on `soft_label`, save it to `folder`, and return its trainer."""
    from dime_hf.columns import classes
    from dime_hf.modeling import load_encoder, small_encoder
    from dime_hf.trainer import SoftLabelConfig, SoftLabelTrainer

    names = classes(train)
    model, extractor = load_encoder(checkpoint, names) if checkpoint else small_encoder(names)
    usual = {
        "num_train_epochs": 10,
        "per_device_train_batch_size": 16,
        "learning_rate": 3e-5 if checkpoint else 2e-3,  # a pretrained encoder is tuned, the small one learns anew
        "warmup_steps": 0.1,
        "logging_strategy": "epoch",
        "eval_strategy": "epoch" if evaluate_on is not None else "no",
    }
    trainer = SoftLabelTrainer(
        model=model,
        args=SoftLabelConfig(str(folder), **{**usual, **settings}),
        train_dataset=train,
        eval_dataset=evaluate_on,
        processing_class=extractor,
    )
    trainer.train()
    trainer.save_model()
    return trainer


def constant(train: datasets.Dataset, rows: int) -> Any:
    """What one would say without listening: the share of each class among the votes, or else the soft labels.

    Nobody voted on the rows that DiME-Aug made, so that they say nothing of it.
    """
    import numpy as np

    from dime_hf.columns import SOFT_LABEL, VOTE_COUNTS
    from dime_hf.score import prior

    known = np.array(train[VOTE_COUNTS if VOTE_COUNTS in train.column_names else SOFT_LABEL])
    return np.tile(prior(known[known.sum(-1) > 0]), (rows, 1))


def write_predictions(path: Path, dataset: datasets.Dataset, predictions: Any) -> None:
    """Write what `read_predictions` reads: the `id` and a column for each class."""
    import pyarrow as pa
    import pyarrow.csv

    from dime_hf.columns import ID, classes

    table: Mapping[str, Any] = dict(zip(classes(dataset), predictions.T, strict=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.csv.write_csv(pa.table({ID: dataset[ID][:], **table}), path)
