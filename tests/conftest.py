"""Caches in a throw-away folder, no Hub, and the corpora that tests read."""

import gc
import os
import tempfile
from pathlib import Path

CACHE = tempfile.TemporaryDirectory(prefix="dime_hf_tests_")
os.environ.update(
    HF_HOME=CACHE.name,
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_UPDATE_DOWNLOAD_COUNTS="0",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
    MPLBACKEND="Agg",
    OMP_NUM_THREADS="1",  # each test process has a core
)

import datasets  # noqa: E402
import hypothesis  # noqa: E402
import pytest  # noqa: E402

import dime_hf  # noqa: E402
from dime_hf.corpora import toy  # noqa: E402
from tests.hub_client import client, hub  # noqa: E402, F401
from tests.places import DATA, ROOT  # noqa: E402, F401

hypothesis.settings.register_profile("tests", max_examples=40)  # where a test names no number of its own
hypothesis.settings.load_profile("tests")


def pytest_collection_finish():
    """What was imported stays: walking through it in every garbage collection takes a tenth of the tests' time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def quiet():
    """No progress bars in test output."""
    datasets.disable_progress_bars()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of open recordings and votes that some checkouts have beside them; skips where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no open data in {DATA} (set DIME_HF_DATA to its place)")
    return DATA


@pytest.fixture(scope="session")
def crema_d(shared_data) -> Path:
    """The real vote counts of CREMA-D, with the recordings of 12 clips."""
    return shared_data / "crema_d"


@pytest.fixture(scope="session")
def toy_root(tmp_path_factory) -> Path:
    """A toy corpus of 120 utterances, 6 annotators each."""
    return toy.write(tmp_path_factory.mktemp("toy") / "corpus", utterances=120, seed=1)


@pytest.fixture(scope="session")
def toy_fold(toy_root) -> datasets.DatasetDict:
    """The toy corpus as train (3 sessions), validation and test."""
    return dime_hf.load_dataset("iemocap", data_dir=toy_root, fold=1)
