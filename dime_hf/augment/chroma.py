"""Chroma as librosa computes it: the energy of the twelve pitch classes, in the tuning that fits a recording best."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dime_hf.columns import SAMPLING_RATE

Spectra = NDArray[np.float32]  # (F, values), a row for each frame

LOWEST, HIGHEST = 150.0, 4000.0  # Hz, between which pitches are looked for
STEPS = 100  # in which the tuning of a semitone is told
THRESHOLD = 0.1  # of a frame's loudest frequency, below which nothing is a pitch


def chroma(power: Spectra, clips: Sequence[slice]) -> Spectra:
    """Return the energy of pitch classes (F, 12), the loudest of each frame 1, of power spectra (F, bins).

    Each clip has its own tuning; frames of no clip have no energy.
    """
    energy = np.zeros((len(power), 12), np.float32)
    for clip, tuning in zip(clips, tunings(power, clips).tolist(), strict=True):
        np.matmul(power[clip], _filters(2 * (power.shape[1] - 1), tuning), out=energy[clip])
    loudest = energy.max(1, keepdims=True)
    return energy / np.where(loudest > np.finfo(np.float32).tiny, loudest, 1)


def tunings(power: Spectra, clips: Sequence[slice]) -> NDArray[np.float64]:
    """Return by what part of a semitone, in [-.5, .5), the louder half of the peaks of each clip is off A440.

    That is `librosa.estimate_tuning` of each: the fullest of a hundred bins; 0 where there is no peak.
    """
    import librosa

    frames, pitches, loudness = _peaks(power)
    bounds = np.searchsorted(frames, [(clip.start, clip.stop) for clip in clips])
    mine = [slice(*bound) for bound in bounds]
    medians = [np.median(loudness[peaks]) if peaks.stop > peaks.start else 0 for peaks in mine]
    clip_of = np.repeat(np.arange(len(clips)), bounds[:, 1] - bounds[:, 0])
    inside = np.concatenate([np.arange(*bound) for bound in bounds])
    loud = loudness[inside] >= np.array(medians)[clip_of]
    off = np.mod(12 * librosa.hz_to_octs(pitches[inside][loud]), 1.0)
    off[off >= 0.5] -= 1
    bins = np.linspace(-0.5, 0.5, STEPS + 1)
    cells = clip_of[loud] * STEPS + np.searchsorted(bins, off, side="right") - 1
    fullest = np.bincount(cells, minlength=len(clips) * STEPS).reshape(-1, STEPS).argmax(1)
    return np.where([peaks.stop > peaks.start for peaks in mine], bins[fullest], 0.0)


def _peaks(power: Spectra) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Frames, frequencies in Hz and heights (P,) of all peaks, by a parabola through each and its neighbours."""
    width = SAMPLING_RATE / (2 * (power.shape[1] - 1))  # Hz from one frequency to the next
    low, high = int(np.ceil(LOWEST / width)), int(np.ceil(min(HIGHEST / width, power.shape[1] - 1)))
    loud = power[:, low:high] > np.float32(THRESHOLD) * power.max(1, keepdims=True)
    frames, places = np.divmod(np.flatnonzero(loud), high - low)  # much faster than `nonzero` in two dimensions
    places += low
    here, before, after = (power[frames, places + step] for step in (0, -1, 1))
    peaks = (here > before) & (here >= after)
    frames, places, here, before, after = (values[peaks] for values in (frames, places, here, before, after))
    curvature, slope = after + before - 2 * here, (after - before) / 2
    inside = np.abs(slope) < np.abs(curvature)  # else the summit lies beyond a neighbour
    shift = np.divide(-slope, curvature, out=np.zeros_like(here), where=inside)
    return frames, ((places + shift) * width).astype(np.float32), here + slope * shift / 2


@functools.cache
def _filters(size: int, tuning: float) -> NDArray[np.float32]:
    """What power spectra (F, bins) are multiplied by, (bins, 12); there are a hundred tunings."""
    import librosa.filters

    return librosa.filters.chroma(sr=SAMPLING_RATE, n_fft=size, tuning=tuning).T.astype(np.float32)
