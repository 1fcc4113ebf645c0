"""Joining corpora: counts against brute force, and what cannot be joined."""

import collections
import json

import datasets
import numpy as np
import pytest

from dime_hf import VotePolicy, derive, hold_out_votes, join, load_dataset
from dime_hf.corpora.folder import TOY_LICENCE
from dime_hf.corpora.policy import Tally
from dime_hf.errors import ColumnError, CorpusError, LeakageError

FOUR = ["angry", "happy", "neutral", "sad"]
MERGED = {"angry": ["angry"], "happy": ["happy", "excited"], "neutral": ["neutral"], "sad": ["sad", "Gloomy"]}
VOTES = """id,annotator,label
Ses01F_impro01_F000,E1,happy
Ses01F_impro01_F000,E2,Gloomy
u2,E1,Gloomy
u2,E2,Gloomy;fear
u3,E2,fear
"""
CLIPS = "id,speaker,room\nSes01F_impro01_F000,Ses01F,3\nu2,,4\nu3,,5\n"


@pytest.fixture
def toy(toy_root):
    return load_dataset("iemocap", "10class", toy_root, "session1")


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "votes.csv").write_text(VOTES)
    (tmp_path / "metadata.csv").write_text(CLIPS)
    return load_dataset("dime_votes", data_dir=tmp_path, split="train", labels_only=True)


def brute_force(dataset, label_set, *, self_votes=False, smoothing=0.0):
    """Counts, soft and hard labels of every row, by walking through its votes."""
    names = dataset.features["human_votes"].feature["choices"].feature.names
    class_of = {raw: place for place, members in enumerate(label_set.values()) for raw in members}
    for votes in dataset["human_votes"]:
        asked = [vote for vote in votes if self_votes or vote["kind"] == "external"]
        ticks = collections.Counter(names[choice] for vote in asked for choice in vote["choices"])
        counts = [0] * len(label_set)
        for raw, count in ticks.items():
            if raw in class_of:
                counts[class_of[raw]] += count
        ranked = ticks.most_common(2)
        tied = not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1])
        total = sum(counts)
        size = len(counts) - 1
        soft = [smoothing / size + c / total * (1 - smoothing - smoothing / size) for c in counts] if total else None
        yield counts, soft, None if tied else class_of.get(ranked[0][0])


def assert_labels(joined, expected):
    for row, (counts, soft, hard) in zip(joined.remove_columns("audio"), expected, strict=True):
        assert row["vote_counts"] == counts
        assert row["hard_label"] == hard
        assert row["soft_label_votes"] == sum(counts)
        if soft is None:
            assert row["soft_label"] is None
        else:
            np.testing.assert_allclose(row["soft_label"], soft, atol=1e-6)


def test_counts_are_those_of_the_votes(toy, mine):
    joined = join({"toy": toy, "mine": mine}, MERGED, rows="all")
    assert joined["corpus"][:] == ["toy"] * len(toy) + ["mine"] * 3
    assert_labels(joined, [*brute_force(toy, MERGED), *brute_force(mine, MERGED)])
    assert joined.features["hard_label"].names == list(MERGED)
    assert joined.features["human_votes"].feature["choices"].feature.names == [
        *toy.features["hard_label"].names, "Gloomy",
    ]  # fmt: skip
    assert Tally.read(joined).label_set.merge == Tally.read(derive(joined)).label_set.merge
    assert join({"toy": toy, "mine": mine}, MERGED)["id"][:] == [*toy["id"], *mine["id"]][:-1]  # u3 has fear alone


def test_votes_stay_as_they_were(toy, mine):
    joined = join({"toy": toy, "mine": mine}, FOUR, rows="all")
    for dataset in (toy, mine):
        name = "toy" if dataset is toy else "mine"
        part = joined.filter(lambda corpus, name=name: corpus == name, input_columns="corpus")
        old, new = (d.features["human_votes"].feature["choices"].feature.names for d in (dataset, part))
        for before, after in zip(dataset["human_votes"], part["human_votes"], strict=True):
            assert [[old[c] for c in vote["choices"]] for vote in before] == [
                [new[c] for c in vote["choices"]] for vote in after
            ]
            assert [(f"{name}:{vote['annotator']}", vote["kind"], vote["note"]) for vote in before] == [
                (vote["annotator"], vote["kind"], vote["note"]) for vote in after
            ]


def test_groups_of_different_corpora_stay_apart(toy, mine):
    joined = join({"toy": toy, "mine": mine}, FOUR, rows="all")
    assert "Ses01F" in set(toy["speaker"]) & set(mine["speaker"])
    assert set(joined["speaker"]) == {"toy:Ses01F", "toy:Ses01M", "mine:Ses01F", None}
    assert set(joined["session"]) == {"toy:session1", None}
    assert joined["id"][:].count("Ses01F_impro01_F000") == 2


def test_columns_of_one_corpus_are_null_in_the_others(toy, mine):
    joined = join({"toy": toy, "mine": mine}, FOUR, rows="all")
    assert joined["room"][-3:] == [3, 4, 5]
    assert set(joined["room"][: len(toy)]) == {None}
    assert joined["released_valence"][-3:] == [None] * 3
    assert joined["valence"][: len(toy)] == toy["valence"][:]
    assert joined["audio"][: len(toy)] == toy["audio"][:]
    assert joined.column_names[: len(mine.column_names) - 1] == mine.column_names[:-1]
    assert set(joined.column_names) == {*toy.column_names, "room", "corpus"}


def test_policies_of_the_corpora_are_kept(toy_root, mine):
    smoothed = load_dataset("iemocap", "10class", toy_root, "session1", vote_policy="emo_superb")
    joined = join({"toy": smoothed, "mine": mine}, MERGED, rows="all")
    expected = [*brute_force(smoothed, MERGED, self_votes=True, smoothing=0.05), *brute_force(mine, MERGED)]
    assert_labels(joined, expected)
    lines = joined.info.description.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["toy", "mine"]
    assert [json.loads(line.partition("Vote policy: ")[2])["smoothing"] for line in lines] == [0.05, 0.0]
    assert f"Licence: {TOY_LICENCE}" in lines[0]
    assert joined.info.license == f"toy: {TOY_LICENCE}; mine: not known"
    with pytest.raises(ColumnError, match="joins corpora of several policies"):
        Tally.read(joined)
    one = join({"toy": smoothed, "mine": mine}, MERGED, "official", rows="all")
    assert_labels(one, [*brute_force(smoothed, MERGED), *brute_force(mine, MERGED)])
    assert Tally.read(one).policy == VotePolicy()
    assert set(hold_out_votes(one, keep=1)["corpus"]) == {"toy", "mine"}
    with pytest.raises(CorpusError, match="disagree on labels `outside`"):
        join({"toy": toy_policy(smoothed, outside="other"), "mine": mine}, FOUR)


def toy_policy(dataset, **policy):
    return derive(dataset, VotePolicy(**policy), rows="all")


def test_label_sets_that_agree_need_no_other(toy_root, toy, mine, tmp_path):
    four = load_dataset("iemocap", data_dir=toy_root, split="session1")
    (tmp_path / "others.csv").write_text("id,angry,happy,neutral,sad,calm\na,1,0,0,1,5\n")
    others = load_dataset(
        "dime_votes", data_files=str(tmp_path / "others.csv"), split="train", label_set=FOUR, labels_only=True
    )
    joined = join({"toy": four, "others": others})
    assert joined["vote_counts"][:] == [*four["vote_counts"][:], [1, 0, 0, 1]]
    assert dict(Tally.read(joined).label_set.merge)["excited"] == "happy"
    with pytest.raises(CorpusError, match="`label_set` is needed: toy has the classes angry, happy"):
        join({"toy": toy, "mine": mine})
    pure = derive(toy, label_set=FOUR)
    with pytest.raises(CorpusError, match="or merges other labels into them"):
        join({"toy": four, "pure": pure}, ratings="keep")


def test_ratings_on_different_scales(toy, toy_root, mine):
    other = load_dataset("iemocap", "10class", toy_root, "session2")
    with pytest.raises(ColumnError, match="one and two have 'activation', which may be on different scales"):
        join({"one": toy, "two": other})
    kept = join({"one": toy, "two": other}, ratings="keep")
    assert kept["valence"][:] == [*toy["valence"], *other["valence"]]
    dropped = join({"one": toy, "two": other}, ratings="drop")
    assert set(dropped["valence"]) == set(dropped["dominance"]) == {None}
    assert dropped.column_names == kept.column_names
    with pytest.raises(CorpusError, match="`ratings` is 'scale'"):
        join({"one": toy, "two": mine}, ratings="scale")


def test_what_cannot_be_joined(toy, toy_root, mine):
    with pytest.raises(CorpusError, match="`corpora` is empty"):
        join({})
    with pytest.raises(ColumnError, match=r"`corpora\['all'\]` is a DatasetDict"):
        join({"all": load_dataset("iemocap", data_dir=toy_root)})
    with pytest.raises(ColumnError, match=r"`corpora\['s'\]` is a stream"):
        join({"s": load_dataset("iemocap", data_dir=toy_root, split="session1", streaming=True)})
    with pytest.raises(ColumnError, match=r"2 ids more than once, first 'Ses01F_impro01_F000'"):
        join({"twice": datasets.concatenate_datasets([mine, mine.select([0, 1])])}, FOUR)
    with pytest.raises(ColumnError, match="the column 'room' is .*int64.* in mine, but .*string"):
        join({"mine": mine, "other": mine.cast_column("room", datasets.Value("string"))}, FOUR)
    with pytest.raises(ColumnError, match="has a column 'corpus'"):
        join({"again": join({"mine": mine}, ["happy", "Gloomy"])})
    with pytest.raises(LeakageError, match="held-out votes"):
        join({"held": hold_out_votes(toy, keep=2)}, FOUR)
    with pytest.raises(CorpusError, match="raw label 'gloomy'.*Did you mean 'Gloomy'"):
        join({"mine": mine}, ["gloomy", "fear"])


def test_a_selection_is_joined_as_it_stands(toy, mine):
    some = toy.shuffle(seed=0).select(range(7))
    joined = join({"some": some, "mine": mine.select([1])}, MERGED, rows="all")
    assert joined["id"][:] == [*some["id"], "u2"]
    assert_labels(joined, [*brute_force(some, MERGED), *brute_force(mine.select([1]), MERGED)])


def test_real_votes_with_the_toy_corpus(crema_d, toy, mine):
    real = load_dataset("crema_d", data_dir=crema_d, split="train", labels_only=True)
    joined = join({"toy": toy, "crema_d": real, "mine": mine}, MERGED)
    mass = np.sum(joined.filter(lambda corpus: corpus == "crema_d", input_columns="corpus")["vote_counts"], axis=0)
    assert dict(zip(MERGED, mass, strict=True)) == {"angry": 9863, "happy": 4590, "neutral": 30152, "sad": 6900}
    own = [*brute_force(toy, MERGED), *brute_force(real, MERGED), *brute_force(mine, MERGED)]
    assert_labels(joined, [labels for labels in own if labels[1] is not None])
    assert joined.features["human_votes"].feature["choices"].feature.names[-2:] == ["other", "Gloomy"]
    assert len({speaker for speaker in joined["speaker"] if speaker and speaker.startswith("crema_d:")}) == 91


def test_crema_d_brought_by_hand_is_crema_d(crema_d, tmp_path):
    """Its table of counts as a file of one's own, in wide form: the same votes as by its own builder."""
    own = load_dataset("crema_d", data_dir=crema_d, split="train", labels_only=True)
    names = own.features["hard_label"].names
    counts = np.asarray(own["vote_counts"], dtype=int)
    lines = [",".join(["id", *names])]
    lines += [",".join([id, *map(str, row)]) for id, row in zip(own["id"], counts.tolist(), strict=True)]
    (tmp_path / "votes.csv").write_text("\n".join(lines))
    brought = load_dataset("dime_votes", data_dir=tmp_path, split="train", labels_only=True)
    for name in ("id", "vote_counts", "soft_label", "hard_label", "soft_label_votes"):
        assert brought[name][:] == own[name][:]
