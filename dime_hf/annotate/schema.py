"""The tables of an answer store, how older files come to have them, and what is asked of them in SQL."""

from __future__ import annotations

import sqlite3

import pyarrow as pa

from dime_hf.annotate.annotator import FAILURE_KINDS

APPLICATION = 0x44494D45  # "DIME" in the header of the file: an answer store, and no other SQLite database
VERSION = 2  # raise it when a table changes, and say in UPGRADES how a file of the version before is brought to it
UNKNOWN = "unknown"  # kind of a failure whose text does not begin with a kind
# Columns that came with a later version stand last: so they do in a file that was upgraded.
TABLES = """
CREATE TABLE answers (
    key TEXT, part INTEGER, utterance TEXT, proxy TEXT, "order" TEXT, distribution TEXT, draws TEXT, votes REAL,
    off_option REAL, asked_at TEXT DEFAULT CURRENT_TIMESTAMP, note TEXT, PRIMARY KEY (key, part)
) WITHOUT ROWID;
CREATE TABLE failures (
    key TEXT, utterance TEXT, proxy TEXT, "order" TEXT, error TEXT, asked_at TEXT DEFAULT CURRENT_TIMESTAMP,
    kind TEXT, parts INTEGER DEFAULT 1
);
CREATE INDEX failures_by_key ON failures (key);
CREATE TABLE proxies (proxy TEXT, field TEXT, value TEXT, PRIMARY KEY (proxy, field, value)) WITHOUT ROWID
"""
KIND = "substr(error, 1, instr(error, ':') - 1)"
UPGRADES = {
    1: f"""
ALTER TABLE answers ADD COLUMN note TEXT;
ALTER TABLE failures ADD COLUMN kind TEXT;
ALTER TABLE failures ADD COLUMN parts INTEGER DEFAULT 1;
UPDATE failures SET kind = CASE WHEN {KIND} IN ('{"', '".join(FAILURE_KINDS)}') THEN {KIND} ELSE '{UNKNOWN}' END;
CREATE INDEX failures_by_key ON failures (key);
CREATE TABLE proxies (proxy TEXT, field TEXT, value TEXT, PRIMARY KEY (proxy, field, value)) WITHOUT ROWID
"""
}

READ = """
SELECT key, proxy, "order", distribution, draws, votes, off_option, note FROM answers
WHERE key IN (SELECT value FROM json_each(?)) ORDER BY key, part
"""
READ_FAILED = """
SELECT key, proxy, "order", error FROM failures
WHERE parts = 1 AND key IN (SELECT value FROM json_each(?)) ORDER BY asked_at, rowid
"""
WRITE = """
INSERT OR IGNORE INTO answers (key, part, utterance, proxy, "order", distribution, draws, votes, off_option, note)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
RECORD = 'INSERT INTO failures (key, utterance, proxy, "order", error, kind, parts) VALUES (?, ?, ?, ?, ?, ?, ?)'
INTRODUCE = "INSERT OR IGNORE INTO proxies VALUES (?, ?, ?)"
TAKE_OVER = (
    "INSERT OR IGNORE INTO main.answers SELECT * FROM other.answers",
    "INSERT INTO main.failures SELECT * FROM other.failures EXCEPT SELECT * FROM main.failures",
    "INSERT OR IGNORE INTO main.proxies SELECT * FROM other.proxies",
)

PARQUET = {
    "answers": pa.schema(
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
            "note": pa.string(),
        }
    ),
    "failures": pa.schema(
        {
            "key": pa.string(),
            "utterance": pa.string(),
            "proxy": pa.string(),
            "order": pa.list_(pa.int64()),
            "error": pa.string(),
            "kind": pa.string(),
            "asked_at": pa.string(),
            "parts": pa.int64(),
        }
    ),
    "proxies": pa.schema({"proxy": pa.string(), "field": pa.string(), "value": pa.string()}),
}


def create(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty file, inside a transaction."""
    _run(connection, TABLES)
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Bring the tables of an older `version` to this one, inside a transaction; no row is lost."""
    for step in range(version, VERSION):
        _run(connection, UPGRADES[step])
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _run(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";"):  # `executescript` would commit the transaction
        connection.execute(statement)
