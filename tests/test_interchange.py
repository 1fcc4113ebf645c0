"""Votes in the formats of other tools: round trips, what the tools themselves make of them, and what is refused."""

import json
import logging
import sys

import audformat
import cleanlab.multiannotator
import datasets
import numpy as np
import pandas as pd
import pytest
from crowdkit.aggregation import DawidSkene, MajorityVote
from hypothesis import given, settings
from hypothesis import strategies as st

import dime_hf
from dime_hf import VotePolicy, audio, columns, derive
from dime_hf.corpora import toy
from dime_hf.corpora.labels import LabelSet
from dime_hf.corpora.policy import Tally
from dime_hf.errors import ColumnError, CorpusError, DistributionError, PackageError
from dime_hf.interchange import (
    from_audformat,
    from_cleanlab,
    from_crowd_kit,
    from_label_studio,
    labeling_config,
    to_audformat,
    to_cleanlab,
    to_crowd_kit,
    to_label_studio,
)
from dime_hf.pool import find_consensus
from dime_hf.simulation import Annotator, simulate

# crowd-kit 1.4.2 and audformat 1.4.3 pass what pandas 3 gives up:
# https://pandas.pydata.org/pdeps/0008-inplace-methods-in-pandas
pytestmark = pytest.mark.filterwarnings("ignore:The (copy|inplace) keyword:DeprecationWarning")

LABELS = ("angry", "happy", "neutral", "sad", "excited", "other")
CLASSES = {"angry": ["angry"], "happy": ["happy", "excited"], "neutral": ["neutral"], "sad": ["sad"]}


def dataset_of(rows, label_set=CLASSES, policy="official", **facts):
    """Utterances u0, u1, ... with the votes `rows`, counted in a label set over `LABELS`."""
    features = columns.corpus_features(["x", "y"], LABELS)
    given_ = {"id": [f"u{row}" for row in range(len(rows))], "human_votes": rows, **facts}
    values = {name: given_.get(name, [None] * len(rows)) for name in features}
    tally = Tally.of(VotePolicy(), LabelSet.of(LABELS, LABELS), LABELS)
    info = datasets.DatasetInfo(description=f"Made by hand.\n{tally.describe()}", features=features)
    bare = datasets.Dataset.from_dict(values, features=features, info=info)
    return derive(bare, policy, label_set, rows="all")


def vote(annotator, *choices, kind="external", secondary=(), note=""):
    places = [LABELS.index(choice) for choice in choices]
    second = [LABELS.index(choice) for choice in secondary]
    return {"annotator": annotator, "kind": kind, "choices": places, "secondary": second, "note": note}


text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5)
name = st.one_of(st.none(), text.filter(lambda name: name and not name.startswith("anonymous:")))
ticks = st.lists(st.sampled_from(LABELS), max_size=3)
votes = st.builds(
    lambda who, choices, kind, secondary, note: vote(who, *choices, kind=kind, secondary=secondary, note=note),
    name, ticks, st.sampled_from(["external", "self"]), ticks, text,
)  # fmt: skip
rows_of_votes = st.lists(st.lists(votes, max_size=4), min_size=1, max_size=25)
single = st.lists(st.sampled_from(LABELS), min_size=1, max_size=1)
names = st.sampled_from(["ann", "bob", "zoë", "7"])
single_rows = st.lists(
    st.dictionaries(names, single, min_size=1, max_size=4).map(
        lambda cell: [vote(who, *choices) for who, choices in cell.items()]
    ),
    min_size=1,
    max_size=25,
)
ALIKE = settings(deadline=None, max_examples=8)


def plain(dataset, *names):
    """Columns as lists, with the names of labels in place of their numbers."""
    feature = dataset.features["human_votes"].feature["choices"].feature
    made = {name: dataset[name][:] for name in names}
    for cell in made.get("human_votes", []):
        for one in cell:
            one |= {each: feature.int2str(one[each]) if one[each] else [] for each in ("choices", "secondary")}
    return made


HAND_MADE = [
    [vote("zoe", "sad"), vote("ann", "sad"), vote("tim", "neutral")],
    [vote("zoe", "angry"), vote("tim", "angry")],
    [vote("ann", "neutral"), vote("tim", "excited"), vote("zoe", "happy")],
]


# crowd-kit


def test_crowd_kit_aggregates_the_frame():
    """Majority and Dawid-Skene on the export; the latter is what `find_consensus` says of the same votes."""
    dataset = simulate(100, annotators=[Annotator(noise=0.1)] * 3 + [Annotator(noise=0.8)], strength=0.5).dataset()
    frame = to_crowd_kit(dataset)
    assert list(frame.columns) == ["task", "worker", "label"]
    majority = MajorityVote().fit_predict(frame)
    hard, classes = dataset["hard_label"][:], columns.classes(dataset)
    decided = {id: classes[place] for id, place in zip(dataset["id"], hard, strict=True) if place is not None}
    assert len(decided) > 70
    assert majority[list(decided)].to_dict() == decided
    skene = DawidSkene(n_iter=5).fit_predict_proba(frame).loc[list(dataset["id"]), list(classes)]
    np.testing.assert_allclose(skene, find_consensus(dataset, n_iter=5).labels, atol=1e-6)


@ALIKE
@given(single_rows)
def test_crowd_kit_round_trip(rows):
    dataset = dataset_of(rows, LABELS)
    back = from_crowd_kit(to_crowd_kit(dataset), classes=LABELS)
    same = ("id", "human_votes", "vote_counts", "hard_label", "soft_label", "soft_label_votes")
    assert plain(back, *same) == plain(dataset, *same)
    assert columns.classes(back) == columns.classes(dataset)


def test_crowd_kit_names_what_it_cannot_hold(caplog):
    rows = [
        [vote("ann", "sad", secondary=["angry"], note="tired"), vote("sp1", "sad", kind="self"), vote("bob", "other")],
        [],
    ]
    with caplog.at_level(logging.WARNING, "dime_hf"):
        cast = to_crowd_kit(dataset_of(rows))
    assert cast.to_numpy().tolist() == [["u0", "ann", "sad"], ["u0", "bob", "other"]]
    for lost in ("1 votes that do not count", "1 secondary answers", "1 notes", "1 utterances without a vote"):
        assert lost in caplog.text
    counted = to_crowd_kit(dataset_of(rows), votes="counted")
    assert counted.to_numpy().tolist() == [["u0", "ann", "sad"]]
    assert "2 votes that do not count" in caplog.text
    back = from_crowd_kit(cast, classes=LABELS, utterances=["u0", "u1"])
    assert back["id"][:] == ["u0", "u1"]
    assert back["soft_label"][1] is None


def test_several_choices_are_refused_split_into_rows_or_left_out():
    dataset = dataset_of([[vote("ann", "sad", "excited"), vote("bob", "happy")], [vote("ann", "sad")]])
    with pytest.raises(ColumnError, match="several labels of one annotator.*'ann' on 'u0'.*`several_choices`"):
        to_crowd_kit(dataset)
    rows = to_crowd_kit(dataset, several_choices="rows")
    assert rows["label"].tolist() == ["sad", "excited", "happy", "sad"]
    assert plain(from_crowd_kit(rows, classes=LABELS), "human_votes") == plain(dataset, "human_votes")
    left = to_crowd_kit(dataset, several_choices="leave_out", votes="counted")
    assert left.to_numpy().tolist() == [["u0", "bob", "happy"], ["u1", "ann", "sad"]]
    twice = dataset_of([[vote("ann", "sad"), vote("ann", "happy")]])
    with pytest.raises(ColumnError, match="several labels"):
        to_crowd_kit(twice)
    split = derive(dataset, VotePolicy(several_choices="split"), rows="all")
    with pytest.raises(ColumnError, match="splits a vote on 'u0'.*several_choices='pool'"):
        to_crowd_kit(split, votes="counted", several_choices="rows")
    assert len(to_crowd_kit(split, votes="counted", several_choices="leave_out")) == 2


def test_the_nameless_get_numbers_and_lose_them_again():
    dataset = dataset_of([[vote(None, "sad"), vote("ann", "sad"), vote(None, "happy")], [vote(None, "angry")]], LABELS)
    with pytest.raises(ColumnError, match="without a name .first: on 'u0'.*anonymous='number'"):
        to_crowd_kit(dataset)
    frame = to_crowd_kit(dataset, anonymous="number")
    assert frame["worker"].tolist() == ["anonymous:1", "ann", "anonymous:2", "anonymous:1"]
    assert plain(from_crowd_kit(frame, classes=LABELS), "human_votes") == plain(dataset, "human_votes")
    frame["worker"] = ["ann", None, None, None]
    assert [len(cell) for cell in from_crowd_kit(frame)["human_votes"]] == [3, 1]
    with pytest.raises(ColumnError, match="begins with 'anonymous:'"):
        to_crowd_kit(dataset_of([[vote("anonymous:1", "sad")]]), anonymous="number")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"label": ["sad", None]}, ColumnError, "`frame` has no label in row 1"),
        ({"task": [None, "u1"]}, ColumnError, "`frame` has no task in row 0"),
        ({"label": ["sad", "joyful"]}, CorpusError, "'joyful', which is not in `classes`"),
        ({"task": ["u0", "u9"]}, CorpusError, "votes on 'u9', not in `utterances`"),
        ({"label": ["sad", 3]}, ColumnError, "'label' must hold text, or numbers of one type"),
    ],
)
def test_bad_frames(change, error, message):
    frame = pd.DataFrame({"task": ["u0", "u1"], "worker": ["a", "b"], "label": ["sad", "happy"]} | change)
    with pytest.raises(error, match=message):
        from_crowd_kit(frame, classes=LABELS, utterances=["u0", "u1"])


def test_what_no_format_takes():
    frame = pd.DataFrame({"task": ["u0"], "annotator": ["a"], "label": ["sad"]})
    with pytest.raises(ColumnError, match="no column 'worker'"):
        from_crowd_kit(frame)
    with pytest.raises(CorpusError, match=r"only.*'sad'.*`classes`|names the labels .*'sad'.*`classes`"):
        from_crowd_kit(frame.rename(columns={"annotator": "worker"}))
    dataset = dataset_of(HAND_MADE)
    with pytest.raises(ColumnError, match="'u0' more than once"):
        to_crowd_kit(datasets.concatenate_datasets([dataset, dataset], info=dataset.info))
    mixes = dataset.add_column("parents", [[], [], ["u0", "u1"]])
    with pytest.raises(ColumnError, match="mixes of DiME-Aug"):
        to_crowd_kit(mixes)
    with pytest.raises(ColumnError, match="no column 'human_votes'"):
        to_crowd_kit(dataset.remove_columns("human_votes"))
    with pytest.raises(ColumnError, match="`several_choices` is 'row'.*Did you mean 'rows'"):
        to_crowd_kit(dataset, several_choices="row")


# cleanlab


def test_cleanlab_judges_the_frame():
    simulated = simulate(80, annotators=4, strength=1.0, seed=2)
    dataset = simulated.dataset()
    given_ = to_cleanlab(dataset, simulated.truth)
    assert given_.classes == columns.classes(dataset)
    majority = cleanlab.multiannotator.get_majority_vote_label(given_.labels_multiannotator, given_.pred_probs)
    hard = dataset["hard_label"][:]
    decided = [row for row, place in enumerate(hard) if place is not None]
    assert len(decided) > 50
    assert majority[decided].tolist() == [hard[row] for row in decided]
    quality = cleanlab.multiannotator.get_label_quality_multiannotator(
        given_.labels_multiannotator, given_.pred_probs, verbose=False
    )
    assert quality["label_quality"].index.tolist() == dataset["id"][:]
    assert quality["label_quality"]["num_annotations"].tolist() == dataset["soft_label_votes"][:]
    assert sorted(quality["annotator_stats"].index) == ["a0", "a1", "a2", "a3"]


@ALIKE
@given(single_rows)
def test_cleanlab_round_trip(rows):
    dataset = dataset_of(rows, LABELS)
    frame, _, classes = to_cleanlab(dataset)
    back = from_cleanlab(frame, classes)
    same = ("id", "vote_counts", "hard_label", "soft_label")
    assert plain(back, *same) == plain(dataset, *same)
    by_name = [sorted(cell, key=lambda one: one["annotator"]) for cell in plain(dataset, "human_votes")["human_votes"]]
    assert plain(back, "human_votes")["human_votes"] == by_name


def test_cleanlab_gets_only_what_it_takes(caplog):
    rows = [
        [vote("ann", "sad"), vote(None, "excited"), vote(None, "sad")],
        [vote("ann", "other")],
        [vote("bob", "sad")],
    ]
    with caplog.at_level(logging.WARNING, "dime_hf"):
        frame, q, _ = to_cleanlab(dataset_of(rows), [[0.1, 0.2, 0.3, 0.4]] * 3, anonymous="number")
    assert "1 votes that do not count" in caplog.text
    assert "1 utterances without a vote" in caplog.text
    assert frame.index.tolist() == ["u0", "u2"]
    np.testing.assert_array_equal(
        frame[["ann", "anonymous:1", "anonymous:2", "bob"]], [[3, 1, 3, np.nan], [np.nan] * 3 + [3]]
    )
    assert q.shape == (2, 4)
    with pytest.raises(DistributionError, match=r"`predictions` must have the shape \(3, 4\)"):
        to_cleanlab(dataset_of(rows), [[0.5, 0.5]] * 3, anonymous="number")
    with pytest.raises(ColumnError, match="`several_choices` is 'rows'"):
        to_cleanlab(dataset_of(rows), several_choices="rows")
    both = dataset_of([[vote("ann", "sad", "angry"), vote("bob", "sad")]])
    with pytest.raises(ColumnError, match="several labels of one annotator"):
        to_cleanlab(both)
    assert to_cleanlab(both, several_choices="leave_out").labels_multiannotator.columns.tolist() == ["bob"]


@pytest.mark.parametrize(
    ("cells", "error", "message"),
    [
        ([[0, 4]], CorpusError, "has 4 by 'b' on 'u0', which is no place in `classes`: 0 to 3"),
        ([[0, 0.5]], CorpusError, "has 0.5 by 'b'"),
        ([[-1, 0]], CorpusError, "has -1 by 'a'"),
        ([["sad", 0]], CorpusError, "must hold places in `classes`"),
    ],
)
def test_bad_cells_of_cleanlab(cells, error, message):
    with pytest.raises(error, match=message):
        from_cleanlab(pd.DataFrame(cells, index=["u0"], columns=["a", "b"]), list(CLASSES))


def test_annotators_of_cleanlab_come_once():
    with pytest.raises(ColumnError, match="an annotator that comes twice: 'a'"):
        from_cleanlab(pd.DataFrame([[0, 1]], columns=["a", "a"]), list(CLASSES))


# audformat


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A toy corpus with recordings, self votes and undecided turns; one recording is missing."""
    root = toy.write(tmp_path_factory.mktemp("toy") / "corpus", utterances=24, sessions=1, seed=4)
    next(root.rglob("*.wav")).unlink()
    loaded = dime_hf.load_dataset("iemocap", data_dir=root, split="session1", rows="all")
    return root, loaded.remove_columns([name for name in loaded.column_names if name.startswith("released_")])


@pytest.mark.parametrize("storage", ["parquet", "csv"])
def test_a_database_of_audformat_keeps_a_corpus(storage, corpus, tmp_path):
    root, dataset = corpus
    database = to_audformat(dataset, "toy", root=root, languages=["en"])
    database.save(str(tmp_path), storage_format=storage)
    loaded = audformat.Database.load(str(tmp_path))
    back = from_audformat(loaded, root)
    assert back.features == dataset.features
    assert back.with_format("arrow")[:].equals(dataset.with_format("arrow")[:])
    assert back.info.description == dataset.info.description
    assert back["audio"][:].count(None) == 1
    again = derive(back, VotePolicy(self_votes=True), rows="all")
    assert again["vote_counts"][:] == derive(dataset, VotePolicy(self_votes=True), rows="all")["vote_counts"][:]


def test_a_database_is_one_for_audformat_too(corpus):
    """Its own tables, schemes and types, and no absolute path."""
    root, dataset = corpus
    database = to_audformat(dataset, "toy", root=root)
    assert database.is_portable
    assert set(database.schemes["gender"].labels) >= {audformat.define.Gender.FEMALE, audformat.define.Gender.MALE}
    assert database.schemes["emotion"].labels == list(dataset.features["human_votes"].feature["choices"].feature.names)
    assert database.raters["votes"].type == audformat.define.RaterType.VOTE
    assert len(database.files) == len(dataset)
    women = database["utterances"].df.query("gender == 'female'")
    assert len(women) == dataset["gender"][:].count("female") > 0
    shares = database["soft_label"].get()
    voted = dataset["soft_label"][:].count(None)
    assert shares.isna().any(axis=1).sum() == voted
    cast = database["votes"].get()
    labels = [one for cell in dataset["human_votes"] for one in cell]
    assert len(cast) == sum(len(one["choices"]) + len(one["secondary"]) for one in labels)


@ALIKE
@given(rows_of_votes)
def test_audformat_round_trip_of_any_votes(rows):
    dataset = dataset_of(rows)
    back = from_audformat(to_audformat(dataset, "any"))
    assert back.with_format("arrow")[:].equals(dataset.with_format("arrow")[:])


def test_a_pooled_soft_label_stays(caplog):
    dataset = simulate(12, votes=3).dataset()
    pooled = dime_hf.get_pooler("prior").fit(dataset)
    labelled = dime_hf.pool.pool(dataset, pooled)
    with caplog.at_level(logging.WARNING, "dime_hf"):
        database = to_audformat(labelled, "pooled")
    assert "soft_label_entropy" in caplog.text
    back = from_audformat(database)
    for name in ("soft_label", "soft_label_source", "soft_label_votes", "vote_counts", "hard_label"):
        assert back[name][:] == labelled[name][:], name


def test_bad_databases(corpus, tmp_path):
    root, dataset = corpus
    with pytest.raises(CorpusError, match="'other' has no table 'utterances'"):
        from_audformat(audformat.Database("other", meta={"dime_hf": {}}))
    with pytest.raises(ColumnError, match="lies outside"):
        to_audformat(dataset, "toy", root=tmp_path)
    database = to_audformat(dataset, "toy", root=root)
    with pytest.raises(CorpusError, match="`scheme` is for databases that `to_audformat` did not make"):
        from_audformat(database, scheme="emotion")
    del database.meta["dime_hf"]
    with pytest.raises(CorpusError, match="'toy' has no votes: `to_audformat` did not make it"):
        from_audformat(database)
    same = dataset.select([1, 2]).map(lambda _: {"audio": dataset[1]["audio"]}, features=dataset.features)
    with pytest.raises(ColumnError, match="has the file .* twice"):
        to_audformat(same, "toy", root=root)


FILES = ["audio/a.wav", "audio/b.wav", "audio/c.wav"]
SAID = {
    "r1": ["anger", None, "calm"],
    "r2": ["anger", None, "joy"],
    "r3": [None, None, "joy"],
    "r4": ["sadness", None, "joy"],
    "r5": ["joy", None, None],
}


def rated(index, said=SAID, labels=("anger", "joy", "sadness", "calm")):
    """A database as audEERING publishes them: raters' columns, two gold standards, a majority and a confidence."""
    database = audformat.Database("rated", source="https://rated.example", description="Five raters.")
    database.schemes["emotion"] = audformat.Scheme("str", labels=list(labels))
    database.schemes["confidence"] = audformat.Scheme("float", minimum=0, maximum=1)
    speakers = {3: {"gender": "female"}, 8: {"gender": "male"}}
    database.schemes["speaker"] = audformat.Scheme("int", labels=speakers)
    database.schemes["text"] = audformat.Scheme("str")
    for rater in [*said, "gold"]:
        database.raters[rater] = audformat.Rater()
    database.raters["truth"] = audformat.Rater(audformat.define.RaterType.TRUTH)
    database.raters["machine"] = audformat.Rater(audformat.define.RaterType.MACHINE)
    table = database["emotion"] = audformat.Table(index)
    for rater, cells in said.items():
        table[f"emotion.{rater}"] = audformat.Column(scheme_id="emotion", rater_id=rater)
        table[f"emotion.{rater}"].set(cells)
    for other in ("gold", "truth", "machine", None):
        table[f"emotion-{other}"] = audformat.Column(scheme_id="emotion", rater_id=other)
        table[f"emotion-{other}"].set(["sadness"] * len(index))
    table["confidence"] = audformat.Column(scheme_id="confidence", rater_id="gold")
    table["confidence"].set([1.0] * len(index))
    table["words"] = audformat.Column(scheme_id="text")
    table["words"].set([f"words {row}" for row in range(len(index))])
    files = database["files"] = audformat.Table(audformat.filewise_index(FILES[::-1]))
    files["speaker"] = audformat.Column(scheme_id="speaker")
    files["speaker"].set([8, 3, 3])
    return database


def kept(database, folder, storage):
    database.save(str(folder), storage_format=storage)
    return audformat.Database.load(str(folder))


def cast_by(dataset):
    """What each annotator chose, by utterance."""
    cells = plain(dataset, "human_votes")["human_votes"]
    return [{one["annotator"]: one["choices"] for one in cell} for cell in cells]


@pytest.mark.parametrize("storage", ["parquet", "csv"])
def test_raters_of_files_of_an_audformat_database(storage, tmp_path, caplog):
    """Every rater's labels and nobody else's; the speaker from the table of files, the gender from the speakers."""
    toy_file = next(toy.write(tmp_path / "toy", utterances=4, sessions=1).rglob("*.wav"))
    database = kept(rated(audformat.filewise_index(FILES)), tmp_path / "database", storage)
    (tmp_path / "database/audio").mkdir()
    here = toy_file.rename(tmp_path / "database" / FILES[0])
    with caplog.at_level(logging.WARNING, "dime_hf"):
        dataset = from_audformat(database)
    assert "2 of 3 recordings are no files here" in caplog.text
    assert dataset["id"][:] == FILES
    assert columns.classes(dataset) == ("angry", "happy", "sad", "calm")
    assert cast_by(dataset) == [
        {"r1": ["angry"], "r2": ["angry"], "r4": ["sad"], "r5": ["happy"]},
        {},
        {"r1": ["calm"], "r2": ["happy"], "r3": ["happy"], "r4": ["happy"]},
    ]
    assert dataset["vote_counts"][:] == [[2, 1, 1, 0], [0, 0, 0, 0], [0, 3, 0, 1]]
    assert dataset["hard_label"][2] == 1
    assert dataset["speaker"][:] == ["3", "3", "8"]
    assert dataset["gender"][:] == ["female", "female", "male"]
    assert dataset["text"][:] == ["words 0", "words 1", "words 2"]
    assert [cell and cell["path"] for cell in dataset["audio"]] == [str(here), None, None]
    np.testing.assert_allclose(dataset["duration"][0], audio.duration(str(here)), rtol=1e-6)
    assert dataset["duration"][1:] == [None, None]
    left = "No votes: emotion-gold, emotion-truth, emotion-machine, emotion-None."
    assert f"Five raters.\nVotes from the table 'emotion', scheme 'emotion'. {left}\n" in dataset.info.description
    assert dataset.info.homepage == "https://rated.example"
    assert dataset.features == from_crowd_kit(to_crowd_kit(dataset), classes=columns.classes(dataset)).features


@pytest.mark.parametrize("storage", ["parquet", "csv"])
def test_raters_of_segments_of_an_audformat_database(storage, tmp_path, caplog):
    index = audformat.segmented_index([FILES[0], FILES[0], FILES[2]], ["0s", "1.5s", "0s"], ["1.5s", "3.25s", pd.NaT])
    database = kept(rated(index), tmp_path, storage)
    (tmp_path / "audio").mkdir()
    (tmp_path / FILES[0]).touch()
    with caplog.at_level(logging.WARNING, "dime_hf"):
        dataset = from_audformat(database)
    assert "2 segments of files" in caplog.text
    assert dataset["id"][:] == ["audio/a.wav#0.0-1.5", "audio/a.wav#1.5-3.25", "audio/c.wav"]
    assert dataset["vote_counts"][:] == [[2, 1, 1, 0], [0, 0, 0, 0], [0, 3, 0, 1]]
    assert dataset["duration"][:] == [1.5, 1.75, None]
    assert dataset["speaker"][:] == ["3", "3", "8"]
    assert dataset["audio"][:] == [None] * 3


def test_labels_of_an_audformat_database_as_they_are():
    dataset = from_audformat(
        rated(audformat.filewise_index(FILES)), classes=["anger", "joy", "sadness", "calm", "awe"]
    )
    assert columns.classes(dataset) == ("anger", "joy", "sadness", "calm", "awe")
    assert dataset["vote_counts"][2] == [0, 3, 0, 1, 0]


@pytest.mark.parametrize(
    ("dtype", "cells"), [("time", pd.to_timedelta(["2s", None, "0.5s"])), ("float", [2, None, 0.5])]
)
def test_durations_and_speakers_in_tables_of_an_audformat_database(dtype, cells):
    database = rated(audformat.filewise_index(FILES))
    database["people"] = audformat.MiscTable(pd.Index(["eve", "tim"], name="speaker", dtype="string"))
    database["people"]["gender"] = audformat.Column()
    database["people"]["gender"].set(["female", "male"])
    database.schemes["speaker"] = audformat.Scheme("str", labels="people")
    database.schemes["duration"] = audformat.Scheme(dtype)
    database["emotion"]["who"] = audformat.Column(scheme_id="speaker")
    database["emotion"]["who"].set(["tim", "eve", None])
    database["files"].drop_columns("speaker", inplace=True)
    database["files"]["length"] = audformat.Column(scheme_id="duration")
    database["files"]["length"].set(cells[::-1])  # its files come the other way round
    dataset = from_audformat(database)
    assert dataset["duration"][:] == [2, None, 0.5]
    assert dataset["speaker"][:] == ["tim", "eve", None]
    assert dataset["gender"][:] == ["male", "female", None]


@pytest.mark.parametrize("name", ["gold", "Gold_Standard", "emotion.gold", "goldstandard"])
def test_gold_standards_of_an_audformat_database_are_no_votes(name):
    database = rated(audformat.filewise_index(FILES), {**SAID, name: ["joy"] * 3, "Marigold": ["joy"] * 3})
    assert cast_by(from_audformat(database))[1] == {"Marigold": ["happy"]}


def test_several_places_of_votes_in_an_audformat_database():
    database = rated(audformat.filewise_index(FILES))
    database.schemes["style"] = audformat.Scheme("str", labels=["calm", "loud"])
    database["emotion"]["style"] = audformat.Column(scheme_id="style", rater_id="r1")
    database["emotion"]["style"].set(["loud", "calm", None])
    listed = "several places: say which of table='emotion', scheme='emotion'; table='emotion', scheme='style'"
    for table in (None, "emotion"):
        with pytest.raises(CorpusError, match=listed):
            from_audformat(database, table=table)
    assert cast_by(from_audformat(database, scheme="style")) == [{"r1": ["loud"]}, {"r1": ["calm"]}, {}]
    with pytest.raises(CorpusError, match="no votes in table='files'.* There are votes in table='emotion', scheme="):
        from_audformat(database, table="files")
    with pytest.raises(ColumnError, match="`table` is 'emotions', which `database` 'rated' does not have.*'emotion'"):
        from_audformat(database, table="emotions")
    with pytest.raises(ColumnError, match="`scheme` is 'styles'"):
        from_audformat(database, scheme="styles")


def test_bad_votes_in_an_audformat_database():
    index = audformat.filewise_index(FILES)
    with pytest.raises(CorpusError, match="'joy' and 'happiness' would both become 'happy'"):
        from_audformat(rated(index, labels=["anger", "joy", "happiness", "sadness", "calm"]))
    with pytest.raises(CorpusError, match="table 'emotion', has the label 'calm', which is not in `classes`"):
        from_audformat(rated(index), classes=["anger", "joy", "sadness"])
    twice = rated(index)
    twice["emotion"]["again"] = audformat.Column(scheme_id="emotion", rater_id="r2")
    twice["emotion"]["again"].set(["joy"] * 3)
    with pytest.raises(CorpusError, match=r"two columns of the rater 'r2' .*'emotion.r2' and 'again'"):
        from_audformat(twice)
    with pytest.raises(CorpusError, match="'rated' has no votes"):
        from_audformat(rated(index, {}))
    again = rated(index)
    again["emotion"].df.index = audformat.filewise_index([FILES[0], FILES[1], FILES[0]])
    with pytest.raises(CorpusError, match="'emotion' has 'audio/a.wav' twice"):
        from_audformat(again)
    with pytest.raises(CorpusError, match="'emotion', names the labels"):
        from_audformat(rated(index, {"r1": ["joy"] * 3}), classes=["joy"])


def test_without_audformat(monkeypatch):
    monkeypatch.setitem(sys.modules, "audformat", None)
    with pytest.raises(PackageError, match=r"needs the package audformat: pip install 'dime_hf\[interchange\]'"):
        to_audformat(dataset_of(HAND_MADE), "toy")


# Label Studio

RESULT = {"from_name": str, "to_name": str, "type": str, "value": dict}  # https://labelstud.io/guide/task_format


def conforms(task):
    """Whether a task is of the documented shape: data, and annotations of results."""
    assert set(task) <= {"data", "annotations", "id"}
    assert all(isinstance(value, (str, int, float)) for value in task["data"].values())
    for annotation in task["annotations"]:
        assert set(annotation) <= {"result", "completed_by"}
        for result in annotation["result"]:
            assert {name: type(value) for name, value in result.items()} == RESULT
            assert result["type"] in ("choices", "textarea")
            values = result["value"]["choices" if result["type"] == "choices" else "text"]
            assert all(isinstance(value, str) for value in values)
    return True


@ALIKE
@given(rows_of_votes)
def test_label_studio_round_trip_of_any_votes(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "any.json"
    dataset = dataset_of(rows, text=[f"words {row}" for row in range(len(rows))])
    assert to_label_studio(dataset, path) == len(rows)
    assert all(map(conforms, json.loads(path.read_text())))
    back = from_label_studio(path, classes=LABELS)
    assert plain(back, "id", "text", "human_votes") == plain(dataset, "id", "text", "human_votes")
    again = derive(back, "official", CLASSES, rows="all")
    assert again["vote_counts"][:] == dataset["vote_counts"][:]


def test_label_studio_refers_to_recordings(corpus, tmp_path):
    root, dataset = corpus
    users = {"E1": 3, "E2": "e2@example.org"}
    to_label_studio(dataset, tmp_path / "tasks.json", root=root, url="/data/local-files/?d=", users=users)
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    sounds = [task["data"].get("audio") for task in tasks]
    assert sounds.count(None) == 1
    assert all(sound.startswith("/data/local-files/?d=Session1/sentences/wav/") for sound in sounds if sound)
    back = from_label_studio(
        tmp_path / "tasks.json", root=root, url="/data/local-files/?d=",
        classes=dataset.features["human_votes"].feature["choices"].feature.names,
    )  # fmt: skip
    same = ("id", "audio", "text", "speaker", "gender", "session", "dialog", "human_votes")
    assert plain(back, *same) == plain(dataset, *same)
    seconds = [0 if second is None else second for second in back["duration"]]
    assert seconds == pytest.approx([0 if at is None else audio.duration(at["path"]) for at in back["audio"]])
    assert tasks[0]["annotations"][0]["completed_by"] in (3, {"email": "e2@example.org"}, None)
    given_ = [one.get("completed_by") for task in tasks for one in task["annotations"]]
    assert given_.count(3) == sum(one["annotator"] == "E1" for cell in dataset["human_votes"] for one in cell) > 0


def test_bytes_of_recordings_stay_behind(corpus, tmp_path, caplog):
    row = corpus[1].select([1])
    embedded = row.map(lambda _: {"audio": {"bytes": b"RIFF-secret", "path": None}}, features=row.features)
    with caplog.at_level(logging.WARNING, "dime_hf"):
        to_label_studio(embedded, tmp_path / "tasks.json")
        database = to_audformat(embedded, "toy")
    assert caplog.text.count("1 recordings are bytes in the dataset") == 2
    assert "secret" not in (tmp_path / "tasks.json").read_text()
    assert database["utterances"].df["recorded"].tolist() == [False]
    assert from_audformat(database)["audio"][:] == [None]


def test_the_labeling_interface_asks_for_the_labels():
    import xml.etree.ElementTree as Xml

    for rows, choice in ((HAND_MADE, "single"), ([[vote("ann", "sad", "angry")]], "multiple")):
        view = Xml.fromstring(labeling_config(dataset_of(rows)))
        asked = {control.get("name"): control for control in view.iter("Choices")}
        assert asked["emotion"].get("choice") == choice
        assert [label.get("value") for label in asked["emotion"]] == list(LABELS)
        sound = view.find("Audio")
        assert {control.get("toName") for control in view.iter() if control.get("toName")} == {sound.get("name")}
    with pytest.raises(ColumnError, match="`choice` is 'many'"):
        labeling_config(dataset_of(HAND_MADE), "many")


def answered(*choices, control="mood", by=1, **more):
    result = {"id": "x", "from_name": control, "to_name": "a", "type": "choices", "value": {"choices": list(choices)}}
    return {"id": 9, "completed_by": by, "result": [result], "was_cancelled": False, "ground_truth": False, **more}


def test_an_export_of_somebody_elses_project(tmp_path, caplog):
    """As Label Studio writes it: users by number or with their address, skipped and empty annotations, predictions."""
    tasks = [
        {"id": 11, "data": {"audio": "https://example.org/a.wav", "text": "Oh."}, "predictions": [], "annotations": [
            answered("Happy"), answered("Sad", "Happy", by={"id": 2, "email": "b@example.org"}),
            answered(was_cancelled=True), answered("5", control="stars"),
        ]},
        {"id": 12, "data": {"audio": "b.wav"}, "annotations": [answered("Happy", by=None)]},
        {"id": 13, "data": {}, "annotations": []},
    ]  # fmt: skip
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    with caplog.at_level(logging.WARNING, "dime_hf"):
        dataset = from_label_studio(tmp_path / "export.json", question="mood")
    assert "1 annotations were skipped, 1 have no answer to 'mood'" in caplog.text
    assert "2 of 3 recordings are no files here" in caplog.text
    assert dataset["id"][:] == ["11", "12", "13"]
    assert [[one["annotator"] for one in cell] for cell in dataset["human_votes"]] == [
        ["1", "b@example.org"],
        [None],
        [],
    ]
    assert columns.classes(dataset) == ("Happy", "Sad")
    assert dataset["vote_counts"][:] == [[2, 1], [1, 0], [0, 0]]
    assert dataset["text"][:] == ["Oh.", None, None]
    named = derive(dataset, label_set={"happy": ["Happy"], "sad": ["Sad"]})
    assert columns.classes(named) == ("happy", "sad")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "export.json: is no JSON"),
        ("{}", "export.json: must hold a list of tasks"),
        ([{"audio": "a.wav", "mood": "Happy"}], "export.json, task 1: has no `data`.*JSON-MIN"),
        ([{"data": {}, "annotations": []}], "task 1: neither its `data` nor itself has an `id`"),
        ([{"id": 1, "data": {}}, {"id": 1, "data": {}}], "task 2: the id '1' comes again"),
        ([{"id": 1, "data": {}, "annotations": {}}], "task 1: `annotations` must be a list"),
        ([{"id": 1, "data": {}, "annotations": [{}]}], "task 1: an annotation has no list `result`"),
        ([{"id": 1, "data": {}, "annotations": [{"result": ["x"]}]}], "task 1: a result has no `from_name`"),
        (
            [{"id": 1, "data": {}, "annotations": [{"result": answered("a")["result"] * 2}]}],
            "task 1: 'mood' is answered twice",
        ),
        (
            [{"id": 1, "data": {}, "annotations": [
                {"result": [{"from_name": "mood", "value": {"start": 0, "end": 1, "choices": ["a"]}}]}]}],
            "task 1: 'mood' is answered twice, or of a part",
        ),
        (
            [{"id": 1, "data": {}, "annotations": [{"result": [{"from_name": "mood", "value": {"rating": 3}}]}]}],
            "task 1: 'mood' must be answered by a list of choices",
        ),
        ([{"id": 1, "data": {}, "annotations": [answered("a", control="moods")]}], "nobody answers.*'mood'.*'moods'"),
        ([{"id": 1, "data": {}, "annotations": [answered("a")]}], r"\['a'\].*`classes`"),
    ],
)  # fmt: skip
def test_bad_exports_of_label_studio(content, message, tmp_path):
    path = tmp_path / "export.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(CorpusError, match=message):
        from_label_studio(path, question="mood")
