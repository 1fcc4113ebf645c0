"""How a dataset is asked about: chunks, batches by length, preparing ahead, retries, plans, shards, cards, kills."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import datasets
import numpy as np
import pytest

from dime_hf import audio
from dime_hf.annotate import (
    AnswerStore,
    StoreFolder,
    annotate,
    annotate_shard,
    annotation_card,
    collect,
    plan,
)
from dime_hf.annotate.ahead import ahead
from dime_hf.annotate.annotator import failed
from dime_hf.annotate.shards import shard_rows
from dime_hf.errors import AnnotationError, LeakageError, StoreError
from tests.test_annotate import CLASSES, Interviewer, Teller, utterances

ROOT = Path(__file__).parent.parent


def of_lengths(seconds, column=True):
    """Utterances that last as given, by a column or by the headers of their files alone."""
    cells = [{"bytes": audio.encode_wav(np.zeros(round(16_000 * s), "float32")), "path": None} for s in seconds]
    dataset = utterances(len(seconds)).remove_columns("audio").add_column("audio", cells)
    return dataset.add_column("duration", list(seconds)) if column else dataset


@pytest.mark.parametrize("column", [True, False])
def test_the_longest_are_asked_first_in_batches_of_similar_length(column):
    teller = Teller()
    annotate(of_lengths([0.1, 0.5, 0.3, 0.2, 0.4], column), teller, batch_size=2)
    assert teller.asked == [["u1", "u4"], ["u2", "u3"], ["u0"]]


def test_what_a_duration_leaves_open_is_read_from_the_header():
    dataset = of_lengths([0.1, 0.5, 0.3]).map(lambda row: {"duration": None if row["id"] == "u1" else row["duration"]})
    dataset = dataset.map(lambda row: {"audio": None if row["id"] == "u0" else row["audio"], "duration": None})
    teller = Teller()
    annotate(dataset, teller, batch_size=1)
    assert teller.asked == [["u1"], ["u2"], ["u0"]]


def test_the_same_recording_and_words_are_asked_about_once(tmp_path):
    one, two = utterances(2), utterances(2).map(lambda row: {"id": row["id"] + "-again"})
    teller, store = Teller(), AnswerStore(tmp_path / "answers.sqlite")
    annotated = annotate(datasets.concatenate_datasets([one, two]), teller, store)
    assert teller.asked == [["u0", "u1"]]
    assert annotated["answers"][2:] == annotated["answers"][:2]
    deaf = Interviewer(("tone", "words"), deaf=("tone",))
    reworded = two.remove_columns("text").add_column("text", ["other", "words"])
    annotate(datasets.concatenate_datasets([one, reworded]), deaf)
    assert sorted(deaf.asked) == sorted(
        [
            ("u0", "tone"),
            ("u0", "words"),
            ("u0-again", "words"),
            ("u1", "tone"),
            ("u1", "words"),
            ("u1-again", "words"),
        ]
    )


@dataclasses.dataclass
class Preparing(Interviewer):
    """Notes what it prepares, where, and what it is asked about."""

    events: list = dataclasses.field(default_factory=list)
    breaks: str = ""

    def prepare(self, batch):
        self.events.append(("prepared", batch["id"][0], threading.current_thread() is threading.main_thread()))
        if self.breaks in batch["id"]:
            raise MemoryError(f"no room for {self.breaks}")
        return {"prepared": batch}

    def answer(self, batch, questions=None):
        until = time.monotonic() + 5  # the next batch is prepared while this one is answered
        expected = min(len([e for e in self.events if e[0] == "answered"]) + 2, 4)
        while len([e for e in self.events if e[0] == "prepared"]) < expected and time.monotonic() < until:
            time.sleep(0.001)
        self.events.append(("answered", batch["prepared"]["id"][0], len(self.events)))
        return super().answer(batch["prepared"], questions)


def test_the_next_batch_is_prepared_in_a_thread_while_one_is_answered():
    annotator = Preparing(("tone",))
    annotated = annotate(utterances(8), annotator, batch_size=2)
    assert annotated["answers"][:] == annotate(utterances(8), Interviewer(("tone",)))["answers"][:]
    assert [event[:2] for event in annotator.events] == [
        ("prepared", "u0"), ("prepared", "u2"), ("answered", "u0"), ("prepared", "u4"), ("answered", "u2"),
        ("prepared", "u6"), ("answered", "u4"), ("answered", "u6"),
    ]  # fmt: skip
    assert not any(main for kind, _, main in annotator.events if kind == "prepared")


def test_what_the_thread_raises_comes_to_light_and_what_was_answered_is_kept(tmp_path):
    store = AnswerStore(tmp_path / "answers.sqlite")
    with pytest.raises(MemoryError, match="no room for u5"):
        annotate(utterances(8), Preparing(("tone",), breaks="u5"), store, batch_size=2)
    assert {utterance for (utterance,) in store.select("SELECT utterance FROM answers")} == {"u0", "u1", "u2", "u3"}
    assert threading.active_count() < 20


def test_ahead_keeps_the_order_and_does_not_run_on():
    begun = []
    results = ahead(lambda n: begun.append(n) or n * n, range(100))
    assert [next(results) for _ in range(3)] == [(0, 0), (1, 1), (2, 4)]
    time.sleep(0.01)
    assert begun == [0, 1, 2, 3]
    assert list(ahead(str, [])) == []


@dataclasses.dataclass
class Moody(Teller):
    """Fails about some utterances, each in its own way."""

    moods: dict = dataclasses.field(default_factory=dict)

    def about(self, id):
        return failed(self.proxy, range(4), "no", self.moods[id]) if id in self.moods else super().about(id)


def test_failures_are_asked_again_by_kind(tmp_path):
    store, dataset = AnswerStore(tmp_path / "answers.sqlite"), utterances(5)
    moods = {"u1": "timeout", "u2": "refusal", "u3": "audio"}
    first = annotate(dataset, Moody(moods=moods), store)
    none = Teller()
    assert annotate(dataset, none, store, retry=())["answers"][:] == first["answers"][:]
    assert none.asked == []
    some = Teller()
    second = annotate(dataset, some, store, retry={"timeout", "server"})
    assert some.asked == [["u1"]]
    assert [row[0]["status"] for row in second["answers"]] == ["ok", "ok", "failed", "failed", "ok"]
    assert second["answers"][2] == first["answers"][2]
    one = Teller()
    annotate(dataset, one, store, retry="refusal")
    every = Teller()
    annotate(dataset, every, store)
    assert (one.asked, every.asked) == ([["u2"]], [["u3"]])
    assert store.select("SELECT kind, count(*) FROM failures GROUP BY kind ORDER BY kind") == [
        ("audio", 1), ("refusal", 1), ("timeout", 1),
    ]  # fmt: skip
    with pytest.raises(AnnotationError, match="`retry` names 'timeouts'.*Did you mean 'timeout'"):
        annotate(dataset, Teller(), store, retry=("timeouts",))


def test_the_last_failure_of_a_question_is_the_one_that_counts(tmp_path):
    store, dataset = AnswerStore(tmp_path / "answers.sqlite"), utterances(1)
    annotate(dataset, Moody(moods={"u0": "timeout"}), store)
    annotate(dataset, Moody(moods={"u0": "refusal"}), store)
    asked = Teller()
    annotated = annotate(dataset, asked, store, retry=("timeout",))
    assert (asked.asked, annotated["answers"][0][0]["error"]) == ([], "refusal: no")


def test_a_recording_that_cannot_be_read_is_not_asked_about_again_unless_it_can(tmp_path):
    dataset = utterances(2).map(lambda row: {"audio": None if row["id"] == "u1" else row["audio"]})
    store = AnswerStore(tmp_path / "answers.sqlite")
    annotate(dataset, Moody(moods={"u1": "audio"}), store)
    still, now = Teller(), Teller()
    annotate(dataset, still, store, retry=())
    annotate(utterances(2), now, store, retry=())
    assert (still.asked, now.asked) == ([], [["u1"]])


def test_a_failure_among_several_answers_is_always_asked_again(tmp_path):
    store, dataset = AnswerStore(tmp_path / "answers.sqlite"), utterances(1)
    panel = Teller()
    panel.answer = lambda batch: [[Teller().about(id), failed("other", range(4), "no")] for id in batch["id"]]
    annotate(dataset, panel, store)
    again = Teller()
    annotate(dataset, again, store, retry=())
    assert again.asked == [["u0"]]


@pytest.fixture
def bars():
    datasets.enable_progress_bars()
    yield
    datasets.disable_progress_bars()


@pytest.mark.usefixtures("bars")
def test_one_bar_with_failures_and_off_option_mass(capsys):
    annotate(utterances(10), Teller(fails=("u3",)), batch_size=4)
    shown = capsys.readouterr().err
    last = shown.replace("\r", "\n").strip().splitlines()[-1]
    assert re.match(r"Annotating: 100%.* 10/10 .*utterances/s, failed=1, off_option=0\.250\]", last)
    assert "Map" not in shown
    assert shown.count("\n") == 1  # of one bar
    assert not datasets.utils.are_progress_bars_disabled()


def test_the_bar_is_off_where_those_of_datasets_are(capsys):
    annotate(utterances(3), Teller())
    assert capsys.readouterr().err == ""


@dataclasses.dataclass
class Priced(Interviewer):
    def preview(self, batch):
        return {question.proxy: f"{question.fingerprint} of {batch['text'][0]}?" for question in self.questions}

    def cost(self, answers, utterances, seconds):
        return f"{answers} requests, {utterances} uploads, {seconds:.1f} s"

    def answer(self, batch, questions=None):
        raise AssertionError("a plan asks nothing")


def test_a_plan_counts_and_asks_nothing(tmp_path):
    path = tmp_path / "answers.sqlite"
    dataset = of_lengths([1.0, 2.0, 3.0, 4.0]).map(lambda row: {"audio": None if row["id"] == "u3" else row["audio"]})
    planned = plan(dataset, Priced(("tone", "words")), path)
    assert not path.exists()
    assert (planned.utterances, planned.questions, planned.held, planned.to_ask) == (4, 2, 0, 8)
    assert (planned.to_hear, planned.unreadable, planned.refused) == (4, 1, 0)
    assert planned.hours == pytest.approx(10 / 3600)
    annotate(dataset.select([0, 1]), Interviewer(("tone",)), path)
    annotator = Priced(("tone", "words"))
    annotator.tuned_on = {"u2", "elsewhere"}
    planned = plan(dataset, annotator, path)
    assert (planned.held, planned.to_ask, planned.refused) == (2, 6, 1)
    assert planned.prompts == {"model/tone": "tone of word 0?", "model/words": "words of word 0?"}
    assert planned.cost == "6 requests, 4 uploads, 10.0 s"
    text = str(planned)
    assert re.search(r"answers to ask +6\n", text)
    assert re.search(r"without a recording that can be read +1\n", text)
    assert "--- model/words ---\nwords of word 0?" in text
    assert plan(dataset.select([]), Priced(("tone",))).to_ask == 0


def test_a_plan_knows_which_failures_would_be_asked_again(tmp_path):
    store = AnswerStore(tmp_path / "answers.sqlite")
    annotate(utterances(4), Moody(moods={"u1": "timeout", "u2": "refusal"}), store)
    every, some = plan(utterances(4), Teller(), store), plan(utterances(4), Teller(), store, retry=("timeout",))
    assert (every.held, every.failures_held, every.to_ask) == (2, 0, 2)
    assert (some.held, some.failures_held, some.to_ask) == (2, 1, 1)


def test_shares_cover_all_rows_and_last_equally_long():
    seconds = np.random.default_rng(0).gamma(2, 2, 101).tolist()
    dataset = utterances(101).add_column("duration", seconds)
    shares = [shard_rows(dataset, rank, 4) for rank in range(4)]
    assert sorted(row for share in shares for row in share) == list(range(101))
    lasting = [sum(seconds[row] for row in share) for share in shares]
    assert max(lasting) - min(lasting) < max(seconds)
    assert shares == [shard_rows(dataset, rank, 4) for rank in range(4)]
    assert shard_rows(utterances(5), 1, 2) == [1, 3]
    unknown = utterances(3).add_column("duration", [None, 1.0, 2.0])
    assert shard_rows(unknown, 0, 1) == [2, 1, 0]
    with pytest.raises(AnnotationError, match="`rank` must lie between 0"):
        shard_rows(dataset, 4, 4)


def test_shards_are_collected_and_another_number_of_processes_asks_nothing_twice(tmp_path, caplog):
    dataset, folder = utterances(11), tmp_path / "stores"
    with pytest.raises(AnnotationError, match="has no answer stores"):
        collect(dataset, Teller(), folder)
    asked = [Teller(fails=("u4",)) for _ in range(3)]
    for rank, teller in enumerate(asked[:2]):  # the third process never came to it
        annotate_shard(dataset, teller, folder, rank, 3, batch_size=2)
    caplog.clear()
    partial = collect(dataset, Teller(), folder)
    assert "8 from the store, 1 failed (first: u4: model: would not say), 3 missing (of 3 utterances)" in caplog.text
    assert [len(row) for row in partial["answers"]] == [1, 1, 0] * 3 + [1, 1]
    for rank in range(2):
        annotate_shard(dataset, asked[2], folder, rank, 2, retry=())
    assert sorted(id for batch in asked[2].asked for id in batch) == ["u2", "u5", "u8"]
    whole = collect(dataset, Teller(), folder, tmp_path / "all.sqlite")
    expected = annotate(dataset, Teller(fails=("u4",)))
    assert whole["answers"][:] == expected["answers"][:]
    assert whole["id"][:] == dataset["id"][:]
    with AnswerStore(tmp_path / "all.sqlite") as store:
        assert (len(store), store.failures) == (10, 1)
    names = [path.name for path in sorted(folder.iterdir())]
    assert names == ["00000-of-00002.sqlite", "00000-of-00003.sqlite", "00001-of-00002.sqlite",
                     "00001-of-00003.sqlite", "answers.sqlite"]  # fmt: skip


def test_a_folder_of_stores_writes_its_own_file_alone(tmp_path):
    with AnswerStore(tmp_path / "a.sqlite") as first:
        annotate(utterances(2), Teller(), first)
    with StoreFolder(tmp_path, "b") as both:
        teller = Teller()
        annotate(utterances(3), teller, both)
        assert teller.asked == [["u2"]]
    with AnswerStore(tmp_path / "a.sqlite") as first, AnswerStore(tmp_path / "b.sqlite") as second:
        assert (len(first), len(second)) == (2, 1)
        assert second.select("PRAGMA journal_mode") == [("delete",)]  # fit for a network drive
        assert first.select("PRAGMA journal_mode") == [("wal",)]


def test_collect_refuses_what_annotate_refuses(tmp_path):
    annotate_shard(utterances(2), Teller(), tmp_path, 0, 1)
    with pytest.raises(AnnotationError, match="same label set"):
        collect(utterances(2), Teller(label_set=CLASSES[::-1]), tmp_path)
    tuned = Teller()
    tuned.tuned_on = ["u1"]
    with pytest.raises(LeakageError):
        collect(utterances(2), tuned, tmp_path)


@dataclasses.dataclass
class Described(Moody):
    def describe(self):
        return {self.proxy: {"model": "org/model", "revision": "abc", "prompt": "How?", "strategy": "options"}}


def test_the_card_tells_what_the_store_holds(tmp_path):
    store = AnswerStore(tmp_path / "answers.sqlite")
    assert "None yet" in annotation_card(store)
    annotate(utterances(5), Described(moods={"u1": "timeout", "u2": "refusal"}), store)
    annotate(utterances(5), Described(moods={"u2": "refusal"}), store, retry=("timeout",))
    annotate(utterances(3), Teller(fingerprint="b", proxy="plain"), store)
    card = annotation_card(tmp_path / "answers.sqlite")
    assert card.startswith("## Synthetic answers\n")
    assert "| teller | 4 | 4 | 1 refusal | 0.2500 |" in card  # the timeout was made good
    assert "| plain | 3 | 3 | 0 | 0.2500 |" in card
    assert "- **teller**: model: org/model; prompt: How?; revision: abc; strategy: options" in card
    first, last = re.search(r"between (\S+ \S+) and (\S+ \S+) \(UTC\)", card).groups()
    assert (first, last) == store.select("SELECT min(asked_at), max(asked_at) FROM answers")[0]
    with pytest.raises(StoreError, match="there is no answer store"):
        annotation_card(tmp_path / "other.sqlite")


INTERRUPTED = """
import signal, time, datasets
from tests.test_annotate import Interviewer, utterances
from dime_hf.annotate import annotate
datasets.disable_progress_bars()
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever is started in the background ignores it

class Slow(Interviewer):
    def prepare(self, batch):
        if "u8" in batch["id"]:
            time.sleep(60)  # nobody waits for this thread
        return batch
    def answer(self, batch, questions=None):
        if "u4" in batch["id"]:
            print("now", flush=True)
            time.sleep(60)
        return super().answer(batch, questions)

try:
    annotate(utterances(12), Slow(("tone",)), {store!r}, batch_size=4)
except KeyboardInterrupt:
    raise SystemExit(130)
"""


def test_ctrl_c_ends_at_once_and_says_how_to_go_on(tmp_path):
    path = str(tmp_path / "answers.sqlite")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    run = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED.format(store=path)],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert run.stdout.readline() == "now\n"
    run.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, errors = run.communicate(timeout=30)
    assert time.monotonic() - started < 10
    assert (run.returncode, errors) == (
        130, f"stopped: 4 answers of this run are kept in {path}; the same command goes on from there\n",
    )  # fmt: skip
    with AnswerStore(path) as store:
        assert len(store) == 4


def test_killed_runs_lose_nothing_and_ask_nothing_twice():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--runs", "4", "--seed", "7"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert int(re.search(r"(\d+) kills", done.stdout)[1]) >= 4
