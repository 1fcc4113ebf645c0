"""How long a report takes, how large its page is, and when one can use it."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from dime_hf.pool import get_pooler, pool
from dime_hf.protocol import scores_by_level
from dime_hf.report import report
from dime_hf.simulation import Proxy, simulate
from dime_hf.validate import validate
from tests.bench.timing import compare

UTTERANCES, SHARE = 10_000, 10
PRIOR = (0.24, 0.2, 0.16, 0.12, 0.1, 0.08, 0.06, 0.04)
LARGEST, LATEST = 20e6, 2.0  # bytes of the page, and seconds until one can use it
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


def report_10k() -> dict[str, Any]:
    """Make and save a report of 10,000 utterances x 8 classes: page, Markdown, JSON, figures; scores are there before.

    Baseline: the same of 1,000 utterances, its seconds times 10. The validation of both is that of the same 1,000.
    """
    small, large = found(UTTERANCES // SHARE), found(UTTERANCES)
    large["validation"] = small["validation"] = validate(small["data"])
    with tempfile.TemporaryDirectory() as folder:
        row = compare(
            "report_10k",
            lambda: report(**large).save(Path(folder) / "large"),
            lambda: report(**small).save(Path(folder) / "small"),
            unit="s",
            n=UTTERANCES,
            repetitions=3,
        )
        row["baseline"] *= SHARE
        row["ratio"] *= SHARE
        _describe(Path(folder) / "large" / "report.html")
    return row


def found(utterances: int) -> dict[str, Any]:
    """A simulated corpus with labels, predictions and their scores."""
    proxies = [Proxy(f"proxy {number}", votes=0.5, failures=0.02) for number in range(3)]
    corpus = simulate(utterances, prior=PRIOR, speakers=100, annotators=6, proxies=proxies).held_out(3)
    others = simulate(500, prior=PRIOR, speakers=20, annotators=6, proxies=proxies, seed=1).dataset()
    others = others.map(lambda row: {"speaker": f"other {row['speaker']}"})
    data = corpus.dataset()
    predictions = 0.7 * corpus.truth + 0.3 * np.random.default_rng(0).dirichlet(np.ones(len(PRIOR)), utterances)
    control = np.tile(PRIOR, (utterances, 1))
    return {
        "data": pool(data, get_pooler("fitted").fit(others)),
        "scores": scores_by_level({"model": predictions, "constant": control}, data, control="constant"),
        "predictions": predictions,
    }


def _describe(page: Path) -> None:
    """Print the size of the page, and when it can be used in Chromium, where there is one."""
    said = f"  page of {UTTERANCES:,} utterances: {page.stat().st_size / 1e6:.2f} MB (at most {LARGEST / 1e6:.0f})"
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        print(f"{said}; no Chromium with playwright to open it in")
        return
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=list(FLAGS))
        seconds, sorting = zip(*(_open(browser, page) for _ in range(3)), strict=True)
        browser.close()
    print(f"{said}; can be used after {min(seconds):.2f} s (at most {LATEST:.0f}), sorted in {min(sorting):.2f} s")


def _open(browser: Any, page: Path) -> tuple[float, float]:
    """Seconds until the explorer is there, and of sorting it."""
    opened = browser.new_page()
    opened.goto(page.as_uri())
    opened.wait_for_selector("html[data-ready]")
    ready = float(opened.evaluate("document.documentElement.dataset.ready")) / 1000
    started = time.perf_counter()
    opened.get_by_role("button", name="Entropy").click()
    opened.wait_for_selector("th[aria-sort=descending]")
    sorting = time.perf_counter() - started
    opened.close()
    return ready, sorting
