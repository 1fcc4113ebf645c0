"""MSP-Podcast's label files in JSON: an entry a file, and in it one a worker."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa

from dime_hf.corpora.folder import read_text
from dime_hf.corpora.msp_podcast.cells import COLUMNS, FILE, WORKER, Cells, column_key
from dime_hf.errors import LabelFileError

TEXT_SHOWN = 200  # characters of a place in a file that has no lines


class _Object(list[tuple[str, Any]]):
    """A JSON object as pairs: a name that comes twice keeps both of its values."""


def read_json(path: str, records: Callable[[Any], Iterable[tuple[str, Any]]]) -> Cells:
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


def workers(entry: Any) -> Iterator[tuple[str, Any]]:
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
        [(COLUMNS[column_key(name)], value) for name, value in entry if column_key(name) in COLUMNS]
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
