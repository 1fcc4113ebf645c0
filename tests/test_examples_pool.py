"""The scripts that pool and score, from the command line."""

import contextlib
import csv
import io
import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pytest

from dime_hf import columns
from dime_hf.evidence import plain
from dime_hf.protocol import score_labels
from dime_hf.simulation import Proxy, simulate

ROOT = Path(__file__).parent.parent


def run(folder, script, *arguments):
    """Run a script in a folder, in this process; returns its exit code, and what it printed."""
    given = [script, *map(str, arguments)]
    printed, errors = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(errors),
    ):
        patch.setattr(sys, "argv", given)
        try:
            code = runpy.run_path(str(ROOT / "examples" / script), run_name="__main__").get("code")
        except SystemExit as end:
            code = end.code
    return SimpleNamespace(returncode=code, stdout=printed.getvalue(), stderr=errors.getvalue())


@pytest.fixture(scope="module")
def pooled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pooled")
    done = run(folder, "pool.py", "--utterances", 300)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_pool_says_what_it_found_and_leaves_it(pooled):
    folder, printed = pooled
    out = folder / "outputs" / "pool"
    for words in ("Alignment with", "Worth in human votes", "verdict: ", "MOVING: labels of their own"):
        assert words in printed
    labelled = datasets.load_from_disk(str(out / "labelled"))
    assert len(labelled) == 300
    assert all(source.startswith("fitted(") for source in labelled.unique("soft_label_source"))
    votes = [sum(row["vote_counts"]) for row in labelled]
    assert min(total - given for total, given in zip(labelled["soft_label_votes"], votes, strict=True)) > 0
    test, fitted, prior = (
        datasets.load_from_disk(str(out / name)) for name in ("test", "labels/fitted", "labels/prior")
    )
    scores = json.loads((out / "scores.json").read_text())["scores"]
    expected = score_labels({"prior": prior, "fitted": fitted}, test, control="prior", verdict_on="fitted")
    assert scores["verdict"] == plain(expected.verdict)
    with open(out / "next_votes.csv", newline="") as file:
        gains = [float(row["expected_reduction"]) for row in csv.DictReader(file)]
    assert len(gains) == 300
    assert gains == sorted(gains, reverse=True)
    assert json.loads((out / "validation.json").read_text())["proxies"] == ["good", "wrong"]


def test_score_reads_what_pool_left_and_files_of_others(pooled):
    folder, _ = pooled
    done = run(folder, "score.py")
    assert done.returncode == 0, done.stderr
    assert "control: prior" in done.stdout
    test = datasets.load_from_disk(str(folder / "outputs" / "pool" / "test"))
    names = columns.classes(test)
    with open(folder / "mine.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", *names])
        rows.writerows([id, *[1 / len(names)] * len(names)] for id in test["id"])
    done = run(folder, "score.py", "--labels", "model=mine.csv", "--output", "uniform")
    assert done.returncode == 0, done.stderr
    table = json.loads((folder / "uniform" / "scores.json").read_text())
    assert table["rows"][0]["source"] == "predictions"
    assert table["rows"][0]["scores"]["squared_score"]["estimate"] == pytest.approx(-1 / len(names))


def test_a_reference_that_moves_must_be_asked_for(pooled):
    folder, _ = pooled
    arguments = ("--reference", "outputs/pool/labelled", "--labels", "fitted=outputs/pool/labelled")
    refused = run(folder, "score.py", *arguments)
    assert refused.returncode == 2
    assert "LeakageError" in refused.stderr
    allowed = run(folder, "score.py", *arguments, "--moving_reference", "--output", "moving")
    assert allowed.returncode == 0, allowed.stderr
    assert "MOVING REFERENCE" in allowed.stdout
    assert "MOVING REFERENCE" in json.loads((folder / "moving" / "scores.json").read_text())["reference"]


def test_annotators_judge_in_turn(tmp_path):
    simulate(150, annotators=3, speakers=10, proxies=[Proxy(votes=2)]).dataset().save_to_disk(tmp_path / "saved")
    done = run(tmp_path, "pool.py", "--dataset", "saved", "--rotate", "--compare", "human")
    assert done.returncode == 0, done.stderr
    test = datasets.load_from_disk(str(tmp_path / "outputs" / "pool" / "test"))
    assert len(test) == 450  # each utterance once for each of its three annotators
    np.testing.assert_array_equal(np.array(test["reference_counts"]).sum(-1), 1)


def test_bad_arguments(tmp_path):
    done = run(tmp_path, "pool.py", "--method", "prior")
    assert done.returncode == 2
    assert "is the control" in done.stderr
    done = run(tmp_path, "score.py", "--labels", "model=nowhere.csv")
    assert done.returncode == 2
    assert "NAME=PATH" in done.stderr
    done = run(tmp_path, "score.py")
    assert done.returncode == 2
    assert "run `dime-hf pool` (examples/pool.py) first" in done.stderr
