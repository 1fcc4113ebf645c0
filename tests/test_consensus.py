"""Consensus: what crowd-kit says of the same votes, the truth found again, and votes that no model can take."""

import subprocess
import sys

import datasets
import numpy as np
import pandas as pd
import pytest

from dime_hf import VotePolicy, columns, derive, get_pooler, hold_out_votes
from dime_hf.distribution import plurality
from dime_hf.errors import ColumnError, FitError, PackageError
from dime_hf.pool import consensus, find_consensus
from dime_hf.simulation import Annotator, Proxy, simulate

CLASSES = ["angry", "happy", "neutral", "sad"]
METHODS = ("dawid_skene", "glad", "mace")
CROWD_KIT = pytest.mark.filterwarnings("ignore:The (copy|inplace) keyword:DeprecationWarning")


def cast(*votes):
    """The `human_votes` of an utterance, from pairs of annotator and choices."""
    vote = {"kind": "external", "secondary": [], "note": ""}
    return [{"annotator": name, "choices": list(choices), **vote} for name, choices in votes]


def dataset_of(votes, ids=None):
    """Utterances with `human_votes`, counted by the official policy."""
    made = simulate(1).dataset()
    rows = {"id": ids or [f"u{row}" for row in range(len(votes))], "human_votes": votes}
    rows |= {name: [None] * len(votes) for name in ("speaker", *columns.label_features(CLASSES))}
    bare = datasets.Dataset.from_dict(rows, features=made.features, info=made.info)
    return derive(bare, rows="all")


# Nobody votes for happy; sad is met before angry, and "zoe" before "ann".
HAND_MADE = [
    cast(("zoe", [3]), ("ann", [3]), ("tim", [2])),
    cast(("zoe", [0]), ("tim", [0])),
    cast(("ann", [2]), ("tim", [2]), ("zoe", [2])),
    cast(("ann", [0]), ("tim", [3]), ("zoe", [0])),
    cast(),
    cast(("tim", [3]), ("zoe", [3])),
    cast(("tim", [2]), ("zoe", [0]), ("ann", [2])),
]


def crowd_kit(method, table):
    from crowdkit import aggregation

    models = {"dawid_skene": aggregation.DawidSkene, "glad": aggregation.GLAD}
    model = aggregation.MACE(n_restarts=1, n_iter=10) if method == "mace" else models[method](n_iter=10)
    return model, model.fit_predict_proba(table)


@CROWD_KIT
@pytest.mark.parametrize("method", METHODS)
def test_the_result_is_that_of_crowd_kit_in_the_order_of_the_classes(method):
    votes = [(vote["annotator"], row, vote["choices"][0]) for row, cell in enumerate(HAND_MADE) for vote in cell]
    table = pd.DataFrame(sorted(votes), columns=["worker", "task", "label"])
    order = {label: f"{place}-{label}" for place, label in enumerate(table["label"].unique())}
    table["label"] = table["label"].map(order)  # appears in the sorted order, without which MACE goes wrong
    model, expected = crowd_kit(method, table)
    made = consensus(dataset_of(HAND_MADE), method, n_iter=10)
    assert made["soft_label"][4] is None
    assert made["soft_label_votes"][:] == [3, 2, 3, 3, 0, 2, 3]
    for row, label in enumerate(made["soft_label"]):
        if row != 4:
            assert label[1] == 0
            np.testing.assert_allclose(label[::2], expected.loc[row, [order[0], order[2]]], atol=1e-6)
            assert label[3] == pytest.approx(expected.loc[row, order[3]], abs=1e-6)
    found = find_consensus(dataset_of(HAND_MADE), method, n_iter=10)
    assert found.annotators == ("ann", "tim", "zoe")
    assert found.annotator_votes.tolist() == [4, 6, 6]
    if method == "mace":
        np.testing.assert_allclose(found.quality, model.spamming_[:, 1])
    if method == "glad":
        np.testing.assert_allclose(found.quality, model.alphas_.loc[["ann", "tim", "zoe"]])
    if method == "dawid_skene":
        errors = model.errors_
        assert found.confusions[1, 0, 3] == pytest.approx(errors.loc[("tim", order[3]), order[0]])
        assert np.isnan(found.confusions[:, 1]).all()
        np.testing.assert_allclose(found.confusions[:, [0, 2, 3]].sum(-1), 1)
        right = sum(model.priors_[name] * errors[name].get(("zoe", name), 0) for name in order.values())
        assert found.quality[2] == pytest.approx(right)


def noisy(seed=0, utterances=250, noises=(0.1, 0.3, 0.9, 0.9, 0.9), votes=4):
    people = [Annotator(noise=noise) for noise in noises]
    return simulate(utterances, annotators=people, votes=votes, strength=0.3, seed=seed)


@pytest.mark.parametrize("method", METHODS)
def test_the_truth_is_found_better_than_by_the_majority(method):
    corpus = noisy()
    truth, found = plurality(corpus.truth), find_consensus(corpus.dataset(), method, n_iter=30)
    judged, counted = (found.labels.argmax(-1) == truth).mean(), (plurality(corpus.counts) == truth).mean()
    assert judged > counted + 0.05  # ties of the majority are wrong
    assert judged > (corpus.counts.argmax(-1) == truth).mean()  # or broken somehow
    assert found.quality[:2].min() > found.quality[2:].max()


def test_dawid_skene_finds_the_confusions_of_annotators():
    swap = np.array([[0.2, 0.8, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    people = [Annotator(bias=swap), *[Annotator()] * 4]
    found = find_consensus(simulate(1500, annotators=people, strength=0.02, seed=1).dataset(), n_iter=30)
    np.testing.assert_allclose(found.confusions[0], swap, atol=0.06)
    np.testing.assert_allclose(found.confusions[1:].mean(0), np.eye(4), atol=0.06)
    assert found.quality[0] < found.quality[1:].min()


@pytest.mark.parametrize("method", METHODS)
def test_neither_the_order_of_the_rows_nor_another_run_changes_a_label(method):
    dataset = noisy(utterances=30).dataset()
    shuffled = consensus(dataset.shuffle(seed=3), method, n_iter=2)
    in_order = shuffled.select(np.argsort(shuffled["id"]))
    assert consensus(dataset, method, n_iter=2)["soft_label"][:] == in_order["soft_label"][:]


@pytest.mark.parametrize("method", METHODS)
def test_votes_of_unknown_annotators_are_those_of_one(method):
    corpus = noisy(utterances=60, noises=(0.2,) * 5)
    judge = lambda dataset: find_consensus(dataset, method, n_iter=2)  # noqa: E731
    named = corpus.dataset()
    hide = lambda name: lambda row: {"human_votes": [vote | {"annotator": name} for vote in row["human_votes"]]}  # noqa: E731
    one, unknown = (named.map(hide(name), features=named.features) for name in ("a", None))
    found = judge(unknown)
    assert found.annotators == ("anonymous",)
    for same in (one, named.remove_columns("human_votes")):
        np.testing.assert_array_equal(judge(same).labels, found.labels)
    assert (found.labels.argmax(-1) == plurality(corpus.truth)).mean() > 0.6
    assert "anonymous       240 " in str(found)


def test_several_ticks_are_several_votes_and_split_votes_are_refused():
    several = [cast(("ann", [0, 3]), ("tim", [0])), *HAND_MADE]
    dataset = dataset_of(several)
    made = consensus(dataset)
    assert made["soft_label_votes"][0] == 3
    apart = consensus(dataset_of([cast(("ann", [0]), ("ann", [3]), ("tim", [0])), *HAND_MADE]))
    assert made["soft_label"][:] == apart["soft_label"][:]
    split = derive(dataset, VotePolicy(several_choices="split"), rows="all")
    with pytest.raises(FitError, match="splits a vote on 'u0' .*several_choices='pool'"):
        consensus(split)


def test_held_out_votes_are_not_judged():
    dataset = noisy(utterances=60).dataset()
    held = hold_out_votes(dataset, keep=2)
    made = consensus(held, n_iter=5)
    assert set(made["soft_label_votes"]) == {2}
    blind = consensus(held.remove_columns("reference_counts"), n_iter=5)
    assert made["soft_label"][:] == blind["soft_label"][:]


def test_proxies_are_annotators_too():
    same = {"votes": 9.0, "correlation": 1.0}
    proxies = [Proxy("drawn", draws=5, failures=0.2, **same), Proxy("options", **same)]
    corpus = simulate(200, annotators=[Annotator(noise=0.8)] * 3, proxies=proxies)
    dataset = corpus.dataset()
    found = find_consensus(dataset, synthetic=True, n_iter=20)
    assert found.annotators == ("a0", "a1", "a2", "proxy:drawn", "proxy:options")
    assert found.votes.tolist() == (3 + 1 + 5 * corpus.answered[:, 0]).tolist()
    assert found.quality[3:].min() > found.quality[:3].max()
    made = consensus(dataset, synthetic=True, n_iter=2)
    assert set(made["soft_label_source"]) == {"dawid_skene(synthetic)"}
    assert set(consensus(dataset, n_iter=2)["soft_label_source"]) == {"dawid_skene"}
    alone = dataset.map(lambda _: {"human_votes": [], "vote_counts": [0.0] * 4}, features=dataset.features)
    assert find_consensus(alone, synthetic=True, n_iter=2).annotators == ("proxy:drawn", "proxy:options")


def test_answers_whose_best_options_are_tied_are_left_out_and_counted():
    dataset = simulate(40, proxies=[Proxy("p")]).dataset()

    def tie(row, index):
        answer = row["answers"][0]
        return {"answers": [answer | {"distribution": [0.5, 0.5, 0, 0]}]} if index < 7 else {}

    found = find_consensus(dataset.map(tie, with_indices=True, features=dataset.features), synthetic=True, n_iter=5)
    assert found.tied == 7
    assert found.votes[:8].tolist() == [5] * 7 + [6]
    assert str(found).endswith("7 tied answers left out")


def test_the_columns_are_those_of_pooling_and_nothing_else_changes():
    dataset = noisy(utterances=50).dataset()
    made = consensus(dataset, "mace", n_iter=5)
    assert {name: made.features[name] for name in columns.pooled_features(CLASSES)} == columns.pooled_features(CLASSES)
    assert set(made["soft_label_entropy"]) == {None}
    for name in ("id", "human_votes", "vote_counts", "hard_label"):
        assert made[name][:] == dataset[name][:]
    assert made["soft_label"][:] != consensus(dataset, "mace", n_iter=20)["soft_label"][:]


def test_what_cannot_be_judged():
    dataset = noisy(utterances=20).dataset()
    with pytest.raises(FitError, match="`method` is 'daw_skene'.*Did you mean 'dawid_skene'"):
        consensus(dataset, "daw_skene")
    with pytest.raises(FitError, match="only votes for 'sad'"):
        consensus(dataset_of([cast(("ann", [3]), ("tim", [3]))]))
    with pytest.raises(FitError, match="no vote"):
        consensus(dataset_of([cast()]))
    with pytest.raises(ColumnError, match="no column 'answers'"):
        consensus(dataset, synthetic=True)
    with pytest.raises(ColumnError, match="mixes"):
        consensus(dataset.add_column("parents", [["u0", "u1"]] * 20))
    with pytest.raises(FitError, match=r"call `consensus\(dataset, 'mace'\)`"):
        get_pooler("mace")


def test_crowd_kit_is_needed_only_when_it_is_used(monkeypatch):
    code = "import sys, dime_hf.pool; print('crowdkit' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
    monkeypatch.setitem(sys.modules, "crowdkit", None)
    with pytest.raises(PackageError, match=r"pip install 'dime_hf\[crowd\]'"):
        consensus(noisy(utterances=20).dataset())


@CROWD_KIT
def test_the_reasons_for_our_codes_and_single_start_of_mace_hold():
    """MACE of crowd-kit mixes up classes that do not appear in sorted order, and its restarts are all the same."""
    from crowdkit.aggregation import MACE

    rng = np.random.default_rng(0)
    task, worker = np.divmod(np.arange(480), 4)
    says = [[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]], [[0.1, 0.8, 0.1]] * 3  # two who listen, two who do not
    label = np.array([rng.choice(3, p=says[one // 2][true]) for true, one in zip(task % 3, worker, strict=True)])
    label = pd.factorize(label)[0]

    def judge(names, times):
        table = pd.DataFrame({"task": task, "worker": worker, "label": np.array(list(names))[label]})
        return MACE(n_restarts=times, n_iter=20).fit_predict_proba(table)[list(names)].to_numpy()

    once = judge("abc", 1)
    np.testing.assert_array_equal(judge("abc", 3), once)
    assert np.abs(judge("cab", 1) - once).max() > 0.1
