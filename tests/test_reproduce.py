"""The paper's experiment and ours, in the smallest size."""

import json
import runpy
import sys

import pytest
import yaml

from dime_hf.corpora.splits import LeakageWarning
from tests.places import ROOT

EXAMPLES = ROOT / "examples"


def test_both_protocols_stand_side_by_side(tmp_path, monkeypatch, capsys):
    config = yaml.safe_load((EXAMPLES / "configs" / "toy.yaml").read_text())
    one = {"num_train_epochs": 1, "per_device_train_batch_size": 16, "use_cpu": True, "disable_tqdm": True}
    config |= {
        "utterances": 40,
        "lessons": 20,
        "prompts": 1,
        "folds": [1],
        "training": one | {"loss": "js_entropy"},
        "ours": one,
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "--config", "tiny.yaml", "--output", "out"])
    with pytest.warns(LeakageWarning, match="speakers are in both train and test"):
        runpy.run_path(str(EXAMPLES / "reproduce.py"), run_name="__main__")
    tables = json.loads((tmp_path / "out" / "tiny" / "tables.json").read_text())
    moving = {name: table["moving"] for name, table in tables["paper"].items()}
    assert moving == {"human": False, "synthetic": True, "combined": True}
    ours = tables["ours"]
    assert (ours["reference"], ours["moving"], ours["control"]) == ("all human votes", False, "mean label")
    assert [row["name"] for row in ours["rows"]] == ["human", "synthetic", "combined", "ours", "mean label"]
    assert ours["n_groups"] == 2  # the speakers of one fold, whom no model heard
    assert "MOVING REFERENCE" in capsys.readouterr().out


def test_configs_of_the_corpora_name_what_there_is():
    from dime_hf.corpora.register import builder_class
    from dime_hf.tuning import TuningConfig

    for path in (EXAMPLES / "configs").glob("*.yaml"):
        config = yaml.safe_load(path.read_text())
        corpus = "iemocap" if config["corpus"] == "toy" else config["corpus"]
        names = [one.name for one in builder_class(corpus).BUILDER_CONFIGS]
        assert config["label_set"] in names, f"{path}: {names}"
        if config["model"] == "audio_lm":
            for settings in (config["training"], config["ours"]):
                TuningConfig.paper("out", **settings | {"bf16": False, "use_cpu": True})
