"""Label sets, vote policies, and votes held out."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dime_hf import columns, hold_out_votes, load_dataset
from dime_hf.corpora.cast import Ballots
from dime_hf.corpora.holdout import HoldOut
from dime_hf.corpora.iemocap import FOUR_CLASSES, IemocapFolder
from dime_hf.corpora.labels import LabelSet
from dime_hf.corpora.policy import Tally, VotePolicy
from dime_hf.corpora.votes import CastVotes, Vote
from dime_hf.distribution import plurality
from dime_hf.errors import CorpusError, DistributionError

INVENTORY = IemocapFolder.inventory
FOUR = LabelSet.of(FOUR_CLASSES, INVENTORY)


def vote(*choices, kind="external"):
    return Vote("E1", kind, choices)


def tally(**policy):
    return Tally.of(VotePolicy(**policy), FOUR, INVENTORY)


def ticks(votes, **policy):
    return tally(**policy).ticks(CastVotes.of([tuple(votes)], INVENTORY))


def count(votes, **policy):
    return tally(**policy).count(ticks(votes, **policy))[0].tolist()


def decide(votes, **policy):
    """Name of the class decided for."""
    rule = tally(**policy)
    winner = rule.decide(ticks(votes, **policy))[0]
    return None if winner < 0 else rule.classes[winner]


def test_pooled_ticks_and_split_votes():
    votes = [vote("neutral", "angry"), vote("neutral"), vote("excited", "fear"), vote("sad", kind="self")]
    assert count(votes) == [1, 1, 2, 0]
    assert count(votes, several_choices="split") == [0.5, 0.5, 1.5, 0]
    assert count(votes, self_votes=True) == [1, 1, 2, 1]


def test_merging_before_or_after_the_plurality():
    votes = [vote("happy"), vote("excited"), vote("sad")]
    assert decide(votes) is None  # three ways tied
    assert decide(votes, merge="before") == "happy"


def test_a_plurality_outside_the_label_set_decides_nothing():
    votes = [vote("frustrated"), vote("frustrated"), vote("angry")]
    assert decide(votes) is None
    assert decide(votes, merge="before") == "angry"
    assert tally(outside="other").classes == ("angry", "happy", "neutral", "sad", "other")
    assert count(votes, outside="other") == [1, 0, 0, 0, 2]
    assert decide(votes, outside="other") == "other"


def test_no_class_is_added_for_what_lies_outside_where_nothing_does():
    everything = LabelSet.of(INVENTORY, INVENTORY)
    assert Tally.of(VotePolicy(outside="other"), everything, INVENTORY).classes == everything.classes


@given(st.lists(st.lists(st.sampled_from(INVENTORY), min_size=1, max_size=3, unique=True), min_size=1, max_size=6))
def test_no_vote_is_lost_when_the_rest_is_kept(ballots):
    votes = [vote(*choices) for choices in ballots]
    assert sum(count(votes, outside="other")) == sum(map(len, ballots))
    assert sum(count(votes, outside="other", several_choices="split")) == pytest.approx(len(ballots))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_plurality_is_the_unique_maximum(counts):
    winners = [i for i, count in enumerate(counts) if count == max(counts)]
    expected = winners[0] if len(winners) == 1 and max(counts) > 0 else -1
    assert plurality(counts) == expected


def test_bad_label_sets_and_policies():
    with pytest.raises(CorpusError, match="Did you mean 'excited'"):
        LabelSet.of({"happy": ["excite"], "sad": ["sad"]}, INVENTORY)
    with pytest.raises(CorpusError, match="two classes"):
        LabelSet.of({"up": ["happy"], "down": ["happy"]}, INVENTORY)
    with pytest.raises(CorpusError, match="list of raw labels"):
        LabelSet.of({"up": "happy", "down": ["sad"]}, INVENTORY)
    with pytest.raises(CorpusError, match="at least two"):
        LabelSet.of(["happy"], INVENTORY)
    with pytest.raises(DistributionError, match="several_choices"):
        VotePolicy(several_choices="share")


def test_held_out_votes_are_other_annotators(toy_root):
    dataset = load_dataset("iemocap", data_dir=toy_root, split="session1", vote_policy=VotePolicy(merge="before"))
    held = hold_out_votes(dataset, keep=2, seed=3)
    by_id = dict(zip(dataset["id"], np.asarray(dataset["vote_counts"]), strict=True))
    kept, reference = np.asarray(held["vote_counts"]), np.asarray(held["reference_counts"])
    np.testing.assert_array_equal(kept + reference, [by_id[id] for id in held["id"]])
    assert set(kept.sum(-1)) == {2}
    assert reference.sum(-1).min() >= 1
    assert set(by_id) - set(held["id"]) == {id for id, counts in by_id.items() if counts.sum() <= 2}
    np.testing.assert_allclose(held["soft_label"], kept / 2)
    assert [-1 if label is None else label for label in held["hard_label"]] == plurality(kept).tolist()
    assert held.info.description == dataset.info.description
    np.testing.assert_array_equal(Ballots.read(held).counts(), kept)  # no vote of the reference is left to be found


def test_holding_out_does_not_depend_on_the_order_of_rows(toy_fold):
    dataset = toy_fold["test"]
    straight = hold_out_votes(dataset, keep=2)
    shuffled = hold_out_votes(dataset.shuffle(seed=0), keep=2)
    other_seed = hold_out_votes(dataset, keep=2, seed=1)
    assert dict(zip(straight["id"], straight["vote_counts"], strict=True)) == dict(
        zip(shuffled["id"], shuffled["vote_counts"], strict=True)
    )
    assert straight["vote_counts"][:] != other_seed["vote_counts"][:]


def test_all_ticks_of_an_annotator_stay_together():
    votes = [(vote("angry", "sad"), vote("angry", "sad"), vote("other"))]
    type = columns.corpus_features(FOUR.classes, INVENTORY).arrow_schema.field("human_votes").type
    batch = pa.table({"id": ["a"], "human_votes": CastVotes.of(votes, INVENTORY).column(type)})
    made = HoldOut(tally(), keep=1, seed=0)(batch)
    assert made["vote_counts"].to_pylist() == [[1, 0, 0, 1]]
    assert made["reference_counts"].to_pylist() == [[1, 0, 0, 1]]
    assert made["hard_label"].to_pylist() == [None]


def test_nothing_to_hold_out(toy_fold):
    held = hold_out_votes(toy_fold["test"].select([]), keep=2)
    assert len(held) == 0
    assert "reference_counts" in held.column_names


def test_keep_at_least_one(toy_fold):
    with pytest.raises(DistributionError, match="at least 1"):
        hold_out_votes(toy_fold["test"], keep=0)
