"""Pushing datasets, over HTTP against a Hub on loopback."""

import urllib.error
import urllib.request

import pytest
from huggingface_hub import DatasetCard

from dime_hf.corpora.crema_d import CremaDFolder
from dime_hf.corpora.iemocap import IemocapFolder
from dime_hf.errors import ColumnError
from dime_hf.hub import INCLUDE, push_to_hub
from dime_hf.hub.card import hub_licence
from tests.hub_client import ClientError
from tests.hub_server import OTHER_TOKEN, TOKEN

LOAD = """
import datasets, dime_hf
from dime_hf.hub import attach_audio, push_to_hub
splits = dime_hf.load_dataset("iemocap", data_dir=root, fold=1)
"""
PUSH = """
push_to_hub(splits, repo, include=include)
back = datasets.load_dataset(repo)
assert list(back) == list(splits)
for name in splits:
    for column in ("id", "soft_label", "duration"):
        assert back[name][column][:] == splits[name][column][:], column
    assert back[name].features["hard_label"] == splits[name].features["hard_label"]
first = back["test"]
result = {
    "columns": first.column_names,
    "decided": sum(label is not None for label in first["hard_label"]),
    "audio": [bool(cell["bytes"]) for cell in first.cast_column("audio", datasets.Audio(decode=False))["audio"]]
    if "audio" in first.column_names else [],
}
"""


@pytest.fixture(scope="module")
def session(client, toy_root):
    """The client, with the toy corpus loaded."""
    client.run(LOAD, root=str(toy_root))
    return client


def status(url, token=None):
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code


def test_labels_alone_are_the_default_and_private(session, hub):
    seen = session.run(PUSH, repo="tester/labels", include=[])
    labels = {"id", "corpus", "duration", "soft_label", "soft_label_source", "soft_label_votes", "hard_label"}
    assert set(seen["columns"]) == labels
    assert seen["decided"] == 0
    files = hub.files("datasets", "tester/labels")
    assert not any(b"RIFF" in content or b"Ses01F_impro01/" in content for content in files.values())
    card = DatasetCard(files["README.md"].decode())
    assert (card.data.license, card.data.license_name, card.data.size_categories) == (
        "other",
        "see-the-card",
        ["n<1K"],
    )
    assert "soft-labels" in card.data.tags
    assert "angry, happy, neutral, sad" in card.text
    assert 'attach_audio(labels, data_dir="the folder of iemocap")' in card.text
    assert "`human_votes`" in card.text.split("Not here:")[1].splitlines()[0]
    url = f"{hub.url}/datasets/tester/labels/resolve/main/README.md"
    assert [status(url), status(url, OTHER_TOKEN), status(url, TOKEN)] == [401, 404, 200]


def test_more_goes_by_name(session):
    seen = session.run(PUSH, repo="tester/more", include=["audio", "votes", "text"])
    assert {"audio", "human_votes", "vote_counts", "text"} <= set(seen["columns"])
    assert not {"speaker", "session", "valence"} & set(seen["columns"])
    assert seen["decided"] > 0
    assert seen["audio"]
    assert all(seen["audio"])


def test_labels_from_the_hub_get_the_readers_recordings(session):
    session.run("push_to_hub(splits, 'tester/attached')")
    same = session.run(
        """
labels = datasets.load_dataset("tester/attached")
clips = attach_audio(labels, data_dir=root)
result = all(
    clips[name][column][:] == splits[name][column][:] for name in splits for column in ("id", "audio", "duration")
) and clips["test"].info.license
"""
    )
    assert same == "none needed: made-up voices and words of the toy corpus"


@pytest.mark.parametrize(
    ("fault", "after", "again"),
    [("PUT /large/", 1, 2), ("POST /api/datasets/tester/broken[^/]*/commit/", 0, 0), ("POST .*/commit/", 1, 0)],
)
def test_a_push_that_broke_off_is_repeated_and_sends_only_what_is_lacking(session, hub, fault, after, again):
    repo = f"tester/broken{len(hub.repos)}"
    code = """
pushed = splits.map(lambda row: {"soft_label_votes": row["soft_label_votes"] + shift})
push_to_hub(pushed, repo)
back = datasets.load_dataset(repo)
result = all(back[name]["soft_label_votes"][:] == pushed[name]["soft_label_votes"][:] for name in splits)
"""
    names = {"repo": repo, "shift": len(hub.repos)}  # other content than that of other tests
    hub.requests.clear()
    hub.break_off(fault, after)
    with pytest.raises(ClientError, match="broke off|Error while uploading"):
        session.run(code, **names)
    assert not hub.faults
    before = len(hub.sent("PUT /large/"))
    assert session.run(code, **names) is True
    assert len(hub.sent("PUT /large/")) - before == again
    assert "# Soft labels of speech emotion" in hub.files("datasets", repo)["README.md"].decode()
    sent = len(hub.sent("PUT /large/"))
    commits = len(hub.repos["datasets", repo].commits)
    card = hub.files("datasets", repo)["README.md"]
    session.run(code, **names)
    assert len(hub.sent("PUT /large/")) == sent
    assert hub.files("datasets", repo)["README.md"] == card
    assert len(hub.repos["datasets", repo].commits) <= commits + 2


def test_a_public_repository_takes_no_private_dataset(session, hub):
    session.run("push_to_hub(splits, 'tester/public', private=False)")
    assert not hub.repos["datasets", "tester/public"].private
    commits = len(hub.repos["datasets", "tester/public"].commits)
    with pytest.raises(ClientError, match=r"HubError: 'tester/public' is public: give `private=False`"):
        session.run("push_to_hub(splits, 'tester/public', include=['votes'])")
    assert len(hub.repos["datasets", "tester/public"].commits) == commits


@pytest.mark.parametrize("token", ["hf_wrong", OTHER_TOKEN])
def test_whoever_may_not_write_is_told_so(session, hub, token):
    session.run("push_to_hub(splits, 'tester/mine')")
    for repo in ("tester/mine", "tester/notThere"):
        with pytest.raises(
            ClientError, match="HubError: .* does not let you write 'tester/.*: log in with `hf auth login`"
        ):
            session.run("push_to_hub(splits, repo, token=token)", repo=repo, token=token)
    assert ("datasets", "tester/notThere") not in hub.repos


def test_no_token_is_written_down(session, hub):
    session.run("push_to_hub(splits, 'tester/quiet', include=['votes'])\nprint(datasets.load_dataset('tester/quiet'))")
    log = session.log.read_text()
    assert "tester/quiet" in log  # it is the log of all that this file did
    contents = [
        content for repo in hub.repos.values() for one in repo.commits.values() for content in one["files"].values()
    ]
    for token in (TOKEN, OTHER_TOKEN, "hf_wrong"):
        assert token not in log
        assert token not in repr(hub.requests)
        assert not any(token.encode() in content for content in contents)


def test_one_split_goes_to_a_branch_with_its_card(session, hub):
    rows = session.run(
        """
part = dime_hf.load_dataset("iemocap", data_dir=root, fold=1, split="test[:100%]")
push_to_hub(part, "one", revision="draft")
result = datasets.load_dataset("tester/one", revision="draft").num_rows, len(splits["test"])
"""
    )
    assert rows == [{"test": rows[1]}, rows[1]]
    repo = hub.repos["datasets", "tester/one"]
    assert repo.files == {}
    assert 'load_dataset("tester/one")' in repo.commits[repo.branches["draft"]]["files"]["README.md"].decode()


def test_unknown_names_are_refused_before_anything_leaves(toy_fold):
    with pytest.raises(ColumnError, match="Did you mean 'audio'"):
        push_to_hub(toy_fold, "tester/never", include=["audios"])
    with pytest.raises(ColumnError, match=r"give names, such as `include=\('audio',\)`"):
        push_to_hub(toy_fold, "tester/never", include="audio")
    with pytest.raises(ColumnError, match="soft_label"):
        push_to_hub(toy_fold["test"].remove_columns("soft_label"), "tester/never")
    with pytest.raises(ColumnError, match="stream"):
        push_to_hub(toy_fold["test"].to_iterable_dataset(), "tester/never")
    assert set(INCLUDE) == {"audio", "text", "votes", "answers", "groups", "ratings"}


def test_a_free_licence_stands_in_the_cards_head_by_the_hubs_name_for_it():
    assert hub_licence(CremaDFolder.licence) == "odbl"
    assert hub_licence(IemocapFolder.licence) == hub_licence("") == "other"
