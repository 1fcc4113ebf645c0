"""`dime-hf`: what its commands leave, configuration files, exit codes, and what `--help` imports."""

import json
import os
import subprocess
import sys

import datasets
import numpy as np
import pytest
import yaml

from dime_hf import prepare
from dime_hf.cli import COMMANDS, annotate, choices, main, pool
from dime_hf.cli.train import constant
from dime_hf.errors import FitError, HubError, LicenceError
from tests.hub_client import environment
from tests.places import ROOT

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
ENVIRONMENT |= {"PYTHONPATH": str(ROOT)}


def python(*arguments, **options):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=240, **options)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with what `pool` left, of a simulated corpus."""
    folder = tmp_path_factory.mktemp("study")
    given = ["--utterances", "120", "--compare", "human", "equal", "--method", "linear"]
    assert main(["pool", *given, "--output", str(folder / "pool")]) == 0
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with what `train` left, of the toy corpus."""
    folder = tmp_path_factory.mktemp("trained")
    given = ["--utterances", "80", "--epochs", "1", "--learning_rate", "1e-3", "--loss", "js", "--output", str(folder)]
    assert main(["train", *given]) == 0
    return folder


def test_help_imports_nothing_that_takes_time():
    code = (
        "import sys; from dime_hf.cli import COMMANDS, main\n"
        "codes = [main(['--help']), *(main([name, '--help']) for name in COMMANDS)]\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'pyarrow', 'scipy', 'yaml', 'huggingface_hub'}\n"
        "print('\\n', codes, sorted(heavy & set(sys.modules)))"
    )
    done = python("-c", code)
    assert done.stdout.splitlines()[-1].strip() == f"{[0] * (1 + len(COMMANDS))} []", done.stderr
    for name, about in COMMANDS.items():
        assert f"  {name:<10}{about}" in done.stdout
        assert f"usage: dime-hf {name} " in done.stdout


def test_choices_are_those_of_the_library():
    from dime_hf.annotate import PROMPTS
    from dime_hf.augment.make import ENCODINGS
    from dime_hf.corpora.builder import MISSING_AUDIO
    from dime_hf.corpora.policy import POLICIES
    from dime_hf.corpora.published import PUBLISHED
    from dime_hf.corpora.register import BUILDERS
    from dime_hf.corpora.rows import ROWS
    from dime_hf.hub import INCLUDE
    from dime_hf.losses import LOSSES
    from dime_hf.pool import POOLERS
    from dime_hf.tuning.config import HEADS

    assert set(prepare.CORPORA) == set(BUILDERS)
    assert set(prepare.PUBLISHED) == set(PUBLISHED)
    assert (prepare.ROWS, prepare.MISSING_AUDIO, prepare.INCLUDE) == (ROWS, MISSING_AUDIO, tuple(INCLUDE))
    assert set(prepare.POLICIES) == set(POLICIES)
    assert tuple(prompt.name for prompt in PROMPTS) == choices.PROMPTS
    assert (tuple(POOLERS), tuple(ENCODINGS)) == (choices.POOLERS, choices.ENCODINGS)
    assert (tuple(LOSSES), HEADS) == (choices.LOSSES, choices.HEADS)


def options_of(capsys, *arguments):
    """The options that a command would run with."""
    assert main([*arguments, "--print_config"]) == 0
    return yaml.safe_load(capsys.readouterr().out)


def test_a_file_gives_options_and_the_command_line_wins(tmp_path, capsys):
    written = {"rows": "all", "fold": 2, "labels_only": True, "include": ["text", "votes"], "corpus": "crema_d"}
    written |= {"data_dir": "CREMA-D", "num_proc": None}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(written))
    (tmp_path / "a.json").write_text(json.dumps(written))
    for name in ("a.yaml", "a.json"):
        given = ["prepare", "--config", str(tmp_path / name)]
        found = options_of(capsys, *given)
        assert found == found | written
        assert found["missing_audio"] == "keep"
        found = options_of(capsys, *given, "iemocap", "--fold", "3", "--include", "audio")
        assert found == found | written | {"corpus": "iemocap", "fold": 3, "include": ["audio"]}
    (tmp_path / "rate.yaml").write_text("learning_rate: 3e-5\nepochs: 2\n")  # YAML takes 3e-5 for a text
    found = options_of(capsys, "train", "--config", str(tmp_path / "rate.yaml"))
    assert (found["learning_rate"], found["epochs"]) == (3e-5, 2.0)


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {"prepare", "check", "push"}))
def test_printed_options_give_the_same_options(command, tmp_path, capsys):
    first = options_of(capsys, command, "--output", "else where")
    (tmp_path / "printed.yaml").write_text(yaml.safe_dump(first))
    assert options_of(capsys, command, "--config", str(tmp_path / "printed.yaml")) == first
    assert first["output"] == "else where"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("methd: prior", "there is no option 'methd'. Did you mean 'method'?"),
        ("method: fited", "method: 'fited' is no choice. Did you mean 'fitted'?"),
        ("keep: many", "keep: invalid literal"),
        ("keep: [1, 2]", "keep: must be one value"),
        ("compare: human", "compare: must be a list"),
        ("rotate: 1", "rotate: must be true or false"),
        ("keep: true", "keep: must be one value, not True"),
        ("- method", "must hold options by name, not a list"),
        ("a: [", "cannot be read: while parsing"),
        ("config: other.yaml", "there is no option 'config'"),
    ],
)
def test_a_file_that_is_wrong(text, told, tmp_path, capsys):
    (tmp_path / "wrong.yaml").write_text(text)
    assert main(["pool", "--config", str(tmp_path / "wrong.yaml")]) == 2
    error = capsys.readouterr().err
    assert "wrong.yaml" in error
    assert told in error


def test_usage_that_is_wrong_ends_with_2(capsys, tmp_path):
    for given, told in [
        (["anotate"], "there is no command 'anotate'. Did you mean 'annotate'?"),
        ([], "required: COMMAND"),
        (["pool", "--metod", "linear"], "unrecognized arguments: --metod"),
        (["pool", "--config", str(tmp_path / "nowhere.yaml")], "nowhere.yaml cannot be read"),
        (["check", "iemocap"], "required: --data_dir"),
        (["train", "--head", "options"], "OptionError: --head is of audio LMs"),
        (["train", "--audio_lm", "--encoder", "x"], "OptionError: --encoder is of encoders"),
        (["train", "--corpus", "crema_d"], "OptionError: --corpus crema_d needs --data_dir"),
        (["train", "--dataset", str(tmp_path / "none")], "none"),
        (["augment", "--target", "even"], "OptionError: --target must be 'uniform' or shares"),
        (["report", str(tmp_path / "none")], "OptionError: no folder"),
        (["report", str(tmp_path)], "OptionError: nothing to report in"),
        (["push", str(tmp_path / "none"), "me/it"], "OptionError"),
        (["push", str(tmp_path), "me/it", "--metric", "--include", "text"], "OptionError: --metric pushes a folder"),
        (["push", str(tmp_path), "me/it", "--predictions", "a.csv"], "OptionError: --predictions are shown on a page"),
    ]:
        assert main([*given, *(["--output", str(tmp_path / "out")] if given[:1] == ["augment"] else [])]) == 2
        assert told in capsys.readouterr().err, given


def test_what_a_command_raises_is_told_in_a_line(monkeypatch, capsys):
    def failing(error):
        def run(_):
            raise error

        monkeypatch.setattr(pool, "run", run)
        return main(["pool"]), capsys.readouterr()

    for error, code in ((FitError("no\n  votes"), 2), (FileNotFoundError("nowhere"), 2), (HubError("no"), 1)):
        returned, printed = failing(error)
        assert returned == code
        assert printed.err == f"dime-hf pool: {type(error).__name__}: {' '.join(str(error).split())}\n"
        assert printed.out == ""
    assert failing(LicenceError("may not leave"))[0] == 1
    assert failing(KeyboardInterrupt())[0] == 130
    code, printed = failing(RuntimeError("a bug"))
    assert code == 70
    assert "Traceback" in printed.err
    failing(FitError("no votes"))
    assert main(["pool", "--traceback"]) == 2
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("DIME_HF_TRACEBACK", "1")
    assert "Traceback" in failing(FitError("no votes"))[1].err


def test_a_reader_that_has_seen_enough_is_no_error():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        command = [sys.executable, "-m", "dime_hf", "pool", "--print_config"]
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_wrong_command_of_a_shell():
    done = python("-m", "dime_hf", "score", "--labels", "nowhere.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "NAME=PATH" in done.stderr


def test_corpora_are_prepared_and_checked(toy_root, tmp_path, capsys):
    saved = tmp_path / "saved"
    assert main(["prepare", "iemocap", "--data_dir", str(toy_root), "--fold", "1", "--save", str(saved)]) == 0
    assert len(datasets.load_dataset(str(saved), split="train")) > 0
    assert f"saved to {saved}" in capsys.readouterr().out
    assert main(["check", "iemocap", "--data_dir", str(toy_root), "--json"]) == 1  # the toy is not IEMOCAP
    found = json.loads(capsys.readouterr().out)
    assert found["agrees"] is False
    assert found["deviations"]
    for what, (published, counted) in found["deviations"].items():
        assert found["release"]["counts"][what] == published != counted


def test_scores_are_printed_as_json(study, tmp_path, capsys):
    made = study / "pool"
    labels = [f"{name}={made / 'labels' / name}" for name in ("linear", "prior")]
    given = ["--reference", str(made / "test"), "--labels", *labels, "--output", str(tmp_path)]
    assert main(["score", *given, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "scores.json").read_text())
    assert (printed["control"], [row["name"] for row in printed["rows"]]) == ("prior", ["linear", "prior"])


def test_a_report_of_what_is_there(study, trained, tmp_path, capsys):
    out = tmp_path / "one"
    assert main(["report", str(study / "pool"), "--output", str(out)]) == 0
    told = capsys.readouterr().out
    assert "Verdict on 'linear' against 'prior'" in told  # as `pool` was told
    assert "training: left out, no history.json in" in told
    page = json.loads((out / "report.json").read_text())
    assert set(page["left_out"]) == {"augmentation", "training", "scores", "predictions"}
    scores = json.loads((study / "pool" / "scores.json").read_text())["scores"]
    assert page["pooling"]["verdict"] == scores["verdict"]
    assert set(page["utterances"]["id"]) == set(datasets.load_from_disk(study / "pool" / "test")["id"])
    both = [str(trained), str(study / "pool")]
    assert main(["report", *both, "--include", "text", "--title", "Mine", "--output", str(tmp_path / "two")]) == 0
    page = json.loads((tmp_path / "two" / "report.json").read_text())
    assert set(page["left_out"]) == {"augmentation"}
    assert page["title"] == "Mine"
    assert set(page["utterances"]["id"]) == set(datasets.load_from_disk(trained / "test")["id"])
    assert "Mine" in (tmp_path / "two" / "report.html").read_text()


def test_an_encoder_is_trained_and_scored_beside_a_constant(trained, tmp_path, capsys):
    from dime_hf.protocol import score_labels
    from dime_hf.score import read_predictions

    test = datasets.load_from_disk(trained / "test")
    names = ("constant", "model")
    predictions = {name: read_predictions(trained / "predictions" / f"{name}.csv", test) for name in names}
    table = json.loads((trained / "scores.json").read_text())
    expected = score_labels(predictions, test, control="constant")
    for row, wanted in zip(table["rows"], sorted(expected.rows, key=lambda row: row.name == "constant"), strict=True):
        assert row["name"] == wanted.name
        assert row["scores"]["squared_score"]["estimate"] == pytest.approx(wanted.scores["squared_score"].estimate)
    assert np.unique(predictions["constant"], axis=0).shape == (1, 4)
    history = json.loads((trained / "history.json").read_text())
    assert any("eval_squared_score" in row for row in history)  # on the split `validation`
    saved = tmp_path / "again"
    datasets.DatasetDict(train=test).save_to_disk(saved)
    again = ["--dataset", str(saved), "--encoder", str(trained / "model"), "--epochs", "1"]
    assert main(["train", *again, "--output", str(tmp_path / "out")]) == 0
    assert "not scored: there is no split 'test'" in capsys.readouterr().out
    assert (tmp_path / "out" / "model" / "model.safetensors").exists()


def test_a_constant_is_of_the_utterances_that_were_voted_on():
    counts = [[3.0, 1.0], [0.0, 0.0], [1.0, 1.0]]  # the second was made by DiME-Aug
    rows = datasets.Dataset.from_dict({"vote_counts": counts, "soft_label": [[0.75, 0.25], [0.0, 1.0], [0.5, 0.5]]})
    np.testing.assert_allclose(constant(rows, 2), [[0.625, 0.375]] * 2)
    np.testing.assert_allclose(constant(rows.remove_columns("vote_counts"), 1), [[1.25 / 3, 1.75 / 3]])


def test_a_refused_push_is_a_no(tmp_path, capsys):
    (tmp_path / "soft_label").mkdir()
    assert main(["push", str(tmp_path / "soft_label"), "me/soft_label", "--metric"]) == 1
    assert "HubError: `folder`" in capsys.readouterr().err


def test_labels_a_page_and_a_metric_are_pushed_and_a_stranger_is_refused(toy_fold, hub, tmp_path):
    saved = str(tmp_path / "saved")
    toy_fold["test"].save_to_disk(saved)
    known, unknown = environment(hub, tmp_path), environment(hub, tmp_path, token="hf_nobody")
    assert pushed(known, saved, "tester/from-a-shell") == "ids and soft labels"
    assert pushed(known, saved, "tester/page-from-a-shell", "--space", "--include", "votes").endswith("labels, votes")
    assert pushed(known, str(ROOT / "metrics" / "hard_label"), "tester/hard_label", "--metric") == "metric"
    refused = push(unknown, saved, "tester/from-a-shell")
    assert refused.returncode == 1, refused.stderr
    assert "HubError" in refused.stderr
    assert "hf_nobody" not in refused.stderr


def push(env, *arguments):
    command = [sys.executable, "-m", "dime_hf", "push", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


def pushed(env, *arguments):
    """What a push that went well says it pushed, privately."""
    done = push(env, *arguments)
    assert done.returncode == 0, done.stderr
    told, _, what = done.stdout.strip().partition(", private: ")
    assert told == f"pushed to {arguments[1]}"
    return what


def test_a_command_is_what_the_others_import():
    assert callable(annotate.dataset_of)  # examples/annotate_ray.py
    assert {path.stem for path in (ROOT / "dime_hf" / "cli").glob("*.py")} >= set(COMMANDS)


@pytest.mark.parametrize("first", ["dime_hf.columns", "dime_hf.corpora.guard", "datasets", "dime_hf.report"])
def test_corpora_are_registered_whatever_imports_datasets_first(first):
    code = (
        f"import dime_hf, sys; assert 'datasets' not in sys.modules; import {first}\n"
        "import datasets; print(hasattr(datasets.load.dataset_module_factory, 'unwrapped'), "
        "hasattr(datasets.inspect.dataset_module_factory, 'unwrapped'), "
        "hasattr(datasets.Dataset.push_to_hub, 'unwrapped'))"
    )
    done = python("-c", code)
    assert done.stdout.split() == ["True"] * 3, done.stderr
