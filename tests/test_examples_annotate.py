"""The annotation scripts: in one process, under `accelerate launch`, and on Ray in local mode."""

import importlib.util
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import datasets
import huggingface_hub
import pytest

from dime_hf.annotate import PROMPTS as ALL_PROMPTS
from dime_hf.annotate import AnswerStore, AudioLMAnnotator, annotate, small_audio_lm
from tests.endpoint import Endpoint, truth

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
CLASSES = ("angry", "happy", "neutral", "sad")
PROMPTS = ("tone", "word_choice")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return small_audio_lm(tmp_path_factory.mktemp("lm"), label_set=CLASSES)


@pytest.fixture(scope="module")
def saved(toy_fold, tmp_path_factory):
    """Ten utterances on disk."""
    folder = tmp_path_factory.mktemp("saved") / "toy"
    toy_fold["test"].select(range(10)).save_to_disk(folder)
    return folder


def arguments(saved, checkpoint, output, *more):
    given = ["--corpus", saved, "--annotator", checkpoint, "--output", output, "--prompts", *PROMPTS, *more]
    return [str(argument) for argument in given]


def run(*command, **more):
    environment = more | {name: value for name, value in os.environ.items() if name not in more}
    environment = {name: value for name, value in environment.items() if not name.startswith("COV")}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check(output, saved, checkpoint, prompts=PROMPTS):
    """Compare what a script left with `annotate` in this process."""
    annotated = datasets.load_from_disk(str(output / "annotated"))
    by_name = {prompt.name: prompt for prompt in AudioLMAnnotator(checkpoint, CLASSES).prompts}
    annotator = AudioLMAnnotator(checkpoint, CLASSES, tuple(by_name[name] for name in prompts))
    expected = annotate(datasets.load_from_disk(str(saved)), annotator)
    assert annotated["id"][:] == expected["id"][:]
    for found, wanted in zip(annotated["answers"], expected["answers"], strict=True):
        assert [answer["proxy"] for answer in found] == [answer["proxy"] for answer in wanted]
        for one, other in zip(found, wanted, strict=True):
            assert one["distribution"] == pytest.approx(other["distribution"], abs=1e-4)
    assert f"| {checkpoint.name}/tone | 10 | 10 | 0 |" in (output / "card.md").read_text()


def answers(path):
    with AnswerStore(path) as store:
        return len(store)


@pytest.fixture
def main(monkeypatch):
    """The script as a function, in this process; returns its exit code."""
    from accelerate import PartialState

    def call(*given):
        monkeypatch.setattr(sys, "argv", ["annotate.py", *given])
        PartialState._reset_state()
        try:
            runpy.run_path(str(EXAMPLES / "annotate.py"), run_name="__main__")
        except SystemExit as end:
            return end.code
        finally:
            PartialState._reset_state()
        return 0

    return call


def test_plan_then_ask_then_go_on(main, saved, checkpoint, tmp_path, capsys):
    assert main(*arguments(saved, checkpoint, tmp_path, "--dry_run")) == 0
    assert re.search(r"answers to ask +20\n", capsys.readouterr().out)
    assert not list(tmp_path.iterdir())
    main(*arguments(saved, checkpoint, tmp_path, "--limit", "4"))
    main(*arguments(saved, checkpoint, tmp_path, "--dry_run"))
    planned = capsys.readouterr().out
    assert re.search(r"answers in the store +8\n", planned)
    assert re.search(r"answers to ask +12\n", planned)
    main(*arguments(saved, checkpoint, tmp_path))
    assert "10 utterances are in" in capsys.readouterr().out
    check(tmp_path, saved, checkpoint)
    assert main(*arguments(saved, checkpoint, tmp_path)[:-2], "tones") == 2
    assert "invalid choice: 'tones' (choose from" in capsys.readouterr().err


def test_processes_of_accelerate_share_the_work(saved, checkpoint, tmp_path):
    command = (sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu")
    options = ("--num_processes", "2", "--main_process_port", "0", EXAMPLES / "annotate.py")
    printed = run(*command, *options, *arguments(saved, checkpoint, tmp_path))
    assert printed.count("10 utterances are in") == 1
    stores = sorted((tmp_path / "stores").glob("*.sqlite"))
    assert [path.name for path in stores] == ["00000-of-00002.sqlite", "00001-of-00002.sqlite"]
    assert [answers(path) for path in stores] == [10, 10]
    check(tmp_path, saved, checkpoint)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_actors_of_ray_share_the_work_and_go_on(saved, checkpoint, tmp_path):
    with AnswerStore(tmp_path / "stores" / "earlier.sqlite") as earlier:
        one = AudioLMAnnotator(checkpoint, CLASSES)
        tone = tuple(prompt for prompt in one.prompts if prompt.name == "tone")
        annotate(datasets.load_from_disk(str(saved)), AudioLMAnnotator(checkpoint, CLASSES, tone), earlier)
    printed = run(sys.executable, EXAMPLES / "annotate_ray.py", "--actors", 2, *arguments(saved, checkpoint, tmp_path))
    assert "went through 10 utterances in 2 shares" in printed
    actors = list((tmp_path / "stores").glob("actor-*.sqlite"))
    assert 1 <= len(actors) <= 2
    assert sum(map(answers, actors)) == 10  # word_choice alone: what the earlier run asked is not asked again
    check(tmp_path, saved, checkpoint)


def test_an_endpoint_answers_in_place_of_a_checkpoint(main, saved, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with Endpoint() as server:
        assert main(*arguments(saved, "somebody/heard", tmp_path, "--base_url", server.url)) == 0
    assert len(server.requests) == 20
    annotated = datasets.load_from_disk(str(tmp_path / "annotated"))
    prompt = {prompt.name: prompt for prompt in ALL_PROMPTS}["tone"]
    for text, answers in zip(annotated["text"], annotated["answers"], strict=True):
        share = truth(text, prompt.attention)[:4]
        assert [answer["proxy"] for answer in answers] == ["heard/tone", "heard/word_choice"]
        assert answers[0]["distribution"] == pytest.approx((share / share.sum()).tolist(), abs=1e-5)
