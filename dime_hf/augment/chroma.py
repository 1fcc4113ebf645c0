"""Chroma as librosa computes it: the energy of the twelve pitch classes, in the tuning that fits a recording best."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from dime_hf.columns import SAMPLING_RATE

Spectra = NDArray[np.float32]  # (F, values), a row for each frame

LOWEST, HIGHEST = 150.0, 4000.0  # Hz, between which pitches are looked for
THRESHOLD = 0.1  # of a frame's loudest frequency, below which nothing is a pitch


def chroma(power: Spectra) -> Spectra:
    """Return the energy of pitch classes (F, 12), the loudest of each frame 1, of power spectra (F, bins)."""
    energy = power @ _filters(2 * (power.shape[1] - 1), tuning(power))
    loudest = energy.max(1, keepdims=True)
    return energy / np.where(loudest > np.finfo(np.float32).tiny, loudest, 1)


def tuning(power: Spectra) -> float:
    """Return by what fraction of a semitone, in [-.5, .5), the louder half of the peaks of spectra are off A440."""
    import librosa

    pitches, loudness = _peaks(power)
    pitches = pitches[loudness >= np.median(loudness)] if len(pitches) else pitches
    return float(librosa.pitch_tuning(pitches)) if len(pitches) else 0.0


def _peaks(power: Spectra) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Frequencies in Hz and heights (P,) of the peaks of all frames, by a parabola through each and its neighbours."""
    width = SAMPLING_RATE / (2 * (power.shape[1] - 1))  # Hz from one frequency to the next
    low, high = int(np.ceil(LOWEST / width)), int(np.ceil(min(HIGHEST / width, power.shape[1] - 1)))
    loud = power[:, low:high] > np.float32(THRESHOLD) * power.max(1, keepdims=True)
    frames, places = np.divmod(np.flatnonzero(loud), high - low)  # much faster than `nonzero` in two dimensions
    places += low
    here, before, after = (power[frames, places + step] for step in (0, -1, 1))
    peaks = (here > before) & (here >= after)
    places, here, before, after = (values[peaks] for values in (places, here, before, after))
    curvature, slope = after + before - 2 * here, (after - before) / 2
    inside = np.abs(slope) < np.abs(curvature)  # else the summit lies beyond a neighbour
    shift = np.divide(-slope, curvature, out=np.zeros_like(here), where=inside)
    return ((places + shift) * width).astype(np.float32), here + slope * shift / 2


@functools.cache
def _filters(size: int, tuning: float) -> NDArray[np.float32]:
    """What power spectra (F, bins) are multiplied by, (bins, 12); there are a hundred tunings."""
    import librosa.filters

    return librosa.filters.chroma(sr=SAMPLING_RATE, n_fft=size, tuning=tuning).T.astype(np.float32)
