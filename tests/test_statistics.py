"""The statistics table and the check against published counts."""

import dataclasses
import shutil

import numpy as np
import pytest

from dime_hf import derive, load_dataset, prepare
from dime_hf.corpora import iemocap
from dime_hf.corpora.published import PUBLISHED, Release, table
from dime_hf.corpora.statistics import check, describe, measure


@pytest.fixture(scope="module")
def whole(toy_root):
    return load_dataset("iemocap", "10class", toy_root, rows="all")


def test_measures_are_counts_by_hand(whole):
    found = measure(whole)
    session = whole["session3"]
    names = session.features["hard_label"].names
    assert found["session3: utterances"] == len(session)
    assert found["session3: undecided"] == session["hard_label"][:].count(None)
    assert found["session3: sad"] == session["hard_label"][:].count(names.index("sad"))
    total = sum(np.asarray(split["vote_counts"]).sum(0) for split in whole.values())
    assert {name: found[f"votes: {name}"] for name in names} == dict(zip(names, total.tolist(), strict=True))


def test_the_table_says_what_is_there(whole):
    lines = describe(whole).splitlines()
    assert len(lines) == 6
    assert lines[1].split()[:3] == ["session1", str(len(whole["session1"])), str(len(whole["session1"]))]


def test_check_finds_the_release_and_what_deviates(whole):
    exact = Release("toy", "here", measure(whole))
    other = dataclasses.replace(exact, name="other", counts={what: n + 7 for what, n in exact.counts.items()})
    assert check(whole, (other, exact))
    edited = dict(exact.counts)
    edited["session2: sad"] += 1
    found = check(whole, (other, dataclasses.replace(exact, counts=edited)))
    assert not found
    assert found.deviations == {"session2: sad": (edited["session2: sad"], edited["session2: sad"] - 1)}
    assert "session2: sad" in str(found)
    assert check(whole, (dataclasses.replace(exact, counts=edited, tolerance=1),))


def test_official_labels_that_the_votes_do_not_give(whole):
    flipped = whole["session1"].map(
        lambda row: {"hard_label": 9 if row["hard_label"] == 0 else row["hard_label"]}, load_from_cache_file=False
    )
    changed = {"session1": flipped}
    unlike = check(changed, (Release("toy", "here", measure(changed)),)).unlike_votes
    assert unlike == [id for id, label in zip(flipped["id"], flipped["hard_label"], strict=True) if label == 9]
    assert derive(flipped, rows="all")["hard_label"][:] == whole["session1"]["hard_label"][:]


def test_published_tables_add_up():
    for release in PUBLISHED["iemocap"]:
        names = [*iemocap.IemocapFolder.inventory, "undecided"]
        for session in range(1, 6):
            utterances = release.counts[f"session{session}: utterances"]
            assert sum(release.counts[f"session{session}: {name}"] for name in names) == utterances
        assert sum(release.counts[f"session{session}: utterances"] for session in range(1, 6)) == 10_039
        assert sum(n for what, n in release.counts.items() if what.startswith("votes")) == 31_414
    for release, votes in zip(PUBLISHED["crema_d"], (68_568, 71_654, 71_778), strict=True):
        assert sum(n for what, n in release.counts.items() if what.startswith("votes")) == votes
    for release in PUBLISHED["msp_podcast"]:
        splits = {what.split(":")[0] for what in release.counts}
        for split in splits:
            cells = [n for what, n in release.counts.items() if what.startswith(f"{split}: ")]
            if len(cells) > 1:
                assert sum(cells) == 2 * release.counts[f"{split}: utterances"]
    assert table("a b", "x 1 2", "y 3 4") == {"x: a": 1, "x: b": 2, "y: a": 3, "y: b": 4}


def test_crema_d_is_as_published(crema_d, capsys):
    for config in ("voice", "face", "audiovisual"):
        with pytest.raises(SystemExit) as ended:
            prepare.main("crema_d", ["--data_dir", str(crema_d), "--config", config, "--check", "--labels_only"])
        assert ended.value.code == 0
        assert f"beside CREMA-D, {config}" in capsys.readouterr().out


def test_the_toy_is_not_iemocap(toy_root, tmp_path, capsys):
    root = shutil.copytree(toy_root, tmp_path / "toy")
    first, second, *_ = sorted((root / "Session1/sentences/wav").glob("*/*.wav"))
    shutil.copy(first, second)
    with pytest.raises(SystemExit) as ended:
        prepare.main("iemocap", ["--data_dir", str(root), "--check"])
    assert ended.value.code == 1
    printed = capsys.readouterr().out
    assert "session1: utterances" in printed
    assert f"the same recording byte for byte: {first.stem} = {second.stem}" in printed
