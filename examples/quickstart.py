# /// script
# dependencies = ["dime_hf[report]"]
# ///
"""The whole pipeline: votes -> synthetic annotations -> pooled soft labels -> DiME-Aug -> training -> honest scores.

    python examples/quickstart.py                                             # toy corpus: minutes on a CPU, offline
    python examples/quickstart.py --corpus crema_d --data_dir CREMA-D
    python examples/quickstart.py --corpus iemocap --data_dir IEMOCAP_full_release \
        --annotator Qwen/Qwen2-Audio-7B-Instruct --encoder microsoft/wavlm-base

Everything it makes lies in outputs/quickstart: scores.json, scores.png, the datasets, the answers and the model.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np

import dime_hf
from dime_hf import columns
from dime_hf.annotate import AudioLMAnnotator, annotate, small_audio_lm
from dime_hf.augment import DimeAug, augment
from dime_hf.corpora import toy
from dime_hf.corpora.policy import Tally
from dime_hf.pool import cross_pool, get_pooler, pool
from dime_hf.protocol import score_labels
from dime_hf.report import level_table, plot_scores, score_rows, score_table
from dime_hf.score import ambiguity_levels, prior

METHODS = ("human", "synthetic", "equal", "fitted", "prior")
KEEP = {"toy": 3, "crema_d": 3, "iemocap": 2}  # human votes an utterance that labels may use; the others judge
HOW_TO_READ = """
Decide by the squared score: it is proper; the others reward labels that are sharper than the truth.
'prior' is the control of 'fitted': the same human votes and a constant, without any proxy."""
HOW_TO_READ_MODEL = (
    "'a constant' is the control of 'model', which hears the sound but sees no vote of these utterances."
)
HOW_TO_READ_TRUTH = "'the truth' is what a perfect label would score: known on the toy corpus alone."
HOW_MANY_SPEAKERS = "These utterances are of {} speakers: a difference in the second digit may be chance.\n"
FEWEST = 100  # utterances with sound: with fewer there is nothing to train on


def main() -> None:
    given = parse()
    out: Path = given.output
    logging.getLogger("dime_hf.corpora").setLevel(logging.ERROR)  # `with_sound` reports missing recordings

    print("\n1. Load every human vote, and hold some out to judge by")
    is_toy = given.corpus == "toy"
    root = toy.write(out / "corpus", utterances=given.utterances) if is_toy else given.data_dir
    splits = dime_hf.load_dataset(
        "iemocap" if is_toy else given.corpus, data_dir=root, fold=1, cache_dir=str(out / "cache")
    )
    splits = with_sound(splits, given.limit)
    if not any(map(len, splits.values())):
        sys.exit("   no utterance has a recording: there is nothing to annotate or to train on")
    train, test = splits["train"], splits["test"]
    if few := sum(map(len, splits.values())) < FEWEST:
        train, test = None, datasets.concatenate_datasets(list(splits.values()))
    test = hold_out(test, KEEP[given.corpus])

    print("\n2. Ask an audio LM, five ways, for the probabilities of its answers")
    classes = columns.classes(test)
    annotator = AudioLMAnnotator(given.annotator or taught_on_toy_speech(out, test, is_toy), classes)
    test = annotate(test, annotator, store=out / "answers.sqlite")
    describe_answers(test)

    print("\n3. Pool human and synthetic votes into one soft label")
    if few:
        pooled = {name: cross_pool(test, get_pooler(name)) for name in METHODS}
    else:
        train = annotate(train, annotator, store=out / "answers.sqlite")
        pooled = {name: pool(test, get_pooler(name).fit(train)) for name in METHODS}
    for name in ("fitted", "prior"):
        print(f"   {', '.join(sorted(set(pooled[name][columns.SOFT_LABEL_SOURCE])))}")
    predictions = {name: labels[columns.SOFT_LABEL] for name, labels in pooled.items()}

    if few:
        print(f"\n   {len(test)} utterances have sound: too few to train on, so only the labels are scored")
    else:
        print("\n4. Top up rare emotions of the training set with DiME-Aug")
        train = pool(train, get_pooler("fitted").fit(train))
        plan = DimeAug(ratio=0.3).plan(train)
        augmented = augment(train, plan)
        augmented.save_to_disk(out / "train")
        print(plan)

        print("\n5. Train a speech encoder on the soft labels")
        predictions["model"] = train_encoder(augmented, test, given.encoder, out / "model")

    print("\n6. Score, against votes of humans that nothing above has seen")
    pooled["fitted"].save_to_disk(out / "test")
    held = test
    predictions, test = comparable(predictions, test)
    references, controls = {"human": np.asarray(test[columns.REFERENCE_COUNTS])}, {}
    if is_toy:
        references["truth"] = controls["the truth"] = toy.truth(test, root, Tally.read(test).label_set)
    if not few:
        controls["a constant"] = np.tile(prior(train[columns.VOTE_COUNTS]), (len(test), 1))
    rows, control_rows = score_rows(predictions, references), score_rows(controls, references)
    print("\n" + score_table([*rows, *control_rows]))
    if not few:
        print("\nSquared score against the held-out humans, by the ambiguity of the votes that labels saw (rows):")
        print(level_table(predictions, references["human"], ambiguity_levels(test[columns.VOTE_COUNTS])))
    print("\n".join([HOW_TO_READ, *([] if few else [HOW_TO_READ_MODEL]), *([HOW_TO_READ_TRUTH] if is_toy else [])]))
    judged = score_labels(
        {name: pooled[name] for name in ("fitted", "prior")}, held, control="prior", verdict_on="fitted"
    )
    print(f"Verdict, 'fitted' against 'prior': {judged.verdict}")
    print(HOW_MANY_SPEAKERS.format(len(set(test[columns.SPEAKER]))))
    (out / "scores.json").write_text(json.dumps({"rows": rows, "controls": control_rows}, indent=2) + "\n")
    plot_scores(rows, out / "scores.png", control_rows)
    print(f"In {out}: scores.json, scores.png, test/ (datasets.load_from_disk){'' if few else ', train/, model/'}")
    print(
        "Next: your corpus (--corpus iemocap --data_dir ...), a real model (--annotator Qwen/Qwen2-Audio-7B-Instruct)"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", choices=tuple(KEEP), default="toy")
    parser.add_argument("--data_dir", help="folder of the corpus")
    parser.add_argument(
        "--annotator", help="folder or Hub id of a Qwen2-Audio (default: a small one, taught on toy speech)"
    )
    parser.add_argument(
        "--encoder", help="folder or Hub id of a wav2vec2-like encoder (default: a small one, from scratch)"
    )
    parser.add_argument("--utterances", type=int, default=1000, help="size of the toy corpus")
    parser.add_argument("--limit", type=int, help="use no more utterances with sound of each split")
    parser.add_argument("--output", type=Path, default=Path("outputs/quickstart"))
    given = parser.parse_args()
    if given.corpus != "toy" and not given.data_dir:
        parser.error(f"--corpus {given.corpus} needs --data_dir, the folder of the corpus")
    return given


def with_sound(splits: datasets.DatasetDict, limit: int | None) -> dict[str, datasets.Dataset]:
    """Keep the utterances that have a recording, and say how many have not."""
    kept = {}
    for name, split in splits.items():
        audio = split.select_columns([columns.AUDIO]).with_format("arrow")[:][columns.AUDIO]
        kept[name] = split.select(np.flatnonzero(audio.is_valid())[:limit])
    total, missing = sum(map(len, splits.values())), sum(len(splits[name]) - len(kept[name]) for name in kept)
    print(
        f"   {total:,} utterances with votes; {missing:,} of them are left out here: no recording, or beyond --limit"
    )
    return kept


def hold_out(test: datasets.Dataset, keep: int) -> datasets.Dataset:
    held = dime_hf.hold_out_votes(test, keep)
    votes = np.asarray(held[columns.REFERENCE_COUNTS]).sum()
    print(f"   {len(held)} test utterances: labels see {keep} votes each, {votes:.0f} further votes judge them")
    print(f"   ({len(test) - len(held)} more have no vote beyond {keep} and cannot be judged)")
    return held


def taught_on_toy_speech(out: Path, test: datasets.Dataset, is_toy: bool) -> str:
    """A small Qwen2-Audio, made and taught in place: the class and the code path of the 7B model."""
    school = toy.school(utterances=600, label_set=Tally.read(test).label_set)
    print(f"   no --annotator given: teaching a small Qwen2-Audio on {len(school)} utterances of other toy speakers")
    if not is_toy:
        print("   (it has heard toy speech alone: here its answers are of no use, and the scores must say so)")
    return str(small_audio_lm(out / "annotator", school))


def describe_answers(dataset: datasets.Dataset) -> None:
    answers = [answer for row in dataset[columns.ANSWERS] for answer in row]
    good = [answer for answer in answers if answer["status"] == columns.OK]
    off = np.mean([answer["off_option"] for answer in good]) if good else float("nan")
    print(f"   test set: {len(answers)} answers, {len(answers) - len(good)} failed; mass off the options {off:.4f}")


def train_encoder(train: datasets.Dataset, test: datasets.Dataset, checkpoint: str | None, folder: Path) -> Any:
    """Train on `soft_label`, save, and return the predicted distributions (N, C) of the test utterances."""
    from dime_hf import SoftLabelConfig, SoftLabelTrainer, load_encoder
    from dime_hf.modeling import small_encoder

    classes = columns.classes(train)
    model, extractor = load_encoder(checkpoint, classes) if checkpoint else small_encoder(classes)
    rate = 3e-5 if checkpoint else 2e-3  # a pretrained encoder is tuned, the small one learns from scratch
    settings = SoftLabelConfig(
        str(folder), num_train_epochs=10, per_device_train_batch_size=16, learning_rate=rate, warmup_steps=0.1
    )
    trainer = SoftLabelTrainer(model=model, args=settings, train_dataset=train, processing_class=extractor)
    trainer.train()
    trainer.save_model()
    return trainer.predict_distributions(test)


def comparable(predictions: dict[str, Any], test: datasets.Dataset) -> tuple[dict[str, Any], datasets.Dataset]:
    """Keep the utterances with a label of every kind (there is none where all answers failed), and say how many."""
    whole = [all(label is not None for label in labels) for labels in zip(*predictions.values(), strict=True)]
    if not all(whole):
        print(f"   {whole.count(False)} utterances are left out: some kind of labels has none for them")
    kept = {name: np.array(list(itertools.compress(labels, whole))) for name, labels in predictions.items()}
    return kept, test.select(np.flatnonzero(whole))


if __name__ == "__main__":
    main()
