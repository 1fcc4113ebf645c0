"""The forms that MSP-Podcast's label files come in (csv, json, `labels.txt`), each read into `Cells`."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from dime_hf.corpora.folder import read_text
from dime_hf.corpora.msp_podcast.cells import (
    ANSWER,
    CLASS,
    COLUMNS,
    DETAIL,
    FILE,
    MAJOR,
    RATINGS,
    SECOND,
    WORKER,
    Cells,
    column_key,
)
from dime_hf.corpora.msp_podcast.json_form import read_json, workers
from dime_hf.errors import LabelFileError

A_VOTE = (WORKER, MAJOR, SECOND, *RATINGS)
NUMBERS = r"; ?A: ?(?P<EmoAct>[^;]*); ?V: ?(?P<EmoVal>[^;]*); ?D: ?(?P<EmoDom>[^;]*?) ?;?\s*$"
VOTE_LINE = r"^\s*(?P<WorkerID>WORKER\d+) ?; ?(?P<answer>.*)" + NUMBERS
HEAD_LINE = r"^\s*(?P<FileName>[^;]+?) ?; ?(?P<EmoClass>[^;]*?) ?" + NUMBERS
VOTE_SHAPE = "'WORKER<n>; primary; secondary, ...; A:n; V:n; D:n;'"
HEAD_SHAPE = "'<file>; <class>; A:n; V:n; D:n;'"
BLOCK = 1 << 23  # bytes that are parsed at a time: each has dictionaries of its own, which must be made one


def read_votes(path: str) -> Cells:
    """One row a vote, with FILE, WORKER, ANSWER and RATINGS, of `labels_detailed.csv`, `.json` or `labels.txt`."""
    if path.endswith(".json"):
        cells = read_json(path, workers)
        cells.require([FILE, *A_VOTE])
        return _join_answers(cells)
    return _text_votes(path) if path.endswith(".txt") else _csv_votes(path)


def read_heads(path: str) -> Cells:
    """One row a file, with FILE, CLASS and what else is known of it, of `labels_consensus.csv`, or as above."""
    if path.endswith(".json"):
        cells = read_json(path, lambda entry: [("", entry)])
    else:
        cells = TextFile(path).heads() if path.endswith(".txt") else read_csv(path)
    if CLASS not in cells.columns and MAJOR in cells.columns:  # as MSP-Face calls it
        cells = dataclasses.replace(cells, columns={**cells.columns, CLASS: cells.columns[MAJOR]})
    cells.require([FILE, CLASS])
    return cells


def read_pairs(path: str, first: str, second: str, expected: str) -> Cells:
    """The two columns of a file with lines `a; b`."""
    text = _lines(path)
    said = pc.utf8_trim(text, " ;\t")
    lines = np.flatnonzero(pc.not_equal(said, "").to_numpy(zero_copy_only=False))
    parts = pc.split_pattern(said.take(pa.array(lines)), ";")
    cells = Cells(path, {}, lambda row: (int(lines[row]) + 1, text[int(lines[row])].as_py()))
    if (odd := pc.index(pc.equal(pc.list_value_length(parts), 2), False).as_py()) >= 0:
        cells.refuse(odd, expected)
    pairs = {first: parts.flatten()[::2], second: parts.flatten()[1::2]}
    columns = {name: column if name == FILE else column.dictionary_encode() for name, column in pairs.items()}
    return dataclasses.replace(cells, columns=columns)


def read_csv(path: str) -> Cells:
    """The known columns of a csv file, chosen by its header; cells are literal texts, `NA` is no gap."""
    try:
        cells, rows = _parse_csv(path, path)
    except (pa.ArrowInvalid, KeyError):  # latin-1, a header alone, or a line of another width
        text = read_text(path)
        _check_lines(path, text)
        try:
            cells, rows = _parse_csv(pa.BufferReader(f"{text}\n".encode()), path)
        except (pa.ArrowInvalid, KeyError) as error:
            _check_lines(path, text, strict=True)
            raise LabelFileError(path, *_nth_line(path, 0), f"a csv file ({error})") from error
    if rows + 1 != _count_lines(path):
        _check_lines(path, read_text(path), strict=True)
    return Cells(path, cells, lambda row: _nth_line(path, row + 1))


def _parse_csv(source: Any, path: str) -> tuple[dict[str, pa.Array], int]:
    """Columns, and the number of rows."""
    known = [name for name in _header(path) if column_key(name) in COLUMNS]
    if len(known) > len({COLUMNS[column_key(name)] for name in known}):
        raise LabelFileError(path, *_nth_line(path, 0), "every column once")
    types = {name: pa.dictionary(pa.int32(), pa.string()) for name in known}
    types |= {
        name: pa.string() for name in known if COLUMNS[column_key(name)] in (FILE, DETAIL)
    }  # long, or mostly once
    options = pyarrow.csv.ConvertOptions(column_types=types, include_columns=known, strings_can_be_null=False)
    blocks = pyarrow.csv.ReadOptions(block_size=BLOCK)
    table = pyarrow.csv.read_csv(source, read_options=blocks, convert_options=options)
    return {COLUMNS[column_key(name)]: table[name].combine_chunks() for name in known}, len(table)


def _header(path: str) -> list[str]:
    with io.FileIO(path) as file, io.BufferedReader(file) as lines:
        first = next((line for line in lines if line.strip(b"\r\n")), b"").decode("utf-8-sig", errors="replace")
    try:
        return next(csv.reader(first.strip("\r\n").split("\r")[:1]), [])
    except csv.Error:  # longer than any header
        return []


def _count_lines(path: str) -> int:
    """How many lines a file has, blank ones too; -1 where its line ends are not of one kind, or are old."""
    feeds, returns, last = 0, 0, b"\n"
    with io.FileIO(path) as file:
        while chunk := file.read(1 << 20):
            feeds, returns, last = feeds + _count(chunk, b"\n"), returns + _count(chunk, b"\r"), chunk
    return feeds + (not last.endswith(b"\n")) if returns in (0, feeds) else -1


def _count(chunk: bytes, character: bytes) -> int:
    """How often a character comes: several times faster than `bytes.count` where it comes often."""
    return int(np.count_nonzero(np.frombuffer(chunk, np.uint8) == ord(character))) if character in chunk else 0


def _check_lines(path: str, text: str, *, strict: bool = False) -> None:
    """Raise `LabelFileError` for the first line that has not as many cells as the first.

    strict: also for a cell that goes on beyond its line, which may be the last one: it would hide whole votes.
    """
    width = 0
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            count = len(next(csv.reader([line], strict=strict), []))
        except csv.Error as error:
            raise LabelFileError(path, number, line, f"cells that end in their line ({error})") from error
        width = width or count
        if count not in (0, width):
            raise LabelFileError(path, number, line, f"{width} cells")


def _nth_line(path: str, row: int) -> tuple[int, str]:
    """Number and text of a line that is not blank, counted from 0."""
    lines = ((number, line) for number, line in enumerate(read_text(path).split("\n"), start=1) if line)
    return next(itertools.islice(lines, row, None), (1, ""))


def _lines(path: str) -> pa.StringArray:
    """The lines of a file, blank ones too."""
    return pc.split_pattern(pa.array([read_text(path)]), "\n").flatten()


def _csv_votes(path: str) -> Cells:
    """Votes in one cell each (1.7 to 1.12), or in a cell a question (1.6, 2.0)."""
    cells = read_csv(path)
    if DETAIL in cells.columns:
        cells.require([FILE])
        return _split_details(cells, cells.columns[DETAIL])
    cells.require([FILE, *A_VOTE], f" or with {FILE}, {DETAIL}")
    return _join_answers(cells)


def _split_details(cells: Cells, details: pa.Array) -> Cells:
    """Votes written in one text, parsed from both ends: free text in the middle may hold anything."""
    parts = _match(cells, details, VOTE_LINE, VOTE_SHAPE)
    return dataclasses.replace(cells, columns={FILE: cells.columns[FILE], **parts})


def _match(cells: Cells, texts: pa.Array, pattern: str, expected: str) -> dict[str, pa.DictionaryArray]:
    """The groups of a pattern as columns; `LabelFileError` for the first text that it does not match."""
    parts = pc.extract_regex(texts, pattern)
    if parts.null_count:
        cells.refuse(pc.index(parts.is_valid(), False).as_py(), expected)
    return {field.name: parts.field(field.name).dictionary_encode() for field in parts.type}


def _join_answers(cells: Cells) -> Cells:
    """Votes with a cell each for primary and secondary: both as one text of two lines."""
    primary, secondary = cells.columns[MAJOR], cells.columns[SECOND]
    size = max(len(secondary.dictionary), 1)
    pairs = pa.array(primary.indices.to_numpy().astype(np.int64) * size + secondary.indices.to_numpy())
    encoded = pairs.dictionary_encode()
    first, second = np.divmod(encoded.dictionary.to_numpy(), size)
    texts = [column.dictionary.take(pa.array(places)) for column, places in ((primary, first), (secondary, second))]
    answers = pa.DictionaryArray.from_arrays(encoded.indices, pc.binary_join_element_wise(*texts, "\n"))
    return dataclasses.replace(cells, columns={**cells.columns, ANSWER: answers})


class TextFile:
    """A `labels.txt`: blocks of a head and the votes on that file, with blank lines between."""

    def __init__(self, path: str):
        self.path = path
        self.text = _lines(path)
        stripped = pc.utf8_trim_whitespace(self.text)
        self.written = np.flatnonzero(pc.not_equal(stripped, "").to_numpy(zero_copy_only=False))  # lines not blank
        self.is_vote = pc.starts_with(stripped, "WORKER").to_numpy(zero_copy_only=False)[self.written]
        headless = self.is_vote & (np.diff(self.written, prepend=-2) > 1)
        if headless.any():
            self.cells(np.flatnonzero(headless)).refuse(0, f"{HEAD_SHAPE} above the votes on a file")

    def cells(self, rows: NDArray[np.intp]) -> Cells:
        """Cells, without columns yet, of some of the lines that are not blank."""
        lines = self.written[rows]
        return Cells(self.path, {}, lambda row: (int(lines[row]) + 1, self.text[int(lines[row])].as_py()))

    def heads(self) -> Cells:
        rows = np.flatnonzero(~self.is_vote)
        cells, texts = self.cells(rows), self.text.take(pa.array(self.written[rows]))
        return dataclasses.replace(cells, columns=_match(cells, texts, HEAD_LINE, f"{HEAD_SHAPE} or {VOTE_SHAPE}"))


def _text_votes(path: str) -> Cells:
    file = TextFile(path)
    rows = np.flatnonzero(file.is_vote)
    above = np.cumsum(~file.is_vote)[rows] - 1
    cells = dataclasses.replace(file.cells(rows), columns={FILE: file.heads().columns[FILE].take(pa.array(above))})
    return _split_details(cells, file.text.take(pa.array(file.written[rows])))
