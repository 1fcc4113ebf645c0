"""Changes of the voice and its loudness: tempo, pitch, gain. Defaults are those that keep the perceived emotion."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from dime_hf.augment.operations.base import Parameters, Samples, Utterance
from dime_hf.augment.operations.levels import amplitude, within_full_scale
from dime_hf.augment.operations.preserving import Bounds, LabelPreserving, Sound, require_range
from dime_hf.columns import SAMPLING_RATE
from dime_hf.errors import PackageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tempo(Sound):
    """Speak faster or slower at the same pitch: `rate` in [1 - most, 1 + most] divides the duration.

    By Signalsmith Stretch, which audiomentations uses; librosa's phase vocoder loses 3 dB. 8 % is the most that is
    known to be safe, 25 % changes the perceived emotion.
    """

    name = "tempo"
    most: float = 0.08

    def __post_init__(self) -> None:
        require_range(self, "most", self.most, 0, 0.5)

    @property
    def bounds(self) -> Bounds:
        return {"rate": (1 - self.most, 1 + self.most)}

    def duration(self, durations: Sequence[float], parameters: Parameters) -> float:
        return float(sum(durations) / parameters["rate"])

    def sound(self, samples: Samples, parameters: Parameters) -> Samples:
        stretch = _stretch()
        stretch.setTimeFactor(parameters["rate"])
        return stretch.process(samples[np.newaxis])[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pitch(Sound):
    """Speak higher or lower at the same tempo: `semitones` in [-most, most]; the F0 range moves with F0.

    Formants move too, by 3 % for half a semitone, which is the most that is known to be safe.
    """

    name = "pitch"
    most: float = 0.5

    def __post_init__(self) -> None:
        require_range(self, "most", self.most, 0, 12)

    @property
    def bounds(self) -> Bounds:
        return {"semitones": (-self.most, self.most)}

    def sound(self, samples: Samples, parameters: Parameters) -> Samples:
        stretch = _stretch()
        stretch.setTransposeSemitones(parameters["semitones"])
        return stretch.process(samples[np.newaxis])[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gain(LabelPreserving):
    """Record louder or softer: `decibels` in [-softer, louder], cut back where the peak would pass full scale."""

    name = "gain"
    softer: float = 20.0
    louder: float = 20.0

    def __post_init__(self) -> None:
        require_range(self, "softer", self.softer, 0, 60)
        require_range(self, "louder", self.louder, 0, 60)

    @property
    def bounds(self) -> Bounds:
        return {"decibels": (-self.softer, self.louder)}

    def change(self, parent: Utterance, parameters: Parameters) -> Utterance:
        return Utterance(within_full_scale(parent.samples * amplitude(parameters["decibels"])), parent.text)


def _stretch() -> Any:
    """A stretcher of mono sound; below a factor of two it uses no random numbers."""
    try:
        import python_stretch
    except ImportError as error:
        raise PackageError("changing tempo or pitch", "python-stretch", "augment") from error
    stretch = python_stretch.Signalsmith.Stretch()
    stretch.preset(1, SAMPLING_RATE)
    return stretch
