"""Power: predicted and simulated rates agree, numbers are turned round, and the i.i.d. case is statsmodels'."""

import dataclasses

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from dime_hf import cross_pool, get_pooler
from dime_hf.errors import DistributionError
from dime_hf.evidence import minimum_detectable_difference, verdict
from dime_hf.simulation import Annotator, Proxy, simulate
from dime_hf.validate.power import Spread, power_table, required_groups
from dime_hf.validate.study import Study, cross_fitted, judge, simulated_power, simulated_table

SPREAD = Spread(-0.01, between=2e-4, within=4e-3, per_vote=6e-2, votes=2.0, n=2000, n_groups=20)
BLIND = dataclasses.replace(SPREAD, per_vote=None)


def normal_study(rng, speakers, each, votes, gain, between, within):
    """A pilot whose parts of the variance are known: a proxy's label, a control's, and votes drawn from a truth.

    Along (1, -1)/2 the score's difference is linear in the truth, which varies by speaker and by utterance.
    """
    shift = rng.normal(0, between**0.5, speakers).repeat(each) + rng.normal(0, within**0.5, speakers * each)
    half = 0.1
    truth = 0.5 + (gain + shift) / (4 * half) + half / 2
    control = np.full((len(truth), 2), 0.5)
    ours = control + np.array([half, -half])
    heads = rng.binomial(votes, truth.clip(0, 1))
    groups = [f"s{number}" for number in np.arange(speakers).repeat(each)]
    return ours, control, np.stack([heads, votes - heads], axis=-1), groups


def test_the_variance_is_told_apart():
    rng = np.random.default_rng(0)
    study = normal_study(rng, 400, 60, 3, gain=0.02, between=4e-4, within=1.6e-3)
    spread = Spread.read(*study)
    assert spread.difference == pytest.approx(-0.02, abs=4 * spread.standard_error(speakers=400, utterances=24_000))
    assert spread.between == pytest.approx(4e-4, rel=0.35)
    at_mean = 0.16 * (0.6 * 0.4 - (4e-4 + 1.6e-3) / 0.16)  # p is .6 on average, and p (1 - p) less by its variance
    assert spread.per_vote == pytest.approx(at_mean, rel=0.01)
    assert spread.within == pytest.approx(1.6e-3, abs=6e-4)
    assert (spread.votes, spread.n, spread.n_groups) == (3, 24_000, 400)


def test_unequal_speakers_are_the_textbooks_analysis_of_variance():
    rng = np.random.default_rng(1)
    sizes = [3, 10, 40]
    labels = rng.dirichlet(np.ones(3), (2, 53))
    votes, groups = np.eye(3)[rng.integers(3, size=53)], np.repeat(["a", "b", "c"], sizes)
    spread = Spread.read(*labels, votes, groups)
    score = [(q**2).sum(-1) - 2 * (q * votes).sum(-1) for q in labels]
    parts = [(score[0] - score[1])[groups == name] for name in "abc"]
    inside = sum(part.var() * len(part) for part in parts) / 50
    f = scipy.stats.f_oneway(*parts).statistic
    typical = (53 - sum(size**2 for size in sizes) / 53) / 2
    assert spread.within == pytest.approx(inside)
    assert spread.between == pytest.approx(max(f - 1, 0) * inside / typical)
    assert spread.per_vote is None


def test_what_a_vote_adds_is_the_brute_force():
    rng = np.random.default_rng(2)
    truth, ours, control = rng.dirichlet(np.ones(4), (3, 1))
    draws = rng.multinomial(3, np.repeat(truth, 40_000, axis=0))
    wide = [np.repeat(q, len(draws), axis=0) for q in (ours, control)]
    spread = Spread.read(*wide, draws, [f"s{n % 10}" for n in range(len(draws))])
    shares = draws / 3
    one_vote = (-2 * (ours - control) * np.eye(4)[rng.choice(4, 100_000, p=truth[0])]).sum(-1)
    assert spread.per_vote == pytest.approx(one_vote.var(), rel=0.02)
    assert spread.per_vote / 3 == pytest.approx((-2 * (ours - control) * shares).sum(-1).var(), rel=0.03)
    assert spread.within == pytest.approx(0, abs=0.02 * spread.per_vote)


@pytest.mark.parametrize(
    ("speakers", "each", "votes", "gain", "between"),
    [
        (3, 40, 2, 0.05, 4e-4),
        (6, 40, 2, 0.02, 4e-4),
        (10, 15, 1, 0.03, 1e-4),
        (10, 15, 6, 0.03, 1e-4),
        (30, 4, 3, 0.02, 0),
    ],
)
def test_predicted_power_is_the_simulated_rate(speakers, each, votes, gain, between):
    rng = np.random.default_rng(speakers + votes)
    within, runs = 1.6e-3, 600
    truth = 0.5 + gain / 0.4 + 0.05
    spread = Spread(-gain, between, within, 0.16 * (truth * (1 - truth) - (between + within) / 0.16), votes, 1, 1)
    predicted = spread.power(gain, speakers=speakers, utterances=speakers * each)
    assert 0.1 < predicted < 0.99
    helps = 0
    for _ in range(runs):
        ours, control, counts, groups = normal_study(rng, speakers, each, votes, gain, between, within)
        helps += verdict(ours, counts, groups, control).helps
    assert scipy.stats.binomtest(helps, runs, predicted).pvalue > 1e-4, (helps / runs, predicted)


@pytest.mark.parametrize(("n", "effect"), [(5, 1.0), (12, 0.8), (200, 0.2), (30, 2.0)])
def test_power_without_clusters_is_statsmodels(n, effect):
    power = pytest.importorskip("statsmodels.stats.power")
    spread = Spread(
        -effect, 0.3, 0.5, 0.4, 2.0, 100, 100
    )  # variances that sum to 1 at 2 votes, an utterance a speaker
    found = spread.power(effect, speakers=n, utterances=n)
    assert found == pytest.approx(power.TTestPower().power(effect, n, 0.025, alternative="larger"), abs=1e-6)
    assert spread.required_speakers(effect, each=1) == int(
        np.ceil(power.TTestPower().solve_power(effect, None, 0.025, 0.8, "larger"))
    )


@settings(deadline=None, max_examples=40)
@given(
    st.floats(2e-3, 0.05), st.integers(3, 40), st.integers(3, 300), st.integers(1, 5), st.floats(0.5, 0.95)
)  # fmt: skip
def test_required_numbers_are_the_least_that_suffice(gain, speakers, each, votes, power):
    utterances = speakers * each
    reaches = lambda **numbers: SPREAD.power(gain, **numbers) >= power  # noqa: E731
    people = SPREAD.required_speakers(gain, each=each, votes=votes, power=power)
    assert reaches(speakers=people, utterances=people * each, votes=votes)
    assert people == 2 or not reaches(speakers=people - 1, utterances=(people - 1) * each, votes=votes)
    rows = SPREAD.required_utterances(gain, speakers=speakers, votes=votes, power=power)
    if rows is None:
        assert not reaches(speakers=speakers, utterances=10**9, votes=votes)
    else:
        assert reaches(speakers=speakers, utterances=rows, votes=votes)
        assert rows == speakers or not reaches(speakers=speakers, utterances=rows - 1, votes=votes)
    references = SPREAD.required_votes(gain, speakers=speakers, utterances=utterances, power=power)
    if references is None:
        assert not reaches(speakers=speakers, utterances=utterances, votes=1e9)
    else:
        assert reaches(speakers=speakers, utterances=utterances, votes=references)
        assert references == 1 or not reaches(speakers=speakers, utterances=utterances, votes=references - 1)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.floats(0.05, 2.0), st.floats(0.3, 0.95))
def test_required_groups_turn_the_detectable_difference_round(seed, difference, power):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(6), rng.integers(2, 20, 6)).astype(str)
    differences = rng.normal(size=len(groups))
    size = required_groups(differences, groups, difference, power=power)
    found = lambda n: minimum_detectable_difference(differences, groups, power=power, n_groups=n)  # noqa: E731
    assert found(size) <= difference
    assert size == 2 or found(size - 1) > difference


def test_tables_show_the_grid():
    table = power_table(SPREAD, 0.01, utterances=(500, 2000), speakers=(5, 10), votes=(1, 3))
    assert len(table.rows) == 8
    row = table.rows[-1]
    assert row.power == SPREAD.power(0.01, speakers=10, utterances=2000, votes=3)
    assert table.rows[0].power < row.power
    lines = str(table).splitlines()
    assert "gain of 0.01" in lines[0]
    assert lines[-1].split() == ["2,000", "10", "3", f"{row.power:.3f}"]
    assert "between speakers 0.0002" in str(SPREAD)
    assert "unknown" in str(BLIND)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: SPREAD.power(0, speakers=5, utterances=50), "`gain` must be above 0"),
        (lambda: SPREAD.power(0.1, speakers=1, utterances=50), "`speakers` must be at least 2"),
        (lambda: SPREAD.power(0.1, speakers=5, utterances=4), "`utterances` as many"),
        (lambda: SPREAD.power(0.1, speakers=5, utterances=50, votes=0), "`votes` must be above 0"),
        (
            lambda: dataclasses.replace(SPREAD, per_vote=None).required_votes(0.1, speakers=5, utterances=50),
            "hold out two",
        ),
        (lambda: Spread.read(*[np.eye(2)] * 3, ["a", "b"]), "one row a group"),
        (lambda: required_groups([1.0, 2.0, 3.0], ["a", "a", "b"], -1), "`difference` must be above 0"),
        (lambda: Study(kept=1).corpus(0), "`kept` must be at least 2"),
        (lambda: judge(simulate(20, proxies=[Proxy()]), "fitted"), "no held-out votes"),
        (lambda: judge(Study(utterances=40).corpus(0), "equal"), "`method` must be 'fitted' or 'calibrated'"),
        (lambda: simulated_power(Study(), corpora=0), "`corpora` must be at least 1"),
        (
            lambda: simulated_table(
                Study(annotators=(Annotator(),) * 3), utterances=[10], speakers=[2], votes=[1], corpora=1
            ),
            "`study.annotators` must be a number",
        ),
    ],
)
def test_what_cannot_be_planned_is_named(ask, message):
    with pytest.raises(DistributionError, match=message):
        ask()


@pytest.mark.parametrize("method", ["fitted", "calibrated"])
def test_a_study_pools_as_cross_pool_does(method):
    proxies = (Proxy("a", 4.0, draws=5, failures=0.2), Proxy("b", 2.0))
    corpus = Study(utterances=150, speakers=6, proxies=proxies, speaker_votes=20.0).corpus(1)
    totals = cross_fitted(corpus, method, folds=2)
    for total, name in zip(totals, (method, "prior"), strict=True):
        labels = np.array(cross_pool(corpus.dataset(), get_pooler(name), folds=2)["soft_label"])
        np.testing.assert_allclose(total / total.sum(-1, keepdims=True), labels, atol=1e-6)


def test_simulated_power_grows_with_what_a_proxy_is_worth_and_is_the_formulas():
    worthless, good = (
        simulated_power(Study(utterances=400, proxies=(Proxy(votes=votes),)), corpora=25) for votes in (0, 3)
    )
    assert worthless.power <= 0.2 < good.power
    assert abs(worthless.gain) < 0.003 < good.gain
    assert (good.low, good.high) == tuple(scipy.stats.binomtest(good.helps, 25).proportion_ci(0.95))
    assert f'"helps" in {good.helps} of 25' in str(good)
    pilot = Study(utterances=4000, speakers=40, proxies=(Proxy(votes=3),), annotators=4).corpus(7)
    ours, control = (total / total.sum(-1, keepdims=True) for total in cross_fitted(pilot, "fitted"))
    spread = Spread.read(ours, control, pilot.reference, pilot.speakers)
    predicted = spread.power(good.gain, speakers=10, utterances=400, votes=1)
    assert scipy.stats.binomtest(good.helps, 25, predicted).pvalue > 1e-4


def test_more_reference_votes_find_more_by_simulation():
    study = Study(proxies=(Proxy(votes=2),))
    table = simulated_table(study, utterances=(300,), speakers=(6,), votes=(1, 8), corpora=25)
    few, many = table.rows
    assert few.power < many.power
    assert many.low <= many.power <= many.high
    assert str(table).splitlines()[-1].split()[:3] == ["300", "6", "8"]
