"""The thinkers of Qwen-Omni, which hear, see and write; the talkers that speak are not loaded.

Their encoder packs the frames of a batch, so that nothing is cut. Positions are three to a token, but the same three
for text and sound; the models take one and repeat it.
"""

from __future__ import annotations

from typing import Any

from dime_hf.annotate.families.whisper import WhisperFamily


class Qwen25OmniThinker(WhisperFamily):
    """The thinker of Qwen2.5-Omni, by itself or out of the whole model.

    Only the feature extractor, the tokenizer and the chat template of its processor are used. The processor of Omni
    itself needs torchvision; where that is lacking, one of Qwen2-Audio is made of these parts (the thinkers have been
    run with such a one only).
    """

    classes = ("Qwen2_5OmniThinkerForConditionalGeneration",)

    @classmethod
    def processor_of(cls, checkpoint: str, commit: str | None) -> Any:
        from transformers import AutoTokenizer, Qwen2AudioProcessor, WhisperFeatureExtractor

        try:
            return super().processor_of(checkpoint, commit)
        except ImportError:
            tokenizer = AutoTokenizer.from_pretrained(checkpoint, revision=commit)
            extractor = WhisperFeatureExtractor.from_pretrained(checkpoint, revision=commit or "main")
            return Qwen2AudioProcessor(extractor, tokenizer, chat_template=tokenizer.chat_template)


class Qwen3OmniThinker(Qwen25OmniThinker):
    """The thinker of Qwen3-Omni-MoE."""

    classes = ("Qwen3OmniMoeThinkerForConditionalGeneration",)

    def vectors(self, frames: int) -> int:
        """Three strides of 2, each with padding, over chunks of so many frames."""
        chunk = 2 * self.model.config.audio_config.n_window
        whole, rest = divmod(frames, chunk)
        return whole * _thrice_halved(chunk) + _thrice_halved(rest)


def _thrice_halved(frames: int) -> int:
    for _ in range(3):
        frames = (frames - 1) // 2 + 1
    return frames
