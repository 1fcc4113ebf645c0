"""Annotation that is killed again and again: no answer that was kept is lost, and none is asked for again.

Children are forked from a process that has imported everything and started no thread, so that a kill costs
milliseconds. Every child writes what it is asked into one log; what the stores hold after a kill was committed before
it, so that it must not turn up in the log again.
"""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from dime_hf import columns
from dime_hf.annotate import Question, annotate, annotate_shard, collect
from dime_hf.annotate.annotator import succeeded

CLASSES = ("angry", "happy", "neutral", "sad")
QUESTIONS = ("tone", "words", "cues")


@dataclasses.dataclass(frozen=True)
class Logged:
    """Answers what follows from question and transcript, slowly, and logs every question; `ahead` prepares batches."""

    log: str
    pause: float
    ahead: bool = False
    label_set: tuple[str, ...] = CLASSES
    fingerprint: str = "logged"

    @property
    def questions(self) -> tuple[Question, ...]:
        return tuple(Question(name, True, name) for name in QUESTIONS)

    def __getattr__(self, name: str) -> Any:
        if name == "prepare" and self.ahead:
            return lambda batch: batch
        raise AttributeError(name)

    def answer(self, batch: Any, questions: Any = None) -> list[list[Any]]:
        names = [QUESTIONS[place] for place in questions]
        lines = "".join(f"{os.getpid()} {name} {id}\n" for id in batch[columns.ID] for name in names)
        with open(self.log, "ab", buffering=0) as log:
            log.write(lines.encode())
        time.sleep(self.pause * random.uniform(0.5, 1.5))
        return [[truth(name, text) for name in names] for text in batch[columns.TEXT]]


def truth(name: str, text: str) -> Any:
    """The one answer to a question about a transcript."""
    draw = np.random.default_rng(list(f"{name}{text}".encode())).dirichlet(np.ones(4))
    return succeeded(name, range(4), draw.tolist(), 0.25)


def utterances(count: int, sound: Path) -> datasets.Dataset:
    """A dataset of one recording and many transcripts, of various lengths by its own account."""
    sound.write_bytes(b"no sound, but content to hash")
    features = datasets.Features(
        {
            columns.ID: datasets.Value("string"),
            columns.AUDIO: datasets.Audio(decode=False),
            columns.DURATION: datasets.Value("float32"),
            columns.TEXT: datasets.Value("string"),
            columns.HARD_LABEL: datasets.ClassLabel(names=list(CLASSES)),
        }
    )
    rows = {
        columns.ID: [f"u{n}" for n in range(count)],
        columns.AUDIO: [{"path": str(sound), "bytes": None}] * count,
        columns.DURATION: [1.0 + n * 7 % 10 for n in range(count)],
        columns.TEXT: [f"word {n}" for n in range(count)],
        columns.HARD_LABEL: [0] * count,
    }
    schema = features.arrow_schema
    return datasets.Dataset(datasets.table.InMemoryTable(datasets.table.pa.Table.from_pydict(rows, schema=schema)))


def killed_run(seed: int) -> dict[str, int]:
    """One dataset, annotated by processes that are killed at random points, then to the end; counts what happened.

    Plain runs alternate with sharded ones, whose number of processes changes from start to start.
    """
    rng = random.Random(seed)
    count, batch_size, pause = rng.randint(20, 60), rng.randint(1, 8), rng.choice((0.0, 0.002, 0.01))
    sharded, ahead = bool(seed % 2), rng.random() < 0.5
    with tempfile.TemporaryDirectory() as folder:
        log, stores = Path(folder, "log"), Path(folder, "stores")
        annotator = Logged(str(log), pause, ahead)

        def work(rank: int, world_size: int) -> None:
            dataset = utterances(count, Path(folder, "sound.wav"))
            if sharded:
                annotate_shard(dataset, annotator, stores, rank, world_size, batch_size=batch_size)
            else:
                annotate(dataset, annotator, stores / "one.sqlite", batch_size=batch_size)

        committed: set[tuple[str, str]] = set()
        kills = 0
        for _ in range(rng.randint(1, 4)):
            before, world_size = len(lines(log)), rng.randint(1, 3) if sharded else 1
            children = [fork(work, rank, world_size) for rank in range(world_size)]
            time.sleep(rng.uniform(0.0, 0.05 + 1.2 * pause * count / batch_size / world_size))
            kills += sum(kill(child) for child in children)
            check_asked(lines(log)[before:], committed)
            now = held(stores)
            assert committed <= now, f"{len(committed - now)} answers were lost"
            committed = now
        before = len(lines(log))
        assert os.waitpid(fork(work, 0, 1), 0)[1] == 0, "the last run failed"
        check_asked(lines(log)[before:], committed)
        assert os.waitpid(fork(check_answers, count, annotator, stores, sharded, Path(folder, "sound.wav")), 0)[1] == 0
        in_hand = len(lines(log)) - len(held(stores))
        return {"kills": kills, "answers": count * len(QUESTIONS), "in hand at a kill": in_hand}


def check_asked(asked: list[tuple[str, str, str]], committed: set[tuple[str, str]]) -> None:
    """Raise where a process asked what was committed before it began, or the same thing twice."""
    again = {(name, id) for _, name, id in asked} & committed
    assert not again, f"asked again after the commit: {sorted(again)[:3]}"
    twice = [question for question, times in Counter(asked).items() if times > 1]
    assert not twice, f"asked twice by one process: {twice[:3]}"


def check_answers(count: int, annotator: Logged, stores: Path, sharded: bool, sound: Path) -> None:
    """Raise unless every question about every utterance has its answer, and nothing is asked for it."""
    dataset, silent = utterances(count, sound), dataclasses.replace(annotator, log="/dev/full")
    annotated = (
        collect(dataset, silent, stores) if sharded else annotate(dataset, silent, stores / "one.sqlite", retry=())
    )
    for text, answers in zip(annotated[columns.TEXT], annotated[columns.ANSWERS], strict=True):
        assert [answer["proxy"] for answer in answers] == list(QUESTIONS), f"{text}: {answers}"
        expected = [truth(name, text)["distribution"] for name in QUESTIONS]
        np.testing.assert_allclose([answer["distribution"] for answer in answers], expected, atol=1e-6)


def lines(log: Path) -> list[tuple[str, str, str]]:
    """Process, question and utterance of everything that was asked."""
    entries = log.read_text().splitlines() if log.exists() else []
    return [tuple(line.split()) for line in entries]  # type: ignore[misc]


def held(stores: Path) -> set[tuple[str, str]]:
    """Question and utterance of every answer that was committed, read by SQL alone."""
    found: set[tuple[str, str]] = set()
    for path in stores.glob("*.sqlite"):
        connection = sqlite3.connect(path)
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            found |= set(connection.execute("SELECT proxy, utterance FROM answers"))
        connection.close()
    return found


def fork(function: Callable[..., None], *arguments: Any) -> int:
    """Run a function in a child, which leaves with 0 or 1."""
    if child := os.fork():
        return child
    code = 1
    try:
        function(*arguments)
        code = 0
    except BaseException:  # a child must not go on as its parent
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def kill(child: int) -> bool:
    """Kill a child, and say whether it was still running."""
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
