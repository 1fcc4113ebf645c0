"""Losses against references without autograd, their gradients, and the properties their docstrings claim."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax
from scipy.stats import entropy, multinomial

from dime_hf import distribution
from dime_hf.losses import LOSSES, get_loss, js, js_entropy, kl, soft_cross_entropy

NAMES = sorted(LOSSES)
LOGITS = torch.tensor([[1.0, -1.0, 2.0, 0.0], [5.0, 0.0, 0.0, -5.0], [0.0, 0.0, 0.0, 0.0]])
TARGETS = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.5, 0.0], [0.25, 0.25, 0.25, 0.25]])
logits_of_any_size = arrays(np.float64, (3, 4), elements=st.floats(-40, 40))
counts_with_zeros = arrays(np.int64, (3, 4), elements=st.integers(0, 5)).filter(lambda votes: votes.sum(-1).all())


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
    assert torch.autograd.gradcheck(lambda logits: LOSSES[name](logits, targets), LOGITS.double().requires_grad_())


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
    loss = LOSSES[name](logits, TARGETS)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_js_reaches_its_bounds():
    far = torch.tensor([[200.0, 0.0]])
    assert float(js(far, torch.tensor([[0.0, 1.0]]))) == pytest.approx(math.log(2))
    assert float(js(far, torch.tensor([[1.0, 0.0]]))) == pytest.approx(0, abs=1e-7)
    assert float(js(TARGETS.clamp_min(1e-30).log(), TARGETS)) == pytest.approx(0, abs=1e-7)


def test_kl_is_proper_on_vote_shares_and_js_rewards_what_is_sharper():
    truth = np.array([0.8, 0.1, 0.06, 0.04])
    sharper = np.array([0.945, 0.043, 0.010, 0.002])
    ballots = np.array([votes for votes in np.ndindex(4, 4, 4, 4) if sum(votes) == 3])
    chance = torch.from_numpy(multinomial.pmf(ballots, 3, truth))
    shares = torch.from_numpy(ballots / 3)

    def expected(loss, prediction):
        logits = torch.from_numpy(np.log(prediction))[None]
        return sum(float(c * loss(logits, share[None])) for c, share in zip(chance, shares, strict=True))

    assert expected(kl, truth) < expected(kl, sharper)
    assert expected(js, truth) > expected(js, sharper)


def test_get_loss_names_the_nearest():
    assert get_loss("kl") is kl
    with pytest.raises(ValueError, match="`loss` is 'js_entrpy'.* Did you mean 'js_entropy'?"):
        get_loss("js_entrpy")


@pytest.mark.parametrize("shape", [(3, 1), (3,), (4, 3), (1, 4)])
@pytest.mark.parametrize("name", NAMES)
def test_other_shapes_are_refused_and_never_broadcast(name, shape):
    with pytest.raises(ValueError, match=r"`logits` and `targets` must both have the shape"):
        LOSSES[name](LOGITS, torch.ones(shape))
