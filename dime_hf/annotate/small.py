"""A small Qwen2-Audio built in place: the class, the processor and the code path of the 7B model, without a download.

Untrained it answers noise, which is enough to test the machinery. Taught on a school of toy utterances its answers
carry information, so that the quickstart shows what a real audio LM would do. It knows nothing about real speech.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dime_hf import columns
from dime_hf.annotate import checkpoints
from dime_hf.annotate.prompts import (
    ANSWER,
    OPTION_WORDS,
    PROMPTS,
    QUESTION,
    SYSTEM,
    TRANSCRIPT,
    Prompt,
    cyclic_orders,
    option_words,
)  # fmt: skip
from dime_hf.errors import AnnotationError

if TYPE_CHECKING:
    from datasets import Dataset

AUDIO_TOKENS = ("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{%- for message in messages -%}<|im_start|>{{ message.role + '\n' }}"
    "{%- if message.content is string -%}{{ message.content }}"
    "{%- else -%}{%- for part in message.content -%}"
    "{%- if part.type == 'audio' -%}{{ '<|audio_bos|><|AUDIO|><|audio_eos|>\n' }}{%- else -%}{{ part.text }}"
    "{%- endif -%}"
    "{%- endfor -%}{%- endif -%}{{ '<|im_end|>\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)


@dataclasses.dataclass(frozen=True)
class SmallShape:
    """Sizes of a small audio LM; `seconds` is the window that its encoder hears."""

    seconds: int = 10
    mel_bins: int = 40
    encoder_width: int = 64
    encoder_layers: int = 1
    width: int = 96
    layers: int = 2
    heads: int = 4


def small_audio_lm(
    folder: str | Path,
    school: Dataset | None = None,
    *,
    label_set: Sequence[str] | None = None,
    prompts: Sequence[Prompt] = PROMPTS,
    words: Mapping[str, str] = OPTION_WORDS,
    shape: SmallShape = SmallShape(),
    steps: int = 240,
    seed: int = 0,
    whole_words: bool = True,
) -> Path:
    """Write a small Qwen2-Audio checkpoint to `folder` and return it; `AudioLMAnnotator(folder, ...)` then asks it.

    With a `school`, a dataset of utterances with soft labels, it is taught for `steps` batches and refuses to annotate
    these utterances; without one it stays random and needs a `label_set`. `whole_words=False` spells the options in
    several tokens. Same arguments, same weights (on the same kind of processor).
    """
    import torch

    if school is not None:
        columns.require(school, columns.ID, columns.AUDIO, columns.TEXT, columns.SOFT_LABEL, argument="school")
        label_set = columns.classes(school, "school")
    elif label_set is None:
        raise AnnotationError(
            "give a `school` to be taught on, or the `label_set` that an untrained model is to be asked about"
        )
    options = option_words(label_set, words)
    transcripts = [text for text in school[columns.TEXT] if text] if school is not None else []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        processor = _processor(_tokenizer(prompts, options if whole_words else (), transcripts), shape)
        model = _model(processor.tokenizer, shape)
        if school is not None:
            from dime_hf.annotate.teach import teach

            teach(model, processor, school, prompts=prompts, options=options, steps=steps, seed=seed)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    checkpoints.write_tuned_on(folder, school[columns.ID] if school is not None else ())
    return Path(folder)


def _tokenizer(prompts: Sequence[Prompt], options: Sequence[str], transcripts: Iterable[str]) -> Any:
    """Byte-level tokenizer for which every sentence of the prompts, every option and every usual word is one token."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = [PAD, START, END, *AUDIO_TOKENS]
    orders = cyclic_orders(len(options), len(options)) if options else ()
    lists = [", ".join(options[c] for c in order) for order in orders]
    frequent = ["system\nuser\nassistant\n", "\n".join(options), *lists] * 50
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=800, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*frequent, *transcripts], trainer)
    answer, transcript = ANSWER.partition("{")[0], TRANSCRIPT.partition("{")[0]
    sentences = [SYSTEM, QUESTION, *(prompt.attention for prompt in prompts), answer.strip(), transcript]
    tokenizer.add_tokens([AddedToken(sentence, normalized=False) for sentence in sentences])
    extra = [START, *AUDIO_TOKENS]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, additional_special_tokens=extra, padding_side="left"
    )


def _processor(tokenizer: Any, shape: SmallShape) -> Any:
    from transformers import Qwen2AudioProcessor, WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(
        feature_size=shape.mel_bins, sampling_rate=columns.SAMPLING_RATE, chunk_length=shape.seconds
    )
    return Qwen2AudioProcessor(feature_extractor=extractor, tokenizer=tokenizer, chat_template=CHAT_TEMPLATE)


def _model(tokenizer: Any, shape: SmallShape) -> Any:
    """Random weights; the encoder's positions are sinusoids, as Whisper's are, and hold beyond the lengths taught."""
    from transformers import Qwen2AudioConfig, Qwen2AudioEncoderConfig, Qwen2AudioForConditionalGeneration, Qwen2Config

    encoder = Qwen2AudioEncoderConfig(
        num_mel_bins=shape.mel_bins,
        d_model=shape.encoder_width,
        encoder_layers=shape.encoder_layers,
        encoder_attention_heads=shape.heads,
        encoder_ffn_dim=2 * shape.encoder_width,
        max_source_positions=50 * shape.seconds,
    )
    text = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=2 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads // 2,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    audio_token = tokenizer.convert_tokens_to_ids(AUDIO_TOKENS[0])
    model = Qwen2AudioForConditionalGeneration(
        Qwen2AudioConfig(audio_config=encoder, text_config=text, audio_token_index=audio_token)
    )
    model.generation_config.update(pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id)
    tower: Any = getattr(model, "model", model).audio_tower  # transformers 5.0 has no `model` in between
    _set_sinusoids(tower.embed_positions.weight)
    return model.eval()


def _set_sinusoids(table: Any) -> None:
    """Fill a table (positions, width) with sines and cosines of wavelengths from 2 pi to 20000 pi positions."""
    import torch

    count, width = table.shape
    rates = torch.exp(-math.log(10_000) * torch.arange(width // 2) / (width // 2 - 1))
    angles = torch.arange(count)[:, None] * rates
    with torch.no_grad():
        table.copy_(torch.cat([angles.sin(), angles.cos()], dim=1))
