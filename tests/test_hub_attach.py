"""Labels beside the reader's own recordings: the same rows, checked by duration, in the order of the labels."""

import logging
import shutil
import time

import datasets
import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict

import dime_hf
from dime_hf.corpora import toy
from dime_hf.corpora.folder import TOY_LICENCE
from dime_hf.errors import ColumnError, CorpusError
from dime_hf.hub import attach_audio
from dime_hf.hub.attach import _attach
from dime_hf.hub.share import shared


@pytest.fixture
def labels(toy_fold):
    """What a push of the toy corpus leaves, without what the builder knew: the Hub keeps neither licence nor words."""
    return DatasetDict({name: hubbed(split) for name, split in toy_fold.items()})


def hubbed(split):
    return Dataset(shared(split, ()).with_format("arrow")[:], split=split.split)


def changed(split, column, values):
    return split.remove_columns([column]).add_column(column, values)


def test_recordings_are_those_of_the_same_ids(toy_fold, labels, toy_root):
    mixed = DatasetDict({name: split.shuffle(seed=3) for name, split in labels.items()})
    clips = attach_audio(mixed, toy_root)
    for name, split in clips.items():
        own = dict(zip(toy_fold[name]["id"], toy_fold[name]["audio"], strict=True))
        assert split["id"][:] == mixed[name]["id"][:] != toy_fold[name]["id"][:]
        assert [cell["path"] for cell in split["audio"]] == [own[id]["path"] for id in split["id"]]
        assert split["duration"][:] == mixed[name]["duration"][:]
        assert split["soft_label"][:] == mixed[name]["soft_label"][:]
        assert split.features["audio"] == toy_fold[name].features["audio"]
        assert split.info.license == toy_fold[name].info.license


def test_an_empty_split_stays_empty_and_a_licence_is_never_lost(labels, toy_root):
    split = labels["test"]
    empty = attach_audio(split.select([]), toy_root)
    assert (len(empty), set(empty.column_names)) == (0, {*split.column_names, "audio"})
    split.info.license = "mine"
    assert attach_audio(split, toy_root).info.license == f"mine; {TOY_LICENCE}"


def test_the_corpus_is_told_by_its_column_or_its_builder_or_by_name(labels, toy_root):
    bare = labels["test"].remove_columns("corpus")
    with pytest.raises(CorpusError, match="do not say which corpus they are of: give `corpus`, one of 'crema_d'"):
        attach_audio(bare, toy_root)
    named = attach_audio(bare, toy_root, "iemocap")
    assert named["audio"][:] == attach_audio(labels["test"], toy_root)["audio"][:]
    loaded = dime_hf.load_dataset("iemocap", data_dir=toy_root, fold=1, labels_only=True)
    assert attach_audio(loaded["test"], toy_root)["audio"][:] == named["audio"][:]
    with pytest.raises(CorpusError, match="are of 'iemcap', no corpus known here"):
        attach_audio(bare, toy_root, "iemcap")
    with pytest.raises(CorpusError, match="`data_dir` is needed"):
        attach_audio(labels)
    with pytest.raises(ColumnError, match="have recordings already"):
        attach_audio(named, toy_root)
    with pytest.raises(ColumnError, match="stream"):
        attach_audio(bare.to_iterable_dataset(), toy_root)


def test_missing_recordings_are_an_error_unless_named(labels, toy_root, tmp_path, caplog):
    root = shutil.copytree(toy_root, tmp_path / "own")
    silent, unknown = labels["test"]["id"][3], "Ses09F_impro01_F000"
    next(root.rglob(f"{silent}.wav")).unlink()
    some = changed(labels["test"], "id", [unknown, *labels["test"]["id"][1:]])
    with pytest.raises(CorpusError) as error:
        attach_audio(some, root)
    rows = len(some)
    assert f"1 of {rows} rows have an id that the corpus at `data_dir` lacks, such as '{unknown}'" in str(error.value)
    assert f"1 of {rows} rows have no recording at `data_dir`, such as '{silent}'" in str(error.value)
    with caplog.at_level(logging.WARNING, "dime_hf.hub.attach"):
        kept = attach_audio(some, root, missing_audio="keep")
    assert "they stay" in caplog.text
    assert [place for place, cell in enumerate(kept["audio"]) if cell is None] == [0, 3]
    assert kept["duration"][:] == some["duration"][:]
    dropped = attach_audio(some, root, missing_audio="drop")
    assert dropped["id"][:] == [id for id in some["id"] if id not in (silent, unknown)]
    with pytest.raises(CorpusError, match="`missing_audio` is 'skip'"):
        attach_audio(some, root, missing_audio="skip")


def test_rows_of_dime_aug_are_told_apart_from_lacking_ones(labels, toy_root):
    split = labels["test"]
    some = changed(split, "id", ["mix-0", *split["id"][1:]])
    some = some.add_column("parents", [["a", "b"]] + [[]] * (len(split) - 1))
    with pytest.raises(CorpusError, match="rows were made by DiME-Aug and are in no corpus, such as 'mix-0'; give"):
        attach_audio(some, toy_root)


@pytest.mark.parametrize(("shift", "refused"), [(0.04, False), (-0.04, False), (0.06, True), (-0.06, True)])
def test_durations_must_agree(labels, toy_root, shift, refused):
    split = labels["test"]
    seconds = np.array(split["duration"][:], dtype=np.float32)
    seconds[5] += shift
    other = changed(split, "duration", pa.array(seconds))
    if not refused:
        assert attach_audio(other, toy_root)["duration"][5] == split["duration"][5]
        return
    with pytest.raises(CorpusError, match=rf"1 of {len(split)} recordings last over 0.05 s .*{split['id'][5]} \("):
        attach_audio(other, toy_root)
    assert len(attach_audio(other, toy_root, tolerance=0.1)) == len(split)


def test_labels_of_several_corpora_take_a_folder_each(toy_root, tmp_path):
    other_root = toy.write(tmp_path / "other", utterances=80, seed=7)
    corpora = {
        name: dime_hf.load_dataset("iemocap", data_dir=root, split="session1")
        for name, root in (("one", toy_root), ("two", other_root))
    }
    joined = dime_hf.join(corpora, ratings="drop")
    both = hubbed(joined)
    assert set(both["corpus"]) == {"one", "two"}
    builders = {"one": "iemocap", "two": "iemocap"}
    clips = attach_audio(both, {"one": toy_root, "two": other_root}, builders)
    assert clips["audio"][:] == joined["audio"][:]
    assert clips.info.license == f"one: {TOY_LICENCE}; two: {TOY_LICENCE}"
    with pytest.raises(CorpusError, match=r"several corpora: give data_dir=\{'one'"):
        attach_audio(both, toy_root, builders)
    with pytest.raises(CorpusError, match="no folder for 'two'.*Available: 'one'"):
        attach_audio(both, {"one": toy_root}, builders)


def test_ten_thousand_rows_are_joined_at_once():
    count = 10_000
    own = Dataset.from_dict(
        {
            "id": [f"clip{n}" for n in range(count)],
            "audio": [{"bytes": None, "path": f"/x/{n}.wav"} for n in range(count)],
            "duration": [float(n) for n in range(count)],
        }
    ).cast_column("audio", datasets.Audio(decode=False))
    order = np.random.default_rng(0).permutation(count)
    asked = Dataset.from_dict({"id": [f"clip{n}" for n in order], "duration": order.astype(float)})
    start = time.perf_counter()
    clips = _attach(asked, {None: own}, "error", 0.05)
    assert time.perf_counter() - start < 2
    assert [cell["path"] for cell in clips["audio"]] == [f"/x/{n}.wav" for n in order]
