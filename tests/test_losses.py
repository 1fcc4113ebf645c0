"""Losses against references without autograd, their gradients, and the properties their docstrings claim."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax
from scipy.stats import entropy, multinomial

from dime_hf import distribution
from dime_hf.losses import (
    LOSSES,
    EarthMover,
    Focal,
    Mixed,
    Weighted,
    fit_to,
    js,
    js_entropy,
    kl,
    soft_cross_entropy,
)

CLASSES = ("angry", "happy", "neutral", "sad")
LOGITS = torch.tensor([[1.0, -1.0, 2.0, 0.0], [5.0, 0.0, 0.0, -5.0], [0.0, 0.0, 0.0, 0.0]])
TARGETS = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.5, 0.0], [0.25, 0.25, 0.25, 0.25]])
VOTES = torch.tensor([[3.0, 0.0, 0.0, 0.0], [1.0, 1.5, 2.5, 0.0], [0.0, 0.0, 0.0, 0.0]])
EVERY = {
    **{name: fit_to(loss, TARGETS, CLASSES) for name, loss in LOSSES.items()},
    "ordered": EarthMover("ordered"),
    "slightly_focal": Focal(gamma=0.5),
    "mixed": Mixed(kl, LOSSES["dirichlet_multinomial"], 0.3),
    "weighted": Weighted(js),
}
NAMES = sorted(EVERY)
AT_THE_LABEL = [  # softmax(vote_logits) = p is the optimum
    "kl", "soft_cross_entropy", "js", "emd2", "ordered", "sinkhorn", "balanced_softmax", "weighted",
]  # fmt: skip
logits_of_any_size = arrays(np.float64, (3, 4), elements=st.floats(-40, 40))
counts_with_zeros = arrays(np.int64, (3, 4), elements=st.integers(0, 5)).filter(lambda votes: votes.sum(-1).all())


def value(loss, logits, targets, votes=None):
    """The loss, given whatever it needs."""
    more = {"vote_counts": VOTES if votes is None else votes, "weights": torch.arange(1.0, 1 + len(logits))}
    return loss(logits, targets, **{name: more[name] for name in loss.needs})


def minimise(loss, targets, votes=None, start=None):
    """Logits (B, C) at which the loss is least, in float64."""
    logits = torch.zeros_like(targets) if start is None else start.clone()
    logits.requires_grad_()
    optimiser = torch.optim.LBFGS(
        [logits], max_iter=500, tolerance_grad=1e-10, tolerance_change=1e-15, line_search_fn="strong_wolfe"
    )

    def step():
        optimiser.zero_grad()
        least = value(loss, logits, targets, votes)
        least.backward()
        return least

    optimiser.step(step)
    return logits.detach()


def nats(bits):
    return float(bits.mean() * math.log(2))


@given(logits=logits_of_any_size, counts=counts_with_zeros)
def test_losses_are_the_divergences_of_distribution_in_nats(logits, counts):
    p, q = distribution.normalize(counts), softmax(logits, axis=-1)
    inputs = torch.from_numpy(logits), torch.from_numpy(p)
    expected_js = nats(distribution.js_divergence(p, q))
    assert float(kl(*inputs)) == pytest.approx(nats(distribution.kl_divergence(p, q)), abs=1e-9)
    assert float(js(*inputs)) == pytest.approx(expected_js, abs=1e-9)
    assert float(js_entropy(*inputs)) == pytest.approx(expected_js + 0.08 * nats(distribution.entropy(q)), abs=1e-9)
    assert float(soft_cross_entropy(*inputs) - kl(*inputs)) == pytest.approx(nats(distribution.entropy(p)), abs=1e-9)


def test_losses_by_hand():
    logits = torch.tensor([[math.log(3.0), 0.0]])  # q = (3/4, 1/4)
    target = torch.tensor([[1.0, 0.0]])  # so m = (7/8, 1/8)
    divergence = (math.log(8 / 7) + 3 / 4 * math.log(6 / 7) + 1 / 4 * math.log(2)) / 2
    assert float(kl(logits, target)) == pytest.approx(math.log(4 / 3))
    assert float(soft_cross_entropy(logits, target)) == pytest.approx(math.log(4 / 3))
    assert float(js(logits, target)) == pytest.approx(divergence)
    assert float(js_entropy(logits, target)) == pytest.approx(divergence + 0.08 * entropy([3 / 4, 1 / 4]))


def test_soft_cross_entropy_is_torchs_for_class_indices():
    indices = torch.tensor([2, 0, 3])
    expected = torch.nn.functional.cross_entropy(LOGITS, indices)
    one_hot = torch.nn.functional.one_hot(indices, 4)
    assert float(soft_cross_entropy(LOGITS, one_hot)) == pytest.approx(float(expected))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_the_values(name):
    targets = TARGETS.double()
    assert torch.autograd.gradcheck(
        lambda logits: value(EVERY[name], logits, targets), LOGITS.double().requires_grad_()
    )


@pytest.mark.parametrize("name", AT_THE_LABEL)
def test_least_at_the_label(name):
    targets = torch.tensor([[0.7, 0.2, 0.06, 0.04], [0.25, 0.25, 0.25, 0.25], [0.05, 0.05, 0.1, 0.8]]).double()
    loss = EVERY[name]
    found = loss.vote_logits(minimise(loss, targets)).softmax(-1)
    torch.testing.assert_close(found, targets, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", AT_THE_LABEL)
@settings(max_examples=25)
@given(logits=logits_of_any_size, counts=counts_with_zeros)
def test_nothing_is_below_the_optimum(name, logits, counts):
    loss, p = EVERY[name], torch.from_numpy(distribution.normalize(counts))
    at_label = p.clamp_min(1e-30).log()
    at_label = at_label - (loss.vote_logits(torch.zeros_like(p)) if loss.moves_logits else 0)
    assert float(value(loss, torch.from_numpy(logits), p)) >= float(value(loss, at_label, p)) - 1e-9


def test_kl_and_soft_cross_entropy_have_the_same_gradient():
    gradients = []
    for loss in (kl, soft_cross_entropy):
        logits = LOGITS.clone().requires_grad_()
        loss(logits, TARGETS).backward()
        gradients.append(logits.grad)
    torch.testing.assert_close(gradients[0], gradients[1])
    torch.testing.assert_close(gradients[0], (LOGITS.softmax(-1) - TARGETS) / len(LOGITS))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1.0, 1e3, 1e4])
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_stay_finite(name, size, dtype):
    logits = (LOGITS * size).to(dtype).requires_grad_()
    loss = value(EVERY[name], logits, TARGETS)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_js_reaches_its_bounds():
    far = torch.tensor([[200.0, 0.0]])
    assert float(js(far, torch.tensor([[0.0, 1.0]]))) == pytest.approx(math.log(2))
    assert float(js(far, torch.tensor([[1.0, 0.0]]))) == pytest.approx(0, abs=1e-7)
    assert float(js(TARGETS.clamp_min(1e-30).log(), TARGETS)) == pytest.approx(0, abs=1e-7)


BALLOTS = np.array([votes for votes in np.ndindex(4, 4, 4, 4) if sum(votes) == 3])
TRUTH = np.array([0.8, 0.1, 0.06, 0.04])
CHANCE = multinomial.pmf(BALLOTS, 3, TRUTH)


def expected(loss, prediction):
    """Mean over what three annotators may say, if the truth is TRUTH."""
    logits = torch.from_numpy(np.log(prediction)).expand(len(BALLOTS), 4)
    logits = logits - loss.vote_logits(torch.zeros_like(logits)) if loss.moves_logits else logits
    votes = torch.from_numpy(BALLOTS).double()
    rows = loss.rows(logits, votes / 3, {"vote_counts": votes})
    return float(torch.from_numpy(CHANCE) @ rows)


@pytest.mark.parametrize(
    ("name", "proper"),
    [
        *[(name, True) for name in ("kl", "emd2", "ordered", "balanced_softmax")],
        *[(name, False) for name in ("js", "js_entropy", "sinkhorn", "focal")],
    ],
)
def test_proper_losses_are_least_at_the_truth_on_noisy_vote_shares(name, proper):
    rng = np.random.default_rng(0)
    sharper = np.array([0.945, 0.043, 0.010, 0.002])
    flatter = np.array([0.6, 0.18, 0.12, 0.1])
    others = [sharper, flatter, *rng.dirichlet(30 * TRUTH, 30)]
    loss = EVERY[name]
    assert (min(expected(loss, other) for other in others) > expected(loss, TRUTH)) == proper
    assert (expected(loss, sharper) < expected(loss, TRUTH)) == (name in ("js", "js_entropy", "sinkhorn"))


@pytest.mark.parametrize("shape", [(3, 1), (3,), (4, 3), (1, 4)])
@pytest.mark.parametrize("name", NAMES)
def test_other_shapes_are_refused_and_never_broadcast(name, shape):
    with pytest.raises(ValueError, match=r"`logits` and `targets` must both have the shape"):
        EVERY[name](LOGITS, torch.ones(shape))
