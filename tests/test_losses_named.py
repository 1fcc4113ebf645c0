"""Losses by name, mixes, and what class weights, row weights and balanced softmax do to the optimum."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from dime_hf.errors import DistributionError
from dime_hf.losses import (
    LOSSES,
    BalancedSoftmax,
    EarthMover,
    Evidential,
    Focal,
    Loss,
    Mixed,
    Weighted,
    class_balanced_weights,
    fit_to,
    get_loss,
    js,
    js_entropy,
    kl,
    soft_cross_entropy,
)
from tests.test_losses import minimise

LOGITS = torch.tensor([[1.0, -1.0, 2.0], [5.0, 0.0, -5.0]])
TARGETS = torch.tensor([[1.0, 0.0, 0.0], [0.25, 0.25, 0.5]])
LABELS = np.array([[1.0, 0, 0], [1, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5]])


def test_get_loss_names_the_nearest():
    assert get_loss("kl") is kl
    with pytest.raises(ValueError, match="`loss` is 'js_entrpy'.* Did you mean 'js_entropy'?"):
        get_loss("js_entrpy")
    with pytest.raises(ValueError, match="`loss` is None"):
        get_loss({"gamma": 1.0})


def test_settings_come_with_the_name_or_in_a_mapping():
    assert get_loss("focal", gamma=1.0) == get_loss({"name": "focal", "gamma": 1.0}) == Focal(gamma=1.0)
    assert get_loss({"name": "focal", "gamma": 1.0}, gamma=3.0) == Focal(gamma=3.0)
    assert get_loss(Focal(), gamma=0.5) == Focal(0.5)
    assert get_loss("emd2", ground="ordered") == EarthMover("ordered")
    assert get_loss("emd2", ground=[[0, 1], [1, 0]]) == EarthMover(((0.0, 1.0), (1.0, 0.0)))
    assert get_loss("js_entropy", weight=0.0)(LOGITS, TARGETS) == js(LOGITS, TARGETS)
    with pytest.raises(ValueError, match="the loss 'focal' has no setting 'gama'. Did you mean 'gamma'?"):
        get_loss("focal", gama=1.0)
    with pytest.raises(ValueError, match="the loss 'kl' has no setting 'gamma'"):
        get_loss("kl", gamma=1.0)
    with pytest.raises(ValueError, match="`gamma` is -1"):
        get_loss("focal", gamma=-1)


def test_your_own_function_is_a_loss():
    def squared(logits, targets):
        return ((logits.softmax(-1) - targets) ** 2).sum(-1).mean()

    assert get_loss(squared) is squared
    assert fit_to(squared, LABELS, "abc") is squared
    with pytest.raises(ValueError, match="has no setting 'gamma'"):
        get_loss(squared, gamma=1)
    with pytest.raises(ValueError, match="`one` is .*squared.* must be a `Loss`"):
        Mixed(squared, kl)


def test_losses_are_values():
    assert hash(Focal()) == hash(Focal())
    with pytest.raises(dataclasses.FrozenInstanceError):
        Focal().gamma = 1.0


def test_a_sum_of_two_is_a_mix():
    mixed = get_loss("0.7*kl + 0.3*focal")
    assert mixed == Mixed(kl, Focal(), 0.3)
    assert float(mixed(LOGITS, TARGETS)) == pytest.approx(
        0.7 * float(kl(LOGITS, TARGETS)) + 0.3 * float(Focal()(LOGITS, TARGETS))
    )
    fitted = fit_to(get_loss("0.5*kl+0.5*emd2"), LABELS, ["angry", "sad", "fear"])
    assert fitted.other == EarthMover(classes=("angry", "sad", "fear"))
    assert get_loss("0.5*kl+0.5*dirichlet_multinomial").needs == ("vote_counts",)
    found = minimise(fitted, TARGETS[1:].double()).softmax(-1)
    torch.testing.assert_close(found, TARGETS[1:].double(), atol=1e-5, rtol=0)


def test_mixes_and_weights_can_be_written_as_mappings():
    ordered = {"name": "emd2", "ground": "ordered"}
    mixed = {"name": "mixed", "one": "kl", "other": ordered, "weight": 0.2}
    assert get_loss(mixed) == Mixed(kl, EarthMover("ordered"), 0.2)
    assert get_loss({"name": "weighted", "loss": mixed}) == Weighted(Mixed(kl, EarthMover("ordered"), 0.2))
    with pytest.raises(ValueError, match=r"'mixed' takes .*, of which it needs \['other'\]; got \['one'\]"):
        get_loss("mixed", one="kl")
    with pytest.raises(ValueError, match="got .*'beta', 'loss'"):
        get_loss("weighted", loss="kl", beta=0.9)


@pytest.mark.parametrize("text", ["kl+js", "0.7*kl+0.7*js", "0.5*kl+0.3*js+0.2*focal", "kl*0.5+0.5*js"])
def test_other_sums_are_refused(text):
    with pytest.raises(ValueError, match="a mix is written like"):
        get_loss(text)


def test_losses_that_contradict_each_other_are_not_mixed():
    for other in (BalancedSoftmax(), Evidential(), Weighted(BalancedSoftmax())):
        with pytest.raises(ValueError, match="a mix would be least at neither's optimum"):
            Mixed(kl, other)
    with pytest.raises(ValueError, match="`weight` is 1.5"):
        Mixed(kl, js, 1.5)
    with pytest.raises(ValueError, match="`loss` is 'klx'"):
        get_loss("0.5*klx+0.5*js")


def test_class_weights_inside_the_loss_move_its_optimum_and_are_refused():
    truth, class_weights = torch.tensor([[0.5, 0.4, 0.1]]).double(), torch.tensor([1.0, 5.0, 10.0]).double()
    logits = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")

    def step():
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits, truth, weight=class_weights)
        loss.backward()
        return loss

    optimiser.step(step)
    learnt = logits.detach().softmax(-1).numpy()[0]
    np.testing.assert_allclose(learnt, [0.14, 0.57, 0.29], atol=0.005)  # with torch's own class weights
    for name in ("kl", "soft_cross_entropy", "focal", "balanced_softmax"):
        with pytest.raises(ValueError, match=r"moves its optimum .* learns \[.14, .57, .29\]. .* 'balanced_softmax'"):
            get_loss(name, class_weights=[1, 5, 10])
    # what it names instead does not
    rows = truth.expand(4, 3).contiguous()
    found = minimise(Weighted(kl), rows)
    torch.testing.assert_close(found.softmax(-1), rows, atol=1e-5, rtol=0)
    balanced = BalancedSoftmax((0.7, 0.2, 0.1))
    found = minimise(balanced, truth)
    torch.testing.assert_close(balanced.vote_logits(found).softmax(-1), truth, atol=1e-5, rtol=0)


def test_focal_is_its_formula_and_least_where_its_docstring_says():
    p, gamma = np.array([[0.6, 0.3, 0.1], [0.9, 0.08, 0.02]]), 2.0
    q = softmax(LOGITS.double().numpy(), -1)
    expected = -(p * (1 - q) ** gamma * np.log(q)).sum(-1).mean()
    assert float(Focal(gamma)(LOGITS.double(), torch.from_numpy(p))) == pytest.approx(expected)
    assert float(Focal(0.0)(LOGITS, TARGETS)) == pytest.approx(float(soft_cross_entropy(LOGITS, TARGETS)))
    q = minimise(Focal(gamma), torch.from_numpy(p)).softmax(-1).numpy()
    undone = q / ((1 - q) ** gamma - gamma * q * (1 - q) ** (gamma - 1) * np.log(q))
    np.testing.assert_allclose(undone / undone.sum(-1, keepdims=True), p, atol=1e-5)
    assert (q.max(-1) < p.max(-1) - 0.02).all()


def test_focal_weighs_easy_rows_down():
    sure = torch.tensor([[4.0, 0.0, 0.0]])
    easy, hard = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    assert float(Focal()(sure, easy) / soft_cross_entropy(sure, easy)) < 0.01
    assert float(Focal()(sure, hard) / soft_cross_entropy(sure, hard)) > 0.9


def test_balanced_softmax_takes_its_prior_from_the_training_set():
    loss = fit_to(get_loss("balanced_softmax"), LABELS)
    np.testing.assert_allclose(loss.prior, np.array([2.5 + 0.5, 1 + 0.5, 0.5 + 0.5]) / 5.5)
    assert fit_to(get_loss("balanced_softmax"), 3 * LABELS) == loss  # counts
    assert fit_to(loss, LABELS[::-1, ::-1]) == loss  # what is set stays
    q = softmax(LOGITS.double().numpy() + np.log(loss.prior), -1)
    expected = -(TARGETS[1].double().numpy() * np.log(q[1])).sum()
    got = loss(LOGITS[1:].double(), TARGETS[1:].double()) - kl(torch.zeros(1, 3).double(), TARGETS[1:].double())
    assert float(got) == pytest.approx(expected - np.log(3))
    found = minimise(loss, TARGETS[1:].double()).softmax(-1).numpy()[0]
    plain = TARGETS[1].numpy() / np.array(loss.prior)
    np.testing.assert_allclose(found, plain / plain.sum(), atol=1e-5)
    assert float(BalancedSoftmax(loss.prior, tau=0.0)(LOGITS, TARGETS)) == pytest.approx(float(kl(LOGITS, TARGETS)))


def test_balanced_softmax_asks_for_its_prior():
    with pytest.raises(ValueError, match=r"`prior` has 0 masses for 3 classes: call `fit_to\(loss, labels\)`"):
        get_loss("balanced_softmax")(LOGITS, TARGETS)
    with pytest.raises(ValueError, match="the mass of every class must be above 0"):
        BalancedSoftmax((0.5, 0.5, 0.0))
    with pytest.raises(DistributionError, match="`labels` must hold at least one vote a row"):
        fit_to(BalancedSoftmax(), [[0, 0, 0]])


def test_weights_multiply_rows():
    weights = torch.tensor([2.0, 0.5])
    rows = [float(kl(LOGITS[i : i + 1], TARGETS[i : i + 1])) for i in range(2)]
    loss = Weighted(kl)
    assert loss.needs == ("weights",)
    assert float(loss(LOGITS, TARGETS, weights=weights)) == pytest.approx((2 * rows[0] + 0.5 * rows[1]) / 2)
    assert Weighted(get_loss("dirichlet_multinomial")).needs == ("vote_counts", "weights")
    assert fit_to(Weighted(BalancedSoftmax()), LABELS).loss.prior
    with pytest.raises(ValueError, match=r"needs `weights` of the shape \(2,\); it is missing"):
        loss(LOGITS, TARGETS)
    with pytest.raises(ValueError, match="`loss` is 'kl', but must be a `Loss`"):
        Weighted("kl")


@given(seed=st.integers(0, 100), beta=st.floats(0, 0.9999))
def test_class_balanced_weights_are_the_effective_numbers(seed, beta):
    labels = np.random.default_rng(seed).dirichlet([3, 1, 0.2], 50)
    weights = class_balanced_weights(labels, beta)
    mass = labels.sum(0)
    expected = labels @ ((1 - beta) / (1 - beta**mass))
    np.testing.assert_allclose(weights, expected / expected.mean(), rtol=1e-6)
    assert weights.mean() == pytest.approx(1)


def test_class_balanced_weights_go_from_none_to_the_inverse_mass():
    np.testing.assert_array_equal(class_balanced_weights(LABELS, 0), np.ones(4))
    inverse = LABELS @ (1 / LABELS.sum(0))
    np.testing.assert_allclose(class_balanced_weights(LABELS, 1 - 1e-9), inverse / inverse.mean(), rtol=1e-6)
    empty = np.c_[LABELS, np.zeros(4)]  # a class that nobody voted for
    np.testing.assert_allclose(class_balanced_weights(empty), class_balanced_weights(LABELS))
    for beta in (1, -0.1):
        with pytest.raises(ValueError, match="`beta` is"):
            class_balanced_weights(LABELS, beta)


def test_weights_from_a_rows_own_votes_are_class_weights_by_another_name():
    """One recording, heard by many annotators, a row each: the optimum is the weighted share of the votes."""
    truth = np.array([0.7, 0.2, 0.1])
    votes = np.random.default_rng(0).multinomial(1, truth, 20_000)
    own = class_balanced_weights(votes, 0.9999)
    from_own = (own[:, None] * votes).mean(0)
    assert from_own.argmax() == 0
    assert from_own[2] > 0.2  # 0.1 in truth
    others = class_balanced_weights(np.random.default_rng(1).multinomial(1, truth, 20_000), 0.9999)
    np.testing.assert_allclose((others[:, None] * votes).mean(0), truth, atol=0.015)


def test_names_say_what_they_are():
    assert js_entropy(LOGITS, TARGETS) == get_loss("js_entropy")(LOGITS, TARGETS)
    assert repr(get_loss("focal")) == "Focal(gamma=2.0)"


@pytest.mark.parametrize("name", [*LOSSES, "0.5*kl + 0.5*dirichlet_prior", "0.5*kl + 0.5*js"])
def test_a_constant_in_a_row_of_logits_matters_to_losses_of_concentrations_alone(name):
    loss = fit_to(get_loss(name), LABELS, ("angry", "happy", "sad"))
    votes = torch.tensor([[2.0, 0.0, 1.0], [1.0, 1.0, 2.0]])
    values = [
        loss(LOGITS / 2 + shift, TARGETS, **dict.fromkeys(getattr(loss, "needs", ()), votes))
        for shift in (0.0, torch.tensor([[1.0], [-2.0]]))
    ]
    assert torch.allclose(*values, atol=1e-5) != getattr(loss, "takes_concentrations", False)
    weighted = Weighted(loss) if isinstance(loss, Loss) else None
    assert weighted is None or weighted.takes_concentrations == loss.takes_concentrations
