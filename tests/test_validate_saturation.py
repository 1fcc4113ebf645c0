"""Saturation: curves by enumeration, planted biases found again, planted curves fitted."""

import itertools

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from dime_hf.distribution import js_divergence
from dime_hf.errors import DistributionError
from dime_hf.evidence import score_intervals, score_of_truth
from dime_hf.evidence.intervals import Clusters
from dime_hf.pool.panel import Panel
from dime_hf.simulation import Proxy, simulate
from dime_hf.validate.saturation import fit_curve, saturation
from dime_hf.validate.synthetic_votes import Chances, synthetic_votes

SWAP = np.roll(np.eye(4), 1, axis=1)  # says the next class


def panel_of(corpus, drawn=None):
    """The panel of a simulated corpus; `drawn` (N, C) are instead the votes of one proxy."""
    answers, votes = corpus.answers, np.array([proxy.draws or 1 for proxy in corpus.proxies]) * corpus.answered
    names, are_drawn = [proxy.name for proxy in corpus.proxies], [proxy.draws > 0 for proxy in corpus.proxies]
    if drawn is not None:
        answers, votes, names, are_drawn = drawn[:, None], np.ones((len(drawn), 1)), ["truth"], [False]
    return panel(corpus.counts, answers * (votes > 0)[..., None], votes, np.array(are_drawn) & (votes > 0), names)


def panel(human, answers, votes, drawn, names=("proxy",)):
    return Panel(np.asarray(human, float), tuple(names), answers, votes, drawn, np.zeros((len(human), 0)))


def counted(human, synthetic):
    """The panel of one proxy that cast the votes synthetic (N, C)."""
    synthetic = np.asarray(synthetic, float)[:, None]
    votes = synthetic.sum(-1)
    return panel(human, synthetic / votes[..., None], votes, votes > 0)


def ids(rows):
    return [f"u{row}" for row in range(rows)]


def measure(panel, groups=None, **how):
    rows = len(panel.human)
    return saturation(panel, ids(rows), np.arange(rows) % 10 if groups is None else groups, **how)


def subsets(counts, k):
    """Shares of every choice of k votes of counts (C,)."""
    votes = np.repeat(np.arange(len(counts)), counts)
    return [np.bincount(some, minlength=len(counts)) / k for some in itertools.combinations(votes, k)]


def estimates(intervals):
    return np.array([one.estimate for one in intervals])


def test_curve_is_the_mean_over_all_choices_of_votes():
    human, synthetic = np.array([2, 1, 0]), np.array([1, 3, 2])
    found = measure(counted(np.tile(human, (20_000, 1)), np.tile(synthetic, (20_000, 1))))
    expected = [np.mean([js_divergence(share, human / 3) for share in subsets(synthetic, k)]) for k in range(1, 7)]
    assert estimates(found.js_divergence) == pytest.approx(np.array(expected), abs=0.004)
    assert found.js_divergence[-1].estimate == pytest.approx(expected[-1])  # all votes, in whichever order
    assert found.left_out == 0


def distance_of_pairs(synthetic, human, k):
    """Mean over choices of k votes of |share|^2 - 2 share.truth + |truth|^2, human votes being different ones."""
    votes = np.repeat(np.arange(len(human)), human)
    truth = np.mean([one == other for one, other in itertools.permutations(votes, 2)])
    shares = np.array(subsets(synthetic, k))
    return (shares**2).sum(-1).mean() - 2 * shares.mean(0) @ human / human.sum() + truth


COUNTS = st.lists(st.integers(0, 3), min_size=3, max_size=3).filter(lambda counts: sum(counts) >= 2)


@settings(max_examples=10, deadline=None)
@given(COUNTS, COUNTS)
def test_distance_is_bias_and_noise_at_every_k(human, synthetic):
    found = measure(counted([human, human], [synthetic, synthetic]), groups=["a", "b"])
    expected = [distance_of_pairs(synthetic, np.array(human), k) for k in range(1, sum(synthetic) + 1)]
    assert estimates(found.distance) == pytest.approx(np.array(expected), abs=1e-9)
    k = np.arange(1, len(expected) + 1)
    parts = found.bias.estimate + found.noise.estimate / k
    assert estimates(found.distance) == pytest.approx(parts)


def test_bias_is_without_bias():
    """Its mean over draws of few votes of both sides is the squared distance; that of the shares is far more."""
    s, t = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.5, 0.3])
    rng = np.random.default_rng(0)
    human, synthetic = rng.multinomial(2, t, 40_000), rng.multinomial(3, s, 40_000)
    found = measure(counted(human, synthetic))
    assert found.bias.estimate == pytest.approx(((s - t) ** 2).sum(), abs=3 * found.bias.standard_error)
    assert found.bias.standard_error < 0.01
    assert ((human / 2 - synthetic / 3) ** 2).sum(-1).mean() > 3 * ((s - t) ** 2).sum()
    assert found.noise.estimate == pytest.approx(1 - (s**2).sum(), abs=0.005)


@pytest.mark.parametrize("draws", [20, 0])
def test_planted_bias_is_found(draws):
    biased = {"votes": 3.0, "bias": 0.5 * np.eye(4) + 0.5 * SWAP}
    corpus = simulate(6000, annotators=4, proxies=[Proxy(draws=draws, **biased)], seed=3)
    told = simulate(6000, annotators=4, proxies=[Proxy(**biased)], seed=3)  # the same, asked for its probabilities
    assert (corpus.truth == told.truth).all()
    planted = ((told.answers[:, 0] - told.truth) ** 2).sum(-1).mean()
    found = measure(panel_of(corpus), corpus.speakers)
    assert found.bias.low < planted < found.bias.high
    assert found.bias.standard_error < 0.1 * planted
    rng = np.random.default_rng(0)
    for k in (1, 5, 20):
        shares = rng.multinomial(k, told.answers[:, 0]) / k
        expected = ((shares - told.truth) ** 2).sum(-1).mean()
        assert found.bias.estimate + found.noise.estimate / k == pytest.approx(expected, abs=0.02)
    if draws:
        noise = found.noise.estimate
        assert found.bias_share[-1].estimate == pytest.approx(found.bias.estimate / (found.bias.estimate + noise / 20))
        assert found.bias_share[0].estimate < 0.3 < 0.7 < found.bias_share[-1].estimate
        assert found.bias_share[-1].low < found.bias_share[-1].estimate < found.bias_share[-1].high


def test_proxy_that_says_the_truth_has_no_bias():
    corpus = simulate(6000, proxies=[Proxy()], seed=1)
    rng = np.random.default_rng(1)
    for votes in (counted(corpus.counts, rng.multinomial(20, corpus.truth)), panel_of(corpus, corpus.truth)):
        found = measure(votes, corpus.speakers)
        assert found.bias.low < 0 < found.bias.high
        assert found.bias.standard_error < 0.01


def test_line_of_the_truth_is_where_endless_votes_of_the_truth_end():
    corpus = simulate(4000, annotators=5, proxies=[Proxy()], strength=3.0)
    found = measure(panel_of(corpus, corpus.truth), corpus.speakers, draws=300)
    known = score_of_truth(corpus.counts.sum(-1), truth=corpus.truth, metrics=["js_divergence"])["js_divergence"]
    assert found.truth == pytest.approx(known, abs=0.004)
    assert found.js_divergence[-1].estimate == pytest.approx(found.truth, abs=0.006)
    assert found.votes.startswith("300 drawn from the mean")


def test_intervals_are_those_of_the_scores():
    """At the last K all votes are in, in whichever order."""
    corpus = simulate(500, proxies=[Proxy(draws=6)])
    found = measure(panel_of(corpus), corpus.speakers, level=0.9).js_divergence[-1]
    expected = score_intervals(
        corpus.answers[:, 0], corpus.counts, corpus.speakers, metrics=["js_divergence"], level=0.9
    )["js_divergence"]
    assert (found.estimate, found.low, found.high) == pytest.approx((expected.estimate, expected.low, expected.high))
    assert (found.n, found.n_groups) == (500, 20)


def test_one_vote_is_drawn_from_each_answer():
    answers = np.tile([[[0.7, 0.3, 0.0], [0.0, 0.2, 0.8]]], (20_000, 1, 1))
    made = panel(np.full((20_000, 3), 2), answers, np.tile([1.0, 2.0], (20_000, 1)), np.zeros((20_000, 2), bool), "ab")
    votes, how = synthetic_votes(made, Chances(tuple(ids(20_000)), 20_000, 0), None)
    counts = (votes[..., None] == np.arange(3)).sum(1)
    assert votes.shape == (20_000, 3)
    assert counts.mean(0) == pytest.approx(np.array([0.7, 0.7, 1.6]), abs=0.02)
    assert counts[:, 0].max() == 1  # the second answer never says it
    first = (votes[:, [0]] == np.arange(3)).mean(0)  # in an order of chance
    assert first == pytest.approx(np.array([0.7, 0.7, 1.6]) / 3, abs=0.02)
    assert how == "one drawn from each answer of probabilities"


def test_bias_of_probabilities_is_that_of_their_mean():
    answers = np.tile([[[1.0, 0.0], [0.0, 1.0]]], (10, 1, 1))
    found = measure(panel(np.tile([2, 2], (10, 1)), answers, np.ones((10, 2)), np.zeros((10, 2), bool), "ab"))
    assert found.bias.estimate == pytest.approx(0.5 - 1 + 1 / 3)
    assert found.noise.estimate == pytest.approx(0.5)


def test_votes_are_keyed_by_seed_and_id():
    corpus = simulate(300, proxies=[Proxy(draws=8), Proxy("told")])
    whole, order = panel_of(corpus), np.random.default_rng(0).permutation(300)[:100]
    votes = lambda panel, names, seed: synthetic_votes(panel, Chances(tuple(names), len(names), seed), None)[0]  # noqa: E731
    some = votes(whole.select(order), [f"u{row}" for row in order], 1)
    assert (some == votes(whole, ids(300), 1)[order]).all()
    assert (some != votes(whole, ids(300), 2)[order]).any()


def test_utterances_with_too_few_votes_are_left_out_and_counted():
    corpus = simulate(1000, proxies=[Proxy("a", draws=5), Proxy("b", draws=5, failures=0.05)])
    one_human = panel_of(corpus)
    one_human.human[:7] = [1, 0, 0, 0]
    found = measure(one_human)
    assert len(found.js_divergence) == 10
    assert found.left_out == 7 + (~corpus.answered[7:].all(1)).sum()
    assert found.bias.n == 1000 - found.left_out
    assert len(measure(one_human, largest=3).js_divergence) == 3
    assert measure(one_human, largest=3).left_out == 7


def curve(k, a, b, c):
    return a + b * np.exp(-c * k)


K = np.arange(1, 21)


@given(st.floats(0.05, 0.5), st.floats(-0.5, 0.5).filter(lambda b: abs(b) > 0.02), st.floats(0.1, 2))
@settings(max_examples=30, deadline=None)
def test_fit_finds_the_planted_curve(a, b, c):
    means = np.tile(curve(K, a, b, c), (4, 1))
    found, reason = fit_curve(means, Clusters.read([*"abc"], 3))
    assert reason == ""
    assert (found.asymptote.estimate, found.height, found.rate) == pytest.approx((a, b, c), rel=1e-3)
    assert found(K) == pytest.approx(means[0], rel=1e-4)
    within = np.abs(curve(np.arange(1, 200), a, b, c) - a) <= 0.1 * a
    if np.diff(np.abs(np.abs(curve(np.arange(1, 200), a, b, c) - a) - 0.1 * a)).all():
        assert abs(found.saturation - (within.argmax() + 1)) <= 1


def speaker_curves(rng, groups=12, noise=0.02):
    """Means of all speakers and without each, of curves that speakers shift and bend."""
    bent = curve(K, 0.2, 0.4 + noise * rng.normal(size=(groups, 1)), 0.3) + noise * rng.normal(size=(groups, 1))
    own = bent + noise / 4 * rng.normal(size=(groups, len(K)))
    return np.concatenate([own.mean(0)[None], (own.sum(0) - own) / (groups - 1)])


def test_interval_of_the_asymptote_is_that_of_refits():
    means, clusters = speaker_curves(np.random.default_rng(0)), Clusters.read([*map(str, range(12))], 12)
    found, _ = fit_curve(means, clusters, 0.9)
    refits = np.array([scipy.optimize.curve_fit(curve, K, y, (0.2, 0.4, 0.3))[0][0] for y in means])
    assert found.asymptote.estimate == pytest.approx(refits[0], abs=1e-5)
    error = np.sqrt(11 / 12 * ((refits[1:] - refits[0]) ** 2).sum())
    assert found.asymptote.standard_error == pytest.approx(error, rel=0.02)


def test_interval_of_the_asymptote_covers_it():
    rng, clusters = np.random.default_rng(1), Clusters.read([*map(str, range(12))], 12)
    found = [fit_curve(speaker_curves(rng), clusters, 0.9)[0].asymptote for _ in range(300)]
    assert np.mean([one.low <= 0.2 <= one.high for one in found]) == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize(
    ("y", "reason"),
    [
        ([0.5, 0.4, 0.3], "too few for a curve of 3 parameters"),
        ([0.3] * 8, "does not change"),
        (0.9 - 0.01 * np.arange(8), "no curve that levels off fits K = 1 to 8"),
        ([0.9] + [0.2] * 8, "level from K = 2 on"),
    ],
)
def test_no_curve_has_a_reason(y, reason):
    found, why = fit_curve(np.tile(y, (3, 1)), Clusters.read([*"ab"], 2))
    assert found is None
    assert reason in why


def test_table_and_figure():
    from matplotlib.figure import Figure

    corpus = simulate(800, proxies=[Proxy(draws=12, bias=0.5 * np.eye(4) + 0.5 * SWAP)])
    found = measure(panel_of(corpus), corpus.speakers)
    text = str(found).splitlines()
    assert text[0] == "Saturation over K = 1 to 12 synthetic votes (as they were drawn)"
    assert f"from K = {found.curve.saturation} on" in text[1]
    assert [int(line.split()[0]) for line in text[7:]] == [*range(1, 11), 12]
    assert float(text[7].split()[1]) == pytest.approx(found.js_divergence[0].estimate, abs=1e-4)
    axes = Figure().subplots()
    found.plot(axes)
    drawn = {line.get_label(): line for line in axes.lines}
    assert drawn["score of the truth"].get_ydata()[0] == found.truth
    assert drawn["its asymptote"].get_ydata()[0] == found.curve.asymptote.estimate
    assert drawn["synthetic votes"].get_ydata() == pytest.approx(estimates(found.js_divergence))
    assert "bits" in axes.get_ylabel()
    few = measure(panel_of(corpus), corpus.speakers, largest=2)
    assert "none: K = 1 to 2 are too few" in str(few)
    few.plot(axes)


@pytest.mark.parametrize(
    ("human", "how", "message"),
    [
        ([[1, 0], [0, 1]], {}, "no utterance with two human votes"),
        ([[1.5, 0.5], [0, 2]], {}, "fractional human votes"),
        ([[2, 0], [0, 2]], {"largest": 9}, "`largest` must be from 1 to the 4 votes"),
        ([[2, 0], [0, 2]], {"draws": 9}, "'proxy' cast votes: leave `draws` out"),
    ],
)
def test_what_cannot_be_measured_is_named(human, how, message):
    with pytest.raises(DistributionError, match=message):
        measure(counted(human, [[3, 1], [3, 1]]), groups=["a", "b"], **how)


def test_other_refusals():
    votes = counted([[2, 0], [0, 2]], [[3, 1], [3, 1]])
    with pytest.raises(DistributionError, match="`ids` must be 2 different ids; they are 2, 1 different"):
        saturation(votes, ["u", "u"], ["a", "b"])
    with pytest.raises(DistributionError, match="one drawn vote an utterance"):
        measure(counted([[2, 0], [0, 2]], [[1, 0], [1, 0]]), groups=["a", "b"])
    told = np.full((2, 1, 2), 0.5)
    with pytest.raises(DistributionError, match="parts of votes of 'proxy'"):
        measure(panel([[2, 0], [0, 2]], told, np.full((2, 1), 1.5), np.ones((2, 1), bool)), groups=["a", "b"])
    with pytest.raises(DistributionError, match="`draws` must be at least 1, not 0"):
        measure(panel([[2, 0], [0, 2]], told, np.ones((2, 1)), np.zeros((2, 1), bool)), groups=["a", "b"], draws=0)
    silent = panel([[2, 0], [0, 2]], 0 * told, np.zeros((2, 1)), np.zeros((2, 1), bool))
    with pytest.raises(DistributionError, match="both two human votes and a synthetic one"):
        measure(silent, groups=["a", "b"])


def test_panels_of_datasets_are_taken():
    """Shares of drawn votes travel in float32, and are whole votes again."""
    corpus = simulate(200, proxies=[Proxy("a", draws=7, failures=0.1), Proxy("b")])
    dataset = corpus.dataset()
    read, made = measure(Panel.read(dataset[:]), corpus.speakers), measure(panel_of(corpus), corpus.speakers)
    assert str(read) == str(made)
    assert read.votes == "one drawn from each answer of probabilities"
