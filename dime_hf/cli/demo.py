"""The whole pipeline: votes -> synthetic annotations -> pooled soft labels -> DiME-Aug -> training -> honest scores.

    dime-hf demo                                                    # toy corpus: minutes on a CPU, offline
    dime-hf demo --corpus crema_d --data_dir CREMA-D
    dime-hf demo --corpus iemocap --data_dir IEMOCAP_full_release \\
        --annotator Qwen/Qwen2-Audio-7B-Instruct --encoder microsoft/wavlm-base

Everything it makes lies in outputs/quickstart: report/, scores.json, the datasets, the answers and the model.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dime_hf.errors import CorpusError, OptionError

if TYPE_CHECKING:
    import datasets

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
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


def run(given: argparse.Namespace) -> None:
    if given.corpus != "toy" and not given.data_dir:
        raise OptionError(f"--corpus {given.corpus} needs --data_dir, the folder of the corpus")

    import datasets
    import numpy as np

    from dime_hf import columns
    from dime_hf.annotate import AudioLMAnnotator, annotate
    from dime_hf.augment import DimeAug, augment
    from dime_hf.cli.train import CONSTANT, MODEL, constant, fit_encoder, write_predictions
    from dime_hf.corpora import toy
    from dime_hf.corpora.policy import Tally
    from dime_hf.pool import cross_pool, get_pooler, pool
    from dime_hf.protocol import score_labels, scores_by_level
    from dime_hf.report import level_table, plot_scores, score_rows, score_table
    from dime_hf.score import ambiguity_levels, prior

    out: Path = given.output
    print("\n1. Load every human vote, and hold some out to judge by")
    is_toy = given.corpus == "toy"
    root = toy.write(out / "corpus", utterances=given.utterances) if is_toy else given.data_dir
    splits = with_sound(load("iemocap" if is_toy else given.corpus, root, out / "cache"), given.limit)
    if not any(map(len, splits.values())):
        raise CorpusError("no utterance has a recording: there is nothing to annotate or to train on")
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
    parts: dict[str, Any] = {}  # of the report

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
        trainer = fit_encoder(augmented, out / "model", given.encoder)
        predictions["model"] = trainer.predict_distributions(test)
        plan.save(out / "plan")
        (out / "history.json").write_text(json.dumps(trainer.state.log_history, indent=1) + "\n")
        for name, said in {MODEL: predictions["model"], CONSTANT: constant(train, len(test))}.items():
            write_predictions(out / "predictions" / f"{name}.csv", test, said)
        parts |= {"plan": plan, "history": trainer.state.log_history}

    print("\n6. Score, against votes of humans that nothing above has seen")
    pooled["fitted"].save_to_disk(out / "test")
    held, (predictions, whole) = test, comparable(predictions)
    test = held.select(whole)
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

    print("7. Report")
    parts |= {"pooling": judged, "data": {"test": pooled["fitted"].select(whole)}}
    if not few:
        parts["data"] = {"train": train} | parts["data"]
        parts["predictions"] = {"test": predictions["model"]}
        parts["scores"] = scores_by_level(
            {"model": predictions["model"], "a constant": controls["a constant"]},
            test,
            control="a constant",
            verdict_on="model",
        )
    made = save_report(out, held, parts, lambda path: plot_scores(rows, path, control_rows))
    print(f"In {out}: {made}scores.json, test/ (datasets.load_from_disk){'' if few else ', train/, model/, plan/'}")
    print("Next: your corpus (--corpus iemocap --data_dir ...), a model (--annotator Qwen/Qwen2-Audio-7B-Instruct)")


def load(corpus: str, root: Any, cache: Path) -> datasets.DatasetDict:
    """The first fold of a corpus; `with_sound` tells of missing recordings, so that the corpus need not."""
    import dime_hf

    log = logging.getLogger("dime_hf.corpora")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        return dime_hf.load_dataset(corpus, data_dir=root, fold=1, cache_dir=str(cache))
    finally:
        log.setLevel(before)


def with_sound(splits: datasets.DatasetDict, limit: int | None) -> dict[str, datasets.Dataset]:
    """Keep the utterances that have a recording, and say how many have not."""
    import numpy as np

    from dime_hf.columns import AUDIO

    kept = {}
    for name, split in splits.items():
        audio = split.select_columns([AUDIO]).with_format("arrow")[:][AUDIO]
        kept[name] = split.select(np.flatnonzero(audio.is_valid())[:limit])
    total, missing = sum(map(len, splits.values())), sum(len(splits[name]) - len(kept[name]) for name in kept)
    print(
        f"   {total:,} utterances with votes; {missing:,} of them are left out here: no recording, or beyond --limit"
    )
    return kept


def hold_out(test: datasets.Dataset, keep: int) -> datasets.Dataset:
    import numpy as np

    import dime_hf
    from dime_hf.columns import REFERENCE_COUNTS

    held = dime_hf.hold_out_votes(test, keep)
    votes = np.asarray(held[REFERENCE_COUNTS]).sum()
    print(f"   {len(held)} test utterances: labels see {keep} votes each, {votes:.0f} further votes judge them")
    print(f"   ({len(test) - len(held)} more have no vote beyond {keep} and cannot be judged)")
    return held


def taught_on_toy_speech(out: Path, test: datasets.Dataset, is_toy: bool) -> str:
    """A small Qwen2-Audio, made and taught in place: the class and the code path of the 7B model."""
    from dime_hf.annotate import small_audio_lm
    from dime_hf.corpora import toy
    from dime_hf.corpora.policy import Tally

    school = toy.school(utterances=600, label_set=Tally.read(test).label_set)
    print(f"   no --annotator given: teaching a small Qwen2-Audio on {len(school)} utterances of other toy speakers")
    if not is_toy:
        print("   (it has heard toy speech alone: here its answers are of no use, and the scores must say so)")
    return str(small_audio_lm(out / "annotator", school))


def describe_answers(dataset: datasets.Dataset) -> None:
    import numpy as np

    from dime_hf.columns import ANSWERS, OK

    answers = [answer for row in dataset[ANSWERS] for answer in row]
    good = [answer for answer in answers if answer["status"] == OK]
    off = np.mean([answer["off_option"] for answer in good]) if good else float("nan")
    print(f"   test set: {len(answers)} answers, {len(answers) - len(good)} failed; mass off the options {off:.4f}")


def comparable(predictions: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Labels of the utterances that have one of every kind (none has where all answers failed), and their places."""
    import numpy as np

    whole = [all(label is not None for label in labels) for labels in zip(*predictions.values(), strict=True)]
    if not all(whole):
        print(f"   {whole.count(False)} utterances are left out: some kind of labels has none for them")
    kept = {name: np.array(list(itertools.compress(labels, whole))) for name, labels in predictions.items()}
    return kept, np.flatnonzero(whole)


def save_report(out: Path, held: datasets.Dataset, parts: dict[str, Any], plot: Callable[[Path], None]) -> str:
    """Write report/ and scores.png, and return what there is to say of them; nothing where a package is missing."""
    from dime_hf.report import report
    from dime_hf.validate import validate

    try:
        plot(out / "scores.png")
        report(validation=validate(held), **parts).save(out / "report")
    except ImportError as error:
        print(f"   left out: {error} (pip install 'dime_hf[report]')")
        return ""
    return "report/report.html, scores.png, "
