"""From tables that a user brings to utterances and their votes: a row a vote (long), or counts by class (wide).

Every refused value is named with its file and line. Nothing is read twice, and no vote is a Python object.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dime_hf import columns
from dime_hf.columns import EXTERNAL, ID, SELF
from dime_hf.corpora.dime_votes.files import A_NUMBER, SEPARATOR, Sheet, codes, first
from dime_hf.corpora.votes import CastVotes
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
ALIASES = {
    **{name: name for name in columns.EMOTIONS},
    "anger": "angry", "happiness": "happy", "joy": "happy", "joyful": "happy", "neutrality": "neutral",
    "neutral state": "neutral", "sadness": "sad", "excitement": "excited", "frustration": "frustrated",
    "surprised": "surprise", "fearful": "fear", "afraid": "fear", "disgusted": "disgust",
    "contemptuous": "contempt", "others": "other",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Ballots:
    """N utterances in order, and their votes; `utterances` has those columns of `KNOWN` and others that files have."""

    utterances: pa.Table
    votes: CastVotes

    def votes_of(self, rows: NDArray[np.int64]) -> CastVotes:
        """The votes on some utterances, in the order of `rows`."""
        starts, ends = (np.searchsorted(self.votes.row, rows, side) for side in ("left", "right"))
        sizes = ends - starts
        row = np.repeat(np.arange(len(rows)), sizes)
        vote = np.arange(len(row)) + np.repeat(starts - (np.cumsum(sizes) - sizes), sizes)
        different, answer = np.unique(self.votes.answer[vote], return_inverse=True)
        return dataclasses.replace(
            self.votes,
            answers=self.votes.answers.take(pa.array(different)),
            answer=answer,
            annotator=self.votes.annotator.take(pa.array(vote)),
            row=row,
            rows=len(rows),
        )


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


def collect(sheets: Sequence[Sheet], metadata: Sequence[Sheet], rules: Rules) -> Ballots:
    """Votes of all `sheets`, and what they and `metadata` tell of each utterance.

    Utterances come in the order of `metadata`, or else in the order of their first vote.
    """
    for sheet in metadata:
        sheet.require(ID)
        unique_ids(sheet)
    cast = [_long(sheet, rules) if LABEL in sheet.names else _wide(sheet, rules) for sheet in sheets]
    told = [_facts(sheet, _others(sheet, [ID]), rules) for sheet in metadata]
    told += [_facts(sheet, votes.others, rules) for sheet, votes in zip(sheets, cast, strict=True)]
    utterances = _merge(told, [*metadata, *sheets])
    votes = pa.concat_tables(_placed(each.votes, number) for number, each in enumerate(cast)).combine_chunks()
    if metadata:
        _check_known(votes, pa.concat_arrays([sheet.texts(ID) for sheet in metadata]), sheets)
    named = Names.of(votes, [name for each in cast for name in each.classes], rules)
    if rules.rename is True:
        _check_distinct(named.house, sheets)
    named.check(votes, sheets)
    if columns.HARD_LABEL in utterances.column_names:
        utterances = _official(utterances, named)
    return Ballots(utterances, _cast(votes, utterances[ID].combine_chunks(), named))


def unique_ids(sheet: Sheet) -> None:
    """Raise `LabelFileError` for the second row with the same id."""
    place, different = codes(sheet.required_texts(ID, "an id"))
    if len(different) < len(place):
        again = np.ones(len(place), dtype=bool)
        again[np.unique(place, return_index=True)[1]] = False
        row = int(np.argmax(again))
        sheet.refuse(row, different[place[row]].as_py(), "an id that no other row has")


@dataclasses.dataclass(frozen=True)
class Names:
    """What labels are called: house names for common spellings, others as they were written."""

    house: Mapping[str, str]  # of every label that a vote names
    inventory: tuple[str, ...]
    rename: bool | Mapping[str, str]

    @classmethod
    def of(cls, votes: pa.Table, counted: Sequence[str], rules: Rules) -> Names:
        """Names of all labels; the inventory is `rules.classes`, or what `votes` name and the `counted` classes."""
        texts = [text for name in (LABEL, SECONDARY) for text in pc.unique(votes[name]).to_pylist() if text]
        written = sorted({choice for text in texts for choice in choices(text)} | set(counted))
        house = {name: rename_label(name, rules.rename) for name in written}
        known = written if rules.classes is None else rules.classes
        inventory = columns.in_house_order(rename_label(name, rules.rename) for name in known)
        return cls(house, inventory, rules.rename)

    def check(self, votes: pa.Table, sheets: Sequence[Sheet]) -> None:
        """Raise `LabelFileError` for the first vote that names a label outside the inventory."""
        outside = {name for name, house in self.house.items() if house not in self.inventory}
        for name in (LABEL, SECONDARY) if outside else ():
            for number, text in enumerate(votes[name].to_pylist()):
                if not outside.isdisjoint(choices(text or "")):
                    sheet, row = (votes[place][number].as_py() for place in (SHEET, ROW))
                    sheets[sheet].refuse(row, text, f"labels out of `classes`: {', '.join(self.inventory)}")

    def places(self, texts: pa.Array) -> pa.ListArray:
        """Places in the inventory of the choices that each text names."""
        place = {name: self.inventory.index(house) for name, house in self.house.items()}
        lists = [[place[choice] for choice in choices(text or "")] for text in texts.to_pylist()]
        return pa.array(lists, type=pa.list_(pa.int64()))


def choices(text: str) -> list[str]:
    """Labels that a cell names.

    >>> choices("Sad; Angry;")
    ['Sad', 'Angry']
    """
    return [choice.strip() for choice in text.split(SEPARATOR) if choice.strip()]


def rename_label(name: str, rename: bool | Mapping[str, str]) -> str:
    """Name of a label by the table of common spellings (True), by the user's own, or as it is (False).

    >>> rename_label("Anger", True), rename_label("Calm", True), rename_label("Anger", {"Calm": "neutral"})
    ('angry', 'Calm', 'Anger')
    """
    if isinstance(rename, Mapping):
        return rename.get(name, name)
    return ALIASES.get(name.lower(), name) if rename else name


def _check_distinct(house: Mapping[str, str], sheets: Sequence[Sheet]) -> None:
    """Raise `CorpusError` where two labels, not only two spellings, would become one."""
    spelled: dict[str, str] = {}
    for name, target in house.items():
        other = spelled.setdefault(target, name)
        if other.lower() != name.lower():
            raise CorpusError(
                f"{', '.join(sheet.path for sheet in sheets)}: the labels {other!r} and {name!r} would both become "
                f"{target!r}: keep them apart with `rename_labels=False`, or say what is meant, as in "
                f"`rename_labels={{{name!r}: {target!r}}}`"
            )


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
    if unused := _others(sheet, KNOWN):
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
    return Cast(votes, labels, _others(sheet, (*OF_UTTERANCES, *names)))


def _count_columns(sheet: Sheet, classes: Sequence[str] | None) -> list[str]:
    sheet.require(ID, *([LABEL] if ANNOTATOR in sheet.names else []))
    if classes is not None:
        sheet.require(*classes)
        return list(classes)
    others = _others(sheet, KNOWN)
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


def _others(sheet: Sheet, known: Sequence[str]) -> list[str]:
    """Columns of a sheet beside those, which must not be named like a column that is made here."""
    for name in sheet.names:
        if name in MADE:
            raise CorpusError(f"{sheet.path}: the column {name!r} would hide the one that is made from the votes")
    return [name for name in sheet.names if name not in known]


def _facts(sheet: Sheet, others: Sequence[str], rules: Rules) -> pa.Table:
    """What a sheet tells of its utterances, row by row."""
    told = {ID: sheet.required_texts(ID, "an id"), ROW: np.arange(sheet.table.num_rows)}
    told |= {name: sheet.texts(name) for name in TEXTS if name in sheet.names}
    told |= {name: sheet.numbers(name, "a number") for name in NUMBERS if name in sheet.names}
    told |= {name: sheet.values(name) for name in others if name not in told}
    if columns.AUDIO in told:
        told[columns.AUDIO] = _paths(told[columns.AUDIO], rules.audio_dir or os.path.dirname(sheet.path))
    return pa.table(told)


def _paths(written: pa.Array, folder: str) -> pa.Array:
    """Absolute paths; relative ones start in `folder`."""
    absolute = pc.match_substring_regex(written, r"^(/|[A-Za-z]:[/\\])")
    return pc.if_else(absolute, written, pc.binary_join_element_wise(folder, written, "/"))


def _placed(table: pa.Table, sheet: int) -> pa.Table:
    return table.append_column(SHEET, pa.array(np.full(len(table), sheet)))


def _merge(told: Sequence[pa.Table], sheets: Sequence[Sheet]) -> pa.Table:
    """One row an utterance, of all rows that tell something of it, which must agree."""
    try:
        rows = pa.concat_tables(
            [_placed(table, number) for number, table in enumerate(told)], promote_options="permissive"
        ).combine_chunks()
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        raise CorpusError(f"the files have a column of different types: {error}") from error
    utterance, ids = codes(rows[ID].combine_chunks())
    names = [name for name in rows.column_names if name not in (ID, SHEET, ROW)]
    return pa.table({ID: ids} | {name: _agreed(rows, name, utterance, ids, sheets) for name in names})


def _agreed(
    rows: pa.Table, name: str, utterance: NDArray[np.int64], ids: pa.Array, sheets: Sequence[Sheet]
) -> pa.Array:
    """The one value (N,) that the rows (M,) of each utterance (M,) have in a column; null where none has any."""
    column = rows[name].combine_chunks()
    told = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    source = np.full(len(ids), -1)
    source[utterance[told][::-1]] = told[::-1]  # the first row that has a value
    values = column.take(pa.array(source, mask=source < 0))
    if len(told) > (source >= 0).sum():
        nested = pa.types.is_nested(column.type)
        place, _ = codes(pa.array(map(str, column.to_pylist())) if nested else column)
        differs = place[told] != place[source[utterance[told]]]
        if differs.any():
            there = int(told[np.argmax(differs)])
            here = int(source[utterance[there]])
            sheet, row = (rows[where][there].as_py() for where in (SHEET, ROW))
            id, other = ids[utterance[there]].as_py(), sheets[rows[SHEET][here].as_py()].path
            expected = f"{name!r} of utterance {id!r} to be {column[here].as_py()!r}, as in {other}"
            sheets[sheet].refuse(row, column[there].as_py(), expected)
    return values


def _check_known(votes: pa.Table, ids: pa.Array, sheets: Sequence[Sheet]) -> None:
    unknown = pc.invert(pc.is_in(votes[ID].combine_chunks(), ids))
    if pc.any(unknown).as_py():
        vote = first(unknown)
        sheet, row, id = (votes[name][vote].as_py() for name in (SHEET, ROW, ID))
        sheets[sheet].refuse(row, id, f"an id that `metadata` has ({pc.sum(unknown).as_py():,} votes are on others)")


def _official(utterances: pa.Table, named: Names) -> pa.Table:
    """Official labels by the names of votes; null, and counted, where no vote could name them."""
    place, different = codes(utterances[columns.HARD_LABEL].combine_chunks())
    renamed = [None if text is None else rename_label(text.strip(), named.rename) for text in different.to_pylist()]
    strange = {name for name in renamed if name is not None} - set(named.inventory)
    if strange:
        count = int(np.isin(place, [number for number, name in enumerate(renamed) if name in strange]).sum())
        logger.warning(
            "%s utterances have an official label that no vote names, %s: they are undecided",
            f"{count:,}",
            sorted(strange),
        )
    kept = pa.array([None if name in strange else name for name in renamed], type=pa.string())
    at = utterances.column_names.index(columns.HARD_LABEL)
    return utterances.set_column(at, columns.HARD_LABEL, kept.take(pa.array(place)))


def _cast(votes: pa.Table, ids: pa.Array, named: Names) -> CastVotes:
    """Votes by utterance, in the order of the files."""
    row = pc.index_in(votes[ID].combine_chunks(), ids).to_numpy().astype(np.int64)
    order = np.argsort(row, kind="stable")
    votes, row = votes.take(pa.array(order)), row[order]
    annotator = votes[ANNOTATOR].combine_chunks()
    _report_repeated(annotator, row, ids)
    parts = {name: codes(votes[name].combine_chunks()) for name in (KIND, LABEL, SECONDARY, NOTE)}
    answer = np.zeros(len(row), dtype=np.int64)
    for place, different in parts.values():
        answer = codes(pa.array(answer * len(different) + place))[0]
    _, some = np.unique(answer, return_index=True)  # a vote with each answer
    kind, label, secondary, note = (
        (named.places(different) if name in (LABEL, SECONDARY) else different).take(pa.array(place[some]))
        for name, (place, different) in parts.items()
    )
    answers = pa.StructArray.from_arrays([kind, label, secondary, note], names=[KIND, "choices", SECONDARY, NOTE])
    return CastVotes(named.inventory, answers, answer, annotator, row, len(ids))


def _report_repeated(annotator: pa.Array, row: NDArray[np.int64], ids: pa.Array) -> None:
    """Say how many votes come from an annotator who has voted on the utterance before; they are kept."""
    known = np.flatnonzero(annotator.is_valid().to_numpy(zero_copy_only=False))
    place, different = codes(annotator)
    ballot, ballots = codes(pa.array(row[known] * len(different) + place[known]))
    if len(ballots) < len(ballot):
        again = np.ones(len(ballot), dtype=bool)
        again[np.unique(ballot, return_index=True)[1]] = False
        vote = int(known[np.argmax(again)])
        logger.warning(
            "%s votes come from an annotator who votes on the utterance again (first: %s on %s); every vote is kept",
            f"{again.sum():,}",
            annotator[vote].as_py(),
            ids[int(row[vote])].as_py(),
        )
