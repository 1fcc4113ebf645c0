"""IEMOCAP: `dialog/EmoEvaluation/<dialog>.txt`, `dialog/transcriptions/<dialog>.txt`, `sentences/wav/<dialog>/<turn>.wav`.

Busso et al. 2008. Votes of three external annotators a turn (E1 to E6) and, for some improvised turns, of the actors on
themselves; several ticks a vote are allowed. The official label is the unique plurality of all external ticks.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from datasets import Value

from dime_hf import columns
from dime_hf.columns import EXTERNAL, SELF
from dime_hf.corpora.builder import CorpusBuilder, CorpusConfig
from dime_hf.corpora.folder import CorpusFolder, Utterance, read_text, visible
from dime_hf.errors import CorpusError, LabelFileError

CODES = {  # of the header line; "xxx" is no agreement
    "ang": "angry", "hap": "happy", "neu": "neutral", "sad": "sad", "exc": "excited", "fru": "frustrated",
    "sur": "surprise", "fea": "fear", "dis": "disgust", "oth": "other",
}  # fmt: skip
LABELS = {
    "Anger": "angry", "Happiness": "happy", "Neutral": "neutral", "Neutral state": "neutral", "Sadness": "sad",
    "Excited": "excited", "Frustration": "frustrated", "Surprise": "surprise", "Fear": "fear", "Disgust": "disgust",
    "Other": "other",
}  # fmt: skip
TURN = re.compile(
    r"\[(?P<start>[\d.]+) - (?P<end>[\d.]+)\]\s+(?P<id>(?P<dialog>Ses\d\d[FM]_\w+)_(?P<speaker>[FM])\w+)\s+(?P<code>[a-z]{3})\s+"
    r"\[(?P<valence>[\d.]+), (?P<activation>[\d.]+), (?P<dominance>[\d.]+)\]"
)
CATEGORICAL = re.compile(r"C-(?P<annotator>[EFM]\d):\s*(?P<labels>[^(]*?)\s*(?:\((?P<note>.*)\))?\s*")
ATTRIBUTES = re.compile(r"A-(?P<annotator>[EFM]\d):\s*val\s*(\d*);\s*act\s*(\d*);\s*dom\s*(\d*);?\s*(?:\(.*\))?\s*")
TRANSCRIPT = re.compile(r"(?P<id>Ses\d\d[FM]_\S+) \[[\d.]+-[\d.]+\]: ?(?P<text>.*)")
VALID_RATINGS = {"1", "2", "3", "4", "5"}  # a missing rating was released as 6 (6 - 0) or as nothing
GENDERS = {"F": "female", "M": "male"}
RELEASED = tuple(columns.RELEASED + name for name in (columns.VALENCE, columns.ACTIVATION, columns.DOMINANCE))


class IemocapFolder(CorpusFolder):
    """A folder with `Session1` ... `Session5`; a shard is the evaluation file of one dialog."""

    corpus = "iemocap"
    about = "IEMOCAP with every human vote and a soft label."
    homepage = "https://sail.usc.edu/iemocap/"
    licence = "IEMOCAP release agreement: research use, no redistribution"
    inventory = tuple(columns.in_house_order(CODES.values()))
    extra_features: ClassVar[Mapping[str, Any]] = {name: Value("float32") for name in RELEASED}
    marker = "Session[1-5]/dialog/EmoEvaluation"

    def label_files(self) -> list[Path]:
        return [path for kind in ("EmoEvaluation", "transcriptions") for path in self._dialog_files(kind)]

    def audio_folders(self) -> list[Path]:
        return sorted(folder for folder in self.root.glob("Session[1-5]/sentences/wav/*") if folder.is_dir())

    def groups(self) -> dict[str, list[str]]:
        sessions: dict[str, list[str]] = {}
        for path in self._dialog_files("EmoEvaluation"):
            sessions.setdefault(path.relative_to(self.root).parts[0].lower(), []).append(str(path))
        if not sessions:
            raise CorpusError(f"{self.root}: the corpus is empty, no dialog in Session*/dialog/EmoEvaluation/*.txt")
        return sessions

    def splits(self) -> dict[str, list[str]]:
        return self.groups()

    def read(self, shards: Sequence[str]) -> Iterator[Utterance]:
        for shard in shards:
            path = Path(shard)
            texts = read_transcripts(path.parent.parent / "transcriptions" / path.name)
            wavs = path.parents[2] / "sentences" / "wav"
            for turn in read_evaluation(path):
                yield turn.utterance(wavs, texts.get(turn.header["id"]), path.parents[2].name.lower())

    def _dialog_files(self, kind: str) -> list[Path]:
        return [path for folder in sorted(self.root.glob(f"Session[1-5]/dialog/{kind}")) for path in visible(folder, "*.txt")]


@dataclasses.dataclass
class Turn:
    """A block of an evaluation file."""

    header: dict[str, str]
    votes: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    ratings: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)  # external: valence, activation, dominance

    def utterance(self, wavs: Path, text: str | None, session: str) -> Utterance:
        """The row of this turn; its speaker is the letter in the turn's own name, not the one after the session number."""
        header = self.header
        valence, activation, dominance = (_mean(ratings) for ratings in zip(*self.ratings)) if self.ratings else (None,) * 3
        return Utterance(
            id=header["id"],
            audio=os.path.join(wavs, header["dialog"], f"{header['id']}.wav"),
            votes=self.votes,
            official=CODES.get(header["code"]),
            fields={
                columns.DURATION: float(header["end"]) - float(header["start"]),
                columns.TEXT: text,
                columns.SPEAKER: header["id"][:5] + header["speaker"],
                columns.GENDER: GENDERS[header["speaker"]],
                columns.SESSION: session,
                columns.DIALOG: header["dialog"],
                columns.VALENCE: valence,
                columns.ACTIVATION: activation,
                columns.DOMINANCE: dominance,
                **{name: float(header[name.removeprefix(columns.RELEASED)]) for name in RELEASED},
            },
        )


def read_evaluation(path: Path) -> Iterator[Turn]:
    """Turns of an `EmoEvaluation/<dialog>.txt`; `LabelFileError` names the file and the line outside the grammar."""
    turn: Turn | None = None
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.startswith("["):
            if turn is not None:
                yield turn
            turn = _turn(path, number, line)
        elif line.startswith("C-") and turn is not None:
            turn.votes.append(_vote(path, number, line))
        elif line.startswith("A-") and turn is not None:
            _rate(turn, path, number, line)
        elif line.strip() and not line.startswith("%"):
            raise LabelFileError(path, number, line, "a turn '[start - end] ...', then its lines 'C-...' and 'A-...'")
    if turn is not None:
        yield turn


def read_transcripts(path: Path) -> dict[str, str]:
    """Text of every timed line of a `transcriptions/<dialog>.txt`; none where the file is absent."""
    if not path.is_file():
        return {}
    matches = (TRANSCRIPT.fullmatch(line) for line in read_text(path).split("\n"))
    return {match["id"]: match["text"].strip() for match in matches if match}


def _turn(path: Path, number: int, line: str) -> Turn:
    match = TURN.fullmatch(line.rstrip())
    if match is None or (match["code"] not in CODES and match["code"] != "xxx"):
        raise LabelFileError(path, number, line, "'[start - end] turn code [V, A, D]' with one of the codes " + " ".join([*CODES, "xxx"]))
    return Turn(match.groupdict())


def _vote(path: Path, number: int, line: str) -> dict[str, Any]:
    match = CATEGORICAL.fullmatch(line)
    labels = [label.strip() for label in match["labels"].split(";") if label.strip()] if match else []
    if match is None or not set(labels) <= LABELS.keys():
        raise LabelFileError(path, number, line, f"'C-<annotator>: <label>; (comment)' with labels out of {', '.join(LABELS)}")
    kind = EXTERNAL if match["annotator"].startswith("E") else SELF
    choices = [LABELS[label] for label in labels]
    return {"annotator": match["annotator"], "kind": kind, "choices": choices, "secondary": [], "note": match["note"] or ""}


def _rate(turn: Turn, path: Path, number: int, line: str) -> None:
    match = ATTRIBUTES.fullmatch(line)
    if match is None:
        raise LabelFileError(path, number, line, "'A-<annotator>: val n; act n; dom n; (comment)'")
    annotator, *ratings = match.groups()
    if annotator.startswith("E"):
        turn.ratings.append((ratings[0], ratings[1], ratings[2]))


def _mean(ratings: Sequence[str]) -> float | None:
    valid = [int(rating) for rating in ratings if rating in VALID_RATINGS]
    return sum(valid) / len(valid) if valid else None


@dataclasses.dataclass
class IemocapConfig(CorpusConfig):
    """Label set and rows of IEMOCAP."""

    folder_class = IemocapFolder


FOUR_CLASSES = {"angry": ["angry"], "happy": ["happy", "excited"], "neutral": ["neutral"], "sad": ["sad"]}


class Iemocap(CorpusBuilder):
    """`load_dataset("iemocap", data_dir=...)`: splits `session1` ... `session5`, or a speaker-independent fold."""

    BUILDER_CONFIG_CLASS = IemocapConfig
    BUILDER_CONFIGS = [
        IemocapConfig(name="4class", label_set=FOUR_CLASSES, description="Excitement is merged into happiness."),
        IemocapConfig(name="10class", label_set=IemocapFolder.inventory, description="Every class of the corpus."),
    ]
    DEFAULT_CONFIG_NAME = "4class"
