"""The answer store: round trips, transactions, and files it refuses."""

import os
import pickle
import sqlite3

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dime_hf.annotate import AnswerStore
from dime_hf.annotate.annotator import failed, succeeded
from dime_hf.annotate.schema import VERSION
from dime_hf.annotate.store import Entry
from dime_hf.errors import StoreError

GOOD = succeeded("model/tone", (2, 0, 1), [0.1, 0.2, 0.7], 0.05)
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


def test_says_when_a_store_is_damaged(tmp_path):
    path = tmp_path / "answers.sqlite"
    with AnswerStore(path) as store:
        store.put(Entry(f"k{n}", "u", [GOOD]) for n in range(500))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="malformed"), AnswerStore(path) as store:
        store.get(["k1"])


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
