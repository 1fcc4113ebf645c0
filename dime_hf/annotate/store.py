"""The answer store: one SQLite file that keeps every answer by the hash of all that changes it."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from dime_hf.annotate.annotator import Answer
from dime_hf.columns import OK
from dime_hf.errors import StoreError

APPLICATION = 0x44494D45  # "DIME" in the header of the file: an answer store, and no other SQLite database
VERSION = 1  # of the schema: raise it when it changes
PATIENCE = 60.0  # seconds to wait for other processes that write
SCHEMA = """
CREATE TABLE answers (
    key TEXT, part INTEGER, utterance TEXT, proxy TEXT, "order" TEXT, distribution TEXT, draws TEXT, votes REAL,
    off_option REAL, asked_at TEXT DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (key, part)
) WITHOUT ROWID;
CREATE TABLE failures (
    key TEXT, utterance TEXT, proxy TEXT, "order" TEXT, error TEXT, asked_at TEXT DEFAULT CURRENT_TIMESTAMP
);
"""
READ = """
SELECT key, proxy, "order", distribution, draws, votes, off_option FROM answers
WHERE key IN (SELECT value FROM json_each(?)) ORDER BY key, part
"""
WRITE = """
INSERT OR IGNORE INTO answers (key, part, utterance, proxy, "order", distribution, draws, votes, off_option)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
RECORD = 'INSERT INTO failures (key, utterance, proxy, "order", error) VALUES (?, ?, ?, ?, ?)'
TAKE_OVER = (
    "INSERT OR IGNORE INTO main.answers SELECT * FROM other.answers",
    "INSERT INTO main.failures SELECT * FROM other.failures EXCEPT SELECT * FROM main.failures",
)
READ_ALL = """
SELECT key, part, utterance, proxy, "order", distribution, draws, votes, off_option, asked_at FROM answers
ORDER BY utterance, proxy, key, part
"""
PAGE = 10_000  # answers at a time
PARQUET = pa.schema(
    {
        "key": pa.string(),
        "part": pa.int64(),
        "utterance": pa.string(),
        "proxy": pa.string(),
        "order": pa.list_(pa.int64()),
        "distribution": pa.list_(pa.float64()),
        "draws": pa.list_(pa.int64()),
        "votes": pa.float64(),
        "off_option": pa.float64(),
        "asked_at": pa.string(),
    }
)


class Entry(NamedTuple):
    """What one question about one utterance gave; `key` is None where there is no content to key it by."""

    key: str | None
    utterance: str
    answers: list[Answer]


class AnswerStore:
    """Answers in an SQLite file, written batch by batch in transactions: a kill loses the batch in hand at most.

    Several processes may share the file. A question all of whose answers are good is served again; one that failed
    stays on record in the table `failures` and is asked again. The path ":memory:" keeps answers for this object's
    life only.
    """

    def __init__(self, path: str | Path):
        self.path = str(path)
        if self.path != ":memory:":
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        self._connections: dict[int, sqlite3.Connection] = {}
        self._connect()

    def get(self, keys: Iterable[str]) -> dict[str, list[Answer]]:
        """Return the good answers that are held for `keys`, by key."""
        held: dict[str, list[Answer]] = {}
        with self._errors():
            for key, *row in self._connection.execute(READ, (json.dumps(sorted(set(keys))),)):
                held.setdefault(key, []).append(_answer(*row))
        return held

    def put(self, entries: Iterable[Entry]) -> None:
        """Keep `entries` in one transaction: all of them or, after a kill, none."""
        entries = list(entries)
        good = [entry for entry in entries if entry.key is not None and all(a["status"] == OK for a in entry.answers)]
        bad = [(entry, answer) for entry in entries for answer in entry.answers if answer["status"] != OK]
        with self._transaction():
            self._connection.executemany(WRITE, (row for entry in good for row in _rows(entry)))
            self._connection.executemany(
                RECORD,
                ((entry.key, entry.utterance, a["proxy"], json.dumps(a["order"]), a["error"]) for entry, a in bad),
            )

    def merge(self, other: str | Path) -> int:
        """Take over what another store holds, and return how many good answers were new; that store stays as it is.

        So each process of a cluster may write a file of its own. Raises `StoreError` where `other` is no store.
        """
        if not Path(other).is_file():
            raise StoreError(f"`other`: there is no answer store {other}")
        AnswerStore(other).close()  # of this version, or an error
        before = len(self)
        with self._errors():
            self._connection.execute("ATTACH DATABASE ? AS other", (str(other),))
        try:
            with self._transaction():
                for statement in TAKE_OVER:
                    self._connection.execute(statement)
        finally:
            self._connection.execute("DETACH DATABASE other")
        return len(self) - before

    def to_parquet(self, path: str | Path) -> int:
        """Write all good answers to a Parquet file, sorted by utterance and proxy, and return how many.

        Columns: key, part, utterance, proxy, order, distribution, draws, votes, off_option, asked_at.
        """
        written = 0
        with self._errors(), pq.ParquetWriter(path, PARQUET) as writer:
            rows = self._connection.execute(READ_ALL)
            while page := rows.fetchmany(PAGE):
                values = [
                    [json.loads(value) for value in column] if pa.types.is_list(field.type) else list(column)
                    for column, field in zip(zip(*page, strict=True), PARQUET, strict=True)
                ]
                writer.write_table(pa.table(values, schema=PARQUET))
                written += len(page)
        return written

    def __len__(self) -> int:
        """Number of good answers held."""
        return self._count("answers")

    @property
    def failures(self) -> int:
        """Number of failed answers on record."""
        return self._count("failures")

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if os.getpid() in self._connections:
            self._connections.pop(os.getpid()).close()

    def __enter__(self) -> AnswerStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[AnswerStore], tuple[str]]:
        return AnswerStore, (self.path,)

    @property
    def _connection(self) -> sqlite3.Connection:
        """Connection of this process: one that came through a fork must not be used."""
        if os.getpid() not in self._connections:
            self._connect()
        return self._connections[os.getpid()]

    def _connect(self) -> None:
        with self._errors():
            self._connections[os.getpid()] = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
        try:
            with self._errors():
                _write_ahead(self._connection)
            self._prepare()
        except StoreError:
            self.close()
            raise

    def _prepare(self) -> None:
        """Create the tables in a new file; refuse a file that is not an answer store of this version."""
        with self._transaction():
            application, version, tables = (
                self._connection.execute(query).fetchone()[0]
                for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
            )
            if not (application or version or tables):
                for statement in SCHEMA.split(";"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA application_id = {APPLICATION}")
                self._connection.execute(f"PRAGMA user_version = {VERSION}")
            elif application != APPLICATION:
                raise StoreError(
                    f"`store` {self.path} is an SQLite database, but not an answer store; name another file"
                )
            elif version != VERSION:
                raise StoreError(
                    f"`store` {self.path} was written by version {version} of the answer store, but this dime_hf has "
                    f"version {VERSION}: use the dime_hf that wrote it, or name a new file and ask again"
                )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit what happens inside, or undo it all. IMMEDIATE waits for other writers at once, not in the middle."""
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may have undone it already
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # a use after `close`, or from another thread: a mistake of the caller, not of the file
        except sqlite3.DatabaseError as error:
            raise StoreError(f"`store` {self.path} cannot be used as an answer store: {error}") from error

    def _count(self, table: str) -> int:
        with self._errors():
            return self._connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Let readers and a writer go on together. SQLite does not wait when another process does the same, so we do."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _rows(entry: Entry) -> Iterator[tuple[object, ...]]:
    for part, answer in enumerate(entry.answers):
        lists = (json.dumps(answer[name]) for name in ("order", "distribution", "draws"))
        yield (entry.key, part, entry.utterance, answer["proxy"], *lists, answer["votes"], answer["off_option"])


def _answer(proxy: str, order: str, distribution: str, draws: str, votes: float, off_option: float | None) -> Answer:
    return Answer(
        proxy=proxy,
        order=json.loads(order),
        distribution=json.loads(distribution),
        draws=json.loads(draws),
        votes=votes,
        off_option=off_option,
        status=OK,
        error=None,
    )
