"""Rare classes weighted up on real utterances: the weights, what they promise, and what is refused."""

import collections
import json

import datasets
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from dime_hf import columns, hold_out_votes
from dime_hf.augment import DimeAug
from dime_hf.augment.evaluation import augment_test
from dime_hf.distribution import normalize
from dime_hf.errors import DistributionError, FitError, LeakageError
from dime_hf.evidence import importance_weights, interval, paired, plain, score_intervals, verdict
from dime_hf.evidence.weights import Kinds
from dime_hf.protocol import balanced_selection, balanced_weights, score_labels
from dime_hf.score import row_scores, score
from dime_hf.simulation import simulate
from tests import full_iemocap
from tests.bench.crema import read_votes
from tests.places import DATA

RAW = np.zeros(4)


@pytest.fixture(scope="module")
def simulated():
    return simulate(4000, prior=(0.55, 0.25, 0.15, 0.05), annotators=8, speakers=20, seed=3).held_out(4)


@pytest.fixture(scope="module")
def test_set(simulated):
    return simulated.dataset()


def votes(draw, rows=(8, 20), classes=3):
    """Counts with at least one clear row of every class, so that all targets can be reached."""
    some = draw(arrays(np.int64, st.tuples(st.integers(*rows), st.just(classes)), elements=st.integers(0, 4)))
    return np.concatenate([some[some.sum(-1) > 0], 3 * np.eye(classes, dtype=np.int64)])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("nearest", ["divergence", "squares"])
def test_weights_are_those_of_a_general_solver(seed, nearest):
    rng = np.random.default_rng(seed)
    counts = np.concatenate([rng.multinomial(4, [0.6, 0.3, 0.1], 14), 4 * np.eye(3)])
    p, target = normalize(counts), rng.dirichlet(np.full(3, 5.0))
    distances = {
        "divergence": lambda w: (w * np.log(w) - w).mean(),
        "squares": lambda w: ((w - 1) ** 2).mean(),
    }
    meets = {"type": "eq", "fun": lambda w: w @ p / len(w) - target}
    expected = scipy.optimize.minimize(
        distances[nearest], np.ones(len(p)), method="SLSQP", bounds=[(1e-12, None)] * len(p), constraints=[meets],
        options={"maxiter": 1000, "ftol": 1e-14},
    )  # fmt: skip
    assert expected.success
    found = importance_weights(counts, target, alpha=RAW[:3], nearest=nearest, min_effective=0)
    np.testing.assert_allclose(found.values, expected.x, atol=2e-4)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_weights_keep_their_promises(data):
    counts = votes(data.draw)
    target = data.draw(arrays(float, 3, elements=st.floats(0.1, 1.0)))
    target /= target.sum()
    found = importance_weights(counts, target, alpha=RAW[:3], min_effective=0)
    w = found.values
    assert (w > 0).all()
    assert w.mean() == pytest.approx(1)
    np.testing.assert_allclose(w @ normalize(counts) / w.sum(), target, atol=1e-5)
    np.testing.assert_allclose(found.after, target, atol=1e-5)
    np.testing.assert_allclose(found.before, normalize(counts).mean(0))
    assert found.n_effective == pytest.approx(w.sum() ** 2 / (w**2).sum())
    order = data.draw(st.permutations(range(len(counts))))
    for same in (counts[order], 3 * counts[order]):  # order and scale of the votes do not matter, only shares
        other = importance_weights(same, target, alpha=RAW[:3], min_effective=0)
        np.testing.assert_allclose(other.values, w[order], rtol=1e-3, atol=1e-6)
    most = importance_weights(counts, target, alpha=RAW[:3], nearest="squares", min_effective=0)
    assert (most.values >= 0).all()
    assert most.n_effective >= found.n_effective - 1e-3


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_a_target_is_out_of_reach_where_a_linear_program_says_so(data):
    shape = st.tuples(st.integers(2, 12), st.just(3))
    counts = data.draw(arrays(np.int64, shape, elements=st.integers(0, 4)).filter(lambda a: a.any(0).all()))
    counts = counts[counts.sum(-1) > 0]
    target = data.draw(arrays(float, 3, elements=st.floats(0.05, 1.0)))
    target /= target.sum()
    least = scipy.optimize.linprog(  # the largest that the smallest weight can be
        [*np.zeros(len(counts)), -1.0],
        A_ub=np.column_stack([-np.eye(len(counts)), np.ones(len(counts))]), b_ub=np.zeros(len(counts)),
        A_eq=np.column_stack([normalize(counts).T, np.zeros(3)]), b_eq=target, bounds=(0, None),
    )  # fmt: skip
    if least.status == 2:
        with pytest.raises(DistributionError, match="cannot be reached"):
            importance_weights(counts, target, alpha=RAW[:3], min_effective=0)
    elif -least.fun > 1e-3:
        importance_weights(counts, target, alpha=RAW[:3], min_effective=0)


def test_weights_are_1_where_the_mass_is_the_target_already():
    counts = np.repeat(2 * np.eye(4), 50, axis=0)
    found = importance_weights(counts)
    np.testing.assert_allclose(found.values, 1, atol=1e-5)
    assert found.n_effective == pytest.approx(200, rel=1e-6)


def test_few_votes_are_not_taken_at_their_word():
    """The mass of the truth meets the target on average; balanced by the votes as they are, it falls short."""
    target = np.array([0.4, 0.25, 0.2, 0.15])
    short, met = [], []
    for seed in range(10):
        corpus = simulate(3000, prior=(0.55, 0.25, 0.15, 0.05), annotators=3, seed=seed)
        for found, alpha in ((short, RAW), (met, None)):
            found.append(importance_weights(corpus.counts, target, alpha=alpha).values @ corpus.truth / 3000)
    error = np.std(met, axis=0, ddof=1) / np.sqrt(10)
    assert (np.abs(np.mean(met, axis=0) - target) < 4 * error + 0.003).all()
    assert np.mean(short, axis=0)[3] < 0.15 - 0.03


def test_weighted_scores_are_those_of_the_balanced_population():
    """A corpus is what a lot biased against rare classes left of a balanced one; the votes that weigh are not scored.

    The system knows common classes better, so that its score on the corpus is another one.
    """
    rng = np.random.default_rng(0)
    everyone = rng.dirichlet(np.ones(4), 200_000)
    seen = everyone[rng.random(200_000) < np.exp(everyone @ [0, -1, -2, -3])][:20_000]

    def system(truth):
        knows = np.array([0.95, 0.7, 0.4, 0.1])
        made = knows * truth + (1 - knows) * [0.7, 0.2, 0.07, 0.03]
        return made / made.sum(-1, keepdims=True)

    def expected(truth):
        q = system(truth)
        return float(((q**2).sum(-1) - 2 * (q * truth).sum(-1)).mean())

    kept, scored = (rng.multinomial(size, seen) for size in (30, 3))
    weights = importance_weights(kept)
    groups = [f"s{n % 40}" for n in range(len(seen))]
    squared = row_scores(system(seen), scored)["squared_score"]
    found = interval(squared, groups, weights=weights, level=0.999)
    assert found.low < expected(everyone) < found.high
    assert abs(found.estimate - expected(everyone)) < 0.01
    assert abs(interval(squared, groups).estimate - expected(everyone)) > 0.03
    assert score(system(seen), scored, weights=weights)["squared_score"] == pytest.approx(found.estimate)


def test_weights_of_the_scored_votes_make_a_score_improper():
    """method.md 2.15: the truth tilted by mass^-.3 beats the truth, but not with weights of other votes."""
    corpus = simulate(6000, prior=(0.55, 0.25, 0.15, 0.05), annotators=6, speakers=30, seed=1).held_out(3)
    tilted = corpus.truth * corpus.truth.mean(0) ** -0.3
    tilted /= tilted.sum(-1, keepdims=True)
    by = {}
    for name, counts in (("scored", corpus.reference), ("kept", corpus.counts)):
        weights = importance_weights(counts, alpha=RAW)
        scores = (row_scores(q, corpus.reference)["squared_score"] for q in (tilted, corpus.truth))
        by[name] = paired(*scores, list(corpus.speakers), weights=weights)
    assert by["scored"].difference.estimate < 0
    assert by["scored"].p_value < 0.001
    assert by["kept"].difference.estimate > 0
    assert by["kept"].p_value < 0.001


def iemocap_votes():
    """Votes of the made-up full-size IEMOCAP, over its ten classes."""
    names = ("ang", "hap", "neu", "sad", "exc", "fru", "sur", "fea", "dis", "oth")
    rows = []
    for part in full_iemocap.PATTERNS.split("|"):
        turns, *cast = part.split()
        row = collections.Counter()
        for vote in cast:
            for tick in vote.split("+"):
                row[tick] += 1 / len(vote.split("+"))
        rows += [[row[name] for name in names]] * int(turns)
    return np.array(rows), names


def test_ten_classes_of_iemocap_leave_a_few_hundred_rows():
    counts, names = iemocap_votes()
    assert len(counts) == 10_039
    with pytest.raises(
        DistributionError, match=r"effective sample of \d\d\d\.\d of 10,039 rows, less than 502.0.*0.45%"
    ):
        importance_weights(counts, alpha=np.zeros(10), classes=names)
    found = importance_weights(counts, alpha=np.zeros(10), classes=names, min_effective=100)
    assert 150 < found.n_effective < 500
    assert "effective sample 3" in str(found)
    inverse = normalize(counts) @ (0.1 / normalize(counts).mean(0))  # naive: does not even reach the target
    assert np.abs(inverse @ normalize(counts) / inverse.sum() - 0.1).max() > 0.05
    with pytest.raises(DistributionError, match="`target` cannot be reached"):
        importance_weights(counts, classes=names)  # three votes hardly tell that a turn is disgusted


@pytest.mark.parametrize(
    ("counts", "how", "message"),
    [
        (np.ones((5, 3)), {"target": "even"}, "'uniform' or the mass"),
        (np.ones((5, 3)), {"target": [0.5, 0.5]}, "the mass of the 3 classes"),
        (np.ones((5, 3)), {"target": [0.5, 0.3, 0.1]}, "`target` must sum to 1"),
        (np.ones((5, 3)), {"target": [0.5, 0.5, 0.0], "classes": "abc"}, "'c' has votes"),
        ([[1, 1, 0], [2, 0, 0]], {"classes": "abc"}, "'c' has no vote: give it a `target` of 0"),
        (np.ones((5, 3)), {"target": [0.5, 0.3, 0.2]}, "cannot be reached by weights"),
        ([[2, 0], [0, 2]] * 20, {}, "effective sample of 40.0 of 40 rows, less than 100.0"),
        (np.ones((5, 3)), {"alpha": [1.0, 1.0]}, "`alpha` must have the shape \\(3,\\)"),
        (np.ones((5, 3)), {"nearest": "square"}, "Did you mean 'squares'"),
        (np.ones((5, 3)), {"classes": "ab"}, "`classes` names 2 classes"),
        (np.ones(3), {}, "shape \\(N, C\\)"),
    ],
)
def test_what_weights_cannot_be_made_of(counts, how, message):
    with pytest.raises(DistributionError, match=message):
        importance_weights(counts, **how)


def test_one_vote_a_row_needs_to_be_told_how_ambiguous_rows_are():
    counts = np.repeat(np.eye(3), [200, 100, 50], axis=0)
    with pytest.raises(FitError, match="no utterance with two votes"):
        importance_weights(counts)
    target = [0.45, 0.3, 0.25]
    alpha = np.array([0.4, 0.2, 0.1])
    told = importance_weights(counts, target, alpha=alpha)
    np.testing.assert_allclose(told.values @ ((counts + alpha) / 1.7) / 350, target, atol=1e-5)


def test_a_class_without_votes_may_have_no_mass():
    counts = np.repeat([[3, 0, 0], [0, 3, 0], [2, 1, 0], [1, 2, 0]], [100, 50, 60, 40], axis=0)
    found = importance_weights(counts, [0.5, 0.5, 0.0])
    np.testing.assert_allclose(found.after, [0.5, 0.5, 0.0], atol=1e-5)


def test_weights_of_a_dataset_come_from_the_kept_votes(simulated, test_set):
    target = (0.45, 0.25, 0.18, 0.12)
    found = balanced_weights(test_set, target)
    np.testing.assert_array_equal(found.values, importance_weights(simulated.counts, target).values)
    expected = np.average(normalize(simulated.reference), axis=0, weights=found.values)
    np.testing.assert_allclose(found.held_out, expected)
    assert np.abs(found.held_out - target).max() < 0.02  # fair: these votes had no say
    assert "held out" in str(found)
    assert json.loads(json.dumps(plain(found)))["classes"] == list(simulated.classes)
    with pytest.raises(LeakageError, match="`test` has no 'reference_counts'"):
        balanced_weights(test_set.remove_columns("reference_counts"))
    silent = test_set.select(range(5)).map(lambda _: {"reference_counts": [0.0] * 4}, input_columns=["id"])
    with pytest.raises(DistributionError, match="5 rows without a held-out vote"):
        balanced_weights(silent)


@pytest.mark.skipif(not (DATA / "crema_d").exists(), reason="CREMA-D's votes are not here")
def test_on_real_votes_the_held_out_ones_are_balanced_too():
    """Five kept votes of CREMA-D; balanced by the votes as they are, neutral has 27 % of the others', not 17 %."""
    voice, _ = read_votes(DATA / "crema_d")
    test = hold_out_votes(voice, keep=5)
    found, raw = balanced_weights(test), balanced_weights(test, alpha=np.zeros(6))
    assert found.held_out[2] == pytest.approx(1 / 6, abs=0.01)
    assert raw.held_out[2] > 0.25
    assert np.abs(found.held_out - 1 / 6).max() < 0.035 < np.abs(raw.held_out - 1 / 6).max()
    assert 1000 < found.n_effective < 1300


def test_a_selection_is_the_largest_that_is_balanced(simulated, test_set):
    target, rows = np.array([0.4, 0.27, 0.2, 0.13]), 300
    small = test_set.select(range(rows))
    chosen, report = balanced_selection(small, target, min_rows=50)
    shares = Kinds.read(simulated.counts[:rows], None)
    shares = shares.shares[shares.index]
    slack = 3 / 2  # of the rounding, in rows
    exact = scipy.optimize.milp(
        -np.ones(rows), integrality=np.ones(rows), bounds=scipy.optimize.Bounds(0, 1),
        constraints=scipy.optimize.LinearConstraint((shares - target).T, -slack, slack),
        options={"mip_rel_gap": 0.01, "time_limit": 5},
    )  # fmt: skip
    relaxed = scipy.optimize.linprog(
        -np.ones(rows), A_eq=(shares - target).T, b_eq=np.zeros(4), bounds=(0, 1), method="highs-ipm"
    )
    assert report.most == pytest.approx(-relaxed.fun)
    assert abs(len(chosen) - report.most) <= slack
    assert len(chosen) <= -exact.fun / 0.99
    assert (report.rows, report.of) == (len(chosen), rows)
    place = {id: row for row, id in enumerate(small["id"])}
    mass = shares[[place[id] for id in chosen["id"]]].mean(0)
    np.testing.assert_allclose(report.after, mass)
    assert np.abs(mass - target).max() <= slack / len(chosen)
    assert f"{len(chosen)} of 300 utterances" in str(report)
    assert chosen.features == small.features


def test_a_selection_goes_by_seed_and_id(test_set):
    target = (0.45, 0.25, 0.18, 0.12)
    ids = set(balanced_selection(test_set, target)[0]["id"])
    assert set(balanced_selection(test_set.shuffle(seed=1), target)[0]["id"]) == ids
    other, report = balanced_selection(test_set, target, seed=1)
    assert ids != set(other["id"])
    assert len(ids) == len(other) == report.rows
    assert np.abs(report.held_out - target).max() < 0.03
    with pytest.raises(DistributionError, match="leaves a balanced selection of .* by `min_rows`"):
        balanced_selection(test_set, target, min_rows=3999)


def test_a_weighted_table_is_of_weighted_parts(simulated, test_set):
    weights = balanced_weights(test_set, (0.45, 0.25, 0.18, 0.12))
    smooth = (simulated.counts + 1) / (simulated.counts + 1).sum(-1, keepdims=True)
    labels = {"truth": simulated.truth, "smooth": smooth}
    table = score_labels(labels, test_set, control="smooth", verdict_on="truth", weights=weights)
    groups = columns.groups(test_set[:])
    found = score_intervals(smooth, simulated.reference, groups, metrics=list(table.rows[1].scores), weights=weights)
    assert table.rows[1].scores == found
    squared = [row_scores(q, simulated.reference)["squared_score"] for q in labels.values()]
    assert table.rows[0].against_control == paired(*squared, groups, weights=weights.values)
    told = verdict(simulated.truth, simulated.reference, groups, smooth, weights=weights)
    assert table.verdict == told
    assert told.score == pytest.approx(np.average(squared[0], weights=weights.values))
    assert told.paired.difference.estimate == pytest.approx(told.score - told.control_score)
    assert table.n_effective == pytest.approx(weights.n_effective)
    assert f"WEIGHTED rows: all scores are of the weighted set, effective sample {weights.n_effective:,.1f}" in str(
        table
    )
    assert table.truth["squared_score"] == pytest.approx(told.score, abs=0.015)
    plainly = score_labels(labels, test_set)
    assert plainly.n_effective is None
    assert "WEIGHTED" not in str(plainly)
    assert abs(plainly.truth["squared_score"] - told.score) > 0.03  # which is of another population
    with pytest.raises(DistributionError, match="`weights` must have one number for each of the 4000 rows"):
        score_labels(labels, test_set, weights=np.ones(3))


def test_an_augmented_test_set_must_be_asked_for_by_name(toy_fold):
    test = hold_out_votes(toy_fold["test"], keep=1)
    with pytest.raises(LeakageError, match="or ask for an augmented test set by `augmented_test=True`"):
        augment_test(test, DimeAug(ratio=0.9))
    made = augment_test(test, DimeAug(ratio=0.9), augmented_test=True)
    assert len(made) > len(test)
    assert made.select(range(len(test)))["reference_counts"][:] == test["reference_counts"][:]
    votes_of = dict(zip(test["id"], np.array(test["reference_counts"]), strict=True))
    for row in made.select(range(len(test), len(made))):
        mixed = sum(w * votes_of[id] for w, id in zip(row["parent_weights"], row["parents"], strict=True))
        np.testing.assert_allclose(row["reference_counts"], mixed, atol=1e-5)
        assert row["soft_label_source"] == "dime_aug"
    model = {"model": np.full((len(made), 4), 0.25)}
    with pytest.raises(LeakageError, match="nobody voted on them.*`moving_reference=True`"):
        score_labels(model, made)
    marked = score_labels(model, made, moving_reference=True)
    assert (marked.moving, marked.n, marked.truth) == (True, len(made), {})
    assert "MOVING REFERENCE: rows that DiME-Aug made" in str(marked)
    with pytest.raises(LeakageError, match="balance the real utterances"):
        balanced_weights(made)
    real = made.select(range(len(test)))  # its provenance is empty
    assert not score_labels({"model": model["model"][: len(test)]}, real).moving
    nothing = augment_test(test, DimeAug(ratio=0.01), augmented_test=True)
    assert nothing["reference_counts"][:] == test["reference_counts"][:]
    assert isinstance(made, datasets.Dataset)
