"""The simulation kit: what it plants is what is found again."""

import dataclasses

import numpy as np
import pytest

from dime_hf import get_pooler
from dime_hf.corpora.cast import Ballots
from dime_hf.distribution import krippendorff_alpha
from dime_hf.errors import DistributionError
from dime_hf.pool import pool
from dime_hf.simulation import Annotator, Proxy, simulate

SWAP = np.roll(np.eye(4), 1, axis=1)  # says the next class


def test_the_same_seed_is_the_same_corpus():
    first, again, other = (simulate(50, proxies=[Proxy()], seed=seed) for seed in (1, 1, 2))
    for name in ("truth", "counts", "choices", "answers", "answered"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.truth != other.truth).any()


def test_truths_have_the_moments_of_their_dirichlet():
    prior = np.array([0.4, 0.3, 0.2, 0.1])
    truth = simulate(40_000, prior=prior, strength=4.0).truth
    np.testing.assert_allclose(truth.mean(0), prior, atol=0.005)
    np.testing.assert_allclose(truth.var(0), prior * (1 - prior) / 5, rtol=0.03)
    assert simulate(100, strength=1e-3).truth.max(-1) == pytest.approx(np.ones(100), abs=0.05)  # nobody disagrees
    with_proxy = simulate(40_000, prior=prior, proxies=[Proxy(votes=3.0)])
    np.testing.assert_allclose(with_proxy.truth.mean(0), prior, atol=0.005)
    followed = with_proxy.answers[:, 0]
    slope = np.polyfit(followed[:, 0], with_proxy.truth[:, 0], 1)[0]
    assert slope == pytest.approx(3 / 5, abs=0.02)  # kappa / (s0 + kappa)


def test_votes_pass_through_bias_and_noise():
    corpus = simulate(40_000, annotators=[Annotator(), Annotator(bias=SWAP), Annotator(noise=1.0)])
    rates = [(corpus.choices[:, [index]] == np.arange(4)).mean(0) for index in range(3)]
    marginal = corpus.truth.mean(0)
    np.testing.assert_allclose(rates, [marginal, np.roll(marginal, 1), np.full(4, 0.25)], atol=0.01)
    assert (corpus.counts.sum(-1) == 3).all()


def test_votes_are_asked_of_some_annotators_and_correlated_ones_agree():
    few = simulate(2000, annotators=6, votes=2)
    assert set((few.choices >= 0).sum(-1)) == {2}
    assert (few.choices >= 0).mean(0) == pytest.approx(np.full(6, 1 / 3), abs=0.04)
    alone, herd, parrots = (
        krippendorff_alpha(simulate(2000, strength=200, correlation=c).counts) for c in (0, 0.5, 1)
    )
    assert alone == pytest.approx(0, abs=0.03)
    assert alone < herd < parrots == pytest.approx(1)


def test_answers_are_drawn_biased_noisy_correlated_or_missing():
    proxies = [
        Proxy("plain", correlation=1),
        Proxy("twin", correlation=1),
        Proxy("swapped", correlation=1, bias=SWAP),
        Proxy("drawn", draws=4),
        Proxy("noise", correlation=1, noise=1),
        Proxy("shy", failures=0.25),
    ]
    corpus = simulate(5000, proxies=proxies)
    answers = dict(zip([proxy.name for proxy in proxies], corpus.answers.swapaxes(0, 1), strict=True))
    np.testing.assert_array_equal(answers["plain"], answers["twin"])
    np.testing.assert_allclose(answers["swapped"], np.roll(answers["plain"], 1, axis=1))
    assert set(np.unique(answers["drawn"])) == {0, 0.25, 0.5, 0.75, 1}
    assert abs(np.corrcoef(answers["noise"][:, 0], answers["plain"][:, 0])[0, 1]) < 0.05
    assert corpus.answered.mean(0) == pytest.approx([1, 1, 1, 1, 1, 0.75], abs=0.02)


def test_speakers_differ_as_much_as_told():
    same, different = simulate(4000, strength=50), simulate(4000, strength=50, speaker_votes=2.0)
    spread = lambda corpus: np.std(  # noqa: E731
        [corpus.truth[np.array(corpus.speakers) == name, 0].mean() for name in set(corpus.speakers)]
    )
    assert spread(same) < 0.02 < 0.1 < spread(different)


def test_stages_take_its_datasets():
    corpus = simulate(60, annotators=5, votes=4, proxies=[Proxy("a", draws=3, failures=0.5), Proxy("b")])
    held = corpus.held_out(3)
    np.testing.assert_array_equal(held.counts + held.reference, corpus.counts)
    dataset = held.dataset()
    assert dataset["reference_counts"][:] == held.reference.tolist()
    assert [len(votes) for votes in dataset["human_votes"]] == [3] * 60
    answer = dataset["answers"][0][0]
    assert answer["status"] == ("ok" if corpus.answered[0, 0] else "failed")
    assert {len(answers[0]["draws"]) for answers in dataset["answers"]} == {0, 3}
    pooled = np.array(pool(dataset, get_pooler("equal"))["soft_label"])
    votes = np.stack([corpus.answered[:, 0] * 3, corpus.answered[:, 1]], axis=1)
    total = held.counts + np.einsum("njc,nj->nc", corpus.answers, votes)
    np.testing.assert_allclose(pooled, total / total.sum(-1, keepdims=True), atol=1e-6)
    assert "answers" not in simulate(5).dataset().column_names


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prior": [0.5, 0.2]}, "`prior` must sum to 1"),
        ({"utterances": 0}, "`utterances` must be positive"),
        ({"strength": 0}, "`strength` must be positive"),
        ({"votes": 6}, "`votes` must be from 1 to the 5 annotators, not 6"),
        ({"correlation": 2}, r"`correlation` must be in \[0, 1\], not 2"),
        ({"annotators": [Annotator(noise=-1)]}, "`noise` must be"),
        ({"annotators": [Annotator(bias=np.eye(3))]}, r"`bias` must be of shape \(4, 4\)"),
        ({"proxies": [Proxy(failures=3)]}, "`failures` must be"),
        ({"proxies": [Proxy(votes=-1)]}, "`votes` and `draws` of 'proxy'"),
        ({"proxies": [Proxy(), Proxy()]}, "different names"),
    ],
)
def test_what_cannot_be_simulated_is_named(wrong, message):
    with pytest.raises(DistributionError, match=message):
        simulate(**{"utterances": 10, **wrong})


def test_all_votes_cannot_be_held_out():
    with pytest.raises(DistributionError, match="`keep` must be from 1 to 4 annotators, not 5"):
        simulate(10).held_out(5)
    assert dataclasses.replace(simulate(10)).reference is None


def test_votes_are_read_back_one_by_one():
    corpus = simulate(80, annotators=5, votes=3, seed=2)
    ballots = Ballots.read(corpus.dataset())
    np.testing.assert_array_equal(ballots.counts(), corpus.counts)
    choices = np.full(corpus.choices.shape, -1)
    annotator = np.array([int(name.removeprefix("a")) for name in ballots.annotators])[ballots.annotator]
    choices[ballots.row, annotator] = ballots.votes.argmax(-1)
    np.testing.assert_array_equal(choices, corpus.choices)
