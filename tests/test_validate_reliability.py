"""Reliability: calibrated proxies lie on the diagonal, a planted temperature is found, bins by brute force."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from dime_hf.distribution import normalize
from dime_hf.errors import DistributionError
from dime_hf.evidence import interval, score_intervals
from dime_hf.score import score
from dime_hf.simulation import simulate
from dime_hf.validate.reliability import reliability

PRIOR = np.full(4, 0.25)


def sharpened(truth, by):
    return normalize(truth**by)


def simulated(utterances=4000, **how):
    return simulate(utterances, **{"prior": PRIOR, "strength": 8.0, **how})


def test_calibrated_proxies_lie_on_the_diagonal_within_their_intervals():
    covered = []
    for seed in range(30):
        corpus = simulated(1000, annotators=3, seed=seed)
        found = reliability(corpus.truth, corpus.counts, corpus.speakers, level=0.9)
        bins = [*found.bins, *(one for bins in found.by_class.values() for one in bins)]
        covered += [one.gap.low <= 0 <= one.gap.high for one in bins]
    assert len(covered) == 30 * 50
    assert np.mean(covered) == pytest.approx(0.9, abs=0.03)


def test_temperature_of_calibrated_proxies_covers_one():
    found = []
    for seed in range(100):
        corpus = simulated(300, annotators=3, seed=seed)
        found.append(reliability(corpus.truth, corpus.counts, corpus.speakers, level=0.9).temperature)
    assert np.mean([one.low <= 1 <= one.high for one in found]) == pytest.approx(0.9, abs=0.08)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_temperature_is_the_planted_factor(factor):
    corpus = simulated(6000)
    found = reliability(sharpened(corpus.truth, factor), corpus.counts, corpus.speakers)
    assert found.temperature.low < factor < found.temperature.high
    assert found.temperature.standard_error < 0.05 * factor
    assert found.slope.estimate == pytest.approx(1 / found.temperature.estimate)
    assert found.says == ("over-confident" if factor > 1 else "under-confident")
    ends = found.bins[0].gap.estimate, found.bins[-1].gap.estimate
    assert ends[0] * (factor - 1) > 0 > ends[1] * (factor - 1)  # humans are less extreme than an over-confident proxy


def test_slope_is_that_of_scipy_and_its_interval_that_of_refits():
    corpus = simulated(400, speakers=10, annotators=3, strength=3.0)
    q, groups = sharpened(corpus.truth, 1.5), np.array(corpus.speakers)

    def refit(rows):
        logs, counts = np.log(np.maximum(q[rows], 1e-6)), corpus.counts[rows]
        loss = lambda b: -(counts * (b * logs - np.logaddexp.reduce(b * logs, axis=-1, keepdims=True))).sum()  # noqa: E731
        return scipy.optimize.minimize_scalar(loss, (0.1, 1), tol=1e-10).x

    both = reliability(q, corpus.counts, groups)
    found = both.slope
    slopes = np.array([refit(groups != name) for name in np.unique(groups)])
    assert found.estimate == pytest.approx(refit(groups != ""))
    error = np.sqrt(9 / 10 * ((slopes - found.estimate) ** 2).sum())
    assert found.standard_error == pytest.approx(error, rel=0.01)
    error = np.sqrt(9 / 10 * ((1 / slopes - both.temperature.estimate) ** 2).sum())
    assert both.temperature.standard_error == pytest.approx(error, rel=0.01)


def brute_bins(p, bins):
    """Rows of each bin: up to each quantile in turn, those above the last quantile in the last."""
    cuts = [np.quantile(p, place / bins) for place in range(1, bins)]
    place = np.array([sum(value > cut + 1e-9 for cut in cuts) for value in p])
    return [np.flatnonzero(place == one) for one in range(bins) if (place == one).any()]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.booleans())
def test_bins_by_brute_force(seed, bins, tied):
    rng = np.random.default_rng(seed)
    q = normalize(rng.integers(1, 4, (40, 3))) if tied else rng.dirichlet(np.ones(3), 40)
    counts, groups = rng.multinomial(3, q), np.arange(40) % 5
    found = reliability(q, counts, groups, classes="xyz", bins=bins)
    errors = []
    for name, p, share in zip("xyz", q.T, counts.T / 3, strict=True):
        expected = brute_bins(p, bins)
        assert len(found.by_class[name]) == len(expected)
        for one, rows in zip(found.by_class[name], expected, strict=True):
            assert (one.low, one.high, one.share.n) == pytest.approx((p[rows].min(), p[rows].max(), len(rows)))
            means = (p[rows].mean(), share[rows].mean(), (share - p)[rows].mean())
            assert (one.probability, one.share.estimate, one.gap.estimate) == pytest.approx(means)
        errors.append(sum(abs((share - p)[rows].mean()) * len(rows) for rows in expected) / 40)
    assert [one.estimate for one in found.class_errors.values()] == pytest.approx(errors)
    assert found.classwise_error.estimate == pytest.approx(np.mean(errors))
    together = brute_bins(q.ravel(), bins)
    assert [one.share.n for one in found.bins] == [len(cells) for cells in together]
    assert [one.share.estimate for one in found.bins] == pytest.approx(
        [(counts / 3).ravel()[cells].mean() for cells in together]
    )


def test_intervals_are_those_of_the_rows_of_a_bin():
    corpus = simulated(600, annotators=3)
    found = reliability(corpus.truth, corpus.counts, corpus.speakers, bins=3).by_class["class 0"]
    for one, rows in zip(found, brute_bins(corpus.truth[:, 0], 3), strict=True):
        shares, groups = corpus.counts[rows, 0] / 3, np.array(corpus.speakers)[rows]
        expected = interval(shares, groups)
        assert (one.share.low, one.share.high) == pytest.approx((expected.low, expected.high))
        expected = interval(shares - corpus.truth[rows, 0], groups)
        assert (one.gap.low, one.gap.high, one.gap.n_groups) == pytest.approx((expected.low, expected.high, 20))


def test_errors_without_a_speaker_are_those_of_the_jackknife():
    corpus = simulated(200, speakers=5, annotators=3)
    q, groups = sharpened(corpus.truth, 1.5), np.array(corpus.speakers)
    found = reliability(q, corpus.counts, groups, bins=4).class_errors["class 1"]
    p, gap, cells = q[:, 1], corpus.counts[:, 1] / 3 - q[:, 1], brute_bins(q[:, 1], 4)
    assert len(p) == sum(len(rows) for rows in cells)
    without = [
        sum(abs(gap[rows][groups[rows] != name].sum()) for rows in cells) / (groups != name).sum()
        for name in np.unique(groups)
    ]
    error = np.sqrt(4 / 5 * ((np.array(without) - found.estimate) ** 2).sum())
    assert found.standard_error == pytest.approx(error)


def test_error_of_the_top_label_is_the_score():
    corpus = simulated(500)
    q = sharpened(corpus.truth, 2)
    found = reliability(q, corpus.counts, corpus.speakers).top_label_error
    assert found.estimate == pytest.approx(score(q, corpus.counts, metrics=["ece"])["ece"])
    expected = score_intervals(q, corpus.counts, corpus.speakers, metrics=["ece"])["ece"]
    assert (found.low, found.high, found.n) == pytest.approx((expected.low, expected.high, 500))


def test_equal_probabilities_stay_together():
    q = np.array([[1.0, 0, 0]] * 6 + [[0.5, 0.5, 0]] * 2)
    found = reliability(q, np.tile([1, 1, 0], (8, 1)), ["a", "b"] * 4, bins=12)
    assert [(one.low, one.high, one.share.n) for one in found.bins] == [(0, 0, 14), (0.5, 0.5, 4), (1, 1, 6)]
    assert [(one.share.estimate, np.isnan(one.share.low)) for one in found.by_class["class 2"]] == [(0, True)]


def test_a_bin_of_one_speaker_has_no_interval():
    q = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    found = reliability(q, [[2, 0], [1, 1], [0, 2], [1, 1]], ["a", "a", "b", "b"], bins=2)
    one = found.by_class["class 0"][1]
    assert (one.share.estimate, one.share.n, one.share.n_groups) == (0.75, 2, 1)
    assert np.isnan([one.share.low, one.share.high, one.gap.low]).all()


def test_what_knows_nothing_has_no_temperature():
    corpus = simulated(2000)
    rng = np.random.default_rng(0)
    noise = reliability(rng.dirichlet(PRIOR * 8, 2000), corpus.counts, corpus.speakers)
    assert noise.says == "uninformative"
    wrong = reliability(sharpened(corpus.truth, -1.0), corpus.counts, corpus.speakers)
    assert (wrong.says, wrong.slope.high < 0, np.isnan(wrong.temperature.estimate)) == ("uninformative", True, True)
    flat = reliability(np.tile(PRIOR, (2000, 1)), corpus.counts, corpus.speakers)
    assert (flat.says, len(flat.bins)) == ("no temperature fits", 1)
    assert np.isnan(flat.slope.estimate)


def test_table_and_figure():
    from matplotlib.figure import Figure

    corpus = simulated(1000)
    found = reliability(sharpened(corpus.truth, 2), corpus.counts, corpus.speakers, corpus.classes)
    text = str(found).splitlines()
    assert text[0] == "Reliability of option probabilities: over-confident"
    assert str(found.temperature) in text[1]
    assert len(text) == 5 + 10 + 4
    assert float(text[-5].split()[-1].replace(",", "")) == 400
    assert "error of angry" in text[-4]
    axes = Figure().subplots()
    found.plot(axes)
    points = axes.containers[0].lines[0]
    assert points.get_xdata() == pytest.approx([one.probability for one in found.bins])
    assert points.get_ydata() == pytest.approx([one.share.estimate for one in found.bins])
    bars = np.array(axes.containers[0].lines[2][0].get_segments())
    assert bars[:, 1, 1] == pytest.approx([one.share.high for one in found.bins])
    assert len(axes.lines) >= 1 + 4
    assert "share of human votes" in axes.get_ylabel()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"bins": 0}, "`bins` must be at least 1, not 0"),
        ({"classes": ["a", "b"]}, "`classes` must be 4 different names"),
        ({"groups": ["a"] * 50}, "names 1 cluster"),
        ({"probabilities": np.zeros((50, 4))}, "`probabilities` must sum to 1"),
    ],
)
def test_what_cannot_be_measured_is_named(how, message):
    corpus = simulated(50)
    given = {"probabilities": corpus.truth, "counts": corpus.counts, "groups": corpus.speakers}
    with pytest.raises(DistributionError, match=message):
        reliability(**{**given, **how})
