"""What runs on a Hub: the metric as `evaluate` loads it, and the page as `gradio` serves it, both over HTTP."""

import html.parser
import importlib.util
import re
import socket
import subprocess
import sys
import time

import datasets
import numpy as np
import pytest
from huggingface_hub import RepoCard

from dime_hf.annotate import annotate
from dime_hf.distribution import entropy
from dime_hf.errors import ColumnError, DistributionError, HubError
from dime_hf.hub import push_metric, push_space
from dime_hf.hub.space import app
from dime_hf.score import score
from tests.hub_client import environment
from tests.hub_server import TOKEN
from tests.places import ROOT
from tests.test_annotate import Teller

pytestmark = pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="gradio is not installed")
SPLITS = """
import datasets, dime_hf, numpy as np
from dime_hf.hub import push_metric, push_space, push_to_hub
shown = datasets.load_from_disk(folder)
"""


@pytest.fixture(scope="module")
def shown(toy_fold):
    """A split with answers of two proxies, one of which fails once, and what a model predicts of it."""
    test = toy_fold["test"]
    answered = annotate(annotate(test, Teller(fails=(test["id"][0],))), Teller(fingerprint="second", proxy="other"))
    return answered, np.random.default_rng(0).dirichlet(np.ones(4), len(test)).astype(np.float32)


@pytest.fixture(scope="module")
def session(client, shown, tmp_path_factory):
    """The client, with that split at hand."""
    folder = str(tmp_path_factory.mktemp("shown"))
    shown[0].save_to_disk(folder)
    client.run(SPLITS, folder=folder, of_model=shown[1].tolist())
    return client


def test_the_metric_of_a_space_is_the_library(session, hub):
    session.run("push_metric('tester/soft_label', metric)", metric=str(ROOT / "metrics" / "soft_label"))
    space = hub.repos["spaces", "tester/soft_label"]
    assert (space.private, space.sdk) == (True, "gradio")
    assert set(space.files) == {"README.md", "app.py", "requirements.txt", "soft_label.py"}
    rng = np.random.default_rng(0)
    predictions, counts = rng.dirichlet(np.ones(4), 30), rng.multinomial(3, np.ones(4) / 4, 30)
    code = """
import sys
sys.modules["transformers"] = None  # which `evaluate` loads for its evaluators: 4 of its 6 seconds
import evaluate
del sys.modules["transformers"]
metric = evaluate.load("tester/soft_label", module_type="metric")
result = metric.compute(predictions=predictions, references=references)
"""
    found = session.run(code, predictions=predictions.tolist(), references=counts.tolist())
    assert found == pytest.approx(score(predictions, counts), abs=0)


def test_a_metric_has_the_name_of_its_repository(tmp_path):
    with pytest.raises(
        HubError, match=r"lacks other\.py: a metric has a module called like `repo` \('tester/other'\)"
    ):
        push_metric("tester/other", ROOT / "metrics" / "soft_label")
    with pytest.raises(HubError, match="lacks soft_label.py, README.md"):
        push_metric("tester/soft_label", tmp_path)


class Cells(html.parser.HTMLParser):
    """The cells of a table, row by row."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.open = [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_data(self, data):
        self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def space(session, hub, tmp_path_factory):
    """Address of the page of a pushed Space, run as the Hub runs it: `python app.py` in a folder of its files."""
    session.run(
        "push_space(shown, 'tester/page', include=['votes', 'answers', 'audio'], predictions=np.array(of_model))"
    )
    folder = tmp_path_factory.mktemp("space")
    for path, content in hub.files("spaces", "tester/page").items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)
    with served(folder, environment(hub, folder / "home")) as url:
        yield url


class served:  # noqa: N801
    """The page of a folder on loopback."""

    def __init__(self, folder, env):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.log = folder, folder / "log.txt"
        self.env = env | {"GRADIO_SERVER_PORT": str(self.port), "GRADIO_SERVER_NAME": "127.0.0.1", "PYTHONPATH": ""}

    def __enter__(self):
        with open(self.log, "wb") as log:
            command = [sys.executable, "app.py"]
            self.process = subprocess.Popen(command, cwd=self.folder, env=self.env, stdout=log, stderr=log)
        for _ in range(1200):
            with socket.socket() as caller:
                if caller.connect_ex(("127.0.0.1", self.port)) == 0:
                    return f"http://127.0.0.1:{self.port}"
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=20)


def test_the_page_shows_the_numbers_of_the_library(space, shown):
    import gradio_client  # takes seconds

    split, predictions = shown
    page = gradio_client.Client(space, verbose=False)
    bits = np.abs(entropy(np.array(split["soft_label"][:])))  # no -0.000
    for order, place, row in (
        ("most ambiguous first", 1, int(bits.argmax())),
        ("clearest first", 1, int(bits.argmin())),
        ("as they come", 1, 0),
        ("as they come", 3, 2),
    ):
        told, table, sound = page.predict("test", order, place, api_name="/show")
        one = split[row]
        assert f"<b>{one['id']}</b> · {bits[row]:.3f} bits" in told
        head, *rows = Cells(table).rows
        assert head[1:] == ["angry", "happy", "neutral", "sad"]
        answers = [answer["distribution"] for answer in one["answers"] if answer["status"] == "ok"]
        counts = np.array(one["vote_counts"])
        expected = {
            f"human votes ({counts.sum():g})": counts / counts.sum(),
            f"proxies (answers: {len(answers)})": np.mean(answers, axis=0),
            "soft label (human)": one["soft_label"],
            "predicted": predictions[row],
        }
        assert len(answers) == (1 if row == 0 else 2)
        assert {who: pytest.approx(expected[who], abs=6e-5) for who, *_ in rows} == {
            who: [float(cell) for cell in cells] for who, *cells in rows
        }
        assert [who for who, *_ in rows] == list(expected)
        assert sound is not None


def test_a_space_is_private_and_says_what_the_hub_needs(session, space, hub):  # noqa: ARG001
    repo = hub.repos["spaces", "tester/page"]
    assert repo.private
    assert set(repo.files) == {"README.md", "app.py", "requirements.txt", "data/test.parquet"}
    head = RepoCard(repo.files["README.md"].decode()).data.to_dict()
    assert (head["sdk"], head["app_file"]) == ("gradio", "app.py")
    assert re.fullmatch(r"\d+\.\d+\.\d+", head["sdk_version"])
    assert TOKEN not in session.log.read_text()


def test_labels_alone_are_shown_unless_more_is_named(session, hub, tmp_path):
    session.run("push_space(shown, 'tester/labels')")
    content = hub.files("spaces", "tester/labels")["data/test.parquet"]
    assert b"RIFF" not in content
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.parquet").write_bytes(content)
    split = app.load(tmp_path)["test"]
    assert not {"audio", "text", "human_votes", "vote_counts", "answers", "predicted"} & set(split.column_names)
    row = split[0]
    assert list(app.distributions(row)) == ["soft label (human)"]
    assert app.sound(row) is None
    np.testing.assert_allclose(
        app.entropy(np.array(split["soft_label"][:])), entropy(np.array(split["soft_label"][:]))
    )


def test_a_page_may_read_a_repository(session, hub, tmp_path):
    session.run("push_to_hub(shown, 'tester/source')\npush_space('tester/source', 'tester/reader')")
    files = hub.files("spaces", "tester/reader")
    assert set(files) == {"README.md", "app.py", "requirements.txt", "settings.json"}
    assert RepoCard(files["README.md"].decode()).data.to_dict()["datasets"] == ["tester/source"]
    assert b"secret `HF_TOKEN`" in files["README.md"]
    (tmp_path / "settings.json").write_bytes(files["settings.json"])
    code = """
from pathlib import Path
from dime_hf.hub.space import app
result = {name: split["id"][:] == shown["id"][:] for name, split in app.load(Path(folder)).items()}
"""
    assert session.run(code, folder=str(tmp_path)) == {"test": True}


def test_an_utterance_without_a_label_or_with_markup_breaks_nothing():
    text, shares = datasets.Value("string"), datasets.List(datasets.Value("float32"))
    label = datasets.ClassLabel(names=["<b>", "sad"])
    features = datasets.Features(id=text, text=text, soft_label=shares, hard_label=label)
    rows = {"id": ["a", "<i>", "c"], "text": ["<script>", None, ""], "soft_label": [[1, 0], [0.5, 0.5], None]}
    split = datasets.Dataset.from_dict({**rows, "hard_label": [None] * 3}, features=features)
    assert app.ranked(split, "most ambiguous first").tolist() == [1, 0]
    assert app.ranked(split, "clearest first").tolist() == [0, 1]
    assert "<script>" not in app.about(split[0])
    assert "<b>&lt;i&gt;</b> · 1.000 bits" in app.about(split[1])
    assert "<b>" not in app.table(app.distributions(split[0]), ["<b>", "sad"])


def test_predictions_must_fit(shown):
    split, predictions = shown
    both = datasets.DatasetDict(train=split, test=split)
    for dataset, given, message in (
        (split, predictions[:5], r"of 'test' are \(5, 4\), not \(24, 4\)"),
        (split, predictions * 2, "must sum to 1"),
        (both, predictions, "give a mapping"),
        (both, {"dev": predictions}, r"are of \['dev'\], but the splits of `dataset` \['train', 'test'\]"),
    ):
        with pytest.raises(DistributionError, match=message):
            push_space(dataset, "tester/never", predictions=given)
    with pytest.raises(ColumnError, match="leave out `include`"):
        push_space("tester/source", "tester/never", include=["audio"])
