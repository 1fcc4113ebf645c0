"""Families with a Whisper encoder and a mask of the mel frames: they need not hear behind the longest recording.

The encoder of a released checkpoint always runs over its whole window, 30 s, in which what is behind the recording is
masked. Mel features, mask and table of positions are cut behind the longest recording of a batch: equal answers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from dime_hf.annotate.families.base import Family

STRIDE = 4  # mel frames a vector of the encoder: lengths must be multiples of it
MARGIN = 8  # mel frames kept behind the longest recording, where the convolutions still see it


class WhisperFamily(Family):
    """Mel features of Whisper, no longer than the longest recording, and their mask."""

    mask = "feature_attention_mask"

    def hear(self, waveforms: Sequence[np.ndarray]) -> tuple[dict[str, torch.Tensor], list[str]]:
        extractor = self.processor.feature_extractor
        longest = -(-max(map(len, waveforms)) // extractor.hop_length)
        heard = extractor(
            list(waveforms),
            sampling_rate=self.rate,
            padding="max_length",
            max_length=frames_to_keep(longest, extractor.nb_max_frames) * extractor.hop_length,
            return_attention_mask=True,
            return_tensors="pt",
        )
        features = {"input_features": heard["input_features"], self.mask: heard["attention_mask"]}
        counts = [self.vectors(frames) for frames in heard["attention_mask"].sum(-1).tolist()]
        return features, [self.processor.audio_token * count for count in counts]

    def vectors(self, frames: int) -> int:
        """Vectors that the encoder makes of so many mel frames: two strides of 2, the first with padding."""
        return ((frames - 1) // 2 + 1 - 2) // 2 + 1


class Qwen2Audio(WhisperFamily):
    """Qwen2-Audio."""

    @contextlib.contextmanager
    def hearing(self, features: Mapping[str, torch.Tensor]) -> Iterator[None]:
        with short_window(self.model, features["input_features"].shape[-1]):
            yield


class AudioFlamingo3(Qwen2Audio):
    """Audio Flamingo 3: the same encoder; its processor hears ten minutes in windows of 30 s, of which one is used."""

    mask = "input_features_mask"


def frames_to_keep(longest: int, window: int) -> int:
    """Mel frames of a batch whose longest recording has `longest`, out of the `window` of the encoder."""
    return min(-(-(longest + MARGIN) // STRIDE) * STRIDE, window)


@contextlib.contextmanager
def short_window(model: Any, frames: int) -> Iterator[None]:
    """Let the encoder take `frames` of mel, not its whole window: it checks the length, and adds as many positions."""
    encoder = getattr(model, "model", model).audio_tower  # transformers 5.0 has no `model` in between
    whole, table = encoder.config.max_source_positions, encoder.embed_positions.weight
    encoder.config.max_source_positions = frames // 2
    encoder.embed_positions.weight = torch.nn.Parameter(table[: frames // 2].detach(), requires_grad=False)
    try:
        yield
    finally:
        encoder.config.max_source_positions, encoder.embed_positions.weight = whole, table
