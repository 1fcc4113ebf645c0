"""Alignment: every system on the same rows and references, as plain loops score them; controls and tests as told."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import ttest_1samp
from statsmodels.stats.multitest import multipletests

from dime_hf.distribution import js_divergence, normalize
from dime_hf.errors import DistributionError, FitError
from dime_hf.evidence import fit_dirichlet, one_more_human, score_of_truth
from dime_hf.pool import FittedPooler
from dime_hf.pool.panel import Panel, Training
from dime_hf.simulation import Proxy, simulate
from dime_hf.validate.alignment import align

GOOD, USELESS, SHY = Proxy("good", votes=6), Proxy("useless", votes=0), Proxy("shy", votes=1, failures=0.1)
CONTROLS = ["prior", "uniform", "shuffled", "one more human"]


def corpus(utterances=1200, proxies=(GOOD, USELESS, SHY), seed=0, **setting):
    """A simulation, its panel, ids and speakers."""
    made = simulate(utterances, annotators=4, proxies=proxies, speakers=12, seed=seed, **setting)
    names, nothing = tuple(proxy.name for proxy in proxies), np.zeros((utterances, 0))
    drawn = np.zeros(made.answered.shape, dtype=bool)
    answers = made.answers * made.answered[..., None]
    panel = Panel(made.counts, names, answers, made.answered.astype(float), drawn, nothing)
    return made, panel, [f"u{row}" for row in range(utterances)], np.array(made.speakers)


def by_name(found):
    return {system.system: system for system in found.systems}


def test_scores_are_those_of_plain_loops():
    _, panel, ids, groups = corpus()
    counts = panel.human.copy()
    counts[:30] = np.eye(4)[0]  # one vote: nothing is left to score against
    panel = dataclasses.replace(panel, human=counts)
    found = align(panel, ids, groups, seed=3)
    rows = [row for row in range(30, 1200) if panel.votes[row].all()]
    assert (found.utterances, found.too_few_votes) == (len(rows), 30)
    assert found.unanswered == 1170 - len(rows) > 50
    spare = one_more_human(counts[rows], [ids[row] for row in rows], 3)
    references = normalize(counts[rows] - spare)
    predictions = dict(zip(panel.proxies, panel.answers[rows].swapaxes(0, 1), strict=True))
    predictions["panel mean"] = panel.answers[rows].mean(1)
    predictions["one more human"] = spare
    predictions["uniform"] = np.full(references.shape, 0.25)
    places = {name: place % 5 for place, name in enumerate(sorted(set(groups)))}
    fold = np.array([places[name] for name in groups])
    voted = normalize(counts)
    predictions["prior"] = np.array([voted[fold != fold[row]].mean(0) for row in rows])
    predictions["fitted"] = np.zeros_like(references)
    for number in range(5):
        train = (fold != number) & (counts.sum(-1) >= 2)
        pooler = FittedPooler().fit_votes(Training(panel.select(train), groups[train], ()))
        inside = fold[rows] == number
        alpha = (
            pooler.prior_strength * np.array(pooler.prior) + panel.answers[rows].swapaxes(1, 2) @ pooler.proxy_votes
        )
        predictions["fitted"][inside] = normalize(alpha)[inside]
    squared = lambda q: ((q - references) ** 2 - references**2).sum(-1)  # noqa: E731
    systems = by_name(found)
    for name, q in predictions.items():
        scores = systems[name].scores
        assert scores["squared_score"].estimate == pytest.approx(squared(q).mean()), name
        assert scores["js_divergence"].estimate == pytest.approx(js_divergence(references, q).mean()), name
        assert scores["bhattacharyya"].estimate == pytest.approx(np.sqrt(q * references).sum(-1).mean()), name
        difference = systems[name].difference.difference
        assert difference.estimate == pytest.approx((squared(q) - squared(predictions["prior"])).mean(), abs=1e-12)
        assert (difference.n, difference.n_groups) == (len(rows), 12)
    counted = [(spare[row].argmax() == counts_.argmax()) for row, counts_ in decided(counts[rows] - spare)]
    assert systems["one more human"].scores["accuracy"].estimate == pytest.approx(np.mean(counted))


def decided(counts):
    """Rows with a unique plurality."""
    top = counts.max(-1, keepdims=True)
    return [(row, counts[row]) for row in np.flatnonzero((counts == top).sum(-1) == 1)]


def test_tests_are_clustered_students_with_holms_correction():
    _, panel, ids, groups = corpus(proxies=(GOOD, USELESS))
    found = align(panel, ids, groups, level=0.9)
    tested = [system for system in found.systems if system.kind != "control"]
    assert [system.system for system in tested] == ["good", "useless", "panel mean", "fitted"]
    expected = multipletests([system.difference.p_value for system in tested], method="holm")[1]
    assert [system.p_holm for system in tested] == pytest.approx(expected.tolist())
    controls = [system for system in found.systems if system.kind == "control"]
    assert [system.system for system in controls] == CONTROLS
    assert all(system.p_holm is None for system in controls)
    spare = one_more_human(panel.human, ids)
    references = normalize(panel.human - spare)
    squared = lambda q: (q**2 - 2 * q * references).sum(-1)  # noqa: E731
    systems = by_name(found)
    means = [squared(panel.answers[:, 0])[groups == name].mean() for name in np.unique(groups)]
    student = ttest_1samp(means, 0).confidence_interval(0.9)
    score = systems["good"].scores["squared_score"]
    assert (score.low, score.high) == pytest.approx((student.low, student.high))
    assert systems["prior"].difference.p_value == 1


def test_good_proxies_beat_the_prior_and_useless_ones_do_not():
    _, panel, ids, groups = corpus(6000, (Proxy("good", votes=30), USELESS, Proxy("mild", votes=3)))
    systems = by_name(align(panel, ids, groups))
    less = {name: system.difference.difference for name, system in systems.items()}
    for name in ("good", "panel mean", "fitted"):
        assert less[name].high < 0
        assert systems[name].p_holm < 0.01
    assert less["useless"].low > 0  # it varies, and knows nothing
    assert less["shuffled"].low > 0
    assert less["uniform"].low > 0
    assert less["fitted"].estimate < min(less["good"].estimate, less["panel mean"].estimate)


def test_panels_of_useless_proxies_are_pooled_to_the_prior():
    """In hardly a corpus does what knows nothing beat the prior."""
    verdicts = []
    for seed in range(6):
        _, panel, ids, groups = corpus(200, (USELESS,), seed)
        fitted = by_name(align(panel, ids, groups, metrics=["squared_score"]))["fitted"]
        assert abs(fitted.difference.difference.estimate) < 0.005
        verdicts.append(fitted.difference.p_lower < 0.025)
    assert sum(verdicts) <= 1


def test_the_truth_is_scored_at_as_many_votes():
    made, panel, ids, groups = corpus(8000, (USELESS,))
    found = align(panel, ids, groups)
    expected = score_of_truth(panel.human.sum(-1) - 1, alpha=fit_dirichlet(panel.human))
    known = score_of_truth(np.full(8000, 3), truth=made.truth)
    for name, value in found.truth.items():
        assert value == expected[name]
        assert value == pytest.approx(known[name], abs=0.01)
    assert found.votes == 3


def test_one_proxy_has_no_mean_and_metrics_are_chosen():
    _, panel, ids, groups = corpus(200, (GOOD,))
    found = align(panel, ids, groups, metrics=["ece", "js_distance"])
    assert [system.system for system in found.systems] == ["good", "fitted", *CONTROLS]
    assert list(found.truth) == list(found.systems[0].scores) == ["ece", "js_distance"]


def test_the_same_whatever_the_order_of_rows():
    _, panel, ids, groups = corpus(300)
    order = np.random.default_rng(0).permutation(300)
    one = by_name(align(panel, ids, groups, seed=1))
    other = by_name(align(panel.select(order), [ids[row] for row in order], groups[order], seed=1))
    for name in one:
        expected = one[name].scores["js_divergence"]
        assert other[name].scores["js_divergence"].low == pytest.approx(expected.low, abs=1e-5), name
    again = by_name(align(panel, ids, groups, seed=2))
    assert again["good"].scores["js_divergence"].estimate != one["good"].scores["js_divergence"].estimate


def test_table_and_figure():
    from matplotlib.figure import Figure

    _, panel, ids, groups = corpus(300)
    found = align(panel, ids, groups)
    lines = str(found).splitlines()
    names = [system.system for system in found.systems]
    assert [line[2:30].strip() for line in lines[1:]] == ["system", *names, "the truth"]
    assert f"{found.unanswered} that not every proxy answered" in lines[0]
    score = found.systems[0].scores["squared_score"]
    assert f"{score.estimate:.3f} [{score.low:.3f}, {score.high:.3f}]" in lines[2]
    axes = Figure().subplots()
    found.plot(axes)
    assert [text.get_text() for text in axes.get_yticklabels()] == names


def test_what_cannot_be_aligned_is_named():
    _, panel, ids, groups = corpus(100, (GOOD,))
    with pytest.raises(DistributionError, match="`panel.human` must be whole votes"):
        align(dataclasses.replace(panel, human=panel.human / 2), ids, groups)
    with pytest.raises(DistributionError, match="0 of them answered by every proxy"):
        align(dataclasses.replace(panel, votes=np.zeros((100, 1))), ids, groups)
    with pytest.raises(DistributionError, match="`metrics` has 'jsd'"):
        align(panel, ids, groups, metrics=["jsd"])
    with pytest.raises(DistributionError, match="a proxy called 'prior'"):
        align(dataclasses.replace(panel, proxies=("prior",)), ids, groups)
    with pytest.raises(DistributionError, match="`ids` must name each of the 100"):
        align(panel, ids[1:], groups)
    with pytest.raises(FitError, match="`groups` has only"):
        align(panel, ids, ["one"] * 100)
