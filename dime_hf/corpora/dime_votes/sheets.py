"""What a file that a user brings holds: a row a vote (long), or counts by class (wide)."""

from __future__ import annotations

import dataclasses
import difflib
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dime_hf import columns
from dime_hf.columns import EXTERNAL, ID, SELF
from dime_hf.corpora.dime_votes.files import A_NUMBER, Sheet, choices, codes, first
from dime_hf.errors import CorpusError, did_you_mean

logger = logging.getLogger(__name__)

ANNOTATOR, LABEL, KIND, SECONDARY, NOTE = "annotator", "label", "kind", "secondary", "note"
OF_VOTES = (ANNOTATOR, LABEL, KIND, SECONDARY, NOTE)
SPLIT = "split"
TEXTS = (
    columns.AUDIO, columns.TEXT, columns.SPEAKER, columns.GENDER, columns.SESSION, columns.DIALOG, SPLIT,
    columns.HARD_LABEL,
)  # fmt: skip
NUMBERS = (columns.DURATION, columns.ACTIVATION, columns.VALENCE, columns.DOMINANCE)
OF_UTTERANCES = (ID, *TEXTS, *NUMBERS)
KNOWN = (*OF_UTTERANCES, *OF_VOTES)
MADE = set(columns.corpus_features(["x", "y"], ["x", "y"])) - set(KNOWN)  # columns that no file may bring
SHEET, ROW = "_sheet", "_row"  # where a value was written
MOST_VOTES = 1000  # of one class on one utterance: a larger number is a year or a measure, no count


@dataclasses.dataclass(frozen=True)
class Rules:
    """How files are to be understood: see `DimeVotesConfig`, whose arguments these are."""

    classes: tuple[str, ...] | None = None
    rename: bool | Mapping[str, str] = True
    anonymous: bool = False
    audio_dir: str | None = None


class Cast(NamedTuple):
    """What a file of votes holds: votes, a row each; classes that it counts; columns that are kept as they are."""

    votes: pa.Table
    classes: Sequence[str] = ()
    others: Sequence[str] = ()


def read_votes(sheet: Sheet, rules: Rules) -> Cast:
    """Votes of a sheet, long where it has a column of labels."""
    return _long(sheet, rules) if LABEL in sheet.names else _wide(sheet, rules)


def other_columns(sheet: Sheet, known: Sequence[str]) -> list[str]:
    """Columns of a sheet beside those, which must not be named like a column that is made here."""
    for name in sheet.names:
        if name in MADE:
            raise CorpusError(f"{sheet.path}: the column {name!r} would hide the one that is made from the votes")
    return [name for name in sheet.names if name not in known]


def unique_ids(sheet: Sheet) -> None:
    """Raise `LabelFileError` for the second row with the same id."""
    place, different = codes(sheet.required_texts(ID, "an id"))
    if len(different) < len(place):
        again = np.ones(len(place), dtype=bool)
        again[np.unique(place, return_index=True)[1]] = False
        row = int(np.argmax(again))
        sheet.refuse(row, different[place[row]].as_py(), "an id that no other row has")


def _long(sheet: Sheet, rules: Rules) -> Cast:
    """Votes of a sheet of one vote a row; other columns than the known ones are not used."""
    sheet.require(ID, *([] if rules.anonymous else [ANNOTATOR]))
    rows = sheet.table.num_rows
    empty = pa.nulls(rows, pa.string())
    texts = {name: sheet.texts(name) if name in sheet.names else empty for name in OF_VOTES}
    texts[KIND], texts[NOTE] = pc.fill_null(texts[KIND], EXTERNAL), pc.fill_null(texts[NOTE], "")
    wrong = pc.invert(pc.is_in(texts[KIND], pa.array([EXTERNAL, SELF])))
    if pc.any(wrong).as_py():
        sheet.refuse(first(wrong), texts[KIND][first(wrong)], f"the kind {EXTERNAL!r} or {SELF!r}")
    place, different = codes(texts[LABEL])
    blank = np.array([not choices(text or "") for text in different.to_pylist()], dtype=bool)[place]
    if blank.any():
        row = int(np.argmax(blank))
        sheet.refuse(row, texts[LABEL][row].as_py(), "a label")
    if unused := other_columns(sheet, KNOWN):
        near = {name: difflib.get_close_matches(name.lower(), KNOWN, n=1, cutoff=0.75) for name in unused}
        hints = [f"{name!r} (did you mean {close[0]!r}?)" if close else repr(name) for name, close in near.items()]
        logger.warning("%s: columns not used: %s", sheet.path, ", ".join(hints))
    return Cast(pa.table({ID: sheet.required_texts(ID, "an id"), ROW: np.arange(rows), **texts}))


def _wide(sheet: Sheet, rules: Rules) -> Cast:
    """Votes of a sheet of counts by class, an anonymous one a count; other columns are kept."""
    names = _count_columns(sheet, rules.classes)
    unique_ids(sheet)
    counts = np.stack([_counts(sheet, name) for name in names], axis=1)
    row, label = np.divmod(np.repeat(np.arange(counts.size), counts.ravel()), len(names))
    empty = pa.nulls(len(row), pa.string())
    texts = {
        ANNOTATOR: empty,
        LABEL: pa.array(names, type=pa.string()).take(pa.array(label)),
        KIND: pa.repeat(EXTERNAL, len(row)),
        SECONDARY: empty,
        NOTE: pa.repeat("", len(row)),
    }
    votes = pa.table({ID: sheet.texts(ID).take(pa.array(row)), ROW: row, **texts})
    labels = [choice for name in names for choice in choices(name)]
    return Cast(votes, labels, other_columns(sheet, (*OF_UTTERANCES, *names)))


def _count_columns(sheet: Sheet, classes: Sequence[str] | None) -> list[str]:
    sheet.require(ID, *([LABEL] if ANNOTATOR in sheet.names else []))
    if classes is not None:
        sheet.require(*classes)
        return list(classes)
    others = other_columns(sheet, KNOWN)
    names = [name for name in others if sheet.numeric(name)]
    if not names:
        raise CorpusError(
            f"{sheet.path}: has neither a column {LABEL!r} (a row a vote) nor columns of numbers (counts by class); "
            f"see `column_names`.{did_you_mean(LABEL, sheet.names)}"
        )
    for name in names:
        if not choices(name):
            raise CorpusError(f"{sheet.path}: the name {name!r} of a column of numbers says no label")
    for name in others:
        if name not in names and pa.types.is_string(sheet.values(name).type):
            _check_text(sheet, name)
    return names


def _check_text(sheet: Sheet, name: str) -> None:
    """Raise `LabelFileError` where a column of text has numbers too: it may hold counts, one of them misspelt."""
    column = sheet.values(name)
    number = pc.match_substring_regex(column, A_NUMBER)
    if pc.any(number).as_py():
        other = first(pc.fill_null(pc.invert(number), False))
        sheet.refuse(other, column[other].as_py(), f"a whole count in the column {name!r} (or name the `classes`)")


def _counts(sheet: Sheet, name: str) -> NDArray[np.int64]:
    """Counts (N,) of a class; an empty cell is none."""
    values = pc.fill_null(sheet.numbers(name, "a whole count of votes"), 0.0).to_numpy()
    wrong = (values < 0) | (values > MOST_VOTES) | (values != np.floor(values))
    if wrong.any():
        row = int(np.argmax(wrong))
        expected = f"a whole count from 0 to {MOST_VOTES} in the column {name!r} (votes are ticks; see `classes`)"
        sheet.refuse(row, f"{values[row]:g}", expected)
    return values.astype(np.int64)
