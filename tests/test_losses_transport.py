"""The ground metric over emotions, and the losses on it, against scipy's exact transport."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog
from scipy.special import logsumexp, softmax
from scipy.stats import energy_distance, wasserstein_distance

from dime_hf.columns import EMOTIONS
from dime_hf.losses import EarthMover, Sinkhorn, fit_to, get_loss, ground_distances

PLACED = EMOTIONS[:-1]
FOUR = ("angry", "happy", "neutral", "sad")
logits_and_counts = st.tuples(
    arrays(np.float64, (3, 4), elements=st.floats(-20, 20)),
    arrays(np.int64, (3, 4), elements=st.integers(0, 5)).filter(lambda votes: votes.sum(-1).all()),
)


def tables(size):
    """What makes a flat table have the margins p, q."""
    return np.vstack([np.kron(np.eye(size), np.ones(size)), np.kron(np.ones(size), np.eye(size))])


def transport(p, q, distances):
    """The exact earth mover's distance, by linear programming."""
    return linprog(distances.ravel(), A_eq=tables(len(p)), b_eq=np.concatenate([p, q])).fun


def some_pairs(size, rows=20, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (rows, size))
    return rng.multinomial(5, np.ones(size) / size, rows) / 5, softmax(logits, -1), torch.from_numpy(logits)


def test_distances_are_those_of_the_published_norms():
    distances = ground_distances("valence_arousal", PLACED, 10)
    happy, sad, angry, fear = (PLACED.index(name) for name in ("happy", "sad", "angry", "fear"))
    assert distances.max() == distances[happy, sad] == 1
    scale = np.hypot(8.47 - 2.10, 6.05 - 3.49)
    assert distances[angry, fear] == pytest.approx(np.hypot(2.53 - 2.93, 6.20 - 6.14) / scale)
    np.testing.assert_array_equal(distances, distances.T)
    np.testing.assert_array_equal(np.diag(distances), 0)
    paths = distances[:, :, None] + distances[None]  # from i over j to k
    assert (paths.min(1) >= distances - 1e-12).all()
    apart = ground_distances("valence_arousal_dominance", PLACED, 10)
    assert apart[angry, fear] > 1.5 * distances[angry, fear]


def test_a_class_without_norms_is_refused_or_at_the_mean_distance():
    with pytest.raises(ValueError, match=r"\['other'\] have no place.*unplaced='mean'"):
        EarthMover(classes=EMOTIONS)
    with pytest.raises(ValueError, match=r"\['other'\] have no place"):
        fit_to(get_loss("sinkhorn"), [[1, 0]], ("sad", "other"))
    distances = ground_distances("valence_arousal", EMOTIONS, 11, unplaced="mean")
    placed = distances[:10, :10]
    assert distances[10, 3] == pytest.approx(placed.sum() / 90)
    with pytest.raises(ValueError, match="places only words of"):
        EarthMover(classes=("calm", "sad"), unplaced="mean")


@pytest.mark.parametrize(
    ("ground", "reason"),
    [
        ("valence", "no ground metric. Did you mean 'valence_arousal'"),
        (((0, 1), (1, 0)), r"has the shape \(2, 2\), but there are 3 classes"),
        (((0, 1, 2), (1, 0, 1), (1, 1, 0)), "must be a symmetric matrix"),
        (((1, 1, 2), (1, 0, 1), (2, 1, 0)), "zeros on its diagonal"),
        (((0, 0, 1), (0, 0, 1), (1, 1, 0)), "puts two classes at distance 0"),
        (((0, 1, 9), (1, 0, 1), (9, 1, 0)), "strict negative type"),
        (((0, 1, 4), (1, 0, 1), (4, 1, 0)), "strict negative type"),  # squared distances on a line: not strict
    ],
)
def test_other_grounds_are_refused(ground, reason):
    with pytest.raises(ValueError, match=reason):
        EarthMover(ground)(torch.zeros(1, 3), torch.ones(1, 3) / 3)


def test_classes_must_be_known():
    for loss in (get_loss("emd2"), EarthMover(classes=("angry", "sad"))):
        with pytest.raises(ValueError, match="names for 4 classes.*fit_to"):
            loss(torch.zeros(1, 4), torch.ones(1, 4) / 4)
    assert fit_to(get_loss("emd2"), [[1, 0, 0, 0]], list(FOUR)) == EarthMover(classes=FOUR)
    with pytest.raises(ValueError, match="`unplaced` is 'median'"):
        EarthMover(unplaced="median")


@given(logits_and_counts)
def test_ordered_emd2_is_the_squared_difference_of_cumulative_sums(given_pair):
    logits, counts = given_pair
    p, q = counts / counts.sum(-1, keepdims=True), softmax(logits, -1)
    expected = (np.cumsum(p - q, -1) ** 2).sum(-1).mean() / 3
    loss = EarthMover("ordered")(torch.from_numpy(logits), torch.from_numpy(p))
    assert float(loss) == pytest.approx(expected, abs=1e-12)
    of_scipy = [energy_distance(range(4), range(4), *pair) ** 2 / 2 / 3 for pair in zip(p, q, strict=True)]
    assert float(loss) == pytest.approx(np.mean(of_scipy), abs=1e-9)


def test_emd2_by_hand():
    sure = torch.tensor([[60.0, 0.0, 0.0, 0.0]])  # angry
    to = torch.eye(4)
    distances = ground_distances("valence_arousal", FOUR, 4)
    for index in range(4):  # between two sure answers it is their distance
        loss = EarthMover(classes=FOUR)(sure, to[index : index + 1])
        assert float(loss) == pytest.approx(distances[0, index], abs=1e-6)
    equal = EarthMover((1 - np.eye(4)).tolist())
    p, q, logits = some_pairs(4)
    assert float(equal(logits, torch.from_numpy(p))) == pytest.approx(((p - q) ** 2).sum(-1).mean() / 2)


def test_sinkhorn_is_the_exact_transport_as_regularisation_goes_to_zero():
    p, q, logits = some_pairs(10, rows=10)
    distances = ground_distances("valence_arousal", PLACED, 10)
    exact = np.array([transport(*pair, distances) for pair in zip(p, q, strict=True)])
    errors = []
    for regularisation, iterations in ((0.2, 100), (0.05, 300), (0.01, 2000)):
        loss = Sinkhorn(classes=PLACED, regularisation=regularisation, iterations=iterations)
        errors.append(np.abs(loss.rows(logits, torch.from_numpy(p), {}).numpy() - exact).max())
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.015
    default = Sinkhorn(classes=PLACED).rows(logits, torch.from_numpy(p), {}).numpy()
    assert np.mean(exact - default) == pytest.approx(0.04, abs=0.01)  # as the docstring says
    order = np.corrcoef(exact, default)[0, 1]
    assert order > 0.98


def test_sinkhorn_on_an_ordered_ground_is_scipys_wasserstein_distance():
    p, q, logits = some_pairs(4, rows=10)
    exact = [wasserstein_distance(np.arange(4), np.arange(4), *pair) / 3 for pair in zip(p, q, strict=True)]
    loss = Sinkhorn("ordered", regularisation=0.01, iterations=1000).rows(logits, torch.from_numpy(p), {})
    np.testing.assert_allclose(loss.numpy(), exact, atol=0.02)


def test_sinkhorn_under_endless_regularisation_is_emd2():
    p, _, logits = some_pairs(10)
    smooth = Sinkhorn(classes=PLACED, regularisation=1e4, iterations=20)
    both = [loss.rows(logits, torch.from_numpy(p), {}) for loss in (smooth, EarthMover(classes=PLACED))]
    torch.testing.assert_close(*both, atol=1e-4, rtol=0)


def test_sinkhorn_is_the_debiased_entropic_cost():
    """Against tables that Sinkhorn's scaling finds in numpy, and their primal costs."""
    p, q, logits = some_pairs(4, rows=5, seed=1)
    p = (p + 0.05) / 1.2
    distances, r = ground_distances("valence_arousal", FOUR, 4), 0.2

    def cost(a, b):
        f, g = np.zeros(4), np.zeros(4)
        for _ in range(200):
            f = -logsumexp(np.log(b) + g - distances / r, axis=1)
            g = -logsumexp((np.log(a) + f)[:, None] - distances / r, axis=0)
        table = a[:, None] * b * np.exp(f[:, None] + g - distances / r)
        np.testing.assert_allclose(table.sum(1), a, atol=1e-9)
        return (table * distances).sum() + r * (table * np.log(table / (a[:, None] * b))).sum()

    expected = [cost(a, b) - cost(a, a) / 2 - cost(b, b) / 2 for a, b in zip(p, q, strict=True)]
    loss = Sinkhorn(classes=FOUR, regularisation=r, iterations=500).rows(logits, torch.from_numpy(p), {})
    np.testing.assert_allclose(loss.numpy(), expected, atol=1e-8)


@settings(max_examples=25)
@given(logits_and_counts)
def test_both_are_within_zero_and_one_and_near_classes_cost_less(given_pair):
    logits, counts = given_pair
    inputs = torch.from_numpy(logits), torch.from_numpy(counts / counts.sum(-1, keepdims=True))
    for loss in (EarthMover(classes=FOUR), Sinkhorn(classes=FOUR)):
        assert -1e-9 <= float(loss(*inputs)) <= 1 + 1e-9
        excited = torch.tensor([[0.0, 9.0, 0.0]])  # for votes for happy, excited is better than sad
        happy, names = torch.tensor([[1.0, 0.0, 0.0]]), ("happy", "excited", "sad")
        near, far = (type(loss)(classes=names)(answer, happy) for answer in (excited, excited.roll(1)))
        assert 5 * float(near) < float(far)


def test_settings_of_sinkhorn_are_checked():
    for wrong in ({"regularisation": 0.0}, {"iterations": 0}):
        with pytest.raises(ValueError, match="`regularisation` must be above 0"):
            Sinkhorn(**wrong)
