"""The 82 statistics by which the paper's recipe finds neighbours: 72 of the sound, 10 of the transcript."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import string
from typing import Any

import datasets
import numpy as np
import threadpoolctl
from datasets import List, Value
from numpy.typing import NDArray

from dime_hf import audio
from dime_hf.augment import sound
from dime_hf.augment.sound import audio_statistics
from dime_hf.columns import AUDIO, TEXT
from dime_hf.distribution import Array
from dime_hf.stage import Batch, new_columns, read_column, undecoded

AUDIO_STATISTICS, TEXT_STATISTICS = 72, 10
GROUP = 8  # clips that a thread describes together


def neighbour_features(dataset: datasets.Dataset, num_proc: int | None = None) -> Array:
    """Return the z-scored statistics (N, 82) of every utterance; a statistic that never varies becomes 0."""
    return standardize(utterance_statistics(dataset, num_proc))


def utterance_statistics(dataset: datasets.Dataset, num_proc: int | None = None) -> Array:
    """Return the statistics (N, 82) of every utterance, in their own units; kept in the cache of `datasets`.

    In one process clips are shared among threads, one a core; with `num_proc`, among processes.
    """
    made = new_columns(
        undecoded(dataset),
        _Describe(_cores()),
        reads=[AUDIO, TEXT],
        writes={"features": List(Value("float32"), length=AUDIO_STATISTICS + TEXT_STATISTICS)},
        num_proc=num_proc,
        batch_size=1000,
        desc="Describing utterances",
    )
    rows = read_column(made, "features").flatten().to_numpy(zero_copy_only=False)
    return rows.reshape(-1, AUDIO_STATISTICS + TEXT_STATISTICS).astype(np.float64)


def standardize(values: Array) -> Array:
    """Return columns (N, D) with mean 0 and standard deviation 1, or all 0 where a column never varies.

    Sums run in order of size, so that rows in another order get the same values to the bit.
    """
    if not len(values):
        return values
    ordered = np.sort(values.T)  # (D, N)
    spread = ordered.std(-1)
    return (values - ordered.mean(-1)) / np.where(spread > 1e-9, spread, np.inf)


def text_statistics(text: str) -> NDArray[np.float64]:
    """Return ten surface statistics (10,): lengths, variety, punctuation, capitals and digits of a transcript."""
    words = text.split()
    characters = max(len(text), 1)
    return np.array(
        [
            len(text),
            len(words),
            sum(map(len, words)) / max(len(words), 1),
            len({word.lower().strip(string.punctuation) for word in words}) / max(len(words), 1),
            text.count("!"),
            text.count("?"),
            text.count(","),
            sum(text.count(mark) for mark in ".;:"),
            sum(map(str.isupper, text)) / characters,
            sum(map(str.isdigit, text)) / characters,
        ]
    )


@dataclasses.dataclass(frozen=True)
class _Describe:
    """Statistics of a batch; most of the work is done outside the interpreter's lock, so that threads help."""

    threads: int

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return _Describe, (1,)  # a worker process has one, and the cache key must not depend on the machine's cores

    def __call__(self, batch: Batch) -> dict[str, Any]:
        sound.prepare()
        # products of small matrices are no work for many threads: those of BLAS would wait in our threads' places
        with threadpoolctl.threadpool_limits(1, "blas"), concurrent.futures.ThreadPoolExecutor(self.threads) as pool:
            groups = [batch[AUDIO][start : start + GROUP] for start in range(0, len(batch[AUDIO]), GROUP)]
            sounds = list(pool.map(lambda group: audio_statistics([audio.read(cell) for cell in group]), groups))
        words = [text_statistics(text or "") for text in batch[TEXT]]
        return {"features": np.hstack([np.concatenate(sounds), words]).astype(np.float32)}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
