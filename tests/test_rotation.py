"""Annotators who judge in turn: everybody once, and never on both sides."""

import numpy as np
import pytest

from dime_hf import columns, load_dataset, rotate_annotators
from dime_hf.corpora.cast import UNKNOWN, Ballots
from dime_hf.corpora.rotation import annotator_folds
from dime_hf.errors import DistributionError
from dime_hf.simulation import simulate
from tests.places import DATA


def by_id(dataset, column):
    return dict(zip(dataset["id"], map(tuple, dataset[column]), strict=True))


def voters(dataset):
    return {vote["annotator"] for votes in dataset["human_votes"] for vote in votes}


def test_three_annotators_judge_once_each():
    corpus = simulate(90, annotators=3, seed=1)
    dataset = corpus.dataset()
    turns = rotate_annotators(dataset, folds=3)
    assert [len(turn) for turn in turns] == [90] * 3
    np.testing.assert_array_equal(sum(np.array(turn["reference_counts"]) for turn in turns), corpus.counts)
    for turn in turns:
        kept, reference = np.array(turn["vote_counts"]), np.array(turn["reference_counts"])
        np.testing.assert_array_equal(kept + reference, corpus.counts)
        assert set(kept.sum(-1)) == {2}
        np.testing.assert_array_equal(Ballots.read(turn).counts(), kept)
        np.testing.assert_allclose(turn["soft_label"], kept / 2)
    assert sorted(len(voters(dataset) - voters(turn)) for turn in turns) == [1, 1, 1]


def test_no_annotator_is_on_both_sides(toy_root):
    dataset = load_dataset("iemocap", data_dir=toy_root, split="session1")
    everyone, judges = voters(dataset), []
    for turn in rotate_annotators(dataset, folds=3):
        whole = by_id(dataset, "human_votes")
        gone = [
            {vote["annotator"] for vote in whole[id]} - {vote["annotator"] for vote in kept}
            for id, kept in by_id(turn, "human_votes").items()
        ]
        judges.append(set().union(*gone))
        assert not judges[-1] & voters(turn)
    assert judges[0] | judges[1] | judges[2] <= everyone
    assert not judges[0] & judges[1]
    assert not judges[1] & judges[2]


def test_annotators_who_meet_are_parted():
    """Two trios that never meet: each has one member in every fold, though all have the same number of votes."""
    corpus = simulate(60, annotators=6, seed=3)
    choices = corpus.choices.copy()
    choices[:30, 3:], choices[30:, :3] = UNKNOWN, UNKNOWN
    row, annotator = np.nonzero(choices != UNKNOWN)
    ballots = Ballots(tuple("abcdef"), row, annotator, np.eye(4)[choices[row, annotator]], 60)
    folds = annotator_folds(ballots, 3)
    assert sorted(folds[name] for name in "abc") == [0, 1, 2]
    assert sorted(folds[name] for name in "def") == [0, 1, 2]


def test_unknown_annotators_are_dealt_by_seed_and_id():
    dataset = simulate(40, annotators=5, votes=4, seed=2).dataset()
    nameless = dataset.map(
        lambda row: {"human_votes": [vote | {"annotator": None} for vote in row["human_votes"]]},
        features=dataset.features,
    )
    turns = rotate_annotators(nameless, folds=2, seed=7)
    assert {
        tuple(np.sum(counts) for counts in row) for row in zip(*(t["reference_counts"] for t in turns), strict=True)
    } == {(2, 2)}
    again = rotate_annotators(nameless.shuffle(seed=1), folds=2, seed=7)
    assert [by_id(turn, "reference_counts") for turn in again] == [by_id(turn, "reference_counts") for turn in turns]
    other = rotate_annotators(nameless, folds=2, seed=8)
    assert by_id(other[0], "reference_counts") != by_id(turns[0], "reference_counts")


def test_one_fold_is_no_split():
    with pytest.raises(DistributionError, match="`folds` must be at least 2"):
        rotate_annotators(simulate(5).dataset(), folds=1)


@pytest.mark.skipif(not (DATA / "crema_d").exists(), reason="CREMA-D's votes are not here")
def test_crema_d_has_no_names_and_is_dealt_evenly():
    voice = load_dataset("crema_d", "voice", data_dir=str(DATA / "crema_d"), split="train", rows="all")
    voice = voice.remove_columns(columns.AUDIO).select(range(200))
    turns = rotate_annotators(voice, folds=3)
    sizes = np.stack([np.array(turn["reference_counts"]).sum(-1) for turn in turns])
    assert (sizes.max(0) - sizes.min(0)).max() <= 1
    np.testing.assert_array_equal(
        sum(np.array(turn["reference_counts"]) for turn in turns), np.array(voice["vote_counts"])
    )
