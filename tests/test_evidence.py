"""Intervals keep their coverage, verdicts their error rate; the rest against scipy, enumeration and brute force."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from dime_hf import columns, hold_out_votes
from dime_hf.corpora import toy
from dime_hf.corpora.policy import Tally
from dime_hf.distribution import normalize
from dime_hf.errors import DistributionError, FitError
from dime_hf.evidence import (
    bootstrap,
    fit_dirichlet,
    holm,
    interval,
    intervals,
    minimum_detectable_difference,
    one_more_human,
    paired,
    paired_scores,
    prior_control,
    score_intervals,
    score_of_truth,
    shuffled,
    uniform_control,
    verdict,
)
from dime_hf.evidence.intervals import degrees_of_freedom
from dime_hf.score import METRICS, prior, row_scores, score

RNG = np.random.default_rng(0)
EQUAL = {10: [20] * 10, 5: [20] * 5, 2: [20] * 2}
UNEQUAL = {10: [60, 40, 30, 20, 16, 12, 10, 8, 2, 2], 5: [60, 20, 12, 6, 2], 2: [30, 10]}


def speakers(sizes):
    return np.repeat([f"speaker {place}" for place in range(len(sizes))], sizes)


def effects(sizes, corpora, rng):
    """Values (corpora, N) of mean 0 that speakers shift by as much as utterances vary."""
    shifts = np.repeat(rng.normal(size=(corpora, len(sizes))), sizes, axis=1)
    return shifts + rng.normal(size=shifts.shape)


def coverage(sizes, level=0.9, corpora=1500):
    rng, groups = np.random.default_rng(len(sizes)), speakers(sizes)
    found = [interval(values, groups, level=level) for values in effects(sizes, corpora, rng)]
    return np.mean([one.low <= 0 <= one.high for one in found])


@pytest.mark.parametrize("count", [10, 5, 2])
def test_intervals_keep_their_coverage_with_few_speakers(count):
    """A percentile bootstrap has 85 / 79 / 55 %."""
    assert coverage(EQUAL[count]) == pytest.approx(0.9, abs=0.025)
    assert coverage(UNEQUAL[count]) > 0.88  # never less, but more where one speaker has most of the rows


def test_interval_of_equal_speakers_is_students_of_their_means():
    values, groups = RNG.normal(size=60), speakers([12] * 5)
    found = interval(values, groups, level=0.9)
    expected = scipy.stats.ttest_1samp(values.reshape(5, 12).mean(1), 0)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.9)))
    assert (found.degrees_of_freedom, found.n, found.n_groups) == (pytest.approx(4), 60, 5)
    assert str(found).endswith("(90 %, n = 60 in 5 groups)")


def test_interval_of_own_clusters_is_students():
    values = RNG.normal(size=40)
    found = interval(values, columns.groups({"speaker": [None] * 40, "id": [str(row) for row in range(40)]}))
    assert (found.low, found.high) == pytest.approx(
        tuple(scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95))
    )


@given(st.lists(st.integers(1, 50), min_size=2, max_size=8))
def test_degrees_of_freedom_are_those_of_the_quadratic_form(sizes):
    shares = np.array(sizes) / sum(sizes)
    without = (shares - np.eye(len(sizes))) * (shares / (1 - shares))[:, None]  # how effects move the mean of the rest
    form = without.T @ without
    expected = min(np.trace(form) ** 2 / np.trace(form @ form), len(sizes) - 1)
    assert degrees_of_freedom(shares) == pytest.approx(expected)


@given(st.lists(st.tuples(st.floats(-1, 1), st.sampled_from("abc")), min_size=4, max_size=12), st.randoms())
def test_intervals_know_no_order_and_no_names(rows, random):
    rows += [(0.5, "a"), (-0.5, "b")]
    moved = random.sample(rows, len(rows))
    one = interval([value for value, _ in rows], [group for _, group in rows])
    other = interval([value for value, _ in moved], [{"a": "z", "b": "b", "c": "a"}[group] for _, group in moved])
    assert (one.low, one.high, one.n_groups) == pytest.approx((other.low, other.high, other.n_groups))
    assert one.low <= one.estimate <= one.high


def corpus(sizes, rng, classes=4, votes=3):
    """Truths, votes and speakers; speakers differ in what they tend to express."""
    tendency = rng.dirichlet(np.full(classes, 3.0), len(sizes))
    truth = np.concatenate([rng.dirichlet(2 * own, size) for own, size in zip(tendency, sizes, strict=True)])
    truth = normalize(truth + 1e-9)
    return truth, rng.multinomial(votes, truth), speakers(sizes)


def test_intervals_of_all_scores_leave_one_speaker_out():
    truth, counts, groups = corpus([30] * 6, RNG)
    q = RNG.dirichlet(np.ones(4), len(truth))
    found = score_intervals(q, counts, groups, metrics=METRICS, level=0.9)
    whole = score(q, counts, metrics=METRICS)
    others = [score(q[groups != name], counts[groups != name], metrics=METRICS) for name in np.unique(groups)]
    for name in METRICS:
        squares = sum((part[name] - whole[name]) ** 2 for part in others)
        assert found[name].estimate == pytest.approx(whole[name])
        assert found[name].standard_error == pytest.approx(np.sqrt(5 / 6 * squares)), name
    expected = interval(row_scores(q, counts)["js_divergence"], groups, level=0.9)
    assert found["js_divergence"].low == pytest.approx(expected.low)


def test_whole_weights_are_repeated_rows():
    truth, counts, groups = corpus([30] * 6, RNG)
    q, other = RNG.dirichlet(np.ones(4), len(truth)), RNG.dirichlet(np.ones(4), len(truth))
    weights = RNG.integers(0, 4, len(truth))
    again = np.repeat(np.arange(len(truth)), weights)
    weighted = score_intervals(q, counts, groups, metrics=METRICS, weights=weights)
    repeated = score_intervals(q[again], counts[again], groups[again], metrics=METRICS)
    for name in METRICS:
        for field in ("estimate", "low", "high", "degrees_of_freedom"):
            assert getattr(weighted[name], field) == pytest.approx(getattr(repeated[name], field)), name
    ours, theirs = row_scores(q, counts)["squared_score"], row_scores(other, counts)["squared_score"]
    one = paired(ours, theirs, groups, weights=weights)
    assert one.p_value == pytest.approx(paired(ours[again], theirs[again], groups[again]).p_value)
    whole = paired_scores(q, other, counts, groups, metrics=["squared_score"], weights=weights)["squared_score"]
    assert whole.difference.low == pytest.approx(one.difference.low)
    draws = bootstrap(q, counts, groups, draws=50, weights=weights)["squared_score"]
    np.testing.assert_allclose(draws, bootstrap(q[again], counts[again], groups[again], draws=50)["squared_score"])


def test_bad_weights():
    values, groups = np.ones(4), ["a", "a", "b", "b"]
    with pytest.raises(DistributionError, match="one number for each of the 4 rows"):
        interval(values, groups, weights=[1, 2])
    with pytest.raises(DistributionError, match="not negative"):
        interval(values, groups, weights=[1, 2, 3, -1])
    with pytest.raises(DistributionError, match="0 on all rows of a group"):
        interval(values, groups, weights=[1, 2, 0, 0])


@pytest.mark.parametrize("name", ["js_divergence", "macro_f1"])
def test_intervals_of_scores_cover_the_score_of_many_speakers(name):
    rng = np.random.default_rng(1)

    def drawn(sizes):
        truth, counts, groups = corpus(sizes, rng)
        return normalize(truth + 0.1), counts, groups

    q, counts, _ = drawn([20] * 3000)
    expected = score(q, counts, metrics=[name])[name]
    found = [score_intervals(*drawn([40] * 10), metrics=[name], level=0.9)[name] for _ in range(600)]
    assert np.mean([one.low <= expected <= one.high for one in found]) == pytest.approx(0.9, abs=0.04)


def test_paired_is_the_paired_t_test_of_speakers():
    a, b, groups = RNG.normal(size=60), RNG.normal(0.5, 1, 60), speakers([12] * 5)
    found = paired(a, b, groups)
    means = [x.reshape(5, 12).mean(1) for x in (a, b)]
    assert found.p_value == pytest.approx(scipy.stats.ttest_rel(*means).pvalue)
    assert found.p_lower == pytest.approx(scipy.stats.ttest_rel(*means, alternative="less").pvalue)
    assert "p = " in str(found)
    same = paired(a, a + 1e-13, groups)
    assert (same.p_value, same.p_lower) == (1, 0.5)


def test_paired_scores_agree_with_rows_and_know_the_whole_set():
    truth, counts, groups = corpus([30] * 6, RNG)
    other = np.tile(prior(counts), (len(truth), 1))
    found = paired_scores(truth, other, counts, groups, metrics=METRICS)
    rows = [row_scores(q, counts)["squared_score"] for q in (truth, other)]
    expected = paired(*rows, groups)
    assert found["squared_score"].p_value == pytest.approx(expected.p_value)
    assert found["squared_score"].difference.low == pytest.approx(expected.difference.low)
    assert found["accuracy"].difference.estimate == pytest.approx(
        score(truth, counts)["accuracy"] - score(other, counts)["accuracy"]
    )
    assert found["accuracy"].p_lower > 0.9  # accuracy is better when higher


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.02, 0.03, 0.005]), [0.03, 0.04, 0.04, 0.02])
    np.testing.assert_allclose(holm([0.6, 0.5]), [1, 1])
    assert holm([]).shape == (0,)
    with pytest.raises(DistributionError, match="`p_values`"):
        holm([0.5, 1.5])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.randoms())
def test_holm_knows_no_order_and_never_lowers(p_values, random):
    order = random.sample(range(len(p_values)), len(p_values))
    adjusted = holm(p_values)
    np.testing.assert_array_equal(holm([p_values[place] for place in order]), adjusted[order])
    assert (adjusted >= p_values).all()
    assert adjusted.max() <= 1


# -- the verdict


def says(make, sizes, corpora, seed=0):
    """Share of corpora in which the verdict is `helps`; `make(truth, rng)` gives system and control."""
    rng = np.random.default_rng(seed)
    helped = []
    for _ in range(corpora):
        truth, counts, groups = corpus(sizes, rng)
        system, control = make(truth, rng)
        helped.append(verdict(system, counts, groups, control).helps)
    return np.mean(helped)


@pytest.mark.parametrize("sizes", [EQUAL[10], EQUAL[2], UNEQUAL[10], UNEQUAL[5]], ids=str)
def test_a_system_that_is_as_good_as_its_control_seldom_helps(sizes):
    """The hardest case: two constants, equally far from the mean of all speakers; 2.5 % is what was declared."""
    middle, away = np.full(4, 0.25), np.array([0.06, -0.06, 0.0, 0.0])
    share = says(lambda truth, _: (np.tile(middle + away, (len(truth), 1)), middle - away), sizes, 800)
    assert share < 0.025 + 3 * np.sqrt(0.025 * 0.975 / 800)


@pytest.mark.parametrize("useless", ["constant", "shuffled", "noise"])
def test_useless_proxies_do_not_help(useless):
    """Pooled at one vote beside two human votes, where the control has one vote of the prior."""

    def make(truth, rng):
        human, ids = rng.multinomial(2, truth), [str(row) for row in range(len(truth))]
        control = prior_control(rng.multinomial(3, rng.dirichlet(np.full(4, 6.0), 400)), len(truth))
        proxy = {
            "constant": np.tile(rng.dirichlet(np.full(4, 6.0)), (len(truth), 1)),
            "shuffled": shuffled(normalize(truth + 0.2), ids),
            "noise": rng.dirichlet(np.ones(4), len(truth)),
        }[useless]
        return normalize(human + proxy), normalize(human + control)

    assert says(make, EQUAL[10], 300) <= 0.05


def test_good_proxies_help():
    def make(truth, rng):
        human = rng.multinomial(2, truth)
        return normalize(human + normalize(truth + 0.2)), normalize(human + 0.25)

    assert says(make, [100] * 10, 100) >= 0.95


def test_verdict_says_what_it_found():
    truth, counts, groups = corpus([100] * 10, RNG)
    found = verdict(truth, counts, groups, prior(counts))
    assert (found.says, found.helps) == ("helps", True)
    assert found.score == pytest.approx(score(truth, counts)["squared_score"])
    assert found.paired.difference.estimate == pytest.approx(found.score - found.control_score)
    assert str(found).startswith("helps: squared score -0.")
    assert verdict(np.tile(prior(counts), (1000, 1)), counts, groups, truth).says == "hurts"
    assert verdict(truth, counts, groups, truth).says == "undecided"


def test_the_known_truth_of_the_toy_corpus_helps(toy_fold, toy_root):
    """From a corpus on disk: votes held out, clusters of its speakers, and the prior of its training votes."""
    train = toy_fold["train"]
    held = hold_out_votes(train, keep=2)
    truth = toy.truth(held, toy_root, Tally.read(held).label_set)
    counts, groups = np.array(held[columns.REFERENCE_COUNTS]), columns.groups(held)
    found = verdict(truth, counts, groups, prior_control(held[columns.VOTE_COUNTS], len(held)))
    assert found.says == "helps"
    assert found.paired.difference.n_groups == len(set(held[columns.SPEAKER])) == 6
    expected = score_of_truth(counts.sum(-1), truth=truth)
    interval_of_score = score_intervals(truth, counts, groups)["squared_score"]
    assert interval_of_score.low < expected["squared_score"] < interval_of_score.high


def test_minimum_detectable_difference_is_found_as_often_as_promised():
    sizes, rng = [20] * 8, np.random.default_rng(0)
    pilot = np.repeat(rng.normal(size=8), 20)
    error = interval(pilot, speakers(sizes)).standard_error
    smallest = minimum_detectable_difference(pilot, speakers(sizes), power=0.8)
    draws = rng.normal(-smallest, error * np.sqrt(8), (20_000, 8))  # speakers of the pilot's spread
    found = scipy.stats.ttest_1samp(draws, 0, axis=1, alternative="less").pvalue < 0.025
    assert found.mean() == pytest.approx(0.8, abs=0.01)
    more = minimum_detectable_difference(pilot, speakers(sizes), n_groups=32)
    assert more < smallest / 2  # half by the number, the rest by the degrees of freedom
    assert minimum_detectable_difference(pilot, speakers(sizes), power=0.95) > smallest
    with pytest.raises(DistributionError, match="`power`"):
        minimum_detectable_difference(pilot, speakers(sizes), power=0.01)
    with pytest.raises(DistributionError, match="`n_groups`"):
        minimum_detectable_difference(pilot, speakers(sizes), n_groups=1)


# -- the bootstrap


def test_bootstrap_spreads_as_the_jackknife_says():
    truth, counts, groups = corpus([8] * 60, RNG)
    names = [name for name in METRICS if name not in ("log_likelihood", "kl_human_to_model")]
    drawn = bootstrap(normalize(truth + 0.1), counts, groups, metrics=names, draws=1000)
    expected = score_intervals(normalize(truth + 0.1), counts, groups, metrics=names)
    for name in names:
        assert drawn[name].shape == (1000,)
        assert drawn[name].std() == pytest.approx(expected[name].standard_error, rel=0.25), name


def test_bootstrap_draws_are_scores_of_resampled_speakers(monkeypatch):
    truth, counts, groups = corpus([5, 9, 12], RNG)
    drawn = bootstrap(truth, counts, groups, metrics=METRICS, draws=7, seed=3)
    times = np.random.default_rng(3).multinomial(3, np.full(3, 1 / 3), 7)
    for draw, repeated in enumerate(times):
        rows = np.repeat(np.arange(26), np.repeat(repeated, [5, 9, 12]))
        expected = score(truth[rows], counts[rows], metrics=METRICS)
        assert {name: values[draw] for name, values in drawn.items()} == pytest.approx(
            {name: expected[name] for name in METRICS}, nan_ok=True
        )
    monkeypatch.setattr(intervals, "CELLS", 6)  # two draws at a time
    chunked = bootstrap(truth, counts, groups, metrics=["ece"], draws=7, seed=3)
    np.testing.assert_allclose(chunked["ece"], drawn["ece"])


# -- the score of the truth


def test_score_of_a_known_truth_is_that_of_all_outcomes():
    truth, sharper = (0.8, 0.1, 0.06, 0.04), (0.945, 0.043, 0.01, 0.002)
    outcomes = np.array([counts for counts in np.ndindex((4,) * 4) if sum(counts) == 3])
    chance = scipy.stats.multinomial(3, truth).pmf(outcomes)
    rows = row_scores(np.tile(truth, (len(outcomes), 1)), outcomes)
    found = score_of_truth([3], truth=truth)
    for name, values in rows.items():
        assert found[name] == pytest.approx(chance @ values, abs=4e-3), name
    others = row_scores(np.tile(sharper, (len(outcomes), 1)), outcomes)
    assert found["js_divergence"] == pytest.approx(0.137, abs=1e-3)
    assert chance @ others["js_divergence"] == pytest.approx(0.116, abs=1e-3)  # better than the truth: not proper
    assert chance @ others["squared_score"] > found["squared_score"]


def test_squared_score_of_the_truth_does_not_depend_on_the_votes():
    alpha = np.array([0.8, 0.3, 0.05, 1.5])
    squares = (alpha * (alpha + 1)).sum() / (alpha.sum() * (alpha.sum() + 1))
    few, many = (score_of_truth(np.full(50, votes), alpha=alpha) for votes in (1, 10))
    assert few["squared_score"] == pytest.approx(-squares, abs=5e-3)
    assert many["squared_score"] == pytest.approx(-squares, abs=5e-3)
    assert few["js_divergence"] > many["js_divergence"] + 0.1
    assert score_of_truth([2, 5], alpha=np.tile(alpha, (2, 1)), rows=50_000)["squared_score"] == pytest.approx(
        -squares, abs=1e-2
    )


def test_score_of_the_truth_of_a_corpus_is_found_from_its_votes():
    alpha = np.array([0.8, 0.3, 0.2, 1.5])
    truth = RNG.dirichlet(alpha, 20_000)
    counts = RNG.multinomial(RNG.integers(1, 6, 20_000), truth)
    fitted = fit_dirichlet(counts)
    np.testing.assert_allclose(fitted, alpha, rtol=0.06)
    found, known = score_of_truth(counts.sum(-1), alpha=fitted), score(truth, counts)
    for name in ("squared_score", "js_divergence", "bhattacharyya", "accuracy"):
        assert found[name] == pytest.approx(known[name], abs=8e-3), name


def test_fit_dirichlet_at_its_edges():
    with pytest.raises(FitError, match="no utterance with two votes"):
        fit_dirichlet([[1, 0], [0, 1]])
    alike = fit_dirichlet(np.tile([2, 2], (50, 1)))
    assert alike.sum() > 1000  # more alike than any draws: all have the same shares
    assert (
        fit_dirichlet(np.repeat([[3, 0, 0], [0, 3, 0]], 50, axis=0)).sum() < 0.1
    )  # each has one class; none the third


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"votes": [3]}, "either `truth`"),
        ({"votes": [0], "alpha": [1, 1]}, "`votes`"),
        ({"votes": [1.5], "alpha": [1, 1]}, "`votes`"),
        ({"votes": [3, 3], "truth": [[0.5, 0.5]]}, "`truth` must have the shape"),
        ({"votes": [3], "alpha": [0, 1]}, "`alpha` must be above 0"),
    ],
)
def test_bad_truths(arguments, message):
    with pytest.raises(DistributionError, match=message):
        score_of_truth(**arguments)


# -- controls

ids = st.lists(st.text(max_size=4), min_size=2, max_size=8, unique=True)


@given(ids, st.integers(0, 5), st.randoms())
@settings(deadline=None, max_examples=30)
def test_shuffling_gives_no_row_its_own_and_knows_no_order(names, seed, random):
    q = np.random.default_rng(0).dirichlet(np.ones(3), len(names))
    handed = shuffled(q, names, seed)
    assert (handed != q).any(axis=1).all()
    np.testing.assert_array_equal(np.sort(handed, axis=0), np.sort(q / q.sum(-1, keepdims=True), axis=0))
    order = random.sample(range(len(names)), len(names))
    np.testing.assert_array_equal(shuffled(q[order], [names[place] for place in order], seed), handed[order])


def test_one_more_human_votes_as_the_spare_votes_are():
    spare = np.tile([2, 0, 1, 1], (8000, 1))
    names = [str(row) for row in range(8000)]
    votes = one_more_human(spare, names)
    assert set(votes.sum(-1)) == {1}
    np.testing.assert_allclose(votes.mean(0), [0.5, 0, 0.25, 0.25], atol=0.02)
    np.testing.assert_array_equal(one_more_human(spare[::-1], names[::-1]), votes[::-1])
    assert (one_more_human(spare, names, seed=1) != votes).any()
    with pytest.raises(DistributionError, match="`spare` must hold at least one vote"):
        one_more_human([[0, 0]], ["a"])
    with pytest.raises(DistributionError, match="`ids`"):
        one_more_human(spare[:2], ["a", "a"])


def test_constant_controls():
    np.testing.assert_allclose(prior_control([[3, 1], [1, 1]], 3), [[0.625, 0.375]] * 3)
    np.testing.assert_allclose(uniform_control(2, 4), np.full((2, 4), 0.25))


@pytest.mark.parametrize(
    ("values", "groups", "message"),
    [
        ([1.0, 2.0], ["a"], "`groups` must name the cluster of each of the 2 rows"),
        ([1.0, 2.0], ["a", "a"], "names 1 cluster: one speaker says nothing"),
        ([1.0, 2.0], ["a", None], "`groups` has None"),
        ([1.0, np.inf], ["a", "b"], "`values` must be finite.*1 of them"),
        ([[1.0], [2.0]], ["a", "b"], "`values` must be finite numbers"),
    ],
)
def test_bad_clusters(values, groups, message):
    with pytest.raises(DistributionError, match=message):
        interval(values, groups)


def test_bad_arguments():
    truth, counts, groups = corpus([3, 3], RNG)
    with pytest.raises(DistributionError, match="`level`"):
        interval([1.0, 2.0], ["a", "b"], level=95)
    with pytest.raises(DistributionError, match="`alpha`"):
        verdict(truth, counts, groups, prior(counts), alpha=2.5)
    with pytest.raises(DistributionError, match=r"`control` \(6, 3\) and `references`"):
        verdict(truth, counts, groups, [0.5, 0.25, 0.25])
    with pytest.raises(DistributionError, match=r"`others` \(5, 4\) and `references`"):
        paired_scores(truth, truth[1:], counts, groups)
    with pytest.raises(DistributionError, match="must score the same rows"):
        paired([1.0, 2.0], [1.0], ["a", "b"])
    with pytest.raises(DistributionError, match="`draws`"):
        bootstrap(truth, counts, groups, draws=0)
    with pytest.raises(DistributionError, match="Did you mean 'ece'"):
        score_intervals(truth, counts, groups, metrics=["eec"])
    with pytest.raises(DistributionError, match="at least two rows|nothing to shuffle"):
        shuffled([[0.5, 0.5]], ["a"])
