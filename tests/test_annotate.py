"""`annotate` with stand-ins for the model: what is asked, what the store gives, what is refused."""

import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import datasets
import numpy as np
import pytest

from dime_hf import audio, columns
from dime_hf.annotate import AnswerStore, Question, annotate
from dime_hf.annotate.annotator import failed, succeeded
from dime_hf.errors import AnnotationError, ColumnError, LeakageError

CLASSES = ("angry", "happy", "neutral", "sad")
ROOT = Path(__file__).parent.parent


def utterances(count, classes=CLASSES):
    """A dataset of `count` utterances, each with a sound and a transcript of its own."""
    rng = np.random.default_rng(0)
    cells = [
        {"bytes": audio.encode_wav(rng.uniform(-1, 1, 800).astype("float32")), "path": f"{n}.wav"}
        for n in range(count)
    ]
    features = datasets.Features(
        {
            columns.ID: datasets.Value("string"),
            columns.AUDIO: {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
            columns.TEXT: datasets.Value("string"),
            columns.HARD_LABEL: datasets.ClassLabel(names=list(classes)),
        }
    )
    table = {"id": [f"u{n}" for n in range(count)], "audio": cells, "text": [f"word {n}" for n in range(count)]}
    made = datasets.Dataset.from_dict({**table, "hard_label": [0] * count}, features=features)
    return made.cast_column("audio", datasets.Audio(sampling_rate=16_000, decode=False))


@dataclasses.dataclass
class Teller:
    """Answers a distribution drawn from the utterance's id, and counts what it was asked; fails about `fails`."""

    label_set: tuple = CLASSES
    fingerprint: str = "teller"
    proxy: str = "teller"
    fails: tuple = ()
    asked: list = dataclasses.field(default_factory=list)

    def answer(self, batch):
        self.asked.append(list(batch["id"]))
        return [[self.about(id)] for id in batch["id"]]

    def about(self, id):
        if id in self.fails:
            return failed(self.proxy, range(4), "would not say")
        draw = np.random.default_rng(list(f"{self.fingerprint}{id}".encode())).dirichlet(np.ones(4))
        return succeeded(self.proxy, range(4), draw.tolist(), 0.25)


@dataclasses.dataclass
class Interviewer:
    """An annotator of several questions, told apart by their names; those in `deaf` do not read the transcript."""

    names: tuple
    deaf: tuple = ()
    label_set: tuple = CLASSES
    prefix: str = "model"
    asked: list = dataclasses.field(default_factory=list)

    @property
    def questions(self):
        return tuple(Question(name, name not in self.deaf, f"{self.prefix}/{name}") for name in self.names)

    @property
    def fingerprint(self):
        return "+".join(self.names)

    def answer(self, batch, questions=None):
        names = [self.names[i] for i in range(len(self.names)) if questions is None or i in questions]
        self.asked += [(id, name) for id in batch["id"] for name in names]
        return [
            [Teller(fingerprint=name, proxy=f"{self.prefix}/{name}").about(id) for name in names] for id in batch["id"]
        ]


def test_adds_the_answers_and_nothing_else():
    dataset, teller = utterances(10), Teller()
    annotated = annotate(dataset, teller, batch_size=4)
    assert [len(asked) for asked in teller.asked] == [4, 4, 2]
    assert annotated.column_names == [*dataset.column_names, "answers"]
    assert annotated.features["answers"] == columns.answers_feature(CLASSES)
    assert annotated.features["audio"] == dataset.features["audio"]
    assert annotated.remove_columns("answers")[:] == dataset[:]
    for id, answers in zip(annotated["id"], annotated["answers"], strict=True):
        expected = teller.about(id)
        assert answers[0]["distribution"] == pytest.approx(expected["distribution"], abs=1e-6)
        assert answers[0] == {**expected, "distribution": answers[0]["distribution"]}


def test_never_asks_what_the_store_holds(tmp_path):
    first = annotate(utterances(9), Teller(), tmp_path / "new" / "answers.sqlite")
    again = Teller()
    assert annotate(utterances(9), again, tmp_path / "new" / "answers.sqlite")["answers"][:] == first["answers"][:]
    assert again.asked == []
    more = Teller()
    annotate(utterances(12), more, tmp_path / "new" / "answers.sqlite")
    assert [id for batch in more.asked for id in batch] == ["u9", "u10", "u11"]


def test_an_answer_is_keyed_by_content_not_by_name_or_place(tmp_path):
    store = AnswerStore(tmp_path / "answers.sqlite")
    dataset = utterances(6)
    annotate(dataset, Teller(), store)
    moved = Teller()
    cells = []
    for n, cell in enumerate(dataset["audio"]):
        (tmp_path / f"moved{n}.wav").write_bytes(cell["bytes"])
        cells.append({"bytes": None, "path": str(tmp_path / f"moved{n}.wav")})
    elsewhere = dataset.remove_columns("audio").add_column("audio", cells)
    annotate(elsewhere.map(lambda row: {"id": f"other{row['id']}"}), moved, store)
    assert moved.asked == []
    reworded, other = Teller(), Teller(fingerprint="another")
    annotate(dataset.map(lambda row: {"text": row["text"] + "!"}), reworded, store)
    annotate(dataset, other, store)
    assert sum(map(len, reworded.asked)) == sum(map(len, other.asked)) == 6


def test_failures_are_recorded_and_asked_again(tmp_path, caplog):
    store = AnswerStore(tmp_path / "answers.sqlite")
    annotated = annotate(utterances(5), Teller(fails=("u1", "u3")), store)
    assert "5 answers asked, 0 from the store, 2 failed (first: u1: model: would not say)" in caplog.text
    assert [row[0]["status"] for row in annotated["answers"]] == ["ok", "failed", "ok", "failed", "ok"]
    assert annotated["answers"][1][0] == {
        "proxy": "teller", "order": [0, 1, 2, 3], "distribution": None, "draws": [], "votes": 0.0, "off_option": None,
        "status": "failed", "error": "model: would not say",
    }  # fmt: skip
    assert (len(store), store.failures) == (3, 2)
    recovered = Teller()
    second = annotate(utterances(5), recovered, store)
    assert [id for batch in recovered.asked for id in batch] == ["u1", "u3"]
    assert all(row[0]["status"] == "ok" for row in second["answers"])
    assert (
        second._fingerprint != annotated._fingerprint
    )  # or a cached pooling of the first would be taken for the second's


def test_same_answers_same_fingerprint(tmp_path):
    dataset = utterances(4)
    fresh = annotate(dataset, Teller(), tmp_path / "a.sqlite")
    assert annotate(dataset, Teller(), tmp_path / "a.sqlite")._fingerprint == fresh._fingerprint
    assert annotate(dataset, Teller(fingerprint="b"), tmp_path / "a.sqlite")._fingerprint != fresh._fingerprint


def test_two_annotators_on_one_dataset_keep_their_answers_in_order(tmp_path):
    dataset = annotate(utterances(5), Teller(proxy="first"), tmp_path / "answers.sqlite")
    dataset = annotate(dataset, Teller(fingerprint="two", proxy="second"), tmp_path / "answers.sqlite")
    assert [[a["proxy"] for a in row] for row in dataset["answers"]] == [["first", "second"]] * 5
    again = annotate(dataset, Teller(fingerprint="three", proxy="first"), tmp_path / "answers.sqlite")
    assert [[a["proxy"] for a in row] for row in again["answers"]] == [["second", "first"]] * 5
    assert again["answers"][0][1]["distribution"] != dataset["answers"][0][0]["distribution"]
    assert again["answers"][0][0] == dataset["answers"][0][1]


def test_only_the_missing_questions_are_asked(tmp_path):
    store = AnswerStore(tmp_path / "answers.sqlite")
    one = annotate(utterances(3), Interviewer(("tone", "words")), store)
    more = Interviewer(("tone", "cues", "words"))
    two = annotate(utterances(4), more, store)
    assert {id: [name for asked, name in more.asked if asked == id] for id in ("u0", "u1", "u2", "u3")} == {
        "u0": ["cues"], "u1": ["cues"], "u2": ["cues"], "u3": ["tone", "cues", "words"],
    }  # fmt: skip
    assert [a["proxy"] for a in two["answers"][2]] == ["model/tone", "model/cues", "model/words"]
    assert [two["answers"][2][i] for i in (0, 2)] == one["answers"][2]
    renamed = Interviewer(("tone", "words"), prefix="copy")
    assert [a["proxy"] for a in annotate(utterances(3), renamed, store)["answers"][0]] == ["copy/tone", "copy/words"]
    assert renamed.asked == []


def test_a_question_that_does_not_read_ignores_the_transcript(tmp_path):
    store = AnswerStore(tmp_path / "answers.sqlite")
    annotate(utterances(2), Interviewer(("tone", "words"), deaf=("tone",)), store)
    reworded = Interviewer(("tone", "words"), deaf=("tone",))
    annotate(utterances(2).map(lambda row: {"text": None if row["id"] == "u0" else "other"}), reworded, store)
    assert reworded.asked == [("u0", "words"), ("u1", "words")]


def test_null_audio_reaches_the_annotator_and_is_never_stored(tmp_path):
    dataset = utterances(3).map(lambda row: {"audio": None if row["id"] == "u1" else row["audio"]})
    store = AnswerStore(tmp_path / "answers.sqlite")
    annotate(dataset, Teller(), store)
    again = Teller()
    annotate(dataset, again, store)
    assert (again.asked, len(store)) == ([["u1"]], 2)


def test_streams():
    dataset = utterances(5)
    streamed = annotate(dataset.to_iterable_dataset(), Teller(), batch_size=2)
    streamed = pickle.loads(pickle.dumps(streamed))  # as the workers of a DataLoader get it
    for row, id, cell in zip(streamed, dataset["id"], dataset["audio"], strict=True):
        assert (row["id"], row["audio"]) == (id, cell)
        assert row["answers"][0]["distribution"] == pytest.approx(Teller().about(id)["distribution"], abs=1e-6)
    assert streamed.features["answers"] == columns.answers_feature(CLASSES)


def test_selected_shuffled_formatted_and_empty_datasets():
    dataset = utterances(8)
    part = annotate(dataset.shuffle(seed=3).select(range(5)), Teller())
    assert part["answers"][2][0]["distribution"] == pytest.approx(
        Teller().about(part["id"][2])["distribution"], abs=1e-6
    )
    assert (
        annotate(dataset.with_format("numpy"), Teller()).with_format(None)["answers"][:]
        == annotate(dataset, Teller())["answers"][:]
    )
    empty = annotate(dataset.select([]), Teller())
    assert (len(empty), empty.features["answers"]) == (0, columns.answers_feature(CLASSES))


def test_decoded_audio_columns_need_no_decoder():
    dataset = utterances(3).cast_column("audio", datasets.Audio(sampling_rate=16_000))
    annotated = annotate(dataset, Teller())
    assert annotated.features["audio"].decode
    assert len(annotated["answers"]) == 3


def test_refusals():
    dataset = utterances(3)
    with pytest.raises(ColumnError, match=r"did you mean `dataset\['train'\]`"):
        annotate(datasets.DatasetDict({"train": dataset}), Teller())
    with pytest.raises(ColumnError, match="no column 'audio'"):
        annotate(dataset.remove_columns("audio"), Teller())
    with pytest.raises(AnnotationError, match="give both the same label set"):
        annotate(dataset, Teller(label_set=("happy", "angry", "neutral", "sad")))


def test_tuned_on_human_labels_is_refused():
    teller = Teller()
    teller.tuned_on = ["u2", "x"]
    with pytest.raises(LeakageError, match=r"human labels of 1 of these utterances \(u2"):
        annotate(utterances(3), teller)
    with pytest.raises(LeakageError):
        list(annotate(utterances(3).to_iterable_dataset(), teller))
    assert teller.asked == []
    assert len(annotate(utterances(2), teller)) == 2


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([], "no answer about u0"),
        ([succeeded("p", range(4), [0.5, 0.5, 0.5, 0.5], 0.0)], "unusable distribution about u0.*sums to 2"),
        ([succeeded("p", range(4), [float("nan"), 0.5, 0.5, 0.0], 0.0)], "unusable distribution about u0.*NaN"),
        ([succeeded("p", range(4), [0.5, 0.5], 0.0)], "other than 4 classes"),
        ([{**failed("p", range(4), "why"), "votes": 1.0}], "wrong status"),
        ([{**failed("p", range(4), "why"), "status": "neutral"}], "wrong status"),
    ],
)
def test_unusable_answers_are_errors(answers, message):
    teller = Teller()
    teller.answer = lambda batch: [answers for _ in batch["id"]]
    with pytest.raises(AnnotationError, match=message):
        annotate(utterances(2), teller)


def test_too_few_answers_are_an_error():
    teller = Teller()
    teller.answer = lambda _: [[teller.about("u0")]]
    with pytest.raises(AnnotationError, match="about all 3 utterances"):
        annotate(utterances(3), teller)


def test_errors_of_the_program_are_not_answers(tmp_path):
    store = AnswerStore(tmp_path / "answers.sqlite")
    teller = Teller()

    def answer(batch):
        if "u4" in batch["id"]:
            raise MemoryError("no room")
        return [[teller.about(id)] for id in batch["id"]]

    teller.answer = answer
    with pytest.raises(MemoryError):
        annotate(utterances(6), teller, store, batch_size=2)
    assert (len(store), store.failures) == (4, 0)  # what came before is kept


RUN = """
import json, os, sys, time
sys.path[:0] = [{tests!r}]
import datasets
from test_annotate import Teller, utterances
from dime_hf.annotate import annotate

class Slow(Teller):
    def answer(self, batch):
        with open({log!r}, "a") as log:
            log.write("".join(json.dumps([os.getpid(), id]) + "\\n" for id in batch["id"]))
        time.sleep({pause})
        return super().answer(batch)

datasets.disable_progress_bars()
annotated = annotate(utterances(48), Slow(), {store!r}, batch_size=4)
print(json.dumps([row[0]["distribution"] for row in annotated["answers"]]))
"""


def start(tmp_path, pause):
    code = RUN.format(
        tests=str(ROOT / "tests"), log=str(tmp_path / "log"), store=str(tmp_path / "answers.sqlite"), pause=pause
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)


def asked(tmp_path):
    path = tmp_path / "log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_killed_run_resumes_without_asking_twice(tmp_path):
    """Killed twice, after 9 questions and after 29."""
    kept = 0
    for questions in (9, 29):
        run = start(tmp_path, pause=0.03)
        deadline = time.monotonic() + 60
        while len(asked(tmp_path)) < questions and time.monotonic() < deadline:
            time.sleep(0.005)
        run.send_signal(signal.SIGKILL)
        assert run.communicate()[0] == ""  # it did not finish
        mine = [id for pid, id in asked(tmp_path) if pid == run.pid]
        assert mine == [f"u{n}" for n in range(kept, kept + len(mine))]
        with AnswerStore(tmp_path / "answers.sqlite") as store:
            assert len(mine) - 4 <= len(store) - kept <= len(mine)  # all but the batch in hand
            kept = len(store)
    resumed = start(tmp_path, pause=0)
    distributions = json.loads(resumed.communicate(timeout=60)[0])
    after = [id for pid, id in asked(tmp_path) if pid == resumed.pid]
    assert resumed.returncode == 0
    assert after == [f"u{n}" for n in range(kept, 48)]
    expected = [Teller().about(f"u{n}")["distribution"] for n in range(48)]
    np.testing.assert_allclose(distributions, expected, atol=1e-6)


def test_processes_share_a_store(tmp_path):
    runs = [start(tmp_path, pause=0.005) for _ in range(3)]
    outputs = [run.communicate(timeout=60)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert outputs[0] == outputs[1] == outputs[2]
    with AnswerStore(tmp_path / "answers.sqlite") as store:
        assert (len(store), store.failures) == (48, 0)
