"""The alternative annotator test: against the paper's procedure as loops, and its error rates by simulation."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from dime_hf.corpora.cast import Ballots
from dime_hf.errors import DistributionError
from dime_hf.evidence import interval
from dime_hf.pool.panel import Panel
from dime_hf.simulation import Annotator, Proxy, simulate
from dime_hf.validate.alt_test import ALL, run_alt_test, run_alt_tests

MISSING = -1


def ballots_of(choices, classes=4, names=None):
    """The votes of choices (N, A), -1 where an annotator was not asked."""
    row, annotator = np.nonzero(choices != MISSING)
    names = names or tuple(f"a{place}" for place in range(choices.shape[1]))
    return Ballots(names, row, annotator, np.eye(classes)[choices[row, annotator]], len(choices))


def by_loops(choices, proxy, epsilon, least=30):
    """The paper's test of classes `proxy` (N,): p-values and W_proxy by annotator, whether each loses."""
    p_values, advantages = {}, {}
    for left_out in range(choices.shape[1]):
        leads, wins = [], []
        for row, said in zip(choices, proxy, strict=True):
            others = [vote for place, vote in enumerate(row) if vote != MISSING and place != left_out]
            if row[left_out] == MISSING or said == MISSING or not others:
                continue
            human = sum(vote == row[left_out] for vote in others) / len(others)
            machine = sum(vote == said for vote in others) / len(others)
            leads.append((human >= machine) - float(machine >= human))
            wins.append(machine >= human)
        if len(leads) >= least:
            p_values[left_out] = scipy.stats.ttest_1samp(leads, epsilon, alternative="less").pvalue
            advantages[left_out] = np.mean(wins)
    p = np.array(list(p_values.values()))
    harmonic, order = (1 / np.arange(1, len(p) + 1)).sum(), np.argsort(p)
    below = np.flatnonzero(p[order] <= 0.05 * np.arange(1, len(p) + 1) / len(p) / harmonic)
    loses = np.zeros(len(p), dtype=bool)
    loses[order[: below[-1] + 1 if below.size else 0]] = True
    return p_values, advantages, loses


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["crowd", "skilled", "expert"]))
def test_it_is_the_papers_test(seed, kind):
    rng = np.random.default_rng(seed)
    people = [Annotator(noise=noise) for noise in rng.random(6)]
    choices = simulate(120, annotators=people, votes=3, strength=1.0, seed=seed).choices
    proxy = np.where(rng.random(120) < 0.6, choices.max(1), rng.integers(0, 4, 120))
    proxy[::9] = MISSING
    answers = np.where(proxy[:, None] == MISSING, 0, np.eye(4)[proxy])
    found = run_alt_test(ballots_of(choices), answers, annotators=kind)
    p_values, advantages, loses = by_loops(choices, proxy, {"crowd": 0.1, "skilled": 0.15, "expert": 0.2}[kind])
    assert [one.annotator for one in found.annotators] == [f"a{place}" for place in p_values]
    np.testing.assert_allclose([one.p_value for one in found.annotators], list(p_values.values()), rtol=1e-8)
    np.testing.assert_allclose([one.proxy_advantage for one in found.annotators], list(advantages.values()))
    assert [one.loses for one in found.annotators] == loses.tolist()
    assert found.winning_rate == pytest.approx(loses.mean())
    assert found.passes == (loses.mean() >= 0.5)
    assert found.advantage == pytest.approx(np.mean(list(advantages.values())))


def test_one_more_human_passes_and_chance_fails():
    choices = simulate(800, annotators=6, strength=1.0, seed=2).choices
    human = run_alt_test(ballots_of(choices[:, :5]), np.eye(4)[choices[:, 5]])
    assert human.passes
    assert human.winning_rate == 1
    assert human.advantage > 0.7
    random = run_alt_test(ballots_of(choices[:, :5]), np.eye(4)[np.random.default_rng(0).integers(0, 4, 800)])
    assert not random.passes
    assert random.winning_rate == 0
    assert human.advantage > random.advantage


def test_a_noisy_annotator_is_the_one_who_loses():
    people = [Annotator()] * 4 + [Annotator(noise=0.9)]
    simulation = simulate(1500, annotators=[*people, Annotator(noise=0.3)], strength=0.5, seed=3)
    found = run_alt_test(ballots_of(simulation.choices[:, :5]), np.eye(4)[simulation.choices[:, 5]], annotators=0.02)
    assert [one.loses for one in found.annotators] == [False, False, False, False, True]
    assert not found.passes


@pytest.mark.parametrize("groups", [None, "speakers"])
def test_error_rates_where_the_proxy_is_just_not_good_enough(groups):
    """All humans agree, and the proxy errs with probability epsilon: the mean difference is epsilon."""
    rng = np.random.default_rng(4)
    names = [f"s{row % 20}" for row in range(300)] if groups else None
    alone, passes = [], []
    for _ in range(500):
        proxy = (rng.random(300) < 0.2).astype(int)
        found = run_alt_test(ballots_of(np.zeros((300, 3), int)), np.eye(4)[proxy], annotators="expert", groups=names)
        alone.append(found.annotators[0].p_value)
        passes.append(found.passes)
    assert 0.02 <= np.mean(np.array(alone) < 0.05) <= 0.08
    assert np.mean(passes) <= 0.05


def test_clustered_p_values_are_those_of_the_interval():
    simulation = simulate(400, annotators=4, speakers=8, speaker_votes=2.0, strength=1.0, seed=5)
    proxy, groups = simulation.choices[:, 3], np.array(simulation.speakers)
    found = run_alt_test(ballots_of(simulation.choices[:, :3]), np.eye(4)[proxy], groups=groups.tolist())
    for place, one in enumerate(found.annotators):
        others = np.delete(simulation.choices[:, :3], place, axis=1)
        human = (others == simulation.choices[:, [place]]).sum(1)
        machine = (others == proxy[:, None]).sum(1)
        clustered = interval((human >= machine) - (machine >= human).astype(float), groups)
        t = (clustered.estimate - 0.1) / clustered.standard_error
        assert one.p_value == pytest.approx(scipy.stats.t.cdf(t, clustered.degrees_of_freedom))


def test_the_soft_variant_scores_expected_agreement():
    choices = simulate(60, annotators=3, seed=6).choices
    soft = np.random.default_rng(6).dirichlet(np.ones(4), 60)
    found = run_alt_test(ballots_of(choices), soft, soft=True)
    for place, one in enumerate(found.annotators):
        others = np.eye(4)[np.delete(choices, place, axis=1)].mean(1)
        human, machine = others[np.arange(60), choices[:, place]], (soft * others).sum(-1)
        assert one.proxy_advantage == pytest.approx((machine >= human).mean())
        assert one.human_advantage == pytest.approx((human >= machine).mean())
    assert found.soft
    assert ", soft" in str(run_alt_tests(None, panel_of(soft), soft=True))


def test_one_annotator_has_one_vote_however_split():
    choices = simulate(40, annotators=4, seed=7).choices
    whole = ballots_of(choices)
    halves = Ballots(
        whole.annotators, whole.row.repeat(2), whole.annotator.repeat(2), whole.votes.repeat(2, axis=0) / 2, whole.rows
    )
    answers = np.eye(4)[choices.min(1)]
    assert run_alt_test(halves, answers) == run_alt_test(whole, answers)
    tied = np.where(np.eye(4)[choices[:, 0]] + np.eye(4)[(choices[:, 0] + 1) % 4] > 0, 0.5, 0)
    unlike = run_alt_test(whole, tied).annotators[0]
    assert unlike.proxy_advantage < run_alt_test(whole, np.eye(4)[choices[:, 0]]).annotators[0].proxy_advantage == 1


def panel_of(*proxies):
    answers = np.stack(proxies, axis=1)
    votes = (answers.sum(-1) > 0).astype(float)
    rows = len(answers)
    names = tuple(f"p{place}" for place in range(len(proxies)))
    return Panel(np.ones((rows, 4)), names, answers, votes, votes < 0, np.zeros((rows, 0)))


def test_annotators_with_few_utterances_are_left_aside_and_counted():
    choices = simulate(200, annotators=5, seed=8).choices
    choices[29:, 4] = MISSING
    answers = np.eye(4)[choices[:, 0]]
    found = run_alt_test(ballots_of(choices), answers)
    assert (len(found.annotators), found.too_few) == (4, 1)
    choices[29:, 2:] = MISSING
    found = run_alt_test(ballots_of(choices), answers)
    assert "2 annotators have 30 utterances" in found.reason
    assert not found.passes
    assert np.isnan(found.winning_rate)
    assert found.too_few == 3


def test_unknown_annotators_are_a_reason_but_count_among_the_others():
    choices = simulate(100, annotators=5, seed=9).choices
    ballots, answers = ballots_of(choices), np.eye(4)[choices[:, 0]]
    nobody = Ballots((), ballots.row, np.full(500, -1), ballots.votes, 100)
    for unknown in (None, nobody):
        found = run_alt_test(unknown, answers, proxy="p")
        assert found.reason == "the annotators of the votes are not known"
        assert str(found) == "p: no alternative annotator test: the annotators of the votes are not known"
    some = Ballots(
        ballots.annotators, ballots.row, np.where(ballots.annotator > 2, -1, ballots.annotator), ballots.votes, 100
    )
    expected = run_alt_test(ballots, answers).annotators[:3]
    for one, same in zip(run_alt_test(some, answers).annotators, expected, strict=True):
        assert (one.p_value, one.proxy_advantage) == (same.p_value, same.proxy_advantage)


def test_all_proxies_of_a_dataset():
    proxies = [Proxy("good", votes=30), Proxy("noise", noise=1.0, failures=0.1)]
    simulation = simulate(500, proxies=proxies, annotators=4, strength=1.0, seed=10)
    dataset = simulation.dataset()
    panel = Panel.read(dataset[:])
    found = run_alt_tests(Ballots.read(dataset), panel)
    assert list(found.by_proxy) == ["good", "noise", ALL]
    assert found.by_proxy["good"].passes
    assert not found.by_proxy["noise"].passes
    assert found.by_proxy["noise"].annotators[0].utterances == simulation.answered[:, 1].sum()
    assert str(found).splitlines()[0] == "Alternative annotator test, epsilon 0.1"
    assert "good: passes; winning rate 1.00 of 4 annotators" in str(found)
    assert str(found.by_proxy["good"]).splitlines()[2].startswith("a0 ")


def test_arguments_are_checked():
    ballots = ballots_of(np.zeros((40, 3), int))
    with pytest.raises(DistributionError, match="Did you mean 'crowd'"):
        run_alt_test(ballots, np.ones((40, 4)), annotators="crowds")
    with pytest.raises(DistributionError, match=r"epsilon, in \[0, 1\)"):
        run_alt_test(ballots, np.ones((40, 4)), annotators=1.5)
    with pytest.raises(DistributionError, match=r"\(40, 4\), not \(39, 4\)"):
        run_alt_test(ballots, np.ones((39, 4)))
    with pytest.raises(DistributionError, match="`groups` must name the cluster of each of the 40 rows"):
        run_alt_test(ballots, np.ones((40, 4)), groups=["a"])
