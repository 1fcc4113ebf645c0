# /// script
# dependencies = ["dime_hf"]
# ///
"""Tune an audio LM on soft labels with LoRA, and score it before and after on speakers that it never heard.

    python examples/train_audio_lm.py                                          # toy corpus: minutes on a CPU, offline
    python examples/train_audio_lm.py --corpus iemocap --data_dir IEMOCAP --annotator Qwen/Qwen2-Audio-7B-Instruct \\
        --dtype bfloat16 --modality audio                                      # one GPU; --quantization 4bit: QLoRA
    python examples/train_audio_lm.py --corpus iemocap ... --recipe paper --head options

In the end: outputs/train_audio_lm/tuned (adapters that peft loads, and AudioLMAnnotator(..., adapter=folder)), merged
(an ordinary checkpoint, with --merge) and scores.json. The tuned annotator refuses the utterances it was tuned on.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    given = parser(__doc__).parse_args()

    import dime_hf
    from dime_hf.annotate import PROMPTS, AudioLMAnnotator
    from dime_hf.annotate.strategies import Options
    from dime_hf.columns import classes
    from dime_hf.corpora import toy
    from dime_hf.tuning import merge
    from dime_hf.tuning.run import make_trainer

    # 1. The utterances: one fold, the speakers of whose test part are in no other
    made = given.output / "corpus"
    if given.corpus == "toy" and not made.exists():
        toy.write(made, utterances=given.utterances)
    corpus, root = ("iemocap", made) if given.corpus == "toy" else (given.corpus, given.data_dir)
    fold = dime_hf.load_dataset(corpus, data_dir=root, fold=given.fold)
    fold = fold.filter(lambda label: label is not None, input_columns="soft_label")
    # 2. The annotator, as it asks: its prompts, option orders and modality are those it is tuned with
    if not given.annotator and given.corpus != "toy":
        sys.exit("--annotator: name an audio LM, such as Qwen/Qwen2-Audio-7B-Instruct")
    annotator = AudioLMAnnotator(
        given.annotator or str(small_annotator(given.output / "annotator")),
        classes(fold["train"]),
        prompts=PROMPTS[: given.prompts],
        strategy=Options(given.orders),
        dtype=given.dtype,
        quantization=given.quantization,
        modality=given.modality,
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


def parser(description: str | None) -> argparse.ArgumentParser:
    from dime_hf.tuning.config import HEADS

    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default="toy", help="toy, iemocap, crema_d, ...")
    parser.add_argument("--data_dir", help="folder of the corpus")
    parser.add_argument("--fold", type=int, default=1, help="fold whose test speakers are held out")
    parser.add_argument("--utterances", type=int, default=400, help="size of the toy corpus")
    parser.add_argument("--annotator", help="an audio LM: folder or Hub id (toy corpus: a small one, taught here)")
    parser.add_argument("--head", default="options", choices=HEADS)
    parser.add_argument("--modality", default="both", choices=["both", "audio", "text"])
    parser.add_argument("--prompts", type=int, default=2, help="how many prompts are asked (1 to 5)")
    parser.add_argument("--orders", type=int, default=2, help="option orders a prompt")
    parser.add_argument("--recipe", default="ours", choices=["ours", "paper"], help="paper: that of arXiv 2601.14620")
    parser.add_argument("--loss", help="a name of dime_hf.losses (default: the recipe's)")
    parser.add_argument("--epochs", type=float, help="default: 1, or the recipe's")
    parser.add_argument("--learning_rate", type=float, help="default: 2e-4 (toy: 2e-3), or the recipe's")
    parser.add_argument("--dtype", default="auto", help="of the frozen weights: bfloat16 on a GPU")
    parser.add_argument("--quantization", choices=["4bit", "8bit"], help="QLoRA; needs bitsandbytes and a GPU")
    parser.add_argument("--merge", action="store_true", help="write an ordinary checkpoint, too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("outputs/train_audio_lm"))
    return parser


def config_of(given: argparse.Namespace) -> Any:
    from dime_hf.tuning import TuningConfig

    ours = {"per_device_train_batch_size": 16, "num_train_epochs": 1, "learning_rate": 2e-4}
    if given.corpus == "toy":
        ours |= {"learning_rate": 2e-3}
    chosen = {"loss": given.loss, "num_train_epochs": given.epochs, "learning_rate": given.learning_rate}
    settings = {name: value for name, value in chosen.items() if value is not None}
    settings |= {"head": given.head, "seed": given.seed, "logging_steps": 10, "save_strategy": "no"}
    make = TuningConfig.paper if given.recipe == "paper" else TuningConfig
    return make(str(given.output / "tuned"), **{**(ours if given.recipe == "ours" else {}), **settings})


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


if __name__ == "__main__":
    main()
