"""Losses whose logits are a Dirichlet, against scipy, quadrature-free identities, and votes with a known truth."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import digamma, softmax
from scipy.stats import dirichlet, dirichlet_multinomial, multinomial

from dime_hf.dirichlet import VoteLikelihood
from dime_hf.losses import DirichletMultinomial, DirichletPrior, Evidential, Mixed, get_loss, kl, soft_cross_entropy
from tests.test_losses import minimise

some_logits = arrays(np.float64, (3, 4), elements=st.floats(-6, 6))
some_counts = arrays(np.int64, (3, 4), elements=st.integers(0, 6))


def tensors(*values):
    return [torch.as_tensor(value, dtype=torch.float64) for value in values]


@given(logits=some_logits, counts=some_counts)
def test_dirichlet_multinomial_is_the_likelihood_of_scipy_and_of_pooling(logits, counts):
    inputs, votes = tensors(logits, counts)
    loss = DirichletMultinomial()(inputs, torch.full_like(inputs, 0.25), vote_counts=votes)
    alpha = np.exp(logits)
    likelihood, slope = VoteLikelihood(counts.astype(float)).of_rows(alpha)
    assert float(loss) == pytest.approx(-likelihood.mean(), abs=1e-9)
    of_scipy = [
        dirichlet_multinomial.logpmf(row, a, row.sum()) - multinomial.logpmf(row, row.sum(), np.full(4, 0.25))
        for row, a in zip(counts, alpha, strict=True)
    ]  # the coefficient is the multinomial's, at (1/4)^N
    expected = -(np.array(of_scipy) - counts.sum(-1) * np.log(4)).mean()
    assert float(loss) == pytest.approx(expected, abs=1e-7)

    inputs.requires_grad_()
    DirichletMultinomial()(inputs, torch.full_like(inputs, 0.25), vote_counts=votes).backward()
    np.testing.assert_allclose(inputs.grad.numpy(), -slope * alpha / 3, atol=1e-8)


def test_one_vote_an_utterance_is_soft_cross_entropy_and_leaves_the_strength_open():
    logits, votes = tensors([[2.0, 0.0, -1.0]], [[0.0, 1.0, 0.0]])
    expected = float(soft_cross_entropy(logits, votes))
    for strength in (-5.0, 0.0, 5.0):
        loss = DirichletMultinomial()(logits + strength, votes, vote_counts=votes)
        assert float(loss) == pytest.approx(expected)


def test_no_votes_say_nothing():
    logits, votes = tensors([[2.0, 0.0, -1.0]], [[0.0, 0.0, 0.0]])
    logits.requires_grad_()
    loss = DirichletMultinomial()(logits, torch.full_like(logits, 1 / 3), vote_counts=votes)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_dirichlet_multinomial_finds_the_mean_and_the_strength_that_votes_were_drawn_from():
    rng = np.random.default_rng(0)
    alpha = np.array([3.0, 1.5, 0.5])
    counts = np.array([rng.multinomial(5, rng.dirichlet(alpha)) for _ in range(20_000)])
    of_all = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    votes = torch.from_numpy(counts).double()
    optimiser = torch.optim.LBFGS([of_all], max_iter=100, line_search_fn="strong_wolfe")

    def step():
        optimiser.zero_grad()
        loss = DirichletMultinomial()(of_all.expand_as(votes), votes, vote_counts=votes)
        loss.backward()
        return loss

    optimiser.step(step)
    np.testing.assert_allclose(of_all.detach().exp().numpy()[0], alpha, rtol=0.06)


def test_more_votes_weigh_more():
    logits = torch.zeros(1, 2, requires_grad=True)
    slopes = []
    for votes in (1.0, 5.0):
        counts = torch.tensor([[votes, 0.0]])
        logits.grad = None
        DirichletMultinomial()(logits, counts / votes, vote_counts=counts).backward()
        slopes.append(float(logits.grad[0, 1]))
    assert slopes[1] > 1.5 * slopes[0]
    soft = [soft_cross_entropy(logits, torch.tensor([[1.0, 0.0]])) for _ in slopes]
    assert soft[0] == soft[1]  # which cannot tell them apart


@given(logits=some_logits, counts=some_counts.filter(lambda votes: votes.sum(-1).all()))
def test_dirichlet_prior_is_the_density_of_smoothed_votes(logits, counts):
    p = counts / counts.sum(-1, keepdims=True)
    points = np.full((4, 4), 0.02 / 3)
    np.fill_diagonal(points, 0.98)
    density = [[dirichlet.logpdf(point, np.exp(row)) for point in points] for row in logits]
    expected = -(p * density).sum(-1).mean()
    assert float(DirichletPrior(smoothing=0.02)(*tensors(logits, p))) == pytest.approx(expected, rel=1e-9, abs=1e-8)


def test_dirichlet_prior_is_least_where_its_docstring_says():
    p = np.array([[0.6, 0.3, 0.1], [0.34, 0.33, 0.33]])
    logits = minimise(DirichletPrior(), *tensors(p)).numpy()
    alpha = np.exp(logits)
    points = np.full((3, 3), 0.005)
    np.fill_diagonal(points, 0.99)
    np.testing.assert_allclose(digamma(alpha) - digamma(alpha.sum(-1, keepdims=True)), p @ np.log(points), atol=1e-5)
    assert np.abs(softmax(logits, -1) - p).max() > 0.02


@given(logits=some_logits, counts=some_counts.filter(lambda votes: votes.sum(-1).all()))
def test_evidential_is_the_formula_of_the_paper(logits, counts):
    alpha = 1 + np.exp(logits)
    q = alpha / alpha.sum(-1, keepdims=True)
    shares = counts / counts.sum(-1, keepdims=True)
    backed = shares + (1 - shares) * alpha
    # KL(Dir(b) || Dir(1)) = - entropy of Dir(b) - ln Dir(1)
    penalty = [-dirichlet.entropy(row) - dirichlet.logpdf(np.full(4, 0.25), np.ones(4)) for row in backed]
    expected = (-(counts * np.log(q)).sum(-1) + 0.3 * np.array(penalty)).mean()
    inputs, votes, p = tensors(logits, counts, shares)
    assert float(Evidential(strength=0.3)(inputs, p, vote_counts=votes)) == pytest.approx(expected, rel=1e-7, abs=1e-7)


def test_evidential_predicts_the_share_of_the_votes_only_without_its_penalty():
    votes, shares = tensors([[3.0, 1.0, 1.0]], [[0.6, 0.2, 0.2]])
    found = {}
    for strength in (0.0, 0.5):
        loss = Evidential(strength)
        found[strength] = loss.vote_logits(minimise(loss, shares, votes)).softmax(-1)
    torch.testing.assert_close(found[0.0], shares, atol=1e-4, rtol=0)
    assert float((found[0.5] - shares).abs().max()) > 0.02


@pytest.mark.parametrize("name", ["dirichlet_multinomial", "evidential"])
def test_votes_are_asked_for(name):
    logits = torch.zeros(2, 3)
    loss = get_loss(name)
    assert loss.needs == ("vote_counts",)
    with pytest.raises(ValueError, match=r"needs `vote_counts` of the shape \(2, 3\); it is missing"):
        loss(logits, logits)
    with pytest.raises(ValueError, match=r"`vote_counts` .* has the shape \(2,\)"):
        loss(logits, logits, vote_counts=torch.ones(2))


@pytest.mark.parametrize("name", ["dirichlet_multinomial", "dirichlet_prior", "evidential"])
def test_a_model_that_is_endlessly_sure_can_still_be_taught(name):
    """Where it is sure and wrong the slope points to the votes, also beyond the largest concentration."""
    for size in (40.0, 1e4):
        logits = torch.tensor([[size, -size, 0.0]], requires_grad=True)
        votes = torch.tensor([[0.0, 3.0, 0.0]])
        loss = get_loss(name)
        loss(logits, votes / 3, **dict.fromkeys(loss.needs, votes)).backward()
        assert logits.grad[0, 0] > 0.5


def test_mixed_with_kl_as_the_paper_does():
    logits, p = tensors([[1.0, 0.0, -1.0]], [[0.5, 0.5, 0.0]])
    expected = 0.75 * DirichletPrior()(logits, p) + 0.25 * kl(logits, p)
    torch.testing.assert_close(Mixed(DirichletPrior(), kl, 0.25)(logits, p), expected)


@pytest.mark.parametrize(
    ("loss", "settings", "reason"),
    [
        (DirichletPrior, {"smoothing": 0.0}, "`smoothing` is 0.0"),
        (DirichletPrior, {"smoothing": 0.5}, "`smoothing` is 0.5"),
        (Evidential, {"strength": -1.0}, "`strength` is -1.0"),
    ],
)
def test_settings_are_checked(loss, settings, reason):
    with pytest.raises(ValueError, match=reason):
        loss(**settings)
