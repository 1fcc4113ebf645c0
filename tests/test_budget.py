"""Budget: the closed form against enumeration and Monte Carlo, the plan against every other, and what it brings."""

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from dime_hf import get_pooler
from dime_hf.distribution import normalize
from dime_hf.errors import ColumnError, DistributionError, FitError
from dime_hf.pool import plan_votes, pool, rank_for_votes
from dime_hf.pool.budget import expected_reduction, expected_squared_distance
from dime_hf.simulation import Proxy, simulate

ALPHAS = st.lists(st.floats(0.05, 20), min_size=2, max_size=4).map(np.array)


@given(ALPHAS)
def test_the_distance_is_the_sum_of_scipys_variances(alpha):
    assert expected_squared_distance(alpha) == pytest.approx(scipy.stats.dirichlet(alpha).var().sum())


@given(ALPHAS, st.integers(1, 4))
def test_the_reduction_is_that_of_every_vote_enumerated(alpha, vote):
    def left(votes):
        """Expected distance after so many votes: over all that they may be, by the Dirichlet-multinomial."""
        every = [counts for counts in itertools.product(range(votes + 1), repeat=len(alpha)) if sum(counts) == votes]
        chance = scipy.stats.dirichlet_multinomial(alpha, votes).pmf(np.array(every)) if votes else np.ones(1)
        return chance @ [expected_squared_distance(alpha + counts) for counts in every]

    assert expected_reduction(alpha, vote) == pytest.approx(left(vote - 1) - left(vote), rel=1e-6, abs=1e-12)


def test_the_reduction_is_that_of_truths_and_votes_drawn():
    rng, alpha, size = np.random.default_rng(0), np.array([2.0, 1.0, 0.5]), 400_000
    truth = rng.dirichlet(alpha, size)
    vote = rng.multinomial(1, truth)
    before = ((normalize(alpha) - truth) ** 2).sum(-1)
    after = ((normalize(alpha + vote) - truth) ** 2).sum(-1)
    gain = before - after
    assert expected_reduction(alpha) == pytest.approx(gain.mean(), abs=4 * gain.std() / np.sqrt(size))


@given(ALPHAS)
def test_every_further_vote_is_worth_less(alpha):
    gains = expected_reduction(np.tile(alpha, (30, 1)), np.arange(1, 31))
    assert (np.diff(gains) < 0).all()
    assert gains.sum() < expected_squared_distance(alpha)


@given(st.integers(0, 10_000), st.integers(0, 6))
def test_no_other_plan_gains_more(seed, votes):
    alpha = np.random.default_rng(seed).gamma(1.0, 2.0, (3, 3)) + 0.01

    def gain(plan):
        return sum(expected_reduction(row, np.arange(1, n + 1)).sum() for row, n in zip(alpha, plan, strict=True))

    plan = plan_votes(alpha, votes)
    others = [other for other in itertools.product(range(votes + 1), repeat=3) if sum(other) == votes]
    assert plan.sum() == votes
    assert gain(plan) == pytest.approx(max(map(gain, others)))


def test_equal_gains_go_in_order():
    assert plan_votes(np.ones((5, 2)), 7).tolist() == [2, 2, 1, 1, 1]
    assert plan_votes(np.ones((0, 2)), 3).tolist() == []
    assert plan_votes([[1.0, 0.0], [1.0, 1.0]], 3).tolist() == [0, 3]  # the first is certain
    with pytest.raises(DistributionError, match="`votes` must not be negative, and is -1"):
        plan_votes(np.ones((5, 2)), -1)


def test_the_table_has_every_utterance_best_first():
    dataset = simulate(300, votes=4, proxies=[Proxy("p", 3.0, failures=0.3)]).dataset()
    pooler = get_pooler("fitted").fit(dataset)
    table = rank_for_votes(dataset, pooler, votes=200)
    assert table.column_names == ["id", "votes", "expected_squared_distance", "expected_reduction", "planned_votes"]
    assert sorted(table["id"]) == sorted(dataset["id"])
    assert (np.diff(table["expected_reduction"]) <= 0).all()
    assert sum(table["planned_votes"]) == 200
    pooled = {row["id"]: row for row in pool(dataset, pooler)}
    for row in table.select(range(0, 300, 50)):
        label, total = np.array(pooled[row["id"]]["soft_label"]), pooled[row["id"]]["soft_label_votes"]
        distance = (label * (1 - label)).sum() / (total + 1)
        assert row["votes"] == 4
        assert row["expected_squared_distance"] == pytest.approx(distance, rel=1e-5)
        assert row["expected_reduction"] == pytest.approx(distance / (total + 1), rel=1e-5)
    assert "planned_votes" not in rank_for_votes(dataset, pooler).column_names


def test_ties_go_by_id_whatever_the_order_of_the_rows():
    dataset = simulate(200, votes=3).dataset()
    pooler = get_pooler("prior").fit(dataset)
    table, shuffled = (rank_for_votes(rows, pooler, votes=50) for rows in (dataset, dataset.shuffle(seed=1)))
    assert table[:] == shuffled[:]
    gains = np.array(table["expected_reduction"])
    tied = np.flatnonzero(np.diff(gains) == 0)
    assert len(tied) > 100
    ids = table["id"][:]
    assert all(ids[place] < ids[place + 1] for place in tied)


def test_what_cannot_be_ranked():
    dataset = simulate(50).dataset()
    with pytest.raises(FitError, match="`pooler` 'human' has no posterior"):
        rank_for_votes(dataset, get_pooler("human"))
    with pytest.raises(FitError, match="has not been fitted"):
        rank_for_votes(dataset, get_pooler("prior"))
    with pytest.raises(ColumnError, match="no column 'answers'"):
        rank_for_votes(dataset, get_pooler("fitted"))


def test_votes_spent_by_the_ranking_bring_labels_nearer_to_the_truth_than_votes_at_random():
    prior, budget = np.array([0.6, 0.2, 0.1, 0.1]), 150
    gains = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        truth = rng.dirichlet(1.5 * prior, 300)
        counts = np.stack([rng.multinomial(votes, p) for votes, p in zip(rng.integers(0, 6, 300), truth, strict=True)])
        alpha = counts + 1.5 * prior

        def distance(plan, truth=truth, alpha=alpha, rng=rng):
            """Mean squared distance to the truth after these votes were cast."""
            return ((normalize(alpha + rng.multinomial(plan, truth)) - truth) ** 2).sum(-1).mean()

        random = np.bincount(rng.integers(0, 300, budget), minlength=300)
        gains.append(distance(random) - distance(plan_votes(alpha, budget)))
    assert scipy.stats.ttest_1samp(gains, 0, alternative="greater").pvalue < 1e-3
