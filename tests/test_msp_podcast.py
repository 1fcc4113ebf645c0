"""MSP-Podcast: every form of its label files and every irregularity, on synthetic trees in the grammar."""

import contextlib
import csv
import io
import json
import logging
import shutil

import datasets
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dime_hf
from dime_hf import VotePolicy
from dime_hf.corpora import toy_msp
from dime_hf.corpora.msp_podcast import MspPodcastFolder, builder
from dime_hf.corpora.msp_podcast.labels import (
    INVENTORY,
    SECONDARY,
    SPELLINGS,
    parse_answer,
    read_consensus,
    read_partitions,
    read_speakers,
    read_worker_votes,
)
from dime_hf.errors import CorpusError, LabelFileError

CONSENSUS = """FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set
MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,17,Male,Train
MSP-PODCAST_0001_0009_0036.wav,X,4.222222,5.0,NaN,Unknown,Unknown,Development
nixon tape.v2.wav,O,3.0,3.0,3.0,18,Female,NA
"""
DETAILED = """FileName,WorkerID,EmoClass_Major,EmoClass_Second,EmoAct,EmoVal,EmoDom,Duration
MSP-PODCAST_0001_0008.wav,WORKER00000001,Neutral,"Neutral,Concerned",2.000000,4.000000,2.000000,1.5
MSP-PODCAST_0001_0008.wav,WORKER00000002,neutral ,Dissapointed,NaN,4.000000,,1.5
MSP-PODCAST_0001_0009_0036.wav,WORKER00000001,Sad,Sad,4.000000,5.000000,4.000000,2.5
MSP-PODCAST_0001_0009_0036.wav,WORKER00000003,Other-,,9.000000,5.000000,4.000000,2.5
nixon tape.v2.wav,WORKER00000003,"Other-tired; bored, ""a|b"" [x]","Other-tired; bored, ""a|b"" [x],Confused",3,3,3,3.5
nixon tape.v2.wav,WORKER00000004,Other- Concerned,Concerned,3,3,3,3.5
nixon tape.v2.wav,WORKER00000005,,,NaN,NaN,NaN,3.5
"""
NAMES = dict(enumerate(INVENTORY))


def write_tree(root, consensus=CONSENSUS, detailed=DETAILED, labels="Labels"):
    folder = root / labels
    folder.mkdir(parents=True)
    if consensus:
        (folder / "labels_consensus.csv").write_text(consensus)
    (folder / "labels_detailed.csv").write_text(detailed)
    return root


@pytest.fixture
def tree(tmp_path):
    """Three utterances in the column schema of 2.0, without recordings."""
    return write_tree(tmp_path / "MSP")


@pytest.fixture(scope="module", params=toy_msp.RELEASES)
def release(request):
    return request.param


@pytest.fixture(scope="module")
def toy_root(tmp_path_factory):
    """A toy 2.0 of 120 utterances."""
    return toy_msp.write(tmp_path_factory.mktemp("msp") / "corpus", utterances=120, seed=1)


def load(root, config="9class", rows="all", **options):
    return dime_hf.load_dataset("msp_podcast", config, root, rows=rows, **options)


def rows_of(splits):
    """All rows by id, without the places of recordings."""
    return {row["id"]: row for split in splits.values() for row in split.remove_columns("audio")}


def cause(root, **options):
    """What made a load fail."""
    try:
        load(root, **options)
    except datasets.exceptions.DatasetGenerationError as error:
        return error.__cause__
    except CorpusError as error:
        return error
    raise AssertionError("it was loaded")


def test_utterances_votes_and_ratings(tree):
    splits = load(tree)
    assert {name: split["id"][:] for name, split in splits.items()} == {
        "train": ["MSP-PODCAST_0001_0008"],
        "validation": ["MSP-PODCAST_0001_0009_0036"],
        "unassigned": ["nixon tape.v2"],
    }
    first, second, third = rows_of(splits).values()
    groups = [(row["speaker"], row["gender"], row["dialog"], row["session"]) for row in (first, second, third)]
    assert groups == [("17", "male", "0001", None), (None, None, "0001", None), ("18", "female", None, None)]
    classes = splits["train"].features["hard_label"].names
    labels = [None if row["hard_label"] is None else classes[row["hard_label"]] for row in (first, second, third)]
    assert labels == ["neutral", None, "other"]
    assert [(row["activation"], row["valence"], row["dominance"]) for row in (first, second)] == [(2, 4, 2), (4, 5, 4)]
    assert (second["released_activation"], second["released_dominance"]) == (pytest.approx(4.222222), None)
    assert first["vote_counts"] == [0, 0, 2, 0, 0, 0, 0, 0, 0]
    assert third["soft_label_votes"] == 2
    assert first["text"] is first["duration"] is None


def test_free_text_and_blank_answers(tree):
    votes = [
        (
            vote["annotator"][-1],
            [NAMES[c] for c in vote["choices"]],
            [NAMES[c] for c in vote["secondary"]],
            vote["note"],
        )
        for row in rows_of(load(tree)).values()
        for vote in row["human_votes"]
    ]
    typed = 'Other-tired; bored, "a|b" [x]'
    assert votes == [
        ("1", ["neutral"], ["neutral", "concerned"], ""),
        ("2", ["neutral"], ["disappointed"], ""),
        ("1", ["sad"], ["sad"], ""),
        ("3", ["other"], [], ""),
        ("3", ["other"], ["other", "confused"], f"{typed}; {typed},Confused"),
        ("4", ["other"], ["concerned"], "Other- Concerned; Concerned"),
        ("5", [], [], ""),
    ]


@pytest.mark.parametrize(
    ("written", "choice", "secondary", "typed"),
    [
        ("Neutral; Neutral", "neutral", ["neutral"], False),
        ("Other-confused; Concerned,Confused", "other", ["concerned", "confused"], True),
        ("Other-confused ;  ", "other", [], True),
        ("Other; Other", "other", ["other"], False),
        ("Other (annoyed, tired); Other (annoyed, sad),Angry", "other", ["other", "angry"], True),
        ("Other-a; b; c; Other-a; b; c,Neutral", "other", ["other", "neutral"], True),
        ("Other-Scottish female (strong feelin; Excited, happy", "other", ["excited", "happy"], True),
        ("Other-really? yes: 1/2 & A:3; Sad", "other", ["sad"], True),
        ("Frustrated; Annoyed", "frustrated", ["annoyed"], False),
    ],
)
def test_answers_are_parsed_from_both_ends(written, choice, secondary, typed):
    answer = parse_answer(written)
    assert (answer.choices, list(answer.secondary)) == ((choice,), secondary)
    assert bool(answer.note) == typed


@pytest.mark.parametrize("written", ["Neutrall; Neutral", "Neutral; Neutrall", "; Sad", "Neutral", "Unknown; Sad"])
def test_what_is_no_answer_is_refused(written):
    with pytest.raises(ValueError, match="^.+$"):
        parse_answer(written)


def test_all_forms_of_a_release_are_one_dataset(release, tmp_path):
    root = toy_msp.write(tmp_path / "toy", utterances=60, release=release)
    labels = next(path for path in root.iterdir() if path.name.startswith(("label", "Label")))
    from_csv = load(root)
    assert list(from_csv) == ["train", "validation", "test1", "test2", *["test3"] * (release == "2.0")]
    for gone in (
        ["labels_detailed.csv"],
        ["labels_detailed.json"],
        ["labels_con?ensus.csv"],
        ["labels_con?ensus.json"],
    ):
        for pattern in gone:
            next(labels.glob(pattern)).unlink()
        again = load(root)
        assert rows_of(again) == rows_of(from_csv)
        assert [split["audio"][:] for split in again.values()] == [split["audio"][:] for split in from_csv.values()]


def test_without_a_consensus_the_rule_of_the_corpus_decides(tmp_path):
    root = toy_msp.write(tmp_path / "toy", utterances=60)
    released = rows_of(load(root))
    for path in [*root.glob("Labels/*consensus*"), root / "Labels" / "labels.txt"]:
        path.unlink()
    decided = rows_of(load(root))
    assert {id: row["hard_label"] for id, row in decided.items()} == {
        id: row["hard_label"] for id, row in released.items()
    }
    assert {row["released_valence"] for row in decided.values()} == {None}
    assert all(decided[id]["speaker"] == row["speaker"] for id, row in released.items())


def test_the_official_label_is_the_plurality_of_primary_votes(toy_root):
    official = load(toy_root)
    counted = load(toy_root, vote_policy=VotePolicy(merge="before"))
    assert rows_of(counted) == rows_of(official)
    for split in list(official.values())[:-1]:
        np.testing.assert_allclose(split["activation"][:], split["released_activation"][:], atol=1e-5)


def test_toy_votes_follow_the_truth(tmp_path):
    root = toy_msp.write(tmp_path / "toy", utterances=150, raters=20)
    train = load(root, "8class", rows="voted", split="train")
    counts, truth = np.asarray(train["vote_counts"]), toy_msp.truth(train, root)
    expected = (truth * counts.sum(-1, keepdims=True)).sum(0)
    variance = (truth * (1 - truth) * counts.sum(-1, keepdims=True)).sum(0)
    assert np.all(np.abs(counts.sum(0) - expected) <= 4 * np.sqrt(variance))
    with pytest.raises(CorpusError, match="primary emotions"):
        toy_msp.truth(load(root, "16class", split="train"), root)


def test_toy_corpus_guards_its_folder(toy_root):
    assert toy_msp.write(toy_root, utterances=120, seed=1) == toy_root
    with pytest.raises(CorpusError, match="other settings"):
        toy_msp.write(toy_root, utterances=120, seed=2)
    with pytest.raises(CorpusError, match="Did you mean '1.10'"):
        toy_msp.write(toy_root, release="1.1")
    with pytest.raises(CorpusError, match="`raters`"):
        toy_msp.write(toy_root, raters=40)


@pytest.mark.parametrize("config", ["4class", "8class", "9class", "16class"])
def test_configs(toy_root, config):
    voted = load(toy_root, config, rows="voted")
    assert "test3" not in voted  # nobody voted
    features = voted["train"].features
    assert len(features["hard_label"].names) == int(config.removesuffix("class"))
    labels = [name for names in (split["hard_label"][:] for split in voted.values()) for name in names]
    assert None in labels
    everything = load(toy_root, config)
    assert set(everything["test3"]["soft_label"]) == {None}
    decided = load(toy_root, config, rows="decided")
    assert sum(map(len, decided.values())) == sum(label is not None for label in labels)
    if config == "9class":
        assert sum(map(len, voted.values())) == 120  # every labelled clip
    if config == "16class":
        row = voted["train"][0]
        ticks = [c for vote in row["human_votes"] for c in vote["secondary"] if INVENTORY[c] != "other"]
        assert sum(row["vote_counts"]) == len(ticks)


def test_inventory_and_default():
    assert INVENTORY[:4] == ("angry", "happy", "neutral", "sad")
    assert INVENTORY[10:] == ("other", "amused", "annoyed", "concerned", "confused", "depressed", "disappointed")
    assert datasets.get_dataset_default_config_name("msp_podcast") == "4class"


def test_missing_audio_transcripts_and_test3(toy_root, caplog, tmp_path):
    root = tmp_path / "corpus"
    shutil.copytree(toy_root, root)
    next((root / "Transcripts").iterdir()).unlink()
    with caplog.at_level(logging.WARNING):
        kept = load(root)
    assert "1 of 50 utterances have no recording" not in caplog.text
    assert caplog.text.count(" 1 of ") == 1
    rows = [row for split in kept.values() for row in split]
    assert sum(row["audio"] is None for row in rows) == sum(row["duration"] is None for row in rows) == 1
    assert sum(row["text"] is None for row in rows) == 1 + 4  # Test3 has none
    assert len(load(root, missing_audio="drop")["test2"]) == len(kept["test2"]) - (kept["test2"]["audio"][-1] is None)
    (root / "Partitions.txt").write_text("")  # then the recordings alone tell of Test3
    assert load(root)["test3"]["id"][:] == kept["test3"]["id"][:]
    assert load(root, labels_only=True).num_rows == {name: len(kept[name]) for name in list(kept)[:-1]}


def test_recordings_of_any_rate_and_channels(tree):
    import soundfile

    (tree / "Audio").mkdir()
    sound = np.zeros((4410, 2), dtype=np.float32)
    soundfile.write(tree / "Audio" / "MSP-PODCAST_0001_0008.wav", sound, 44100)
    row = load(tree)["train"][0]
    assert row["duration"] == pytest.approx(0.1)
    assert dime_hf.audio.read(row["audio"]).shape == (1600,)


@pytest.mark.parametrize("labels", ["Labels", "label", "labels", "Labels/Labels", "LABEL/labels", "."])
def test_label_folders(tmp_path, labels):
    root = write_tree(tmp_path / "MSP", labels=labels)
    (root / "Audios_wav").mkdir()
    assert MspPodcastFolder(root).audio == f"{root}/Audios_wav"
    assert load(root).num_rows == {"train": 1, "validation": 1, "unassigned": 1}
    assert load(tmp_path).num_rows == load(root).num_rows  # one level down
    if labels != ".":
        with pytest.raises(CorpusError, match=rf"Did you mean {root}\?"):
            load(root / labels.split("/")[0])


def test_spellings_of_label_files(tmp_path):
    root = write_tree(tmp_path / "MSP", labels="label")
    (root / "label" / "labels_consensus.csv").rename(root / "label" / "Labels_Concensus.csv")
    (root / "label" / "._labels_detailed.csv").write_bytes(b"\x00\x05\x16\x07")
    assert rows_of(load(root)) == rows_of(load(write_tree(tmp_path / "other")))


def test_wrong_folders_and_arguments(tree, tmp_path):
    empty = tmp_path.parent / f"{tmp_path.name}_empty"
    empty.mkdir()
    with pytest.raises(CorpusError, match=r"looked for Labels/labels_detailed.csv in .*, found no folder"):
        load(tmp_path.parent / empty.name)
    with pytest.raises(CorpusError, match=r"is not a folder. Did you mean"):
        load(f"{tree}s")
    with pytest.raises(CorpusError, match=r"official partitions.*splits\.folds\(dataset, by=\"speaker\""):
        load(tree, fold=1)
    (tree / "Labels" / "labels_detailed.csv").unlink()
    with pytest.raises(CorpusError, match="nobody's votes, looked for labels_detailed.csv"):
        load(tree)


def test_empty_corpus(tmp_path):
    root = write_tree(tmp_path / "MSP", CONSENSUS.splitlines()[0], DETAILED.splitlines()[0])
    with pytest.raises(CorpusError, match="the corpus is empty"):
        load(root)


def test_a_split_without_rows_is_left_out_unless_it_is_alone(tree):
    label_set = {"afraid": ["fear"], "sad": ["sad"]}
    assert list(load(tree, rows="voted", label_set=label_set)) == ["validation"]
    with pytest.raises(ValueError, match="no data"):  # how `datasets` says that a split has no rows
        load(tree, rows="voted", label_set={"afraid": ["fear"], "proud": ["contempt"]})


def test_partitions_and_speakers_fill_what_the_consensus_lacks(tmp_path):
    lines = [line.rsplit(",", 3)[0] for line in CONSENSUS.splitlines()]
    root = write_tree(tmp_path / "MSP", "\n".join(lines))
    (root / "Partition.txt").write_text(
        "Validation; MSP-PODCAST_0001_0008.wav\n\n"
        "Test1;MSP-PODCAST_0001_0009_0036\nTest3; MSP-PODCAST_test3_0001.wav\n"
    )
    (root / "speaker_ids.txt").write_text(
        "Speaker_17; Male\nMSP-PODCAST_0001_0008.wav;17\nMSP-PODCAST_0001_0009_0036.wav; Unknown\n"
    )
    rows = load(root)
    assert {name: split["id"][:] for name, split in rows.items()} == {
        "validation": ["MSP-PODCAST_0001_0008"],
        "test1": ["MSP-PODCAST_0001_0009_0036"],
        "test3": ["MSP-PODCAST_test3_0001"],
        "unassigned": ["nixon tape.v2"],
    }
    assert [(row["speaker"], row["gender"]) for row in rows_of(rows).values()] == [("17", "male"), *[(None, None)] * 3]
    assert "test3" not in load(root, rows="voted")


def test_votes_on_files_that_the_consensus_lacks_are_kept(tmp_path):
    root = write_tree(tmp_path / "MSP", "\n".join(CONSENSUS.splitlines()[:2]))
    rows = rows_of(load(root))
    assert [len(row["human_votes"]) for row in rows.values()] == [2, 2, 3]
    assert [row["hard_label"] for row in rows.values()] == [2, None, 8]  # sad and other are tied


def test_json_forms_of_msp_face(tmp_path):
    folder = tmp_path / "MSP" / "Labels"
    folder.mkdir(parents=True)
    vote = {
        "Name": "A7",
        "EmoClass_Major": "Sad",
        "EmoClass_Second": "Sad",
        "EmoAct": "3",
        "EmoVal": 2,
        "EmoDom": None,
    }
    (folder / "labels_detailed.json").write_text(json.dumps({"a.mp4": [{"Workers": [vote, {**vote, "Name": "B2"}]}]}))
    (folder / "labels_consensus.json").write_text(json.dumps({"a.mp4": [{"EmoClass_Major": "S", "EmoAct": "3.0"}]}))
    row = load(folder.parent)["unassigned"][0]
    assert [vote["annotator"] for vote in row["human_votes"]] == ["A7", "B2"]
    assert (row["hard_label"], row["activation"], row["dominance"], row["released_activation"]) == (3, 3, None, 3)


def test_a_worker_who_comes_twice_in_json_keeps_both_votes(tmp_path):
    vote = '{"EmoClass_Major":"Sad","EmoClass_Second":"","EmoAct":1,"EmoVal":1,"EmoDom":1}'
    path = tmp_path / "labels_detailed.json"
    path.write_text(f'{{"a.wav": {{"WORKER1": {vote}, "WORKER1": {vote}}}}}')
    assert len(read_worker_votes(str(path)).answer) == 2


@pytest.mark.parametrize(
    ("damage", "number", "expected"),
    [
        (("Neutral,", "Neutrall,"), 2, "a primary emotion out of Angry"),
        ((",Sad,", ",Sadd,"), 4, "a primary emotion"),
        (("2.000000,4.0", "two,4.0"), 2, "a number"),
        (("WORKER00000001,Sad", "WORKER 1,Sad"), 4, "a worker such as"),
        (("WORKER00000001,Sad", ""), 4, "8 cells"),
        (("WorkerID", "Rater"), 1, "the columns FileName, WorkerID, .* not without WorkerID"),
        (("nixon tape.v2.wav,WORKER00000004", ",WORKER00000004"), 7, "a file"),
        ((",Sad,Sad", ',"Sad,Sad'), 4, "8 cells"),
        ((",1.5\n", ',"1.5\n'), 2, "cells that end in their line"),  # a column that is not read
        (("EmoVal,", "EmoAct,"), 1, "every column once"),
        (("WorkerID,EmoClass_Major", "WorkerID,Workers"), 1, "every column once"),
        (("Concerned", "x" * 140_000 + ',"'), 2, "cells that end in their line"),
        (("FileName,", " \nFileName,"), 2, "1 cells"),
    ],
)
def test_a_cell_outside_the_grammar_is_named(tree, damage, number, expected):
    path = tree / "Labels" / "labels_detailed.csv"
    text = DETAILED.replace(*damage, 1)
    path.write_text(text)
    with pytest.raises(LabelFileError, match=rf"labels_detailed\.csv, line {number}: expected .*{expected}") as raised:
        load(tree)
    assert repr(text.splitlines()[number - 1]) in str(raised.value)


@pytest.mark.parametrize(
    ("damage", "number", "expected"),
    [
        ((",N,", ",Q,"), 2, "a class out of A S H"),
        (("Train", "Trian"), 2, "a set out of train"),
        (("4.222222", "4,222222"), 3, "8 cells"),
        (("EmoClass", "Emotion"), 1, "the columns FileName, EmoClass"),
        (("MSP-PODCAST_0001_0009_0036.wav", "MSP-PODCAST_0001_0008.wav"), 3, "a file of its own"),
        (("Unknown,Unknown", '"Un\nknown",Unknown'), 3, "cells that end in their line"),
    ],
)
def test_a_consensus_outside_the_grammar_is_named(tree, damage, number, expected):
    path = tree / "Labels" / "labels_consensus.csv"
    path.write_text(CONSENSUS.replace(*damage, 1))
    with pytest.raises(LabelFileError, match=rf"line {number}: expected .*{expected}"):
        read_consensus(str(path))
    assert isinstance(cause(tree), LabelFileError)


LINES = """a.wav; N; A:2.4; V:4.0; D:2.8;
WORKER00000001; Other-confused; Concerned,Confused; A:3.0; V:3.0; D:4.0;
WORKER00000018; Neutral; Neutral; A:1.0; V:4.0; D:2.0;

b.wav; X; A:NaN; V:4.0; D:2.8
WORKER00000018; Neutral;  ; A:NaN; V:4.0; D:2.0;
"""


@pytest.mark.parametrize(
    ("damage", "number", "expected"),
    [
        (("a.wav; N;", "a.wav, N;"), 1, "'<file>; <class>"),
        (("a.wav; N; A:2.4; V:4.0; D:2.8;\n", ""), 1, "above the votes"),
        (("b.wav; X; A:NaN; V:4.0; D:2.8\n", ""), 5, "above the votes"),
        (("Other-confused;", "Confusing;"), 2, "a primary emotion"),
        (("V:4.0; D:2.0", "V:4.0 D:2.0"), 3, "'WORKER<n>; primary"),
        (("A:1.0", "A:one"), 3, "a number"),
        (("WORKER00000018", "ORKER00000018"), 3, "'<file>; <class>"),
    ],
)
def test_a_line_outside_the_grammar_is_named(tmp_path, damage, number, expected):
    path = tmp_path / "labels.txt"
    path.write_text(LINES)
    assert len(read_worker_votes(str(path)).answer) == 3
    path.write_text(LINES.replace(*damage, 1))
    with pytest.raises(LabelFileError, match=rf"labels.txt, line {number}: expected .*{expected}"):
        read_worker_votes(str(path))


@pytest.mark.parametrize(
    ("text", "number", "expected"),
    [
        ('{"a.wav":\n {"WORKER1": {"EmoClass_Major": "Sad",}}}', 2, "JSON"),
        ("[]", 1, "a JSON object with an entry a file"),
        ('{"a.wav":\n {"WORKER1": {"EmoClass_Major": "Sad"}}}', 2, "without EmoClass_Second"),
        ('{"a.wav":\n {"WORKER1": 3}}', 2, "an object"),
        ('{"a.wav":\n "nothing"}', 1, "an object"),
        ('{"a.wav": {"WORKER1": {%s}}, "b.wav":\n {"WORKER2": {"EmoAct": "1"}}}', 2, "an object with EmoClass_Major"),
        ('{"a.wav": {"WORKER1": {%s}}, "b.wav":\n {"WORKER2": {%s, "EmoAct": "2"}}}', 2, "an object with"),
        ('{"a.wav": {"WORKER1": {%s}}, "b.wav":\n {"WORKER 2": {%s}}}', 2, "a worker"),
    ],
)
def test_json_outside_the_grammar_is_named(tmp_path, text, number, expected):
    vote = '"EmoClass_Major": "Sad", "EmoClass_Second": "Sad", "EmoAct": 1, "EmoVal": 1, "EmoDom": 1'
    path = tmp_path / "labels_detailed.json"
    path.write_text(text.replace("%s", vote))
    with pytest.raises(LabelFileError, match=rf"labels_detailed.json, line {number}: expected .*{expected}"):
        read_worker_votes(str(path))


@pytest.mark.parametrize(
    ("read", "text", "number"),
    [
        (read_partitions, "Train; a.wav\nTrian; b.wav\n", 2),
        (read_partitions, "Train a.wav\n", 1),
        (read_partitions, "Train; a.wav\nTest1; a.wav\n", 2),
        (read_speakers, "Speaker_1; Male\n\na.wav 1\n", 3),
    ],
)
def test_a_list_outside_the_grammar_is_named(tmp_path, read, text, number):
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(LabelFileError, match=rf"list.txt, line {number}: "):
        read(str(path))


@pytest.mark.parametrize("rating", ["1.0", "NaN", ""])
def test_votes_that_ran_together_are_refused(tmp_path, rating):
    path = tmp_path / "labels.txt"
    line = f"WORKER00000001; Other-x; Sad; A:{rating}; V:{rating}; D:{rating}"
    path.write_text(f"a.wav; N; A:2.4; V:4.0; D:2.8;\n{line}{line.replace('Other-x', 'Sad')};\n")
    with pytest.raises(LabelFileError, match=r"labels\.txt, line 2: expected a primary emotion"):
        read_worker_votes(str(path))


def test_votes_between_stray_quotes_are_not_lost(tree):
    path = tree / "Labels" / "labels_detailed.csv"
    lines = DETAILED.splitlines()
    lines[1], lines[4] = lines[1].replace(",1.5", ',"1.5'), f'{lines[4]}"'
    for end in ("\n", "\r\n", "\r"):
        path.write_bytes("".join(f"{line}{end}" for line in lines).encode())
        with pytest.raises(
            LabelFileError, match=r"labels_detailed\.csv, line 2: expected cells that end in their line"
        ):
            load(tree)


def test_json_that_says_no_text_is_named(tmp_path):
    path = tmp_path / "labels_detailed.json"
    vote = '"EmoClass_Second": "Sad", "EmoAct": 1, "EmoVal": 1, "EmoDom": 1'
    path.write_text(f'{{"a.wav": {{\n"WORKER1": {{"EmoClass_Major": "Other-\\ud800", {vote}}}}}}}')
    with pytest.raises(LabelFileError, match=r"labels_detailed\.json, line 2: expected text, not half of a character"):
        read_worker_votes(str(path))
    path.write_text("[" * 100_000)
    with pytest.raises(LabelFileError, match=r"labels_detailed\.json, line 1: expected JSON that is not nested"):
        read_worker_votes(str(path))


def test_carriage_returns_latin_1_and_a_byte_order_mark(tmp_path):
    straight = rows_of(load(write_tree(tmp_path / "straight")))
    path = write_tree(tmp_path / "MSP") / "Labels" / "labels_detailed.csv"
    path.write_bytes(b"\xef\xbb\xbf" + DETAILED.replace("\n", "\r\n").encode())
    assert rows_of(load(tmp_path / "MSP")) == straight
    path.write_bytes(DETAILED.replace("tired", "fatigué").encode("latin-1"))
    notes = [vote["note"] for row in rows_of(load(tmp_path / "MSP")).values() for vote in row["human_votes"]]
    assert notes[4].startswith("Other-fatigué; bored")


def test_streaming_and_several_processes_give_the_same_rows(toy_root, monkeypatch):
    plain = load(toy_root)
    monkeypatch.setattr(builder, "ROWS_A_SHARD", 16)
    streamed = load(toy_root, streaming=True)
    assert streamed["train"].num_shards > 2
    assert {name: list(split) for name, split in streamed.items()} == {n: list(split) for n, split in plain.items()}
    forked = load(toy_root, num_proc=2, download_mode="force_redownload")
    assert {name: list(split) for name, split in forked.items()} == {n: list(split) for n, split in plain.items()}


def test_the_cache_notices_edited_labels(toy_root, tmp_path):
    root = tmp_path / "corpus"
    shutil.copytree(toy_root, root)
    before = load(root, split="train")
    assert load(root, split="train").cache_files == before.cache_files
    path = root / "Labels" / "labels_detailed.csv"
    path.write_text(path.read_text().replace(",Neutral,Neutral,", ",Sad,Sad,"))
    after = load(root, split="train")
    assert after.cache_files != before.cache_files
    assert np.sum(after["vote_counts"], axis=0)[3] > np.sum(before["vote_counts"], axis=0)[3]


# round trips: whatever the workers said, in each form

WORDS = st.sampled_from([name.capitalize() for name in SECONDARY])
TYPED = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=30).map(lambda text: f"Other-{text}")
TICKED = st.text("abc xyz.!?&/_'", max_size=12).map(lambda text: f"Other-{text}")
VOTE = st.tuples(
    st.integers(1, 10**8 - 1).map("WORKER{:08}".format),
    WORDS | TYPED,
    st.lists(WORDS | TICKED, max_size=3),
    st.tuples(*[st.integers(1, 7) | st.none()] * 3),
)
FILES = st.dictionaries(
    st.from_regex(r"[A-Za-z][A-Za-z0-9_ -]{0,12}\.wav", fullmatch=True).filter(lambda name: "WORKER" not in name),
    st.lists(VOTE, min_size=1, max_size=4, unique_by=lambda vote: vote[0]),
    min_size=1,
    max_size=4,
)
QUESTIONS = ("EmoClass_Major", "EmoClass_Second", "EmoAct", "EmoVal", "EmoDom")


def text_line(vote):
    worker, primary, secondary, ratings = vote
    a, v, d = ("NaN" if rating is None else f"{rating:f}" for rating in ratings)
    return f"{worker}; {primary}; {','.join(secondary)}; A:{a}; V:{v}; D:{d};"


def csv_text(rows):
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def detail_csv(files):
    return csv_text([("FileName", "EmoDetail"), *((file, text_line(vote)) for file in files for vote in files[file])])


def column_csv(worker_column):
    def write(files):
        rows = [
            (file, worker, primary, ",".join(secondary), *("" if rating is None else rating for rating in ratings))
            for file in files
            for worker, primary, secondary, ratings in files[file]
        ]
        return csv_text([("FileName", worker_column, *QUESTIONS), *rows])

    return write


def detail_json(files):
    return json.dumps(
        {
            file: {
                worker: dict(zip(QUESTIONS, (primary, ",".join(secondary), *ratings), strict=True))
                for worker, primary, secondary, ratings in votes
            }
            for file, votes in files.items()
        }
    )


def text_blocks(files):
    blocks = ([f"{file}; X; A:1.0; V:1.0; D:1.0;", *map(text_line, votes)] for file, votes in files.items())
    return "\n".join("".join(f"{line}\n" for line in block) for block in blocks)


FORMS = {
    "1.6": ("labels_detailed.csv", column_csv("Workers")),
    "1.10": ("labels_detailed.csv", detail_csv),
    "2.0": ("labels_detailed.csv", column_csv("WorkerID")),
    "json": ("labels_detailed.json", detail_json),
    "txt": ("labels.txt", text_blocks),
}


def expected(files):
    """File, worker, choice, secondary, note and ratings of every vote."""
    return [
        (file, worker, (label(primary),), labels(secondary), note(primary, secondary), ratings)
        for file, votes in files.items()
        for worker, primary, secondary, ratings in votes
    ]


def label(word):
    return SPELLINGS.get(word.lower(), "other")


def labels(words):
    return tuple(dict.fromkeys(map(label, words)))


def note(primary, secondary):
    typed = any(
        word.strip().removeprefix("Other").strip(" -:()") for word in (primary, *secondary) if label(word) == "other"
    )
    return f"{primary.strip()}; {','.join(secondary).strip()}" if typed else ""


def found(path):
    votes = read_worker_votes(str(path))
    ratings = zip(*(np.where(np.isnan(values), None, values) for values in votes.ratings.values()), strict=True)
    return [
        (votes.files[file].as_py(), votes.workers[worker].as_py(), *votes.answers[answer][1:], rated)
        for file, worker, answer, rated in zip(votes.file, votes.worker, votes.answer, ratings, strict=True)
    ]


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=FILES)
def test_votes_come_back_as_they_were_written(tmp_path, form, files):
    name, write = FORMS[form]
    path = tmp_path / name
    path.write_text(write(files), encoding="utf-8")
    assert found(path) == expected(files)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=FILES, data=st.data())
def test_a_damaged_file_is_refused_or_keeps_its_votes(tmp_path, form, files, data):
    """A character is lost, or another one stands in its place."""
    name, write = FORMS[form]
    text = write(files)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(["", ";", ",", '"', "\n", " ", "x", "é"]))
    path = tmp_path / name
    path.write_text(text[:place] + other + text[place + 1 :], encoding="utf-8")
    with contextlib.suppress(LabelFileError):
        assert len(found(path)) == len(expected(files))
