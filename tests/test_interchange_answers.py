"""Answer stores as Parquet: nothing is lost, nothing half-written stays, and other files are refused."""

import sqlite3

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dime_hf.annotate import AnswerStore
from dime_hf.annotate.annotator import failed, succeeded
from dime_hf.annotate.store import Entry
from dime_hf.errors import StoreError
from dime_hf.interchange import store_from_parquet, store_to_parquet

TABLES = ("answers", "failures", "proxies")
GOOD = succeeded("model/tone", (2, 0, 1), [0.1, 0.2, 0.7], 0.05, draws=(1, 1, 0), note="a note")
BAD = failed("model/tone", (2, 0, 1), "no samples", "audio")


def content(path):
    """All rows of all tables, in the order of the file."""
    connection = sqlite3.connect(path)
    orders = {"answers": "key, part", "failures": "rowid", "proxies": "proxy, field, value"}
    rows = {
        table: connection.execute(f"SELECT * FROM {table} ORDER BY {orders[table]}").fetchall() for table in TABLES
    }
    connection.close()
    return rows


@pytest.fixture
def filled(tmp_path):
    path = tmp_path / "answers.sqlite"
    with AnswerStore(path) as store:
        store.put(
            [
                Entry(f"k{n}", f"u{n}", [GOOD, {**GOOD, "off_option": None, "draws": [], "error": None}])
                for n in range(3)
            ]
        )
        store.put([Entry("k7", "u7", [GOOD, BAD]), Entry(None, "u8", [BAD]), Entry(None, "u8", [BAD])])
        store.introduce({"model/tone": {"model": "m", "prompt": "What?\nSay it."}})
    return path


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=10)
numbers = st.lists(st.floats(0, 1), min_size=1, max_size=4)
good = st.builds(
    succeeded, text, st.permutations(range(3)), numbers, st.floats(0, 1), st.lists(st.integers(0, 3), max_size=3), text
)
bad = st.builds(failed, text, st.permutations(range(3)), text, st.sampled_from(["audio", "reply"]))
entries = st.lists(
    st.builds(Entry, st.one_of(st.none(), text), text, st.lists(st.one_of(good, bad), min_size=1, max_size=2)),
    max_size=6,
)


@settings(deadline=None, max_examples=15)
@given(entries, st.dictionaries(text, st.dictionaries(text, text, max_size=2), max_size=2))
def test_a_store_comes_back_as_it_was(tmp_path_factory, held, proxies):
    folder = tmp_path_factory.mktemp("store")
    with AnswerStore(folder / "a.sqlite", write_ahead=False) as store:
        store.put(held)
        store.introduce(proxies)
        copied = store_to_parquet(store, folder)
    assert store_from_parquet(folder, folder / "b.sqlite") == copied
    assert content(folder / "b.sqlite") == content(folder / "a.sqlite")


def test_annotation_goes_on_from_the_copy(filled, tmp_path):
    folder = tmp_path / "parquet"
    assert store_to_parquet(filled, folder) == (6, 3, 2)
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{table}.parquet" for table in TABLES)
    store_from_parquet(folder, tmp_path / "copy.sqlite")
    assert content(tmp_path / "copy.sqlite") == content(filled)  # dates, repeated failures and numbers to the last bit
    with AnswerStore(tmp_path / "copy.sqlite") as copy, AnswerStore(filled) as store:
        assert copy.get(["k1", "k7"]) == store.get(["k1", "k7"]) != {}
        copy.put([Entry("new", "u9", [GOOD])])
        assert copy.merge(filled) == 0
    assert not list(tmp_path.glob("copy.sqlite.unfinished*"))


def test_an_older_export_is_replaced(filled, tmp_path):
    store_to_parquet(filled, tmp_path)
    with AnswerStore(filled) as store:
        store.put([Entry("k9", "u9", [GOOD])])
        assert store_to_parquet(store, tmp_path).answers == 7
    assert pq.read_table(tmp_path / "answers.parquet").num_rows == 7


def test_what_is_no_export_is_refused_and_leaves_nothing(filled, tmp_path):
    folder = tmp_path / "parquet"
    store_to_parquet(filled, folder)
    target = tmp_path / "copy.sqlite"
    with pytest.raises(StoreError, match="answers.sqlite exists already"):
        store_from_parquet(folder, filled)
    whole = (folder / "answers.parquet").read_bytes()
    (folder / "answers.parquet").write_bytes(whole[:50])
    with pytest.raises(StoreError, match="answers.parquet: cannot be read as Parquet"):
        store_from_parquet(folder, target)
    start = whole.index(b"u0") - 20
    (folder / "answers.parquet").write_bytes(whole[:4] + b"\xff" * (start - 4) + whole[start:])
    with pytest.raises(StoreError, match="answers.parquet: cannot be read"):
        store_from_parquet(folder, target)
    pq.write_table(pa.table({"key": ["k"]}), folder / "answers.parquet")
    with pytest.raises(StoreError, match="answers.parquet: must have the columns .*'off_option'"):
        store_from_parquet(folder, target)
    (folder / "answers.parquet").write_bytes(whole)
    (folder / "proxies.parquet").unlink()
    with pytest.raises(StoreError, match="proxies.parquet: there is no such file"):
        store_from_parquet(folder, target)
    with pytest.raises(StoreError, match="there is no answer store .*nothing.sqlite"):
        store_to_parquet(tmp_path / "nothing.sqlite", folder)
    assert [path.name for path in tmp_path.glob("copy*")] == []
    assert not (tmp_path / "nothing.sqlite").exists()
