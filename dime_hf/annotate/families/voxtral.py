"""Voxtral: no Jinja template but the tokenizer of mistral-common, and an encoder that always hears 30 s, unmasked."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from dime_hf import audio
from dime_hf.annotate.families.base import Family, Messages, merged
from dime_hf.errors import AnnotationError

SILENCE = 1_600  # samples: stands for a recording, all of which have the same tokens


class Voxtral(Family):
    """Voxtral. Its tokenizer allows no system message beside sound: the text of one follows the recording.

    What is asked is one turn of a user with one recording.
    """

    @classmethod
    def read_processor(cls, checkpoint: str, commit: str | None) -> Any:
        from transformers import VoxtralProcessor

        return VoxtralProcessor.from_pretrained(checkpoint, revision=commit or "main")

    def hear(self, waveforms: Sequence[np.ndarray]) -> tuple[dict[str, torch.Tensor], list[str]]:
        extractor = self.processor.feature_extractor
        heard = extractor(list(waveforms), sampling_rate=self.rate, padding="max_length", return_tensors="pt")
        return {"input_features": heard["input_features"]}, [self.processor.audio_token] * len(waveforms)

    def tokens(self, conversations: Sequence[Messages], sounds: Sequence[str]) -> list[list[int]]:
        return [self._tokens(messages) for messages in conversations]

    def answer_tokens(self, messages: Messages, option: str) -> tuple[int, ...]:
        tokenizer = self.processor.tokenizer
        answer = tokenizer(option, add_special_tokens=False)["input_ids"]
        whole = self._tokens([*messages, {"role": "assistant", "content": option}], continue_final_message=True)
        if whole != self._tokens(messages) + answer:
            raise AnnotationError(merged(option))
        return (*answer, tokenizer.eos_token_id)

    def plain(self, text: str | None) -> str | None:
        """The text as it is: this tokenizer makes no token of the chat out of words."""
        return text or None

    def _tokens(self, messages: Messages, **how: bool) -> list[int]:
        found = self.processor.tokenizer.apply_chat_template(self._adapted(messages), tokenize=True, **how)
        return list(found["input_ids"])

    def _adapted(self, messages: Messages) -> Messages:
        """Messages without a system turn, and with silence where the recording goes."""
        system = [message["content"] for message in messages if message["role"] == "system"]
        wav = base64.b64encode(audio.encode_wav(np.zeros(SILENCE, "float32"), self.rate)).decode()
        sound = {"type": "audio", "base64": wav}
        turns = []
        for message in messages:
            if message["role"] == "user":
                words = [part["text"] for part in message["content"] if part["type"] == "text"]
                text = "\n".join([*system, *words])
                turns.append({**message, "content": [sound, {"type": "text", "text": text}]})
            elif message["role"] != "system":
                turns.append(message)
        return turns
