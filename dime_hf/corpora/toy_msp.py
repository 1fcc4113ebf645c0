"""The toy corpus in MSP-Podcast's layout: any of three releases on disk, whose workers vote from a known distribution.

Affects, voices and words are those of `toy_speech`. A worker perceives one of its emotions; excitement is ticked as
happiness, and frustration typed as free text, since MSP-Podcast's first question has neither.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from dime_hf import audio, columns
from dime_hf.corpora import toy
from dime_hf.corpora.labels import LabelSet
from dime_hf.corpora.msp_podcast.labels import CODES
from dime_hf.corpora.toy_speech import INVENTORY, ToySpeaker, ToyUtterance, utter
from dime_hf.distribution import UNDECIDED, Array, plurality
from dime_hf.errors import CorpusError, did_you_mean

SPEAKERS, WORKERS = 20, 40
SEGMENTS = 30  # of a recording
SETS = ("Train", "Train", "Train", "Train", "Train", "Development", "Development", "Test1", "Test1", "Test2")
PERCEIVED = {  # raw label of MSP-Podcast, from the toy's emotions
    "angry": ["angry"], "happy": ["happy", "excited"], "neutral": ["neutral"], "sad": ["sad"],
    "surprise": ["surprise"], "fear": ["fear"], "disgust": ["disgust"], "contempt": [],
    "other": ["other", "frustrated"],
}  # fmt: skip
PRIMARY = {emotion: raw for raw, emotions in PERCEIVED.items() for emotion in emotions}
CODE_OF = {raw: code for code, raw in CODES.items()}
HEAD = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
QUESTIONS = ("EmoClass_Major", "EmoClass_Second", "EmoAct", "EmoVal", "EmoDom")


@dataclasses.dataclass(frozen=True)
class Release:
    """How a release lays out and spells what all have in common."""

    labels: str
    audio: str
    consensus: str
    worker: str | None  # column of the worker in `labels_detailed.csv`, or None where a vote is one cell
    development: str
    other: str  # how a typed emotion is written
    test3: bool


RELEASES = {
    "1.6": Release("label", "Audio", "concensus", "Workers", "Validation", "Other ({})", False),
    "1.10": Release("Labels", "Audios", "consensus", None, "Development", "Other-{}", False),
    "2.0": Release("Labels", "Audios", "consensus", "WorkerID", "Development", "Other-{}", True),
}


@dataclasses.dataclass(frozen=True)
class _Vote:
    worker: str
    primary: str
    secondary: str
    ratings: tuple[float, float, float]  # activation, valence, dominance

    def line(self) -> str:
        a, v, d = self.ratings
        return f"{self.worker}; {self.primary}; {self.secondary}; A:{a:f}; V:{v:f}; D:{d:f};"

    def answers(self) -> dict[str, Any]:
        return dict(zip(QUESTIONS, (self.primary, self.secondary, *self.ratings), strict=True))


@dataclasses.dataclass(frozen=True)
class _Turn:
    file: str
    speaker: str
    gender: str
    split: str
    official: str  # code
    votes: Sequence[_Vote]

    def head(self) -> dict[str, Any]:
        means = np.mean([vote.ratings for vote in self.votes], axis=0).round(6).tolist()
        cells = (self.file, self.official, *means, self.speaker, self.gender, self.split)
        return dict(zip(HEAD, cells, strict=True))


def write(
    root: str | os.PathLike[str], *, utterances: int = 600, raters: int = 5, release: str = "2.0", seed: int = 0
) -> Path:
    """Write a toy corpus of `utterances` turns, each with the votes of `raters` workers or one more; return `root`.

    20 speakers, each in one set, one in ten turns by `Unknown`; one recording is missing, as in the real 2.0, and
    2.0 has a Test3 without labels. A corpus that is there already, whole and with the same settings, is left as it
    is; another one is refused with `CorpusError`.
    """
    root = Path(root)
    if release not in RELEASES:
        raise CorpusError(f"`release` is {release!r}.{did_you_mean(str(release), RELEASES)}")
    if raters not in range(1, WORKERS):
        raise CorpusError(f"`raters` must be from 1 to {WORKERS - 1}, not {raters}")
    settings = {"utterances": utterances, "raters": raters, "release": release, "seed": seed, "version": 1}
    if toy.is_there(root, settings):
        return root
    unfinished = root.with_name(f"{root.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for folder in (RELEASES[release].labels, RELEASES[release].audio, "Transcripts"):
        (unfinished / folder).mkdir(parents=True)
    _write_release(unfinished, RELEASES[release], utterances, raters, seed)
    (unfinished / toy.SETTINGS_FILE).write_text(json.dumps(settings))
    unfinished.replace(root)
    return root


def truth(dataset: datasets.Dataset, root: str | os.PathLike[str]) -> Array:
    """The (N, C) distributions that the workers' primary votes come from, inside the dataset's label set.

    Raises `CorpusError` when `root` is not a toy corpus, lacks an utterance of `dataset`, or the label set has a class
    that is no primary emotion.
    """
    names = columns.classes(dataset)
    if unknown := [name for name in names if name not in PERCEIVED]:
        raise CorpusError(f"the truth is known of primary emotions, not of {unknown[0]!r}")
    return toy.truth(dataset, root, LabelSet.of({name: PERCEIVED[name] for name in names}, INVENTORY))


def _write_release(root: Path, release: Release, utterances: int, raters: int, seed: int) -> None:
    turns, truths = [], {}
    for number in range(utterances):
        rng = np.random.default_rng([seed, number])
        voice = number % SPEAKERS
        speaker = ToySpeaker.draw(f"msp{voice:02}", "Female" if voice % 2 else "Male", seed)
        utterance = utter(speaker, rng)
        turn = _turn(number, voice, speaker, utterance, raters, release, rng)
        turns.append(turn)
        stem = turn.file.removesuffix(".wav")
        truths[stem] = utterance.truth
        (root / "Transcripts" / f"{stem}.txt").write_text(utterance.text)
        if number != utterances - 1:  # the last recording is listed, but missing
            (root / release.audio / turn.file).write_bytes(audio.encode_wav(utterance.samples))
    unlabelled = [_write_test3(root / release.audio, number, seed) for number in range(4 if release.test3 else 0)]
    _write_labels(root / release.labels, release, turns)
    _write_lists(root, turns, unlabelled)
    toy.write_truths(root / toy.TRUTH_FILE, truths)


def _turn(
    number: int,
    voice: int,
    speaker: ToySpeaker,
    utterance: ToyUtterance,
    raters: int,
    release: Release,
    rng: np.random.Generator,
) -> _Turn:
    """A turn with its votes and the official label; speakers take turns in their own recordings."""
    segment = number // SPEAKERS
    recording = voice + 1 + SPEAKERS * (segment // SEGMENTS)
    name = f"MSP-PODCAST_{recording:04}_{segment:04}" + ("_0001" if segment % 5 == 4 else "")
    workers = rng.choice(WORKERS, raters + rng.integers(2), replace=False)
    perceived = rng.choice(len(INVENTORY), len(workers), p=utterance.truth)
    votes = [
        _vote(f"WORKER{worker:08}", INVENTORY[emotion], utterance, release, rng)
        for worker, emotion in zip(workers, perceived, strict=True)
    ]
    known = rng.random() < 0.9
    return _Turn(
        file=f"{name}.wav",
        speaker=str(voice) if known else "Unknown",
        gender=speaker.gender if known else "Unknown",
        split=SETS[voice % len(SETS)].replace("Development", release.development),
        official=_official([PRIMARY[INVENTORY[emotion]] for emotion in perceived]),
        votes=votes,
    )


def _vote(worker: str, emotion: str, utterance: ToyUtterance, release: Release, rng: np.random.Generator) -> _Vote:
    """One worker's answers: the emotion, itself again as a secondary one, and at times a second look."""
    raw = PRIMARY[emotion]
    typed = release.other.format({"frustrated": "fed up, really", "other": "bored"}.get(emotion, ""))
    primary = typed if raw == "other" else raw.capitalize()
    secondary = [typed if emotion == "other" else emotion.capitalize()]
    if rng.random() < 0.4 and (second := INVENTORY[rng.choice(len(INVENTORY), p=utterance.truth)]) != "other":
        secondary.append(second.capitalize())
    affect = np.array([utterance.arousal, utterance.valence, (utterance.arousal - utterance.valence) / 2])
    ratings = np.clip(np.rint(4 + 2.4 * affect + rng.normal(0, 0.8, 3)), 1, 7).tolist()
    return _Vote(worker, primary, ",".join(dict.fromkeys(secondary)), ratings)


def _official(labels: Sequence[str]) -> str:
    counts = collections.Counter(labels)
    winner = int(plurality(list(counts.values())))
    return "X" if winner == UNDECIDED else CODE_OF[list(counts)[winner]]


def _write_test3(folder: Path, number: int, seed: int) -> str:
    """A recording that nobody voted on."""
    rng = np.random.default_rng([seed, number, 3])
    utterance = utter(ToySpeaker.draw(f"test3_{number}", "Female", seed), rng)
    name = f"MSP-PODCAST_test3_{number + 1:04}.wav"
    (folder / name).write_bytes(audio.encode_wav(utterance.samples))
    return name


def _write_labels(folder: Path, release: Release, turns: Sequence[_Turn]) -> None:
    """The label files of a release, in all their forms."""
    heads = {turn.file: turn.head() for turn in turns}
    _write_rows(folder / f"labels_{release.consensus}.csv", HEAD, (head.values() for head in heads.values()))
    entries = {file: dict(list(head.items())[1:]) for file, head in heads.items()}
    (folder / f"labels_{release.consensus}.json").write_text(json.dumps(entries, indent=1))
    votes = {turn.file: {vote.worker: vote.answers() for vote in turn.votes} for turn in turns}
    (folder / "labels_detailed.json").write_text(json.dumps(votes, indent=1))
    (folder / "labels.txt").write_text("\n".join(_block(heads[turn.file], turn.votes) for turn in turns))
    if release.worker is None:
        details = ([turn.file, vote.line()] for turn in turns for vote in turn.votes)
        _write_rows(folder / "labels_detailed.csv", ("FileName", "EmoDetail"), details)
    else:
        answers = ([turn.file, vote.worker, *vote.answers().values()] for turn in turns for vote in turn.votes)
        _write_rows(folder / "labels_detailed.csv", ("FileName", release.worker, *QUESTIONS), answers)


def _block(head: Mapping[str, Any], votes: Sequence[_Vote]) -> str:
    """An utterance in `labels.txt`."""
    line = "{FileName}; {EmoClass}; A:{EmoAct:f}; V:{EmoVal:f}; D:{EmoDom:f};".format(**head)
    return "".join(f"{line}\n" for line in (line, *(vote.line() for vote in votes)))


def _write_rows(path: Path, head: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)


def _write_lists(root: Path, turns: Sequence[_Turn], unlabelled: Sequence[str]) -> None:
    """Which set, and which speaker, every recording belongs to."""
    sets = [(turn.split, turn.file) for turn in turns] + [("Test3", file) for file in unlabelled]
    (root / "Partitions.txt").write_text("".join(f"{split}; {file}\n" for split, file in sets))
    genders = {turn.speaker: turn.gender for turn in turns if turn.speaker != "Unknown"}
    lines = [f"Speaker_{speaker}; {gender}\n" for speaker, gender in genders.items()]
    (root / "Speaker_ids.txt").write_text("".join(lines + [f"{turn.file};{turn.speaker}\n" for turn in turns]))
