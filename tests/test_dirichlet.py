"""The likelihood of votes against scipy, and its slopes against difference quotients."""

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from dime_hf.dirichlet import AlikeLikelihood, VoteLikelihood, dirichlet_multinomial, log_rising, rising_curvature


@given(st.integers(0, 10_000))
def test_likelihood_and_its_slope_against_scipy(seed):
    rng = np.random.default_rng(seed)
    counts, alpha = rng.multinomial(5, np.ones(3) / 3, size=4), rng.uniform(0.1, 5, (4, 3))
    value, slope = dirichlet_multinomial(counts.astype(float), alpha)
    coefficients = sum(scipy.special.gammaln(6) - scipy.special.gammaln(row + 1).sum() for row in counts)
    expected = sum(scipy.stats.dirichlet_multinomial(a, 5).logpmf(row) for a, row in zip(alpha, counts, strict=True))
    assert value + coefficients == pytest.approx(expected)
    numeric = scipy.optimize.approx_fprime(
        alpha.ravel(), lambda a: dirichlet_multinomial(counts.astype(float), a.reshape(4, 3))[0]
    )
    np.testing.assert_allclose(slope.ravel(), numeric, rtol=1e-3, atol=1e-4)


@given(st.integers(0, 10_000), st.sampled_from([1.0, 0.5, 20.0]))
def test_rising_powers_are_ratios_of_gamma_functions(seed, unit):
    rng = np.random.default_rng(seed)
    base, votes = rng.uniform(0.01, 50, 20), unit * np.sort(rng.integers(0, 6, 20))[::-1]
    value, slope = log_rising(base, votes)
    np.testing.assert_allclose(value, scipy.special.gammaln(base + votes) - scipy.special.gammaln(base), atol=1e-9)
    np.testing.assert_allclose(slope, scipy.special.digamma(base + votes) - scipy.special.digamma(base), atol=1e-9)
    polygamma = scipy.special.polygamma(1, base + votes) - scipy.special.polygamma(1, base)
    np.testing.assert_allclose(rising_curvature(base, votes), polygamma, rtol=1e-9, atol=1e-9)


@given(st.integers(0, 10_000), st.sampled_from([1.0, 0.5, 20.0]))
def test_one_alpha_for_all_rows_is_the_same_for_each(seed, unit):
    rng = np.random.default_rng(seed)
    counts, alpha = unit * rng.multinomial(rng.integers(0, 6, 30), np.ones(4) / 4), rng.uniform(0.1, 5, 4)
    rows, slopes = VoteLikelihood(counts).of_rows(np.tile(alpha, (30, 1)))
    value, slope = AlikeLikelihood(counts).at(alpha)
    assert value == pytest.approx(rows.sum())
    np.testing.assert_allclose(slope, slopes.sum(0), atol=1e-9)


def test_nobody_voted():
    assert AlikeLikelihood(np.zeros((2, 3))).at(np.ones(3))[0] == 0
    rows, slopes = VoteLikelihood(np.zeros((2, 3))).of_rows(np.ones((2, 3)))
    assert (rows.tolist(), slopes.tolist()) == ([0, 0], [[0] * 3] * 2)
