"""Probabilities of answer options from one prefill of an audio LM.

An option is a list of token ids. Where every option is one token, its score is that token's log-probability; otherwise
every option ends with the token that closes the turn, so that a short option does not win by being the start of many
answers. A change here that changes answers must raise `audio_lm.SCORING`, which the stored answers are keyed by.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

from dime_hf.annotate.families.base import Family, Messages
from dime_hf.errors import AnnotationError

SEQUENCES = 64  # at a time: what bounds the memory of their caches


class Recordings:
    """The waveforms of a batch, whose features are extracted once, whatever is asked about them."""

    def __init__(self, family: Family, waveforms: Sequence[Any]):
        longest = max(map(len, waveforms))
        if longest > family.window:
            raise AnnotationError(
                f"`waveforms` has a recording of {longest / family.rate:.2f} s, but the model hears "
                f"{family.window / family.rate:g} s at a time: give it in parts"
            )
        self.family, self.size = family, len(waveforms)
        self.features, self.sounds = family.hear(waveforms)

    def ask(self, conversations: Sequence[Messages], device: Any = None) -> dict[str, torch.Tensor]:
        """Model inputs of one conversation a recording, as the processor would return them."""
        return self.pad(self.tokens(conversations), device)

    def tokens(self, conversations: Sequence[Messages]) -> list[list[int]]:
        """Token ids of one conversation a recording."""
        return self.family.tokens(conversations, self.sounds)

    def pad(self, tokens: Sequence[Sequence[int]], device: Any = None) -> dict[str, torch.Tensor]:
        """Model inputs of the recordings and tokens that begin with them, padded on the left."""
        ids, mask = left_padded(tokens, self.family.pad)
        inputs = {**self.features, "input_ids": ids, "attention_mask": mask}
        dtype = self.family.model.dtype
        return {
            name: tensor.to(device, dtype if tensor.is_floating_point() else None) for name, tensor in inputs.items()
        }


def left_padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (N, longest) that all end at the last position, and the mask (N, longest) of what is not `pad`."""
    ids = torch.full((len(rows), max(map(len, rows))), pad)
    mask = torch.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, ids.shape[1] - len(row) :] = torch.tensor(row)
        mask[place, ids.shape[1] - len(row) :] = 1
    return ids, mask


@dataclasses.dataclass(frozen=True)
class Prefix:
    """What a model has read of some rows: its cache, and the mask (rows, length) of what is in it."""

    cache: Any
    mask: torch.Tensor

    def rows(self, places: torch.Tensor) -> Prefix:
        """The prefix of the rows at `places` (a row may come up several times); this one stays as it is."""
        chosen = self.copy()
        chosen.cache.batch_select_indices(places)
        return Prefix(chosen.cache, self.mask[places])

    def copy(self) -> Prefix:
        """The same prefix, to be gone on from. Layers that grow by concatenation share their tensors until then."""
        if not all(isinstance(layer, DynamicLayer) for layer in self.cache.layers):
            return Prefix(copy.deepcopy(self.cache), self.mask)
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        return Prefix(cache, self.mask)


def prefill(model: Any, inputs: Mapping[str, torch.Tensor], use_cache: bool = True) -> tuple[Prefix, torch.Tensor]:
    """Let a model read `inputs` that are padded on the left; return the prefix and the logits (rows, vocabulary)."""
    mask = inputs["attention_mask"]
    with last_position_only(model):
        read = model(**inputs, position_ids=positions(mask), use_cache=use_cache)
    return Prefix(read.past_key_values, mask), read.logits[:, -1]


def extend(model: Any, prefix: Prefix, ids: torch.Tensor, mask: torch.Tensor) -> tuple[Prefix, torch.Tensor]:
    """Go on with tokens (rows, length) that are padded on the left; the cache of `prefix` is used up."""
    with last_position_only(model):
        seen, logits = _read_on(model, prefix, ids, mask)
    return seen, logits[:, -1]


def _read_on(model: Any, prefix: Prefix, ids: torch.Tensor, mask: torch.Tensor) -> tuple[Prefix, torch.Tensor]:
    """Positions count the tokens of a row and not its padding: the same in any batch, and for every family."""
    seen = torch.cat([prefix.mask, mask], 1)
    read = model(
        input_ids=ids,
        attention_mask=seen,
        position_ids=positions(seen)[:, -ids.shape[1] :],
        past_key_values=prefix.cache,
        use_cache=True,
    )
    return Prefix(read.past_key_values, seen), read.logits


def positions(mask: torch.Tensor) -> torch.Tensor:
    """Position of every token in its row: padding before it does not count."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def score_recordings(
    family: Family, inputs: Mapping[str, torch.Tensor], options: Sequence[Sequence[int]]
) -> torch.Tensor:
    """`option_log_probabilities` of `Recordings.ask`, whose encoder hears no further than the longest recording."""
    with family.hearing(inputs):
        return option_log_probabilities(family.model, inputs, options)


def option_tokens(family: Family, messages: Messages, options: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Token ids of every option exactly as they follow the generation prompt of `messages`."""
    spelt = [family.answer_tokens(messages, option) for option in options]
    single = all(len(tokens) == 2 for tokens in spelt)
    return tuple(tokens[:1] if single else tokens for tokens in spelt)


def option_log_probabilities(
    model: Any, inputs: Mapping[str, torch.Tensor], options: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Log-probability (batch, K), nats, that the model answers with each of the K options.

    `inputs` must be padded on the left: the last position is where every row's answer begins.
    """
    prefix, logits = prefill(model, inputs, use_cache=max(map(len, options)) > 1)
    return after_prefix(model, prefix, logits, options)


def after_prefix(model: Any, prefix: Prefix, logits: torch.Tensor, options: Sequence[Sequence[int]]) -> torch.Tensor:
    """Log-probability (rows, K) of the options after a prefix that ends with `logits` (rows, vocabulary)."""
    scores = logits.float().log_softmax(-1)[:, [tokens[0] for tokens in options]]
    if max(map(len, options)) == 1:
        return scores
    step = max(1, SEQUENCES // len(logits))
    parts = [options[start : start + step] for start in range(0, len(options), step)]
    return scores + torch.cat([_remaining_tokens(model, prefix, part) for part in parts], 1)


@contextlib.contextmanager
def last_position_only(model: Any) -> Iterator[None]:
    """Spare the LM head all positions but the last. Qwen2-Audio takes `logits_to_keep` and ignores it."""
    head = model.get_output_embeddings()
    handle = head.register_forward_pre_hook(lambda _, arguments: (arguments[0][:, -1:],))
    try:
        yield
    finally:
        handle.remove()


def _remaining_tokens(model: Any, prefix: Prefix, options: Sequence[Sequence[int]]) -> torch.Tensor:
    """Log-probability (rows, K) of what follows every option's first token."""
    rows, count = len(prefix.mask), len(options)
    tokens, mask = _rectangle(options, prefix.mask.device)
    every = torch.arange(rows, device=prefix.mask.device).repeat_interleave(count)
    _, logits = _read_on(model, prefix.rows(every), tokens[:, :-1].repeat(rows, 1), mask[:, :-1].repeat(rows, 1))
    following = logits.float().log_softmax(-1).view(rows, count, tokens.shape[1] - 1, -1)
    targets = tokens[:, 1:].expand(rows, -1, -1)[..., None]
    return following.gather(-1, targets)[..., 0].masked_fill(mask[:, 1:] == 0, 0).sum(-1)


def _rectangle(options: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Options (K, longest) filled up with token 0, and the mask (K, longest) of what is theirs."""
    rows = [torch.tensor(tokens) for tokens in options]
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return tokens.to(device), mask.to(device)
