"""IEMOCAP: the evaluations and transcript of every dialog, and `sentences/wav/<dialog>/<turn>.wav`.

Busso et al. 2008. Votes of three external annotators a turn (E1 to E6) and, for some improvised turns, of the actors
on themselves; several ticks a vote are allowed. The official label is the unique plurality of all external ticks.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from datasets import Value

from dime_hf import columns
from dime_hf.columns import EXTERNAL, SELF
from dime_hf.corpora.builder import CorpusBuilder, CorpusConfig
from dime_hf.corpora.folder import Block, CorpusFolder, read_text, visible
from dime_hf.corpora.votes import Vote
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
    r"^\[([\d.]+) - ([\d.]+)\]\s+((Ses\d\d[FM]_\w+)_([FM])\w+)\s+(" + "|".join([*CODES, "xxx"]) + r")\s+"
    r"\[([\d.]+), ([\d.]+), ([\d.]+)\][ \t]*\n"
    r"((?:C-.*\n)*)((?:A-.*\n)*)(?:[ \t]*\n)*",
    re.MULTILINE,
)
GROUPS = TURN.groups + 1  # parts that a split makes a turn: what stands before it, and its groups
CATEGORICAL = re.compile(r"C-([EFM]\d):\s*([^(]*?)\s*(?:\((.*)\))?\s*")  # annotator, labels, comment
ATTRIBUTES = re.compile(r"A-([EFM]\d):\s*val\s*(\d*);\s*act\s*(\d*);\s*dom\s*(\d*);?\s*(?:\(.*\))?\s*")
TRANSCRIPT = re.compile(r"^(Ses\d\d[FM]_\S+) \[[\d.]+-[\d.]+\]: ?(.*)$", re.MULTILINE)  # turn, text
VALID_RATINGS = {"1", "2", "3", "4", "5"}  # a missing rating was released as 6 (6 - 0) or as nothing
GENDERS = {"F": "female", "M": "male"}
RATINGS = (columns.VALENCE, columns.ACTIVATION, columns.DOMINANCE)  # the order of the corpus's files
DIALOGS_A_BLOCK = 64
SESSIONS = tuple(f"Session{number}" for number in range(1, 6))
A_TURN = f"a turn '[start - end] turn code [V, A, D]', code one of {' '.join([*CODES, 'xxx'])}, then lines C- and A-"
A_VOTE = f"'C-<annotator>: <label>; (comment)' with labels out of {', '.join(LABELS)}"
A_RATING = "'A-<annotator>: val n; act n; dom n; (comment)'"


class IemocapFolder(CorpusFolder):
    """A folder with `Session1` ... `Session5`; a shard is the evaluation file of one dialog."""

    corpus = "iemocap"
    about = "IEMOCAP with every human vote and a soft label."
    homepage = "https://sail.usc.edu/iemocap/"
    licence = "IEMOCAP release agreement: research use, no redistribution"
    inventory = tuple(columns.in_house_order(CODES.values()))
    extra_features: ClassVar[Mapping[str, Any]] = {columns.RELEASED + name: Value("float32") for name in RATINGS}
    marker = "Session[1-5]/dialog/EmoEvaluation"

    def label_files(self) -> list[str]:
        return [path for kind in ("EmoEvaluation", "transcriptions") for path in self._dialog_files(kind)]

    def audio_folders(self) -> list[str]:
        wavs = [f"{self.root}/{session}/sentences/wav" for session in SESSIONS]
        return [folder for session in wavs for folder in visible(session) if os.path.isdir(folder)]

    def groups(self) -> dict[str, list[str]]:
        sessions: dict[str, list[str]] = {}
        for path in self._dialog_files("EmoEvaluation"):
            sessions.setdefault(path.split("/")[-4].lower(), []).append(path)
        if not sessions:
            raise CorpusError(f"{self.root}: the corpus is empty, no dialog in Session*/dialog/EmoEvaluation/*.txt")
        return sessions

    def splits(self) -> dict[str, list[str]]:
        return self.groups()

    def read(self, shards: Sequence[str]) -> Iterator[Block]:
        dialogs = [read_dialog(path) for path in shards]
        for start in range(0, len(dialogs), DIALOGS_A_BLOCK):
            yield Block.join(dialogs[start : start + DIALOGS_A_BLOCK])

    def _dialog_files(self, kind: str) -> list[str]:
        return [path for session in SESSIONS for path in visible(f"{self.root}/{session}/dialog/{kind}", ".txt")]


def read_dialog(evaluation: str) -> Block:
    """All turns of a dialog, from its evaluation file and its transcript, with the paths of its recordings."""
    session_folder, name = evaluation.split("/dialog/EmoEvaluation/")
    texts = read_transcripts(f"{session_folder}/dialog/transcriptions/{name}")
    session = evaluation.split("/")[-4].lower()
    start, end, ids, dialogs, letters, codes, *released, votes, ratings = read_evaluation(evaluation)
    means = [list(values) for values in zip(*ratings, strict=True)] or [[], [], []]
    fields: dict[str, list[Any]] = {
        columns.DURATION: [float(e) - float(s) for s, e in zip(start, end, strict=True)],
        columns.TEXT: [texts.get(id) for id in ids],
        columns.SPEAKER: [id[:5] + letter for id, letter in zip(ids, letters, strict=True)],
        columns.GENDER: [GENDERS[letter] for letter in letters],
        columns.SESSION: [session] * len(ids),
        columns.DIALOG: dialogs,
        **dict(zip(RATINGS, means, strict=True)),
        **{columns.RELEASED + name: list(map(float, values)) for name, values in zip(RATINGS, released, strict=True)},
    }
    audio = [f"{session_folder}/sentences/wav/{dialog}/{id}.wav" for dialog, id in zip(dialogs, ids, strict=True)]
    return Block(ids, audio, votes, [CODES.get(code) for code in codes], fields)


def read_evaluation(path: str | os.PathLike[str]) -> list[list[Any]]:
    """Columns of an `EmoEvaluation/<dialog>.txt`, a value a turn; `LabelFileError` names the line outside the grammar.

    They are start, end, turn, dialog, the speaker's letter (the one after the session number is the actor with the
    markers), code, released valence, activation and dominance, as written; the votes; and the mean ratings.
    """
    text = read_text(path) + "\n"
    parts = TURN.split(text)
    outside, *written, vote_lines, rating_lines = (parts[place::GROUPS] for place in range(GROUPS))
    votes, ratings = [parse_votes(lines) for lines in vote_lines], [mean_ratings(lines) for lines in rating_lines]
    if None in votes or None in ratings or any(_says(part) for part in outside):
        _refuse(path, text)
    return [*written, votes, ratings]


def _refuse(path: str | os.PathLike[str], text: str) -> None:
    """Raise `LabelFileError` for the first line of a file that is outside the grammar."""
    end = 0
    for block in TURN.finditer(text):
        _expect(None, A_TURN, path, text, end, block.start())
        _expect(_vote, A_VOTE, path, text, *block.span(10))
        _expect(_rating, A_RATING, path, text, *block.span(11))
        end = block.end()
    _expect(None, A_TURN, path, text, end, len(text))


def _says(part: str) -> bool:
    """Whether a part of a file is more than blank lines and comments."""
    return any(line.strip() and not line.startswith("%") for line in part.split("\n")) if part else False


def _expect(
    parse: Callable[[str], object] | None, what: str, path: str | os.PathLike[str], text: str, start: int, end: int
) -> None:
    """Raise `LabelFileError` for the first line between two places of a file that `parse` cannot read."""
    for number, line in enumerate(text[start:end].split("\n"), start=text.count("\n", 0, start) + 1):
        if line.strip() and not line.startswith("%") and (parse is None or parse(line) is None):
            raise LabelFileError(path, number, line, what)


def read_transcripts(path: str) -> dict[str, str]:
    """Text of every timed line of a `transcriptions/<dialog>.txt`; none where the file is absent."""
    if not os.path.isfile(path):
        return {}
    return {turn: text.strip() for turn, text in TRANSCRIPT.findall(read_text(path))}


@functools.lru_cache(maxsize=1 << 14)  # the same few votes come again and again
def parse_votes(lines: str) -> tuple[Vote, ...] | None:
    """The votes of a turn's lines `C-`; None when one is outside the grammar."""
    votes = [_vote(line) for line in lines.splitlines()]
    return None if None in votes else tuple(vote for vote in votes if vote)


@functools.lru_cache(maxsize=1 << 14)
def mean_ratings(lines: str) -> tuple[float | None, float | None, float | None] | None:
    """Mean valence, activation, dominance of the valid external ratings in a turn's lines `A-`, each None without any.

    None in their place when a line is outside the grammar.
    """
    ratings = [_rating(line) for line in lines.splitlines()]
    if None in ratings:
        return None
    external = [values for annotator, *values in filter(None, ratings) if annotator.startswith("E")]
    valid = [[int(values[scale]) for values in external if values[scale] in VALID_RATINGS] for scale in range(3)]
    valence, activation, dominance = (sum(values) / len(values) if values else None for values in valid)
    return valence, activation, dominance


@functools.lru_cache(maxsize=1 << 12)
def _vote(line: str) -> Vote | None:
    """The vote of a line `C-`; a blank label is no choice."""
    match = CATEGORICAL.fullmatch(line)
    labels = [label.strip() for label in match[2].split(";") if label.strip()] if match else []
    if match is None or not set(labels) <= LABELS.keys():
        return None
    kind = EXTERNAL if match[1].startswith("E") else SELF
    return Vote(match[1], kind, tuple(LABELS[label] for label in labels), note=match[3] or "")


@functools.lru_cache(maxsize=1 << 12)
def _rating(line: str) -> tuple[str, ...] | None:
    """Annotator, valence, activation and dominance of a line `A-`, as written."""
    match = ATTRIBUTES.fullmatch(line)
    return match.groups() if match else None


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
