"""Probabilities of answer options from one prefill of an audio LM.

An option is a list of token ids. Where every option is one token, its score is that token's log-probability; otherwise
every option ends with the token that closes the turn, so that a short option does not win by being the start of many
answers. A change here that changes answers must raise `audio_lm.SCORING`, which the stored answers are keyed by.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from dime_hf.errors import AnnotationError

Messages = list[dict[str, Any]]  # one conversation
STRIDE = 4  # mel frames a vector of the encoder: lengths must be multiples of it
MARGIN = 8  # mel frames kept behind the longest recording, where the convolutions still see it


class Recordings:
    """The waveforms of a batch, whose features are extracted once, whatever is asked about them."""

    def __init__(self, processor: Any, waveforms: Sequence[Any], rate: int):
        self.processor = processor
        placeholders = [processor.audio_token] * len(waveforms)
        heard = processor(
            text=placeholders, audio=list(waveforms), sampling_rate=rate, return_tensors="pt", padding=True
        )
        self.counts = (heard["input_ids"] == processor.audio_token_id).sum(-1).tolist()  # audio tokens of every row
        self.features = {name: heard[name] for name in heard if name not in ("input_ids", "attention_mask")}

    def ask(self, conversations: Sequence[Messages], device: Any = None) -> dict[str, torch.Tensor]:
        """Model inputs of one conversation a recording, as the processor would return them."""
        return self.pad(self.tokens(conversations), device)

    def tokens(self, conversations: Sequence[Messages]) -> list[list[int]]:
        """Token ids of one conversation a recording."""
        texts = [
            render(self.processor, messages, count) for messages, count in zip(conversations, self.counts, strict=True)
        ]
        return self.processor.tokenizer(texts)["input_ids"]

    def pad(self, tokens: Sequence[Sequence[int]], device: Any = None) -> dict[str, torch.Tensor]:
        """Model inputs of the recordings and tokens that begin with them, padded on the left."""
        ids, mask = left_padded(tokens, self.processor.tokenizer.pad_token_id)
        inputs = {**self.features, "input_ids": ids, "attention_mask": mask}
        return {name: tensor.to(device) for name, tensor in inputs.items()}


def left_padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (N, longest) that all end at the last position, and the mask (N, longest) of what is not `pad`."""
    ids = torch.full((len(rows), max(map(len, rows))), pad)
    mask = torch.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, ids.shape[1] - len(row) :] = torch.tensor(row)
        mask[place, ids.shape[1] - len(row) :] = 1
    return ids, mask


def render(processor: Any, messages: Messages, count: int) -> str:
    """Text of a conversation up to where the answer begins, with `count` audio tokens where the recording goes."""
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text.replace(processor.audio_token, processor.audio_token * count)


def score_recordings(model: Any, inputs: Mapping[str, torch.Tensor], options: Sequence[Sequence[int]]) -> torch.Tensor:
    """`option_log_probabilities`, but the encoder hears no further than the longest recording of the batch.

    Qwen2-Audio's encoder always runs over its whole window, 30 s. What is cut off is masked padding: equal scores.
    """
    with whole_recordings(model, inputs) as heard:
        return option_log_probabilities(model, heard, options)


@contextlib.contextmanager
def whole_recordings(model: Any, inputs: Mapping[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """Let the encoder hear as far as the longest recording of a batch and no further: give the inputs cut there."""
    mask = inputs["feature_attention_mask"]
    frames = frames_to_keep(int(mask.sum(-1).max()), mask.shape[-1])
    heard = {"input_features": inputs["input_features"][..., :frames], "feature_attention_mask": mask[..., :frames]}
    with short_window(model, frames):
        yield {**inputs, **heard}


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


def option_tokens(processor: Any, messages: Messages, options: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Token ids of every option exactly as they follow the generation prompt of `messages`."""
    spelt = [_answer_tokens(processor, messages, option) for option in options]
    single = all(len(tokens) == 2 for tokens in spelt)
    return tuple(tokens[:1] if single else tokens for tokens in spelt)


def _answer_tokens(processor: Any, messages: Messages, option: str) -> tuple[int, ...]:
    """Token ids of `option` as an answer to `messages`, with the token that closes the turn."""
    prompt = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    answered = [*messages, {"role": "assistant", "content": option}]
    turn = processor.apply_chat_template(answered, tokenize=False)
    before, with_option, whole = (
        processor.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, prompt + option, turn)
    )
    if (
        not turn.startswith(prompt + option)
        or whole[: len(with_option)] != with_option
        or with_option[: len(before)] != before
    ):
        raise AnnotationError(
            f"the option {option!r} does not follow the generation prompt in tokens of its own: the tokenizer or chat "
            "template of this checkpoint merges it with its surroundings; choose another word with `words`"
        )
    return tuple(whole[len(before) : len(with_option) + 1])


def option_log_probabilities(
    model: Any, inputs: Mapping[str, torch.Tensor], options: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Log-probability (batch, K), nats, that the model answers with each of the K options.

    `inputs` must be padded on the left: the last position is where every row's answer begins.
    """
    several = max(map(len, options)) > 1
    with last_position_only(model):
        prefill = model(**inputs, use_cache=several)
    first = prefill.logits[:, -1].float().log_softmax(-1)
    scores = first[:, [tokens[0] for tokens in options]]
    if not several:
        return scores
    mask = inputs["attention_mask"]
    position = torch.full((len(mask),), mask.shape[1], device=mask.device)  # the prefill counted the padding, too
    return scores + remaining_tokens(model, mask, position, prefill.past_key_values, options)


@contextlib.contextmanager
def last_position_only(model: Any) -> Iterator[None]:
    """Spare the LM head all positions but the last. Qwen2-Audio takes `logits_to_keep` and ignores it."""
    head = model.get_output_embeddings()
    handle = head.register_forward_pre_hook(lambda _, arguments: (arguments[0][:, -1:],))
    try:
        yield
    finally:
        handle.remove()


def remaining_tokens(
    model: Any, prefix_mask: torch.Tensor, position: torch.Tensor, cache: Any, options: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Log-probability (batch, K) of what follows every option's first token, given the cache of the prefix.

    `position` (batch,) is where the answer begins. The cache is used up.
    """
    batch, count = len(prefix_mask), len(options)
    tokens, mask = _rectangle(options, prefix_mask.device)
    cache.batch_repeat_interleave(count)
    steps = torch.arange(tokens.shape[1] - 1, device=tokens.device)
    logits = model(
        input_ids=tokens[:, :-1].repeat(batch, 1),
        attention_mask=torch.cat([prefix_mask.repeat_interleave(count, 0), mask[:, :-1].repeat(batch, 1)], 1),
        position_ids=position.repeat_interleave(count)[:, None] + steps,
        past_key_values=cache,
        use_cache=True,
    ).logits
    following = logits.float().log_softmax(-1).view(batch, count, tokens.shape[1] - 1, -1)
    targets = tokens[:, 1:].expand(batch, -1, -1)[..., None]
    return following.gather(-1, targets)[..., 0].masked_fill(mask[:, 1:] == 0, 0).sum(-1)


def _rectangle(options: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Options (K, longest) filled up with token 0, and the mask (K, longest) of what is theirs."""
    rows = [torch.tensor(tokens) for tokens in options]
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return tokens.to(device), mask.to(device)
