"""Reading labels as many as MSP-Podcast 2.0 has against `load_dataset("csv")` on the same rows flattened."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets

import dime_hf
from dime_hf.corpora.msp_podcast.labels import CODES, SECONDARY
from tests.bench.timing import compare

UTTERANCES, WORKERS, SEGMENTS = 265_000, 13_278, 80  # of a recording
RATERS = (5, 5, 5, 5, 6, 6)  # a turn: 5.4 on average
SETS = {"Train": 169, "Development": 34, "Test1": 46, "Test2": 15}
CLASSES = {"N": 79, "H": 58, "X": 48, "A": 36, "S": 24, "U": 6, "C": 6, "O": 4, "D": 3, "F": 2}
TYPED = 2_095  # different free texts
HEAD = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
DETAILED_HEAD = "FileName,WorkerID,EmoClass_Major,EmoClass_Second,EmoAct,EmoVal,EmoDom\n"
PEAK = """
import resource, sys
import dime_hf
dime_hf.load_dataset("msp_podcast", "9class", sys.argv[1], labels_only=True, cache_dir=sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def msp2_labels() -> dict[str, Any]:
    """Baseline: the csv builder on one file with a row an utterance, votes as JSON text. Both build anew each time.

    `peak_mb` is the peak memory of a process that loads the corpus and does nothing else, imports included;
    `quarter_ours` is the time that a quarter of the rows takes.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_labels(root / "MSP", UTTERANCES)
        write_labels(root / "quarter", UTTERANCES // 4)
        rows = load(root / "MSP", root / "first")
        flatten(rows, root / "flat.csv")
        numbers = itertools.count()
        row = compare(
            "msp2_labels",
            lambda: load(root / "MSP", root / f"ours{next(numbers)}"),
            lambda: datasets.load_dataset(
                "csv", data_files=str(root / "flat.csv"), cache_dir=str(root / f"csv{next(numbers)}")
            ),
            unit="s a first load",
            n=sum(rows.num_rows.values()),
            repetitions=5,
        )
        started = time.perf_counter()
        load(root / "quarter", root / "quarter_cache")
        return {**row, "quarter_ours": time.perf_counter() - started, "peak_mb": peak_mb(root / "MSP", root / "peak")}


def second_load() -> dict[str, Any]:
    """Baseline: the first load of the same corpus, which reads the label files; the second opens what that wrote."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_labels(root / "MSP", UTTERANCES // 4)
        rows = load(root / "MSP", root / "again")
        numbers = itertools.count()
        return compare(
            "second_load",
            lambda: load(root / "MSP", root / "again"),
            lambda: load(root / "MSP", root / f"first{next(numbers)}"),
            unit="s a load",
            n=sum(rows.num_rows.values()),
            repetitions=3,
        )


def load(corpus: Path, cache: Path) -> datasets.DatasetDict:
    """First load of the labels into an empty cache."""
    return dime_hf.load_dataset("msp_podcast", "9class", corpus, labels_only=True, cache_dir=str(cache))


def peak_mb(corpus: Path, cache: Path) -> float:
    arguments = [sys.executable, "-c", PEAK, str(corpus), str(cache)]
    return float(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split()[-1])


def flatten(splits: datasets.DatasetDict, path: Path) -> None:
    """Write the rows as one CSV: nested columns as JSON text."""
    for number, rows in enumerate(splits.values()):
        for start in range(0, len(rows), 20_000):
            part = rows.select(range(start, min(start + 20_000, len(rows)))).remove_columns("audio")
            table = part.to_pandas()
            for name in ("human_votes", "vote_counts", "soft_label"):
                table[name] = [json.dumps(value) for value in part[name]]
            first = number == start == 0
            table.to_csv(path, index=False, mode="w" if first else "a", header=first)


def write_labels(root: Path, utterances: int) -> None:
    """Labels, partitions and speakers of a corpus in the grammar of release 2.0; there is no recording."""
    rng = random.Random(0)
    (root / "Labels").mkdir(parents=True)
    files = [f"MSP-PODCAST_{n // SEGMENTS:04}_{n % SEGMENTS:04}.wav" for n in range(utterances)]
    sets = rng.choices(list(SETS), list(SETS.values()), k=utterances)
    classes = rng.choices(list(CLASSES), list(CLASSES.values()), k=utterances)
    speakers = [rng.choice(["Unknown", str(n // 100)]) for n in range(utterances)]
    with open(root / "Labels" / "labels_consensus.csv", "w") as consensus:
        consensus.write(HEAD)
        for file, label, speaker, name in zip(files, classes, speakers, sets, strict=True):
            consensus.write(f"{file},{label},4.2,3.6,4.222222,{speaker},{rng.choice(['Male', 'Female'])},{name}\n")
    with open(root / "Labels" / "labels_detailed.csv", "w") as detailed:
        detailed.write(DETAILED_HEAD)
        typed = ["".join(rng.choices("abcdef, ", k=rng.randint(4, 20))) for _ in range(TYPED)]
        for file, label in zip(files, classes, strict=True):
            detailed.writelines(f"{file},{vote}\n" for vote in votes(label, typed, rng))
    (root / "Partitions.txt").write_text("".join(f"{name}; {file}\n" for name, file in zip(sets, files, strict=True)))
    (root / "Speaker_ids.txt").write_text(
        "".join(f"{file};{speaker}\n" for file, speaker in zip(files, speakers, strict=True))
    )


def votes(label: str, typed: list[str], rng: random.Random) -> Iterator[str]:
    """The votes on one utterance: three in five are its class, which most workers tick as a secondary one as well."""
    for _ in range(rng.choice(RATERS)):
        code = label if rng.random() < 0.6 else rng.choices(list(CLASSES), list(CLASSES.values()))[0]
        primary = f"Other-{rng.choice(typed)}" if code in "XO" and rng.random() < 0.4 else word(code)
        secondary = [primary] if rng.random() < 0.95 else []
        secondary += (name.capitalize() for name in rng.sample(SECONDARY, rng.choice([0, 0, 1, 2])))
        ratings = ",".join(f"{rng.randint(1, 7)}.000000" for _ in range(3))
        yield f'WORKER{rng.randrange(WORKERS):08},"{primary}","{",".join(secondary)}",{ratings}'


def word(code: str) -> str:
    return (CODES[code] or "neutral").replace("other", "neutral").capitalize()
