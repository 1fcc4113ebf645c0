"""Read what can still be read of a damaged answer store: python -m dime_hf.annotate.salvage BROKEN.sqlite NEW.sqlite

SQLite gives up a table where one inner page is damaged. Here every page is read by itself, as SQLite's file format
lays rows out (https://www.sqlite.org/fileformat2.html), and rows that are whole go to a new store. The write-ahead
file beside the store is read likewise; the broken files stay as they are.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dime_hf.annotate.store import AnswerStore, kind_of
from dime_hf.distribution import as_distributions
from dime_hf.errors import DistributionError, StoreError

INDEX_LEAF, INDEX_INNER, TABLE_LEAF = 0x0A, 0x02, 0x0D  # kinds of pages that hold rows
PAGE_SIZES = tuple(2**power for power in range(9, 17))
USUAL_PAGE = 4096
LONGEST = 2**20  # bytes of a row
HEADER = 100  # bytes before the first page's own header
WAL_HEADER, FRAME_HEADER = 32, 24
WIDTHS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # bytes of integers by their serial type
ANSWERS, FAILURES, PROXIES = (10, 11), (6, 8), (3,)  # columns, in version 1 and since
INSERT = {
    "answers": "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "failures": "INSERT INTO failures SELECT ?, ?, ?, ?, ?, ?, ?, ? EXCEPT SELECT * FROM failures",
    "proxies": "INSERT OR IGNORE INTO proxies VALUES (?, ?, ?)",
}

Row = list[Any]


class Salvaged(NamedTuple):
    """Rows that were read."""

    answers: int
    failures: int


def salvage(broken: str | Path, new: str | Path) -> Salvaged:
    """Copy all rows of the store `broken` that are whole into the store `new`, which must not exist yet."""
    if Path(new).exists():
        raise StoreError(f"`new`: {new} exists already; name a file that does not")
    if not Path(broken).is_file():
        raise StoreError(f"`broken`: there is no file {broken}")
    with AnswerStore(new) as store:
        for table, rows in _tables(Path(broken)).items():
            store.write(INSERT[table], rows)
        return Salvaged(len(store), store.failures)


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        found = salvage(*sys.argv[1:])
    except StoreError as error:
        sys.exit(str(error))
    print(f"{found.answers:,} answers and {found.failures:,} failures were read from {sys.argv[1]} into {sys.argv[2]}")


def _tables(path: Path) -> dict[str, list[Row]]:
    """Whole rows of the tables that matter, the newest state of a page last."""
    tables: dict[str, list[Row]] = {table: [] for table in INSERT}
    for pages in _files(path):
        for kind, row in pages.rows():
            if table := _table(kind, row):
                if table == "answers" and len(row) == ANSWERS[0]:
                    row.append(None)
                if table == "failures" and len(row) == FAILURES[0]:
                    row += [kind_of(row[4]), 1]
                tables[table].append(row)
    return tables


def _table(kind: int, row: Row) -> str | None:
    """Table that a row can be of; None if it makes no sense in any."""
    try:
        if kind == TABLE_LEAF:
            return "failures" if len(row) in FAILURES and _are_texts(row[1:6]) and _places(row[3]) else None
        if len(row) in PROXIES and _are_texts(row):
            return "proxies"
        if len(row) not in ANSWERS or not _are_texts([row[0], *row[2:7], row[9]]) or not isinstance(row[1], int):
            return None
        as_distributions(json.loads(row[5]), "distribution")
        return "answers" if _places(row[4]) and _places(row[6], empty=True) else None
    except (ValueError, TypeError, DistributionError):
        return None


def _are_texts(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _places(text: str, empty: bool = False) -> bool:
    """Whether a text is a JSON list of places of classes."""
    places = json.loads(text)
    return isinstance(places, list) and all(isinstance(place, int) for place in places) and (empty or bool(places))


def _files(path: Path) -> Iterator[_Pages]:
    """Pages of the store, then those of the write-ahead file, each frame of which stands for a page."""
    content = path.read_bytes()
    size = int.from_bytes(content[16:18], "big")
    size = 65536 if size == 1 else size if size in PAGE_SIZES else USUAL_PAGE
    main = {1 + start // size: content[start : start + size] for start in range(0, len(content), size)}
    yield _Pages(main, size)
    ahead = Path(f"{path}-wal")
    if ahead.is_file():
        content, later = ahead.read_bytes(), dict(main)
        for start in range(WAL_HEADER, len(content), FRAME_HEADER + size):
            if content[start + 8 : start + 16] != content[16:24]:  # left over from an earlier round
                continue
            number = int.from_bytes(content[start : start + 4], "big")
            later[number] = content[start + FRAME_HEADER : start + FRAME_HEADER + size]
        yield _Pages(later, size)


class _Pages:
    """Pages of an SQLite file by number, each of `size` bytes as far as the file goes."""

    def __init__(self, pages: dict[int, bytes], size: int):
        self.pages, self.size = pages, size

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Rows of all pages, with the kind of their page; what makes no sense is left out."""
        for number, page in self.pages.items():
            start = HEADER if number == 1 else 0
            if len(page) < self.size or page[start] not in (INDEX_LEAF, INDEX_INNER, TABLE_LEAF):
                continue
            kind, count = page[start], int.from_bytes(page[start + 3 : start + 5], "big")
            first = start + (12 if kind == INDEX_INNER else 8)
            for place in range(first, min(first + 2 * count, self.size - 1), 2):
                try:
                    yield kind, _record(self._payload(page, kind, int.from_bytes(page[place : place + 2], "big")))
                except (IndexError, KeyError, ValueError, struct.error):
                    continue  # not a row, or one that is damaged

    def _payload(self, page: bytes, kind: int, at: int) -> bytes:
        """Bytes of the row in the cell at a place of a page, those on overflow pages with it."""
        at += 4 if kind == INDEX_INNER else 0
        length, at = _varint(page, at)
        if kind == TABLE_LEAF:
            _, at = _varint(page, at)
        most = self.size - 35 if kind == TABLE_LEAF else (self.size - 12) * 64 // 255 - 23
        if length > LONGEST:
            raise ValueError("a row that is longer than any")
        if length <= most:
            return page[at : at + length]
        least = (self.size - 12) * 32 // 255 - 23
        local = least + (length - least) % (self.size - 4)
        local = local if local <= most else least
        content = page[at : at + local]
        following = int.from_bytes(page[at + local : at + local + 4], "big")
        while len(content) < length:
            overflow = self.pages[following]
            following = int.from_bytes(overflow[:4], "big")
            content += overflow[4 : 4 + min(self.size - 4, length - len(content))]
        return content


def _record(content: bytes) -> Row:
    """Values of a row."""
    length, at = _varint(content, 0)
    body, row = length, []
    while at < length:
        kind, at = _varint(content, at)
        value, body = _value(content, kind, body)
        row.append(value)
    if body != len(content):
        raise ValueError("a row whose length is not that of its values")
    return row


def _value(content: bytes, kind: int, at: int) -> tuple[Any, int]:
    """One value by its serial type, and the place behind it."""
    if kind in (0, 8, 9):
        return {0: None, 8: 0, 9: 1}[kind], at
    if kind == 7:
        return struct.unpack_from(">d", content, at)[0], at + 8
    width = WIDTHS[kind] if kind in WIDTHS else (kind - 12) // 2
    part = content[at : at + width]
    if kind in WIDTHS:
        return int.from_bytes(part, "big", signed=True), at + width
    if kind < 12 or len(part) < width:
        raise ValueError("a value that is not there")
    return part.decode() if kind % 2 else part, at + width


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """An integer of 1 to 9 bytes, and the place behind it."""
    value = 0
    for i in range(8):
        byte = content[at + i]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + i + 1
    return value << 8 | content[at + 8], at + 9


if __name__ == "__main__":
    main()
