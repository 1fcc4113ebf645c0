"""The 82 statistics by which the paper's recipe finds neighbours: 72 of the sound, 10 of the transcript.

Those of the sound are librosa's with its defaults (2601.14620 names no others), but all from one spectrum per frame.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import os
import string
import threading
from collections.abc import Iterator
from typing import Any, Literal

import datasets
import numpy as np
import scipy.fft
import scipy.linalg
from datasets import List, Value
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dime_hf import audio
from dime_hf.columns import AUDIO, SAMPLING_RATE, TEXT
from dime_hf.distribution import Array
from dime_hf.stage import Batch, new_columns, read_column, undecoded

AUDIO_STATISTICS, TEXT_STATISTICS = 72, 10
FRAME, HOP = 2048, 512  # samples of a spectrum, and from one to the next
BINS = FRAME // 2 + 1
CHUNK = 64  # frames at a time, as many as the processor's cache holds
MELS, MFCC = 128, 13
MEL_BLOCK = 16  # filters that are multiplied together: each is zero for most frequencies
CONTRAST_START, CONTRAST_OCTAVES, CONTRAST_QUANTILE = 200.0, 6, 0.02
ROLL_OFF = 0.85
LEAST_POWER, DYNAMIC_RANGE = 1e-10, 80.0  # what librosa takes for silence, and decibels below a clip's loudest value
LEAST_CROSSING = 1e-10  # samples nearer to zero are zero

Frames = NDArray[np.float32]  # (F, values), a row for each frame


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
        batch_size=100,
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


def audio_statistics(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return means, then standard deviations, over frames (72,), of mono samples (T,) at 16 kHz.

    They are of 13 MFCC, 12 chroma (in no tuning: it is speech), 7 spectral contrasts, zero-crossing rate, roll-off,
    centroid and RMS.
    """
    mel, chroma, peaks, valleys, roll_off, centroid = map(np.concatenate, zip(*_spectral(samples), strict=True))
    frames = np.column_stack(
        [
            _decibels(mel) @ _bank().cosines,
            chroma,
            _decibels(peaks) - _decibels(valleys),
            _crossing_rate(samples),
            roll_off,
            centroid,
            _loudness(samples),
        ]
    ).T
    return np.concatenate([frames.mean(1), frames.std(1)])


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
        _bank()  # librosa is imported before there are threads
        with concurrent.futures.ThreadPoolExecutor(self.threads) as pool:
            sounds = list(pool.map(lambda cell: audio_statistics(audio.read(cell)), batch[AUDIO]))
        words = [text_statistics(text or "") for text in batch[TEXT]]
        return {"features": np.hstack([sounds, words]).astype(np.float32)}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _spectral(samples: NDArray[np.float32]) -> Iterator[tuple[NDArray[Any], ...]]:
    """What is taken from the spectra of frames centred on every `HOP` samples, a few frames at a time."""
    views = sliding_window_view(_padded(samples), FRAME)[::HOP]
    for start in range(0, len(views), CHUNK):
        magnitude = _magnitudes(views[start : start + CHUNK])
        power = magnitude * magnitude
        yield _mel(power), _chroma(power), *_extremes(magnitude), _roll_off(magnitude), _centroid(magnitude)


class _Workspace(threading.local):
    """Memory that a thread uses again and again: fresh memory takes longer than the sums."""

    def __init__(self) -> None:
        self.windowed = np.empty((CHUNK, FRAME))  # double precision: valleys lie a million times below peaks
        self.spectrum = np.empty((CHUNK, BINS), np.complex64)


_workspace = _Workspace()


def _magnitudes(frames: Frames) -> Frames:
    windowed, spectrum = _workspace.windowed[: len(frames)], _workspace.spectrum[: len(frames)]
    np.multiply(frames, _bank().window, out=windowed)
    spectrum[:] = scipy.fft.rfft(windowed, axis=1)
    return np.abs(spectrum)


def _padded(samples: NDArray[np.float32], mode: Literal["constant", "edge"] = "constant") -> NDArray[np.float32]:
    """Samples with half a frame before them and as much behind as the last frame needs: (F + 3) hops."""
    after = (len(samples) // HOP + 1 + FRAME // HOP - 1) * HOP - FRAME // 2 - len(samples)
    return np.pad(samples, (FRAME // 2, after), mode=mode)


def _over_frames(per_hop: NDArray[Any]) -> NDArray[Any]:
    """Sums (F,) over the hops of each frame, of one value a hop (F + 3,)."""
    return sliding_window_view(per_hop, FRAME // HOP).sum(1)


def _mel(power: Frames) -> Frames:
    return np.hstack([power[:, low:high] @ filters for low, high, filters in _bank().mel])


def _chroma(power: Frames) -> Frames:
    chroma = power @ _bank().chroma
    loudest = chroma.max(1, keepdims=True)
    return chroma / np.where(loudest > np.finfo(np.float32).tiny, loudest, 1)


def _extremes(magnitude: Frames) -> tuple[Frames, Frames]:
    """Means (F, 7) of the loudest and of the faintest frequencies of each octave."""
    ordered = [np.sort(magnitude[:, low:high]) for low, high, _ in _bank().octaves]  # faster than partitions: SIMD
    counts = [count for *_, count in _bank().octaves]
    peaks = np.hstack([octave[:, -count:] for octave, count in zip(ordered, counts, strict=True)])
    valleys = np.hstack([octave[:, :count] for octave, count in zip(ordered, counts, strict=True)])
    return peaks @ _bank().means, valleys @ _bank().means


def _crossing_rate(samples: NDArray[np.float32]) -> Array:
    negative = _padded(samples, mode="edge") < -LEAST_CROSSING
    crossings = np.diff(negative, prepend=negative[:1]).reshape(-1, HOP)
    counts = _over_frames(crossings.sum(1))
    return (counts - crossings[: len(counts), 0]) / FRAME  # what comes before a frame is none of its crossings


def _roll_off(magnitude: Frames) -> Array:
    """Frequency (F,) below which lies 85 % of the sum of magnitudes."""
    total = np.cumsum(magnitude, axis=1)
    return _bank().frequencies[(total >= ROLL_OFF * total[:, -1:]).argmax(1)]


def _centroid(magnitude: Frames) -> Array:
    total = magnitude.sum(1, dtype=np.float64)
    weighted = magnitude.astype(np.float64) @ _bank().frequencies
    return weighted / np.where(total > np.finfo(np.float32).tiny, total, 1)


def _loudness(samples: NDArray[np.float32]) -> Array:
    return np.sqrt(_over_frames(np.square(_padded(samples)).reshape(-1, HOP).sum(1, dtype=np.float64)) / FRAME)


def _decibels(power: Frames) -> Frames:
    decibels = 10 * np.log10(np.maximum(power, LEAST_POWER))
    return np.maximum(decibels, decibels.max() - DYNAMIC_RANGE)


@dataclasses.dataclass(frozen=True)
class _Bank:
    """What every clip is multiplied by, at 16 kHz. A band is (first frequency, end, ...) in steps of the spectrum."""

    window: Array  # (FRAME,)
    frequencies: NDArray[np.floating]  # (BINS,) in Hz
    mel: list[tuple[int, int, NDArray[np.float32]]]  # and (end - first, MEL_BLOCK) filters
    cosines: NDArray[np.float32]  # (MELS, MFCC)
    chroma: NDArray[np.float32]  # (BINS, 12)
    octaves: list[tuple[int, int, int]]  # and how many of its magnitudes are peaks, and valleys
    means: NDArray[np.float32]  # (all these, 7), of each octave's


@functools.cache
def _bank() -> _Bank:
    import librosa.filters

    frequencies = np.fft.rfftfreq(FRAME, 1 / SAMPLING_RATE)
    octaves = _octaves(frequencies)
    return _Bank(
        librosa.filters.get_window("hann", FRAME),
        frequencies,
        _mel_blocks(librosa.filters.mel(sr=SAMPLING_RATE, n_fft=FRAME, n_mels=MELS)),
        scipy.fft.dct(np.eye(MELS, dtype=np.float32), norm="ortho")[:, :MFCC],
        librosa.filters.chroma(sr=SAMPLING_RATE, n_fft=FRAME, tuning=0.0).T.astype(np.float32),
        octaves,
        scipy.linalg.block_diag(*[np.full((count, 1), 1 / count, np.float32) for *_, count in octaves]),
    )


def _mel_blocks(filters: NDArray[np.float32]) -> list[tuple[int, int, NDArray[np.float32]]]:
    """Neighbouring filters of (MELS, BINS), with the band outside which they are zero."""
    blocks = []
    for block in np.split(filters, MELS // MEL_BLOCK):
        low, high = np.flatnonzero(block.any(0))[[0, -1]]
        blocks.append((int(low), int(high) + 1, np.ascontiguousarray(block[:, low : high + 1].T)))
    return blocks


def _octaves(frequencies: NDArray[np.floating]) -> list[tuple[int, int, int]]:
    """librosa's bands: each begins with the last frequency below its octave, and all but the last lose their own."""
    edges = [0.0, *(CONTRAST_START * 2.0 ** np.arange(CONTRAST_OCTAVES + 1))]
    bands = []
    for number in range(CONTRAST_OCTAVES + 1):
        inside = np.flatnonzero((frequencies >= edges[number]) & (frequencies <= edges[number + 1]))
        last = number == CONTRAST_OCTAVES
        low, high = inside[0] - (number > 0), len(frequencies) if last else inside[-1] + 1
        count = max(int(np.rint(CONTRAST_QUANTILE * (high - low))), 1)
        bands.append((int(low), int(high if last else high - 1), count))
    return bands
