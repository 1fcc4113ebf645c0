"""Metric folders: what `evaluate` does with them; their numbers beside scipy, scikit-learn and torchmetrics."""

import ast
import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import evaluate
import numpy as np
import pytest
import scipy.spatial.distance as far
import scipy.stats
import sklearn.metrics
import torch
import torchmetrics.functional as tm
from gradio_client import Client
from gradio_client.exceptions import AppError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dime_hf.errors import DistributionError
from dime_hf.score import DEFAULT, METRICS, score

ROOT = Path(__file__).parent.parent
FOLDERS = sorted(path.name for path in (ROOT / "metrics").iterdir() if (path / "app.py").is_file())
FAMILIES = [name for name in FOLDERS if name != "soft_label"]
RNG = np.random.default_rng(3)
Q, COUNTS = RNG.dirichlet(np.full(4, 0.6), 40), RNG.multinomial(4, RNG.dirichlet(np.full(4, 0.5), 40))


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return {name: evaluate.load(str(ROOT / "metrics" / name), cache_dir=str(cache)) for name in FOLDERS}


def names_of(metric):
    return sys.modules[type(metric).__module__].NAMES


def test_every_metric_of_the_library_has_one_family(metrics):
    named = [name for family in FAMILIES for name in names_of(metrics[family])]
    assert sorted(named) == sorted(METRICS)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_a_space_whose_maths_is_the_library(name, metrics):
    """Through `compute`, `add`, `add_batch`, with and without a file of votes: always what `score` says."""
    metric, folder = metrics[name], ROOT / "metrics" / name
    asked = DEFAULT if name == "soft_label" else names_of(metric)
    expected = score(Q, COUNTS, metrics=asked)
    assert metric.compute(predictions=Q, references=COUNTS) == expected
    for q, counts in zip(Q.tolist(), COUNTS.tolist(), strict=True):
        metric.add(prediction=q, reference=counts)
    assert metric.compute() == expected
    for rows in (slice(0, 7), slice(7, 40)):
        metric.add_batch(predictions=torch.tensor(Q[rows]), references=COUNTS[rows].tolist())
    assert metric.compute() == expected
    extras = {"control": [0.25] * 4, "levels": ["low"] * 10 + ["high"] * 30, "weights": np.arange(40.0)}
    assert repr(metric.compute(predictions=Q, references=COUNTS, **extras)) == repr(
        score(Q, COUNTS, metrics=asked, **extras)
    )
    module = ast.parse((folder / f"{name}.py").read_text())
    imported = {node.module for node in ast.walk(module) if isinstance(node, ast.ImportFrom)}
    assert imported == {"dime_hf.score"}
    assert (folder / "app.py").read_text() == (ROOT / "metrics/soft_label/app.py").read_text()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_card_defines_every_number_with_range_and_direction(name, metrics):
    card = (ROOT / "metrics" / name / "README.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", card, re.MULTILINE))
    assert set(rows) == set(names_of(metrics[name]))
    scores = score(Q, COUNTS, metrics=rows)
    bounds = {"sqrt C": 2, "-log2 C": -2, "log2 C": 2, "C": 4, "inf": np.inf, "-inf": -np.inf}
    for number, row in rows.items():
        definition, span, better, _ = (cell.strip() for cell in row.split("|"))
        low, high = (bounds.get(end) if end in bounds else float(end) for end in span.strip("[]").split(", "))
        assert low <= scores[number] <= high, number
        assert better in ("lower", "higher", "0")
        assert len(definition) > 15


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([[0.5, 0.5], [float("nan"), 1.0]], [[1, 1], [1, 0]], "`predictions` must be finite.*1.*NaN"),
        ([[0.5, 0.5]], [[float("nan"), 1]], "`references` must be finite"),
        ([[0.5, None]], [[1, 1]], "`predictions` must be finite"),
        ([[0.5, 0.4]], [[1, 1]], "`predictions` must sum to 1"),
        ([[0.5, 0.5], [1.0]], [[1, 1], [1, 0]], "`predictions` must be a rectangular array"),
        ([[0.5, 0.5]], [[0, 0]], "`references` must hold at least one vote"),
        ([[0.5, 0.5]], [[1, 1, 1]], "same shape"),
    ],
)
def test_what_is_no_distribution_or_no_vote_is_refused(name, predictions, references, message, metrics):
    metric = type(metrics[name])(keep_in_memory=True)
    with pytest.raises(DistributionError, match=message):
        metric.compute(predictions=predictions, references=references)
    assert metric.compute(predictions=[[0.5, 0.5]], references=[[1, 1]])["n"] == 1  # still usable


def independent(q, counts):
    """The numbers that other packages define in the same way."""
    p, size = counts / counts.sum(-1, keepdims=True), q.shape[1]
    rows = list(zip(p, q, strict=True))
    tensor_p, tensor_q = torch.tensor(p), torch.tensor(q)
    over = {
        "js_distance": [far.jensenshannon(a, b, base=2) for a, b in rows],
        "total_variation": [far.cityblock(a, b) / 2 for a, b in rows],
        "manhattan_distance": [far.cityblock(a, b) for a, b in rows],
        "chebyshev_distance": [far.chebyshev(a, b) for a, b in rows],
        "canberra_distance": [far.canberra(a, b) for a, b in rows],
        "kl_human_to_model": [scipy.stats.entropy(a, b, base=2) for a, b in rows],
        "entce": [scipy.stats.entropy(b, base=2) - scipy.stats.entropy(a, base=2) for a, b in rows],
        "squared_score": [((b - a) ** 2).sum() - (a**2).sum() for a, b in rows],  # Brier's, less a constant
    }
    found = {name: np.mean(values) for name, values in over.items()}
    found["js_divergence"] = np.mean(np.square(over["js_distance"]))
    found["cosine_similarity"] = tm.cosine_similarity(tensor_q, tensor_p, reduction="mean").item()
    if (q > 0).all():
        nats = tm.kl_divergence(tensor_p, tensor_q).item()
        assert found["kl_human_to_model"] == pytest.approx(nats / np.log(2), abs=1e-9)
    one_class = (p == p[:1]).all(0)
    if len(q) > 1 and not one_class.any():
        found["r2_per_class"] = sklearn.metrics.r2_score(p, q, multioutput="uniform_average")
    top = np.sort(counts, -1)
    decided = top[:, -1] > top[:, -2] if size > 1 else np.ones(len(q), bool)
    if decided.any():
        tied = (np.abs(q - q.max(-1, keepdims=True)) < 1e-9).sum(-1) > 1
        human, given_ = counts[decided].argmax(-1), np.where(tied, size, q.argmax(-1))[decided]  # a tie is no class
        classes = np.unique(human)
        found["accuracy"] = sklearn.metrics.accuracy_score(human, given_)
        found["unweighted_average_recall"] = sklearn.metrics.recall_score(
            human, given_, labels=classes, average="macro", zero_division=0
        )
        for name, average in (("macro_f1", "macro"), ("weighted_f1", "weighted")):
            found[name] = sklearn.metrics.f1_score(human, given_, labels=classes, average=average, zero_division=0)
        if not tied.any():
            pair = torch.tensor(given_), torch.tensor(human)
            accuracy = tm.accuracy(*pair, task="multiclass", num_classes=size, average="micro").item()
            assert found["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    return found


def same_as_others(metrics, q, counts):
    found = {}
    for family in FAMILIES:
        found |= metrics[family].compute(predictions=q, references=counts)
    for name, expected in independent(q, counts).items():
        assert found[name] == pytest.approx(expected, abs=2e-6), name


def one_hot(*places):
    return np.eye(3)[list(places)]


DEGENERATE = {
    "zeros where votes are": (one_hot(0, 1, 2), np.array([[1, 2, 0], [0, 3, 0], [4, 0, 0]])),
    "one class voted for": (np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]]), np.array([[3, 0, 0], [5, 0, 0]])),
    "one vote": (np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]]), one_hot(0, 2, 2)),
    "tied votes": (np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]]), np.array([[2, 2, 0], [1, 1, 1]])),
    "tied predictions": (np.array([[0.4, 0.4, 0.2], [1 / 3] * 3]), np.array([[2, 1, 0], [1, 0, 1]])),
    "right for sure": (one_hot(0, 1), 3 * one_hot(0, 1)),
    "one row": (np.array([[0.25, 0.25, 0.5]]), np.array([[1, 0, 3]])),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_rows_score_as_in_other_packages(name, metrics):
    q, counts = DEGENERATE[name]
    same_as_others(metrics, q, counts)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(2, 6), st.integers(1, 6), st.data())
def test_random_rows_score_as_in_other_packages(metrics, seed, rows, size, votes, data):
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(votes, rng.dirichlet(np.full(size, 0.5)), rows)
    weights = data.draw(arrays(float, (rows, size), elements=st.sampled_from([0.0, 0.25, 1.0, 3.0])))
    q = weights + np.where(weights.sum(-1, keepdims=True) == 0, 1, 0)  # with zeros and ties
    same_as_others(metrics, q / q.sum(-1, keepdims=True), counts)


def test_two_families_combine(metrics):
    both = evaluate.combine([metrics["proper_score"], metrics["hard_label"]])
    for rows in (slice(0, 25), slice(25, 40)):
        both.add_batch(predictions=Q[rows], references=COUNTS[rows])
    found = both.compute()
    proper, hard = (score(Q, COUNTS, metrics=names_of(metrics[name])) for name in ("proper_score", "hard_label"))
    shared = {"n": proper.pop("n")}
    assert hard.pop("n") == 40
    assert found == proper | hard | {f"{name}_n": shared["n"] for name in ("proper_score", "hard_label")}
    prefixed = evaluate.combine({"a": metrics["hard_label"], "b": metrics["vote_calibration"]}, force_prefix=True)
    found = prefixed.compute(predictions=Q, references=COUNTS)
    assert found["a_accuracy"] == hard["accuracy"]
    assert found["b_ece"] == score(Q, COUNTS, metrics=["ece"])["ece"]


BARE = """
import json, runpy, sys
sys.modules["transformers"] = None  # which `evaluate` loads for its evaluators: 4 of its 6 seconds
import evaluate
del sys.modules["transformers"]
"""
SECOND = """
folder, cache = sys.argv[1:]
metric = evaluate.load(folder, num_process=2, process_id=1, experiment_id="two", cache_dir=cache)
given = json.load(sys.stdin)
metric.add_batch(predictions=given["q"], references=given["counts"])
print(json.dumps(metric.compute()))
"""


def test_two_processes_score_all_rows_together(tmp_path):
    """Each process has every second row; the first (this one) gets the scores of all, the second nothing."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    folder = str(ROOT / "metrics/proper_score")
    command = [sys.executable, "-c", BARE + SECOND, folder, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    ) as second:
        json.dump({"q": Q[1::2].tolist(), "counts": COUNTS[1::2].tolist()}, second.stdin)
        second.stdin.close()
        metric = evaluate.load(folder, num_process=2, process_id=0, experiment_id="two", cache_dir=str(tmp_path))
        metric.add_batch(predictions=Q[::2], references=COUNTS[::2])
        found = metric.compute()
        assert json.loads(second.stdout.read().splitlines()[-1]) is None
    assert second.returncode == 0
    expected = score(Q, COUNTS, metrics=["squared_score", "squared_distance", "log_likelihood"])
    assert found == pytest.approx(expected)


SERVE = """
pages = [runpy.run_path(app)["page"] for app in sys.argv[1:]]
for page in pages:
    page.launch(prevent_thread_lock=True, quiet=True)
print(json.dumps([page.local_url for page in pages]), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def pages():
    """Addresses on loopback of the pages of all Spaces, each made by its own `app.py`, in another process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_SERVER_NAME": "127.0.0.1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", BARE + SERVE, *(str(ROOT / "metrics" / name / "app.py") for name in FOLDERS)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as server:
        yield dict(zip(FOLDERS, json.loads(server.stdout.readline()), strict=True))
        server.terminate()


@pytest.mark.parametrize("name", FOLDERS)
def test_a_page_scores_what_is_typed(name, pages, metrics):
    with urllib.request.urlopen(pages[name]) as answer:
        shown = answer.read().decode()
    assert name.replace("_", " ").capitalize() in shown
    assert "counts of held-out human votes" in shown
    client = Client(pages[name], verbose=False, analytics_enabled=False)
    found = client.predict("[[0.7, 0.3], [0.6, 0.4]]", "[[2, 1], [0, 3]]", api_name="/compute")
    expected = metrics[name].compute(predictions=[[0.7, 0.3], [0.6, 0.4]], references=[[2, 1], [0, 3]])
    assert found == pytest.approx(expected)
    if name == "hard_label":
        tied = client.predict("[[0.5, 0.5]]", "[[1, 1]]", api_name="/compute")
        assert (tied["n_decided"], tied["accuracy"]) == (0, "nan")
        with pytest.raises(AppError, match="`predictions` must sum to 1"):
            client.predict("[[0.7, 0.7]]", "[[2, 1]]", api_name="/compute")
        with pytest.raises(AppError, match="`references` is not JSON"):
            client.predict("[[0.7, 0.3]]", "[[2, 1]", api_name="/compute")
        with pytest.raises(AppError, match="`references` must be a list of rows"):
            client.predict("[[0.7, 0.3]]", "[2, 1]", api_name="/compute")
    client.close()
