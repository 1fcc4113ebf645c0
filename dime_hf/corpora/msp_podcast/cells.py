"""The three forms of MSP-Podcast's label files (csv, json, `labels.txt`) as columns of texts, as they are written.

Every form, of every release, becomes `Cells`: a column holds its different texts once, so that each is parsed once,
and every row knows its place in the file, so that an error can name it.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from dime_hf.corpora.folder import read_text
from dime_hf.errors import LabelFileError

# columns, by the names that most releases give them
FILE, WORKER, DETAIL, MAJOR, SECOND = "FileName", "WorkerID", "EmoDetail", "EmoClass_Major", "EmoClass_Second"
CLASS, SPEAKER, GENDER, SET = "EmoClass", "SpkrID", "Gender", "Split_Set"
ACTIVATION, VALENCE, DOMINANCE = RATINGS = ("EmoAct", "EmoVal", "EmoDom")
ANSWER = "answer"  # the primary and secondary emotions of a vote, as one text
NAMES = (FILE, WORKER, DETAIL, MAJOR, SECOND, CLASS, *RATINGS, SPEAKER, GENDER, SET)
COLUMNS = {name.casefold(): name for name in NAMES} | {"workers": WORKER, "name": WORKER}
A_VOTE = (WORKER, MAJOR, SECOND, *RATINGS)

NUMBERS = r"; ?A: ?(?P<EmoAct>[^;]*); ?V: ?(?P<EmoVal>[^;]*); ?D: ?(?P<EmoDom>[^;]*?) ?;?\s*$"
VOTE_LINE = r"^\s*(?P<WorkerID>WORKER\d+) ?; ?(?P<answer>.*)" + NUMBERS
HEAD_LINE = r"^\s*(?P<FileName>[^;]+?) ?; ?(?P<EmoClass>[^;]*?) ?" + NUMBERS
VOTE_SHAPE = "'WORKER<n>; primary; secondary, ...; A:n; V:n; D:n;'"
HEAD_SHAPE = "'<file>; <class>; A:n; V:n; D:n;'"
BLOCK = 1 << 23  # bytes that are parsed at a time: each has dictionaries of its own, which must be made one
TEXT_SHOWN = 200  # characters of a place in a file that has no lines

T = TypeVar("T")
Place = Callable[[int], tuple[int, str]]  # line number and text of a row; row -1 is the file's head


@dataclasses.dataclass(frozen=True)
class Cells:
    """A label file: its columns row by row, and where each row stands."""

    path: str
    columns: Mapping[str, pa.DictionaryArray]
    place: Place

    def parse(self, column: str, parse: Callable[[str], T], expected: str) -> tuple[list[T], NDArray[np.int32]]:
        """What every different text of a column means, and which of them each row holds.

        Raises `LabelFileError` for the first row whose text `parse` refuses with a `ValueError` or `KeyError`.
        """
        holds = self.columns[column].indices.to_numpy()
        meanings: list[Any] = []
        refused = []
        for number, text in enumerate(self.columns[column].dictionary.to_pylist()):
            try:
                meanings.append(parse(text))
            except (ValueError, KeyError):
                meanings.append(None)
                refused.append(number)
        if refused:
            self.refuse(int(np.isin(holds, refused).argmax()), expected)
        return meanings, holds

    def names(self, column: str, expected: str) -> tuple[pa.StringArray, NDArray[np.int32]]:
        """Like `parse`, for a column of names: each is one line of text, without the blanks around it."""
        cells = self.columns[column]
        names = pc.utf8_trim_whitespace(cells.dictionary)
        refused = pc.or_(pc.equal(names, ""), pc.match_substring(names, "\n")).to_numpy(zero_copy_only=False)
        holds = cells.indices.to_numpy()
        if refused.any():
            self.refuse(int(refused[holds].argmax()), expected)
        return names, holds

    def array(self, column: str, parse: Callable[[str], Any], expected: str, type: pa.DataType) -> pa.Array:
        """The meaning of every row of a column; all null where the file has no such column."""
        if column not in self.columns:
            return pa.nulls(len(self.columns[FILE]), type)
        meanings, holds = self.parse(column, parse, expected)
        return pa.array(meanings, type, from_pandas=True).take(pa.array(holds))

    def require(self, names: Sequence[str], alternative: str = "") -> None:
        """Raise `LabelFileError` unless the file has these columns."""
        if missing := [name for name in names if name not in self.columns]:
            self.refuse(-1, f"the columns {', '.join(names)}{alternative}, not without {', '.join(missing)}")

    def refuse(self, row: int, expected: str) -> NoReturn:
        raise LabelFileError(self.path, *self.place(row), expected)


def read_votes(path: str) -> Cells:
    """One row a vote, with FILE, WORKER, ANSWER and RATINGS, of `labels_detailed.csv`, `.json` or `labels.txt`."""
    if path.endswith(".json"):
        cells = _json_cells(path, _workers)
        cells.require([FILE, *A_VOTE])
        return _join_answers(cells)
    return _text_votes(path) if path.endswith(".txt") else _csv_votes(path)


def read_heads(path: str) -> Cells:
    """One row a file, with FILE, CLASS and what else is known of it, of `labels_consensus.csv`, or as above."""
    if path.endswith(".json"):
        cells = _json_cells(path, lambda entry: [("", entry)])
    else:
        cells = TextFile(path).heads() if path.endswith(".txt") else read_csv(path)
    if CLASS not in cells.columns and MAJOR in cells.columns:  # as MSP-Face calls it
        cells = dataclasses.replace(cells, columns={**cells.columns, CLASS: cells.columns[MAJOR]})
    cells.require([FILE, CLASS])
    return cells


def read_pairs(path: str, first: str, second: str, expected: str) -> Cells:
    """The two columns of a file with lines `a; b`."""
    text = pa.array(read_text(path).split("\n"))
    said = pc.utf8_trim(text, " ;\t")
    lines = np.flatnonzero(pc.not_equal(said, "").to_numpy(zero_copy_only=False))
    parts = pc.split_pattern(said.take(pa.array(lines)), ";")
    cells = Cells(path, {}, lambda row: (int(lines[row]) + 1, text[int(lines[row])].as_py()))
    if (odd := pc.index(pc.equal(pc.list_value_length(parts), 2), False).as_py()) >= 0:
        cells.refuse(odd, expected)
    names = {first: parts.flatten()[::2], second: parts.flatten()[1::2]}
    return dataclasses.replace(cells, columns={name: column.dictionary_encode() for name, column in names.items()})


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
    known = [name for name in _header(path) if _key(name) in COLUMNS]
    if len(known) > len({COLUMNS[_key(name)] for name in known}):
        raise LabelFileError(path, *_nth_line(path, 0), "every column once")
    types = {name: pa.dictionary(pa.int32(), pa.string()) for name in known}
    types |= {name: pa.string() for name in known if COLUMNS[_key(name)] == DETAIL}  # hardly one comes twice
    options = pyarrow.csv.ConvertOptions(column_types=types, include_columns=known, strings_can_be_null=False)
    blocks = pyarrow.csv.ReadOptions(block_size=BLOCK)
    table = pyarrow.csv.read_csv(source, read_options=blocks, convert_options=options)
    return {COLUMNS[_key(name)]: table[name].combine_chunks() for name in known}, len(table)


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
            feeds, returns, last = feeds + chunk.count(b"\n"), returns + chunk.count(b"\r"), chunk
    return feeds + (not last.endswith(b"\n")) if returns in (0, feeds) else -1


def _key(name: str) -> str:
    return name.strip().casefold()


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
        self.text = pa.array(read_text(path).split("\n"))
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


class _Object(list[tuple[str, Any]]):
    """A JSON object as pairs: a name that comes twice keeps both of its values."""


def _json_cells(path: str, records: Callable[[Any], Iterable[tuple[str, Any]]]) -> Cells:
    """The `records` (name, object) under every file of a JSON object by file, one row each."""
    text = read_text(path)
    rows = [
        (file, name, _values(entry)) for file, entries in _load(path, text) for name, entry in records(_only(entries))
    ]
    cells = Cells(path, {}, lambda row: _json_place(text, *rows[max(row, 0)][:2]) if rows else (1, ""))
    known = rows[0][2].keys() if rows else ()
    for row, (file, name, values) in enumerate(rows):
        if not values or values.keys() != known:
            cells.refuse(row, f"an object with {', '.join(known) or 'plain values'}")
        if not _is_text(file, name, *values.values()):
            cells.refuse(row, "text, not half of a character")
    texts = {FILE: [file for file, _, _ in rows], WORKER: [name for _, name, _ in rows]}
    texts |= {name: [values[name] for _, _, values in rows] for name in known}
    encoded = {name: pa.array(values, pa.string()).dictionary_encode() for name, values in texts.items()}
    return dataclasses.replace(cells, columns=encoded)


def _is_text(*values: str) -> bool:
    """Whether values are text: an escape of JSON may spell half of a surrogate pair."""
    try:
        "".join(values).encode()
    except UnicodeEncodeError:
        return False
    return True


def _load(path: str, text: str) -> _Object:
    try:
        content = json.loads(text, object_pairs_hook=_Object, parse_float=str, parse_int=str, parse_constant=str)
    except RecursionError as error:
        raise LabelFileError(path, 1, text[:TEXT_SHOWN], "JSON that is not nested so deeply") from error
    except json.JSONDecodeError as error:
        line = text.split("\n")[error.lineno - 1][:TEXT_SHOWN]
        raise LabelFileError(path, error.lineno, line, f"JSON ({error.msg})") from error
    if not isinstance(content, _Object):
        raise LabelFileError(path, 1, text[:TEXT_SHOWN], "a JSON object with an entry a file")
    return content


def _only(entry: Any) -> Any:
    """The entry itself where it is the one element of a list, as in MSP-Face."""
    return entry[0] if type(entry) is list and len(entry) == 1 else entry


def _workers(entry: Any) -> Iterator[tuple[str, Any]]:
    """Workers and their votes on a file: `{worker: vote}`, or `{"Workers": [vote with a "Name"]}`."""
    for name, value in entry if isinstance(entry, _Object) else [("", entry)]:
        if name.casefold() != "workers":
            yield name, value
        else:
            yield from value if isinstance(value, _Object) else (("", vote) for vote in _as_list(value))


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _values(entry: Any) -> dict[str, str]:
    """The known names of an object, and their values as written; nothing when one comes twice or is no plain value."""
    pairs = (
        [(COLUMNS[_key(name)], value) for name, value in entry if _key(name) in COLUMNS]
        if isinstance(entry, _Object)
        else []
    )
    values = {name: "" if value is None else value for name, value in pairs}
    plain = all(isinstance(value, str) for value in values.values())
    return values if plain and len(values) == len(pairs) else {}


def _json_place(text: str, file: str, name: str) -> tuple[int, str]:
    """Line and text of an entry: JSON has no rows, so it is looked for by its names."""
    start = max(text.find(json.dumps(file)), 0)
    start = max(text.find(json.dumps(name), start), start) if name else start
    end = text.find("}", start) + 1 or len(text)
    return text.count("\n", 0, start) + 1, " ".join(text[start:end].split())[:TEXT_SHOWN]
