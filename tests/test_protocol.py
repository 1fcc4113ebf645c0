"""Labels against a fixed reference: what is refused, what is marked, and the numbers."""

import json

import datasets
import numpy as np
import pytest

from dime_hf import columns, get_pooler, hold_out_votes
from dime_hf.errors import ColumnError, DistributionError, LeakageError
from dime_hf.evidence import paired, plain, score_intervals, verdict
from dime_hf.pool import pool
from dime_hf.protocol import compare_protocols, own_labels, score_labels
from dime_hf.score import row_scores
from dime_hf.simulation import Proxy, simulate
from tests.bench.crema import read_votes
from tests.places import DATA


@pytest.fixture(scope="module")
def corpus():
    return simulate(600, annotators=6, speakers=12, proxies=[Proxy(votes=4, draws=10)], seed=5).dataset()


@pytest.fixture(scope="module")
def pooled(corpus):
    """The test set, and its labels by pooler, fitted on other speakers."""
    test = hold_out_votes(corpus, keep=2)
    others = simulate(600, annotators=6, speakers=12, proxies=[Proxy(votes=4, draws=10)], seed=6).dataset()
    train = others.map(lambda row: {"speaker": f"t{row['speaker']}"})
    names = ("human", "equal", "prior", "fitted", "synthetic")
    return test, {name: pool(test, get_pooler(name).fit(train)) for name in names}


def without_labels(dataset):
    return dataset.map(lambda _: {"soft_label": None}, input_columns=["id"], features=dataset.features)


def test_scores_differences_and_the_verdict_are_those_of_the_parts(pooled):
    test, labels = pooled
    table = score_labels(labels, test, control="prior", verdict_on="fitted")
    votes, groups = np.array(test["reference_counts"]), columns.groups(test[:])
    predictions = {name: np.array(one["soft_label"]) for name, one in labels.items()}
    for row in table.rows:
        found = score_intervals(predictions[row.name], votes, groups, metrics=list(row.scores))
        assert {name: str(one) for name, one in row.scores.items()} == {name: str(one) for name, one in found.items()}
    rows = {row.name: row for row in table.rows}
    squared = {name: row_scores(one, votes)["squared_score"] for name, one in predictions.items()}
    assert str(rows["equal"].against_control) == str(paired(squared["equal"], squared["prior"], groups))
    assert str(table.verdict) == str(verdict(predictions["fitted"], votes, groups, predictions["prior"]))
    assert table.verdict.helps
    assert rows["prior"].against_control is None
    raw = sorted(rows[name].against_control.p_value for name in ("human", "equal", "synthetic"))
    assert sorted(rows[name].p_holm for name in ("human", "equal", "synthetic"))[0] == min(3 * raw[0], 1)
    assert rows["fitted"].p_holm is None  # the declared endpoint is no part of the family
    assert rows["fitted"].scores["squared_score"].estimate > table.truth["squared_score"]
    assert (table.reference, table.moving, table.n, table.left_out) == ("votes of held-out humans", False, 600, 0)
    assert "verdict: helps" in str(table)
    assert "MOVING" not in str(table)
    assert json.loads(json.dumps(plain(table)))["rows"][0]["name"] == "human"


def test_labels_are_matched_by_id(pooled):
    test, labels = pooled
    mixed = {"fitted": labels["fitted"].shuffle(seed=1)}
    assert score_labels(mixed, test) == score_labels({"fitted": labels["fitted"]}, test)
    with pytest.raises(DistributionError, match="'fitted' has no row 'u000000' \\(1 of 600 are missing\\)"):
        score_labels({"fitted": labels["fitted"].select(range(1, 600))}, test)
    twice = datasets.concatenate_datasets([labels["human"], labels["human"]])
    with pytest.raises(DistributionError, match="come twice"):
        score_labels({"human": twice}, test)
    both = datasets.concatenate_datasets([test, test])  # as joined rotations have it
    assert score_labels({"human": twice}, both).n == 1200


def test_rows_without_a_label_are_left_out_and_counted(pooled):
    test, labels = pooled
    silent = labels["synthetic"].map(
        lambda row, i: {"soft_label": None if i < 7 else row["soft_label"]}, with_indices=True
    )
    table = score_labels({"synthetic": silent, "human": labels["human"]}, test)
    assert (table.n, table.left_out) == (593, 7)
    rest = range(7, 600)
    expected = score_labels({"human": labels["human"].select(rest)}, test.select(rest)).rows[0].scores
    assert table.rows[1].scores == expected
    assert "7 rows without" in str(table)
    with pytest.raises(DistributionError, match="no row where all kinds have a label"):
        score_labels({"synthetic": without_labels(silent)}, test)


@pytest.mark.parametrize("name", ["human", "equal", "prior", "fitted"])
def test_labels_made_of_the_votes_that_judge_are_refused(corpus, pooled, name):
    test, labels = pooled
    train = corpus.map(lambda row: {"speaker": f"t{row['speaker']}"})
    leaky = pool(corpus, get_pooler(name).fit(train))  # made before votes were held out
    with pytest.raises(LeakageError, match=f"the labels '{name}' contain the votes"):
        score_labels({name: leaky}, test)
    with pytest.raises(LeakageError, match="contain the votes"):
        score_labels({name: labels[name]}, corpus)  # nothing is held out of the reference
    marked = score_labels({name: leaky}, test, moving_reference=True)
    assert marked.moving
    assert "MOVING REFERENCE" in str(marked)
    assert "MOVING REFERENCE" in plain(marked)["reference"]
    assert marked.truth == {}
    with pytest.raises(LeakageError, match="no verdict by a reference that moves"):
        score_labels({name: leaky, "c": labels["prior"]}, test, control="c", verdict_on=name, moving_reference=True)


def test_a_reference_of_synthetic_votes_is_refused(pooled):
    test, labels = pooled
    combined = own_labels(test, get_pooler("equal"))
    predictions = np.array(labels["fitted"]["soft_label"])
    with pytest.raises(LeakageError, match="it holds labels of synthetic votes"):
        score_labels({"model": predictions}, combined)
    marked = score_labels({"model": predictions}, combined, moving_reference=True)
    assert marked.reference == "MOVING REFERENCE: labels that contain synthetic votes"
    expected = row_scores(predictions, np.array(combined["soft_label"]))["js_divergence"].mean()
    assert marked.rows[0].scores["js_divergence"].estimate == pytest.approx(expected)


def test_synthetic_labels_and_predictions_may_be_scored_on_all_human_votes(corpus):
    synthetic = pool(corpus, get_pooler("synthetic"))
    table = score_labels({"synthetic": synthetic, "model": np.full((600, 4), 0.25)}, corpus)
    assert table.reference == "all human votes"
    assert [row.source for row in table.rows] == ["synthetic", "predictions"]


def test_other_held_out_votes_are_refused(corpus, pooled):
    test, _ = pooled
    other = pool(hold_out_votes(corpus, keep=2, seed=9), get_pooler("human"))
    with pytest.raises(LeakageError, match="holds out other votes than `reference`"):
        score_labels({"human": other}, test)


def test_what_else_is_refused(pooled):
    test, labels = pooled
    with pytest.raises(DistributionError, match="no labels"):
        score_labels({}, test)
    with pytest.raises(DistributionError, match="Did you mean 'prior'"):
        score_labels(labels, test, control="pior")
    with pytest.raises(DistributionError, match="needs a `control`"):
        score_labels(labels, test, verdict_on="fitted")
    with pytest.raises(DistributionError, match="'model' has the shape \\(600, 5\\)"):
        score_labels({"model": np.full((600, 5), 0.2)}, test)
    with pytest.raises(ColumnError, match="vote_counts"):
        score_labels(labels, test.remove_columns(["vote_counts", "reference_counts"]))
    with pytest.raises(DistributionError, match="`own` has no labels for 'human'"):
        compare_protocols(labels, {}, test)


def drawn(counts):
    """The answer of a proxy that drew these votes."""
    votes = np.repeat(np.arange(len(counts)), counts.astype(int)).tolist()
    shares = (counts / counts.sum()).tolist()
    return {"proxy": "face", "order": [], "distribution": shares, "draws": votes, "votes": float(len(votes)),
            "off_option": 0.0, "status": "ok", "error": None}  # fmt: skip


@pytest.mark.skipif(not (DATA / "crema_d").exists(), reason="CREMA-D's votes are not here")
def test_the_paper_s_protocol_flatters_equal_weights_on_real_votes():
    """method.md 2.1: three votes and a mismatched panel look five times better against labels of their own."""
    voice, other = read_votes(DATA / "crema_d")
    held = hold_out_votes(voice, keep=3)
    face = dict(zip(voice["id"], other["face"], strict=True))
    test = held.add_column(
        "answers", [[drawn(face[id])] for id in held["id"]], feature=columns.answers_feature(columns.classes(held))
    )
    labels = {name: pool(test, get_pooler(name)) for name in ("human", "equal")}
    own = {name: own_labels(test, get_pooler(name)) for name in labels}
    found = compare_protocols(labels, own, test, metrics=["js_divergence"])
    fixed = {row.name: row.scores["js_divergence"].estimate for row in found.fixed.rows}
    moving = {table.rows[0].name: table.rows[0].scores["js_divergence"].estimate for table in found.moving}
    assert moving["equal"] == pytest.approx(0.048, abs=0.001)
    assert fixed["equal"] > fixed["human"]
    assert fixed["human"] == pytest.approx(moving["human"])
    assert moving["equal"] < fixed["equal"] / 4
