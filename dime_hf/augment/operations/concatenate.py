"""One utterance after another: sound and words agree, and the label is what was heard for how long."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dime_hf.augment.operations.base import Operation, Parameters, Samples, Utterance
from dime_hf.augment.operations.levels import amplitude, level, within_full_scale
from dime_hf.augment.operations.preserving import number, require_range
from dime_hf.columns import SAMPLING_RATE
from dime_hf.distribution import Array
from dime_hf.errors import DistributionError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Concatenate(Operation):
    """Join two utterances or more; each weighs in the label what it lasts (CopyPaste, 2010.14602, keeps one label).

    They overlap by `fade` seconds, 20 to 50 ms and at most half of either, in a cross-fade of equal power. A parent
    that is more than `level_gap` dB above the softest is lowered to that, so that no listener hears two recordings;
    less is left, for loudness is part of an emotion. Words are joined by a space.
    """

    name = "concatenate"
    parents = 2
    shortest_fade: float = 0.02
    longest_fade: float = 0.05
    level_gap: float = 6.0

    def __post_init__(self) -> None:
        require_range(self, "longest_fade", self.longest_fade, 0, 1)
        require_range(self, "shortest_fade", self.shortest_fade, 0, self.longest_fade)
        require_range(self, "level_gap", self.level_gap, 0, 100)

    def draw(self, rng: np.random.Generator) -> Parameters:
        return {"fade": float(rng.uniform(self.shortest_fade, self.longest_fade)), "level_gap": self.level_gap}

    def weights(self, durations: Sequence[float], parameters: Parameters) -> Array:
        lasting = np.asarray(durations, dtype=np.float64)
        if not len(lasting) or not (np.isfinite(lasting) & (lasting > 0)).all():
            raise DistributionError(f"`durations` must be seconds above 0, not {list(durations)}")
        return lasting / lasting.sum()

    def duration(self, durations: Sequence[float], parameters: Parameters) -> float:
        return float(sum(durations) - (len(durations) - 1) * parameters["fade"])

    def apply(self, parents: Sequence[Utterance], parameters: Parameters) -> Utterance:
        if len(parents) < 2:
            raise DistributionError(
                f"`parents`: {self.name!r} joins two utterances or more, and was given {len(parents)}"
            )
        fade, gap = (number(self, parameters, name) for name in ("fade", "level_gap"))
        if not self.shortest_fade <= fade <= self.longest_fade or gap < 0:
            raise DistributionError(
                f"`parameters`: of {self.name!r}, 'fade' must lie in [{self.shortest_fade:g}, {self.longest_fade:g}] "
                f"seconds and 'level_gap' be at least 0 dB, not {fade!r} and {gap!r}"
            )
        sounds = _levelled([parent.samples for parent in parents], gap)
        joined = sounds[0]
        for sound in sounds[1:]:
            joined = _joined(joined, sound, int(fade * SAMPLING_RATE))
        return Utterance(within_full_scale(joined), _sentence([parent.text for parent in parents]))


def _levelled(sounds: Sequence[Samples], gap: float) -> list[Samples]:
    """Lower the loud ones to `gap` dB above the softest; silence is no level."""
    levels = [level(sound) for sound in sounds]
    highest = min((found for found in levels if found), default=0.0) * amplitude(gap)
    return [
        sound * np.float32(min(1.0, highest / found if found else 1.0))
        for sound, found in zip(sounds, levels, strict=True)
    ]


def _joined(first: Samples, second: Samples, fade: int) -> Samples:
    overlap = min(fade, len(first) // 2, len(second) // 2)
    angle = np.pi / 2 * (np.arange(overlap) + 0.5) / max(overlap, 1)
    start, end = first[: len(first) - overlap], second[overlap:]
    between = first[len(first) - overlap :] * np.cos(angle) + second[:overlap] * np.sin(angle)
    return np.concatenate([start, between, end]).astype(np.float32)


def _sentence(texts: Sequence[str | None]) -> str | None:
    """Transcripts joined by a space; None where there is none at all."""
    words = [text.strip() for text in texts if text and text.strip()]
    return " ".join(words) if words else next((text for text in texts if text is not None), None)
