"""Bring your own votes: each format and form against the same votes, what is refused, and how it loads."""

import json
import logging
import os
import pickle
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dime_hf
from dime_hf import VotePolicy, audio, columns
from dime_hf.corpora.dime_votes import builder
from dime_hf.errors import CorpusError, LabelFileError

ROOT = Path(__file__).parent.parent
LONG = """id,annotator,label
b,anna,Anger
b,ben,Sadness
a,anna,neutral
b,eve,anger
a,ben,Calm;Sadness
"""
WIDE = """id,anger,Calm,neutral,Sadness
b,2,0,0,1
a,0,1,1,1
"""
QUESTIONS = ("choices", "secondary")
FORMATS = (".csv", ".tsv", ".parquet", ".jsonl")


def load(path, **arguments):
    arguments = {"labels_only": True, "split": "train"} | arguments
    return dime_hf.load_dataset("dime_votes", data_files=str(path), **arguments)


def written(path, text):
    path.write_text(text)
    return path


def save(path, table):
    """Write columns (a mapping to lists) in the format of the path."""
    if path.suffix == ".parquet":
        pa.parquet.write_table(pa.table(table), path)
    elif path.suffix == ".jsonl":
        rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        options = pa.csv.WriteOptions(delimiter="," if path.suffix == ".csv" else "\t")
        pa.csv.write_csv(pa.table(table), path, options)
    return path


def votes_of(dataset):
    """Every vote by id, labels by name."""
    names = dataset.features["human_votes"].feature["choices"].feature.names
    return {
        id: [
            (vote["annotator"], vote["kind"], *([names[c] for c in vote[q]] for q in QUESTIONS), vote["note"])
            for vote in votes
        ]
        for id, votes in zip(dataset["id"], dataset["human_votes"], strict=True)
    }  # fmt: skip


def counts_of(dataset):
    return dict(zip(dataset["id"], dataset["vote_counts"], strict=True))


@pytest.fixture
def votes(tmp_path):
    return written(tmp_path / "votes.csv", LONG)


def test_long_form_is_the_data_contract(votes):
    clips = load(votes)
    names = ["angry", "neutral", "sad", "Calm"]  # common spellings renamed, house order, others last
    assert clips.features == columns.corpus_features(names, names)
    assert clips["id"][:] == ["b", "a"]
    assert votes_of(clips) == {
        "b": [
            ("anna", "external", ["angry"], [], ""),
            ("ben", "external", ["sad"], [], ""),
            ("eve", "external", ["angry"], [], ""),
        ],
        "a": [("anna", "external", ["neutral"], [], ""), ("ben", "external", ["Calm", "sad"], [], "")],
    }
    assert clips["vote_counts"][:] == [[2, 0, 1, 0], [0, 1, 1, 1]]
    assert clips["hard_label"][:] == [0, None]
    assert clips["soft_label"][0] == pytest.approx([2 / 3, 0, 1 / 3, 0])
    assert clips["soft_label_votes"][:] == [3, 3]


@pytest.mark.parametrize("suffix", FORMATS)
def test_formats_give_the_same_dataset(votes, tmp_path, suffix):
    table = pa.csv.read_csv(votes).to_pydict()
    assert load(save(tmp_path / f"same{suffix}", table))[:] == load(votes)[:]
    lists = table | {"label": [label.split(";") for label in table["label"]]}
    if suffix in (".parquet", ".jsonl"):
        assert load(save(tmp_path / f"lists{suffix}", lists))[:] == load(votes)[:]


@pytest.mark.parametrize("suffix", FORMATS)
def test_wide_form_has_the_votes_of_long_form_without_names(votes, tmp_path, suffix):
    table = pa.csv.read_csv(written(tmp_path / "table.csv", WIDE)).to_pydict()
    wide = load(save(tmp_path / f"wide{suffix}", table))
    anonymous = load(votes, column_names={"annotator": None})
    assert {name for _, (vote, *_) in votes_of(anonymous).items() for name in vote[:1]} == {None}
    assert counts_of(wide) == counts_of(anonymous) == counts_of(load(votes))
    assert wide.features == anonymous.features
    assert len(wide[1]["human_votes"]) == 3  # a tick is a vote of its own where only counts are known
    assert wide["hard_label"][:] == anonymous["hard_label"][:]


def test_wide_form_takes_floats_empty_cells_and_an_index(tmp_path):
    path = written(
        tmp_path / "w.csv", ",id,angry,sad,room,n,note\n0,a,2.0,,kitchen,2,loud\n1,b,0,1,,1,\n2,c,0,0,hall,0,\n"
    )
    clips = load(path, classes=["angry", "sad"], rows="all")
    assert clips["vote_counts"][:] == [[2, 0], [0, 1], [0, 0]]
    assert clips["soft_label"][2] is None
    assert clips["room"][:] == ["kitchen", None, "hall"]
    assert (clips["n"][:], clips["note"][:]) == ([2, 1, 0], ["loud", None, None])
    assert load(path).features["hard_label"].names == ["angry", "sad", "n"]  # every number is a class unless told


def test_all_columns_of_long_form(tmp_path):
    path = written(
        tmp_path / "v.csv",
        "id,annotator,label,kind,secondary,note,speaker,take,text\n"
        '1,r1,happy,external,fear;sad,"well, yes",007,5,\n'
        "1,r1,sad,self,,,007,6,hello\n"
        "2,,happy,,,,008,7,\n",
    )
    clips = load(path)
    assert votes_of(clips) == {
        "1": [("r1", "external", ["happy"], ["fear", "sad"], "well, yes"), ("r1", "self", ["sad"], [], "")],
        "2": [(None, "external", ["happy"], [], "")],
    }
    assert clips["speaker"][:] == ["007", "008"]
    assert clips["text"][:] == ["hello", None]
    assert "take" not in clips.column_names
    assert clips["vote_counts"][:] == [[1, 0, 0], [1, 0, 0]]
    assert load(path, vote_policy="all_inclusive")["vote_counts"][0] == [1, 2, 1]


def test_metadata(votes, tmp_path):
    metadata = save(
        tmp_path / "clips.parquet",
        {
            "id": ["c", "a", "b"],
            "text": ["not voted on", "", "hi"],
            "gender": ["female", None, "male"],
            "duration": [1.5, 2.0, None],
            "valence": [1, 2, 3],
            "hard_label": [None, "Sadness", "no agreement"],
            "take": [1, 2, 3],
            "tags": [["x"], [], ["y", "z"]],
        },
    )
    clips = load(votes, metadata=str(metadata), rows="all")
    assert clips["id"][:] == ["c", "a", "b"]
    assert clips["text"][:] == ["not voted on", None, "hi"]
    assert clips["duration"][:] == [1.5, 2.0, None]
    assert clips["valence"][:] == [1, 2, 3]
    assert (clips["take"][:], clips["tags"][:]) == ([1, 2, 3], [["x"], [], ["y", "z"]])
    assert clips.features["take"] == datasets.Value("int64")
    assert clips["hard_label"][:] == [None, 2, None]
    assert clips["soft_label"][0] is None
    assert load(votes, metadata=str(metadata))["id"][:] == ["a", "b"]
    assert load(votes, metadata=str(metadata), rows="decided")["id"][:] == ["a"]
    policy = VotePolicy(merge="before")  # not the corpus's own: decided by the votes
    assert load(votes, metadata=str(metadata), vote_policy=policy)["hard_label"][:] == [None, 0]


def test_an_official_label_that_nobody_votes_for_is_counted(votes, tmp_path, caplog):
    metadata = written(tmp_path / "m.csv", "id,hard_label\na,sad\nb,no agreement\n")
    with caplog.at_level(logging.WARNING):
        assert load(votes, metadata=metadata)["hard_label"][:] == [2, None]
    assert "1 utterances have an official label that no vote names, ['no agreement']" in caplog.text


def test_names_of_other_corpora(tmp_path):
    """The columns of Emozionalmente's evaluations and of Dusha's raw votes."""
    evaluations = written(
        tmp_path / "evaluations.csv",
        "file_name,rater,emotion_recognized,age\n1.wav,7,joy,30\n1.wav,8,neutrality,20\n2.wav,7,disgust,30\n",
    )
    names = {"id": "file_name", "annotator": "rater", "label": "emotion_recognized"}
    metadata = written(tmp_path / "samples.csv", "file_name,label,emotion_recognized\n2.wav,x,1\n1.wav,y,2\n")
    clips = load(evaluations, column_names=names, metadata=metadata)
    assert clips.features["hard_label"].names == ["happy", "neutral", "disgust"]
    assert clips["id"][:] == ["2.wav", "1.wav"]
    assert (clips["label"][:], clips["emotion_recognized"][:]) == (["x", "y"], [1, 2])
    raw = written(
        tmp_path / "raw.tsv",
        "hash_id\taudio_path\tannotator_emo\tspeaker_text\tsource_id\tannotator_id\n"
        "h1\twavs/h1.wav\tpositive\tda\ts1\t5\nh1\twavs/h1.wav\tneutral\tda\ts1\t6\n",
    )
    names = {
        "id": "hash_id", "audio": "audio_path", "label": "annotator_emo", "text": "speaker_text",
        "speaker": "source_id", "annotator": "annotator_id",
    }  # fmt: skip
    row = load(raw, column_names=names)[0]
    assert (row["text"], row["speaker"], row["vote_counts"]) == ("da", "s1", [1, 1])


def test_a_label_set_and_policy_of_choice(votes):
    label_set = {"negative": ["angry", "sad"], "other": ["Calm"]}
    clips = load(votes, label_set=label_set, vote_policy=VotePolicy(several_choices="split"))
    assert clips.features["hard_label"].names == ["other", "negative"]
    assert clips["vote_counts"][:] == [[0, 3], [0.5, 0.5]]
    with pytest.raises(CorpusError, match="Did you mean 'Calm'"):
        load(votes, label_set=["angry", "calm"])


def test_renaming_labels(votes, tmp_path):
    assert load(votes, rename_labels=False).features["hard_label"].names == [
        "neutral", "Anger", "Calm", "Sadness", "anger",
    ]  # fmt: skip
    mapping = {"Anger": "angry", "anger": "angry", "Calm": "neutral"}
    assert load(votes, rename_labels=mapping).features["hard_label"].names == ["angry", "neutral", "Sadness"]
    both = written(tmp_path / "both.csv", "id,annotator,label\na,x,joy\na,y,Happiness\n")
    with pytest.raises(CorpusError, match=r"'Happiness' and 'joy' would both become 'happy'.*`rename_labels=False`"):
        load(both)


def test_classes_say_what_a_vote_may_name(votes):
    names = ["sad", "angry", "neutral", "Calm", "fear"]
    assert load(votes, classes=names).features["hard_label"].names == ["angry", "neutral", "sad", "fear", "Calm"]
    with pytest.raises(LabelFileError, match=r"votes\.csv, line 6: expected labels out of `classes`.*'Calm;Sadness'"):
        load(votes, classes=["sad", "angry", "neutral"])


def test_files_are_splits_or_parts_of_one(tmp_path):
    first = written(tmp_path / "a.csv", "id,annotator,label\nx,1,happy\ny,1,sad\n")
    second = written(tmp_path / "b.csv", "id,annotator,label\nz,1,happy\nz,2,sad\n")
    third = written(tmp_path / "c.csv", "id,annotator,label\nx,3,sad\n")
    splits = dime_hf.load_dataset("dime_votes", data_files={"train": [first, third], "test": str(second)})
    assert {name: counts_of(split) for name, split in splits.items()} == {
        "train": {"x": [1, 1], "y": [0, 1]},
        "test": {"z": [1, 1]},
    }
    assert votes_of(load(tmp_path / "*.csv"))["x"][1][0] == "3"
    with pytest.raises(LabelFileError, match=r"c\.csv, line 2: expected 'split' of utterance 'x' to be 'dev', as in"):
        dime_hf.load_dataset("dime_votes", data_files={"dev": first, "test": third})
    third.write_text("id,angry,sad,split\nw,1,0,dev\n")
    with pytest.raises(CorpusError, match=r"c\.csv: has a column 'split', but is all of 'test'"):
        dime_hf.load_dataset("dime_votes", data_files={"dev": first, "test": third})


def test_split_column(votes, tmp_path, caplog):
    metadata = written(tmp_path / "m.csv", "id,split\na,test\nb,\nc,\nd,dev\n")
    with caplog.at_level(logging.WARNING):
        splits = load(votes, metadata=metadata, split=None, rows="all")
    assert {name: split["id"][:] for name, split in splits.items()} == {
        "test": ["a"],
        "unassigned": ["b"],
        "dev": ["d"],
    }
    assert "1 utterances have neither a vote nor a split" in caplog.text


def write_sound(path):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(audio.encode_wav(np.zeros(8000, dtype=np.float32)))


def test_recordings(votes, tmp_path, caplog):
    write_sound(tmp_path / "wav" / "a.wav")
    clips = load(votes, audio_dir=tmp_path / "wav", labels_only=False)
    assert [cell and cell["path"] for cell in clips["audio"]] == [None, f"{tmp_path}/wav/a.wav"]
    assert clips["duration"][:] == [None, 0.5]
    write_sound(tmp_path / "wav" / "b.wav")  # noticed by the cache
    assert load(votes, audio_dir=tmp_path / "wav", labels_only=False)["duration"][:] == [0.5, 0.5]
    metadata = written(tmp_path / "m.csv", f"id,audio\na,wav/a.wav\nb,{tmp_path}/wav/b.wav\n")
    assert load(votes, metadata=metadata, labels_only=False)["duration"][:] == [0.5, 0.5]
    metadata.write_text("id,audio\na,a.wav\nb,\n")
    loaded = load(votes, metadata=metadata, audio_dir=tmp_path / "wav", labels_only=False, missing_audio="drop")
    assert loaded["id"][:] == ["a"]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert load(votes, labels_only=False)["audio"][:] == [None, None]
    assert "neither a column `audio` nor `audio_dir` names one" in caplog.text
    renamed = load(votes, audio_dir=tmp_path / "wav", column_names={"id": "annotator", "annotator": "id"}, rows="all")
    assert renamed["id"][:] == ["anna", "ben", "eve"]


def test_ids_that_are_files(tmp_path):
    path = written(tmp_path / "v.csv", "id,angry,sad\nx.WAV,1,0\ny.v2,0,1\n")
    for name in ("x.WAV", "y.v2.wav"):
        write_sound(tmp_path / "wav" / name)
    assert load(path, audio_dir=tmp_path / "wav", labels_only=False)["duration"][:] == [0.5, 0.5]


def test_folds_share_no_speaker(tmp_path):
    rows = [f"u{n},s{n % 7},{n % 2},{n % 3}" for n in range(60)]
    path = written(tmp_path / "v.csv", "\n".join(["id,speaker,angry,sad", *rows]))
    splits = dime_hf.load_dataset("dime_votes", data_files=path, fold=2, rows="all")
    speakers = [set(splits[name]["speaker"]) for name in ("train", "validation", "test")]
    assert [len(names) for names in speakers] == [4, 1, 2]
    assert sum(map(len, splits.values())) == 60
    path.write_text(path.read_text().replace("u3,s3", "u3,"))
    with pytest.raises(CorpusError, match="1 of 60 utterances have no 'speaker'"):
        dime_hf.load_dataset("dime_votes", data_files=path, fold=2)


@pytest.fixture
def many(tmp_path, monkeypatch):
    """More utterances than a block has."""
    monkeypatch.setattr(builder, "BLOCK", 16)
    rng = np.random.default_rng(0)
    names = np.array(["angry", "sad", "calm;sad", "fear"])
    table = {
        "id": [f"u{n}" for n in rng.integers(0, 50, 300)],
        "annotator": [f"r{n}" for n in range(300)],
        "label": names[rng.integers(0, 4, 300)].tolist(),
    }
    return save(tmp_path / "many.parquet", table), table


def test_blocks_streams_and_processes_give_the_same_rows(many):
    path, table = many
    clips = load(path)
    expected = {id: [] for id in table["id"]}
    for id, annotator, label in zip(*table.values(), strict=True):
        expected[id].append((annotator, "external", label.split(";"), [], ""))
    assert votes_of(clips) == expected
    assert list(votes_of(clips)) == list(expected)
    streamed = load(path, streaming=True)
    assert streamed.num_shards == 4
    assert list(streamed) == list(clips)
    plain = datasets.load_dataset("dime_votes", data_files=str(path), split="train", labels_only=True)
    assert plain.cache_files == clips.cache_files
    assert pickle.loads(pickle.dumps(streamed)).num_shards == 4
    assert load(path, num_proc=2, download_mode="force_redownload")[:] == clips[:]


def test_the_cache_notices_edited_votes_and_metadata(votes, tmp_path):
    metadata = written(tmp_path / "m.csv", "id,text\na,one\nb,two\n")
    before = load(votes, metadata=metadata)
    assert load(votes, metadata=metadata).cache_files == before.cache_files
    metadata.write_text("id,text\na,three\nb,four\n")
    assert load(votes, metadata=metadata)["text"][:] == ["three", "four"]
    votes.write_text(LONG.replace("Calm", "fear"))
    assert "fear" in load(votes, metadata=metadata).features["hard_label"].names


def test_other_ways_to_load(votes, tmp_path, monkeypatch):
    expected = load(votes)[:]
    assert dime_hf.load_dataset("dime_votes", data_dir=tmp_path, labels_only=True, split="train")[:] == expected
    relative = dime_hf.load_dataset("dime_votes", data_dir=tmp_path, data_files="votes.csv", labels_only=True)
    assert relative["train"][:] == expected
    written(tmp_path / "metadata.csv", "id,text\nb,x\na,y\n")
    assert dime_hf.load_dataset("dime_votes", data_dir=tmp_path, split="train")["text"][:] == ["x", "y"]
    monkeypatch.chdir(ROOT)
    by_path = datasets.load_dataset("dataset_scripts/dime_votes", data_files=str(votes), labels_only=True)
    assert by_path["train"][:] == expected
    written(tmp_path / "votes.tsv", LONG.replace(",", "\t"))
    with pytest.raises(CorpusError, match=r"votes\.csv and .*votes\.tsv"):
        dime_hf.load_dataset("dime_votes", data_dir=tmp_path)


def test_other_corpora_take_no_files(toy_root):
    for function in (dime_hf.load_dataset, datasets.load_dataset):
        with pytest.raises(CorpusError, match="`data_files` means nothing for iemocap"):
            function("iemocap", data_dir=str(toy_root), data_files="votes.csv")


def test_byte_orders_line_ends_and_latin_1(tmp_path):
    text = LONG.replace("ben", "bén").replace("\n", "\r\n")
    for number, content in enumerate((text.encode("utf-8-sig"), text.encode("latin-1"))):
        path = tmp_path / f"{number}.csv"
        path.write_bytes(content)
        assert votes_of(load(path))["b"][1][0] == "bén"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,annotator,label\na,x,sad\n\na,y,\n", r"line 4: expected a label, found ''"),
        ('id,annotator,label,note\na,x,sad,"two\nlines"\na,y, ; ,\n', r"line 4: expected a label, found ' ; '"),
        ("id,annotator,label\na,x,sad\na,y,\u00a0\n", r"line 3: expected a label, found"),
        ("id,angry,sad\na,1,0\nb,0,inf\n", r"line 3: expected a whole count .*found 'inf'"),
        ("id,annotator,label\na,x,sad\n,y,sad\n", r"line 3: expected an id, found ''"),
        ("id,annotator,label\na,x,sad\na,y\n", r"line 3: expected 3 cells, as the header has, found 'a,y'"),
        ("id,annotator,label,kind\na,x,sad,me\n", r"line 2: expected the kind 'external' or 'self', found 'me'"),
        ('id,annotator,label,note\na,x,sad,"open\na,y,sad,\n', r"line 2: expected cells whose quotes are closed"),
        ("id,label,label\na,x,sad\n", r"line 1: expected one column 'label'"),
        ("id,annotator,labels\na,x,sad\n", r"no column 'label' .*Did you mean 'labels'"),
        ("clip,annotator,label\na,x,sad\n", r"no column 'id' .*Available: 'clip'"),
        ("id,anotator,label\na,x,sad\n", r"no column 'annotator' .*Did you mean 'anotator'"),
        ("id,lable\na,sad\n", r"neither a column 'label' .* nor columns of numbers.*Did you mean 'lable'"),
        ("id,angry,sad\na,1,0\nb,0,0.5\n", r"line 3: expected a whole count from 0 to 1000 .*'sad'.*'0.5'"),
        ("id,angry,sad\na,1,0\nb,0,-1\n", r"line 3: expected a whole count .*found '-1'"),
        ("id,angry,year\na,1,2014\n", r"line 2: expected a whole count .*'year'.*see `classes`.*found '2014'"),
        ("id,angry,sad\na,1,0\nb,0,3x\n", r"line 3: expected a whole count in the column 'sad'.*found '3x'"),
        ("id,angry,sad\na,1,0\na,0,1\n", r"line 3: expected an id that no other row has, found 'a'"),
        ("id,angry,soft_label\na,1,0\n", r"the column 'soft_label' would hide"),
        ("id,annotator,label,duration\na,x,sad,1s\n", r"line 2: expected a number in .*'duration', found '1s'"),
        ("id,annotator,label,text\na,x,sad,hi\na,y,sad,ho\n", r"line 3: expected 'text' of .*'a' to be 'hi'.*'ho'"),
        ("", "Empty CSV file"),
        ("id,annotator,label\n", "no utterance"),
        ("id,annotator,label\na,x,sad\n", "at least two classes"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(tmp_path, text, message):
    with pytest.raises(CorpusError, match=rf"(votes\.csv.*|){message}") as raised:
        load(written(tmp_path / "votes.csv", text))
    assert "at least two" in str(raised.value) or "votes.csv" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": 1, "annotator": 2, "label": "sad"}\n\n{"id": 1,\n', r"line 3: expected a JSON object, found"),
        ('{"id": 1, "annotator": 2, "label": "sad"}\n[1]\n', r"line 2: expected a JSON object, found '\[1\]'"),
        (
            '{"id": 1, "annotator": 2, "label": ["sad"]}\n{"id": 1, "annotator": 2, "label": []}\n',
            r"line 2: .*a label",
        ),
        ('{"id": 1, "label": "sad"}\n{"id": 1, "label": "sad", "label": "angry"}\n', r"line 2: .*every name once"),
        ('{"id": 1, "label": "sad"}\n{"id": 1, "label": "\\ud800"}\n', r"line 2: expected text, not half of a char"),
        ('{"id": 1, "label": "sad"}\n\n{"id": 1, "a": ["\\uDC00"]}\n', r"line 3: expected text, not half of a char"),
        ('{"id": 1, "\\ud83d": "sad"}\n', r"line 1: expected text, not half of a character"),
        ('{"id": 1, "a": 99999999999999999999}\n', r"the column 'a' has a number of too many digits"),
        ('{"id": 1, "a": 2}\n{"id": 1, "a": "x"}\n', r"the column 'a' has values of different types"),
    ],
)
def test_json_lines_that_cannot_be_read_are_named(tmp_path, text, message):
    with pytest.raises(CorpusError, match=rf"votes\.jsonl.*{message}"):
        load(written(tmp_path / "votes.jsonl", text))


def test_json_lines_that_are_nested_too_deeply_are_named(tmp_path):
    path = written(tmp_path / "votes.jsonl", '{"id": 1}\n{"id": 1, "a": ' + "[" * 100_000 + "\n")
    with pytest.raises(LabelFileError, match=r"votes\.jsonl, line 2: expected a JSON object"):
        load(path)


def test_two_escapes_of_json_are_a_character(tmp_path):
    path = written(tmp_path / "v.jsonl", '{"id": "a", "annotator": "\\ud83d\\ude00", "label": ["sad", "fear"]}\n')
    assert load(path)["human_votes"][0][0]["annotator"] == "\U0001f600"


def test_the_line_below_a_very_long_one_is_named(tmp_path):
    path = written(tmp_path / "votes.csv", f"id,annotator,label,note\na,x,sad,{'x' * 140_000}\n\na,y,,\n")
    with pytest.raises(LabelFileError, match=r"votes\.csv, line 4: expected a label"):
        load(path)


def test_labels_that_would_be_one_are_refused_with_their_file(tmp_path):
    path = written(tmp_path / "votes.csv", "id,annotator,label\na,x,fearful\na,y,fear\n")
    with pytest.raises(CorpusError, match=r"votes\.csv: the labels 'fear' and 'fearful' would both become 'fear'"):
        load(path)


def test_names_of_counted_classes(tmp_path):
    spaced = load(written(tmp_path / "v.csv", "id, angry, sad\na,2,1\n"))
    assert (spaced.features["hard_label"].names, spaced["vote_counts"][:]) == (["angry", "sad"], [[2, 1]])
    for name in ("", ";"):  # only at the left, an unnamed column is an index
        with pytest.raises(CorpusError, match=rf"v\.csv: the name '{name}' of a column of numbers says no label"):
            load(written(tmp_path / "v.csv", f"id,angry,{name},sad\na,2,3,1\n"))


def test_parquet_rows_that_cannot_be_read_are_named(tmp_path):
    path = save(tmp_path / "v.parquet", {"id": [1, 2], "annotator": ["x", "y"], "label": [["sad"], None]})
    with pytest.raises(LabelFileError, match=r"v\.parquet, line 2: expected a label"):
        load(path)
    save(path, {"id": [{"a": 1}], "annotator": ["x"], "label": ["sad"]})
    with pytest.raises(CorpusError, match=r"the column 'id' is struct.*where text is needed"):
        load(path)
    path.write_text("this is no parquet")
    with pytest.raises(CorpusError, match="cannot be read as Parquet"):
        load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,text\na,x\n", r"votes\.csv, line 2: expected an id that `metadata` has \(3 votes .*found 'b'"),
        ("id,text\na,x\nb,y\na,z\n", r"m\.csv, line 4: expected an id that no other row has, found 'a'"),
        ("name,text\na,x\n", r"m\.csv: has no column 'id'"),
        ("id,vote_counts\na,x\nb,x\n", r"m\.csv: the column 'vote_counts' would hide"),
    ],
)
def test_metadata_that_does_not_fit(votes, tmp_path, text, message):
    with pytest.raises(CorpusError, match=message):
        load(votes, metadata=written(tmp_path / "m.csv", text))


def test_types_of_parquet(tmp_path):
    """Categories as pandas saves them, ids and counts as other numbers, numbers as text."""
    path = tmp_path / "v.parquet"
    table = {
        "id": pa.array([1, 2, 1]),
        "annotator": pa.array(["x", "y", "y"]).dictionary_encode(),
        "label": pa.array([["sad"], ["sad", "fear"], ["fear"]], pa.large_list(pa.large_string())),
        "duration": ["1.5", " 2 ", None],
    }
    clips = load(save(path, table))
    assert (clips["id"][:], clips["duration"][:]) == (["1", "2"], [1.5, 2])
    assert clips["vote_counts"][:] == [[1, 1], [1, 1]]
    with pytest.raises(CorpusError, match="the column 'duration' is list.*, not numbers"):
        load(save(path, table | {"duration": [[1.5], [2], None]}))
    wide = {"id": ["a", "b"], "sad": pa.array([1, 2], pa.decimal128(3)), "fear": pa.array([1.0, float("nan")])}
    assert load(save(path, wide))["vote_counts"][:] == [[1, 1], [2, 0]]


def test_columns_of_different_types(tmp_path):
    first = save(tmp_path / "a.parquet", {"id": ["a"], "angry": [1], "sad": [0], "room": ["x"]})
    second = save(tmp_path / "b.parquet", {"id": ["b"], "angry": [1], "sad": [0], "room": [[1]]})
    with pytest.raises(CorpusError, match="the files have a column of different types.*room"):
        dime_hf.load_dataset("dime_votes", data_files=[first, second])
    table = {"id": ["b", "a"], "angry": [1, 0], "sad": [0, 1], "room": [[1], [2]]}
    save(first, table)
    save(second, table | {"room": [[1], [3]]})
    with pytest.raises(LabelFileError, match=r"b\.parquet, line 2: expected 'room' of utterance 'a' to be \[2\]"):
        dime_hf.load_dataset("dime_votes", data_files=[first, second])


def test_wrong_arguments_are_explained(votes, tmp_path):
    with pytest.raises(CorpusError, match="`data_files` is needed"):
        dime_hf.load_dataset("dime_votes")
    with pytest.raises(FileNotFoundError, match=r"voted\.csv"):
        load(tmp_path / "voted.csv")
    with pytest.raises(CorpusError, match=r"no file called votes\.csv, votes\.tsv"):
        dime_hf.load_dataset("dime_votes", data_dir=ROOT)
    with pytest.raises(CorpusError, match=r"`metadata`: .*meta\.csv is no file"):
        load(votes, metadata=tmp_path / "meta.csv")
    with pytest.raises(CorpusError, match=r"`audio_dir`: .*sounds is not a folder"):
        load(votes, audio_dir=tmp_path / "sounds")
    with pytest.raises(CorpusError, match=r"must end with one of \.csv"):
        load(votes, metadata=written(tmp_path / "meta.xlsx", ""))
    with pytest.raises(CorpusError, match="`column_names` has the key 'lable'. Did you mean 'label'"):
        load(votes, column_names={"lable": "label"})
    with pytest.raises(CorpusError, match="'text' is called 'txt', but no file has that column"):
        load(votes, column_names={"text": "txt"})
    with pytest.raises(CorpusError, match="uses the column 'label' twice"):
        load(votes, column_names={"label": "label", "hard_label": "label"})
    with pytest.raises(CorpusError, match="`classes` is the string 'sad'"):
        load(votes, classes="sad")
    with pytest.raises(CorpusError, match=r"no column 'sadd'.*Did you mean 'sad'"):
        load(written(tmp_path / "w.csv", "id,angry,sad\na,1,0\n"), classes=["angry", "sadd"])


def test_unused_columns_and_repeated_votes_are_reported(tmp_path, caplog):
    path = written(
        tmp_path / "v.csv", "id,annotator,label,speakr,x\na,1,sad,s,1\na,1,angry,s,2\na,2,sad,s,3\na,1,sad,s,4\n"
    )
    with caplog.at_level(logging.WARNING):
        assert load(path)["vote_counts"][:] == [[1, 3]]
    assert "columns not used: 'speakr' (did you mean 'speaker'?), 'x'" in caplog.text
    assert "2 votes come from an annotator who votes on the utterance again (first: 1 on a)" in caplog.text


LABELS = st.lists(st.sampled_from(["angry", "sad", "calm", "été"]), min_size=1, max_size=3)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=6)
BALLOTS = st.lists(
    st.tuples(
        st.sampled_from(["1", "02", "a b", "NA", 'q"', "x,y"]),
        st.one_of(st.none(), st.sampled_from(["r1", "r2", "null"])),
        LABELS,
        st.sampled_from(["external", "self"]),
        st.lists(st.sampled_from(["sad", "fear"]), max_size=2),
        TEXT,
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(BALLOTS, st.sampled_from(FORMATS))
def test_votes_come_back_as_written(tmp_path_factory, ballots, suffix):
    folder = tmp_path_factory.mktemp("votes")
    names = ("id", "annotator", "label", "kind", "secondary", "note")
    columns_of = {name: [ballot[place] for ballot in ballots] for place, name in enumerate(names)}
    for name in ("label", "secondary"):
        columns_of[name] = [";".join(labels) for labels in columns_of[name]]
    path = save(folder / f"votes{suffix}", columns_of)
    expected = {}
    for id, annotator, *vote, note in ballots:
        expected.setdefault(id, []).append((annotator, vote[1], vote[0], vote[2], note))
    classes = ["angry", "sad", "calm", "été", "fear"]
    loaded = load(path, classes=classes, rows="all", cache_dir=str(folder / "cache"))
    assert votes_of(loaded) == expected
    assert os.path.isdir(folder / "cache")


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=8))
def test_counts_come_back_as_written(tmp_path_factory, counts):
    folder = tmp_path_factory.mktemp("votes")
    table = {"id": [f"u{n}" for n in range(len(counts))]}
    table |= {name: [row[place] for row in counts] for place, name in enumerate(["angry", "sad", "calm"])}
    loaded = load(save(folder / "wide.csv", table), rows="all", cache_dir=str(folder / "cache"))
    assert loaded["vote_counts"][:] == counts
    assert [len(votes) for votes in loaded["human_votes"]] == np.sum(counts, axis=1).tolist()


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_null_among_labels_is_no_label(tmp_path, suffix):
    rows = [
        {"id": "a", "annotator": "x", "label": ["sad", None], "secondary": [None, "angry"]},
        {"id": "a", "annotator": "y", "label": ["angry"], "secondary": None},
    ]
    path = tmp_path / f"votes{suffix}"

    def made(rows):
        if suffix == ".parquet":
            pa.parquet.write_table(pa.Table.from_pylist(rows), path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    votes = load(made(rows))["human_votes"][0]
    assert [(vote["choices"], vote["secondary"]) for vote in votes] == [([1], [0]), ([0], [])]
    with pytest.raises(LabelFileError, match="expected a label"):
        load(made([*rows, {**rows[0], "label": [None]}]))
