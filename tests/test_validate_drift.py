"""Drift: against loops over pairs of answers; planted biases for places and planted variances are recovered."""

import itertools

import datasets
import numpy as np
import pytest
from matplotlib.figure import Figure

from dime_hf import columns
from dime_hf.annotate.prompts import cyclic_orders
from dime_hf.distribution import js_divergence, plurality, total_variation
from dime_hf.errors import ColumnError, DistributionError
from dime_hf.pool.panel import as_batch
from dime_hf.validate.drift import measure_drift
from dime_hf.validate.variance import variance_shares

CLASSES = ["angry", "happy", "sad"]
ROTATIONS = cyclic_orders(3, 3)


def answer(distribution, proxy="p", order=()):
    valid = distribution is not None
    return {
        "proxy": proxy,
        "order": list(order),
        "distribution": list(distribution) if valid else None,
        "draws": [],
        "votes": 1.0 if valid else 0.0,
        "off_option": 0.0 if valid else None,
        "status": columns.OK if valid else columns.FAILED,
        "error": None if valid else "unreadable",
    }


def batch_of(cells):
    """The columns of a dataset with these answers, as they are stored."""
    rows = {"vote_counts": [[1.0, 0.0, 0.0]] * len(cells), "answers": cells}
    features = {"vote_counts": columns.distribution_feature(3), "answers": columns.answers_feature(CLASSES)}
    dataset = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    return as_batch(dataset.with_format("arrow")[:])


def groups_of(cells, size=10):
    return [f"s{row % size}" for row in range(len(cells))]


def random_cells(rows=80, seed=0):
    """Three proxies, each in some of the six orders, some answers failed, some without an order."""
    rng = np.random.default_rng(seed)
    every = list(itertools.permutations(range(3)))
    cells = []
    for _ in range(rows):
        cell = []
        for proxy in "abc":
            for order in rng.permutation(every)[: rng.integers(0, 4)].tolist():
                shares = np.round(rng.dirichlet(np.ones(3)), 1)
                given = None if rng.random() < 0.2 else (shares + 0.1) / (shares + 0.1).sum()
                cell.append(answer(given, proxy, () if rng.random() < 0.1 else order))
        cells.append([cell[place] for place in rng.permutation(len(cell))])
    return cells


def distances(pairs):
    """Total variation, JS, and of the pairs that have favourites the flips, as lists."""
    tops = [[int(plurality(one)) for one in pair] for pair in pairs]
    flips = [a != b for a, b in tops if -1 not in (a, b)]
    return [total_variation(*pair) for pair in pairs], [js_divergence(*pair) for pair in pairs], flips


def valid(cell, proxy):
    return [one for one in cell if one["proxy"] == proxy and one["status"] == "ok"]


def test_prompts_and_orders_are_compared_pair_by_pair():
    cells = random_cells()
    batch = {"vote_counts": np.ones((len(cells), 3)), "answers": cells}  # as float32, means would not tie exactly
    found = measure_drift(batch, groups_of(cells))
    for one, other in itertools.combinations("abc", 2):
        pairs = [
            [np.mean([a["distribution"] for a in valid(cell, name)], axis=0) for name in (one, other)]
            for cell in cells
            if valid(cell, one) and valid(cell, other)
        ]
        moves = found.between_prompts[f"{one} - {other}"]
        variation, js, flips = map(np.mean, distances(pairs))
        assert moves.utterances == len(pairs)
        assert moves.total_variation.estimate == pytest.approx(variation)
        assert moves.js_divergence.estimate == pytest.approx(js)
        assert moves.flips.estimate == pytest.approx(flips)
    for proxy in "abc":
        by_row = []
        for cell in cells:
            ordered = [a for a in valid(cell, proxy) if a["order"]]
            if len(ordered) > 1:
                by_row.append([np.array(a["distribution"]) for a in ordered])
        rows = [distances(list(itertools.combinations(row, 2))) for row in by_row]
        drift = found.between_orders[proxy]
        assert drift.moves.utterances == len(rows)
        assert drift.moves.total_variation.estimate == pytest.approx(np.mean([np.mean(row[0]) for row in rows]))
        assert drift.moves.js_divergence.estimate == pytest.approx(
            np.mean([np.mean(row[1]) for row in rows]), abs=1e-6
        )
        assert drift.moves.flips.estimate == pytest.approx(np.mean([np.mean(row[2]) for row in rows if row[2]]))
        tops = [[top for top in plurality(np.array(row)) if top >= 0] for row in by_row]
        expected = np.mean([len(set(row)) > 1 for row in tops if len(row) > 1])
        assert drift.flipped.estimate == pytest.approx(expected)
    answers = [one for cell in cells for one in cell if one["status"] == "ok"]
    assert found.answers == len(answers)
    assert found.no_order == sum(not one["order"] for one in answers)


def biased_cells(bias, orders, rows=200, seed=0, noise=0.02):
    """One proxy that gives classes its own shares and places a bias on top."""
    rng = np.random.default_rng(seed)
    cells = []
    for _ in range(rows):
        own = 0.4 / 3 + 0.6 * rng.dirichlet([4, 2, 1])
        cell = []
        for order in orders(rng):
            shift = rng.normal(scale=noise, size=3)
            given = own + shift - shift.mean()
            given[list(order)] += bias
            cell.append(answer(np.maximum(given, 0) / np.maximum(given, 0).sum(), order=order))
        cells.append(cell)
    return cells


DESIGNS = {
    "rotations": lambda _: ROTATIONS,
    "two of six": lambda rng: rng.permutation(list(itertools.permutations(range(3))))[:2].tolist(),
    "unbalanced": lambda _: [(0, 1, 2), (0, 2, 1), (2, 1, 0)],
}


@pytest.mark.parametrize("design", DESIGNS)
def test_a_planted_bias_for_places_is_recovered(design):
    bias = np.array([0.06, 0.01, -0.07])
    cells = biased_cells(bias, DESIGNS[design])
    found = measure_drift(batch_of(cells), groups_of(cells, 20)).between_orders["p"]
    assert found.all_compared
    for place, shift in zip(found.places, bias, strict=True):
        assert place.estimate == pytest.approx(1 / 3 + shift, abs=0.006)
        assert place.low - 0.003 <= 1 / 3 + shift <= place.high + 0.003
        assert place.high - place.low < 0.02
    if design == "rotations":
        given = np.array([[np.array(one["distribution"])[one["order"]] for one in cell] for cell in cells])
        np.testing.assert_allclose([one.estimate for one in found.places], given.mean((0, 1)), atol=1e-6)


def test_without_bias_the_interval_holds_one_over_c_as_often_as_it_says():
    hits = np.zeros(3)
    for seed in range(100):
        cells = biased_cells(np.zeros(3), DESIGNS["two of six"], rows=30, seed=seed)
        found = measure_drift({"vote_counts": np.ones((30, 3)), "answers": cells}, groups_of(cells), level=0.8)
        hits += [one.low <= 1 / 3 <= one.high for one in found.between_orders["p"].places]
    assert ((hits >= 68) & (hits <= 92)).all()


def test_places_that_no_class_moved_between_are_not_compared():
    orders = lambda _: [(0, 1, 2), (1, 0, 2)]  # noqa: E731
    cells = biased_cells(np.array([0.06, 0.0, -0.06]), orders, noise=0)
    found = measure_drift(batch_of(cells), groups_of(cells))
    drift = found.between_orders["p"]
    assert not drift.all_compared
    np.testing.assert_allclose([one.estimate for one in drift.places], 1 / 3 + np.array([0.03, -0.03, 0]), atol=1e-6)
    assert "(not all places could be compared)" in str(found)


def test_one_order_says_nothing_of_orders():
    cells = [[answer([0.5, 0.3, 0.2], order=(0, 1, 2)), answer([0.2, 0.3, 0.5], "q")] for _ in range(6)]
    found = measure_drift(batch_of(cells), groups_of(cells))
    for name in "pq":
        assert found.between_orders[name].places == ()
        assert found.between_orders[name].moves.reason == "no utterance was asked in two known orders"
    assert found.between_prompts["p - q"].flips.estimate == 1
    assert found.between_prompts["p - q"].total_variation.estimate == pytest.approx(0.3)
    assert found.no_order == 6


def test_failed_answers_never_count():
    cells = random_cells(seed=1)
    kept = [[one for one in cell if one["status"] == "ok"] for cell in cells]
    assert str(measure_drift(batch_of(cells), groups_of(cells))) == str(
        measure_drift(batch_of(kept), groups_of(cells))
    )
    apart = [[answer([1, 0, 0], "p"), answer(None, "q")], [answer(None, "p"), answer([1, 0, 0], "q")]]
    found = measure_drift(batch_of(apart), ["a", "b"])
    assert found.between_prompts["p - q"].reason == "no utterance has both answers"
    lone = measure_drift(batch_of([[answer([1, 0, 0], order=order) for order in ROTATIONS]] * 3), ["a"] * 3)
    assert lone.between_orders["p"].moves.reason == "all its utterances are of one group"


@pytest.mark.parametrize("dropped", [0, 0.3])
def test_planted_variances_are_recovered(dropped):
    rng = np.random.default_rng(0)
    shape, scales = (4000, 4, 3, 2), (2.0, 1.0, 1.5)
    utterance, prompt, order = (
        rng.normal(scale=scale, size=(*shape[: n + 1], 2)[: n + 2]) for n, scale in enumerate(scales)
    )
    values = utterance[:, None, None] + prompt[:, :, None] + order
    row, proxy, _ = np.indices(shape[:3])
    some = rng.random(shape[:3]) >= dropped
    found = variance_shares(row[some], proxy[some], values[some])
    total = 4 + 1 + 2.25
    assert (found.utterance, found.prompt, found.order) == pytest.approx(
        (4 / total, 1 / total, 2.25 / total), abs=0.02
    )
    one_order = variance_shares(row[:, :, 0].ravel(), proxy[:, :, 0].ravel(), values[:, :, 0].reshape(-1, 2))
    assert one_order.prompt == pytest.approx(3.25 / total, abs=0.02)
    assert np.isnan(one_order.order)
    one_prompt = variance_shares(row[:, 0].ravel(), proxy[:, 0].ravel(), values[:, 0].reshape(-1, 2))
    assert one_prompt.utterance == pytest.approx(5 / total, abs=0.02)
    assert np.isnan(one_prompt.prompt)
    assert np.isnan(variance_shares(np.arange(5), np.zeros(5, int), rng.random((5, 2))).utterance)


def test_the_table_and_the_figure():
    cells = biased_cells(np.array([0.06, 0.01, -0.07]), DESIGNS["rotations"], rows=40)
    found = measure_drift(batch_of(cells), groups_of(cells))
    lines = str(found).splitlines()
    assert lines[0].startswith("Drift of 120 answers (0 without an order); variance by utterance 0.")
    assert "probability by place, 0.333 without bias" in lines
    axes = Figure().subplots()
    found.plot(axes)
    drawn = axes.containers[0].lines[0].get_ydata()
    np.testing.assert_allclose(np.asarray(drawn, float), [one.estimate for one in found.between_orders["p"].places])
    assert axes.get_xlabel() == "place among the options"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["no bias", "p"]


def test_many_pairs_of_proxies_are_counted_and_not_all_listed():
    cells = [[answer([0.5, 0.3, 0.2], f"p{place}") for place in range(7)] for _ in range(4)]
    found = measure_drift(batch_of(cells), groups_of(cells))
    assert len(found.between_prompts) == 21
    assert "and 6 more" in str(found)


def test_arguments_are_checked():
    cells = random_cells(4)
    with pytest.raises(ColumnError, match="'answers'"):
        measure_drift({"vote_counts": [[1, 0, 0]]}, ["a"])
    with pytest.raises(ColumnError, match="no rows"):
        measure_drift({"vote_counts": [], "answers": []}, [])
    with pytest.raises(DistributionError, match="`groups`"):
        measure_drift(batch_of(cells), ["a"])


def test_eleven_classes_and_no_answers_at_all():
    rng = np.random.default_rng(0)
    bias, orders = np.linspace(0.05, -0.05, 11), cyclic_orders(11, 11)
    cells = []
    for own in 0.6 / 11 + 0.4 * rng.dirichlet(np.ones(11), 20):
        given = [own + bias[np.argsort(order)] for order in orders]
        cells.append([answer(one, order=order) for one, order in zip(given, orders, strict=True)])
    found = measure_drift({"vote_counts": np.ones((20, 11)), "answers": cells}, groups_of(cells))
    assert found.between_orders["p"].orders == 11
    np.testing.assert_allclose([one.estimate for one in found.between_orders["p"].places], 1 / 11 + bias)
    silent = measure_drift(batch_of([[answer(None)], []]), ["a", "b"])
    assert (silent.answers, silent.between_prompts, silent.between_orders) == (0, {}, {})
    assert np.isnan(silent.variance.utterance)
    assert str(silent).startswith("Drift of 0 answers")
