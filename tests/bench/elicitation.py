"""How good the answers of an audio LM with real weights are about real speakers whom it never heard, by elicitation.

Needs a checkpoint, whose folder the environment variable `DIME_HF_AUDIO_LM` names, and the EmoDB clips. The checkpoint
must have been taught on EmoDB without the speakers of `HELD_OUT`.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from sklearn.linear_model import LogisticRegression

from dime_hf import columns
from dime_hf.annotate import PROMPTS, AudioLMAnnotator, annotate
from dime_hf.annotate.content_free import correct_prior
from dime_hf.annotate.strategies import Options
from tests.places import DATA

CHECKPOINT = os.environ.get("DIME_HF_AUDIO_LM", "")
HELD_OUT = ("03", "08")
WORDS = {"angry": "anger", "happy": "happiness", "neutral": "neutral", "sad": "sadness"}
CLASSES = tuple(WORDS)
FLOOR = 1e-4  # of a probability under the logarithm


def table(checkpoint: str | Path = CHECKPOINT, orders: int = 4) -> list[dict[str, Any]]:
    """Accuracy and cross-entropy (nats) of four ways to elicit a distribution from the same model and prompts.

    calibrated: a logistic regression on the log-probabilities, fitted on one of the two speakers and scored on the
    other. Chance is a cross-entropy of log 4, 1.386.
    """
    clips = held_out_clips()
    annotator = AudioLMAnnotator(str(checkpoint), CLASSES, PROMPTS[:2], Options(orders), words=WORDS)
    annotated = annotate(clips, annotator)
    corrected = correct_prior(annotated, annotator)
    plain, averaged, without_prior = (
        mean_answers(annotated, first_order=True), mean_answers(annotated), mean_answers(corrected),
    )  # fmt: skip
    gold, speakers = np.array(clips[columns.HARD_LABEL]), np.array(clips[columns.SPEAKER])
    ways = {
        "plain": plain,
        "order-averaged": averaged,
        "prior-corrected": without_prior,
        "calibrated": calibrated(averaged, gold, speakers),
    }
    return [{"elicitation": name, **score(answers, gold)} for name, answers in ways.items()]


def held_out_clips() -> datasets.Dataset:
    """The clips of the held-out speakers, with the intended emotion as their hard label."""
    with open(DATA / "emodb" / "manifest.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["audio"] == "original16k" and row["speaker"] in HELD_OUT]
    place = {word: number for number, word in enumerate(WORDS.values())}
    features = columns.corpus_features(CLASSES, CLASSES)
    names = (columns.ID, columns.AUDIO, columns.TEXT, columns.SPEAKER, columns.HARD_LABEL)
    schema = datasets.Features({name: features[name] for name in names}).arrow_schema
    values = (
        [row["file"] for row in rows],
        [{"bytes": None, "path": str(DATA / "emodb" / "wav" / row["file"])} for row in rows],
        [None] * len(rows),
        [row["speaker"] for row in rows],
        [place[row["intended"]] for row in rows],
    )
    return datasets.Dataset(pa.table(list(values), schema=schema))


def mean_answers(dataset: datasets.Dataset, first_order: bool = False) -> np.ndarray:
    """Mean distribution (N, C) of the answers about each utterance."""
    wanted = list(range(len(CLASSES)))
    kept = [[a for a in row if a["order"] == wanted or not first_order] for row in dataset[columns.ANSWERS]]
    return np.array([np.mean([answer["distribution"] for answer in row], axis=0) for row in kept])


def calibrated(answers: np.ndarray, gold: np.ndarray, speakers: np.ndarray) -> np.ndarray:
    logs, found = np.log(np.maximum(answers, FLOOR)), np.empty_like(answers)
    for speaker in HELD_OUT:
        fit = speakers != speaker
        found[~fit] = LogisticRegression(C=1.0, max_iter=1000).fit(logs[fit], gold[fit]).predict_proba(logs[~fit])
    return found


def score(answers: np.ndarray, gold: np.ndarray) -> dict[str, float]:
    likelihood = np.maximum(answers[np.arange(len(gold)), gold], FLOOR)
    return {
        "accuracy": float((answers.argmax(-1) == gold).mean()),
        "cross_entropy": float(-np.log(likelihood).mean()),
        "n": len(gold),
    }


def report() -> None:
    """Print the table."""
    print(f"\nanswers of {CHECKPOINT} about speakers {' and '.join(HELD_OUT)} of EmoDB (chance: 1.386 nats)")
    for row in table():
        print(
            "{elicitation:<20}accuracy {accuracy:.3f}   cross-entropy {cross_entropy:.3f}   ({n} clips)".format(**row)
        )
