"""Agreement: against statsmodels, krippendorff, scikit-learn and brute force over pairs; intervals by simulation."""

import itertools

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa

from dime_hf.corpora.cast import Ballots
from dime_hf.distribution import krippendorff_alpha
from dime_hf.errors import DistributionError
from dime_hf.pool.panel import Panel
from dime_hf.simulation import Proxy, simulate
from dime_hf.validate.agreement import Votes, agreement_across, agreement_within, measure_agreement

RNG = np.random.default_rng(0)


def groups_of(rows, size=10):
    return [f"s{row % size}" for row in range(rows)]


def counts_of(rows, least=2, most=6, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(classes), rows)
    return np.array([rng.multinomial(rng.integers(least, most + 1), p) for p in shares]).astype(float)


def by_pairs(utterances):
    """The coefficients by their definition, from lists of the votes (C,) of each utterance: a loop over pairs."""
    utterances = [votes for votes in utterances if len(votes) >= 2]
    pairs = [[v @ w for v, w in itertools.permutations(votes, 2)] for votes in utterances]
    sizes = [len(votes) for votes in utterances]
    every = [v for votes in utterances for v in votes]
    share = np.mean([np.mean(votes, axis=0) for votes in utterances], axis=0)
    observed = np.mean([np.mean(one) for one in pairs])
    weighed = np.average([np.mean(one) for one in pairs], weights=sizes)
    any_two = np.mean([v @ w for v, w in itertools.permutations(every, 2)])
    beyond = lambda found, chance: (found - chance) / (1 - chance)  # noqa: E731
    return 100 * observed, beyond(observed, share @ share), beyond(weighed, any_two)


def numbers(found):
    return found.percent.estimate, found.fleiss_kappa.estimate, found.krippendorff_alpha.estimate


def panel_of(human, proxies):
    """A panel of proxies {name: (answers (N, C), votes, drawn)}; rows of zeros were not answered."""
    answers = np.stack([one for one, _, _ in proxies.values()], axis=1)
    votes = np.stack([(one.sum(-1) > 0) * float(count) for one, count, _ in proxies.values()], axis=1)
    drawn = np.stack([np.full(len(human), drew) for _, _, drew in proxies.values()], axis=1) & (votes > 0)
    return Panel(human, tuple(proxies), answers, votes, drawn, np.zeros((len(human), 0)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(2, 6))
def test_equal_votes_are_statsmodels_and_krippendorff(seed, votes, classes):
    counts = counts_of(40, votes, votes, classes, seed)
    found = agreement_within(Votes.whole(counts), groups_of(40))
    assert found.fleiss_kappa.estimate == pytest.approx(fleiss_kappa(counts.astype(int)), abs=1e-12)
    expected = krippendorff.alpha(value_counts=counts.astype(int), level_of_measurement="nominal")
    assert found.krippendorff_alpha.estimate == pytest.approx(expected, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_varying_votes_are_krippendorff_and_pairs(seed):
    counts = counts_of(40, 0, 5, seed=seed)
    found = agreement_within(Votes.whole(counts), groups_of(40))
    expected = krippendorff.alpha(value_counts=counts.astype(int), level_of_measurement="nominal")
    assert found.krippendorff_alpha.estimate == pytest.approx(expected, abs=1e-12)
    assert found.krippendorff_alpha.estimate == pytest.approx(krippendorff_alpha(counts), abs=1e-12)
    votes = [np.repeat(np.eye(4), row.astype(int), axis=0) for row in counts]
    np.testing.assert_allclose(numbers(found), by_pairs(votes), atol=1e-12)
    assert found.utterances == found.percent.n == (counts.sum(-1) >= 2).sum()


def test_split_votes_agree_by_their_parts():
    counts = counts_of(30, 3, 3)
    votes = [np.repeat(np.eye(4), row.astype(int), axis=0) for row in counts]
    for cast in votes[::3]:
        cast[0] = [0.5, 0.5, 0, 0]
    flat = np.concatenate(votes)
    ballots = Ballots((), np.repeat(np.arange(30), 3), np.full(90, -1), flat, 30)
    panel = panel_of(ballots.counts(), {"p": (np.eye(4)[RNG.integers(0, 4, 30)], 1, False)})
    found = measure_agreement(panel, groups_of(30), ballots=ballots).human
    np.testing.assert_allclose(numbers(found), by_pairs(votes), atol=1e-12)
    unknown = measure_agreement(panel, groups_of(30)).human
    assert unknown.percent is None
    assert "give `ballots`" in unknown.reason
    assert "give `ballots`" in str(unknown)


def test_a_proxy_with_probabilities_is_one_vote_and_never_paired_with_itself():
    soft = [RNG.dirichlet(np.ones(4), 30) for _ in range(3)]
    soft[2][::4] = 0  # not answered
    panel = panel_of(counts_of(30), {f"p{index}": (one, 1 + index, False) for index, one in enumerate(soft)})
    panel.drawn[:] = False  # `votes` are option orders here
    found = measure_agreement(panel, groups_of(30)).synthetic
    votes = [[one[row] for one in soft if one[row].any()] for row in range(30)]
    np.testing.assert_allclose(numbers(found), by_pairs(votes), atol=1e-12)
    alone = measure_agreement(panel_of(counts_of(30), {"p": (soft[0], 2, False)}), groups_of(30)).synthetic
    assert alone.utterances == 0
    assert "two votes" in alone.reason


def test_drawn_votes_count_one_by_one_beside_probabilities():
    draws, soft = counts_of(30, 4, 4, seed=3), RNG.dirichlet(np.ones(4), 30)
    panel = panel_of(counts_of(30), {"drawn": (draws / 4, 4, True), "soft": (soft, 1, False)})
    found = measure_agreement(panel, groups_of(30))
    votes = [[*np.repeat(np.eye(4), row.astype(int), axis=0), s] for row, s in zip(draws, soft, strict=True)]
    np.testing.assert_allclose(numbers(found.synthetic), by_pairs(votes), atol=1e-12)
    human = panel.human / panel.human.sum(-1, keepdims=True)
    assert found.across.percent.estimate == pytest.approx(100 * (human * (draws + soft) / 5).sum(-1).mean())
    assert found.by_proxy["drawn"].percent.estimate == pytest.approx(100 * (human * draws / 4).sum(-1).mean())


def test_across_one_hot_votes_is_cohen_fleiss_and_krippendorff():
    one, other = RNG.integers(0, 4, 200), RNG.integers(0, 4, 200)
    other = np.where(RNG.random(200) < 0.5, one, other)
    found = agreement_across(np.eye(4)[one], np.eye(4)[other], groups_of(200))
    assert found.cohen_kappa.estimate == pytest.approx(cohen_kappa_score(one, other))
    assert found.fleiss_kappa.estimate == pytest.approx(fleiss_kappa((np.eye(4)[one] + np.eye(4)[other]).astype(int)))
    expected = krippendorff.alpha([one, other], level_of_measurement="nominal")
    assert found.krippendorff_alpha.estimate == pytest.approx(expected)
    assert found.percent.estimate == pytest.approx(100 * (one == other).mean())


def test_across_distributions_is_the_mean_over_draws():
    h, s = RNG.dirichlet(np.ones(3), 60), RNG.dirichlet(np.ones(3), 60)
    s = (h + s) / 2
    found = agreement_across(h, s, groups_of(60))
    draw = lambda p: (p.cumsum(-1)[:, :-1] < RNG.random((len(p), 1))).sum(-1)  # noqa: E731
    drawn = [krippendorff.alpha([draw(h), draw(s)], level_of_measurement="nominal") for _ in range(600)]
    assert found.krippendorff_alpha.estimate == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / np.sqrt(600))


def corpus(seed, groups=12):
    """Two annotators; what a speaker's utterances are like differs, so that rows of a speaker go together."""
    rng = np.random.default_rng(seed)
    clarity = rng.beta(4, 4, groups).repeat(15)
    heard = rng.integers(0, 3, clarity.size)
    votes = np.where(rng.random((2, clarity.size)) < clarity, heard, rng.integers(0, 3, (2, clarity.size)))
    return votes, np.arange(groups).repeat(15)


def test_intervals_cover_a_known_agreement():
    truth = (4 * 5) / (8 * 9)  # E clarity^2: a pair agrees beyond chance where both hear; classes are equal
    hits = {"fleiss_kappa": 0, "krippendorff_alpha": 0, "cohen_kappa": 0}
    for seed in range(400):
        (one, other), groups = corpus(seed)
        found = agreement_across(np.eye(3)[one], np.eye(3)[other], groups, level=0.9)
        for name in hits:
            hits[name] += getattr(found, name).low <= truth <= getattr(found, name).high
    for name, count in hits.items():
        assert 0.86 <= count / 400 <= 0.95, name


def test_a_simulated_corpus_ranks_its_proxies_and_prints_a_table():
    proxies = [Proxy("good", votes=4), Proxy("noise", noise=1.0), Proxy("drawn", votes=4, draws=5, failures=0.2)]
    simulation = simulate(600, proxies=proxies, annotators=3, seed=1)
    dataset = simulation.dataset()
    found = measure_agreement(Panel.read(dataset[:]), simulation.speakers, ballots=Ballots.read(dataset))
    kappa = {name: one.fleiss_kappa for name, one in found.by_proxy.items()}
    assert kappa["good"].low > max(kappa["noise"].high, 0)
    assert kappa["noise"].low < 0 < kappa["noise"].high
    assert found.by_proxy["drawn"].utterances == simulation.answered[:, 2].sum()
    assert found.human.fleiss_kappa.estimate == pytest.approx(fleiss_kappa(simulation.counts.astype(int)))
    lines = str(found).splitlines()
    assert [line.split("  ")[0] for line in lines[2:5]] == [
        "human - human",
        "human - synthetic",
        "synthetic - synthetic",
    ]
    assert f"{found.human.percent.estimate:.1f} [" in lines[2]


def test_what_cannot_be_had_has_a_reason_or_is_nan():
    one_class = np.tile([3.0, 0.0], (6, 1))
    found = agreement_within(Votes.whole(one_class), groups_of(6, 3))
    assert found.percent.estimate == 100
    assert np.isnan([found.fleiss_kappa.estimate, found.krippendorff_alpha.estimate]).all()
    assert "two votes" in agreement_within(Votes.whole(np.eye(3)), groups_of(3)).reason
    assert "one group" in agreement_within(Votes.whole(counts_of(5)), ["s"] * 5).reason
    assert "both sides" in agreement_across(np.eye(2), np.zeros((2, 2)), ["a", "b"]).reason
    with pytest.raises(DistributionError, match="same utterances"):
        agreement_across(np.eye(2), np.eye(3), ["a", "b"])
    with pytest.raises(DistributionError, match="`groups`"):
        agreement_within(Votes.whole(one_class), ["a"])
