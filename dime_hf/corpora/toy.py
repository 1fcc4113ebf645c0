"""The toy corpus: a small IEMOCAP on disk whose annotators vote from a known distribution.

`write` lays it out in IEMOCAP's own grammar, so that the IEMOCAP builder reads it; `truth` gives the distribution
behind every utterance's votes; `school` gives further utterances, of speakers that no toy corpus has, for a model to
learn from.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets import Audio, ClassLabel, Value

from dime_hf import audio, columns
from dime_hf.columns import SAMPLING_RATE
from dime_hf.corpora.folder import TOY_LICENCE, TOY_MARK
from dime_hf.corpora.iemocap import CODES, FOUR_CLASSES, LABELS
from dime_hf.corpora.labels import LabelSet
from dime_hf.corpora.toy_speech import INVENTORY, ToySpeaker, ToyUtterance, utter
from dime_hf.distribution import UNDECIDED, Array, normalize, plurality
from dime_hf.errors import CorpusError

TRUTH_FILE = "truth.csv"
SETTINGS_FILE = TOY_MARK
SCENES = ("impro01", "script01_1")  # dialogs of each speaker's recording
EVALUATORS = tuple(f"E{number}" for number in range(1, 7))
CODE_OF = {emotion: code for code, emotion in CODES.items()}
LABEL_OF = {emotion: label for label, emotion in LABELS.items() if label != "Neutral state"}


def write(
    root: str | os.PathLike[str], *, utterances: int = 600, annotators: int = 6, sessions: int = 5, seed: int = 0
) -> Path:
    """Write a toy corpus of about `utterances` turns, each with the votes of 2 to 6 `annotators`, and return `root`.

    Two speakers a session; improvised turns carry a self vote too. A corpus that is there already, whole and with the
    same settings, is left as it is; another one is refused with `CorpusError`.
    """
    root = Path(root)
    if annotators not in range(2, len(EVALUATORS) + 1):
        raise CorpusError(f"`annotators` must be from 2 to {len(EVALUATORS)}, not {annotators}")
    if sessions not in range(1, 6):
        raise CorpusError(f"`sessions` must be from 1 to 5, not {sessions}")
    settings = {"utterances": utterances, "annotators": annotators, "sessions": sessions, "seed": seed, "version": 1}
    if is_there(root, settings):
        return root
    unfinished = root.with_name(f"{root.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    truths: dict[str, Array] = {}
    turns = max(1, round(utterances / (sessions * 2 * len(SCENES) * 2)))
    for session in range(1, sessions + 1):
        voices = {
            letter: ToySpeaker.draw(f"Ses0{session}{letter}", gender, seed)
            for letter, gender in (("F", "Female"), ("M", "Male"))
        }
        for dialog in (f"Ses0{session}{actor}_{scene}" for actor in "FM" for scene in SCENES):
            truths |= _write_dialog(unfinished / f"Session{session}", dialog, voices, turns, annotators, seed)
    write_truths(unfinished / TRUTH_FILE, truths)
    (unfinished / SETTINGS_FILE).write_text(json.dumps(settings))
    unfinished.replace(root)
    return root


def truth(dataset: datasets.Dataset, root: str | os.PathLike[str], label_set: LabelSet) -> Array:
    """Return the (N, C) distributions that the annotators of a toy corpus voted from, inside `label_set`.

    Raises `CorpusError` when `root` is not a toy corpus, or lacks an utterance of `dataset`.
    """
    path = Path(root) / TRUTH_FILE
    if not path.is_file():
        raise CorpusError(f"`root`: {path} is missing; only a corpus made by `toy.write` knows its truth")
    with open(path, newline="", encoding="utf-8") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    missing = [id for id in dataset[columns.ID] if id not in rows]
    if missing:
        raise CorpusError(
            f"{path}: has no utterance {missing[0]!r} ({len(missing)} of the dataset's {len(dataset)} are missing)"
        )
    raw = np.array([[float(rows[id][emotion]) for emotion in INVENTORY] for id in dataset[columns.ID]])
    return _inside(raw, label_set)


def school(
    utterances: int = 600, seed: int = 0, votes: int = 6, label_set: LabelSet | None = None
) -> datasets.Dataset:
    """Return utterances of 20 speakers that no toy corpus has, with `votes` votes each inside a label set.

    The label set is IEMOCAP's four classes unless another one over `toy_speech.INVENTORY` is given. Columns: id, audio
    (undecoded wav bytes), text, speaker, vote_counts, hard_label, soft_label (the share of votes).
    """
    label_set = label_set or LabelSet.of(FOUR_CLASSES, INVENTORY)
    speakers = [ToySpeaker.draw(f"school{n:02}", "Female" if n % 2 else "Male", seed) for n in range(20)]
    rows = [_lesson(speakers[n % len(speakers)], n, label_set, votes, seed) for n in range(utterances)]
    features = datasets.Features(
        {
            columns.ID: Value("string"),
            columns.AUDIO: {"bytes": Value("binary"), "path": Value("string")},
            columns.TEXT: Value("string"),
            columns.SPEAKER: Value("string"),
            columns.VOTE_COUNTS: columns.distribution_feature(len(label_set.classes)),
            columns.HARD_LABEL: ClassLabel(names=list(label_set.classes)),
            columns.SOFT_LABEL: columns.distribution_feature(len(label_set.classes)),
        }
    )
    made = datasets.Dataset.from_list(rows, features=features)
    made.info.license = TOY_LICENCE
    return made.cast_column(columns.AUDIO, Audio(sampling_rate=SAMPLING_RATE, decode=False))


def _lesson(speaker: ToySpeaker, number: int, label_set: LabelSet, votes: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, number])
    utterance = utter(speaker, rng)
    counts = rng.multinomial(votes, _inside(utterance.truth, label_set)).tolist()
    return {
        columns.ID: f"{speaker.name}_{number:05}",
        columns.AUDIO: {"bytes": audio.encode_wav(utterance.samples), "path": None},
        columns.TEXT: utterance.text,
        columns.SPEAKER: speaker.name,
        columns.VOTE_COUNTS: counts,
        columns.HARD_LABEL: None if (winner := int(plurality(counts))) == UNDECIDED else winner,
        columns.SOFT_LABEL: normalize(counts).tolist(),
    }


def _inside(raw: Array, label_set: LabelSet) -> Array:
    """Distributions over `INVENTORY` (..., 10) given that the vote falls into the label set: (..., C)."""
    merged = np.zeros((*raw.shape[:-1], len(label_set.classes)))
    for emotion, index in label_set.class_of.items():
        merged[..., index] += raw[..., INVENTORY.index(emotion)]
    return normalize(merged)


def is_there(root: Path, settings: dict[str, Any]) -> bool:
    """Whether `root` holds this toy corpus; raise `CorpusError` when it holds something else."""
    file = root / SETTINGS_FILE
    if file.is_file():
        found = json.loads(file.read_text())
        if found == settings:
            return True
        raise CorpusError(
            f"`root`: {root} holds a toy corpus of other settings, {found}; choose another folder or delete it"
        )
    if root.is_dir() and any(root.iterdir()):
        raise CorpusError(
            f"`root`: {root} holds something that is no whole toy corpus; choose another folder or delete it"
        )
    return False


@dataclasses.dataclass
class _Turn:
    id: str
    start: float
    utterance: ToyUtterance
    votes: list[tuple[str, str]]  # annotator, raw label
    ratings: list[tuple[str, Array]]  # annotator; valence, activation, dominance from 1 to 5


def _write_dialog(
    session: Path, dialog: str, voices: dict[str, ToySpeaker], turns: int, annotators: int, seed: int
) -> dict[str, Array]:
    """Write a dialog's recordings, labels and transcript; return its truths by turn."""
    spoken = list(_speak(dialog, voices, turns, annotators, seed))
    folders = [session / "sentences/wav" / dialog, session / "dialog/EmoEvaluation", session / "dialog/transcriptions"]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for turn in spoken:
        (folders[0] / f"{turn.id}.wav").write_bytes(audio.encode_wav(turn.utterance.samples))
    header = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
    (folders[1] / f"{dialog}.txt").write_text(header + "\n".join(map(_evaluation, spoken)))
    (folders[2] / f"{dialog}.txt").write_text("".join(map(_transcript, spoken)))
    return {turn.id: turn.utterance.truth for turn in spoken}


def _speak(dialog: str, voices: dict[str, ToySpeaker], turns: int, annotators: int, seed: int) -> Iterator[_Turn]:
    start = 1.0
    for number in range(turns):
        for letter, speaker in voices.items():
            turn = f"{dialog}_{letter}{number:03}"
            rng = np.random.default_rng([seed, *turn.encode()])
            utterance = utter(speaker, rng)
            voters = [*EVALUATORS[:annotators], *([f"{letter}{dialog[4]}"] if "impro" in dialog else [])]
            labels = rng.choice(len(INVENTORY), len(voters), p=utterance.truth)
            votes = [(voter, INVENTORY[label]) for voter, label in zip(voters, labels, strict=True)]
            yield _Turn(turn, start, utterance, votes, [(voter, _rate(utterance, rng)) for voter in EVALUATORS[:2]])
            start += len(utterance.samples) / SAMPLING_RATE + 0.5


def _rate(utterance: ToyUtterance, rng: np.random.Generator) -> Array:
    """One annotator's valence, activation and dominance, whole numbers from 1 to 5."""
    affect = np.array([utterance.valence, utterance.arousal, (utterance.arousal - utterance.valence) / 2])
    return np.clip(np.rint(3 + 1.6 * affect + rng.normal(0, 0.5, 3)), 1, 5)


def _evaluation(turn: _Turn) -> str:
    """Block of a turn in an evaluation file: header, categorical votes, ratings."""
    external = [label for voter, label in turn.votes if voter.startswith("E")]
    counts = collections.Counter(external)
    winner = int(plurality(list(counts.values())))
    code = "xxx" if winner == UNDECIDED else CODE_OF[list(counts)[winner]]
    means = ", ".join(f"{mean:.4f}" for mean in np.mean([ratings for _, ratings in turn.ratings], axis=0))
    lines = [f"[{turn.start:.4f} - {_end(turn):.4f}]\t{turn.id}\t{code}\t[{means}]"]
    lines += [f"C-{voter}:\t{LABEL_OF[label]};\t()" for voter, label in turn.votes]
    lines += [f"A-{voter}:\tval {v:.0f}; act {a:.0f}; dom  {d:.0f};\t()" for voter, (v, a, d) in turn.ratings]
    return "\n".join(lines) + "\n"


def _transcript(turn: _Turn) -> str:
    return f"{turn.id} [{turn.start:08.4f}-{_end(turn):08.4f}]: {turn.utterance.text}\n"


def _end(turn: _Turn) -> float:
    return turn.start + len(turn.utterance.samples) / SAMPLING_RATE


def write_truths(path: Path, truths: dict[str, Array]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([columns.ID, *INVENTORY])
        writer.writerows([id, *values.tolist()] for id, values in truths.items())
