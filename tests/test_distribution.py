"""Distribution maths against scipy, and its edges."""

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dime_hf.distribution import (
    as_distributions,
    bhattacharyya,
    canberra_distance,
    chebyshev_distance,
    clark_distance,
    cosine_similarity,
    dirichlet_entropy,
    entropy,
    intersection_similarity,
    js_distance,
    js_divergence,
    kl_divergence,
    krippendorff_alpha,
    manhattan_distance,
    normalize,
    smooth,
    total_variation,
)
from dime_hf.errors import DistributionError

counts = arrays(np.float64, (3, 5), elements=st.floats(0, 100).map(lambda x: round(x, 2))).filter(
    lambda a: a.sum(-1).min() > 0
)


@given(counts, counts)
def test_divergences_equal_scipy(left, right):
    p, q = normalize(left), normalize(right)
    np.testing.assert_allclose(entropy(p), scipy.stats.entropy(p, base=2, axis=-1), atol=1e-12)
    np.testing.assert_allclose(kl_divergence(p, q), scipy.stats.entropy(p, q, base=2, axis=-1), atol=1e-9)
    expected = [scipy.spatial.distance.jensenshannon(a, b, base=2) for a, b in zip(p, q, strict=True)]
    np.testing.assert_allclose(js_distance(p, q), np.nan_to_num(expected), atol=1e-6)
    np.testing.assert_allclose(js_divergence(p, q), js_divergence(q, p), atol=1e-12)
    assert np.all(bhattacharyya(p, q) <= 1 + 1e-12)


@given(counts, counts)
def test_distances_equal_scipy(left, right):
    p, q = normalize(left), normalize(right)
    by_row = lambda measure: [measure(a, b) for a, b in zip(p, q, strict=True)]  # noqa: E731
    np.testing.assert_allclose(manhattan_distance(p, q), by_row(scipy.spatial.distance.cityblock), atol=1e-12)
    np.testing.assert_allclose(chebyshev_distance(p, q), by_row(scipy.spatial.distance.chebyshev), atol=1e-12)
    np.testing.assert_allclose(canberra_distance(p, q), by_row(scipy.spatial.distance.canberra), atol=1e-12)
    np.testing.assert_allclose(1 - cosine_similarity(p, q), by_row(scipy.spatial.distance.cosine), atol=1e-12)
    np.testing.assert_allclose(total_variation(p, q), 1 - intersection_similarity(p, q), atol=1e-12)


def test_clark_distance_by_hand():
    assert clark_distance([0.5, 0.5, 0], [1, 0, 0]) == pytest.approx(np.sqrt((1 / 3) ** 2 + 1))


def test_zeros_are_safe():
    assert js_divergence([1, 0, 0], [0, 1, 0]) == 1
    assert kl_divergence([0.5, 0.5], [1, 0]) == np.inf
    assert bhattacharyya([1, 0], [0, 1]) == 0
    assert entropy([0, 1]) == 0


def test_dirichlet_entropy_is_the_mean_over_draws():
    alpha = np.array([0.7, 2.0, 0.3, 4.0])
    draws = np.random.default_rng(0).dirichlet(alpha, 200_000)
    assert dirichlet_entropy(alpha) == pytest.approx(entropy(draws).mean(), abs=3e-3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0.5, 0.4]], "row 0 sums to 0.9"),
        ([[0.5, 0.5], [np.nan, 1.0]], "row 1 has NaN"),
        ([[-0.5, 1.5]], "row 0 has a negative"),
        ([[np.inf, 0.0]], "row 0 has an infinity"),
        ([[0.5, 0.5], [1.0]], "rectangular"),
        (0.5, "shape"),
    ],
)
def test_what_is_no_distribution_is_refused(values, message):
    with pytest.raises(DistributionError, match=message):
        as_distributions(values)


def test_small_rounding_is_mended():
    assert as_distributions(np.array([[0.3333, 0.3333, 0.3333]])).sum() == pytest.approx(1, abs=1e-12)


def test_nobody_voted():
    with pytest.raises(DistributionError, match="row 1 has none"):
        normalize([[1, 0], [0, 0]])


def alpha_by_pairs(counts):
    """Krippendorff's alpha from every ordered pair of votes, one by one."""
    rows = [[label for label, n in enumerate(row) for _ in range(n)] for row in counts if sum(row) >= 2]
    observed = [
        (a != b) / (len(row) - 1) for row in rows for i, a in enumerate(row) for j, b in enumerate(row) if i != j
    ]
    votes = [label for row in rows for label in row]
    expected = [a != b for i, a in enumerate(votes) for j, b in enumerate(votes) if i != j]
    return 1 - (sum(observed) / len(votes)) / (sum(expected) / len(expected))


@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=2, max_size=6))
def test_krippendorff_alpha_is_that_of_all_pairs(counts):
    paired = np.array([row for row in counts if sum(row) >= 2]).reshape(-1, 3)
    if (paired.sum(0) > 0).sum() < 2:
        assert np.isnan(krippendorff_alpha(counts))
    else:
        assert krippendorff_alpha(counts) == pytest.approx(alpha_by_pairs(counts))


def test_smoothing_as_published():
    """EMO-SUPERB's nine classes: 0 -> 0.00625, 1 -> 0.95."""
    np.testing.assert_allclose(smooth(np.eye(9)[0], 0.05), [0.95] + [0.00625] * 8)
