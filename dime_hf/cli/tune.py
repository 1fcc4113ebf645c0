"""`dime-hf train --audio_lm`: tune an audio LM with LoRA, and score it before and after on speakers it never heard."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from dime_hf.cli.choices import HEADS, MODALITIES
from dime_hf.errors import OptionError

OPTIONS = ("annotator", "head", "modality", "prompts", "orders", "recipe", "dtype", "quantization", "merge")


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    parser.add_argument("--annotator", help="folder or Hub id (toy corpus: a small one, taught here)")
    parser.add_argument("--head", choices=HEADS, help="default: options; the paper's is classifier")
    parser.add_argument("--modality", choices=MODALITIES, help="what it is given (default: both)")
    parser.add_argument("--prompts", type=int, help="how many prompts are asked, 1 to 5 (default: 2)")
    parser.add_argument("--orders", type=int, help="option orders a prompt (default: 2)")
    parser.add_argument("--recipe", choices=["ours", "paper"], help="paper: that of arXiv 2601.14620 (default: ours)")
    parser.add_argument("--dtype", help="of the frozen weights: bfloat16 on a GPU (default: auto)")
    parser.add_argument("--quantization", choices=["4bit", "8bit"], help="QLoRA; needs bitsandbytes and a GPU")
    parser.add_argument("--merge", action="store_true", help="write an ordinary checkpoint, too")


def run(given: argparse.Namespace) -> None:
    if not given.annotator and given.corpus != "toy":
        raise OptionError("--annotator: name an audio LM, such as Qwen/Qwen2-Audio-7B-Instruct")

    from dime_hf.annotate import PROMPTS, AudioLMAnnotator
    from dime_hf.annotate.strategies import Options
    from dime_hf.cli.train import fold_of
    from dime_hf.columns import classes
    from dime_hf.tuning import merge
    from dime_hf.tuning.run import make_trainer

    # 1. The utterances: one fold, the speakers of whose test part are in no other
    fold = fold_of(given)
    fold = fold.filter(lambda label: label is not None, input_columns="soft_label")
    # 2. The annotator, as it asks: its prompts, option orders and modality are those it is tuned with
    annotator = AudioLMAnnotator(
        given.annotator or str(small_annotator(given.output / "annotator")),
        classes(fold["train"]),
        prompts=PROMPTS[: given.prompts or 2],
        strategy=Options(given.orders or 2),
        dtype=given.dtype or "auto",
        quantization=given.quantization,
        modality=given.modality or "both",
    )
    # 3. Score the held-out speakers, tune, score them again
    trainer = make_trainer(annotator, fold["train"], config_of(given))
    before = scores_of(trainer, fold["test"])
    trainer.train()
    after = scores_of(trainer, fold["test"])
    # 4. Keep the adapter, and the ids that the tuned annotator refuses
    trainer.save_model()
    print(f"adapter: {trainer.args.output_dir}, tuned on {len(trainer.tuned_on)} utterances")
    if given.merge:
        tuned = dataclasses.replace(annotator, adapter=trainer.args.output_dir)
        print(f"checkpoint: {merge(tuned, given.output / 'merged').checkpoint}")
    # 5. What came of it
    (given.output / "scores.json").write_text(json.dumps({"before": before, "after": after}, indent=2))
    print(f"{len(fold['test'])} utterances of speakers never heard, against their human votes:")
    for name in before:
        print(f"  {name:20} {before[name]:8.4f} -> {after[name]:8.4f}")


def config_of(given: argparse.Namespace) -> Any:
    from dime_hf.tuning import TuningConfig

    rate = 2e-3 if given.corpus == "toy" else 2e-4
    ours = {"per_device_train_batch_size": 16, "num_train_epochs": 1, "learning_rate": rate}
    chosen = {
        "loss": given.loss,
        "num_train_epochs": given.epochs,
        "per_device_train_batch_size": given.batch_size,
        "learning_rate": given.learning_rate,
    }
    settings = {name: value for name, value in chosen.items() if value is not None}
    settings |= {"head": given.head or "options", "seed": given.seed, "logging_steps": 10, "save_strategy": "no"}
    if given.recipe == "paper":
        return TuningConfig.paper(str(given.output / "tuned"), **settings)
    return TuningConfig(str(given.output / "tuned"), **{**ours, **settings})


def small_annotator(folder: Path) -> Path:
    """A small audio LM that was taught a little, on speakers of its own."""
    from dime_hf.annotate import small_audio_lm
    from dime_hf.corpora import toy

    return folder if folder.exists() else small_audio_lm(folder, toy.school(300), steps=60)


def scores_of(trainer: Any, test: Any) -> dict[str, float]:
    """Scores of the mean answer to all questions."""
    from dime_hf.score import score

    names = ["squared_score", "log_likelihood", "js_divergence", "accuracy"]
    scores = score(trainer.predict_distributions(test), test["vote_counts"][:], metrics=names)
    return {name: float(scores[name]) for name in names}
