"""What is pushed: over HTTP against a Hub on loopback, in a process of its own, since addresses are read on import."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

import dime_hf
from dime_hf.corpora.crema_d import CremaDFolder
from dime_hf.corpora.iemocap import IemocapFolder
from dime_hf.errors import ColumnError
from dime_hf.hub import INCLUDE, _hub_licence, push_to_hub
from tests.conftest import ROOT

SCRIPT = """
import json, sys
import datasets
import dime_hf
from dime_hf.hub import push_to_hub

root, repo, include = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
splits = dime_hf.load_dataset("iemocap", data_dir=root)
push_to_hub(splits, repo, include=include)
back = datasets.load_dataset(repo)
assert list(back) == list(splits)
for name in splits:
    assert back[name]["id"][:] == splits[name]["id"][:]
    assert back[name]["soft_label"][:] == splits[name]["soft_label"][:]
    assert back[name].features["hard_label"] == splits[name].features["hard_label"]
first = back["session1"]
print(json.dumps({
    "columns": first.column_names,
    "decided": sum(label is not None for label in first["hard_label"]),
    "audio": [bool(cell["bytes"]) for cell in first.cast_column("audio", datasets.Audio(decode=False))["audio"]]
    if "audio" in first.column_names else [],
}))
"""


@pytest.fixture(scope="module")
def hub():
    """A Hub on loopback; skips where the stand-in is absent."""
    path = ROOT.parent / "shared" / "tools" / "fakehub.py"
    if not path.is_file():
        pytest.skip(f"no stand-in for the Hub at {path}")
    spec = importlib.util.spec_from_file_location("fakehub", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    read_body = module.Handler._body
    asked: list[dict] = []  # bodies of the requests that make a repository

    def remembered(self):
        body = read_body(self)
        if self.path == "/api/repos/create":
            asked.append(json.loads(body))
        return body

    module.Handler._body = remembered
    server = module.FakeHub(use_lfs=True).start()
    server.asked = asked
    yield server
    server.stop()


def push(hub, toy_root, tmp_path, include):
    environment = os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": "hf_of_a_test",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
        "HF_DATASETS_OFFLINE": "0",
    }
    repo = f"tester/{tmp_path.name}"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(toy_root), repo, json.dumps(include)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "hf_of_a_test" not in done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1]), hub.repos["datasets", repo]


def test_labels_alone_are_the_default(hub, toy_root, tmp_path):
    seen, repo = push(hub, toy_root, tmp_path, [])
    assert set(seen["columns"]) == {"id", "soft_label", "soft_label_source", "soft_label_votes", "hard_label"}
    assert seen["decided"] == 0
    assert hub.asked[-1].get("visibility") == "private" or hub.asked[-1].get("private")
    files = repo["commits"][repo["refs"]["main"]]["files"]
    card = files["README.md"].decode()
    assert "angry, happy, neutral, sad" in card
    assert "Votes are counted by" in card
    assert "license: other" in card
    assert not any(b"RIFF" in content for content in files.values())


def test_a_free_licence_stands_in_the_cards_head_by_the_hubs_name_for_it():
    assert _hub_licence(CremaDFolder.licence) == "odbl"
    assert _hub_licence(IemocapFolder.licence) == _hub_licence("") == "other"


def test_more_goes_by_name(hub, toy_root, tmp_path):
    seen, _ = push(hub, toy_root, tmp_path, ["audio", "votes", "text"])
    assert {"audio", "duration", "human_votes", "vote_counts", "text"} <= set(seen["columns"])
    assert not {"speaker", "session", "valence"} & set(seen["columns"])
    assert seen["decided"] > 0
    assert all(seen["audio"])


def test_unknown_names_are_refused_before_anything_leaves(toy_fold):
    with pytest.raises(ColumnError, match="Did you mean 'audio'"):
        push_to_hub(toy_fold, "tester/never", include=["audios"])
    with pytest.raises(ColumnError, match="soft_label"):
        push_to_hub(toy_fold["test"].remove_columns("soft_label"), "tester/never")
    assert set(INCLUDE) >= {"audio", "text", "votes", "answers"}
    assert dime_hf.__all__
