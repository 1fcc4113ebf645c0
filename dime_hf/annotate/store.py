"""The answer store: one SQLite file that keeps every answer by the hash of all that changes it."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from dime_hf.annotate import schema
from dime_hf.annotate.annotator import FAILURE_KINDS, Answer, failure_kind
from dime_hf.columns import FAILED, OK
from dime_hf.errors import StoreError

PATIENCE = 60.0  # seconds to wait for other processes that write
PAGE = 10_000  # rows at a time
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
UNWRITABLE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


class Entry(NamedTuple):
    """What one question about one utterance gave; `key` is None where there is no content to key it by."""

    key: str | None
    utterance: str
    answers: list[Answer]


class AnswerStore:
    """Answers in an SQLite file, written batch by batch in transactions: a kill loses the batch in hand at most.

    Tables, to be read with any SQLite client while a run goes on: `answers` (the good ones; lists are JSON, `note` is
    what came with the answer), `failures` (every failed attempt, by `kind`; `parts` answers were expected together)
    and `proxies` (what annotators said about themselves). Several processes may share the file; with
    `write_ahead=False` they may run on several machines with a network drive, if that locks files. The path ":memory:"
    keeps answers for this object's life only.
    """

    def __init__(self, path: str | Path, *, write_ahead: bool = True):
        self.path, self.write_ahead = str(path), write_ahead
        if self.path != ":memory:":
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        self._connections: dict[int, sqlite3.Connection] = {}
        self._connect()

    def get(self, keys: Iterable[str]) -> dict[str, list[Answer]]:
        """Return the good answers that are held for `keys`, by key."""
        held: dict[str, list[Answer]] = {}
        with self._errors():
            for key, *row in self.select(schema.READ, json.dumps(sorted(set(keys)))):
                held.setdefault(key, []).append(_answer(*row))
        return held

    def failed(self, keys: Iterable[str]) -> dict[str, list[Answer]]:
        """Return the last failure on record for `keys`, by key, of questions that have one answer."""
        with self._errors():
            rows = self.select(schema.READ_FAILED, json.dumps(sorted(set(keys))))
            return {key: [_failure(*row)] for key, *row in rows}

    def put(self, entries: Iterable[Entry]) -> None:
        """Keep `entries` in one transaction: all of them or, after a kill, none.

        The answers to a question are served again if all are good; failures are kept beside them, for the record.
        """
        entries = list(entries)
        good = [entry for entry in entries if entry.key is not None and all(a["status"] == OK for a in entry.answers)]
        with self._transaction():
            self._connection.executemany(schema.WRITE, (row for entry in good for row in _good_rows(entry)))
            self._connection.executemany(schema.RECORD, (row for entry in entries for row in _failed_rows(entry)))

    def introduce(self, proxies: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep what an annotator says about its proxies: fields such as model, revision, prompt, strategy."""
        rows = [(proxy, field, str(value)) for proxy, about in proxies.items() for field, value in about.items()]
        self.write(schema.INTRODUCE, rows)

    def merge(self, other: str | Path) -> int:
        """Take over what another store holds, and return how many good answers were new; `other` keeps its own.

        So each process of a cluster may write a file of its own. Raises `StoreError` where `other` is no store.
        """
        if not Path(other).is_file():
            raise StoreError(f"`other`: there is no answer store {other}")
        AnswerStore(other, write_ahead=self.write_ahead).close()  # of this version from now on, or an error
        before = len(self)
        with self._errors():
            self._connection.execute("ATTACH DATABASE ? AS other", (str(other),))
        try:
            with self._transaction(reads=str(other)):
                for statement in schema.TAKE_OVER:
                    self._connection.execute(statement)
        finally:
            self._connection.execute("DETACH DATABASE other")
        return len(self) - before

    def to_parquet(self, path: str | Path) -> int:
        """Write all good answers to a Parquet file, sorted by utterance and proxy, and return how many.

        Columns: key, part, utterance, proxy, order, distribution, draws, votes, off_option, asked_at, note.
        """
        return self.export("answers", path, "utterance, proxy, key, part")

    def failures_to_parquet(self, path: str | Path) -> int:
        """Write all failures on record to a Parquet file, sorted by utterance, proxy and date, and return how many.

        Columns: key, utterance, proxy, order, error, kind, asked_at, parts.
        """
        return self.export("failures", path, "utterance, proxy, asked_at, rowid")

    def export(self, table: str, path: str | Path, order: str) -> int:
        """Write a table to a Parquet file in an order of rows (SQL), page by page, and return how many there are."""
        columns, written = schema.PARQUET[table], 0
        names = ", ".join(f'"{name}"' for name in columns.names)
        with self._errors(), pq.ParquetWriter(path, columns) as writer:
            rows = self._connection.execute(f"SELECT {names} FROM {table} ORDER BY {order}")
            while page := rows.fetchmany(PAGE):
                values = [
                    [json.loads(value) for value in column] if pa.types.is_list(field.type) else list(column)
                    for column, field in zip(zip(*page, strict=True), columns, strict=True)
                ]
                writer.write_table(pa.table(values, schema=columns))
                written += len(page)
        return written

    def select(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of an SQL query; `values` stand for its question marks."""
        with self._errors():
            return self._connection.execute(query, values).fetchall()

    def write(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run an SQL statement with the values of every row, in one transaction."""
        with self._transaction():
            self._connection.executemany(statement, rows)

    def __len__(self) -> int:
        """Number of good answers held."""
        return self.select("SELECT count(*) FROM answers")[0][0]

    @property
    def failures(self) -> int:
        """Number of failed answers on record."""
        return self.select("SELECT count(*) FROM failures")[0][0]

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if os.getpid() in self._connections:
            self._connections.pop(os.getpid()).close()

    def __enter__(self) -> AnswerStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(AnswerStore, self.path, write_ahead=self.write_ahead), ()

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
            self._prepare()
        except StoreError:
            self.close()
            raise

    def _prepare(self) -> None:
        """Create the tables in a new file, upgrade older ones; refuse a file that is not an answer store."""
        if self._state() == (0, 0, 0) and self.write_ahead:
            with self._errors():
                _write_ahead(self._connection)
        if self._state()[:2] == (schema.APPLICATION, schema.VERSION):
            return  # without waiting for a writer
        with self._transaction():
            application, version, tables = self._state()
            if not (application or version or tables):
                schema.create(self._connection)
            elif application != schema.APPLICATION:
                raise StoreError(
                    f"`store` {self.path} is an SQLite database, but not an answer store; name another file"
                )
            elif version in schema.UPGRADES:
                schema.upgrade(self._connection, version)
            elif version != schema.VERSION:
                raise StoreError(
                    f"`store` {self.path} was written by version {version} of the answer store, but this dime_hf has "
                    f"version {schema.VERSION}: use the dime_hf that wrote it, or name a new file and ask again"
                )

    def _state(self) -> tuple[int, int, int]:
        """Application, version and number of tables of the file."""
        queries = ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        application, version, tables = (self.select(query)[0][0] for query in queries)
        return application, version, tables

    @contextlib.contextmanager
    def _transaction(self, reads: str | None = None) -> Iterator[None]:
        """Commit what happens inside, or undo it all. IMMEDIATE waits for other writers at once, not in the middle."""
        with self._errors(reads):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may have undone it already
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _errors(self, reads: str | None = None) -> Iterator[None]:
        """Raise what SQLite reports as `StoreError`; damage is that of the file that is read, if there is another."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # a use after `close`, or from another thread: a mistake of the caller, not of the file
        except (sqlite3.DatabaseError, json.JSONDecodeError) as error:
            raise StoreError(_explain(error, self.path, reads or self.path)) from error


def kind_of(error: str | None) -> str:
    """Kind of the failure that an error tells of, one of `FAILURE_KINDS` or "unknown"."""
    kind = failure_kind(error or "")
    return kind if kind in FAILURE_KINDS else schema.UNKNOWN


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


def _explain(error: Exception, written: str, read: str) -> str:
    """Say which file is to blame, and the way out."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # without a code: text that is none
    if code in DAMAGED:
        return (
            f"`store` {read} cannot be used as an answer store: {error}. If it was one, it is damaged: `python -m "
            f"dime_hf.annotate.salvage {read} NEW.sqlite` saves what can still be read into a new store"
        )
    if code in UNWRITABLE:
        return (
            f"`store` {written} cannot be written: {error}. All answers up to the last batch are kept: make room on "
            "the disk, then run the same command again"
        )
    return f"`store` {written} cannot be used as an answer store: {error}"


def _good_rows(entry: Entry) -> Iterator[tuple[object, ...]]:
    for part, answer in enumerate(entry.answers):
        lists = (json.dumps(answer[name]) for name in ("order", "distribution", "draws"))
        numbers = (answer["votes"], answer["off_option"])
        yield (entry.key, part, entry.utterance, answer["proxy"], *lists, *numbers, answer["error"])


def _failed_rows(entry: Entry) -> Iterator[tuple[object, ...]]:
    for answer in entry.answers:
        if answer["status"] != OK:
            about = (answer["proxy"], json.dumps(answer["order"]), answer["error"], kind_of(answer["error"]))
            yield (entry.key, entry.utterance, *about, len(entry.answers))


def _answer(
    proxy: str, order: str, distribution: str, draws: str, votes: float, off_option: float | None, note: str | None
) -> Answer:
    return Answer(
        proxy=proxy,
        order=json.loads(order),
        distribution=json.loads(distribution),
        draws=json.loads(draws),
        votes=votes,
        off_option=off_option,
        status=OK,
        error=note,
    )


def _failure(proxy: str, order: str, error: str) -> Answer:
    return Answer(
        proxy=proxy,
        order=json.loads(order),
        distribution=None,
        draws=[],
        votes=0.0,
        off_option=None,
        status=FAILED,
        error=error,
    )
