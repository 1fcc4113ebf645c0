"""The answer store: round trips, transactions, and files it refuses."""

import os
import pickle
import sqlite3
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dime_hf.annotate import AnswerStore
from dime_hf.annotate.annotator import failed, succeeded
from dime_hf.annotate.salvage import main, salvage
from dime_hf.annotate.schema import VERSION
from dime_hf.annotate.store import Entry
from dime_hf.errors import StoreError

GOOD = succeeded("model/tone", (2, 0, 1), [0.1, 0.2, 0.7], 0.05)
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
BAD = failed("model/tone", (2, 0, 1), "the recording has no samples")

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
share = st.floats(0, 1)
answers = st.lists(
    st.builds(succeeded, text, st.permutations(range(4)), st.lists(share, min_size=4, max_size=4), share),
    min_size=1,
    max_size=3,
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text("0123456789abcdef", min_size=1), answers, max_size=5))
def test_what_is_put_comes_back(held):
    with AnswerStore(":memory:") as store:
        store.put(Entry(key, "u", given) for key, given in held.items())
        assert store.get([*held, "another key"]) == held
        assert len(store) == sum(map(len, held.values()))


def test_keeps_answers_on_disk(tmp_path):
    path = tmp_path / "answers.sqlite"
    with AnswerStore(path) as store:
        store.put([Entry("k", "u", [GOOD, {**GOOD, "draws": [1, 1, 0]}])])
    with AnswerStore(path) as store:
        assert store.get(["k"]) == {"k": [GOOD, {**GOOD, "draws": [1, 1, 0]}]}
    assert pickle.loads(pickle.dumps(AnswerStore(path))).get(["k"]) == {"k": [GOOD, {**GOOD, "draws": [1, 1, 0]}]}


def test_failures_stay_on_record_and_are_not_served():
    with AnswerStore(":memory:") as store:
        store.put([Entry("k", "u", [GOOD, BAD]), Entry(None, "v", [BAD]), Entry(None, "w", [GOOD])])
        assert store.get(["k"]) == {}
        assert (len(store), store.failures) == (0, 2)
        store.put([Entry("k", "u", [GOOD])])
        assert store.get(["k"]) == {"k": [GOOD]}
        assert store.failures == 2


def test_the_first_answer_stays():
    with AnswerStore(":memory:") as store:
        store.put([Entry("k", "u", [GOOD])])
        store.put([Entry("k", "u", [{**GOOD, "off_option": 0.5}])])
        assert store.get(["k"]) == {"k": [GOOD]}


def test_a_forked_process_opens_the_file_anew(tmp_path, monkeypatch):
    store = AnswerStore(tmp_path / "answers.sqlite")
    store.put([Entry("k", "u", [GOOD])])
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        assert store.get(["k"]) == {"k": [GOOD]}
        store.put([Entry("l", "u", [GOOD])])
        assert len(store._connections) == 2
        store.close()
    assert len(store.get(["k", "l"])) == 2
    store.close()
    assert store._connections == {}


def test_many_keys_at_once():
    with AnswerStore(":memory:") as store:
        keys = [f"k{n}" for n in range(40_000)]  # more than an SQL statement has places for (32,766)
        store.put(Entry(key, "u", [GOOD]) for key in keys)
        assert len(store.get(keys)) == len(keys)


def test_a_batch_is_kept_whole_or_not_at_all(tmp_path):
    store = AnswerStore(tmp_path / "answers.sqlite")
    with pytest.raises(TypeError):
        store.put([Entry("k", "u", [GOOD]), Entry("l", "u", [{**GOOD, "draws": object()}])])
    assert len(store) == 0
    store.put([Entry("k", "u", [GOOD])])
    with AnswerStore(tmp_path / "answers.sqlite") as other:
        assert other.get(["k"]) == {"k": [GOOD]}


def test_can_be_read_by_sql(tmp_path):
    with AnswerStore(tmp_path / "answers.sqlite") as store:
        store.put([Entry("k", "u7", [GOOD]), Entry("l", "u8", [BAD])])
    connection = sqlite3.connect(tmp_path / "answers.sqlite")
    query = "SELECT utterance, proxy, json_extract(distribution, '$[2]') FROM answers WHERE off_option < 0.1"
    assert connection.execute(query).fetchall() == [("u7", "model/tone", 0.7)]
    assert connection.execute("SELECT utterance, error FROM failures").fetchall() == [("u8", BAD["error"])]
    connection.close()


def test_refuses_another_version(tmp_path):
    path = tmp_path / "answers.sqlite"
    AnswerStore(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match=rf"written by version 99 .* has version {VERSION}.*name a new file"):
        AnswerStore(path)


def test_refuses_what_is_no_store(tmp_path):
    (tmp_path / "text").write_text("not a database, whatever its name says " * 50)
    with pytest.raises(StoreError, match="text cannot be used as an answer store: file is not a database"):
        AnswerStore(tmp_path / "text")
    connection = sqlite3.connect(tmp_path / "other.sqlite")
    connection.execute("CREATE TABLE songs (title)")
    connection.close()
    with pytest.raises(StoreError, match="SQLite database, but not an answer store"):
        AnswerStore(tmp_path / "other.sqlite")
    with pytest.raises(StoreError, match="cannot be used"):
        AnswerStore(tmp_path)


def fill(path, count=500, **how):
    """A store of `count` answers and some failures; every tenth answer is longer than a page of the file."""
    with AnswerStore(path, **how) as store:
        for n in range(0, count, 10):
            notes = [None if i % 10 else "drift " * 2000 for i in range(n, n + 10)]
            store.put(Entry(f"{i:08x}", f"u{i}", [{**GOOD, "error": note}]) for i, note in enumerate(notes, n))
        store.put([Entry("f", "v", [BAD]), Entry(None, "w", [BAD])])
        store.introduce({"model/tone": {"model": "org/model"}})


def everything(path):
    with AnswerStore(path) as store:
        query = "SELECT * FROM {} ORDER BY 1, 2"
        return [store.select(query.format(table)) for table in ("answers", "failures", "proxies")]


def test_says_when_a_store_is_damaged_and_what_to_do(tmp_path):
    path = tmp_path / "answers.sqlite"
    fill(path)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    message = rf"{path} cannot be used.*malformed.*python -m dime_hf.annotate.salvage {path} NEW.sqlite"
    with pytest.raises(StoreError, match=message), AnswerStore(path) as store:
        store.get(["k1"])


def test_a_whole_store_is_salvaged_whole(tmp_path):
    fill(tmp_path / "whole.sqlite")
    assert salvage(tmp_path / "whole.sqlite", tmp_path / "new.sqlite") == (500, 2)
    assert everything(tmp_path / "new.sqlite") == everything(tmp_path / "whole.sqlite")
    with pytest.raises(StoreError, match="exists already"):
        salvage(tmp_path / "whole.sqlite", tmp_path / "new.sqlite")
    with pytest.raises(StoreError, match="there is no file"):
        salvage(tmp_path / "none.sqlite", tmp_path / "newer.sqlite")


@pytest.mark.parametrize("damage", ["middle", "truncated", "root", "header"])
def test_what_is_whole_in_a_damaged_store_is_salvaged(tmp_path, damage, monkeypatch, capsys):
    path = tmp_path / "broken.sqlite"
    fill(path)
    expected = everything(path)[0]
    content = bytearray(path.read_bytes())
    half = len(content) // 2
    if damage == "middle":
        content[half : half + 20_000] = os.urandom(20_000)
    elif damage == "truncated":
        del content[half + 1000 :]
    elif damage == "root":  # of the answers: SQLite itself finds none of them any more
        content[4096 : 2 * 4096] = bytes(4096)
    else:
        content[:4096] = os.urandom(4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="python -m dime_hf.annotate.salvage"):
        everything(path)
    if damage == "middle":
        command = [sys.executable, "-m", "dime_hf.annotate.salvage", path, tmp_path / "new.sqlite"]
        printed = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT).stdout
    else:  # the same command, without a second of imports
        monkeypatch.setattr(sys, "argv", ["salvage", str(path), str(tmp_path / "new.sqlite")])
        main()
        printed = capsys.readouterr().out
    assert "answers and" in printed
    saved = everything(tmp_path / "new.sqlite")[0]
    assert set(saved) <= set(expected)  # nothing is made up
    assert len(saved) > {"truncated": 150}.get(damage, 420)
    assert f"{len(saved)} answers and 2 failures" in printed or damage in ("truncated", "middle")


def test_what_was_not_checkpointed_is_salvaged_too(tmp_path):
    fill(tmp_path / "old.sqlite", 100)
    with AnswerStore(tmp_path / "old.sqlite") as store:
        store.put(Entry(f"{n:08x}", f"u{n}", [GOOD]) for n in range(100, 150))
        for name in ("old.sqlite", "old.sqlite-wal"):  # as a power cut leaves them
            (tmp_path / name.replace("old", "cut")).write_bytes((tmp_path / name).read_bytes())
    assert salvage(tmp_path / "cut.sqlite", tmp_path / "new.sqlite").answers == 150


def test_a_text_that_is_damaged_is_an_error_of_the_store(tmp_path):
    with AnswerStore(tmp_path / "answers.sqlite") as store:
        store.put([Entry("k", "u", [GOOD])])
        store.select("UPDATE answers SET distribution = '[0.1, 0'")
        with pytest.raises(StoreError, match=r"answers\.sqlite cannot be used.*salvage"):
            store.get(["k"])


def test_a_full_store_says_so_and_keeps_what_was_committed(tmp_path):
    with AnswerStore(tmp_path / "answers.sqlite") as store:
        store.put([Entry("k", "u", [GOOD])])
        store.select("PRAGMA max_page_count = 12")
        with pytest.raises(StoreError, match="cannot be written: database or disk is full.*up to the last batch.*"):
            store.put(Entry(f"l{n}", "u", [GOOD]) for n in range(1000))
        assert len(store) == 1
        store.select("PRAGMA max_page_count = 100000")
        store.put(Entry(f"l{n}", "u", [GOOD]) for n in range(1000))
        assert len(store) == 1001


FULL_DISK = """
import resource, sys
from dime_hf.annotate import AnswerStore
from dime_hf.annotate.annotator import succeeded
from dime_hf.annotate.store import Entry
from dime_hf.errors import StoreError
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # no file may grow beyond
store, put = AnswerStore(sys.argv[1], write_ahead=sys.argv[2] == "True"), 0
try:
    while True:
        answer = succeeded("p", range(4), [0.25] * 4, 0.0)
        store.put(Entry(f"k{n}", f"u{n}", [answer]) for n in range(put, put + 25))
        put += 25
except StoreError as error:
    print(put, error)
"""


@pytest.mark.parametrize("write_ahead", [True, False])
def test_a_disk_that_runs_full_loses_nothing_that_was_committed(tmp_path, write_ahead):
    path = tmp_path / "answers.sqlite"
    printed = subprocess.run(
        [sys.executable, "-c", FULL_DISK, path, str(write_ahead)],
        capture_output=True, text=True, check=True, env=ENVIRONMENT,
    ).stdout  # fmt: skip
    count, _, message = printed.partition(" ")
    assert int(count) > 20
    assert message.startswith(f"`store` {path} cannot be written: disk I/O error")
    assert "make room on the disk" in message
    with AnswerStore(path) as store:
        assert {u for (u,) in store.select("SELECT utterance FROM answers")} == {f"u{n}" for n in range(int(count))}
        store.put([Entry("more", "u", [GOOD])])


VERSION_1 = """
CREATE TABLE answers (
    key TEXT, part INTEGER, utterance TEXT, proxy TEXT, "order" TEXT, distribution TEXT, draws TEXT, votes REAL,
    off_option REAL, asked_at TEXT DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (key, part)
) WITHOUT ROWID;
CREATE TABLE failures (
    key TEXT, utterance TEXT, proxy TEXT, "order" TEXT, error TEXT, asked_at TEXT DEFAULT CURRENT_TIMESTAMP
);
INSERT INTO answers VALUES ('k', 0, 'u', 'p', '[0, 1]', '[0.25, 0.75]', '[]', 1.0, 0.5, '2025-01-02 03:04:05');
INSERT INTO answers VALUES ('k', 1, 'u', 'q', '[1, 0]', '[0.5, 0.5]', '[1, 1]', 2.0, NULL, '2025-01-02 03:04:06');
INSERT INTO failures VALUES ('l', 'v', 'p', '[0, 1]', 'timeout: no answer within 60 s', '2025-01-02 03:04:07');
INSERT INTO failures VALUES ('m', 'w', 'p', '[0, 1]', 'the recording has no samples', '2025-01-02 03:04:08');
INSERT INTO failures VALUES (NULL, 'x', 'p', '[0, 1]', 'C:/x.wav: not there', '2025-01-02 03:04:09');
PRAGMA application_id = 1145654597;
PRAGMA user_version = 1;
"""


def version_1(path):
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1)
    connection.close()


def test_a_store_of_version_1_is_upgraded_in_place(tmp_path):
    version_1(tmp_path / "old.sqlite")
    with AnswerStore(tmp_path / "old.sqlite") as store:
        assert store.get(["k", "l"]) == {
            "k": [succeeded("p", (0, 1), [0.25, 0.75], 0.5), {**succeeded("q", (1, 0), [0.5, 0.5], None, (1, 1))}]
        }
        assert store.select("SELECT key, kind, error, asked_at FROM failures ORDER BY asked_at") == [
            ("l", "timeout", "timeout: no answer within 60 s", "2025-01-02 03:04:07"),
            ("m", "unknown", "the recording has no samples", "2025-01-02 03:04:08"),
            (None, "unknown", "C:/x.wav: not there", "2025-01-02 03:04:09"),
        ]
        assert store.failed(["l"]) == {"l": [failed("p", (0, 1), "no answer within 60 s", "timeout")]}
        store.put([Entry("n", "y", [{**GOOD, "error": "a note"}]), Entry("o", "z", [BAD])])
        assert store.select("PRAGMA user_version") == [(VERSION,)]
    with AnswerStore(tmp_path / "new.sqlite") as new:
        assert [new.select(f"SELECT * FROM {table}") for table in ("answers", "failures", "proxies")] == [[], [], []]
        assert new.merge(tmp_path / "old.sqlite") == 3
        for table in ("answers", "failures", "proxies"):  # the same columns in the same order, upgraded or new
            columns = f"SELECT name, type, pk FROM pragma_table_info('{table}')"
            with AnswerStore(tmp_path / "old.sqlite") as old:
                assert new.select(columns) == old.select(columns)
        assert new.get(["n"])["n"][0]["error"] == "a note"


def test_an_old_store_is_merged_and_salvaged(tmp_path):
    version_1(tmp_path / "old.sqlite")
    assert salvage(tmp_path / "old.sqlite", tmp_path / "saved.sqlite") == (2, 3)
    with AnswerStore(tmp_path / "new.sqlite") as new:
        assert new.merge(tmp_path / "old.sqlite") == 2
        assert (len(new), new.failures) == (2, 3)
    upgraded, saved = everything(tmp_path / "new.sqlite"), everything(tmp_path / "saved.sqlite")
    assert upgraded == saved


WRITER = """
import sys
from dime_hf.annotate import AnswerStore
from dime_hf.annotate.annotator import succeeded
from dime_hf.annotate.store import Entry
store = AnswerStore(sys.argv[1], write_ahead=sys.argv[2] == "True")
for n in range(60):
    store.put([Entry(f"{sys.argv[3]}{n}", "u", [succeeded("p", range(4), [0.25] * 4, 0.0)])])
    assert len(store.get([f"{sys.argv[3]}{n}"])) == 1
"""


@pytest.mark.parametrize("write_ahead", [True, False])
def test_two_processes_write_at_once(tmp_path, write_ahead):
    path = tmp_path / "new" / "answers.sqlite"
    command = [sys.executable, "-c", WRITER, path, str(write_ahead)]
    writers = [subprocess.Popen([*command, name], env=ENVIRONMENT) for name in "ab"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    with AnswerStore(path) as store:
        assert len(store) == 120
        assert store.select("PRAGMA integrity_check") == [("ok",)]
        assert store.select("PRAGMA journal_mode") == [("wal" if write_ahead else "delete",)]


def test_stores_of_several_writers_become_one(tmp_path):
    first, second = AnswerStore(tmp_path / "1.sqlite"), AnswerStore(tmp_path / "2.sqlite")
    other = {**GOOD, "votes": 2.0}
    first.put([Entry("k", "u", [GOOD]), Entry("f", "v", [BAD])])
    second.put([Entry("k", "u", [other]), Entry("l", "w", [GOOD, other]), Entry("f", "v", [BAD])])
    assert first.merge(second.path) == 2
    assert first.get(["k", "l"]) == {"k": [GOOD], "l": [GOOD, other]}
    assert first.merge(second.path) == 0
    assert (len(second), first.failures) in {(3, 1), (3, 2)}  # one, if both failed within a second
    with pytest.raises(StoreError, match="there is no answer store"):
        first.merge(tmp_path / "3.sqlite")
    (tmp_path / "text.sqlite").write_text("no store at all, but long enough to look like some kind of a file " * 20)
    with pytest.raises(StoreError, match=r"text\.sqlite"):
        first.merge(tmp_path / "text.sqlite")
    first.put([Entry("m", "x", [GOOD])])  # still usable


def test_parquet_holds_every_good_answer(tmp_path):
    store = AnswerStore(tmp_path / "answers.sqlite")
    assert store.to_parquet(tmp_path / "empty.parquet") == 0
    store.put([Entry(f"k{n}", f"u{n:02}", [{**GOOD, "draws": [n % 3]}]) for n in range(25)])
    store.put([Entry("f", "v", [BAD])])
    assert store.to_parquet(tmp_path / "answers.parquet") == 25
    rows = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    assert [row["utterance"] for row in rows] == [f"u{n:02}" for n in range(25)]
    assert {name: rows[4][name] for name in ("proxy", "order", "distribution", "draws", "votes", "off_option")} == {
        "proxy": GOOD["proxy"],
        "order": list(GOOD["order"]),
        "distribution": GOOD["distribution"],
        "draws": [1],
        "votes": 1.0,
        "off_option": GOOD["off_option"],
    }
    assert pq.read_table(tmp_path / "empty.parquet").schema.equals(pq.read_table(tmp_path / "answers.parquet").schema)


def test_failures_are_exported_too(tmp_path):
    with AnswerStore(tmp_path / "answers.sqlite") as store:
        store.put([Entry("k", "u1", [BAD]), Entry("l", "u0", [failed("q", (0, 1), "slow", "timeout")])])
        store.put([Entry("m", "u2", [{**GOOD, "error": "a note"}])])
        assert store.failures_to_parquet(tmp_path / "failures.parquet") == 2
        store.to_parquet(tmp_path / "answers.parquet")
    rows = pq.read_table(tmp_path / "failures.parquet").to_pylist()
    assert [{name: row[name] for name in ("utterance", "proxy", "order", "error", "kind")} for row in rows] == [
        {"utterance": "u0", "proxy": "q", "order": [0, 1], "error": "timeout: slow", "kind": "timeout"},
        {"utterance": "u1", "proxy": "model/tone", "order": [2, 0, 1], "error": BAD["error"], "kind": "model"},
    ]
    assert pq.read_table(tmp_path / "answers.parquet")["note"].to_pylist() == ["a note"]
