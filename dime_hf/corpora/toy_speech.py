"""The toy corpus's speakers: speech-like sound and words whose manner depends on a known affect.

An utterance has an affect (valence, arousal), from which everything follows: the true distribution over emotions, the
prosody (arousal raises pitch, pitch range, rate, loudness and brightness; valence tilts the melody and spreads the
formants), and part of the words. Speakers differ in pitch, vocal-tract length and rate, so that no single feature
gives an emotion away. Nothing here is a model of real emotional speech: it exists to make the truth known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from dime_hf.columns import SAMPLING_RATE

# (valence, arousal) of each emotion, and its share of utterances: neutral is common, sadness is rare.
AFFECT = {
    "angry": (-0.75, 0.75),
    "happy": (0.85, 0.25),
    "neutral": (0.0, -0.15),
    "sad": (-0.7, -0.8),
    "excited": (0.65, 0.9),
    "frustrated": (-0.65, 0.2),
    "surprise": (0.15, 1.1),
    "fear": (-0.2, 1.0),
    "disgust": (-1.1, -0.1),
    "other": (0.9, -0.8),
}
INVENTORY = tuple(AFFECT)
SHARES = np.array([0.2, 0.1, 0.36, 0.07, 0.1, 0.11, 0.02, 0.015, 0.015, 0.01])
AFFECT_SPREAD = 0.28  # standard deviation of an utterance's affect around its emotion
VOTE_SPREAD = 0.5  # how far apart two affects are still taken for one another by annotators

VOWELS = np.array(
    [[730, 1090, 2440], [530, 1840, 2480], [270, 2290, 3010], [570, 840, 2410], [300, 870, 2240]]
)  # formants, Hz
BANDWIDTHS = np.array([80.0, 110.0, 160.0])  # of the formants, Hz
PLAIN_WORDS = [
    "so",
    "then",
    "we",
    "go",
    "there",
    "and",
    "you",
    "take",
    "it",
    "with",
    "them",
    "when",
    "the",
    "door",
    "is",
    "open",
    "at",
    "seven",
]
TELLING_WORDS = {
    "angry": ["stop", "nonsense", "liar"],
    "happy": ["lovely", "glad", "sunny"],
    "neutral": ["table", "number", "street"],
    "sad": ["alone", "lost", "goodbye"],
    "excited": ["wow", "fantastic", "yes"],
    "frustrated": ["again", "useless", "waiting"],
    "surprise": ["what", "really", "suddenly"],
    "fear": ["careful", "dark", "help"],
    "disgust": ["rotten", "filthy", "smell"],
    "other": ["perhaps", "anyway", "hmm"],
}


@dataclasses.dataclass(frozen=True)
class ToySpeaker:
    """A voice: base pitch in Hz, vocal-tract factor on the formants, syllables a second."""

    name: str
    gender: str
    pitch: float
    tract: float
    rate: float

    @classmethod
    def draw(cls, name: str, gender: str, seed: int) -> ToySpeaker:
        """Draw the voice called `name`: same name and seed, same voice."""
        rng = np.random.default_rng([seed, *name.encode()])
        pitch, tract = (205.0, 1.15) if gender == "Female" else (118.0, 1.0)
        return cls(
            name, gender, pitch * 2 ** rng.normal(0, 0.12), tract * 2 ** rng.normal(0, 0.04), rng.uniform(4.2, 5.2)
        )


@dataclasses.dataclass(frozen=True)
class ToyUtterance:
    """What was said: mono float32 samples at 16 kHz, words, affect, and the true distribution over `INVENTORY`."""

    samples: NDArray[np.float32]
    text: str
    valence: float
    arousal: float
    truth: NDArray[np.float64]


def utter(speaker: ToySpeaker, rng: np.random.Generator) -> ToyUtterance:
    """Draw one utterance of `speaker`."""
    emotion = INVENTORY[rng.choice(len(INVENTORY), p=SHARES)]
    valence, arousal = np.asarray(AFFECT[emotion]) + rng.normal(0, AFFECT_SPREAD, 2)
    truth = true_distribution(valence, arousal)
    samples = synthesize(speaker, valence, arousal, rng)
    return ToyUtterance(samples, _words(truth, rng), float(valence), float(arousal), truth)


def true_distribution(valence: float, arousal: float) -> NDArray[np.float64]:
    """Return the (10,) distribution over `INVENTORY` from which annotators vote on an utterance of this affect."""
    distance = ((np.array(list(AFFECT.values())) - (valence, arousal)) ** 2).sum(-1)
    weight = SHARES**0.5 * np.exp(-distance / (2 * VOTE_SPREAD**2))
    return weight / weight.sum()


def synthesize(speaker: ToySpeaker, valence: float, arousal: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return 1 to 3 s of speech-like sound at 16 kHz: voiced syllables through formants, with a melody."""
    rate = speaker.rate * 2 ** (0.35 * arousal)
    lengths = (SAMPLING_RATE / rate * rng.uniform(0.8, 1.2, rng.integers(5, 9))).astype(int)
    pitch = _melody(speaker, lengths, valence, arousal, rng)
    source = _voice(pitch, arousal, rng)
    starts = np.concatenate([[0], lengths.cumsum()])
    stretch = speaker.tract * (1 + 0.06 * np.tanh(valence))
    syllables = [
        _syllable(source[start : start + length], VOWELS[rng.integers(len(VOWELS))] * stretch)
        for start, length in zip(starts, lengths, strict=False)
    ]
    sound = np.concatenate(syllables)
    loudness = 0.12 * 2 ** (0.9 * np.clip(arousal, -1.2, 1.2))
    sound *= loudness / (np.sqrt((sound**2).mean()) + 1e-9)
    return np.clip(sound + rng.normal(0, 1e-3, sound.size), -1, 1).astype(np.float32)


def _melody(
    speaker: ToySpeaker, lengths: NDArray[np.int_], valence: float, arousal: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Pitch in Hz of every sample: accents by arousal, a rise (or fall) towards the end by valence."""
    count = len(lengths)
    accents = rng.normal(0, 0.08 + 0.12 * max(arousal + 0.8, 0), count)
    slope = 0.35 * np.tanh(valence) * np.linspace(-1, 1, count)
    octaves = 0.35 * arousal + slope + accents
    centres = lengths.cumsum() - lengths / 2
    return speaker.pitch * 2 ** np.interp(np.arange(lengths.sum()), centres, octaves)


def _voice(pitch: NDArray[np.float64], arousal: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Glottal pulses with a little breath; high arousal sounds brighter."""
    phase = np.cumsum(pitch / SAMPLING_RATE) % 1
    pulses = np.where(phase < 0.6, phase**2 * (0.6 - phase), 0.0)
    pulses = np.diff(pulses, prepend=0.0)
    pulses /= np.abs(pulses).max() + 1e-9
    dullness = np.clip(0.75 - 0.3 * arousal, 0.2, 0.97)
    return lfilter([1 - dullness], [1, -dullness], pulses + rng.normal(0, 0.02, pulses.size))


def _syllable(source: NDArray[np.float64], formants: NDArray[np.float64]) -> NDArray[np.float64]:
    """One vowel: the source through three resonances in a row, faded in and out."""
    for frequency, bandwidth in zip(formants, BANDWIDTHS, strict=True):
        radius = np.exp(-np.pi * bandwidth / SAMPLING_RATE)
        b, c = 2 * radius * np.cos(2 * np.pi * frequency / SAMPLING_RATE), -(radius**2)
        source = lfilter([1 - b - c], [1, -b, -c], source)
    return source * np.sin(np.pi * (np.arange(source.size) + 0.5) / source.size) ** 0.6


def _words(truth: Sequence[float] | NDArray[np.float64], rng: np.random.Generator) -> str:
    """Five to eight words, each telling with probability 0.2: one in three transcripts gives nothing away."""
    telling = [TELLING_WORDS[INVENTORY[c]] for c in rng.choice(len(INVENTORY), 8, p=truth)]
    words = [str(rng.choice(t if rng.random() < 0.2 else PLAIN_WORDS)) for t in telling[: rng.integers(5, 9)]]
    return " ".join(words).capitalize() + "."
