"""What MSP-Podcast's label files mean: votes, consensus, sets and speakers, from the cells as they are written."""

from __future__ import annotations

import dataclasses
import functools
import math
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dime_hf import columns
from dime_hf.columns import EXTERNAL
from dime_hf.corpora.msp_podcast import forms
from dime_hf.corpora.msp_podcast.cells import ANSWER, CLASS, FILE, GENDER, SET, SPEAKER, WORKER
from dime_hf.corpora.msp_podcast.cells import RATINGS as RATING_COLUMNS
from dime_hf.corpora.votes import Answer

CODES = {
    "A": "angry", "S": "sad", "H": "happy", "U": "surprise", "F": "fear", "D": "disgust", "C": "contempt",
    "N": "neutral", "O": "other", "X": None,
}  # fmt: skip
SECONDARY = columns.in_house_order(
    ["angry", "sad", "happy", "surprise", "fear", "disgust", "contempt", "neutral", "amused", "annoyed", "concerned",
     "confused", "depressed", "disappointed", "excited", "frustrated"]
)  # fmt: skip
INVENTORY = columns.in_house_order([*SECONDARY, "other"])
SPELLINGS = {word: word for word in SECONDARY} | {"dissapointed": "disappointed"}
SPELT = {spelling: word for word in SECONDARY for spelling in (word, word.capitalize(), f" {word.capitalize()}")}
UNKNOWN = {"", "unknown", "na", "nan", "none", "null"}  # literal texts, in any case
RATINGS = dict(zip(RATING_COLUMNS, (columns.ACTIVATION, columns.VALENCE, columns.DOMINANCE), strict=True))
SPLITS = ("train", "validation", "test", "test1", "test2", "test3")
SETS = {name: name for name in SPLITS} | {"development": "validation", "dev": "validation"}
OFFICIAL, SPLIT = "official", "split"  # columns of ours beside those of the data contract

NUMBER = re.compile(r"\d+\.?\d*|\.\d+")
RATED = re.compile(r"; ?[AVD]: ?(\d|NaN|;)")  # the end of a vote: after it another one begins
WORKER_NAME = re.compile(r"[\w-]+")
EXTENSION = re.compile(r"(?i)\.(wav|flac|mp3|ogg|m4a|mp4)$")
WORD = re.compile(r"\s*(other\s*\([^)]*\)[^,]*|[^,]+)", re.IGNORECASE)  # 1.6 has commas in brackets: "Other (a, b)"
NOTHING_TYPED = " -:()"

A_VOTE = f"a primary emotion out of {', '.join(map(str.capitalize, SECONDARY))} or Other-..., and a list of such"
A_NUMBER = "a number, NaN or nothing"
A_CLASS = f"a class out of {' '.join(CODES)}"
A_PARTITION = f"'<set>; <file>' with a set out of {', '.join([*SETS, 'NA'])}"
A_SPEAKER = "'Speaker_<n>; <gender>' or '<file>; <n or Unknown>'"
A_SET = f"a set out of {', '.join([*SETS, 'NA'])}"


@dataclasses.dataclass(frozen=True)
class WorkerVotes:
    """V worker ratings in the file's order.

    files, workers, answers are the different ones; file, worker, answer (V,) are places in them. ratings (V,) are
    from 1 to 7, NaN where missing.
    """

    files: pa.StringArray
    file: NDArray[np.int32]
    workers: pa.StringArray
    worker: NDArray[np.int32]
    answers: list[Answer]
    answer: NDArray[np.int32]
    ratings: dict[str, NDArray[np.float64]]


def read_worker_votes(path: str) -> WorkerVotes:
    """The votes of `labels_detailed.csv` or `.json`, or of `labels.txt`."""
    cells = forms.read_votes(path)
    files, file = cells.names(FILE, "a file")
    workers, worker = cells.parse(WORKER, worker_name, "a worker such as WORKER00000001")
    answers, answer = cells.parse(ANSWER, parse_answer, A_VOTE)
    ratings = {ours: cells.parse(name, rating, A_NUMBER) for name, ours in RATINGS.items()}
    numbers = {name: np.array(meanings, dtype=float)[holds] for name, (meanings, holds) in ratings.items()}
    return WorkerVotes(files, file, pa.array(workers, pa.string()), worker, answers, answer, numbers)


def read_consensus(path: str) -> pa.Table:
    """The corpus's own figures, a row a file: official label, ratings, speaker, gender and split."""
    cells = forms.read_heads(path)
    text = pa.string()
    files = cells.each_name(FILE, "a file")
    if not _all_differ(ids := utterance_ids(files)):
        number_of = ids.dictionary_encode().indices.to_numpy()  # in order of appearance
        cells.refuse(int((np.diff(np.maximum.accumulate(number_of), prepend=-1) == 0).argmax()), "a file of its own")
    return pa.table(
        {
            FILE: files,
            OFFICIAL: cells.array(CLASS, lambda code: CODES[code.strip().upper()], A_CLASS, text),
            columns.SPEAKER: cells.array(SPEAKER, speaker_name, "a speaker", text),
            columns.GENDER: cells.array(GENDER, gender_name, "a gender", text),
            SPLIT: cells.array(SET, split_name, A_SET, text),
            **{ours: cells.array(name, number, A_NUMBER, pa.float64()) for name, ours in RATINGS.items()},
        }
    )


def read_partitions(path: str) -> pa.Table:
    """FILE and SPLIT of the lines `Train; MSP-PODCAST_0001_0008.wav` of `Partitions.txt`."""
    cells = forms.read_pairs(path, SET, FILE, A_PARTITION)
    files = cells.each_name(FILE, A_PARTITION)
    table = pa.table({FILE: files, SPLIT: cells.array(SET, split_name, A_PARTITION, pa.string())})
    if not _all_differ(files):
        split_of: dict[str, str | None] = {}
        for row, (name, split) in enumerate(zip(*table.to_pydict().values(), strict=True)):
            if split_of.setdefault(name, split) != split:
                cells.refuse(row, f"{A_PARTITION}, and a file in one set")
    return table


def read_speakers(path: str) -> tuple[pa.Table, dict[str | None, str | None]]:
    """FILE and speaker of the lines `<file>; <n>` of `Speaker_ids.txt`, and the gender of every speaker."""
    cells = forms.read_pairs(path, FILE, SPEAKER, A_SPEAKER)
    files, text = cells.each_name(FILE, A_SPEAKER), pa.string()
    table = pa.table({FILE: files, columns.SPEAKER: cells.array(SPEAKER, speaker_name, A_SPEAKER, text)})
    is_speaker = pc.match_substring_regex(files, r"(?i)^speaker_\w+$")
    speakers = map(speaker_name, files.filter(is_speaker).to_pylist())
    genders = cells.array(SPEAKER, gender_name, A_SPEAKER, text).filter(is_speaker).to_pylist()
    return table.filter(pc.invert(is_speaker)), dict(zip(speakers, genders, strict=True))


def _all_differ(names: pa.StringArray) -> bool:
    """Whether no name comes twice: seen at once where they are sorted, as the releases have them."""
    ascending = pc.all(pc.less(names[:-1], names[1:])).as_py() if len(names) > 1 else True
    return ascending or len(names.unique()) == len(names)


def utterance_ids(files: pa.StringArray) -> pa.StringArray:
    """The corpus's own ids: the files' names without their extension."""
    if pc.all(pc.ends_with(files, ".wav")).as_py():  # a pattern takes its time on some hundred thousand names
        return pc.utf8_slice_codeunits(files, 0, -len(".wav"))
    return pc.replace_substring_regex(files, EXTENSION.pattern, "")


def worker_name(text: str) -> str:
    if not WORKER_NAME.fullmatch(name := text.strip()):
        raise ValueError(text)
    return name


def number(text: str) -> float:
    """A figure; NaN where there is none."""
    if (text := text.strip()).casefold() in UNKNOWN:
        return math.nan
    if not NUMBER.fullmatch(text):
        raise ValueError(text)
    return float(text)


def rating(text: str) -> float:
    """A worker's rating from 1 to 7; what lies off the scale is missing."""
    value = number(text)
    return value if 1 <= value <= 7 else math.nan


def split_name(text: str) -> str | None:
    """The split that a set becomes; None for `NA`."""
    name = text.strip().casefold()
    return None if name in UNKNOWN else SETS[name]


def speaker_name(text: str) -> str | None:
    """A speaker as the corpus numbers them; None for `Unknown`, who may be anyone."""
    name = one_line(text)
    return None if name.casefold() in UNKNOWN else re.sub("^speaker_", "", name, flags=re.IGNORECASE)


def gender_name(text: str) -> str | None:
    name = one_line(text).casefold()
    return None if name in UNKNOWN else name


def one_line(text: str) -> str:
    if "\n" in text:
        raise ValueError(text)
    return text.strip()


def parse_answer(written: str) -> Answer:
    """The answer `primary; secondary`, or one with each in its line, as where a file keeps them apart.

    Free text may hold semicolons: the last one counts that has a primary emotion before it and a list of emotions
    behind. Raises `ValueError` where none has, and where two votes ran together.
    """
    if "\n" in written:
        primary, secondary = written.split("\n")  # a third line is a ValueError
        return _answer(primary, secondary)
    parts = [] if RATED.search(written) else written.split(";")
    for place in range(len(parts) - 1, 0, -1):
        try:
            return _answer(";".join(parts[:place]), ";".join(parts[place:]))
        except ValueError:
            continue
    raise ValueError(written)


def _answer(primary: str, secondary: str) -> Answer:
    """The answer, in whose note everything stays where something was typed; blank cells are one without a choice."""
    if primary not in SPELT and {primary.strip().casefold(), secondary.strip().casefold()} <= UNKNOWN:
        return Answer(EXTERNAL, ())
    choice, typed = _word(primary)
    labels, typed_too = _words(secondary)
    note = f"{primary.strip()}; {secondary.strip()}" if typed or typed_too else ""
    return Answer(EXTERNAL, (choice,), labels, note)


@functools.lru_cache(maxsize=1 << 14)  # the same lists come with many primary emotions
def _words(secondary: str) -> tuple[tuple[str, ...], bool]:
    """The labels of a comma list, and whether something was typed: `Other-...`, and what follows it and is no word."""
    labels: dict[str, None] = {}
    anything_typed = False
    for word in WORD.findall(secondary) if "(" in secondary else secondary.split(","):
        if label := SPELT.get(word):  # most words, and several times faster
            labels[label] = None
        elif word and not word.isspace():
            label, typed = _word(word) if "other" not in labels else _word_or_typed(word)
            labels[label] = None
            anything_typed = anything_typed or typed
    return tuple(labels), anything_typed


def _word_or_typed(text: str) -> tuple[str, bool]:
    """The raw label of a word behind free text, which may have commas: what is no word is more of it."""
    word = text.strip().casefold()
    return _word(text) if word in SPELLINGS or word.startswith("other") else ("other", True)


@functools.lru_cache(maxsize=1 << 14)
def _word(text: str) -> tuple[str, bool]:
    """The raw label of a word, and whether something was typed; `ValueError` for what is no word nor `Other...`."""
    word = text.strip().casefold()
    if word in SPELLINGS:
        return SPELLINGS[word], False
    if not word.startswith("other"):
        raise ValueError(text)
    return "other", bool(word[len("other") :].strip(NOTHING_TYPED))
