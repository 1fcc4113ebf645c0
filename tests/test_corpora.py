"""Builders: `load_dataset` in all its forms, on synthetic corpora in the grammar."""

import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import datasets
import numpy as np
import pytest

import dime_hf
from dime_hf import VotePolicy, prepare
from dime_hf.corpora import register, toy
from dime_hf.corpora.folder import fold_splits
from dime_hf.corpora.iemocap import FOUR_CLASSES, IemocapFolder, read_evaluation, read_transcripts
from dime_hf.corpora.labels import LabelSet
from dime_hf.errors import CorpusError, LabelFileError

ROOT = Path(__file__).parent.parent
BLOCK = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
C-E3:\tNeutral;\t(a (nested) comment, with ; marks :)))
C-E4:\tNeutral; Anger;\t()
C-F1:\t;\t(curious)
A-E3:\tval 3; act 2; dom  2;\t()
A-E4:\tval 6; act 6; dom  ;\t(missing)
A-F1:\tval 1; act 1; dom  1;\t()

[10.0100 - 11.3925]\tSes01F_impro01_M001\txxx\t[2.5000, 2.5000, 2.5000]
C-E2:\tExcited;\t()
C-E3:\tHappiness;\t()
C-E4:\tSadness;\t()
A-E3:\tval 2; act 3; dom  4;\t()
"""


@pytest.fixture
def one_dialog(tmp_path):
    """A corpus of one dialog and two turns, without recordings."""
    evaluation = tmp_path / "Session1/dialog/EmoEvaluation"
    transcripts = tmp_path / "Session1/dialog/transcriptions"
    evaluation.mkdir(parents=True)
    transcripts.mkdir()
    (evaluation / "Ses01F_impro01.txt").write_text(BLOCK)
    (evaluation / "._Ses01F_impro01.txt").write_bytes(b"\x00\x05\x16\x07 resource fork")
    (transcripts / "Ses01F_impro01.txt").write_text(
        "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.\nM: Yeah.\nSes01F_impro01_MXX0 [007.0-008.0]: what\n"
    )
    return tmp_path


def test_iemocap_turns_votes_and_ratings(one_dialog):
    rows = list(dime_hf.load_dataset("iemocap", "10class", one_dialog, "session1"))
    first, second = rows
    names = IemocapFolder.inventory
    assert (first["id"], first["speaker"], first["gender"], first["session"]) == (
        "Ses01F_impro01_F000",
        "Ses01F",
        "female",
        "session1",
    )
    assert (second["speaker"], second["gender"], second["dialog"]) == ("Ses01M", "male", "Ses01F_impro01")
    assert first["duration"] == pytest.approx(1.9456, abs=1e-4)
    assert (first["text"], second["text"]) == ("Excuse me.", None)
    assert [vote["annotator"] for vote in first["human_votes"]] == ["E2", "E3", "E4", "F1"]
    assert [vote["kind"] for vote in first["human_votes"]] == ["external"] * 3 + ["self"]
    assert [[names[c] for c in vote["choices"]] for vote in first["human_votes"]] == [
        ["neutral"],
        ["neutral"],
        ["neutral", "angry"],
        [],
    ]
    assert first["human_votes"][1]["note"] == "a (nested) comment, with ; marks :))"
    assert dict(zip(names, first["vote_counts"], strict=True)) == dict.fromkeys(names, 0) | {"neutral": 3, "angry": 1}
    assert names[first["hard_label"]] == "neutral"
    assert second["hard_label"] is None
    assert (first["valence"], first["activation"], first["dominance"]) == (3, 2, 2)  # E4's missing ratings are none
    assert first["released_valence"] == 2.5
    assert first["soft_label_votes"] == 4


def test_iemocap_four_classes_merge_excitement(one_dialog):
    second = dime_hf.load_dataset("iemocap", data_dir=one_dialog, split="session1")[1]
    assert second["vote_counts"] == [0, 2, 0, 1]
    assert second["hard_label"] is None  # the official label is taken before the merge
    merged = dime_hf.load_dataset(
        "iemocap", data_dir=one_dialog, split="session1", vote_policy=VotePolicy(merge="before")
    )[1]
    assert merged["hard_label"] == 1


@pytest.mark.parametrize(("rows", "count"), [("voted", 2), ("decided", 1), ("all", 2)])
def test_rows(one_dialog, rows, count):
    assert len(dime_hf.load_dataset("iemocap", data_dir=one_dialog, split="session1", rows=rows)) == count


def test_rows_without_a_vote_inside_the_label_set(one_dialog):
    label_set = {"surprised": ["surprise"], "afraid": ["fear"]}
    rows = dime_hf.load_dataset("iemocap", data_dir=one_dialog, split="session1", label_set=label_set, rows="all")
    assert rows["soft_label"][:] == [None, None]
    assert rows["soft_label_source"][:] == [None, None]
    with pytest.raises(ValueError, match="no data"):  # how `datasets` says that a split has no rows
        dime_hf.load_dataset("iemocap", data_dir=one_dialog, split="session1", label_set=label_set)


@pytest.mark.parametrize(
    ("damage", "number", "expected"),
    [
        (("C-E3:\tNeutral;", "C-E3:\tNeutrall;"), 5, "labels out of Anger"),
        (("C-E2:\tNeutral;", "D-E2:\tNeutral;"), 4, "a turn"),
        (("\tneu\t", "\tnow\t"), 3, "code one of ang"),
        (("[6.2901 - 8.2357]", "[6.2901 8.2357]"), 3, "start - end"),
        (("val 3;", "val three;"), 8, "A-<annotator>"),
    ],
)
def test_a_line_outside_the_grammar_is_named(one_dialog, damage, number, expected):
    path = one_dialog / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    path.write_text(BLOCK.replace(*damage))
    with pytest.raises(LabelFileError, match=rf"Ses01F_impro01\.txt, line {number}: expected .*{expected}"):
        read_evaluation(path)
    with pytest.raises(datasets.exceptions.DatasetGenerationError) as raised:
        dime_hf.load_dataset("iemocap", data_dir=one_dialog)
    assert isinstance(raised.value.__cause__, LabelFileError)


def test_carriage_returns_latin_1_and_lost_tabs(one_dialog):
    path = one_dialog / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    straight = read_evaluation(path)
    path.write_bytes(BLOCK.replace("\n", "\r\n").replace("\t", " ").encode())
    assert read_evaluation(path) == straight
    path.write_bytes(BLOCK.replace("curious", "voilà").encode("latin-1"))
    assert read_evaluation(path)[-2][0][3].note == "voilà"
    assert read_transcripts(path.with_name("absent.txt")) == {}


def test_plain_load_dataset_knows_the_corpora(toy_root, monkeypatch):
    ours = dime_hf.load_dataset("iemocap", data_dir=toy_root)
    assert list(ours) == [f"session{n}" for n in range(1, 6)]
    plain = datasets.load_dataset("iemocap", data_dir=str(toy_root))
    assert plain["session1"].cache_files == ours["session1"].cache_files  # one cache for both calls
    monkeypatch.chdir(ROOT)
    by_path = datasets.load_dataset("dataset_scripts/iemocap", data_dir=str(toy_root), split="session2")
    assert by_path[:] == ours["session2"][:]
    by_script = datasets.load_dataset("dataset_scripts/iemocap/iemocap.py", data_dir=str(toy_root), split="session2")
    assert by_script["id"][:] == by_path["id"][:]
    with pytest.raises(CorpusError, match="`data_files` means nothing"):
        datasets.load_dataset("iemocap", data_dir=str(toy_root), data_files="votes.csv")
    assert datasets.get_dataset_config_names("iemocap") == [
        "4class", "4class_pure", "5class", "6class", "9class", "10class",
    ]  # fmt: skip


def test_streaming_and_several_processes_give_the_same_rows(toy_root):
    plain = datasets.load_dataset("iemocap", data_dir=str(toy_root), split="session1")
    streamed = datasets.load_dataset("iemocap", data_dir=str(toy_root), split="session1", streaming=True)
    assert streamed.num_shards == 4
    assert list(streamed) == list(plain)
    forked = dime_hf.load_dataset("iemocap", "10class", toy_root, "session1", num_proc=2)
    assert (
        forked["id"][:] == dime_hf.load_dataset("iemocap", "10class", toy_root, "session1", streaming=False)["id"][:]
    )


def test_unregistering_and_opting_out(toy_root):
    register.unregister()
    try:
        with pytest.raises((FileNotFoundError, ConnectionError, ValueError), match="iemocap"):
            datasets.load_dataset("iemocap", data_dir=str(toy_root))
        assert dime_hf.load_dataset("iemocap", data_dir=toy_root)
    finally:
        register.register()
    code = "import dime_hf, datasets.load as load; print(hasattr(load.dataset_module_factory, 'unwrapped'))"
    for value, expected in (("1", "False"), ("0", "True")):
        environment = os.environ | {register.OPT_OUT: value}
        output = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        ).stdout
        assert output.strip() == expected


def test_the_cache_notices_edited_labels_and_new_recordings_only(toy_root, tmp_path):
    root = tmp_path / "corpus"
    shutil.copytree(toy_root, root)
    load = lambda: dime_hf.load_dataset("iemocap", data_dir=root, split="session1")  # noqa: E731
    before = load()
    wav = Path(before[0]["audio"]["path"])
    os.utime(wav)
    assert load().cache_files == before.cache_files
    evaluation = root / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    evaluation.write_text(evaluation.read_text().replace("Neutral;", "Anger;"))
    after = load()
    assert after.cache_files != before.cache_files
    assert np.sum(after["vote_counts"], axis=0)[0] > np.sum(before["vote_counts"], axis=0)[0]
    wav.unlink()
    assert load()[0]["audio"] is None


def test_missing_recordings(toy_root, tmp_path, caplog):
    root = tmp_path / "corpus"
    shutil.copytree(toy_root, root)
    gone = next((root / "Session1/sentences/wav/Ses01F_impro01").glob("*.wav"))
    gone.unlink()
    with caplog.at_level(logging.WARNING):
        kept = dime_hf.load_dataset("iemocap", data_dir=root, split="session1", rows="all")
    assert sum(cell is None for cell in kept["audio"]) == 1
    assert f"1 of {len(kept)} utterances have no recording" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        dime_hf.load_dataset("iemocap", data_dir=root, split="session1", rows="all")  # from the cache
    assert caplog.text.count(f"1 of {len(kept)} utterances have no recording") == 1
    dropped = dime_hf.load_dataset("iemocap", data_dir=root, split="session1", rows="all", missing_audio="drop")
    assert len(dropped) == len(kept) - 1
    with pytest.raises(datasets.exceptions.DatasetGenerationError) as raised:
        dime_hf.load_dataset("iemocap", data_dir=root, split="session1", rows="all", missing_audio="error")
    assert gone.name in str(raised.value.__cause__)


def test_folds_share_no_speaker(toy_root):
    for fold in range(1, 6):
        splits = dime_hf.load_dataset("iemocap", data_dir=toy_root, fold=fold)
        speakers = {name: set(split["speaker"]) for name, split in splits.items()}
        assert list(speakers) == ["train", "validation", "test"]
        assert [len(speakers[name]) for name in speakers] == [6, 2, 2]
        assert len(set.union(*speakers.values())) == 10
        assert set(splits["test"]["session"]) == {f"session{fold}"}
    with pytest.raises(CorpusError, match="from 1 to 5"):
        fold_splits({"a": ["x"]}, 6)
    with pytest.raises(CorpusError, match="only 1"):
        fold_splits({"a": ["x"]}, 1)


def test_wrong_folders_are_explained(toy_root, tmp_path):
    with pytest.raises(CorpusError, match=rf"is not a folder. Did you mean {toy_root}\?"):
        dime_hf.load_dataset("iemocap", data_dir=f"{toy_root}s")
    with pytest.raises(CorpusError, match=rf"looked for .* Did you mean {toy_root}\?"):
        datasets.load_dataset("iemocap", data_dir=str(toy_root / "Session1" / "dialog"))
    with pytest.raises(CorpusError, match="found no folder"):
        dime_hf.load_dataset("iemocap", data_dir=tmp_path)
    with pytest.raises(CorpusError, match="`data_dir` is needed"):
        dime_hf.load_dataset("iemocap")
    assert dime_hf.load_dataset("iemocap", data_dir=toy_root.parent, split="session1")  # one level down is found


def test_empty_corpus(tmp_path):
    (tmp_path / "Session1/dialog/EmoEvaluation").mkdir(parents=True)
    with pytest.raises(CorpusError, match="the corpus is empty"):
        dime_hf.load_dataset("iemocap", data_dir=tmp_path)


def test_wrong_arguments_are_explained(toy_root):
    with pytest.raises(CorpusError, match="Did you mean 'iemocap'"):
        dime_hf.load_dataset("iemocapp", data_dir=toy_root)
    with pytest.raises(ValueError, match=r"'3class' not found. Available: \['4class', '4class_pure'"):
        dime_hf.load_dataset("iemocap", "3class", toy_root)
    with pytest.raises(CorpusError, match="`rows` is 'decide'. Did you mean 'decided'"):
        dime_hf.load_dataset("iemocap", data_dir=toy_root, rows="decide")
    with pytest.raises(CorpusError, match="Did you mean 'voice'"):
        dime_hf.load_dataset("crema_d", data_dir=toy_root, modality="voices")


def test_second_load_reads_no_corpus(toy_root):
    dime_hf.load_dataset("iemocap", data_dir=toy_root)
    started = time.perf_counter()
    first = dime_hf.load_dataset("iemocap", data_dir=toy_root, download_mode="force_redownload")
    rebuilt = time.perf_counter()
    again = dime_hf.load_dataset("iemocap", data_dir=toy_root)
    assert time.perf_counter() - rebuilt < rebuilt - started
    assert again["session1"][:] == first["session1"][:]


def test_toy_labels_follow_the_official_rule_and_the_truth(toy_root):
    dataset = dime_hf.load_dataset("iemocap", "10class", toy_root, fold=1)["train"]
    rows = dataset.remove_columns("audio")
    derived = dime_hf.load_dataset("iemocap", "10class", toy_root, fold=1, vote_policy=VotePolicy(merge="before"))[
        "train"
    ]
    assert rows["hard_label"][:] == derived["hard_label"][:]
    truths = toy.truth(dataset, toy_root, LabelSet.of(IemocapFolder.inventory, IemocapFolder.inventory))
    counts = np.asarray(dataset["vote_counts"])
    expected, spread = truths.sum(0) * 6, np.sqrt((truths * (1 - truths)).sum(0) * 6)
    assert np.all(np.abs(counts.sum(0) - expected) < 4 * spread)


def test_toy_corpus_is_reproducible_and_guards_its_folder(toy_root, tmp_path):
    again = toy.write(tmp_path / "again", utterances=120, seed=1)
    files = sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(toy_root) for path in toy_root.rglob("*") if path.is_file())
    assert all((again / file).read_bytes() == (toy_root / file).read_bytes() for file in files)
    stamp = (again / "toy.json").stat().st_mtime_ns
    toy.write(again, utterances=120, seed=1)
    assert (again / "toy.json").stat().st_mtime_ns == stamp
    with pytest.raises(CorpusError, match="other settings"):
        toy.write(again, utterances=120, seed=2)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(CorpusError, match="no whole toy corpus"):
        toy.write(tmp_path / "mine")
    with pytest.raises(CorpusError, match="`annotators`"):
        toy.write(tmp_path / "new", annotators=9)


def test_toy_school_has_speakers_of_its_own(toy_root):
    lessons = toy.school(utterances=40, seed=1)
    assert not set(lessons["speaker"]) & set(
        dime_hf.load_dataset("iemocap", data_dir=toy_root, split="session1")["speaker"]
    )
    np.testing.assert_allclose(np.sum(lessons["soft_label"], axis=-1), 1, atol=1e-6)
    assert set(np.sum(lessons["vote_counts"], axis=-1)) == {6}
    with pytest.raises(CorpusError, match="knows its truth"):
        toy.truth(lessons, toy_root / "Session1", LabelSet.of(FOUR_CLASSES, IemocapFolder.inventory))
    with pytest.raises(CorpusError, match="has no utterance"):
        toy.truth(lessons, toy_root, LabelSet.of(FOUR_CLASSES, IemocapFolder.inventory))


def test_prepare_command(toy_root, tmp_path, capsys):
    prepare.main("iemocap", ["--data_dir", str(toy_root), "--save", str(tmp_path / "saved"), "--fold", "2"])
    printed = capsys.readouterr().out
    assert "angry happy neutral sad" in printed
    assert "compared by id, speaker, dialog, audio, text" in printed
    saved = datasets.load_dataset(str(tmp_path / "saved"))
    loaded = dime_hf.load_dataset("iemocap", data_dir=toy_root, fold=2)
    assert list(saved) == list(loaded)
    assert saved["test"].features == loaded["test"].features
    assert saved["test"][:] == loaded["test"][:]
