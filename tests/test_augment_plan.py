"""The balanced plan: against independent solvers, its caps, its table on disk, and CREMA-D's real votes."""

import collections
import itertools
import json

import datasets
import numpy as np
import pytest
import scipy.sparse as sparse
from datasets import ClassLabel, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp, minimize
from scipy.stats import entropy

import dime_hf
from dime_hf.augment import DimeAug, Plan, augment, program
from dime_hf.augment.candidates import Groups
from dime_hf.augment.parents import turns
from dime_hf.augment.program import Cap, Program
from dime_hf.augment.rounding import round_copies
from dime_hf.errors import ColumnError, LeakageError, PlanError

NAMES = ["angry", "happy", "neutral"]


def corpus(labels, speakers=None, sessions=None, durations=None, **more):
    """A training set of soft labels (N, C) without sound."""
    labels = np.asarray(labels, dtype=np.float32)
    count, size = labels.shape
    rows = {
        "id": [f"u{row:03d}" for row in range(count)],
        "speaker": speakers or [f"s{row % 4}" for row in range(count)],
        "session": sessions or [f"x{row % 2}" for row in range(count)],
        "duration": np.asarray(durations if durations is not None else np.full(count, 2.0), np.float32),
        "hard_label": [None] * count,
        "soft_label": labels.tolist(),
        **more,
    }
    features = {name: Value("string") for name in ("id", "speaker", "session")} | {
        "duration": Value("float32"),
        "hard_label": ClassLabel(names=[f"c{place}" for place in range(size)]),
        "soft_label": List(Value("float32"), length=size),
        **{name: List(Value("float32")) for name in more},
    }
    return datasets.Dataset.from_dict(rows, features=Features(features))


def random_labels(rng, count, size=4, votes=5):
    counts = rng.multinomial(votes, rng.dirichlet(np.arange(size, 0, -1.0) / 2, count))
    return counts / counts.sum(1, keepdims=True)


def imbalance(labels):
    masses = np.asarray(labels, dtype=float).sum(0)
    return masses.max() / masses.min()


def least_of_whole_copies(labels, copies):
    """The least imbalance by trying every combination of whole copies."""
    labels = np.asarray(labels)
    return min(
        imbalance(labels * (1 + np.array(chosen))[:, None])
        for chosen in itertools.product(range(copies + 1), repeat=len(labels))
    )


def least_by_slsqp(labels, copies, shift, draws=8):
    """The least imbalance of fractions of copies by sequential quadratic programming, from several starts."""
    bits = entropy(labels, axis=1, base=2)
    size = labels.shape[1]

    def masses(x):
        return labels.T @ (1 + x[:-2])

    constraints = [
        {"type": "ineq", "fun": lambda x: x[-2] - masses(x)},
        {"type": "ineq", "fun": lambda x: masses(x) - x[-1]},
        {"type": "ineq", "fun": lambda x: shift * (len(bits) + x[:-2].sum()) - x[:-2] @ (bits - bits.mean())},
        {"type": "ineq", "fun": lambda x: shift * (len(bits) + x[:-2].sum()) + x[:-2] @ (bits - bits.mean())},
    ]
    bounds = [(0, copies)] * len(labels) + [(1e-3, None)] * 2
    best = np.inf
    for seed in range(draws):
        start = np.random.default_rng(seed).uniform(0, copies, len(labels)) * (seed > 0)
        totals = labels.T @ (1 + start)
        found = minimize(
            lambda x: x[-2] / x[-1], np.append(start, [totals.max(), totals.min()]), method="SLSQP", bounds=bounds,
            constraints=constraints, options={"maxiter": 500, "ftol": 1e-12},
        )  # fmt: skip
        if found.success and min(constraint["fun"](found.x).min() for constraint in constraints) > -1e-6:
            best = min(best, imbalance(labels * (1 + found.x[:-2])[:, None]))
    assert size == 3
    return best


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shift", [10, 0.05])
def test_the_relaxed_plan_is_what_another_solver_finds(seed, shift):
    labels = np.random.default_rng(seed).dirichlet([2, 1, 0.4], 9).astype(np.float32)
    plan = DimeAug(target="uniform", copies=2, entropy_shift=shift).plan(corpus(labels))
    exact = labels.astype(float) / labels.sum(1, keepdims=True, dtype=float)
    assert plan.summary.relaxed == pytest.approx(least_by_slsqp(exact, 2, shift), rel=2e-4)


@pytest.mark.parametrize("seed", range(6))
def test_whole_copies_lie_between_the_best_and_the_bound(seed):
    labels = random_labels(np.random.default_rng(seed), 7, size=3)
    if (labels.sum(0) == 0).any():
        labels[0] = 1 / 3
    plan = DimeAug(target="uniform", copies=2, entropy_shift=None).plan(corpus(labels))
    best = least_of_whole_copies(labels, 2)
    summary = plan.summary
    assert summary.relaxed <= best + 1e-6 <= summary.imbalance + 2e-6
    assert summary.imbalance <= summary.bound + 1e-9
    assert summary.imbalance == pytest.approx(imbalance([*labels, *plan.rows["soft_label"]]), rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_no_plan_reaches_the_ratio_in_fewer_rows(seed):
    labels = random_labels(np.random.default_rng(seed), 60)
    masses = labels.sum(0)
    wanted = 0.2 + 0.8 * masses.min() / masses.max()
    plan = DimeAug(ratio=wanted, copies=5, entropy_shift=None).plan(corpus(labels))
    rows = np.concatenate([np.eye(4)[:, None] - wanted * np.eye(4)[None]]).reshape(-1, 4)  # m_c >= wanted * m_d
    found = milp(
        np.ones(60),
        constraints=LinearConstraint(rows @ labels.T, lb=-(rows @ masses)),
        integrality=np.ones(60),
        bounds=Bounds(0, 5),
    )
    assert found.success
    assert plan.summary.relaxed == pytest.approx(1 / wanted, rel=1e-5)
    assert abs(len(plan.rows) - found.fun) <= 4  # whole copies of ours may miss the ratio by a hair
    assert "target reached" in str(plan)


def test_holding_candidates_finds_the_same_optimum(monkeypatch):
    """With many candidates most are held at their limits, and let go where prices contradict."""
    labels = np.random.default_rng(0).dirichlet([3, 1, 0.5, 0.3], 600)
    train = corpus(labels, speakers=[f"s{row % 30}" for row in range(600)])
    for how in ({}, {"ratio": 0.5}, {"speaker_share": 0.04}, {"operations": ("perturb", "interpolate")}):
        planner = DimeAug(**{"ratio": 0.95, "copies": 3, "entropy_shift": 0.03, **how})
        monkeypatch.setattr(program, "COLUMNS", 10**6)
        whole = planner.plan(train).summary
        monkeypatch.setattr(program, "COLUMNS", 40)
        parts = planner.plan(train).summary
        assert parts.relaxed == pytest.approx(whole.relaxed, rel=1e-6)
        assert abs(parts.new.rows - whole.new.rows) <= 0.01 * whole.new.rows + 3


def check_caps(train, plan, planner):
    """No cap is broken, and masses are those of the rows."""
    table, rows = train[:], plan.rows[:]
    place = {id: row for row, id in enumerate(table["id"])}
    labels = np.array(table["soft_label"], dtype=float)
    uses = collections.Counter(parent for parents in rows["parents"] for parent in parents)
    assert max(uses.values(), default=0) <= planner.copies
    assert len(set(rows["id"]) | set(table["id"])) == len(rows["id"]) + len(table["id"])
    for name, share in (("speaker", planner.speaker_share), (planner.fold, planner.fold_share)):
        if share is not None:
            voices = collections.Counter(
                value for parents in rows["parents"] for value in {table[name][place[parent]] for parent in parents}
            )
            assert max(voices.values(), default=0) <= share * len(rows["id"]) + 1e-6
    made = np.array(rows["soft_label"], dtype=float).reshape(-1, labels.shape[1])
    for parents, weights, label in zip(rows["parents"], rows["parent_weights"], made, strict=True):
        np.testing.assert_allclose(weights @ labels[[place[parent] for parent in parents]], label, atol=1e-6)
    everything = np.concatenate([labels, made])
    np.testing.assert_allclose(plan.summary.after.mass, everything.sum(0), rtol=1e-5)
    bits = entropy(everything, axis=1, base=2).mean()
    assert plan.summary.after.entropy == pytest.approx(bits, abs=1e-5)
    if planner.entropy_shift is not None:
        assert abs(bits - entropy(labels, axis=1, base=2).mean()) <= planner.entropy_shift + 1e-5
    if planner.fold is not None:
        assert all(len({table[planner.fold][place[id]] for id in parents}) == 1 for parents in rows["parents"])
    assert plan.summary.imbalance <= plan.summary.bound + 1e-9


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 40),
    ratio=st.sampled_from([0.2, 0.6, 1.0]),
    copies=st.integers(1, 6),
    shift=st.sampled_from([None, 0.0, 0.02, 0.2]),
    share=st.sampled_from([None, 0.05, 0.25, 0.4]),
    fold_share=st.sampled_from([None, 0.5, 0.6]),
    operations=st.sampled_from(
        [("perturb",), ("perturb", "concatenate"), ("interpolate",), ("concatenate", "perturb", "interpolate")]
    ),
    per_level=st.booleans(),
)
def test_no_cap_is_ever_broken(seed, count, ratio, copies, shift, share, fold_share, operations, per_level):
    rng = np.random.default_rng(seed)
    train = corpus(random_labels(rng, count), durations=rng.uniform(1, 6, count))
    planner = DimeAug(
        ratio=ratio, copies=copies, entropy_shift=shift, speaker_share=share, fold="session", fold_share=fold_share,
        operations=operations, per_level=per_level, seed=seed,
    )  # fmt: skip
    plan = planner.plan(train)
    check_caps(train, plan, planner)
    assert planner.plan(train.select(rng.permutation(count))).rows[:] == plan.rows[:]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_rounding_keeps_every_limit_and_its_bound(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 30))
    gains = sparse.csr_array(rng.dirichlet(np.ones(3), size))
    caps = [
        Cap("any", tuple("abcd"), sparse.csr_array(rng.normal(size=(4, size)) * (rng.random((4, size)) < 0.5)),
            rng.uniform(0, 3, 4), rng.uniform(0, 0.2, 4), np.ones(4), np.zeros(4), "one more")
    ]  # fmt: skip
    made = Program(rng.uniform(1, 9, 3), gains, rng.integers(1, 4, size).astype(float), caps, size)
    relaxed = made.relax(1.0)
    whole = round_copies(made, relaxed)
    assert (whole.copies >= 0).all()
    assert (whole.copies <= made.capacity).all()
    used = caps[0].matrix @ whole.copies
    assert (used <= caps[0].limit + caps[0].per_row * whole.copies.sum() + 1e-5).all()
    assert relaxed.imbalance <= whole.imbalance + 1e-6
    assert whole.imbalance <= whole.bound + 1e-9
    assert whole.fractions <= 3 + 4  # the masses and the caps: all that can bind


def test_prices_foretell_what_a_little_more_of_a_cap_brings():
    labels = np.random.default_rng(1).dirichlet([3, 1, 0.5], 200)
    train = corpus(labels)
    plan, more = (DimeAug(target="uniform", copies=3, entropy_shift=shift).plan(train) for shift in (0.01, 0.0101))
    line = next(note for note in plan.summary.notes if "entropy_shift" in note)
    told = float(line.split("about ")[1].split()[0])
    assert (plan.summary.relaxed - more.summary.relaxed) * 100 == pytest.approx(told, rel=0.1)
    assert "copies=3" in str(plan)
    assert "binding" not in str(DimeAug(ratio=0.1).plan(train))


def test_a_mix_enters_with_its_own_entropy():
    """Of certain parents alone only a mix is ambiguous: a bound of zero forbids it, though no parent is."""
    labels = np.repeat(np.eye(3), [6, 3, 3], axis=0)
    mixes = {"target": "uniform", "operations": ("interpolate",), "match": (), "neighbours": 11}
    assert len(DimeAug(entropy_shift=0.3, **mixes).plan(corpus(labels)).rows) > 0
    still = DimeAug(entropy_shift=0.0, **mixes).plan(corpus(labels))
    assert all(entropy(label) < 1e-6 for label in still.rows["soft_label"])


def test_targets():
    labels = random_labels(np.random.default_rng(5), 200)
    train = corpus(labels)
    wanted = np.array([0.4, 0.3, 0.2, 0.1])
    after = np.array(DimeAug(target=wanted.tolist(), copies=9, entropy_shift=None).plan(train).summary.after.mass)
    np.testing.assert_allclose(after / after.sum(), wanted, atol=5e-3)
    assert DimeAug(target=0.6).plan(train).rows[:] == DimeAug(ratio=0.6).plan(train).rows[:]
    absent = np.column_stack([labels, np.zeros(200)])
    plan = DimeAug(ratio=0.6).plan(corpus(absent))
    assert "absent: no utterance has any c4" in str(plan)
    assert plan.summary.after.ratio == pytest.approx(1 / 0.6, rel=0.02)
    only = DimeAug(target=[0.5, 0.0, 0.5, 0.0], copies=9).plan(train).summary.after.mass
    assert only[0] == pytest.approx(only[2], rel=0.03)
    with pytest.raises(PlanError, match="classes of which no utterance has any"):
        DimeAug(target=[0, 0, 0, 0, 1]).plan(corpus(absent))


def test_levels_are_balanced_one_by_one():
    labels = np.random.default_rng(2).dirichlet([1.2, 0.7, 0.5], 400)
    train = corpus(labels)
    plan = DimeAug(target="uniform", copies=9, per_level=True, entropy_shift=None).plan(train)
    bits = entropy(labels, axis=1, base=2)
    cuts = np.quantile(bits, [1 / 3, 2 / 3])
    assert plan.rows["level"] == [
        ["low", "medium", "high"][place]
        for place in np.searchsorted(cuts, entropy(plan.rows["soft_label"], axis=1, base=2) - 1e-6)
    ]
    both = np.concatenate([labels, plan.rows["soft_label"]])
    level = np.searchsorted(cuts, entropy(both, axis=1, base=2) - 1e-6)
    cells = np.stack([both[level == place].sum(0) for place in range(3)])
    before = np.stack([labels[np.searchsorted(cuts, bits - 1e-6) == place].sum(0) for place in range(3)])
    targets = before.sum(1, keepdims=True) / before.sum()
    reached = cells / targets
    assert reached.max() / reached.min() == pytest.approx(plan.summary.imbalance, rel=1e-3)
    assert reached.max() / reached.min() < (before / targets).max() / (before / targets).min()
    by_level = DimeAug(target=[[0.5, 0.3, 0.2]] * 2 + [[0.34, 0.33, 0.33]], per_level=True, copies=9)
    shares = np.array(by_level.plan(train).summary.after.mass)
    assert shares[0] > shares[2]


def test_copies_are_dealt_round_robin():
    groups = Groups(np.array([0, 0, 1, 0, 1]), np.array([0, 2]), np.array([3, 2]))
    turn = turns([f"u{row}" for row in range(5)], 3)
    for copies in itertools.product(range(16), range(11)):
        dealt = groups.deal(np.array(copies), np.full(5, 5), turn)
        for group, total in enumerate(copies):
            own = dealt[groups.of == group]
            assert own.sum() == total
            assert own.max() - own.min() <= 1
    room = np.array([5, 0, 5, 2, 5])  # the rest went into pairs
    dealt = groups.deal(np.array([7, 10]), room, turn)
    assert (dealt <= room).all()
    assert (dealt[[0, 1, 3]].sum(), dealt[[2, 4]].sum()) == (7, 10)


def test_partners():
    rng = np.random.default_rng(3)
    labels = random_labels(rng, 60)
    vectors = rng.normal(size=(60, 2))
    train = corpus(labels, durations=rng.uniform(1, 5, 60), vector=vectors.tolist())
    row = {id: place for place, id in enumerate(train["id"])}
    mixes = {"target": "uniform", "operations": ("concatenate",), "copies": 4, "entropy_shift": None}
    plan = DimeAug(**mixes).plan(train)
    assert len(plan.rows) > 0
    for line in plan.rows:
        first, second = (row[parent] for parent in line["parents"])
        lasting = np.array(train["duration"])[[first, second]]
        np.testing.assert_allclose(line["parent_weights"], lasting / lasting.sum(), atol=1e-6)
        assert train["speaker"][first] == train["speaker"][second] == line["speaker"]
    near = DimeAug(near="vector", neighbours=2, match=(), **mixes).plan(train)
    distance = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    for parents in near.rows["parents"]:
        first, second = (row[parent] for parent in parents)
        assert second in np.argsort(distance[first])[1:3]
    assert None in near.rows["speaker"]
    apart = DimeAug(match=(), fold="session", **mixes).plan(train)
    assert all(len({train["session"][row[parent]] for parent in parents}) == 1 for parents in apart.rows["parents"])
    assert None in apart.rows["speaker"]
    unknown = corpus(labels, speakers=[None] * 60)
    assert len(DimeAug(**mixes).plan(unknown).rows) == 0  # nobody is known to be the same speaker


def test_the_plan_depends_on_seed_and_ids_alone():
    train = corpus(random_labels(np.random.default_rng(4), 80))
    planner = DimeAug(ratio=0.9)
    assert planner.plan(train.shuffle(seed=1)).rows[:] == planner.plan(train).rows[:]
    other = DimeAug(ratio=0.9, seed=1).plan(train)
    assert len(other.rows) == len(planner.plan(train).rows)
    assert other.rows["parameters"] != planner.plan(train).rows["parameters"]


@pytest.fixture
def saved(tmp_path):
    train = corpus(random_labels(np.random.default_rng(6), 40))
    plan = DimeAug(ratio=0.9, operations=("perturb", "interpolate")).plan(train)
    plan.save(tmp_path)
    return plan, tmp_path


def test_a_saved_plan_is_the_same(saved):
    plan, folder = saved
    loaded = Plan.load(folder)
    assert loaded.rows[:] == plan.rows[:]
    assert loaded.rows.features == plan.rows.features
    assert loaded.summary == plan.summary
    assert str(loaded) == str(plan)


def test_an_edited_plan_is_summed_up_anew(saved):
    plan, folder = saved
    lines = (folder / "rows.jsonl").read_text().splitlines()
    (folder / "rows.jsonl").write_text("\n".join(lines[1:]) + "\n\n")
    edited = Plan.load(folder)
    assert edited.rows[:] == plan.rows.select(range(1, len(plan.rows)))[:]
    assert edited.summary.notes == ("edited after it was planned",)
    removed = np.array(plan.rows[0]["soft_label"])
    np.testing.assert_allclose(edited.summary.after.mass, np.array(plan.summary.after.mass) - removed, rtol=1e-6)
    assert edited.summary.rounding_cost is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"operation": "interpolat"}, "Did you mean 'interpolate'"),
        ({"parent_weights": [0.5]}, "`parent_weights` must be"),
        ({"parent_weights": [0.5, 0.4]}, "sum to 1, found [0.5, 0.4]"),
        ({"parent_weights": [1.5, -0.5]}, "`parent_weights` must be"),
        ({"parents": ["u001", "u002", "u003"]}, "`parents` must be"),
        ({"soft_label": [0.5, 0.5]}, "`soft_label` must be 4 numbers"),
        ({"parameters": "fast"}, "`parameters` must be a JSON object"),
        ({"level": "deep"}, "`level` must be one of low, medium, high"),
        ({"speaker": 7}, "`speaker` must be"),
        ({"id": ""}, "`id` must be"),
        ({"colour": "red"}, "unknown to a plan, 'colour'"),
        ({"level": ...}, "lacks 'level'"),
    ],
)
def test_a_line_that_is_no_row_of_a_plan(saved, change, told):
    _, folder = saved
    path = folder / "rows.jsonl"
    lines = path.read_text().splitlines()
    row = {**json.loads(lines[1]), **change}
    path.write_text("\n".join([lines[0], json.dumps({k: v for k, v in row.items() if v is not ...}), *lines[2:]]))
    with pytest.raises(PlanError) as caught:
        Plan.load(folder)
    assert str(caught.value).startswith(f"{path}, line 2: ")
    assert told in str(caught.value)


def test_files_that_are_no_plan(saved):
    _, folder = saved
    path = folder / "rows.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[0]]))
    with pytest.raises(PlanError, match=rf"line {len(lines) + 1}: the id .* is that of line 1"):
        Plan.load(folder)
    path.write_text("\n".join(["{", *lines]))
    with pytest.raises(PlanError, match="line 1: expected a JSON object"):
        Plan.load(folder)
    path.unlink()
    with pytest.raises(PlanError, match="rows.jsonl: cannot be read"):
        Plan.load(folder)
    (folder / "summary.json").write_text("[]")
    with pytest.raises(PlanError, match="summary.json: expected the summary"):
        Plan.load(folder)


def test_a_saved_plan_is_replayed(toy_fold, tmp_path):
    train = toy_fold["train"]
    plan = DimeAug(ratio=0.7, operations=("perturb", "concatenate")).plan(train)
    assert len(plan.rows) > 0
    plan.save(tmp_path)
    made = augment(train, plan)
    assert augment(train, Plan.load(tmp_path))[:] == made[:]
    masses = np.array(made["soft_label"]).sum(0)
    np.testing.assert_allclose(masses, plan.summary.after.mass, rtol=1e-5)
    assert masses.max() / masses.min() == pytest.approx(plan.summary.imbalance, rel=1e-5)
    assert plan.summary.imbalance <= plan.summary.bound
    assert json.loads(made[-1]["augmentation"])["recipe"] == "balance"


def test_what_is_refused(toy_fold):
    train = corpus(random_labels(np.random.default_rng(7), 20))
    for how, told in (
        ({"target": "unifrom"}, "Did you mean 'uniform'"),
        ({"target": 2.0}, "`target` must lie in"),
        ({"copies": 0}, "`copies`"),
        ({"speaker_share": 1.5}, "`speaker_share`"),
        ({"fold_share": 0.5}, "`fold_share` needs `fold`"),
        ({"entropy_shift": -1}, "`entropy_shift`"),
        ({"operations": ()}, "`operations` must name"),
        ({"operations": "perturb"}, "tuples of names"),
        ({"recipe": "paper", "copies": 9}, "`copies` is a setting of the recipe 'balance'"),
    ):
        with pytest.raises(PlanError, match=told):
            DimeAug(**how)
    with pytest.raises(PlanError, match="`target` must have the shape"):
        DimeAug(target=[0.5, 0.5]).plan(train)
    with pytest.raises(ColumnError, match="fold_id"):
        DimeAug(fold="fold_id", operations=("interpolate",)).plan(train)
    with pytest.raises(ColumnError, match="same id twice"):
        DimeAug().plan(datasets.concatenate_datasets([train, train]))
    toy = toy_fold["train"]
    again = augment(toy, DimeAug(ratio=0.7).plan(toy))
    with pytest.raises(ColumnError, match="not augmented yet"):
        DimeAug(ratio=0.9).plan(again)
    with pytest.raises(LeakageError, match="the split 'test'"):
        DimeAug().plan(toy_fold["test"])
    with pytest.raises(LeakageError, match="reference_counts"):
        DimeAug().plan(dime_hf.hold_out_votes(toy_fold["train"], keep=2))


def test_crema_d_beats_copying_by_inverse_mass(crema_d):
    """Naive copies stall; a clip that is there at most 5, 10 or 20 times reaches about 2.3, 1.6 or 1.1."""
    clips = dime_hf.load_dataset("crema_d", "voice", crema_d, "train", labels_only=True).remove_columns("audio")
    votes, labels = np.array(clips["vote_counts"]), np.array(clips["soft_label"])
    assert imbalance(votes) == pytest.approx(6.6, abs=0.05)
    wanted = labels @ (1 / votes.sum(0))
    for times, reached in ((5, 2.235), (10, 1.519), (20, 1.029)):
        naive = np.clip(np.round(wanted / wanted.mean()), 1, times)
        assert imbalance(votes * naive[:, None]) == pytest.approx(4.47, abs=0.01)
        assert imbalance(labels * naive[:, None]) == pytest.approx(4.39, abs=0.01)
        summary = DimeAug(target="uniform", copies=times - 1).plan(clips).summary
        assert summary.relaxed == pytest.approx(reached, abs=1e-3)
        assert summary.after.ratio == pytest.approx(reached, abs=2e-3)
        assert abs(summary.after.entropy - summary.before.entropy) < 0.09  # far from the bound of 0.1
