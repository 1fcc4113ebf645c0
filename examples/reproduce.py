# /// script
# dependencies = ["dime_hf"]
# ///
"""The experiment of arXiv 2601.14620 on one corpus, under its own protocol and under ours, side by side.

    python examples/reproduce.py --config examples/configs/toy.yaml                  # minutes on a CPU, offline
    python examples/reproduce.py --config examples/configs/iemocap.yaml              # one GPU

Its protocol: a random split of the utterances (speakers leak), one seed; a model is trained on human, synthetic or
combined labels topped up by the paper's DiME-Aug, and is scored on labels of the same kind.
Ours: speakers apart, several folds and seeds; every model is scored on the human votes of speakers it never heard,
beside the mean training label; a fourth model learns labels pooled by `fitted` and balanced by mass.
In the end: outputs/reproduce/<config>/tables.txt and tables.json. Synthetic answers are asked once and kept.
"""

import argparse
import json
from pathlib import Path
from typing import Any

SOURCES = {"human": "human", "synthetic": "synthetic", "combined": "equal"}  # the paper's labels, and their pooler
OURS = "ours"
CONTROL = "mean label"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="a YAML or JSON file, such as those in configs/")
    parser.add_argument("--output", type=Path, default=Path("outputs/reproduce"))
    given = parser.parse_args()

    import yaml

    from dime_hf.corpora.splits import random_utterances
    from dime_hf.evidence import plain

    config = yaml.safe_load(given.config.read_text(encoding="utf-8"))
    out = given.output / given.config.stem
    out.mkdir(parents=True, exist_ok=True)
    # 1. All utterances with their votes, and what the annotator says of each
    corpus, annotator = annotated(config, out)
    # 2. The paper's protocol: a random split, each model against labels of its own kind
    leaky = random_utterances(corpus, test_size=0.2, seed=42)
    moving = {name: under_its_own_labels(name, leaky, annotator, config, out) for name in SOURCES}
    # 3. Ours: speakers apart, each model against the votes of humans
    fixed = against_humans(corpus, annotator, config, out)
    # 4. Side by side
    text = "\n\n".join(
        [
            "The paper's protocol: random split, labels of the same kind as those trained on, one seed",
            *(f"trained on {name} labels: {table}" for name, table in moving.items()),
            f"Ours: speakers apart, folds {config['folds']}, seeds {config['seeds']}\n{fixed}",
        ]
    )
    print(text)
    (out / "tables.txt").write_text(text + "\n", encoding="utf-8")
    (out / "tables.json").write_text(json.dumps({"paper": plain(moving), "ours": plain(fixed)}, indent=2) + "\n")


def annotated(config: dict[str, Any], out: Path) -> tuple[Any, Any]:
    """Every utterance with its answers; and the annotator, asked once and then found in its store."""
    import dime_hf
    from dime_hf.annotate import PROMPTS, AudioLMAnnotator, annotate, small_audio_lm
    from dime_hf.columns import classes
    from dime_hf.corpora import toy
    from dime_hf.corpora.splits import as_one

    toys = config["corpus"] == "toy"
    root = toy.write(out / "corpus", utterances=config["utterances"]) if toys else config["data_dir"]
    name = "iemocap" if toys else config["corpus"]
    loaded = dime_hf.load_dataset(name, config["label_set"], root, missing_audio="drop")
    corpus = as_one(loaded)
    checkpoint = config.get("annotator") or out / "annotator"
    if not config.get("annotator") and not (out / "annotator").exists():
        small_audio_lm(checkpoint, toy.school(config["lessons"]), steps=config["lessons"] // 5)
    annotator = AudioLMAnnotator(str(checkpoint), classes(corpus), PROMPTS[: config["prompts"]])
    return annotate(corpus, annotator, store=out / "answers.sqlite"), annotator


def under_its_own_labels(name: str, splits: Any, annotator: Any, config: dict[str, Any], out: Path) -> Any:
    from dime_hf.augment import DimeAug
    from dime_hf.pool import get_pooler, pool
    from dime_hf.protocol import score_labels

    train, test = (pool(splits[split], get_pooler(SOURCES[name])) for split in ("train", "test"))
    predicted = trained(train, test, DimeAug(recipe="paper"), annotator, config, "training", out / name, seed=0)
    return score_labels({name: predicted}, test, moving_reference=True)


def against_humans(corpus: Any, annotator: Any, config: dict[str, Any], out: Path) -> Any:
    """Scores of the four kinds of models, over all folds and seeds together, clustered by speaker."""
    import datasets
    import numpy as np

    from dime_hf.augment import DimeAug
    from dime_hf.corpora.splits import folds
    from dime_hf.pool import cross_pool, get_pooler, pool
    from dime_hf.protocol import score_labels

    predictions: dict[str, list[Any]] = {name: [] for name in (*SOURCES, OURS, CONTROL)}
    tests = []
    for fold in config["folds"]:
        splits = folds(corpus, by="speaker", fold=fold, folds=5)
        train, test = splits["train"], splits["test"]
        for seed in config["seeds"]:
            tests.append(test)
            for name, method in SOURCES.items():
                labelled, recipe = pool(train, get_pooler(method)), DimeAug(recipe="paper", seed=seed)
                folder = out / f"{name}-{fold}-{seed}"
                predictions[name].append(trained(labelled, test, recipe, annotator, config, "training", folder, seed))
            labelled = cross_pool(train, get_pooler("fitted"))
            folder = out / f"{OURS}-{fold}-{seed}"
            predictions[OURS].append(
                trained(labelled, test, DimeAug(seed=seed), annotator, config, OURS, folder, seed)
            )
            mean = np.array(labelled["soft_label"]).mean(0)
            predictions[CONTROL].append(np.tile(mean, (len(test), 1)))
    together = datasets.concatenate_datasets([test.remove_columns("answers") for test in tests])
    labels = {name: np.concatenate(parts) for name, parts in predictions.items()}
    return score_labels(labels, together, control=CONTROL, verdict_on=OURS)


def trained(
    train: Any, test: Any, recipe: Any, annotator: Any, config: dict[str, Any], settings: str, folder: Path, seed: int
) -> Any:
    """Augment a training set, train on it, and predict the distributions (N, C) of a test set."""
    from dime_hf import SoftLabelConfig, SoftLabelTrainer, columns, load_encoder
    from dime_hf.augment import augment
    from dime_hf.modeling import small_encoder
    from dime_hf.tuning import TuningConfig
    from dime_hf.tuning.run import make_trainer

    augmented = augment(train, recipe.plan(train))
    options = {"output_dir": str(folder), "seed": seed, "save_strategy": "no", "report_to": "none", **config[settings]}
    if config["model"] == "audio_lm":
        make = TuningConfig.paper if config.get("recipe") == "paper" else TuningConfig
        trainer: Any = make_trainer(annotator, augmented, make(**options))
    else:
        names = columns.classes(train)
        model, extractor = (
            load_encoder(config["encoder"], names, seed=seed)
            if config.get("encoder")
            else small_encoder(names, seed=seed)
        )
        trainer = SoftLabelTrainer(
            model=model, args=SoftLabelConfig(**options), train_dataset=augmented, processing_class=extractor
        )
    trainer.train()
    return trainer.predict_distributions(test)


if __name__ == "__main__":
    main()
