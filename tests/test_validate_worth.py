"""Worth in votes: against enumeration, against truths of simulations, and proxies whose worth is known exactly."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dime_hf.distribution import normalize
from dime_hf.errors import DistributionError, FitError
from dime_hf.evidence import fit_dirichlet
from dime_hf.evidence.intervals import degrees_of_freedom
from dime_hf.pool import FittedPooler, PriorPooler
from dime_hf.pool.panel import Panel, Training
from dime_hf.simulation import Proxy, simulate
from dime_hf.validate.cells import human_curve
from dime_hf.validate.crossfit import Folds
from dime_hf.validate.worth import votes_worth, worth_in_votes

CLASSES = ("angry", "happy", "neutral", "sad")


def panel_of(counts, answers, answered=None):
    """A panel of answers (N, J, C); proxies are p0, p1, ..."""
    votes = np.ones(answers.shape[:2]) if answered is None else answered.astype(float)
    names = tuple(f"p{place}" for place in range(answers.shape[1]))
    nothing = np.zeros((len(counts), 0))
    return Panel(counts, names, answers * votes[..., None], votes, np.zeros(votes.shape, dtype=bool), nothing)


def ids_of(panel):
    return [f"u{row}" for row in range(len(panel.human))]


def of_votes(w, utterances=4000, votes=5, failures=0.0, seed=0, **setting):
    """A corpus, and a proxy that answers the shares of `w` more votes on the same truth: worth `w` votes exactly."""
    corpus = simulate(utterances, annotators=votes + w, seed=seed, **setting)
    cast = np.eye(4)[corpus.choices]
    answered = np.random.default_rng(seed).random((utterances, 1)) >= failures
    return panel_of(cast[:, :votes].sum(1), cast[:, None, votes:].mean(2), answered), np.array(corpus.speakers)


def planted(w, seed=0, **setting):
    corpus = simulate(annotators=5, proxies=[Proxy(votes=w)], seed=seed, **setting)
    return panel_of(corpus.counts, corpus.answers), np.array(corpus.speakers), corpus


def worth(panel, groups, **setting):
    return worth_in_votes(panel, ids_of(panel), groups, CLASSES, **setting)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 6).flatmap(lambda others: st.tuples(st.just(others), st.integers(0, others))),
    st.floats(0.01, 5),
    st.floats(0.01, 5),
)
def test_human_curve_is_the_mean_over_all_subsets(votes, alpha, rest):
    others, same = votes
    cast = [1] * same + [0] * (others - same)
    expected = [
        np.mean([np.log((sum(some) + alpha) / (k + alpha + rest)) for some in itertools.combinations(cast, k)])
        for k in range(others + 1)
    ]
    found = human_curve(*(np.array([value]) for value in (same, others, alpha, alpha + rest)), others)
    np.testing.assert_allclose(found[0], expected, atol=1e-12)


def by_enumeration(panel, groups, end):
    """Log-likelihoods (N, end + 1) of every utterance's votes given k others, and (N,) given the proxy, in loops."""
    folds = {name: place % 5 for place, name in enumerate(sorted(set(groups)))}
    member = np.array([folds[name] for name in groups])
    curves, proxies = [], []
    for row, counts in enumerate(panel.human):
        train = member != member[row]
        training = Training(panel.select(train), groups[train], ())
        prior, fitted = PriorPooler().fit_votes(training), FittedPooler().fit_votes(training)
        alpha = prior.strength * np.array(prior.prior)
        one = panel.select(np.array([row]))
        q = normalize(fitted.total_votes(dataclasses.replace(one, human=np.zeros((1, 4)))))[0]
        cast = np.repeat(np.arange(4), counts.astype(int))
        curve = np.zeros(end + 1)
        for k in range(end + 1):
            for judge in range(len(cast)):
                pools = [np.bincount(some, minlength=4) for some in combinations_of(np.delete(cast, judge), k)]
                curve[k] += np.mean([np.log(normalize(pool + alpha)[cast[judge]]) for pool in pools]) / len(cast)
        curves.append(curve)
        proxies.append(np.log(q[cast]).mean())
    return np.array(curves), np.array(proxies)


def combinations_of(cast, k):
    return [np.array(some, dtype=int) for some in itertools.combinations(cast, k)]


def test_worth_and_interval_are_those_of_plain_loops():
    panel, groups = of_votes(2, 36, speakers=6, seed=5)
    found = worth(panel, groups, level=0.9)
    end = len(found.curve) - 1
    assert end == 4
    curves, proxies = by_enumeration(panel, groups, end)
    np.testing.assert_allclose(found.curve, curves.mean(0), atol=1e-12)
    assert found.curve[0] + found.overall["p0"].gain.estimate == pytest.approx(proxies.mean())
    meets = lambda rows: np.interp(proxies[rows].mean(), curves[rows].mean(0), range(end + 1))  # noqa: E731
    whole = np.arange(36)
    without = np.array([meets(whole[groups != name]) for name in np.unique(groups)])
    k = found.overall["p0"].votes
    assert 0 < k.estimate < end
    assert k.estimate == pytest.approx(meets(whole))
    assert k.standard_error == pytest.approx(np.sqrt(5 / 6 * ((without - k.estimate) ** 2).sum()), rel=1e-6)
    assert k.degrees_of_freedom == pytest.approx(degrees_of_freedom(np.full(6, 1 / 6)))
    assert (k.n, k.n_groups, k.level) == (36, 6, 0.9)


def test_a_class_is_judged_against_the_rest():
    """Two classes against each other are the whole."""
    corpus = simulate(300, prior=[0.7, 0.3], annotators=4, proxies=[Proxy(votes=3)])
    panel = panel_of(corpus.counts, corpus.answers)
    found = worth_in_votes(panel, ids_of(panel), corpus.speakers, ("yes", "no"))
    for part in found.by_class.values():
        assert part["p0"].votes.estimate == pytest.approx(found.overall["p0"].votes.estimate)
        assert part["p0"].votes.standard_error == pytest.approx(found.overall["p0"].votes.standard_error)


@pytest.mark.parametrize("w", [1, 3])
def test_a_proxy_that_hears_w_humans_is_worth_w_votes(w):
    """Overall, for every class, and at every level: humans and proxy learn of one truth by votes."""
    panel, groups = of_votes(w, 8000, votes=9, seed=w)
    found = worth(panel, groups)
    parts = [found.overall, *found.by_class.values(), *found.by_level.values()]
    assert len(parts) == 8
    for part in parts:
        k = part["p0"].votes
        assert abs(k.estimate - w) < 3.5 * k.standard_error
        assert k.standard_error < 0.2 * w
        assert not part["p0"].at_least


def test_half_a_vote_is_a_vote_on_every_second_utterance():
    panel, groups = of_votes(1, 20_000, failures=0.5)
    k = worth(panel, groups).overall["p0"].votes
    assert abs(k.estimate - 0.5) < 3 * k.standard_error < 0.1


def exact_worth(w, prior=(0.4, 0.3, 0.2, 0.1), strength=2.0):
    """k* of `Proxy(votes=w)` from the known truths of a large corpus, and votes drawn from them anew."""
    _, _, corpus = planted(w, seed=99, utterances=30_000)
    heard = np.eye(4)[corpus.choices].cumsum(1)
    alpha = fit_dirichlet(corpus.counts).sum() * np.array(prior)
    q = normalize(strength * np.array(prior) + w * corpus.answers[:, 0])
    told = lambda labels: (corpus.truth * np.log(labels)).sum(-1).mean()  # noqa: E731
    curve = [np.log(prior) @ corpus.truth.mean(0), *(told(normalize(heard[:, k] + alpha)) for k in range(5))]
    return np.interp(told(q), curve, range(6))


@pytest.mark.parametrize("w", [0.5, 1, 3])
def test_a_planted_proxy_is_worth_what_its_truths_say(w):
    """Not w, its kappa: what it perceives is often near the prior. Squared error has a closed form."""
    expected = exact_worth(w)
    panel, groups, _ = planted(w, utterances=6000, strength=2.0)
    k = worth(panel, groups).overall["p0"].votes
    assert abs(k.estimate - expected) < 3 * k.standard_error + 0.02
    total = 2 + w
    squared = (total + 1) * w**2 / (total * (4 + 1) + w**2)  # a share w^2 / (total^2 (C + 1)) of the variance is told
    assert squared == pytest.approx(expected, rel=0.5)
    assert expected < 0.7 * w


def test_what_knows_nothing_is_worth_nothing():
    panel, groups, _ = planted(0, utterances=2000)
    shuffled = dataclasses.replace(panel, answers=np.roll(of_votes(3, 2000)[0].answers, 7, axis=0))
    for useless in (panel, shuffled):
        k = worth(useless, groups).overall["p0"].votes
        assert k.low == 0
        assert k.estimate < 0.02


def test_a_proxy_that_misleads_other_speakers_is_worse_than_the_prior():
    """It hears humans for speakers of four folds, and says another class for those of the fifth."""
    panel, groups = of_votes(3, 1000, speakers=5)
    wrong = groups == "s000"
    answers = np.where(wrong[:, None, None], np.roll(panel.answers, 1, axis=-1), panel.answers)
    turned = dataclasses.replace(panel, answers=answers, human=np.where(wrong[:, None], 10 * panel.human, panel.human))
    assert worth(turned, groups).overall["p0"].votes.estimate > 0
    found = worth(turned, groups, most=30).overall["p0"]  # judged where votes are many: the fifth fold alone
    assert found.worse_than_prior
    assert found.votes.estimate == 0
    assert found.gain.estimate < 0
    assert "worse than the prior" in str(found)
    assert np.isnan(found.votes.low)  # of one speaker


def test_more_than_the_curve_is_at_least_its_end():
    panel, groups = of_votes(20, 1000, votes=3)
    found = worth(panel, groups).overall["p0"]
    assert found.at_least
    assert (found.votes.estimate, found.votes.high) == (2, 2)
    assert str(found).startswith(">= 2.00")


def test_duplicates_add_nothing():
    panel, groups = of_votes(1, 600)
    twice = panel_of(panel.human, np.repeat(panel.answers, 2, axis=1))
    found = worth(twice, groups, calibrated=True).overall
    assert list(found) == ["p0", "p1", "panel", "calibrated"]
    assert found["p0"] == found["p1"] == worth(panel, groups).overall["p0"]
    assert found["panel"].votes.estimate == pytest.approx(found["p0"].votes.estimate, abs=0.02)
    assert found["calibrated"].votes.estimate == pytest.approx(1, abs=0.4)


def test_several_proxies_are_worth_more_than_each():
    corpus = simulate(4000, annotators=8)
    cast = np.eye(4)[corpus.choices]
    panel = panel_of(cast[:, :5].sum(1), cast[:, 5:])
    found = worth(panel, corpus.speakers).overall
    for name in ("p0", "p1", "p2"):
        assert found[name].votes.estimate == pytest.approx(1, abs=0.15)
    assert found["panel"].votes.estimate == pytest.approx(3, abs=0.3)


def test_intervals_cover():
    """90 % intervals for ten speakers who differ, over small corpora."""
    hits = 0
    for seed in range(50):
        panel, groups = of_votes(1, 300, votes=3, speakers=10, speaker_votes=20, seed=seed)
        k = worth(panel, groups, level=0.9).overall["p0"].votes
        hits += k.low <= 1 <= k.high
    assert 39 <= hits  # 45 expected, less 3 standard errors


def test_k_is_what_half_of_the_utterances_can_spare():
    panel, groups = of_votes(1, 400, votes=6)
    counts = panel.human.copy()
    few = np.arange(400) < 220
    counts[few] = np.minimum(counts[few], 1)
    votes = counts.sum(-1)
    found = worth(dataclasses.replace(panel, human=counts), groups)
    end = len(found.curve) - 1
    two = votes[votes >= 2]
    assert (two > end).mean() >= 0.5 > (two > end + 1).mean()
    assert (found.utterances, found.left_out) == ((votes > end).sum(), (votes <= end).sum())
    assert len(worth(panel, groups, most=3).curve) == 4


def test_two_votes_leave_no_levels():
    panel, groups = of_votes(1, 300, votes=2)
    found = worth(panel, groups)
    assert (found.level_votes, found.by_level) == (0, {})
    assert "no levels of ambiguity" in str(found)


def test_the_same_whatever_the_order_of_rows():
    panel, groups = of_votes(2, 400)
    order = np.random.default_rng(1).permutation(400)
    found = worth(panel, groups)
    moved = worth_in_votes(panel.select(order), [f"u{row}" for row in order], groups[order], CLASSES)
    for name, part in found.by_level.items():
        assert moved.by_level[name]["p0"].votes.low == pytest.approx(part["p0"].votes.low, abs=1e-4)


def test_a_curve_that_falls_or_stands():
    curves = np.array([[-2.0, -1.0, -1.5, -0.5], [-2.0, -2.0, -2.0, -2.0], [-1.0, -2.0, -3.0, -1.0]])
    np.testing.assert_allclose(votes_worth(curves[:1], np.array([-0.75])), [2.5])
    np.testing.assert_allclose(votes_worth(curves[:1], np.array([-2.5])), [-0.5])
    np.testing.assert_allclose(votes_worth(curves[:1], np.array([0.5])), [5])
    assert np.isnan(votes_worth(curves[1:], np.array([-1.0, -1.0]))).all()


def test_where_votes_tell_nothing_a_worth_is_none():
    """Every utterance has the same votes, one for each class: another vote makes the next no likelier."""
    panel = panel_of(np.ones((60, 4)), np.full((60, 1, 4), 0.25))
    found = worth(panel, [f"s{row % 6}" for row in range(60)])
    assert np.isnan(found.overall["p0"].votes.estimate)
    assert "not even human votes" in str(found)


def test_table_and_figure():
    from matplotlib.figure import Figure

    panel, groups = of_votes(2, 600)
    found = worth(panel, groups)
    assert str(found).splitlines()[0].startswith("Worth in human votes, up to 4")
    assert [line.split()[0] for line in str(found).splitlines()[2:-1]] == ["all", *CLASSES, "low", "medium", "high"]
    axes = Figure().subplots()
    found.plot(axes)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), found.curve)
    k, value = (float(axes.lines[2].get_xdata()[0]), float(axes.lines[2].get_ydata()[0]))
    assert np.interp(k, range(5), found.curve) == pytest.approx(value)


def test_what_cannot_be_judged_is_named():
    panel, groups = of_votes(1, 60)
    halves = dataclasses.replace(panel, human=panel.human / 2)
    with pytest.raises(DistributionError, match="`panel.human` must be whole votes"):
        worth(halves, groups)
    with pytest.raises(DistributionError, match="no utterance with two votes"):
        worth(dataclasses.replace(panel, human=np.eye(4)[np.arange(60) % 4]), groups)
    with pytest.raises(DistributionError, match="`classes` has 2 names"):
        worth_in_votes(panel, ids_of(panel), groups, ("yes", "no"))
    with pytest.raises(DistributionError, match="`most` is 5"):
        worth(panel, groups, most=5)
    with pytest.raises(DistributionError, match="`most` must be at least 1"):
        worth(panel, groups, most=0)
    with pytest.raises(DistributionError, match="no proxies"):
        worth(panel_of(panel.human, np.zeros((60, 0, 4))), groups)
    with pytest.raises(DistributionError, match="a proxy called 'panel'"):
        worth(dataclasses.replace(panel, proxies=("panel",)), groups)
    with pytest.raises(DistributionError, match="`ids` must name each of the 60"):
        worth_in_votes(panel, ["a"], groups, CLASSES)
    with pytest.raises(FitError, match="`groups` has only"):
        worth(panel, ["one"] * 60)
    with pytest.raises(FitError, match="`folds` must be at least 2"):
        worth(panel, groups, folds=1)
    with pytest.raises(DistributionError, match="`groups` must name the group of each"):
        Folds.read(panel, groups[:3])
