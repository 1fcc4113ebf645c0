"""Scores against scipy, scikit-learn and brute force; properness by simulation."""

import functools

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import scipy.spatial.distance
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from transformers import EvalPrediction, Trainer, TrainingArguments

import dime_hf.score
from dime_hf.corpora import toy
from dime_hf.distribution import normalize
from dime_hf.errors import ColumnError, DistributionError
from dime_hf.score import (
    DEFAULT,
    METRICS,
    ROW_METRICS,
    ambiguity_levels,
    compute_metrics,
    prior,
    read_predictions,
    row_scores,
    score,
)
from tests.bench.evidence import loop

RNG = np.random.default_rng(0)
Q = RNG.dirichlet(np.full(4, 0.7), 300)
COUNTS = RNG.multinomial(5, RNG.dirichlet(np.full(4, 0.5), 300))


def test_scores_equal_a_loop_over_independent_implementations():
    scores = score(Q, COUNTS)
    shares = COUNTS / COUNTS.sum(-1, keepdims=True)
    js = [scipy.spatial.distance.jensenshannon(p, q, base=2) ** 2 for p, q in zip(shares, Q, strict=True)]
    assert scores["js_divergence"] == pytest.approx(np.mean(js))
    assert scores["bhattacharyya"] == pytest.approx(
        np.mean([np.sqrt(p) @ np.sqrt(q) for p, q in zip(shares, Q, strict=True)])
    )
    assert scores["squared_score"] == pytest.approx(
        np.mean([q @ q - 2 * q @ p for p, q in zip(shares, Q, strict=True)])
    )
    votes = [(c * np.log(q)).sum() / c.sum() for c, q in zip(COUNTS, Q, strict=True)]
    assert scores["log_likelihood"] == pytest.approx(np.mean(votes))
    decided = (COUNTS == COUNTS.max(-1, keepdims=True)).sum(-1) == 1
    human, predicted = COUNTS[decided].argmax(-1), Q[decided].argmax(-1)
    assert scores["n_decided"] == decided.sum()
    assert scores["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(human, predicted))
    assert scores["macro_f1"] == pytest.approx(sklearn.metrics.f1_score(human, predicted, average="macro"))
    assert scores["n"] == 300


def test_squared_score_is_the_brier_score_up_to_a_constant():
    votes = np.eye(4)[RNG.integers(4, size=300)]  # one vote an utterance
    brier = ((Q - votes) ** 2).sum(-1)
    np.testing.assert_allclose(row_scores(Q, votes)["squared_score"], brier - 1)


@given(st.integers(1, 10), st.integers(0, 1000))
def test_the_truth_wins_the_proper_scores_whatever_the_number_of_votes(votes, seed):
    rng = np.random.default_rng(seed)
    truth, other = rng.dirichlet(np.ones(3), 2)
    shares = np.array([counts for counts in np.ndindex(votes + 1, votes + 1, votes + 1) if sum(counts) == votes])
    chance = np.exp([scipy.stats.multinomial(votes, truth).logpmf(counts) for counts in shares])
    expected = lambda q, name: chance @ row_scores(np.tile(q, (len(shares), 1)), shares)[name]  # noqa: E731
    assert expected(truth, "squared_score") <= expected(other, "squared_score") + 1e-12
    assert expected(truth, "squared_score") == pytest.approx(
        -(truth**2).sum()
    )  # does not depend on the number of votes
    assert expected(truth, "log_likelihood") >= expected(other, "log_likelihood") - 1e-12


def test_ties_are_no_decision():
    scores = score([[0.5, 0.5, 0.0], [0.8, 0.1, 0.1], [0.0, 1.0, 0.0]], [[3, 1, 0], [1, 1, 0], [0, 2, 0]])
    assert (scores["n_decided"], scores["n_tied"], scores["accuracy"]) == (2, 1, 0.5)
    assert scores["log_likelihood"] < -0.3
    undecided = score([[0.5, 0.5]], [[1, 1]])
    assert undecided["n_decided"] == 0
    assert np.isnan(undecided["accuracy"])


def test_zero_probability_of_a_vote_is_infinite():
    assert score([[1.0, 0.0]], [[1, 1]])["log_likelihood"] == -np.inf


def test_control_and_levels():
    constant = prior(COUNTS)
    np.testing.assert_allclose(constant, normalize(COUNTS).mean(0))
    levels = ambiguity_levels(COUNTS)
    scores = score(Q, COUNTS, control=constant, levels=levels)
    assert scores["control"] == score(np.tile(constant, (300, 1)), COUNTS)
    assert list(scores["levels"]) == [level for level in ("low", "medium", "high") if level in levels]
    weighted = sum(part["n"] * part["js_divergence"] for part in scores["levels"].values()) / 300
    assert weighted == pytest.approx(scores["js_divergence"])
    assert "control" in scores["levels"]["low"]


def test_levels_of_many_votes_are_terciles():
    counts = RNG.multinomial(200, RNG.dirichlet(np.ones(4), 300))
    assert [ambiguity_levels(counts).count(level) for level in ("low", "medium", "high")] == [100, 100, 100]


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([[0.5, 0.5]], [[1, 1, 1]], "same shape"),
        ([[0.5, 0.6]], [[1, 1]], "`predictions` must sum to 1"),
        ([[0.5, 0.5]], [[0, 0]], "`references` must hold at least one vote"),
        ([[0.5, 0.5]], [[-1, 2]], "negative"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "no rows"),
    ],
)
def test_bad_input(predictions, references, message):
    with pytest.raises(DistributionError, match=message):
        score(predictions, references)


def test_bad_control_and_levels():
    with pytest.raises(DistributionError, match="`control`"):
        score(Q, COUNTS, control=[0.5, 0.5])
    with pytest.raises(DistributionError, match="`levels`"):
        score(Q, COUNTS, levels=["low"])


def test_every_metric_is_in_the_table():
    for name in METRICS:
        assert f"`{name}`" in dime_hf.score.__doc__
    assert set(ROW_METRICS) < set(METRICS)


def test_every_metric_equals_scipy_and_scikit_learn():
    scores = score(Q, COUNTS, metrics=METRICS)
    compared = loop(Q, COUNTS)
    for name, expected in compared.items():
        assert scores[name] == pytest.approx(expected), name
    shares = COUNTS / 5
    human, predicted = scipy.stats.entropy(shares, base=2, axis=1), scipy.stats.entropy(Q, base=2, axis=1)
    assert scores["entropy_correlation"] == pytest.approx(scipy.stats.pearsonr(human, predicted).statistic)
    assert scores["multilabel_macro_f1"] == pytest.approx(
        sklearn.metrics.f1_score(shares > 0.25, Q > 0.25, average="macro")
    )
    assert scores["distce"] == scores["total_variation"]
    assert set(METRICS) - set(compared) == {"entropy_correlation", "multilabel_macro_f1", "distce", "ece", "rankcs"}


def test_calibration_error_bin_by_bin():
    shares, confidence = COUNTS / 5, Q.max(-1)
    met = shares[np.arange(300), Q.argmax(-1)]
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - met[inside].mean())
    assert score(Q, COUNTS, metrics=["ece"])["ece"] == pytest.approx(expected)
    assert score([[0.5, 0.5]], [[3, 0]], metrics=["ece"])["ece"] == pytest.approx(0)  # tied: half of the votes met


def test_rankcs_counts_rows_in_the_order_of_the_votes():
    q = [[0.5, 0.3, 0.2], [0.5, 0.2, 0.3], [0.3, 0.4, 0.3], [0.4, 0.4, 0.2]]
    counts = [[2, 1, 1], [2, 1, 0], [1, 1, 1], [3, 2, 1]]  # ties of votes ask nothing; a predicted tie is no order
    assert row_scores(q, counts, ["rankcs"])["rankcs"].tolist() == [1, 0, 1, 0]


def test_squared_distance_is_unbiased_from_two_votes_on():
    truth, q = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.5, 0.3])
    for votes in (2, 3, 6):
        counts = np.array([c for c in np.ndindex((votes + 1,) * 3) if sum(c) == votes])
        chance = np.exp([scipy.stats.multinomial(votes, truth).logpmf(c) for c in counts])
        rows = row_scores(np.tile(q, (len(counts), 1)), counts, ["squared_distance"])["squared_distance"]
        assert chance @ rows == pytest.approx(((q - truth) ** 2).sum())
    alone = row_scores([q, q], [[1, 0, 0], [1, 1, 0]], ["squared_distance"])["squared_distance"]
    assert np.isnan(alone).tolist() == [True, False]
    assert score([q, q], [[1, 0, 0], [1, 1, 0]], metrics=["squared_distance"])["squared_distance"] == alone[1]
    with pytest.raises(DistributionError, match="whole votes"):
        score([q], [[0.5, 1.5, 0]], metrics=["squared_distance"])


def test_r2_within_leaves_out_what_has_nothing_to_explain():
    rows = row_scores([[0.5, 0.5], [0.9, 0.1], [0.9, 0.1]], [[3, 1], [1, 1], [2, 1]], ["r2_within"])["r2_within"]
    np.testing.assert_allclose(rows, [0, np.nan, 1])
    assert score(np.tile(prior(COUNTS), (300, 1)), COUNTS, metrics=["r2_per_class"])["r2_per_class"] == pytest.approx(
        0, abs=1e-9
    )  # the mean share explains nothing


def test_infinite_rows_make_infinite_means():
    names = ["log_likelihood", "kl_human_to_model", "js_divergence"]
    scores = score([[1, 0], [0.5, 0.5]], [[1, 1], [1, 1]], metrics=names)
    assert (scores["log_likelihood"], scores["kl_human_to_model"]) == (-np.inf, np.inf)
    assert np.isfinite(scores["js_divergence"])
    left_out = score([[1, 0], [0.5, 0.5]], [[1, 1], [1, 1]], metrics=names, weights=[0, 1])
    assert left_out["log_likelihood"] == pytest.approx(-np.log(2))


def test_weights_count_rows_several_times():
    times = RNG.integers(0, 4, 300)
    levels = ["low" if row < 150 else "high" for row in range(300)]
    weighted = score(Q, COUNTS, metrics=METRICS, weights=times, control=prior(COUNTS), levels=levels)
    q, counts = np.repeat(Q, times, axis=0), np.repeat(COUNTS, times, axis=0)
    repeated = score(q, counts, metrics=METRICS, control=prior(COUNTS), levels=np.repeat(levels, times))
    for name in METRICS:
        assert weighted[name] == pytest.approx(repeated[name]), name
    assert weighted["n"] == 300
    assert weighted["n_effective"] == pytest.approx(times.sum() ** 2 / (times**2).sum())
    assert weighted["control"]["ece"] == pytest.approx(repeated["control"]["ece"])
    assert weighted["levels"]["low"]["macro_f1"] == pytest.approx(repeated["levels"]["low"]["macro_f1"])


def test_weights_made_from_the_scored_votes_let_another_distribution_beat_the_truth():
    """What the docstring of `score` warns of."""
    truth = np.array([0.7, 0.2, 0.1])
    counts = np.random.default_rng(0).multinomial(1, truth, 20_000)
    tilted = truth**0.7 / (truth**0.7).sum()
    names = ["squared_score"]
    own, others = (counts @ truth**-0.3, np.random.default_rng(1).permutation(counts) @ truth**-0.3)
    beats = [
        score(np.tile(tilted, (20_000, 1)), counts, metrics=names, weights=weights)["squared_score"]
        < score(np.tile(truth, (20_000, 1)), counts, metrics=names, weights=weights)["squared_score"]
        for weights in (own, others)
    ]
    assert beats == [True, False]


def test_only_what_is_asked_for_is_returned():
    assert set(score(Q, COUNTS)) == {*DEFAULT, "n_decided", "n_tied", "n"}
    assert list(score(Q, COUNTS, metrics=["js_distance"])) == ["js_distance", "n"]
    assert "n_tied" in score(Q, COUNTS, metrics=["weighted_f1"])
    with pytest.raises(DistributionError, match="Did you mean 'js_divergence'"):
        score(Q, COUNTS, metrics=["js_divergenc"])
    with pytest.raises(DistributionError, match="not one string"):
        score(Q, COUNTS, metrics="js_divergence")
    with pytest.raises(DistributionError, match="'macro_f1', which is not known here"):
        row_scores(Q, COUNTS, ["macro_f1"])


@pytest.mark.parametrize("weights", [[1, 1], np.full(300, -1), np.zeros(300), np.full(300, np.nan)])
def test_bad_weights(weights):
    with pytest.raises(DistributionError, match="`weights`"):
        score(Q, COUNTS, weights=weights)


BOUNDS = {
    "squared_score": (-1, 1), "squared_distance": (-1, 2), "js_divergence": (0, 1), "js_distance": (0, 1),
    "bhattacharyya": (0, 1), "log_likelihood": (-np.inf, 0), "kl_human_to_model": (0, np.inf),
    "total_variation": (0, 1), "distce": (0, 1), "manhattan_distance": (0, 2), "chebyshev_distance": (0, 1),
    "clark_distance": (0, 2), "canberra_distance": (0, 4), "cosine_similarity": (0, 1),
    "intersection_similarity": (0, 1), "r2_within": (0, 1), "entce": (-2, 2), "entce_absolute": (0, 2),
    "rankcs": (0, 1), "accuracy": (0, 1), "macro_f1": (0, 1), "weighted_f1": (0, 1),
    "unweighted_average_recall": (0, 1), "multilabel_macro_f1": (0, 1), "r2_per_class": (-np.inf, 1),
    "entropy_correlation": (-1, 1), "ece": (0, 1),
}  # fmt: skip
few_votes = st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4).filter(any), min_size=1, max_size=8)


@given(few_votes, st.integers(0, 10_000))
@settings(deadline=None)
def test_scores_keep_their_bounds_and_know_no_order(counts, seed):
    assert set(BOUNDS) == set(METRICS)
    rng = np.random.default_rng(seed)
    counts = np.array(counts)
    q = normalize(rng.integers(0, 3, counts.shape) + 1e-6 * np.eye(4)[0])  # with ties and near zeros
    scores = score(q, counts, metrics=METRICS)
    rows, places = rng.permutation(len(q)), rng.permutation(4)
    moved = score(q[rows][:, places], counts[rows][:, places], metrics=METRICS)
    for name, (low, high) in BOUNDS.items():
        assert np.isnan(scores[name]) or low - 1e-9 <= scores[name] <= high + 1e-9, name
        assert moved[name] == pytest.approx(scores[name], abs=1e-6, nan_ok=True), name


CLASSES = ("angry", "happy", "neutral", "sad")


@pytest.fixture(scope="module")
def rows():
    return toy.school(utterances=12)


@pytest.fixture(scope="module")
def table(rows):
    """A file of predictions in another order of rows and columns, with a row more than the dataset."""
    order = np.random.default_rng(0).permutation(12)
    by_class = {name: [*Q[order, place], 0.25] for place, name in enumerate(CLASSES)}
    return pa.table({"sad": by_class.pop("sad"), "id": [*np.array(rows["id"])[order], "more"], **by_class})


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_predictions_of_somebody_else_are_joined_by_id(rows, table, suffix, tmp_path):
    path = tmp_path / f"predictions.{suffix}"
    {"csv": pa.csv.write_csv, "parquet": pa.parquet.write_table}[suffix](table, path)
    predictions = read_predictions(path, rows)
    np.testing.assert_allclose(predictions, Q[:12])
    assert score(predictions, rows["vote_counts"])["n"] == 12


def test_ids_of_digits_keep_their_zeros(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("id,angry,sad\n001,0.25,0.75\n")
    label = datasets.ClassLabel(names=["angry", "sad"])
    features = datasets.Features({"id": datasets.Value("string"), "hard_label": label})
    dataset = datasets.Dataset.from_dict({"id": ["001"], "hard_label": [0]}, features=features)
    assert read_predictions(path, dataset).tolist() == [[0.25, 0.75]]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda table: table.slice(2), DistributionError, "has no prediction for .* rows are missing"),
        (lambda table: pa.concat_tables([table, table.slice(0, 1)]), DistributionError, "has 2 rows of"),
        (lambda table: table.drop_columns("sad"), ColumnError, "has 0 columns 'sad'"),
        (lambda table: table.append_column("anger", table["sad"]), ColumnError, "'anger'.*Did you mean 'angry'"),
        (lambda table: table.set_column(0, "sad", [[0.9] * 13]), DistributionError, "must sum to 1.*row 0"),
        (lambda table: table.set_column(0, "sad", [["x"] * 13]), DistributionError, "'sad' must hold probabilities"),
        (lambda table: table.set_column(0, "sad", [[None] * 12 + [0.1]]), DistributionError, "NaN"),
    ],
)
def test_bad_files_of_predictions(rows, table, change, error, message, tmp_path):
    path = tmp_path / "predictions.parquet"
    pa.parquet.write_table(change(table), path)
    with pytest.raises(error, match=message):
        read_predictions(path, rows)
    with pytest.raises(ColumnError, match="csv or .parquet"):
        read_predictions(tmp_path / "predictions.txt", rows)


def test_metrics_of_the_trainer():
    logits = RNG.normal(size=(300, 4)).astype(np.float32)
    expected = score(softmax(logits.astype(float), axis=-1), COUNTS)
    assert compute_metrics(EvalPrediction(predictions=logits, label_ids=COUNTS)) == expected
    assert compute_metrics(EvalPrediction(predictions=(logits, logits), label_ids=COUNTS)) == expected
    soft = EvalPrediction(predictions=logits, label_ids=(COUNTS / 5).astype(np.float32))
    asked = functools.partial(compute_metrics, metrics=["js_distance"])(soft)
    expected = score(softmax(logits.astype(float), axis=-1), COUNTS, metrics=["js_distance"])
    assert asked["js_distance"] == pytest.approx(expected["js_distance"])


class Echo(torch.nn.Module):
    """Logits are what it is given."""

    def forward(self, logits, labels):
        return {"loss": -(labels * logits.log_softmax(-1)).sum(-1).mean(), "logits": logits}


def test_a_trainer_reports_them(tmp_path):
    logits = np.log(Q).astype(np.float32)
    rows = [{"logits": q, "labels": counts.astype(np.float32)} for q, counts in zip(logits, COUNTS, strict=True)]
    arguments = TrainingArguments(
        tmp_path, use_cpu=True, report_to=[], disable_tqdm=True, label_names=["labels"], dataloader_pin_memory=False
    )
    reported = Trainer(Echo(), arguments, eval_dataset=rows, compute_metrics=compute_metrics).evaluate()
    expected = score(Q, COUNTS)
    assert {name: reported[f"eval_{name}"] for name in expected} == pytest.approx(expected, rel=1e-5)
