"""Changes of what lies between the voice and the listener: room, background, codec, lost bands and moments."""

from __future__ import annotations

import dataclasses
import functools
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import scipy.fft
import scipy.signal
import soundfile
import soxr

from dime_hf import audio
from dime_hf.augment.operations.base import Parameters, Samples
from dime_hf.augment.operations.levels import amplitude, level, within_full_scale
from dime_hf.augment.operations.preserving import Bounds, Sound, draw_seed, require_range, seeded
from dime_hf.columns import SAMPLING_RATE
from dime_hf.distribution import Array
from dime_hf.errors import AudioError, DistributionError, did_you_mean

# name: sampling rate in Hz, container and encoding, as soundfile has them; the last two are telephones
CODECS: Mapping[str, tuple[int, str, str]] = MappingProxyType(
    {
        "mp3": (16_000, "MP3", "MPEG_LAYER_III"),
        "vorbis": (16_000, "OGG", "VORBIS"),
        "opus": (16_000, "OGG", "OPUS"),
        "gsm": (8_000, "WAV", "GSM610"),
        "mu_law": (8_000, "WAV", "ULAW"),
    }
)
SOUND_FILES = (".aif", ".aiff", ".flac", ".mp3", ".ogg", ".opus", ".wav")
FIRST_REFLECTION = 0.0025  # seconds after the direct sound
LOWEST_NOISE = 50.0  # Hz; below, coloured noise is as strong as there, or it would be all rumble


@dataclasses.dataclass(frozen=True, kw_only=True)
class Room(Sound):
    """Put the speaker into a room: reverberation that falls by 60 dB in `decay` seconds, up to `longest`.

    The direct sound is `direct` dB, at least `least_direct`, above the reverberation, and not delayed. The room's
    impulse response is noise that decays exponentially (Polack's model), drawn by `seed`; the tail after the last
    sample is cut. Defaults are a furnished room, heard from near.
    """

    name = "room"
    longest: float = 0.4
    least_direct: float = 10.0

    def __post_init__(self) -> None:
        require_range(self, "longest", self.longest, 0.1, 10)
        require_range(self, "least_direct", self.least_direct, -20, 20)

    @property
    def bounds(self) -> Bounds:
        return {"decay": (0.1, self.longest), "direct": (self.least_direct, 20.0)}

    def draw(self, rng: np.random.Generator) -> Parameters:
        return {**super().draw(rng), "seed": draw_seed(rng)}

    def sound(self, samples: Samples, parameters: Parameters) -> Array:
        time = np.arange(int(parameters["decay"] * SAMPLING_RATE)) / SAMPLING_RATE
        tail = seeded(self, parameters).standard_normal(len(time)) * 10 ** (-3 * time / parameters["decay"])
        tail[time < FIRST_REFLECTION] = 0
        tail *= amplitude(-parameters["direct"]) / np.linalg.norm(tail)
        return samples + scipy.signal.fftconvolve(samples.astype(np.float64), tail)[: len(samples)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Background(Sound):
    """Add a steady noise, `snr` dB below the utterance (powers of the whole clip), at least `least_snr`.

    `tilt` is how much its spectrum falls, in dB an octave: 0 is white, 3 pink, 6 brown. `seed` draws it.
    """

    name = "background"
    least_snr: float = 20.0

    def __post_init__(self) -> None:
        require_range(self, "least_snr", self.least_snr, -20, 40)

    @property
    def bounds(self) -> Bounds:
        return {"snr": (self.least_snr, 40.0), "tilt": (0.0, 6.0)}

    def draw(self, rng: np.random.Generator) -> Parameters:
        return {**super().draw(rng), "seed": draw_seed(rng)}

    def sound(self, samples: Samples, parameters: Parameters) -> Array:
        size = scipy.fft.next_fast_len(max(len(samples), 2), real=True)
        spectrum = scipy.fft.rfft(seeded(self, parameters).standard_normal(size))
        hertz = np.maximum(scipy.fft.rfftfreq(size, 1 / SAMPLING_RATE), LOWEST_NOISE)
        tilted = spectrum * (hertz / LOWEST_NOISE) ** (-parameters["tilt"] / (20 * np.log10(2)))
        return _add(samples, scipy.fft.irfft(tilted, size)[: len(samples)], parameters["snr"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordedBackground(Sound):
    """Add a recording of a folder, `snr` dB below the utterance (powers of the whole clip), at least `least_snr`.

    `recording` is its path in the folder; it is heard from the share `start` of it on, and repeated where it is short.
    """

    name = "recorded_background"
    folder: str | os.PathLike[str]
    least_snr: float = 20.0

    def __post_init__(self) -> None:
        require_range(self, "least_snr", self.least_snr, -20, 40)

    @property
    def bounds(self) -> Bounds:
        return {"snr": (self.least_snr, 40.0), "start": (0.0, 1.0)}

    def draw(self, rng: np.random.Generator) -> Parameters:
        return {**super().draw(rng), "recording": self.recordings[int(rng.integers(len(self.recordings)))]}

    @functools.cached_property
    def recordings(self) -> tuple[str, ...]:
        """Paths of all sound files in the folder and below it, sorted; listed once."""
        found = (path for path in Path(self.folder).rglob("*.*") if path.suffix.lower() in SOUND_FILES)
        names = sorted(path.relative_to(self.folder).as_posix() for path in found)
        if not names:
            raise AudioError(f"`folder`: {self.folder} has no sound files ({', '.join(SOUND_FILES)})")
        return tuple(names)

    def check(self, parameters: Parameters) -> None:
        super().check(parameters)
        if not isinstance(parameters.get("recording"), str):
            raise DistributionError(
                f"`parameters`: 'recording' of {self.name!r} must be the path of a file in `folder`"
            )

    def sound(self, samples: Samples, parameters: Parameters) -> Array:
        path = Path(self.folder) / parameters["recording"]
        noise = _recording(os.fspath(path))
        start = int(parameters["start"] * len(noise)) % len(noise)
        heard = noise.take(np.arange(start, start + len(samples)), mode="wrap")
        if not level(heard):
            raise AudioError(f"{path}: silent from {start / SAMPLING_RATE:.2f} s on, no background to add")
        return _add(samples, heard, parameters["snr"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Codec(Sound):
    """Encode and decode: `codec` is one of `codecs`, a choice of `CODECS`, at soundfile's usual quality.

    For 16 kHz speech about 32 kbit/s (opus), 50 (mp3), 60 (vorbis); gsm (13) and mu_law (64) are telephones, which
    keep what lies below 4 kHz. Delays are removed.
    """

    name = "codec"
    codecs: Sequence[str] = tuple(CODECS)

    def __post_init__(self) -> None:
        if unknown := [name for name in self.codecs if name not in CODECS]:
            raise DistributionError(f"`codecs` has {unknown[0]!r}.{did_you_mean(unknown[0], CODECS)}")
        if not self.codecs:
            raise DistributionError("`codecs` is empty: name at least one")

    @property
    def bounds(self) -> Bounds:
        return {}

    def draw(self, rng: np.random.Generator) -> Parameters:
        return {"codec": self.codecs[int(rng.integers(len(self.codecs)))]}

    def check(self, parameters: Parameters) -> None:
        if parameters.get("codec") not in self.codecs:
            raise self.refusal("codec", parameters.get("codec"), f"one of {', '.join(self.codecs)}")

    def sound(self, samples: Samples, parameters: Parameters) -> Samples:
        rate, container, encoding = CODECS[parameters["codec"]]
        sent = within_full_scale(soxr.resample(samples, SAMPLING_RATE, rate))
        encoded = io.BytesIO()
        soundfile.write(encoded, sent if len(sent) else np.zeros(1), rate, format=container, subtype=encoding)
        received, _ = soundfile.read(io.BytesIO(encoded.getvalue()), dtype="float32")
        return _to_length(soxr.resample(received, rate, SAMPLING_RATE), len(samples))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mask(Sound):
    """Lose a band of frequencies and a moment: SpecAugment (1904.08779) on the waveform, and milder.

    The band is `octaves` wide, at most `widest`, around `frequency` Hz, above what carries F0; the moment is `gap`
    seconds, at most `longest` and a tenth of the clip, at the share `at` of it. For masks that are as large as the
    paper's, which do change what a human hears, mask the features where they are made.
    """

    name = "mask"
    widest: float = 1 / 3
    longest: float = 0.05

    def __post_init__(self) -> None:
        require_range(self, "widest", self.widest, 0.05, 1)
        require_range(self, "longest", self.longest, 0, 1)

    @property
    def bounds(self) -> Bounds:
        highest = 0.49 * SAMPLING_RATE / 2 ** (self.widest / 2)
        return {
            "frequency": (1000.0, highest),
            "octaves": (0.05, self.widest),
            "gap": (0.0, self.longest),
            "at": (0.0, 1.0),
        }

    def sound(self, samples: Samples, parameters: Parameters) -> Array:
        half = 2 ** (parameters["octaves"] / 2)
        edges = [parameters["frequency"] / half, parameters["frequency"] * half]
        stop = scipy.signal.butter(4, edges, "bandstop", fs=SAMPLING_RATE, output="sos")
        left = scipy.signal.sosfiltfilt(stop, samples, padlen=max(0, min(SAMPLING_RATE // 100, len(samples) - 1)))
        length = min(int(parameters["gap"] * SAMPLING_RATE), len(samples) // 10)
        start = int(parameters["at"] * (len(samples) - length))
        left[start : start + length] *= 1 - scipy.signal.windows.tukey(length, 0.2)
        return left


@functools.lru_cache(maxsize=4)
def _recording(path: str) -> Samples:
    return audio.read(path)


def _add(samples: Samples, noise: Array | Samples, snr: float) -> Array:
    found = level(noise)
    return np.asarray(samples + noise * (level(samples) * amplitude(-snr) / found if found else 0.0), np.float64)


def _to_length(samples: Samples, length: int) -> Samples:
    return np.pad(samples[:length], (0, max(0, length - len(samples))))
