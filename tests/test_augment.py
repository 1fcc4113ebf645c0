"""DiME-Aug, the paper's recipe: the plan, the mixes, and what must not be augmented."""

import collections
import json

import datasets
import numpy as np
import pytest
import scipy.spatial.distance

import dime_hf
from dime_hf import audio
from dime_hf.augment import DimeAug, augment
from dime_hf.augment.features import neighbour_features
from dime_hf.errors import ColumnError, LeakageError, PlanError


@pytest.fixture(scope="module")
def train(toy_fold):
    return toy_fold["train"]


@pytest.fixture(scope="module")
def plan(train):
    return DimeAug(ratio=0.6, recipe="paper").plan(train)


def dominant(dataset):
    return np.asarray(dataset["soft_label"]).argmax(-1)


def test_classes_are_topped_up_to_the_ratio(train, plan):
    counts = np.bincount(dominant(train), minlength=4)
    target = int(np.ceil(0.6 * counts.max()))
    of_class = collections.Counter(
        dominant(train)[train["id"][:].index(parents[0])] for parents in plan.rows["parents"]
    )
    assert [of_class[c] for c in range(4)] == np.maximum(target - counts, 0).tolist()
    assert len(plan.rows) > 0
    assert f"{'sad':<16}{counts[3]:>10}" in str(plan)
    after = np.bincount(dominant(augment(train, plan)), minlength=4)
    assert after.min() >= target


def test_partners_are_near_neighbours_of_the_same_class(train, plan):
    features, labels = neighbour_features(train), dominant(train)
    row = {id: index for index, id in enumerate(train["id"])}
    distance = scipy.spatial.distance.cdist(features, features)
    for parents in plan.rows["parents"]:
        first, second = (row[id] for id in parents)
        same = np.flatnonzero((labels == labels[first]) & (np.arange(len(train)) != first))
        assert second in same[np.argsort(distance[first, same])][:3]


def test_a_mix_is_the_weighted_sum_of_its_parents(train, plan):
    augmented = augment(train, plan)
    rows = {row["id"]: row for row in augmented}
    assert len(rows) == len(augmented)
    for mix in list(augmented)[len(train) :]:
        settings = json.loads(mix["augmentation"])
        first, second = (rows[id] for id in mix["parents"])
        assert (settings["operation"], settings["recipe"]) == ("interpolate", "paper")
        weight = settings["parameters"]["weight"]
        sounds = [audio.read(parent["audio"]) for parent in (first, second)]
        length = min(map(len, sounds))
        expected = (1 - weight) * sounds[0][:length] + weight * sounds[1][:length]
        np.testing.assert_allclose(audio.read(mix["audio"]), expected, atol=1e-4)
        labels = np.array([first["soft_label"], second["soft_label"]])
        np.testing.assert_allclose(mix["soft_label"], [1 - weight, weight] @ labels, atol=1e-6)
        assert mix["text"] == (first if weight < 0.5 else second)["text"]
        assert mix["duration"] == pytest.approx(length / 16000, abs=1e-4)
        assert mix["human_votes"] == []
        assert sum(mix["vote_counts"]) == 0
        assert mix["hard_label"] is None
        assert mix["soft_label_source"] == "dime_aug"
        assert mix["speaker"] == (first["speaker"] if first["speaker"] == second["speaker"] else None)
    real = augmented[0]
    assert (real["parents"], real["parent_weights"], real["augmentation"]) == ([], [], "")
    assert (
        augmented.select(range(len(train))).remove_columns(["parents", "parent_weights", "augmentation"])[:]
        == train[:]
    )
    assert augmented.info.description == train.info.description


def test_the_plan_depends_on_the_seed_alone(train, plan):
    assert DimeAug(ratio=0.6, recipe="paper").plan(train.shuffle(seed=5)).rows[:] == plan.rows[:]
    assert DimeAug(ratio=0.6, seed=1, recipe="paper").plan(train).rows[:] != plan.rows[:]


def test_several_processes_make_the_same_mixes(train, plan):
    assert augment(train, plan, num_proc=2)[:] == augment(train, plan)[:]


def test_nothing_to_top_up(train):
    small = DimeAug(ratio=0.01, recipe="paper").plan(train)
    assert len(small.rows) == 0
    assert augment(train, small)["id"][:] == train["id"][:]


def test_a_class_of_one_cannot_be_mixed(train):
    labels = dominant(train)
    lonely = np.flatnonzero(labels == labels.min())[:1]
    rest = np.flatnonzero(labels != labels.min())
    plan = DimeAug(ratio=0.6, recipe="paper").plan(train.select([*lonely, *rest]))
    assert not any(train["id"][lonely[0]] in parents for parents in plan.rows["parents"])
    assert "needs two utterances" in str(plan)


def test_only_training_data_is_augmented(toy_fold, train):
    with pytest.raises(LeakageError, match="the split 'test'"):
        DimeAug().plan(toy_fold["test"])
    with pytest.raises(LeakageError, match="reference_counts"):
        DimeAug().plan(dime_hf.hold_out_votes(train, keep=2))
    with pytest.raises(ColumnError, match=r"`train\['train'\]`"):
        DimeAug().plan(toy_fold)


def test_bad_arguments(train, plan):
    with pytest.raises(PlanError, match="`ratio`"):
        DimeAug(ratio=1.5)
    with pytest.raises(PlanError, match="`neighbours`"):
        DimeAug(neighbours=0)
    with pytest.raises(PlanError, match="Did you mean 'paper'"):
        DimeAug(recipe="papers")
    with pytest.raises(PlanError, match="`plan` needs"):
        augment(train.select([0]), plan)


def test_utterances_without_sound_take_no_part(train):
    silent = train.select_columns([name for name in train.column_names if name != "audio"])
    silent = silent.add_column("audio", [None] * len(train), feature=train.features["audio"])
    with pytest.raises(PlanError, match="both audio and a soft label"):
        DimeAug(recipe="paper").plan(silent)
    mixed = datasets.concatenate_datasets([train, silent.select_columns(train.column_names)])
    assert (
        DimeAug(ratio=0.6, recipe="paper").plan(mixed).rows[:]
        == DimeAug(ratio=0.6, recipe="paper").plan(train).rows[:]
    )


def test_decoded_audio_columns_need_no_codec(train, plan):
    decoded = train.cast_column("audio", datasets.Audio(sampling_rate=16000))
    assert DimeAug(ratio=0.6, recipe="paper").plan(decoded).rows[:] == plan.rows[:]
    assert augment(decoded, plan)["soft_label"][:] == augment(train, plan)["soft_label"][:]
