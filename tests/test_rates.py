"""Class rates: what ppi_py says of the same numbers, and what simulated corpora of known rates say."""

import dataclasses
import subprocess
import sys
import warnings

import numpy as np
import pytest

from dime_hf.distribution import normalize
from dime_hf.errors import DistributionError, PackageError
from dime_hf.evidence import interval
from dime_hf.pool.panel import Panel
from dime_hf.simulation import Proxy, simulate
from dime_hf.validate.rates import class_rates, tuned_power

with warnings.catch_warnings():  # it silences every warning of the process
    import ppi_py

PRIOR = (0.5, 0.3, 0.15, 0.05)
CLASSES = ("angry", "happy", "neutral", "sad")


def corpus(seed=0, voted=200, proxy=None, utterances=1000, speakers=40, **how):
    """A panel whose human votes are those on `voted` utterances drawn by chance, and its groups."""
    made = simulate(utterances, speakers=speakers, prior=PRIOR, proxies=[proxy or Proxy("p", 6.0)], seed=seed, **how)
    votes = made.answered.astype(float)
    chosen = np.random.default_rng([seed, 1]).permutation(utterances) < voted
    human = made.counts * chosen[:, None]
    panel = Panel(human, ("p",), made.answers * votes[..., None], votes, votes < 0, np.zeros((utterances, 0)))
    return panel, made.speakers


def parts(panel):
    voted = panel.human.sum(-1) > 0
    return normalize(panel.human[voted]), panel.synthetic[voted], panel.synthetic[~voted]


def test_estimate_power_and_independent_interval_are_those_of_ppi_py():
    panel, groups = corpus()
    found = class_rates(panel, groups, CLASSES, level=0.9)
    estimate = ppi_py.ppi_mean_pointestimate(*parts(panel), lam_optim_mode="element")
    low, high = ppi_py.ppi_mean_ci(*parts(panel), alpha=0.1, lam_optim_mode="element")
    np.testing.assert_allclose([rate.rate.estimate for rate in found.rates], estimate)
    np.testing.assert_allclose([rate.independent for rate in found.rates], np.stack([low, high], axis=1))
    assert 0.2 < min(rate.power for rate in found.rates)
    for index, rate in enumerate(found.rates):
        voted = panel.human.sum(-1) > 0
        assert rate.human == interval(parts(panel)[0][:, index], np.array(groups)[voted], level=0.9)
        assert rate.proxy == interval(panel.synthetic[:, index], groups, level=0.9)
    assert (found.voted, found.utterances, found.unanswered, found.level) == (200, 1000, 0, 0.9)


@pytest.mark.parametrize("seed", range(5))
def test_the_power_is_that_of_least_variance(seed):
    rng = np.random.default_rng(seed)
    proxy, others = rng.normal(size=(4000, 1)), rng.normal(size=(8000, 1))
    shares = 0.6 * proxy + rng.normal(size=(4000, 1))
    powers = np.linspace(0, 1, 201)
    variances = [(p * others).var() / 8000 + (shares - p * proxy).var() / 4000 for p in powers]
    assert tuned_power(shares, proxy, others) == pytest.approx(powers[np.argmin(variances)], abs=0.03)
    assert tuned_power(-shares, proxy, others) == 0
    assert tuned_power(9 * shares, proxy, others) == 1
    assert tuned_power(shares, np.ones_like(proxy), np.ones_like(others)) == 0


def test_the_jackknife_leaves_out_a_speaker_from_both_parts():
    panel, groups = corpus(utterances=200, voted=60, speakers=5)
    rate = class_rates(panel, groups, CLASSES).rates[0]

    def estimate(rows):
        voted, proxy = panel.human.sum(-1) > 0, panel.synthetic[:, 0]
        human = panel.human[rows & voted]
        gap = proxy[rows & ~voted].mean() - proxy[rows & voted].mean()
        return normalize(human)[:, 0].mean() + rate.power * gap

    names = np.array(groups)
    without = np.array([estimate(names != name) for name in sorted(set(groups))])
    error = np.sqrt(4 / 5 * ((without - estimate(names == names)) ** 2).sum())
    assert rate.rate.standard_error == pytest.approx(error)


@pytest.mark.parametrize(("speaker_votes", "speakers"), [(None, 40), (5.0, 40), (5.0, 10)])
def test_intervals_cover_with_and_without_speakers_that_differ(speaker_votes, speakers):
    hit, independent, ratios = [], [], []
    for seed in range(40):
        made = corpus(seed, speakers=speakers, speaker_votes=speaker_votes, strength=6.0)
        found = class_rates(*made, CLASSES, level=0.9)
        for rate, truth in zip(found.rates, PRIOR, strict=True):
            hit.append(rate.rate.low <= truth <= rate.rate.high)
            independent.append(rate.independent[0] <= truth <= rate.independent[1])
            ratios.append(rate.rate.standard_error / rate.human.standard_error)
    assert 0.83 < np.mean(hit) < 0.96
    assert np.mean(ratios) < 0.98
    assert (np.mean(independent) < 0.85) == (speaker_votes is not None)


def test_a_useless_proxy_has_no_power_and_does_no_harm():
    powers, ratios = [], []
    for seed in range(20):
        found = class_rates(*corpus(seed, proxy=Proxy("p", 0.0)), CLASSES)
        powers += [rate.power for rate in found.rates]
        ratios += [rate.rate.standard_error / rate.human.standard_error for rate in found.rates]
    assert np.mean(powers) < 0.06
    assert np.mean(ratios) == pytest.approx(1, abs=0.02)
    assert max(ratios) < 1.1


def test_a_biased_proxy_misses_and_its_correction_does_not():
    swap = np.eye(4)[[0, 2, 1, 3]]  # happy and neutral are mixed up
    misses, errors = [], []
    for seed in range(10):
        rate = class_rates(*corpus(seed, proxy=Proxy("p", 6.0, bias=swap)), CLASSES).rates[1]
        misses.append(rate.proxy.high < PRIOR[1])
        errors.append(rate.rate.estimate - PRIOR[1])
    assert all(misses)
    assert abs(np.mean(errors)) < 0.015


def test_utterances_without_an_answer_stay_in_the_population():
    panel, groups = corpus(proxy=Proxy("p", 6.0, failures=0.3))
    found = class_rates(panel, groups, CLASSES)
    answered = panel.votes[:, 0] > 0
    assert found.unanswered == (~answered).sum() > 200
    assert found.rates[0].proxy.n == answered.sum()
    assert found.rates[0].proxy.estimate == pytest.approx(panel.synthetic[answered, 0].mean())
    voted, filled = panel.human.sum(-1) > 0, np.where(answered, panel.synthetic[:, 0], found.rates[0].proxy.estimate)
    shares, power = normalize(panel.human[voted])[:, 0], found.rates[0].power
    gap = filled[~voted].mean() - filled[voted].mean()
    assert found.rates[0].rate.estimate == pytest.approx(shares.mean() + power * gap)


def test_votes_on_few_whole_speakers_give_few_degrees_of_freedom():
    panel, groups = corpus()
    names = np.array(groups)
    few = np.isin(names, sorted(set(groups))[:5])
    human = simulate(1000, speakers=40, prior=PRIOR, proxies=[Proxy("p", 6.0)]).counts * few[:, None]
    whole = dataclasses.replace(panel, human=human)
    rate = class_rates(whole, groups, CLASSES).rates[0]
    assert rate.rate.degrees_of_freedom == pytest.approx(4)
    assert rate.human.degrees_of_freedom == pytest.approx(4)


def test_the_table_reads():
    text = str(class_rates(*corpus(), CLASSES))
    assert text.startswith(
        "Class rates of 1,000 utterances, 200 of them voted on, 0 without an answer (95 % intervals)"
    )
    assert [line.split()[0] for line in text.splitlines()[2:]] == list(CLASSES)


def test_what_has_no_rates():
    panel, groups = corpus()
    with pytest.raises(DistributionError, match="`classes` names 3"):
        class_rates(panel, groups, CLASSES[:3])
    everybody = dataclasses.replace(panel, human=panel.human + 1)
    with pytest.raises(DistributionError, match="utterances without in 0 of its 40 groups"):
        class_rates(everybody, groups, CLASSES)
    nobody = dataclasses.replace(panel, human=panel.human * 0)
    with pytest.raises(DistributionError, match="with human votes in 0 of its 40 groups"):
        class_rates(nobody, groups, CLASSES)
    silent = dataclasses.replace(panel, answers=0 * panel.answers, votes=0 * panel.votes)
    with pytest.raises(DistributionError, match="with a valid answer in 0"):
        class_rates(silent, groups, CLASSES)


def test_ppi_py_is_needed_only_when_it_is_used_and_leaves_warnings_on(monkeypatch):
    code = (
        "import sys, warnings, dime_hf.validate.rates as rates; assert 'ppi_py' not in sys.modules;"
        "before = list(warnings.filters); rates._load_ppi(); assert warnings.filters == before; print('ok')"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "ok\n"
    monkeypatch.setitem(sys.modules, "ppi_py", None)
    with pytest.raises(PackageError, match=r"pip install 'dime_hf\[ppi\]'"):
        class_rates(*corpus(), CLASSES)
