"""Strata: the claimed probability of misassignment is how often the truth lies elsewhere; three votes are too few."""

import numpy as np
import pytest
import scipy.stats

from dime_hf import columns, get_pooler, load_dataset
from dime_hf.distribution import entropy, normalize
from dime_hf.errors import DistributionError
from dime_hf.evidence import score_intervals
from dime_hf.pool.panel import Panel
from dime_hf.pool.uncertainty import entropy_intervals
from dime_hf.score import LEVELS, ambiguity_levels, score
from dime_hf.simulation import Proxy, simulate
from dime_hf.validate.strata import paper_tertiles, strata, stratified_scores

PRIOR = np.array([0.4, 0.3, 0.2, 0.1])


def ids(rows):
    return [f"u{row:06}" for row in range(rows)]


def true_levels(corpus, cuts):
    return np.searchsorted(cuts, entropy(corpus.truth))


@pytest.mark.parametrize("votes", [1, 3, 10])
def test_claimed_misassignment_is_the_rate_of_the_truth(votes):
    corpus = simulate(6000, prior=PRIOR, annotators=votes, seed=votes)
    found = strata(corpus.counts + 2 * PRIOR, ids(6000))
    wrong = true_levels(corpus, found.cuts) != found.level
    assert found.misassigned_overall == pytest.approx(wrong.mean(), abs=0.02)
    for place, name in enumerate(LEVELS):
        put = found.level == place
        assert found.misassigned[name] == pytest.approx(wrong[put].mean(), abs=0.04), name
        assert found.sizes[name] == put.sum()
    assert found.misassignment.mean() == pytest.approx(found.misassigned_overall)


def test_memberships_are_frequencies():
    """Of the utterances that lie in a level with probability p, a share p does."""
    corpus = simulate(8000, prior=PRIOR, annotators=3)
    found = strata(corpus.counts + 2 * PRIOR, ids(8000))
    there = true_levels(corpus, found.cuts)[:, None] == np.arange(3)
    for low in (0.0, 0.2, 0.4, 0.6):
        some = (low <= found.membership) & (found.membership < low + 0.2)
        assert there[some].mean() == pytest.approx(found.membership[some].mean(), abs=0.03)


def test_posteriors_of_a_fitted_pooler_know_more_with_a_good_proxy():
    corpus = simulate(3000, prior=PRIOR, annotators=3, proxies=[Proxy(votes=8.0)])
    dataset = corpus.dataset()
    panel = Panel.read(dataset[:])
    found = {
        name: strata(get_pooler(name).fit(dataset).total_votes(panel), dataset[columns.ID][:])
        for name in ("prior", "fitted")
    }
    for one in found.values():
        wrong = true_levels(corpus, one.cuts) != one.level
        assert one.misassigned_overall == pytest.approx(wrong.mean(), abs=0.03)
    assert found["fitted"].misassigned_overall < found["prior"].misassigned_overall - 0.03


def test_memberships_are_those_of_the_dirichlet():
    corpus = simulate(60, prior=PRIOR, annotators=3)
    alpha = corpus.counts + 2 * PRIOR
    found = strata(alpha, ids(60), draws=3000)
    drawn = np.stack([entropy(scipy.stats.dirichlet.rvs(row, 3000, random_state=n)) for n, row in enumerate(alpha)])
    assert found.cuts == pytest.approx(np.quantile(drawn, [1 / 3, 2 / 3]), abs=0.01)
    below = [(drawn <= cut).mean(1) for cut in found.cuts]
    expected = np.stack([below[0], below[1] - below[0], 1 - below[1]], axis=1)
    np.testing.assert_allclose(found.membership, expected, atol=0.05)
    np.testing.assert_allclose(found.membership.sum(1), 1)
    assert found.membership.mean(0) == pytest.approx(np.full(3, 1 / 3), abs=1e-3)
    assert (found.level == found.membership.argmax(1)).all()


def test_certain_utterances_lie_in_one_level():
    certain = strata(np.array([[100.0, 0.1], [50.0, 50.0], [90.0, 10.0]]), ["a", "b", "c"])
    low, high = entropy_intervals(np.array([[100.0, 0.1], [50.0, 50.0], [90.0, 10.0]]))
    assert high[0] < certain.cuts[0] < certain.cuts[1] < low[1]
    assert certain.membership[0, 0] == certain.membership[1, 2] == 1


def test_strata_know_no_order():
    alpha = simulate(300, prior=PRIOR, annotators=3).counts + 2 * PRIOR
    order = np.random.default_rng(0).permutation(300)
    whole, moved = strata(alpha, ids(300)), strata(alpha[order], np.array(ids(300))[order].tolist())
    assert whole.cuts == pytest.approx(moved.cuts)
    np.testing.assert_array_equal(whole.membership[order], moved.membership)


def test_what_is_known_is_assigned_for_sure():
    corpus = simulate(1500, prior=PRIOR)
    found = strata(corpus.truth * 1e6, ids(1500))
    assert found.misassigned_overall < 0.01
    expected = np.quantile(entropy(corpus.truth), [1 / 3, 2 / 3])
    assert found.cuts == pytest.approx(expected, abs=0.01)
    assert set(found.sizes.values()) <= set(range(480, 521))
    assert np.mean([LEVELS[place] for place in true_levels(corpus, found.cuts)] == np.array(found.names)) > 0.99


@pytest.fixture(scope="module")
def scored():
    corpus = simulate(900, prior=PRIOR, annotators=5, proxies=[Proxy(votes=2.0)]).held_out(3)
    levels = strata(corpus.counts + 2 * PRIOR, ids(900))
    return corpus.answers[:, 0], corpus.reference, np.array(corpus.speakers), levels


def test_hard_scores_are_those_of_the_rows_of_a_level(scored):
    q, reference, groups, levels = scored
    found = stratified_scores(q, reference, groups, levels, metrics=["squared_score", "macro_f1"])
    for place, name in enumerate(LEVELS):
        put = levels.level == place
        expected = score_intervals(q[put], reference[put], groups[put], metrics=["squared_score", "macro_f1"])
        for metric, one in expected.items():
            hard = found.hard[metric][name]
            assert (hard.estimate, hard.low, hard.high) == pytest.approx((one.estimate, one.low, one.high))
            assert (hard.n, hard.n_groups) == (put.sum(), 20)


def test_weighted_scores_are_those_of_the_memberships(scored):
    q, reference, groups, levels = scored
    found = stratified_scores(q, reference, groups, levels, metrics=["js_divergence", "accuracy", "ece"])
    for place, name in enumerate(LEVELS):
        weights = levels.membership[:, place]
        expected = score(q, reference, weights=weights, metrics=["js_divergence", "accuracy", "ece"])
        without = [
            score(q[groups != g], reference[groups != g], weights=weights[groups != g], metrics=["js_divergence"])
            for g in np.unique(groups)
        ]
        for metric in ("js_divergence", "accuracy", "ece"):
            assert found.weighted[metric][name].estimate == pytest.approx(expected[metric])
        assert found.n_effective[name] == pytest.approx(expected["n_effective"])
        squares = [(one["js_divergence"] - expected["js_divergence"]) ** 2 for one in without]
        error = np.sqrt(19 / 20 * np.sum(squares))
        assert found.weighted["js_divergence"][name].standard_error == pytest.approx(error)


def test_weighted_scores_keep_the_order_of_the_true_levels_where_hard_ones_turn_it():
    corpus = simulate(12_000, prior=PRIOR, annotators=3)
    levels = strata(corpus.counts + 2 * PRIOR, ids(12_000))
    reference = np.random.default_rng(0).multinomial(5, corpus.truth)
    constant = np.tile(PRIOR, (12_000, 1))
    found = stratified_scores(constant, reference, corpus.speakers, levels, metrics=["squared_distance"])
    place, distance = true_levels(corpus, levels.cuts), ((constant - corpus.truth) ** 2).sum(-1)
    true = [distance[place == level].mean() for level in range(3)]
    weighted, hard = (
        [kind["squared_distance"][name].estimate for name in LEVELS] for kind in (found.weighted, found.hard)
    )
    assert true == sorted(true, reverse=True)
    assert weighted == sorted(weighted, reverse=True)
    assert hard != sorted(hard, reverse=True)
    assert 0.01 < weighted[0] - weighted[2] < 0.5 * (true[0] - true[2])  # blurred: three votes know little
    assert np.mean(weighted) == pytest.approx(distance.mean(), abs=0.005)


def test_a_level_without_utterances_has_no_score():
    alpha = np.tile([1.0, 1.0], (6, 1))
    levels = strata(alpha, ids(6), draws=2000)
    levels.level[:] = 0
    found = stratified_scores(alpha / 2, alpha, ["a", "b"] * 3, levels, metrics=["squared_score"])
    assert np.isnan(found.hard["squared_score"]["high"].estimate)
    assert found.hard["squared_score"]["low"].estimate == pytest.approx(-0.5)
    assert found.weighted["squared_score"]["high"].estimate == pytest.approx(-0.5)
    assert "nan" in str(found)


def test_tertiles_of_the_paper():
    counts = np.array([[3, 0, 0]] * 5 + [[2, 1, 0]] * 3 + [[1, 1, 1]])
    found = paper_tertiles(counts)
    assert found.sizes == {"low": 5, "medium": 3, "high": 1}
    assert found.names == ["low"] * 5 + ["medium"] * 3 + ["high"]
    assert found.names == ambiguity_levels(counts)
    assert found.cuts == pytest.approx((0, entropy([2 / 3, 1 / 3])))
    assert found.values == 3
    text = str(found).splitlines()
    assert text[0] == "The paper's tertiles of the entropy of human votes: 3 different entropies"
    assert text[2].split() == ["low", "up", "to", "0.000", "5", "55.6%"]
    assert text[4].split()[-2:] == ["1", "11.1%"]


def agreement(few, many):
    """How often the tertile of a few votes is that of many."""
    return np.mean(paper_tertiles(few).level == paper_tertiles(many).level)


def test_three_votes_put_every_second_utterance_into_the_wrong_tertile():
    corpus = simulate(6000, prior=PRIOR, annotators=10).held_out(3)
    right = agreement(corpus.counts, corpus.truth)
    assert 0.4 < right < 0.56
    assert agreement(corpus.counts, corpus.counts + corpus.reference) == pytest.approx(right, abs=0.08)
    claimed = strata(corpus.counts + 2 * PRIOR, ids(6000))
    assert claimed.misassigned_overall == pytest.approx(1 - right, abs=0.06)
    assert claimed.misassigned_overall < 1 - right + 0.01


def test_three_votes_of_crema_d_put_every_second_clip_into_the_wrong_tertile(crema_d):
    voice = load_dataset("crema_d", "voice", crema_d, "train", labels_only=True, rows="all")
    many = np.asarray(voice["vote_counts"][:], dtype=int)  # about ten
    rng = np.random.default_rng(0)
    few = np.stack([rng.multivariate_hypergeometric(row, 3) for row in many])

    def thirds(counts):
        """Tertiles with ties broken by chance."""
        bits = entropy(normalize(counts))
        return np.lexsort((rng.random(len(bits)), bits.round(9))).argsort() * 3 // len(bits)

    assert np.mean(thirds(few) == thirds(many)) == pytest.approx(0.52, abs=0.02)
    assert agreement(few, many) == pytest.approx(0.46, abs=0.02)  # with ties together
    sizes = paper_tertiles(few).sizes
    assert (sizes["low"] / 7442, sizes["medium"]) == (pytest.approx(0.82, abs=0.01), 0)
    assert min(paper_tertiles(many).sizes.values()) > 0.32 * 7442


def test_table():
    corpus = simulate(1000, prior=PRIOR, annotators=3)
    found = strata(corpus.counts + 2 * PRIOR, ids(1000))
    text = str(found).splitlines()
    assert (
        text[0] == f"Strata by posterior ambiguity: {found.misassigned_overall:.1%} of utterances expected in another"
    )
    assert text[2].split() == [
        "low", "up", "to", f"{found.cuts[0]:.3f}", str(found.sizes["low"]),
        f"{found.membership[:, 0].sum():.0f}", f"{found.misassigned['low']:.1%}",
    ]  # fmt: skip
    scores = str(stratified_scores(normalize(corpus.truth), corpus.counts, corpus.speakers, found)).splitlines()
    assert len(scores) == 2 + 4 * 3
    assert scores[2].split()[:3] == ["squared_score", "low", str(found.sizes["low"])]


@pytest.mark.parametrize(
    ("alpha", "names", "how", "message"),
    [
        ([[1, 1]], ["a", "b"], {}, "must be of the same utterances"),
        ([[1, 1], [0, 0]], ["a", "b"], {}, "without any vote"),
        ([[1, 1], [1, -1]], ["a", "b"], {}, "`alpha` must be finite and not negative"),
        ([[1, 1], [1, 2]], ["a", "b"], {"draws": 2}, "`draws` must be at least 3"),
    ],
)
def test_what_has_no_strata_is_named(alpha, names, how, message):
    with pytest.raises(DistributionError, match=message):
        strata(alpha, names, **how)


def test_levels_of_other_utterances_are_refused(scored):
    q, reference, groups, levels = scored
    with pytest.raises(DistributionError, match="`levels` are of 900 utterances, `predictions` of 899"):
        stratified_scores(q[1:], reference[1:], groups[1:], levels)
