"""The 72 statistics of a recording by which the paper's recipe finds neighbours.

They are librosa's with its defaults (2601.14620 names no others), but all from one spectrum per frame.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.fft
import scipy.linalg
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dime_hf.augment.chroma import Spectra, chroma
from dime_hf.columns import SAMPLING_RATE
from dime_hf.distribution import Array

FRAME, HOP = 2048, 512  # samples of a spectrum, and from one to the next
BINS = FRAME // 2 + 1
BLOCK, CHUNK = 64, 1024  # frames that are transformed together (a cache holds so many), and described together
MELS, MFCC = 128, 13
MEL_BLOCK = 16  # filters that are multiplied together: each is zero for most frequencies
CONTRAST_START, CONTRAST_OCTAVES, CONTRAST_QUANTILE = 200.0, 6, 0.02
ROLL_OFF = 0.85
BAND, ROUNDING = 32, 1e-5  # frequencies whose sum is taken first, and by what part float32 sums may differ
LEAST_POWER, DYNAMIC_RANGE = 1e-10, 80.0  # what librosa takes for silence, and decibels below a clip's loudest value
LEAST_CROSSING = 1e-10  # samples nearer to zero are zero


def audio_statistics(clips: Sequence[NDArray[np.float32]]) -> Array:
    """Return means, then standard deviations, over frames (N, 72), of N clips of mono samples at 16 kHz.

    They are of 13 MFCC, 12 chroma, 7 spectral contrasts, zero-crossing rate, roll-off, centroid and RMS. The clips are
    joined to one signal, whose frames are described together: few long sums let threads work side by side.
    """
    signal = _Signal.joined(clips)
    power, peaks, valleys, roll_off, centroid = _spectral(signal.samples)
    values = np.column_stack(
        [
            _decibels(_mel(power), signal) @ _bank().cosines,
            chroma(power, signal.frames),
            _decibels(peaks, signal) - _decibels(valleys, signal),
            _crossing_rate(signal),
            roll_off,
            centroid,
            _loudness(signal.samples),
        ]
    )
    means = signal.mean(values)
    return np.hstack([means, np.sqrt(signal.mean(np.square(values - means[signal.clip_of])))])


def prepare() -> None:
    """Import librosa and make what every clip is multiplied by, before there are threads."""
    import librosa  # noqa: F401

    _bank()


@dataclasses.dataclass(frozen=True)
class _Signal:
    """Clips joined: each with half a frame of silence before it, and as much behind it as its last frame needs.

    Frames begin every `HOP` samples; those that reach from one clip into the next belong to none.
    """

    samples: Array  # (hops * HOP,), in double precision: valleys lie a million times below peaks
    clips: list[slice]  # of samples
    frames: list[slice]  # of each clip
    clip_of: NDArray[np.int64]  # (F,): of each frame

    @classmethod
    def joined(cls, clips: Sequence[NDArray[np.float32]]) -> _Signal:
        hops = [len(clip) // HOP + FRAME // HOP for clip in clips]
        begins, overlap = np.cumsum([0, *hops]), FRAME // HOP - 1
        first = begins * HOP + FRAME // 2
        places = [slice(start, start + len(clip)) for start, clip in zip(first, clips, strict=False)]
        samples = np.zeros(begins[-1] * HOP)
        for place, clip in zip(places, clips, strict=True):
            samples[place] = clip
        frames = [slice(*ends) for ends in zip(begins, begins[1:] - overlap, strict=False)]
        return cls(samples, places, frames, np.repeat(np.arange(len(clips)), hops)[: begins[-1] - overlap])

    def over(self, sum_up: np.ufunc, values: NDArray[Any]) -> NDArray[Any]:
        """Sums (N, ...), or maxima, over the frames of each clip of `values` (F, ...)."""
        bounds = [bound for place in self.frames for bound in (place.start, place.stop)]
        return sum_up.reduceat(values, bounds[:-1])[::2]

    def mean(self, values: Array) -> Array:
        """Means (N, D) over the frames of each clip of `values` (F, D)."""
        return self.over(np.add, values) / [[place.stop - place.start] for place in self.frames]


def _spectral(samples: Array) -> tuple[Spectra, Spectra, Spectra, Array, Array]:
    """Power, peaks, valleys, roll-off and centroid of all frames, `CHUNK` at a time."""
    views = sliding_window_view(samples, FRAME)[::HOP]
    power = np.empty((len(views), BINS), np.float32)
    taken = []
    for start in range(0, len(views), CHUNK):
        magnitude = _magnitudes(views[start : start + CHUNK])
        np.multiply(magnitude, magnitude, out=power[start : start + CHUNK])
        taken.append((_roll_off(magnitude), _centroid(magnitude), *_extremes(magnitude)))
    roll_off, centroid, peaks, valleys = map(np.concatenate, zip(*taken, strict=True))
    return power, peaks, valleys, roll_off, centroid


class _Workspace(threading.local):
    """Memory that a thread uses again and again: fresh memory takes longer than the sums."""

    def __init__(self) -> None:
        self.windowed = np.empty((BLOCK, FRAME))
        self.transformed = np.empty((BLOCK, BINS), np.complex128)
        self.spectrum = np.empty((CHUNK, BINS), np.complex64)
        self.magnitude = np.empty((CHUNK, BINS), np.float32)


_workspace = _Workspace()


def _magnitudes(frames: Array) -> Spectra:
    """Magnitudes (F, BINS) of samples (F, FRAME); they are overwritten by the next call."""
    space, count = _workspace, len(frames)
    for start in range(0, count, BLOCK):
        block = slice(start, min(start + BLOCK, count))
        size = block.stop - start
        windowed = np.multiply(frames[block], _bank().window, out=space.windowed[:size])
        space.spectrum[block] = np.fft.rfft(windowed, axis=1, out=space.transformed[:size])
    return np.abs(space.spectrum[:count], out=space.magnitude[:count])


def _over_frames(per_hop: NDArray[Any]) -> NDArray[Any]:
    """Sums (F,) over the hops of each frame, of one value a hop (F + 3,)."""
    return sliding_window_view(per_hop, FRAME // HOP).sum(1)


def _mel(power: Spectra) -> Spectra:
    return np.hstack([power[:, low:high] @ filters for low, high, filters in _bank().mel])


def _extremes(magnitude: Spectra) -> tuple[Spectra, Spectra]:
    """Means (F, 7) of the loudest and of the faintest frequencies of each octave; the octaves end up in order."""
    octaves = [magnitude[:, low:high] for low, high, _ in _bank().octaves]
    for octave in octaves:
        octave.sort(axis=1)  # faster than partitions: SIMD
    counts = [count for *_, count in _bank().octaves]
    peaks = np.hstack([octave[:, -count:] for octave, count in zip(octaves, counts, strict=True)])
    valleys = np.hstack([octave[:, :count] for octave, count in zip(octaves, counts, strict=True)])
    return peaks @ _bank().means, valleys @ _bank().means


def _crossing_rate(signal: _Signal) -> Array:
    negative = signal.samples < -LEAST_CROSSING
    for clip in signal.clips:  # the silence around a clip has the sign of its ends
        negative[clip.start - FRAME // 2 : clip.start] = negative[clip.start]
        negative[clip.stop : clip.stop + FRAME // 2] = negative[clip.stop - 1]
    crossings = np.zeros(negative.shape, np.uint8)
    np.not_equal(negative[1:], negative[:-1], out=crossings[1:].view(bool))
    of_hop = crossings.reshape(-1, HOP)
    counts = _over_frames(of_hop.sum(1, dtype=np.int32))
    return (counts - of_hop[: len(counts), 0]) / FRAME  # what comes before a frame is none of its crossings


def _roll_off(magnitude: Spectra) -> Array:
    """Frequency (F,) below which lies 85 % of the sum of magnitudes: its band first, then its place in the band.

    librosa adds up one by one: where rounding could make a difference, so is done here.
    """
    below = np.cumsum(np.add.reduceat(magnitude, range(0, BINS, BAND), axis=1), axis=1)
    wanted = ROLL_OFF * below[:, -1:]
    band = np.minimum((below < wanted).sum(1), BINS // BAND - 1)[:, None]
    places = band * BAND + np.arange(BAND)
    total = np.cumsum(np.take_along_axis(magnitude, places, 1), axis=1)
    total += np.where(band > 0, np.take_along_axis(below, np.maximum(band - 1, 0), 1), 0)
    place = np.take_along_axis(places, (total >= wanted).argmax(1)[:, None], 1)[:, 0]
    close = np.abs(total - wanted).min(1) <= ROUNDING * wanted[:, 0]
    doubtful = np.flatnonzero(close | (total[:, -1] < wanted[:, 0]))
    total = np.cumsum(magnitude[doubtful], axis=1)
    place[doubtful] = (total >= ROLL_OFF * total[:, -1:]).argmax(1)
    return _bank().frequencies[place]


def _centroid(magnitude: Spectra) -> Array:
    weighted, total = (magnitude.astype(np.float64) @ _bank().moments).T
    return weighted / np.where(total > np.finfo(np.float32).tiny, total, 1)


def _loudness(samples: Array) -> Array:
    hops = samples.reshape(-1, HOP)
    return np.sqrt(_over_frames(np.einsum("ht,ht->h", hops, hops)) / FRAME)


def _decibels(power: Spectra, signal: _Signal) -> Spectra:
    decibels = 10 * np.log10(np.maximum(power, LEAST_POWER))
    loudest = signal.over(np.maximum, decibels.max(1))
    return np.maximum(decibels, (loudest - DYNAMIC_RANGE)[signal.clip_of, None])


@dataclasses.dataclass(frozen=True)
class _Bank:
    """What every clip is multiplied by, at 16 kHz. A band is (first frequency, end, ...) in steps of the spectrum."""

    window: Array  # (FRAME,)
    frequencies: NDArray[np.floating]  # (BINS,) in Hz
    moments: Array  # (BINS, 2): frequencies, and ones
    mel: list[tuple[int, int, NDArray[np.float32]]]  # and (end - first, MEL_BLOCK) filters
    cosines: NDArray[np.float32]  # (MELS, MFCC)
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
        np.column_stack([frequencies, np.ones(BINS)]),
        _mel_blocks(librosa.filters.mel(sr=SAMPLING_RATE, n_fft=FRAME, n_mels=MELS)),
        scipy.fft.dct(np.eye(MELS, dtype=np.float32), norm="ortho")[:, :MFCC],
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
