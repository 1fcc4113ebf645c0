"""The 82 statistics by which the paper's recipe finds neighbours: 72 of the sound, 10 of the transcript."""

from __future__ import annotations

import string
from typing import Any

import datasets
import numpy as np
from datasets import List, Value
from numpy.typing import NDArray

from dime_hf import audio
from dime_hf.columns import AUDIO, SAMPLING_RATE, TEXT
from dime_hf.distribution import Array
from dime_hf.stage import Batch, new_columns

AUDIO_STATISTICS, TEXT_STATISTICS = 72, 10
FRAME = 2048  # samples of a spectrum; shorter clips are padded with silence


def neighbour_features(dataset: datasets.Dataset, num_proc: int | None = None) -> Array:
    """Return the z-scored statistics (N, 82) of every utterance; a statistic that never varies becomes 0."""
    writes = {"features": List(Value("float32"), length=AUDIO_STATISTICS + TEXT_STATISTICS)}
    made = new_columns(
        dataset,
        _features,
        reads=[AUDIO, TEXT],
        writes=writes,
        num_proc=num_proc,
        batch_size=100,
        desc="Describing utterances",
    )
    raw = np.asarray(made["features"], dtype=np.float64)
    spread = raw.std(0)
    return (raw - raw.mean(0)) / np.where(spread > 1e-9, spread, 1.0)


def audio_statistics(samples: NDArray[np.float32], sampling_rate: int = SAMPLING_RATE) -> NDArray[np.float64]:
    """Return means, then standard deviations, over frames (72,).

    They are of 13 MFCC, 12 chroma, 7 spectral contrasts, zero-crossing rate, roll-off, centroid and RMS.
    """
    import librosa

    samples = np.pad(samples, (0, max(0, FRAME - len(samples))))
    power = np.abs(librosa.stft(samples, n_fft=FRAME)) ** 2
    magnitude, rate = np.sqrt(power), sampling_rate
    frames = np.concatenate(
        [
            librosa.feature.mfcc(S=librosa.power_to_db(librosa.feature.melspectrogram(S=power, sr=rate)), n_mfcc=13),
            librosa.feature.chroma_stft(S=power, sr=rate, tuning=0.0),  # speech is in no tuning
            librosa.feature.spectral_contrast(S=magnitude, sr=rate),
            librosa.feature.zero_crossing_rate(samples, frame_length=FRAME),
            librosa.feature.spectral_rolloff(S=magnitude, sr=rate),
            librosa.feature.spectral_centroid(S=magnitude, sr=rate),
            librosa.feature.rms(S=magnitude, frame_length=FRAME),
        ]
    )
    return np.concatenate([frames.mean(1), frames.std(1)])


def text_statistics(text: str) -> NDArray[np.float64]:
    """Return ten surface statistics (10,): lengths, variety, punctuation, capitals and digits of a transcript."""
    words = text.split()
    characters = max(len(text), 1)
    return np.array(
        [
            len(text),
            len(words),
            np.mean([len(word) for word in words]) if words else 0.0,
            len({word.lower().strip(string.punctuation) for word in words}) / max(len(words), 1),
            text.count("!"),
            text.count("?"),
            text.count(","),
            sum(text.count(mark) for mark in ".;:"),
            sum(character.isupper() for character in text) / characters,
            sum(character.isdigit() for character in text) / characters,
        ]
    )


def _features(batch: Batch) -> dict[str, list[Any]]:
    rows = [
        np.concatenate([audio_statistics(audio.read(cell)), text_statistics(text or "")])
        for cell, text in zip(batch[AUDIO], batch[TEXT], strict=True)
    ]
    return {"features": [row.tolist() for row in rows]}
