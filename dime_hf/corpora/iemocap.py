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
HEADER = (
    r"\[(\d+\.?\d*) - (\d+\.?\d*)\][ \t]*((Ses\d\d[FM]_\w+)_([FM])\d{3})[ \t]*("
    + "|".join([*CODES, "xxx"])
    + r")[ \t]*\[(\d+\.?\d*), (\d+\.?\d*), (\d+\.?\d*)\][ \t]*\n"
)
TURN = re.compile(rf"^{HEADER}((?:C-.*\n)*)((?:A-.*\n)*)(?:[ \t]*\n)*", re.MULTILINE | re.ASCII)
GROUPS = TURN.groups + 1  # parts that a split makes a turn: what stands before it, and its groups
ANNOTATOR = r"(E[1-6]|[FM][1-5]):[ \t]*"
CATEGORICAL = re.compile(rf"C-{ANNOTATOR}((?:[^;(]*;)+)([ \t]*)\((.*)\)[ \t]*", re.ASCII)  # labels, space, comment
ATTRIBUTES = re.compile(
    rf"A-{ANNOTATOR}val[ \t]*([0-6]?);[ \t]*act[ \t]*([0-6]?);[ \t]*dom[ \t]*([0-6]?);?[ \t]*\(.*\)[ \t]*", re.ASCII
)
TICK_IN_COMMENT = re.compile(rf"({'|'.join(LABELS)});")  # a parenthesis that got between the labels
TIMED = re.compile(r"^(Ses\d\d[FM]_\w+_[FM](?:\d{3}|XX\d))[ \t]*\[[\d.]+-[\d.]+\]: ?(.*)$", re.MULTILINE | re.ASCII)
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
    session_folder, _, name = evaluation.rpartition("/dialog/EmoEvaluation/")
    session = session_folder.rpartition("/")[2].lower()
    duration, ids, dialogs, letters, codes, *released, votes, ratings = read_evaluation(evaluation)
    if not name.startswith(f"Ses0{session[-1]}"):
        raise CorpusError(f"{evaluation}: a dialog of another session lies in the folder of {session}")
    said = read_transcripts(f"{session_folder}/dialog/transcriptions/{name}")
    texts = [said.get(id) for id in ids]
    if len(texts) - texts.count(None) < len(said):
        raise CorpusError(f"{evaluation}: the turn {min(said.keys() - set(ids))} is missing; its transcript has it")
    speakers = {letter: name[:5] + letter for letter in GENDERS}
    fields: dict[str, list[Any]] = {
        columns.DURATION: duration,
        columns.TEXT: texts,
        columns.SPEAKER: [speakers[letter] for letter in letters],
        columns.GENDER: [GENDERS[letter] for letter in letters],
        columns.SESSION: [session] * len(ids),
        columns.DIALOG: dialogs,
        **dict(zip(RATINGS, map(list, zip(*ratings, strict=True)), strict=True)),
        **{columns.RELEASED + name: list(map(float, values)) for name, values in zip(RATINGS, released, strict=True)},
    }
    audio = [f"{session_folder}/sentences/wav/{dialog}/{id}.wav" for dialog, id in zip(dialogs, ids, strict=True)]
    return Block(ids, audio, votes, [CODES.get(code) for code in codes], fields)


def read_evaluation(path: str | os.PathLike[str]) -> list[list[Any]]:
    """Columns of an `EmoEvaluation/<dialog>.txt`, a value a turn; `LabelFileError` names the line outside the grammar.

    They are seconds; turn, dialog, the speaker's letter (the one after the session number is the actor with the
    markers), code, released valence, activation and dominance, as written; the votes; and the mean ratings.
    """
    text = read_text(path) + "\n"
    parts = TURN.split(text)
    outside, start, end, *written, vote_lines, rating_lines = (parts[place::GROUPS] for place in range(GROUPS))
    votes, ratings = [parse_votes(lines) for lines in vote_lines], [mean_ratings(lines) for lines in rating_lines]
    duration = [float(e) - float(s) for s, e in zip(start, end, strict=True)]
    ids, dialogs = written[:2]
    unreadable = (
        not all(votes) or None in ratings or any(outside[1:]) or not all(map(_ignored, outside[0].split("\n")))
    )
    if unreadable or {_dialog(path)} != set(dialogs) or len(set(ids)) < len(ids) or min(duration) <= 0:
        raise next(_faults(path, text))
    return [duration, *written, votes, ratings]


def _dialog(path: str | os.PathLike[str]) -> str:
    """The dialog that a file is named for."""
    return os.path.basename(path).removesuffix(".txt")


def _ignored(lines: str) -> bool:
    """Whether lines before the first turn are blank or the file's header."""
    return all(not line.strip(" \t") or line.startswith("%") for line in lines.split("\n"))


def _faults(path: str | os.PathLike[str], text: str) -> Iterator[LabelFileError]:
    """What is wrong with a file: every line outside the grammar, then every turn that contradicts it."""
    blocks, end = list(TURN.finditer(text)), 0
    for block in blocks:
        yield from _outside(path, text, end, block.start(), A_TURN, _ignored if end == 0 else None)
        yield from _outside(path, text, *block.span(10), A_VOTE, _vote)
        yield from _outside(path, text, *block.span(11), A_RATING, _rating)
        end = block.end()
    yield from _outside(path, text, end, len(text), A_TURN, None if blocks else _ignored)
    seen: set[str] = set()
    for block in blocks:
        number = text.count("\n", 0, block.start()) + 1
        if expected := _contradiction(block, _dialog(path), seen):
            yield LabelFileError(path, number, text.split("\n")[number - 1], expected)
    yield LabelFileError(path, 1, text.split("\n")[0], A_TURN)  # there is none


def _outside(
    path: str | os.PathLike[str],
    text: str,
    start: int,
    end: int,
    expected: str,
    parse: Callable[[str], object] | None = None,
) -> Iterator[LabelFileError]:
    """The lines between two places of a file that `parse` cannot read."""
    lines = text[start:end].removesuffix("\n").split("\n") if start < end else []
    for number, line in enumerate(lines, start=text.count("\n", 0, start) + 1):
        if parse is None or not parse(line):
            yield LabelFileError(path, number, line, expected)


def _contradiction(block: re.Match[str], dialog: str, seen: set[str]) -> str | None:
    """What would have to be otherwise in a turn whose every line is in the grammar."""
    start, end, id, of_dialog = block.group(1, 2, 3, 4)
    known = id in seen
    seen.add(id)
    for wrong, expected in (
        (of_dialog != dialog, f"a turn of the dialog that the file is named for, {dialog}"),
        (known, "another turn: this one was there already"),
        (float(end) <= float(start), "a turn that ends after its start"),
        (not block[10], "a turn with lines C- below"),
        (parse_votes(block[10]) is None or mean_ratings(block[11]) is None, "a turn with one vote an annotator"),
    ):
        if wrong:
            return expected
    return None


def read_transcripts(path: str) -> dict[str, str]:
    """Text of every timed line of a `transcriptions/<dialog>.txt`; none where the file is absent.

    Back-channels without a time ("M: Yeah.") and turns that nobody evaluated (`FXX0`, some of them twice) are left
    out; `LabelFileError` names a turn that cannot be read.
    """
    if not os.path.isfile(path):
        return {}
    text = "\n" + read_text(path)
    timed = TIMED.findall(text)
    turns = [(turn, words.strip()) for turn, words in timed if turn[-2] != "X"]
    texts = dict(turns)
    if len(timed) < text.count("\nSes") or len(texts) < len(turns):
        raise _damaged_line(path, text)
    return texts


def _damaged_line(path: str, text: str) -> LabelFileError:
    """The first line of a transcript that is a turn, but cannot be read or was there already."""
    seen: set[str] = set()
    damaged = (0, "")
    for place in enumerate(text.split("\n")):  # the first line is empty
        match = TIMED.match(place[1])
        if place[1].startswith("Ses") and (match is None or match[1] in seen):
            damaged = place
            break
        seen.update([match[1]] if match and match[1][-2] != "X" else [])
    return LabelFileError(path, *damaged, "'turn [start-end]: text', each turn once")


@functools.lru_cache(maxsize=1 << 14)  # the same few votes come again and again
def parse_votes(lines: str) -> tuple[Vote, ...] | None:
    """The votes of a turn's lines `C-`; None when one is outside the grammar, or an annotator voted twice."""
    votes = [_vote(line) for line in lines.split("\n")[:-1]]
    annotators = {vote.annotator for vote in votes if vote}
    return tuple(vote for vote in votes if vote) if len(annotators) == len(votes) else None


@functools.lru_cache(maxsize=1 << 14)
def mean_ratings(lines: str) -> tuple[float | None, float | None, float | None] | None:
    """Mean valence, activation, dominance of the valid external ratings in a turn's lines `A-`, each None without any.

    None in their place when a line is outside the grammar, or an annotator rated twice.
    """
    ratings = [_rating(line) for line in lines.split("\n")[:-1]]
    if len({rating[0] for rating in ratings if rating}) < len(ratings):
        return None
    external = [values for annotator, *values in filter(None, ratings) if annotator.startswith("E")]
    valid = [[int(values[scale]) for values in external if values[scale] in VALID_RATINGS] for scale in range(3)]
    valence, activation, dominance = (sum(values) / len(values) if values else None for values in valid)
    return valence, activation, dominance


@functools.lru_cache(maxsize=1 << 12)
def _vote(line: str) -> Vote | None:
    """The vote of a line `C-`; a blank label is no choice, which only speakers themselves have left blank."""
    match = CATEGORICAL.fullmatch(line)
    if match is None or TICK_IN_COMMENT.search(match[4]) or ("\t" in line and "\t" not in match[3]):
        return None
    labels = [label.strip() for label in match[2].split(";") if label.strip()]
    kind = EXTERNAL if match[1].startswith("E") else SELF
    if not set(labels) <= LABELS.keys() or (kind == EXTERNAL and not labels):
        return None
    return Vote(match[1], kind, tuple(LABELS[label] for label in labels), note=match[4])


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
FIVE_CLASSES = {**FOUR_CLASSES, "other": ["frustrated", "surprise", "fear", "disgust", "other"]}
NINE_CLASSES = tuple(name for name in IemocapFolder.inventory if name != "other")


class Iemocap(CorpusBuilder):
    """`load_dataset("iemocap", data_dir=...)`: splits `session1` ... `session5`, or a speaker-independent fold."""

    BUILDER_CONFIG_CLASS = IemocapConfig
    BUILDER_CONFIGS = [
        IemocapConfig(name=name, label_set=label_set, description=description)
        for name, label_set, description in (
            ("4class", FOUR_CLASSES, "Excitement is merged into happiness."),
            ("4class_pure", tuple(FOUR_CLASSES), "The same classes, without excitement."),
            ("5class", FIVE_CLASSES, "The four classes, and all others as one (Wu et al. 2022)."),
            ("6class", ("angry", "happy", "neutral", "sad", "excited", "frustrated"), "The six frequent classes."),
            ("9class", NINE_CLASSES, "Every class but other (EMO-SUPERB)."),
            ("10class", IemocapFolder.inventory, "Every class of the corpus."),
        )
    ]
    DEFAULT_CONFIG_NAME = "4class"
