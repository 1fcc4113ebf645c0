"""What lazy augmentation costs the input pipeline of `Trainer`: batches a second with it and without."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import soundfile

from dime_hf import SoftLabelConfig, SoftLabelTrainer, columns
from dime_hf.augment import augment
from dime_hf.augment.operations import get_operation
from dime_hf.columns import SAMPLING_RATE
from dime_hf.modeling import small_encoder

CLASSES = ("angry", "happy", "neutral", "sad")
UTTERANCES, NEW = 1200, 600  # a third of the rows are new, of two parents each
WORKERS, EPOCHS, REPETITIONS = 2, 3, 4


def lazy_pipeline_rate() -> dict[str, Any]:
    """Baseline: the same loader on the real rows alone. Recordings of 2 to 5 s in 16-bit wav files.

    Three epochs with persistent workers: in the first no parent is decoded yet, later many still are. The new rows are
    the paper's mixes: each costs two recordings and their sum.
    """
    with tempfile.TemporaryDirectory() as folder:
        real = recordings(Path(folder))
        sets = (augment(real, mixes(real), lazy=True), real)
        seconds: list[list[float]] = [[], []]
        for _ in range(REPETITIONS):
            for rows, times in zip(sets, seconds, strict=True):
                times.append(seconds_a_batch(loader(rows, folder)))
    ours, baseline = (1 / min(times) for times in seconds)
    return {
        "name": "lazy_pipeline_rate",
        "ours": ours,
        "baseline": baseline,
        "ratio": ours / baseline,
        "unit": "batches of 16/s",
        "n": UTTERANCES + NEW,
    }


def seconds_a_batch(batches: Any) -> float:
    """Time of `EPOCHS` passes."""
    started = time.perf_counter()
    count = sum(1 for _ in range(EPOCHS) for _ in batches)
    return (time.perf_counter() - started) / count


def loader(rows: datasets.Dataset, folder: str) -> Any:
    """The loader that `Trainer` trains from."""
    model, extractor = small_encoder(CLASSES)
    args = SoftLabelConfig(
        output_dir=folder,
        per_device_train_batch_size=16,
        dataloader_num_workers=WORKERS,
        dataloader_persistent_workers=True,
        dataloader_drop_last=True,
        use_cpu=True,
    )
    return SoftLabelTrainer(model, args, train_dataset=rows, processing_class=extractor).get_train_dataloader()


def recordings(folder: Path) -> datasets.Dataset:
    """Noise of a recording's length, in files."""
    rng = np.random.default_rng(0)
    seconds = rng.uniform(2, 5, UTTERANCES).round(3)
    paths = [str(folder / f"{row}.wav") for row in range(UTTERANCES)]
    for path, lasting in zip(paths, seconds, strict=True):
        soundfile.write(path, 0.1 * rng.standard_normal(int(lasting * SAMPLING_RATE)), SAMPLING_RATE, "PCM_16")
    features = datasets.Features(
        {
            columns.ID: datasets.Value("string"),
            columns.AUDIO: {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
            columns.DURATION: datasets.Value("float32"),
            columns.TEXT: datasets.Value("string"),
            columns.SOFT_LABEL: columns.distribution_feature(len(CLASSES)),
        }
    )
    made = {
        columns.ID: [f"u{row}" for row in range(UTTERANCES)],
        columns.AUDIO: [{"bytes": None, "path": path} for path in paths],
        columns.DURATION: seconds,
        columns.TEXT: ["some words"] * UTTERANCES,
        columns.SOFT_LABEL: list(rng.dirichlet(np.ones(len(CLASSES)), UTTERANCES).astype(np.float32)),
    }
    rows = datasets.Dataset.from_dict(made, features=features)
    return rows.cast_column(columns.AUDIO, datasets.Audio(decode=False))


def mixes(real: datasets.Dataset) -> Any:
    """A plan of interpolations of random pairs."""
    rng, operation = np.random.default_rng(1), get_operation("interpolate")
    ids, labels = real[columns.ID][:], np.array(real[columns.SOFT_LABEL])
    rows = []
    for number in range(NEW):
        pair, parameters = rng.choice(UTTERANCES, 2, replace=False), operation.draw(rng)
        weights = operation.weights([1.0, 1.0], parameters)
        rows.append(
            {
                columns.ID: f"new{number}",
                columns.PARENTS: [ids[row] for row in pair],
                columns.PARENT_WEIGHTS: weights.tolist(),
                "operation": operation.name,
                "parameters": json.dumps(parameters),
                columns.SOFT_LABEL: (weights @ labels[pair]).tolist(),
            }
        )
    features = datasets.Features(
        {
            columns.ID: datasets.Value("string"),
            columns.PARENTS: datasets.List(datasets.Value("string")),
            columns.PARENT_WEIGHTS: datasets.List(datasets.Value("float32")),
            "operation": datasets.Value("string"),
            "parameters": datasets.Value("string"),
            columns.SOFT_LABEL: real.features[columns.SOFT_LABEL],
        }
    )
    return SimpleNamespace(
        rows=datasets.Dataset.from_list(rows, features=features), summary=SimpleNamespace(recipe="pairs")
    )
