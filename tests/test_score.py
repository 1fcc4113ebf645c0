"""Scores against scipy, scikit-learn and brute force; properness by simulation."""

import numpy as np
import pytest
import scipy.spatial.distance
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from dime_hf.distribution import normalize
from dime_hf.errors import DistributionError
from dime_hf.score import ambiguity_levels, prior, row_scores, score

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
