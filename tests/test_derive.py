"""Other labels from the same votes: against loading the corpus anew, and against counting by hand."""

import collections

import numpy as np
import pytest

from dime_hf import VotePolicy, derive, hold_out_votes, load_dataset
from dime_hf.corpora.iemocap import FOUR_CLASSES
from dime_hf.corpora.policy import POLICIES, Tally
from dime_hf.errors import ColumnError, CorpusError, DistributionError, LeakageError

LABELS = ("id", "vote_counts", "hard_label", "soft_label", "soft_label_source", "soft_label_votes")
NINE = ["angry", "happy", "neutral", "sad", "excited", "frustrated", "surprise", "fear", "disgust"]


@pytest.fixture(scope="module")
def everything(toy_root):
    return load_dataset("iemocap", "10class", toy_root, split="session2", rows="all")


@pytest.mark.parametrize("rows", ["voted", "decided", "all"])
@pytest.mark.parametrize(
    "policy",
    [*POLICIES.values(), VotePolicy(several_choices="split", outside="other"), VotePolicy(merge="before")],
)
def test_derived_is_loaded(everything, toy_root, policy, rows):
    derived = derive(everything, policy, FOUR_CLASSES, rows=rows)
    loaded = load_dataset(
        "iemocap", data_dir=toy_root, split="session2", label_set=FOUR_CLASSES, vote_policy=policy, rows=rows
    )
    assert derived.features == loaded.features
    assert derived.info.description == loaded.info.description
    assert Tally.read(derived) == Tally.read(loaded)
    for name in LABELS:
        assert derived[name][:] == loaded[name][:], name


def test_emo_superb_by_hand(everything):
    """Every tick of everybody, without Other, smoothed: 0 -> .00625 and 1 -> .95 in nine classes."""
    derived = derive(everything, "emo_superb", NINE)
    names = everything.features["human_votes"].feature["choices"].feature.names
    votes_of = dict(zip(everything["id"], everything["human_votes"], strict=True))
    for id, soft in zip(derived["id"], derived["soft_label"], strict=True):
        ticks = collections.Counter(names[choice] for vote in votes_of[id] for choice in vote["choices"])
        ticks.pop("other", None)
        share = np.array([ticks[name] for name in NINE]) / ticks.total()
        np.testing.assert_allclose(soft, 0.05 / 8 + share * (1 - 0.05 - 0.05 / 8), atol=1e-6)


def test_its_own_label_set_stays(toy_root):
    four = load_dataset("iemocap", data_dir=toy_root, split="session1")
    assert derive(four)["soft_label"][:] == four["soft_label"][:]
    assert derive(four).column_names == four.column_names


def test_what_cannot_be_derived(everything, toy_root):
    four = load_dataset("iemocap", data_dir=toy_root, split="session1")
    with pytest.raises(LeakageError, match="hold out"):
        derive(hold_out_votes(four, keep=2))
    with pytest.raises(CorpusError, match="Did you mean 'excited'"):
        derive(everything, label_set=["excite", "sad"])
    with pytest.raises(CorpusError, match="Did you mean 'decided'"):
        derive(everything, rows="decide")
    with pytest.raises(DistributionError, match="Did you mean 'emo_superb'"):
        derive(everything, "emosuperb")
    with pytest.raises(ColumnError, match="derive first"):
        derive(four.add_column("answers", [[]] * len(four)), label_set=["happy", "sad"])
    with pytest.raises(ColumnError, match="augment"):
        derive(four.add_column("parents", [[]] * len(four)))
    with pytest.raises(ColumnError, match="human_votes"):
        derive(four.remove_columns("human_votes"))
    with pytest.raises(DistributionError, match="smoothing"):
        VotePolicy(smoothing=0.7)


def test_labels_only_touches_no_recording(toy_root, tmp_path, monkeypatch):
    import dime_hf.corpora.folder as folder

    monkeypatch.setattr(folder.CorpusFolder, "missing", None)
    monkeypatch.setattr(folder.CorpusFolder, "audio_folders", None)
    loaded = load_dataset("iemocap", data_dir=toy_root, split="session1", labels_only=True, cache_dir=str(tmp_path))
    assert loaded.data.column("audio").null_count == len(loaded) > 0
    assert None not in loaded["duration"]
    with pytest.raises(CorpusError, match="labels_only"):
        load_dataset("iemocap", data_dir=toy_root, labels_only=True, missing_audio="drop")
