"""Timing of ours against a baseline in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any


def compare(
    name: str, ours: Callable[[], Any], baseline: Callable[[], Any], *, unit: str, n: int, repetitions: int = 5
) -> dict[str, Any]:
    """Return a row of the benchmark table: median seconds of both, run in turn, and how many times faster ours is."""
    times: dict[Callable[[], Any], list[float]] = {ours: [], baseline: []}
    ours(), baseline()  # warm up
    for _ in range(repetitions):
        for run, seconds in times.items():
            started = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - started)
    mine, theirs = (statistics.median(seconds) for seconds in times.values())
    return {"name": name, "ours": mine, "baseline": theirs, "ratio": theirs / mine, "unit": unit, "n": n}
