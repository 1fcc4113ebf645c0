"""The quickstart, as a newcomer runs it, with a small audio LM that was not taught anything."""

import json
import runpy
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
from transformers import pipeline

from dime_hf.annotate import small_audio_lm
from dime_hf.audio import read
from dime_hf.cli import main

SCRIPT = Path(__file__).parent.parent / "examples" / "quickstart.py"
FOUR = ("angry", "happy", "neutral", "sad")
SIX = ("angry", "happy", "neutral", "sad", "fear", "disgust")


@pytest.fixture
def run(monkeypatch, capsys):
    """The script as a function, in this process: exit code, and what it printed."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["quickstart.py", *map(str, arguments)])
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as end:
            return end.code, *capsys.readouterr()
        return 0, *capsys.readouterr()

    return call


def squared_scores(report):
    return {row["name"]: row["scores"]["squared_score"]["estimate"] for row in report["scores"]["overall"]["rows"]}


def test_toy(run, tmp_path):
    annotator = small_audio_lm(tmp_path / "lm", label_set=FOUR)
    code, printed, errors = run("--utterances", 130, "--annotator", annotator, "--output", tmp_path / "out")
    assert code == 0, errors
    rows = json.loads((tmp_path / "out/scores.json").read_text())["rows"]
    labels = {"human", "synthetic", "equal", "fitted", "prior", "model"}
    assert {(row["labels"], row["reference"]) for row in rows} == {(a, b) for a in labels for b in ("human", "truth")}
    assert len({row["n"] for row in rows}) == 1
    assert set(rows[0]) == {"labels", "reference", "squared_score", "js_divergence", "bhattacharyya", "n"}
    truth = {row["labels"]: row["squared_score"] for row in rows if row["reference"] == "truth"}
    assert truth["fitted"] < truth["human"]  # a proxy that says nothing weighs nothing, the prior helps
    assert truth["fitted"] < truth["equal"]
    assert "the truth" in printed
    report = json.loads((tmp_path / "out/report/report.json").read_text())
    assert set(report["left_out"]) == {"protocols"}
    assert report["pooling"]["control"] == "prior"
    assert [row["name"] for row in report["scores"]["overall"]["rows"]] == ["model", "a constant"]
    assert (tmp_path / "out/report/report.html").stat().st_size > 100_000
    assert main(["report", str(tmp_path / "out"), "--output", str(tmp_path / "again")]) == 0
    again = json.loads((tmp_path / "again/report.json").read_text())
    assert set(again["left_out"]) == {"pooling", "protocols"}  # for labels/ is left by `dime-hf pool` alone
    assert squared_scores(again)["model"] == pytest.approx(squared_scores(report)["model"])
    assert squared_scores(again)["constant"] == pytest.approx(squared_scores(report)["a constant"])
    train, test = (datasets.load_from_disk(str(tmp_path / "out" / name)) for name in ("train", "test"))
    assert not set(train["speaker"]) & set(test["speaker"])
    classify = pipeline("audio-classification", model=str(tmp_path / "out/model"), top_k=None)
    answer = classify({"raw": read(test[0]["audio"]), "sampling_rate": 16000})
    assert {entry["label"] for entry in answer} == set(FOUR)
    assert np.isclose(sum(entry["score"] for entry in answer), 1)


def test_crema_d(run, crema_d, tmp_path):
    annotator = small_audio_lm(tmp_path / "lm", label_set=SIX)
    code, printed, errors = run(
        "--corpus", "crema_d", "--data_dir", crema_d, "--annotator", annotator, "--output", tmp_path / "out"
    )
    assert code == 0, errors
    assert "7,430 of them are left out" in printed
    assert "too few to train on" in printed
    rows = json.loads((tmp_path / "out/scores.json").read_text())["rows"]
    assert [row["labels"] for row in rows] == ["human", "synthetic", "equal", "fitted", "prior"]
    assert {row["n"] for row in rows} == {12}
    report = json.loads((tmp_path / "out/report/report.json").read_text())
    assert {"training", "scores", "augmentation", "predictions"} <= set(report["left_out"])


def test_what_is_missing_is_said(run, tmp_path):
    code, _, errors = run("--corpus", "crema_d", "--output", tmp_path / "out")
    assert code == 2
    assert "--data_dir" in errors


@pytest.mark.parametrize("pointers", [True, False])
def test_a_corpus_without_sound(run, crema_d, tmp_path, pointers):
    (tmp_path / "crema/processedResults").mkdir(parents=True)
    lines = (crema_d / "processedResults/tabulatedVotes.csv").read_text().splitlines()[:2000]
    (tmp_path / "crema/processedResults/tabulatedVotes.csv").write_text("\n".join(lines))
    if pointers:
        (tmp_path / "crema/AudioWAV").mkdir()
        pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n"
        (tmp_path / "crema/AudioWAV/1001_IEO_NEU_XX.wav").write_text(pointer)
    code, _, errors = run("--corpus", "crema_d", "--data_dir", tmp_path / "crema", "--output", tmp_path / "out")
    assert code == 2
    assert "no utterance has a recording" in errors
