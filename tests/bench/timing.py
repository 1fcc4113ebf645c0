"""Timing of ours against a baseline in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def compare(
    name: str, ours: Callable[[], Any], baseline: Callable[[], Any], *, unit: str, n: int, repetitions: int = 5
) -> dict[str, Any]:
    """Return a row of the benchmark table: seconds of both, run in turn, and how many times faster ours is.

    The fastest repetition counts: what else the machine does can only make a run slower.
    """
    times: dict[Callable[[], Any], list[float]] = {ours: [], baseline: []}
    ours(), baseline()  # warm up
    for _ in range(repetitions):
        for run, seconds in times.items():
            started = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - started)
    mine, theirs = (min(seconds) for seconds in times.values())
    return {"name": name, "ours": mine, "baseline": theirs, "ratio": theirs / mine, "unit": unit, "n": n}


def fastest(run: Callable[[], Any], repetitions: int = 3) -> float:
    """Seconds of the fastest run, after one to warm up."""
    run()
    seconds = []
    for _ in range(repetitions):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
