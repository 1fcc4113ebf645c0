"""The wheel: what is in it, and that it runs where there is no checkout."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.places import ROOT

pytest.importorskip("setuptools", minversion="77")
pytest.importorskip("pip")
FILES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")  # what a wheel is made of, beside the package


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=240, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built in a copy of the checkout: setuptools would leave folders in it."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    shutil.copytree(ROOT / "dime_hf", source / "dime_hf", ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, source)
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet")
    run(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", place, source)
    (built,) = place.glob("dime_hf-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """An environment with the wheel, that sees the other packages of this one, and not the checkout."""
    place = tmp_path_factory.mktemp("environment") / "site"
    options = ("--no-deps", "--no-index", "--disable-pip-version-check", "--quiet", "--no-compile")
    run(sys.executable, "-m", "pip", "install", *options, "--target", place, wheel)
    return place


@pytest.fixture
def dime_hf(installed, tmp_path):
    """The installed command, in an empty folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTHON"))}

    def call(*arguments):
        command = (sys.executable, installed / "bin" / "dime-hf", *arguments)
        return run(*command, cwd=tmp_path, env=kept | {"PYTHONPATH": str(installed)})

    return call


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    inside = {name for name in names if name.startswith("dime_hf/")}
    assert {name.split("/")[0].split("-")[0] for name in names} == {"dime_hf"}
    here = {str(path.relative_to(ROOT)) for path in (ROOT / "dime_hf").rglob("*") if path.is_file()}
    assert inside == {path for path in here if "__pycache__" not in path}
    assert {"dime_hf/report/page.html.jinja", "dime_hf/report/page.css", "dime_hf/report/explorer.js"} <= inside
    assert not [name for name in names if "test" in name.lower().split("/")]


def test_the_command_runs_from_an_empty_folder(dime_hf, installed, tmp_path):
    assert "commands:" in dime_hf("--help")
    where = "import dime_hf; print(dime_hf.__file__)"
    options = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(installed)}}
    assert run(sys.executable, "-c", where, **options).strip() == str(installed / "dime_hf" / "__init__.py")
    printed = dime_hf("pool", "--utterances", "100", "--compare")
    assert "verdict: " in printed
    dime_hf("report")  # with the page, its style and its script
    assert (tmp_path / "outputs/report/report.html").stat().st_size > 50_000


@pytest.mark.skipif("DIME_HF_WHEEL_DEMO" not in os.environ, reason="takes a minute: set DIME_HF_WHEEL_DEMO=1")
def test_the_whole_pipeline_runs_from_an_empty_folder(dime_hf, tmp_path):
    printed = dime_hf("demo", "--utterances", "120")
    assert "Verdict, 'fitted' against 'prior'" in printed
    assert (tmp_path / "outputs/quickstart/report/report.html").stat().st_size > 100_000
