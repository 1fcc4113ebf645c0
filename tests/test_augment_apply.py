"""A plan carried out: in memory, in files and when a row is read, always the same samples; killed runs go on."""

import io
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import scipy.io.wavfile

from dime_hf import audio, columns
from dime_hf.augment import augment
from dime_hf.augment.make import Recent
from dime_hf.augment.operations import Operation, Utterance, get_operation
from dime_hf.errors import AudioError, DistributionError, PlanError

ROOT = Path(__file__).parent.parent


class Chorus(Operation):
    """Three utterances at once, each as loud as it weighs, and their words in turn."""

    name = "chorus"
    parents = 3

    def draw(self, rng):
        return {"weights": rng.dirichlet(np.ones(3)).tolist()}

    def weights(self, durations, parameters):
        return np.array(parameters["weights"])

    def apply(self, parents, parameters):
        length = min(len(parent.samples) for parent in parents)
        samples = sum(
            weight * parent.samples[:length] for weight, parent in zip(parameters["weights"], parents, strict=True)
        )
        return Utterance(samples.astype(np.float32), " ".join(parent.text for parent in parents))


class Louder(Operation):
    """The same, louder; with `log` it says so in a file, and takes its time."""

    name = "louder"
    parents = 1

    def __init__(self, log=None):
        self.log = log

    def __getstate__(self):
        return {"log": None if self.log is None else str(self.log)}

    def draw(self, rng):
        return {"gain": float(rng.uniform(1, 3))}

    def weights(self, durations, parameters):
        return np.ones(1)

    def apply(self, parents, parameters):
        if self.log is not None:
            with open(self.log, "a", encoding="utf-8") as file:
                file.write(f"{parameters['gain']!r}\n")
            time.sleep(0.03)
        return Utterance((parameters["gain"] * parents[0].samples).astype(np.float32), parents[0].text)


OWN = (Chorus(), Louder())


def plan_of(train, operations, count, seed=0):
    """A plan of random applications, in the columns that all plans have."""
    rng, rows = np.random.default_rng(seed), []
    labels = np.array(train["soft_label"], dtype=np.float64)
    for number in range(count):
        operation = operations[number % len(operations)]
        places = rng.choice(len(train), operation.parents, replace=False)
        parameters = operation.draw(rng)
        weights = operation.weights([train[int(place)]["duration"] for place in places], parameters)
        rows.append(
            {
                "id": f"new{number}",
                "parents": [train[int(place)]["id"] for place in places],
                "parent_weights": weights.tolist(),
                "operation": operation.name,
                "parameters": json.dumps(parameters, sort_keys=True),
                "soft_label": (weights @ labels[places]).tolist(),
                "speaker": None,
                "level": "high",
            }
        )
    return as_plan(rows, train)


def as_plan(rows, train):
    text = datasets.Value("string")
    features = dict.fromkeys(("id", "operation", "parameters", "speaker", "level"), text) | {
        "parents": datasets.List(text),
        "parent_weights": datasets.List(datasets.Value("float32")),
        "soft_label": train.features["soft_label"],
    }
    table = datasets.Dataset.from_list(rows, features=datasets.Features(features))
    return SimpleNamespace(rows=table, summary=SimpleNamespace(recipe="by hand"))


def edited(plan, train, row, **changes):
    rows = list(plan.rows)
    rows[row] |= changes
    return as_plan(rows, train)


@pytest.fixture(scope="module")
def train(toy_fold):
    return toy_fold["train"].select(range(24))


@pytest.fixture(scope="module")
def plan(train):
    return plan_of(train, (get_operation("interpolate"), *OWN), 12)


@pytest.fixture(scope="module")
def made(train, plan):
    return augment(train, plan, operations=OWN)


@pytest.fixture(scope="module")
def lazy(train, plan):
    return augment(train, plan, operations=OWN, lazy=True)


@pytest.fixture
def decoded(monkeypatch):
    """What `audio.read` was given, as paths."""
    seen, read = [], audio.read

    def counting(cell, *rate):
        seen.append(cell["path"])
        return read(cell, *rate)

    monkeypatch.setattr(audio, "read", counting)
    return seen


def samples(rows):
    return [audio.read(cell) for cell in rows["audio"]]


def assert_same(one, other):
    assert one.column_names == other.column_names
    rest = [name for name in one.column_names if name != "audio"]
    assert one.select_columns(rest).with_format(None)[:] == other.select_columns(rest).with_format(None)[:]
    for mine, theirs in zip(samples(one), samples(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_rows_are_the_operations_of_their_parents(train, plan, made):
    by_id = {row["id"]: row for row in train}
    operations = {operation.name: operation for operation in OWN}
    for line, row in zip(plan.rows, list(made)[len(train) :], strict=True):
        parents = [by_id[id] for id in line["parents"]]
        assert (row["id"], row["parents"], row["parent_weights"]) == (
            line["id"],
            line["parents"],
            line["parent_weights"],
        )
        labels = np.array([parent["soft_label"] for parent in parents])
        np.testing.assert_allclose(row["soft_label"], line["parent_weights"] @ labels, atol=1e-6)
        assert sum(row["soft_label"]) == pytest.approx(1, abs=1e-6)
        assert json.loads(row["augmentation"]) == {
            "level": "high",
            "operation": line["operation"],
            "parameters": json.loads(line["parameters"]),
            "recipe": "by hand",
        }
        assert (row["soft_label_source"], row["human_votes"], row["hard_label"]) == ("dime_aug", [], None)
        assert row["vote_counts"] == [0.0] * 4
        speakers = {parent["speaker"] for parent in parents}
        assert row["speaker"] == (speakers.pop() if len(speakers) == 1 else None)
        if line["operation"] in operations:
            utterances = [Utterance(audio.read(parent["audio"]), parent["text"]) for parent in parents]
            expected = operations[line["operation"]].apply(utterances, json.loads(line["parameters"]))
            np.testing.assert_array_equal(audio.read(row["audio"]), expected.samples)
            assert row["text"] == expected.text
            assert row["duration"] == pytest.approx(len(expected.samples) / 16000, abs=1e-6)


def test_lazy_is_materialised_to_the_bit(made, lazy):
    assert lazy[:] == made[:]
    assert [lazy[row] for row in range(len(lazy))] == list(made)


def test_lazy_rows_in_any_order_and_batch(made, lazy):
    order = np.random.default_rng(0).permutation(len(made))
    expected = list(made.select(order))
    assert list(lazy.select(order)) == expected
    assert [
        row
        for start in range(0, len(order), 7)
        for row in lazy.select(order).__getitems__([*range(start, min(start + 7, len(order)))])
    ] == expected
    shuffled = lazy.shuffle(seed=3)
    assert shuffled[:] == made.shuffle(seed=3)[:]
    few = lazy.select_columns(["audio", "soft_label"])
    assert few[len(made) - 1] == {name: made[len(made) - 1][name] for name in ("audio", "soft_label")}
    assert list(lazy["audio"]) == list(made["audio"])
    with pytest.raises(AudioError, match="dime_aug:11"):  # what was never made is not taken for silence
        audio.read(lazy.with_format(None)[-1]["audio"])


@pytest.mark.parametrize("workers", [0, 2])
def test_lazy_rows_in_a_data_loader(workers, made, lazy):
    from torch.utils.data import DataLoader

    loader = DataLoader(lazy, batch_size=5, num_workers=workers, collate_fn=list)
    assert [row for batch in loader for row in batch] == list(made)


def test_lazy_rows_tell_about_how_long_they_are(lazy, made):
    stored = lazy.with_format(None)["duration"][:]
    assert None not in stored
    for about, exact, line in zip(stored, made["duration"], made["augmentation"], strict=True):
        if line == "" or json.loads(line)["operation"] != "chorus":  # whose author did not say
            assert about == pytest.approx(exact, abs=1e-3)


def test_several_processes_and_files_make_the_same(train, plan, made, tmp_path):
    assert_same(augment(train, plan, operations=OWN, num_proc=2), made)
    one = augment(train, plan, operations=OWN, folder=tmp_path / "one")
    assert_same(one, made)
    assert_same(augment(train, plan, operations=OWN, folder=tmp_path / "two", num_proc=2), made)
    for cell in one["audio"][len(train) :]:
        rate, written = scipy.io.wavfile.read(cell["path"])
        assert (rate, written.dtype) == (16000, np.float32)


@pytest.mark.parametrize("encoding", ["pcm16", "flac"])
def test_sixteen_bits(encoding, train, plan, made, tmp_path):
    rounded = augment(train, plan, operations=OWN, folder=tmp_path, encoding=encoding)
    assert_same(rounded, augment(train, plan, operations=OWN, encoding=encoding))
    for mine, exact in zip(samples(rounded), samples(made), strict=True):
        np.testing.assert_allclose(mine, np.clip(exact, -1, 1), atol=1.1 / 2**15)


@pytest.fixture
def no_cache():
    """`map` makes everything anew."""
    datasets.disable_caching()
    yield
    datasets.enable_caching()


@pytest.mark.usefixtures("no_cache")
def test_real_rows_are_neither_read_nor_changed(train, plan, lazy, decoded):
    made = augment(train, plan, operations=OWN)
    needed = {id for parents in plan.rows["parents"] for id in parents}
    files = {row["audio"]["path"] for row in train if row["id"] in needed}
    assert set(decoded) == files
    assert len(decoded) == len(files)  # each once, though some have several children
    decoded.clear()
    real = lazy.select(range(len(train)))[:]
    assert decoded == []
    for part in (made.select(range(len(train)))[:], real):
        assert {name: part[name] for name in train.column_names} == train[:]
        assert part["parents"] == [[]] * len(train)
    made = augment(train, plan, operations=OWN, lazy=True)
    assert decoded == []
    alone = made[len(train)]
    assert len(decoded) == len(alone["parents"])


def test_decoded_parents_are_kept_up_to_a_limit():
    recent = Recent(limit=10_000)
    for row in range(5):
        recent.put(row, Utterance(np.zeros(1000, np.float32), ""))
        recent.get(1)
    assert [*recent.kept] == [4, 1]
    assert recent.size == 8000


def test_a_second_run_makes_only_what_is_missing(train, tmp_path):
    log = tmp_path / "log"
    operation = Louder(log)
    plan = plan_of(train, [operation], 8)
    first = augment(train, plan, operations=[operation], folder=tmp_path / "files")
    made = [Path(cell["path"]) for cell in first["audio"][len(train) :]]
    assert len(log.read_text().splitlines()) == 8
    made[2].unlink()
    made[5].write_bytes(made[5].read_bytes()[:-100])  # cut short by a disk that was full
    assert_same(augment(train, plan, operations=[operation], folder=tmp_path / "files"), first)
    gains = [json.loads(parameters)["gain"] for parameters in plan.rows["parameters"]]
    assert [float(line) for line in log.read_text().splitlines()[8:]] == [gains[2], gains[5]]
    more = plan_of(train, [operation], 10)
    assert more.rows["id"][:8] == plan.rows["id"][:]
    augment(train, more, operations=[operation], folder=tmp_path / "files")
    assert len(log.read_text().splitlines()) == 12


KILLED = """
import sys, datasets
from tests.test_augment_apply import Louder, plan_of
from dime_hf.augment import augment
datasets.disable_progress_bars()
train, folder, log, num_proc = datasets.load_from_disk(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
operation = Louder(log)
augment(train, plan_of(train, [operation], 30), operations=[operation], folder=folder, num_proc=num_proc or None)
"""


@pytest.mark.parametrize("num_proc", [0, 2])
def test_a_killed_run_goes_on(num_proc, train, tmp_path):
    train.save_to_disk(tmp_path / "train")
    train = datasets.load_from_disk(tmp_path / "train")
    folder, log = tmp_path / "files", tmp_path / "log"
    command = [sys.executable, "-c", KILLED, *map(str, (tmp_path / "train", folder, log, num_proc))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    run = subprocess.Popen(command, cwd=ROOT, env=environment | {"PYTHONPATH": str(ROOT)}, start_new_session=True)
    while len(list(folder.glob("*/*.wav"))) < 5 and run.poll() is None:
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    there = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.wav")}
    assert 5 <= len(there) < 30
    log.unlink()
    operation = Louder(log)
    plan = plan_of(train, [operation], 30)
    made = augment(train, plan, operations=[operation], folder=folder)
    assert len(log.read_text().splitlines()) == 30 - len(there)
    assert {path: path.stat().st_mtime_ns for path in there} == there
    assert_same(made, augment(train, plan, operations=[Louder()]))


def test_what_a_row_is_made_of_decides_which_file_it_has(train, tmp_path):
    plan = plan_of(train, [Louder()], 3)

    def paths(plan, train=train):
        rows = augment(train, plan, operations=OWN, folder=tmp_path / "files")
        return [cell["path"] for cell in rows["audio"][len(train) :]]

    before = paths(plan)
    after = paths(edited(plan, train, 1, parameters='{"gain": 0.5}'))
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]
    parent = train["id"][:].index(plan.rows[0]["parents"][0])
    cells = train["audio"][:]
    cells[parent] = {"bytes": audio.encode_wav(0.5 * audio.read(cells[parent])), "path": None}
    other = train.remove_columns("audio").add_column("audio", cells, feature=train.features["audio"])
    assert paths(plan, other.select_columns(train.column_names))[0] != before[0]


def test_unreadable_parents_are_named(train, plan, tmp_path):
    parent = plan.rows[1]["parents"][0]
    cells = train["audio"][:]
    cells[train["id"][:].index(parent)] = {"bytes": None, "path": str(tmp_path / "gone.wav")}
    broken = train.remove_columns("audio").add_column("audio", cells, feature=train.features["audio"])
    message = rf"'{parent}', of which 'new\d+' is made: .*gone\.wav: cannot be read"
    for how in ({}, {"folder": tmp_path / "files"}):
        with pytest.raises(AudioError, match=message):
            augment(broken, plan, operations=OWN, **how)
    lazy = augment(broken, plan, operations=OWN, lazy=True)
    assert lazy[0]["id"] == train[0]["id"]
    with pytest.raises(AudioError, match=message):
        lazy[len(train) + 1]


def test_plans_that_cannot_be_carried_out(train, plan):
    def refused(match, error=PlanError, **changes):
        with pytest.raises(error, match=match):
            augment(train, edited(plan, train, 0, **changes), operations=OWN, lazy=True)

    refused("lacks, the first is 'nobody'", parents=["nobody", train[0]["id"]])
    refused("'interpolate' takes 2 utterances", parents=[train[0]["id"]])
    refused("change both", parent_weights=[0.5, 0.5], parameters='{"weight": 0.1}')
    refused("another `soft_label` than", soft_label=[1.0, 0.0, 0.0, 0.0])
    refused("one of that id already", id="new1")
    refused("one of that id already", id=train[3]["id"])
    refused("`operation` is 'interpolated'", DistributionError, operation="interpolated")
    with pytest.raises(PlanError, match="Did you mean 'flac'"):
        augment(train, plan, operations=OWN, encoding="flacc")
    with pytest.raises(PlanError, match="leave one of them out"):
        augment(train, plan, operations=OWN, lazy=True, folder="files")


def test_parents_without_label(train, plan):
    labels = train["soft_label"][:]
    parent = plan.rows[0]["parents"][0]
    labels[train["id"][:].index(parent)] = None
    unlabelled = train.remove_columns("soft_label").add_column(
        "soft_label", labels, feature=train.features["soft_label"]
    )
    with pytest.raises(PlanError, match=f"'{parent}', which has no `soft_label`"):
        augment(unlabelled, plan, operations=OWN)


def test_datasets_of_few_columns(train):
    few = train.select_columns(["id", "audio", "soft_label"])
    made = augment(few, plan_of(train, [Louder()], 3), operations=OWN)
    assert made.column_names == ["id", "audio", "soft_label", columns.PARENTS, "parent_weights", "augmentation"]
    np.testing.assert_array_equal(
        audio.read(made[-1]["audio"]), samples(augment(train, plan_of(train, [Louder()], 3), operations=OWN))[-1]
    )


def test_float_wav_is_what_scipy_writes():
    sound = np.random.default_rng(0).standard_normal(1001).astype(np.float32) * 2
    content = audio.encode_float_wav(sound, 8000)
    buffer = io.BytesIO()
    scipy.io.wavfile.write(buffer, 8000, sound)
    assert content == buffer.getvalue()
    np.testing.assert_array_equal(audio.read(content, 8000), sound)
    cut = content[:-4]  # the header promises more than there is: libsndfile reads what is left
    np.testing.assert_array_equal(audio.read(cut, 8000), sound[:-1])


def example(monkeypatch, out, *arguments):
    monkeypatch.setattr(sys, "argv", ["augment.py", "--output", str(out), "--recipe", "paper", *map(str, arguments)])
    runpy.run_path(str(ROOT / "examples" / "augment.py"), run_name="__main__")


def test_example(train, monkeypatch, tmp_path, capsys):
    train.save_to_disk(tmp_path / "given")
    given = ("--dataset", tmp_path / "given", "--ratio", 1)
    example(monkeypatch, tmp_path / "out", *given, "--folder", tmp_path / "files")
    kept = datasets.load_from_disk(tmp_path / "out" / "train")
    assert kept["id"][: len(train)] == train["id"][:]
    assert len(list((tmp_path / "files").glob("*/*.wav"))) == len(kept) - len(train) > 0
    example(monkeypatch, tmp_path / "lazy", *given, "--lazy")
    assert not (tmp_path / "lazy").exists()
    told = capsys.readouterr().out
    assert told.count(f"{len(kept) - len(train)} new ones") == 2


def test_example_carries_out_an_edited_plan(train, monkeypatch, tmp_path):
    train.save_to_disk(tmp_path / "given")
    given = ("--dataset", tmp_path / "given", "--ratio", 1)
    example(monkeypatch, tmp_path, *given, "--plan_only")
    table = tmp_path / "plan" / "rows.jsonl"
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    example(monkeypatch, tmp_path, *given, "--plan", tmp_path / "plan")
    assert len(datasets.load_from_disk(tmp_path / "train")) == len(train) + len(lines) - 1
