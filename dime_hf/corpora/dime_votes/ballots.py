"""From the votes and facts of several files to utterances and the votes on each.

Every refused value is named with its file and line. Nothing is read twice, and no vote is a Python object.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dime_hf import columns
from dime_hf.columns import ID
from dime_hf.corpora.dime_votes.files import Sheet, codes, first
from dime_hf.corpora.dime_votes.labels import Names, check_distinct, rename_label
from dime_hf.corpora.dime_votes.sheets import (
    ANNOTATOR,
    KIND,
    LABEL,
    NOTE,
    NUMBERS,
    ROW,
    SECONDARY,
    SHEET,
    TEXTS,
    Rules,
    other_columns,
    read_votes,
    unique_ids,
)
from dime_hf.corpora.votes import CastVotes
from dime_hf.errors import CorpusError

logger = logging.getLogger(__name__)


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


def collect(sheets: Sequence[Sheet], metadata: Sequence[Sheet], rules: Rules) -> Ballots:
    """Votes of all `sheets`, and what they and `metadata` tell of each utterance.

    Utterances come in the order of `metadata`, or else in the order of their first vote.
    """
    for sheet in metadata:
        sheet.require(ID)
        unique_ids(sheet)
    cast = [read_votes(sheet, rules) for sheet in sheets]
    told = [_facts(sheet, other_columns(sheet, [ID]), rules) for sheet in metadata]
    told += [_facts(sheet, votes.others, rules) for sheet, votes in zip(sheets, cast, strict=True)]
    utterances = _merge(told, [*metadata, *sheets])
    votes = pa.concat_tables(_placed(each.votes, number) for number, each in enumerate(cast)).combine_chunks()
    if metadata:
        _check_known(votes, pa.concat_arrays([sheet.texts(ID) for sheet in metadata]), sheets)
    named = Names.of(votes, [name for each in cast for name in each.classes], rules)
    if rules.rename is True:
        check_distinct(named.house, sheets)
    named.check(votes, sheets)
    if columns.HARD_LABEL in utterances.column_names:
        utterances = _official(utterances, named)
    return Ballots(utterances, _cast(votes, utterances[ID].combine_chunks(), named))


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
