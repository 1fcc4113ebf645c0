"""The machinery of `annotate` itself, with an annotator that costs nothing: it must stay flat as datasets grow.

`python -m tests.bench.annotate_run` prints the table; each size runs in a process of its own, for its peak of memory.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from dime_hf import audio, columns
from dime_hf.annotate import AnswerStore, Question, annotate
from dime_hf.annotate.annotator import succeeded

CLASSES = ("angry", "happy", "neutral", "sad")
SIZES = (1_000, 10_000, 100_000)
BATCH = 64
ANSWER = succeeded("free", range(4), [0.1, 0.2, 0.3, 0.4], 0.05)


class Free:
    """Gives the same answer to all."""

    label_set, fingerprint, questions = CLASSES, "free", (Question("free", True, "free"),)

    def answer(self, batch: Any, questions: Any = None) -> list[list[Any]]:
        return [[ANSWER] for _ in batch[columns.ID]]


def annotate_flat() -> dict[str, Any]:
    """Baseline: the time an utterance takes among 1,000; ours: among 100,000. A ratio near 1 says flat."""
    few, many = measure(SIZES[0]), measure(SIZES[-1])
    ours, baseline = many["first"], few["first"]
    return {
        "name": "annotate_flat", "ours": ours, "baseline": baseline, "ratio": baseline / ours,
        "unit": "s an utterance", "n": SIZES[-1],
    }  # fmt: skip


def measure(count: int) -> dict[str, float]:
    """Seconds an utterance of a first and a second run, and growth of the peak of memory in MiB, in a new process."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.annotate_run", str(count)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def run(count: int) -> dict[str, float]:
    """Annotate a dataset on disk, whose recordings are files, asking everything and then nothing."""
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        annotate(written(1100, Path(folder, "warm")), Free(), Path(folder, "warm.sqlite"), batch_size=BATCH)
        dataset = written(count, Path(folder, "dataset"))
        before, seconds = peak(), []
        for _ in range(2):
            started = time.perf_counter()
            with AnswerStore(Path(folder, "answers.sqlite")) as store:
                annotated = annotate(dataset, Free(), store, batch_size=BATCH)
            seconds.append((time.perf_counter() - started) / count)
        assert len(annotated) == len(AnswerStore(Path(folder, "answers.sqlite"))) == count
        return {"first": seconds[0], "second": seconds[1], "growth": peak() - before}


def written(count: int, folder: Path) -> datasets.Dataset:
    """A dataset on disk: utterances of one short recording, each with words of its own."""
    sound = folder.with_suffix(".wav")
    sound.write_bytes(audio.encode_wav(np.zeros(8_000, "float32")))
    features = datasets.Features(
        {
            columns.ID: datasets.Value("string"),
            columns.AUDIO: datasets.Audio(decode=False),
            columns.DURATION: datasets.Value("float32"),
            columns.TEXT: datasets.Value("string"),
            columns.HARD_LABEL: datasets.ClassLabel(names=list(CLASSES)),
        }
    )
    with datasets.arrow_writer.ArrowWriter(path=str(folder.with_suffix(".arrow")), features=features) as writer:
        for start in range(0, count, 1000):
            rows = range(start, min(start + 1000, count))
            cells = datasets.table.pa.array(
                [{"bytes": None, "path": str(sound)} for _ in rows], features[columns.AUDIO].pa_type
            )
            table = {
                columns.ID: [f"u{n}" for n in rows], columns.AUDIO: cells, columns.DURATION: [0.5 for _ in rows],
                columns.TEXT: [f"word {n}" for n in rows], columns.HARD_LABEL: [0 for _ in rows],
            }  # fmt: skip
            writer.write_table(datasets.table.pa.Table.from_pydict(table, schema=features.arrow_schema))
        writer.finalize()
    return datasets.Dataset.from_file(str(folder.with_suffix(".arrow")))


def peak() -> float:
    """Most memory that this process had so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    print(f"{'utterances':>12}{'asked/s':>12}{'served/s':>12}{'memory growth':>16}")
    for count in SIZES:
        row = measure(count)
        print(f"{count:>12,}{1 / row['first']:>12,.0f}{1 / row['second']:>12,.0f}{row['growth']:>12.1f} MiB")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(run(int(sys.argv[1]))))
    else:
        main()
