"""What is asked of every family of audio LMs, answered for those whose processor has a Jinja chat template."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from dime_hf.errors import AnnotationError

Messages = list[dict[str, Any]]  # one conversation
AUTO_CLASSES = (
    "AutoModelForMultimodalLM",
    "AutoModelForSeq2SeqLM",
    "AutoModelForImageTextToText",
    "AutoModelForCausalLM",
)
OF_TOKENS = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
SECONDS = 30  # heard at a time where a feature extractor names no window


class Family:
    """A model with its processor. As it stands, it drives any processor that takes `text=` and `audio=`.

    That should carry Gemma 3n and 4, Granite Speech and Phi-4, none of which has been run here. Subclasses say where a
    family differs.
    """

    classes: tuple[str, ...] = ()  # go before those that a checkpoint names

    def __init__(self, model: Any, processor: Any):
        self.model, self.processor = model, processor

    @classmethod
    def read_processor(cls, checkpoint: str, commit: str | None) -> Any:
        """Processor of a checkpoint; raises `AnnotationError` if it does not take sound and chat."""
        processor = cls.processor_of(checkpoint, commit)
        if not (_extractor(processor) and all(getattr(processor, p, None) for p in ("tokenizer", "chat_template"))):
            raise AnnotationError(
                f"`checkpoint` {checkpoint!r} does not take sound and chat: its processor, a "
                f"{type(processor).__name__}, needs a feature extractor, a tokenizer and a chat template"
            )
        return processor

    @classmethod
    def processor_of(cls, checkpoint: str, commit: str | None) -> Any:
        from transformers import AutoProcessor

        return AutoProcessor.from_pretrained(checkpoint, revision=commit)

    @classmethod
    def model_class(cls, config: Any) -> Any:
        """Class of the family, or that a checkpoint names, or else the first auto class that knows its type."""
        import transformers

        named = [name for name in (*cls.classes, *(config.architectures or ())) if hasattr(transformers, name)]
        automatic = [name for name in AUTO_CLASSES if type(config) in getattr(transformers, name)._model_mapping]
        if not named + automatic:
            raise ValueError(
                f"transformers {transformers.__version__} has no class for the model type {config.model_type!r}"
            )
        return getattr(transformers, (named + automatic)[0])

    @property
    def rate(self) -> int:
        """Samples a second of what it hears."""
        return _extractor(self.processor).sampling_rate

    @property
    def window(self) -> int:
        """Samples that it hears at a time."""
        return getattr(_extractor(self.processor), "n_samples", SECONDS * self.rate)

    @property
    def pad(self) -> int:
        """Token that fills up; it is masked."""
        return self.processor.tokenizer.pad_token_id or 0

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that close an answer."""
        ids = self.model.generation_config.eos_token_id
        listed = ids if isinstance(ids, list) else [ids]
        return frozenset(token for token in [*listed, self.processor.tokenizer.eos_token_id] if token is not None)

    def hear(self, waveforms: Sequence[np.ndarray]) -> tuple[dict[str, torch.Tensor], list[str]]:
        """Features of the waveforms, and the text that stands for each of them in a conversation."""
        heard = self.processor(
            text=[self.processor.audio_token] * len(waveforms),
            audio=list(waveforms),
            audio_kwargs={"sampling_rate": self.rate, "return_tensors": "pt"},
            text_kwargs={"padding": True, "add_special_tokens": False, "return_tensors": "pt"},
        )
        sounds = [ids[mask.bool()] for ids, mask in zip(heard["input_ids"], heard["attention_mask"], strict=True)]
        features = {name: heard[name] for name in heard if name not in OF_TOKENS}
        return features, [self.processor.tokenizer.decode(ids, clean_up_tokenization_spaces=False) for ids in sounds]

    @contextlib.contextmanager
    def hearing(self, features: Mapping[str, torch.Tensor]) -> Iterator[None]:
        """While it lasts, the encoder takes `features` of the length they have."""
        yield

    def tokens(self, conversations: Sequence[Messages], sounds: Sequence[str]) -> list[list[int]]:
        """Token ids of conversations about one recording each, up to where the answer begins."""
        texts = [
            self.text(messages).replace(self.processor.audio_token, sound)
            for messages, sound in zip(conversations, sounds, strict=True)
        ]
        return self.processor.tokenizer(texts, add_special_tokens=False)["input_ids"]

    def text(self, messages: Messages) -> str:
        """Text of a conversation up to where the answer begins, with one audio token for the recording."""
        return self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    def answer_tokens(self, messages: Messages, option: str) -> tuple[int, ...]:
        """Token ids of `option` as an answer to `messages`, with the token that closes the turn.

        Raises `AnnotationError` if they would not follow the conversation in tokens of their own.
        """
        prompt = self.text(messages)
        answered = [*messages, {"role": "assistant", "content": option}]
        turn = self.processor.apply_chat_template(answered, tokenize=False)
        before, with_option, whole = (
            self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (prompt, prompt + option, turn)
        )
        own = whole[: len(with_option)] == with_option and with_option[: len(before)] == before
        if not own or not turn.startswith(prompt + option):
            raise AnnotationError(merged(option))
        return tuple(whole[len(before) : len(with_option) + 1])

    def written(self, tokens: Sequence[int]) -> str:
        """Text of an answer."""
        return self.processor.tokenizer.decode(list(tokens), skip_special_tokens=True)

    def plain(self, text: str | None) -> str | None:
        """Break up what the tokenizer would take for a token of the chat: the words of a speaker stay words."""
        if not text:
            return None
        special = {token.content for token in self.processor.tokenizer.added_tokens_decoder.values() if token.special}
        for token in sorted(special):
            text = text.replace(token, f"{token[:1]} {token[1:]}")
        return text


def _extractor(processor: Any) -> Any:
    """What makes features of sound; Granite Speech and Phi-4 have another name for it."""
    return getattr(processor, "feature_extractor", None) or getattr(processor, "audio_processor", None)


def merged(option: str) -> str:
    """What is wrong with an option that the tokenizer merges with what stands around it."""
    return (
        f"the option {option!r} does not follow the generation prompt in tokens of its own: the tokenizer or chat "
        "template of this checkpoint merges it with its surroundings; choose another word with `words`"
    )
