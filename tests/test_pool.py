"""Pooling: known posteriors, recovery of known strengths, leaks, and the order of methods on CREMA-D's real votes."""

import datasets
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

import dime_hf
from dime_hf import columns, cross_pool, get_pooler
from dime_hf.distribution import dirichlet_entropy, normalize
from dime_hf.errors import ColumnError, DistributionError, FitError, LeakageError
from dime_hf.pool import FittedPooler, PriorPooler, pool
from dime_hf.pool.strengths import dirichlet_multinomial
from dime_hf.score import score

CLASSES = ["angry", "happy", "sad"]


def answer(distribution, votes=1.0, status="ok"):
    return {
        "proxy": "p",
        "order": [],
        "distribution": distribution,
        "draws": [],
        "votes": votes if status == "ok" else 0.0,
        "off_option": 0.0,
        "status": status,
        "error": None if status == "ok" else "unreadable",
    }


def dataset_of(counts, answers=None, speakers=None):
    """A dataset with just the columns that pooling needs."""
    counts = np.asarray(counts, dtype=float)
    rows = {
        "id": [f"u{i}" for i in range(len(counts))],
        "speaker": speakers or [f"s{i % 10}" for i in range(len(counts))],
        "vote_counts": counts.tolist(),
        "hard_label": [None] * len(counts),
    }
    features = {
        "id": datasets.Value("string"),
        "speaker": datasets.Value("string"),
        "vote_counts": columns.distribution_feature(counts.shape[1]),
        "hard_label": datasets.ClassLabel(names=CLASSES[: counts.shape[1]]),
    }
    if answers is not None:
        rows["answers"], features["answers"] = answers, columns.answers_feature(CLASSES)
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


def simulate(size, strength, effective, votes=4, seed=0):
    """Utterances whose truth is Dir(strength prior + effective proxy), each with a proxy's answer and human votes."""
    rng = np.random.default_rng(seed)
    prior = np.array([0.5, 0.3, 0.2])
    proxies = rng.dirichlet(np.ones(3), size)
    truth = np.array([rng.dirichlet(strength * prior + effective * proxy) for proxy in proxies])
    counts = np.array([rng.multinomial(votes, p) for p in truth])
    return dataset_of(counts, [[answer(proxy.tolist())] for proxy in proxies]), truth


def test_the_five_methods_by_hand():
    dataset = dataset_of(
        [[2, 0, 0], [1, 1, 0]], [[answer([0, 1, 0]), answer([0, 0, 1])], [answer(None, status="failed")]]
    )
    label = lambda pooler: pool(dataset, pooler)["soft_label"][:]  # noqa: E731
    assert label(get_pooler("human")) == [[1, 0, 0], [0.5, 0.5, 0]]
    assert label(get_pooler("synthetic")) == [[0, 0.5, 0.5], None]
    assert label(get_pooler("equal")) == [[0.5, 0.25, 0.25], [0.5, 0.5, 0]]
    prior = (0.25, 0.25, 0.5)
    np.testing.assert_allclose(label(PriorPooler(prior, strength=2.0)), [[0.625, 0.125, 0.25], [0.375, 0.375, 0.25]])
    fitted = FittedPooler(prior, strength=2.0, effective_votes=4.0, prior_strength=2.0)
    np.testing.assert_allclose(
        label(fitted), [[2.5 / 8, 2.5 / 8, 3 / 8], [0.375, 0.375, 0.25]]
    )  # no answer: the prior alone
    pooled = pool(dataset, fitted)
    assert pooled["soft_label_votes"][:] == [8, 4]
    assert set(pooled["soft_label_source"]) == {"fitted(s0=2, kappa=4)"}


def test_map_is_the_same_as_pool():
    dataset, _ = simulate(50, 2, 3)
    pooler = get_pooler("fitted").fit(dataset)
    mapped, pooled = dataset.map(pooler, batched=True), pool(dataset, pooler)
    for name in ("soft_label", "soft_label_entropy", "soft_label_entropy_low"):
        np.testing.assert_allclose(mapped[name], pooled[name], atol=1e-6)
    one_by_one = dataset.map(pooler)
    np.testing.assert_allclose(one_by_one["soft_label"], pooled["soft_label"], atol=1e-6)


def test_mixes_are_not_pooled_again_and_nothing_is_pooled_to_nothing():
    dataset = dataset_of([[1, 1, 0], [0, 0, 0]])
    mixed = dataset.add_column("parents", [[], ["u0", "u0"]])
    for function in (pool, cross_pool):
        with pytest.raises(ColumnError, match="pool first, then augment"):
            function(mixed, get_pooler("human"))
    empty = pool(dataset.select([]), get_pooler("human"))
    assert len(empty) == 0
    assert {"soft_label", "soft_label_entropy"} <= set(empty.column_names)
    with pytest.raises(FitError, match="no two groups"):
        cross_pool(dataset.select([]), get_pooler("human"))
    with pytest.raises(ColumnError, match="streaming"):
        pool(dataset.to_iterable_dataset(), get_pooler("human"))


def test_fit_recovers_known_strengths():
    dataset, _ = simulate(20_000, strength=2.0, effective=3.0)
    fitted = get_pooler("fitted").fit(dataset)
    assert fitted.prior_strength == pytest.approx(2.0, rel=0.1)
    assert fitted.effective_votes == pytest.approx(3.0, rel=0.1)


def test_a_useless_proxy_weighs_next_to_nothing():
    dataset, _ = simulate(5000, strength=2.0, effective=0.0)
    assert get_pooler("fitted").fit(dataset).effective_votes < 0.2


def test_fitted_labels_are_nearest_to_the_truth():
    dataset, truth = simulate(3000, strength=1.0, effective=4.0, seed=1)
    errors = {}
    for name in ("human", "synthetic", "equal", "prior", "fitted"):
        labels = np.asarray(cross_pool(dataset, get_pooler(name))["soft_label"])
        errors[name] = score(labels, truth)["squared_score"]
    assert min(errors, key=errors.get) == "fitted"
    assert errors["prior"] < errors["human"]


@given(st.integers(0, 10_000))
def test_likelihood_and_its_slope_against_scipy(seed):
    rng = np.random.default_rng(seed)
    counts, alpha = rng.multinomial(5, np.ones(3) / 3, size=4), rng.uniform(0.1, 5, (4, 3))
    value, slope = dirichlet_multinomial(counts.astype(float), alpha)
    coefficients = sum(scipy.special.gammaln(6) - scipy.special.gammaln(row + 1).sum() for row in counts)
    expected = sum(scipy.stats.dirichlet_multinomial(a, 5).logpmf(row) for a, row in zip(alpha, counts, strict=True))
    assert value + coefficients == pytest.approx(expected)
    numeric = scipy.optimize.approx_fprime(
        alpha.ravel(), lambda a: dirichlet_multinomial(counts.astype(float), a.reshape(4, 3))[0]
    )
    np.testing.assert_allclose(slope.ravel(), numeric, rtol=1e-3, atol=1e-4)


def test_entropy_and_its_interval_are_those_of_the_posterior():
    pooled = pool(dataset_of([[3, 1, 0]]), PriorPooler((0.2, 0.3, 0.5), strength=2.0))
    alpha = np.array([3.4, 1.6, 1.0])
    draws = np.random.default_rng(1).dirichlet(alpha, 100_000)
    bits = scipy.stats.entropy(draws, base=2, axis=-1)
    assert pooled["soft_label_entropy"][0] == pytest.approx(dirichlet_entropy(alpha), abs=1e-5)
    assert pooled["soft_label_entropy_low"][0] == pytest.approx(np.quantile(bits, 0.05), abs=0.15)
    assert pooled["soft_label_entropy_high"][0] == pytest.approx(np.quantile(bits, 0.95), abs=0.05)
    assert pool(dataset_of([[3, 1, 0]]), get_pooler("human"))["soft_label_entropy"][:] == [None]


def test_one_vote_an_utterance_identifies_nothing():
    with pytest.raises(FitError, match="one vote an utterance"):
        get_pooler("prior").fit(dataset_of([[1, 0, 0], [0, 1, 0]]))


def test_a_pooler_that_saw_a_speaker_may_not_label_it_for_scoring():
    dataset, _ = simulate(40, 1, 1)
    pooler = get_pooler("fitted").fit(dataset)
    assert pool(dataset, pooler)  # training labels
    scored = dataset.add_column("reference_counts", dataset["vote_counts"][:])
    with pytest.raises(LeakageError, match="was fitted on 'speaker:s0' and 9 other groups"):
        pool(scored, pooler)
    pooled = cross_pool(scored, get_pooler("fitted"))
    assert pooled["id"][:] == dataset["id"][:]
    assert len(set(pooled["soft_label_source"])) == 5
    with pytest.raises(FitError, match="no two groups"):
        cross_pool(dataset_of([[1, 1, 0]] * 3, speakers=["a"] * 3), get_pooler("prior"))


def test_what_is_missing_is_named():
    with pytest.raises(FitError, match="Did you mean 'fitted'"):
        get_pooler("fited")
    with pytest.raises(ColumnError, match="no column 'answers'"):
        pool(dataset_of([[1, 1, 0]]), get_pooler("equal"))
    with pytest.raises(FitError, match=r"pooler.fit\(train\)"):
        pool(dataset_of([[1, 1, 0]]), get_pooler("prior"))
    with pytest.raises(FitError, match="both two human votes and a valid answer"):
        get_pooler("fitted").fit(dataset_of([[2, 0, 0]], [[answer(None, status="failed")]]))
    with pytest.raises(DistributionError, match="fitted on 2 classes"):
        pool(dataset_of([[1, 1, 0]]), PriorPooler((0.5, 0.5), strength=1.0))
    with pytest.raises(DistributionError, match=r"answer of 'p'.*sum to 1"):
        pool(dataset_of([[1, 1, 0]], [[answer([0.5, 0.2, 0.2])]]), get_pooler("equal"))
    with pytest.raises(ColumnError, match="over 2 classes"):
        pool(dataset_of([[1, 1, 0]], [[answer([0.5, 0.5])]]), get_pooler("equal"))
    with pytest.raises(ColumnError, match="did you mean `dataset"):
        pool(datasets.DatasetDict(train=dataset_of([[1, 1, 0]])), get_pooler("human"))


@pytest.mark.parametrize("panel", ["face", "audiovisual"])
def test_the_order_of_methods_on_real_votes(crema_d, panel):
    """Three votes on the voice are kept, the rest judge; another modality's voters stand in for a panel of proxies."""
    voice = dime_hf.load_dataset("crema_d", "voice", crema_d, "train")
    other = dime_hf.load_dataset("crema_d", panel, crema_d, "train", rows="all").select_columns(["id", "vote_counts"])
    counts = dict(zip(other["id"], other["vote_counts"], strict=True))
    held = dime_hf.hold_out_votes(voice.remove_columns("audio"), keep=3)
    answers = [[answer(normalize(counts[id]).tolist(), votes=sum(counts[id]))] for id in held["id"]]
    held = held.add_column("answers", answers, feature=columns.answers_feature(columns.classes(held)))
    speakers = sorted(set(held["speaker"]))
    is_train = np.isin(held["speaker"], speakers[::2])
    train, test = held.select(np.flatnonzero(is_train)), held.select(np.flatnonzero(~is_train))
    scores = {}
    for name in ("human", "equal", "prior", "fitted"):
        pooled = pool(test, get_pooler(name).fit(train))
        scores[name] = score(pooled["soft_label"], pooled["reference_counts"])
    js = {name: values["js_divergence"] for name, values in scores.items()}
    squared = {name: values["squared_score"] for name, values in scores.items()}
    assert js["fitted"] < js["prior"] < js["human"]
    assert squared["fitted"] < squared["prior"] < squared["human"]
    assert (js["equal"] > js["human"]) == (panel == "face")
    assert js["fitted"] < js["equal"]
    published = {"face": (0.249, 0.225, 0.207), "audiovisual": (0.251, 0.226, 0.196)}[panel]
    np.testing.assert_allclose([js["human"], js["prior"], js["fitted"]], published, atol=0.006)
