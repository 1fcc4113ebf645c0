"""DiME-Aug of the paper against a reader's own script with librosa: features, neighbours, plan and 1,001 mixes."""

from __future__ import annotations

import contextlib
import csv
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import librosa
import numpy as np
import soundfile

from dime_hf import audio, columns
from dime_hf.augment import DimeAug, augment
from dime_hf.augment.features import text_statistics, utterance_statistics
from dime_hf.columns import SAMPLING_RATE
from tests.bench.timing import compare
from tests.places import DATA

CLASSES = ("angry", "happy", "neutral", "sad", "fear")
SHARES = (0.79, 0.0525, 0.0525, 0.0525)  # of the classes but the last: one so large that the others need 1,000 mixes
NEIGHBOURS = 3
RECIPE = DimeAug(recipe="paper", ratio=1.0, neighbours=NEIGHBOURS)
CHECKED = 20  # mixes that are compared sample by sample


def dime_aug_vs_librosa_baseline() -> dict[str, Any]:
    """The paper's recipe on EmoDB's clips under drawn labels: seconds from files to new utterances.

    Baseline: each feature of librosa from the waveform, distances row by row, both parents decoded for each mix. Both
    have the same features, neighbours and sounds, which is checked. Seconds of the stages are printed.
    """
    train = emodb()
    with no_cache(), tempfile.TemporaryDirectory() as folder:
        ours = augment(train, RECIPE.plan(train))
        mixes = ours.select(range(len(train), len(ours)))
        check(train, mixes)
        row = compare(
            "dime_aug_vs_librosa_baseline",
            lambda: augment(train, RECIPE.plan(train)),
            lambda: script(train, Path(folder)),
            unit="s",
            n=len(mixes),
            repetitions=4,
        )
        breakdown(train, Path(folder))
    return row


def emodb() -> datasets.Dataset:
    """The clips that the shared data have, under the labels of a very unbalanced corpus."""
    with open(DATA / "emodb" / "manifest.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["audio"] == "original16k"]
    ends = np.rint(np.cumsum(SHARES) * len(rows)).astype(int)
    dominant = np.searchsorted(ends, np.random.default_rng(0).permutation(len(rows)), side="right")
    cells = {
        columns.ID: [row["file"].removesuffix(".wav") for row in rows],
        columns.AUDIO: [{"bytes": None, "path": str(DATA / "emodb" / "wav" / row["file"])} for row in rows],
        columns.DURATION: [float(row["duration_s"]) for row in rows],
        columns.TEXT: [row["text"] for row in rows],
        **dict.fromkeys((columns.GENDER, columns.SESSION, columns.DIALOG), [None] * len(rows)),
        columns.SPEAKER: [row["speaker"] for row in rows],
        columns.HUMAN_VOTES: [[]] * len(rows),
        columns.VOTE_COUNTS: np.eye(len(CLASSES))[dominant].tolist(),
        columns.HARD_LABEL: dominant.tolist(),
        columns.SOFT_LABEL: np.eye(len(CLASSES))[dominant].tolist(),
        columns.SOFT_LABEL_SOURCE: ["human"] * len(rows),
        columns.SOFT_LABEL_VOTES: [1.0] * len(rows),
    }
    features = columns.corpus_features(CLASSES, CLASSES)
    plain = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}  # to encode audio needs torchcodec
    made = {name: plain if name == columns.AUDIO else features[name] for name in cells}
    corpus = datasets.Dataset.from_dict(cells, features=datasets.Features(made))
    return corpus.cast_column(columns.AUDIO, features[columns.AUDIO])


def script(train: datasets.Dataset, folder: Path) -> None:
    """All of the baseline: features, neighbours, and as many mixes as bring each class to the largest."""
    files, labels = paths(train), np.array(train[columns.HARD_LABEL])
    nearest = script_neighbours(script_features(train), labels)
    counts = np.bincount(labels)
    number = 0
    for label, count in enumerate(counts):
        for _ in range(counts.max() - count):
            first = np.random.choice(np.flatnonzero(labels == label))  # noqa: NPY002, as a script would
            second = np.random.choice(nearest[first])  # noqa: NPY002
            samples = script_mix(files[first], files[second], np.random.uniform())  # noqa: NPY002
            soundfile.write(folder / f"{number}.wav", samples, SAMPLING_RATE)
            number += 1


def script_features(train: datasets.Dataset) -> np.ndarray:
    """Statistics (N, 82) of the sound by librosa and of the text."""
    rows = []
    for file, text in zip(paths(train), train[columns.TEXT], strict=True):
        samples, _ = librosa.load(file, sr=SAMPLING_RATE)
        rows.append(np.concatenate([librosa_statistics(samples), text_statistics(text)]))
    return np.array(rows)


def librosa_statistics(samples: np.ndarray) -> np.ndarray:
    """Means and standard deviations (72,) over frames, each feature called on the waveform."""
    frames = np.concatenate(
        [
            librosa.feature.mfcc(y=samples, sr=SAMPLING_RATE, n_mfcc=13),
            librosa.feature.chroma_stft(y=samples, sr=SAMPLING_RATE),
            librosa.feature.spectral_contrast(y=samples, sr=SAMPLING_RATE),
            librosa.feature.zero_crossing_rate(y=samples),
            librosa.feature.spectral_rolloff(y=samples, sr=SAMPLING_RATE),
            librosa.feature.spectral_centroid(y=samples, sr=SAMPLING_RATE),
            librosa.feature.rms(y=samples),
        ]
    )
    return np.concatenate([frames.mean(axis=1), frames.std(axis=1)])


def script_neighbours(features: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """Rows of the nearest utterances of the same class, for each."""
    spread = features.std(axis=0)
    scored = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    nearest = []
    for row in range(len(scored)):
        distances = np.linalg.norm(scored - scored[row], axis=1)
        distances[(labels != labels[row])] = np.inf
        distances[row] = np.inf
        nearest.append(np.argsort(distances)[:NEIGHBOURS])
    return nearest


def script_mix(first: str, second: str, weight: float) -> np.ndarray:
    """The weighted sum of two files, cut to the shorter."""
    one, other = (librosa.load(file, sr=SAMPLING_RATE)[0] for file in (first, second))
    length = min(len(one), len(other))
    return (1 - weight) * one[:length] + weight * other[:length]


def check(train: datasets.Dataset, mixes: datasets.Dataset) -> None:
    """Raise `AssertionError` where ours and the baseline differ in features, neighbours or sounds."""
    theirs = script_features(train)
    np.testing.assert_allclose(utterance_statistics(train), theirs, rtol=1e-4, atol=1e-4)
    nearest = script_neighbours(theirs, np.array(train[columns.HARD_LABEL]))
    row_of, files = {id: row for row, id in enumerate(train[columns.ID])}, paths(train)
    for number, (parents, weights) in enumerate(
        zip(mixes[columns.PARENTS], mixes[columns.PARENT_WEIGHTS], strict=True)
    ):
        first, second = (row_of[parent] for parent in parents)
        assert second in nearest[first], parents
        if number < CHECKED:
            expected = script_mix(files[first], files[second], weights[1])
            np.testing.assert_allclose(audio.read(mixes[number][columns.AUDIO]), expected, atol=1e-4)


def breakdown(train: datasets.Dataset, folder: Path) -> None:
    """Print seconds, and seconds of processors, of the stages of both."""
    labels, files = np.array(train[columns.HARD_LABEL]), paths(train)
    features = timed("baseline: features", lambda: script_features(train))
    timed("baseline: neighbours", lambda: script_neighbours(features, labels))
    timed("baseline: everything", lambda: script(train, folder))
    timed("ours: decoding alone", lambda: [audio.read(file) for file in files])
    timed("ours: features", lambda: utterance_statistics(train))
    planned = timed("ours: features and plan", lambda: RECIPE.plan(train))
    timed("ours: mixes", lambda: augment(train, planned))


def timed(name: str, run: Callable[[], Any]) -> Any:
    """What `run` returns; its seconds are printed."""
    started, used = time.perf_counter(), time.process_time()
    made = run()
    print(f"  {name:<28}{time.perf_counter() - started:>8.3f} s{time.process_time() - used:>10.3f} s of processors")
    return made


@contextlib.contextmanager
def no_cache() -> Iterator[None]:
    """Let `datasets` compute everything anew."""
    datasets.disable_caching()
    try:
        yield
    finally:
        datasets.enable_caching()


def paths(train: datasets.Dataset) -> Sequence[str]:
    """Files of the recordings."""
    return [cell["path"] for cell in train[columns.AUDIO]]
