"""The shape of the project: exports, imports that point one way, light imports, metric folders."""

import ast
import doctest
import json
import os
import subprocess
import sys
from pathlib import Path

import evaluate
import numpy as np
import pytest

import dime_hf
from dime_hf.score import score

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "dime_hf"
LAYERS = (
    ("columns", "errors"), ("stage",), ("distribution",), ("dirichlet",), ("score",), ("evidence",), ("audio",),
    ("corpora",), ("simulation",), ("annotate",), ("pool",), ("interchange",), ("protocol",), ("validate",),
    ("augment",), ("losses",), ("modeling",), ("cards",), ("trainer",), ("tuning",), ("report",), ("hub",),
    ("prepare",), ("cli",), ("__main__",),
)  # fmt: skip
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
METRICS = sorted(
    path.name for path in (ROOT / "metrics").iterdir() if path.is_dir() and not path.name.startswith((".", "_"))
)


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path):
    """Rooms of this package that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "dime_hf":
            names = [f"dime_hf.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        yield from (name.split(".")[1] for name in names if name.startswith("dime_hf."))


def test_exports_are_sorted_complete_and_lazy():
    assert dime_hf.__all__ == sorted(dime_hf.__all__)
    assert set(dime_hf.__all__) == {"__version__", *dime_hf._HOMES}
    for name in dime_hf.__all__:
        assert getattr(dime_hf, name) is not None
        assert name in dir(dime_hf)
    rooms = {room_of(path) for path in PACKAGE.rglob("*.py")}
    assert not rooms & set(dime_hf.__all__)  # a function named like a module would hide it
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = dime_hf.nonsense


def test_imports_point_one_way():
    modules = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]
    assert len(modules) > 15
    for path in modules:
        room = room_of(path)
        assert room in RANK, f"{path}: the room {room!r} has no place in the layers"
        for other in imported_rooms(path):
            assert other == room or RANK[other] <= RANK[room], f"{path}: {room} imports {other}, which comes after it"


def test_importing_loads_no_heavy_package():
    heavy = {"torch", "transformers", "librosa", "sklearn", "scipy"}
    code = f"import sys, dime_hf; print(sorted({heavy} & set(sys.modules)))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout
    assert output.strip() == "[]"


@pytest.mark.parametrize("name", METRICS)
def test_metric_folder(name, monkeypatch):
    folder = ROOT / "metrics" / name
    assert {"README.md", "app.py", "requirements.txt", f"{name}.py"} <= {path.name for path in folder.iterdir()}
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\ntitle:")
    assert "range" in card
    assert "lower" in card
    monkeypatch.chdir(ROOT)
    metric = evaluate.load(f"metrics/{name}")
    failures, tried = doctest.testmod(sys.modules[type(metric).__module__], extraglobs={"evaluate": evaluate})
    assert (failures, tried > 0) == (0, True)


def test_soft_label_metric_is_the_library(monkeypatch):
    monkeypatch.chdir(ROOT)
    rng = np.random.default_rng(0)
    predictions, counts = rng.dirichlet(np.ones(4), 60), rng.multinomial(3, np.ones(4) / 4, 60)
    control = np.full(4, 0.25)
    metric = evaluate.load("metrics/soft_label")
    assert metric.compute(predictions=predictions, references=counts, control=control) == score(
        predictions, counts, control=control
    )
    asked = {"metrics": ["r2_within", "ece"], "weights": rng.random(60)}
    assert metric.compute(predictions=predictions, references=counts, **asked) == score(predictions, counts, **asked)
    for start in range(0, 60, 20):
        metric.add_batch(predictions=predictions[start : start + 20], references=counts[start : start + 20])
    assert metric.compute() == score(predictions, counts)


def test_every_corpus_has_a_command_and_a_card():
    from dime_hf.corpora.register import BUILDERS, builder_class

    for corpus in BUILDERS:
        folder = ROOT / "dataset_scripts" / corpus
        assert (folder / f"{corpus}.py").is_file()
        assert (folder / "README.md").read_text(encoding="utf-8").startswith("---\n")
        assert builder_class(corpus).BUILDER_CONFIGS


ASK = """
import contextlib, io, json, runpy, sys
shown = {}
for script in sys.argv[1:]:
    sys.argv, told = [script, "--help"], io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
        runpy.run_path(script, run_name="__main__")
    shown[script] = told.getvalue()
print(json.dumps(shown))
"""


def test_every_command_tells_of_its_options():
    """In one process for all: each would import the same libraries for seconds."""
    scripts = sorted(str(path) for path in (ROOT / "dataset_scripts").glob("*/*.py"))
    shown = json.loads(subprocess.run([sys.executable, "-c", ASK, *scripts], capture_output=True, check=True).stdout)
    assert len(shown) >= 4
    for script, told in shown.items():
        assert "--data_dir" in told, script
        assert f"usage: {Path(script).name}" in told
