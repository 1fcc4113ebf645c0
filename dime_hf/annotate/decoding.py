"""Answers in words, drawn from the caches that `tree` fills: what draws share is computed once.

A token is drawn by adding Gumbel noise to its logit over the temperature and taking the largest sum. The noise is a
hash (SplitMix64) of the draw, the step and the token: the same draws in any batch and on any device, and no vector of
the vocabulary's size has to be drawn on the CPU for every token.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Sequence

import numpy as np
import torch

from dime_hf.annotate import scoring
from dime_hf.annotate.families.base import Family, Messages
from dime_hf.annotate.scoring import Prefix, Recordings
from dime_hf.annotate.tree import Tree
from dime_hf.errors import AnnotationError

GAMMA, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # the constants of SplitMix64


@dataclasses.dataclass(frozen=True)
class Draws:
    """What one question about one recording is to be answered with: a draw for each of `temperatures` (draws,).

    Temperature 0 takes the most probable token. Draws depend on how `generator` was seeded, not on what was drawn
    from it: asking again, after a failure, gives the same.
    """

    temperatures: Sequence[float]
    generator: np.random.Generator

    def keys(self) -> list[int]:
        """What the noise of every draw hangs on."""
        seeds = self.generator.bit_generator.seed_seq.generate_state(len(self.temperatures), np.uint64)
        return [int(seed) for seed in seeds.view(np.int64)]


@dataclasses.dataclass
class _Reply:
    """One answer while it is written; `row` is its place among those that end together."""

    row: int
    temperature: float
    key: int
    limit: int
    tokens: list[int] = dataclasses.field(default_factory=list)
    broken: bool = False

    def ended(self, ends: Container[int]) -> bool:
        """Whether nothing more is to be written."""
        return self.broken or self.tokens[-1] in ends or len(self.tokens) == self.limit


def write(
    family: Family,
    recordings: Recordings,
    questions: Sequence[Sequence[Messages]],
    draws: Sequence[Sequence[Draws]],
    max_tokens: Sequence[int],
) -> list[list[list[str | None]]]:
    """Answers by question, recording and draw; None where the logits of a draw are not numbers.

    `questions[q][row]` is the q-th conversation about a recording, `draws[q][row]` what it is answered with. A draw
    ends with its turn, or after `max_tokens[q]` tokens. Settings of the checkpoint (top-p, penalties) are left aside.
    """
    if not len(questions) == len(draws) == len(max_tokens) or min(max_tokens) < 1:
        raise AnnotationError(
            f"`draws` and `max_tokens` (at least 1) must say for each of {len(questions)} questions how it is "
            f"answered; got {len(draws)} and {list(max_tokens)}"
        )
    replies: dict[tuple[int, int], list[_Reply]] = {}

    def leaf(asked: Sequence[int], end: Prefix, logits: torch.Tensor) -> None:
        places = [(question, row) for row in range(recordings.size) for question in asked]
        for place, (question, row) in enumerate(places):
            replies[question, row] = _blank(draws[question][row], place, max_tokens[question])
        waiting = [reply for place in places for reply in replies[place]]
        for start in range(0, len(waiting), scoring.SEQUENCES):
            _fill(family, end, logits, waiting[start : start + scoring.SEQUENCES])

    with torch.inference_mode():
        Tree(family, recordings, questions, leaf).walk()
    return [
        [[_text(family, reply) for reply in replies[question, row]] for row in range(recordings.size)]
        for question in range(len(questions))
    ]


def _blank(draws: Draws, row: int, limit: int) -> list[_Reply]:
    return [
        _Reply(row, float(temperature), key, limit)
        for temperature, key in zip(draws.temperatures, draws.keys(), strict=True)
    ]


def _fill(family: Family, prefix: Prefix, logits: torch.Tensor, replies: Sequence[_Reply]) -> None:
    """Write `replies` token by token; those that have ended leave the batch."""
    rows, ends = torch.tensor([reply.row for reply in replies], device=logits.device), family.ends
    for step in range(max(reply.limit for reply in replies)):
        logits = logits[rows]
        tokens = draw_tokens(logits, [r.temperature for r in replies], [r.key for r in replies], step)
        broken = logits.isnan().any(-1).tolist()
        for reply, token, is_broken in zip(replies, tokens.tolist(), broken, strict=True):
            reply.tokens.append(token)
            reply.broken = is_broken
        going_on = [place for place, reply in enumerate(replies) if not reply.ended(ends)]
        if not going_on:
            return
        if step == 0 or len(going_on) < len(replies):
            prefix, tokens = prefix.rows(rows[going_on]), tokens[going_on]
            replies = [replies[place] for place in going_on]
        prefix, logits = scoring.extend(family.model, prefix, tokens[:, None], torch.ones_like(tokens)[:, None])
        rows = torch.arange(len(replies), device=logits.device)


def _text(family: Family, reply: _Reply) -> str | None:
    return None if reply.broken else family.written([token for token in reply.tokens if token not in family.ends])


def draw_tokens(logits: torch.Tensor, temperatures: Sequence[float], keys: Sequence[int], step: int) -> torch.Tensor:
    """Token (rows,) of every row of `logits` (rows, vocabulary), at its temperature and with the noise of its key."""
    logits = logits.float()
    if not any(temperatures):
        return logits.argmax(-1)
    heat = torch.tensor(temperatures, dtype=torch.float64, device=logits.device)[:, None]
    noise = gumbel(keys, step, logits.shape[-1], logits.device)
    return torch.where(heat > 0, logits / heat.clamp(min=1e-6) + noise, logits.double()).argmax(-1)


def gumbel(keys: Sequence[int], step: int, size: int, device: torch.device) -> torch.Tensor:
    """Standard Gumbel noise (keys, size): the hash of a key, the step and the place."""
    places = torch.arange(size, device=device) + (step << 32) + 1
    state = torch.tensor(keys, device=device)[:, None] + places * _signed(GAMMA)
    state = (state ^ _shifted(state, 30)) * _signed(FIRST)
    state = (state ^ _shifted(state, 27)) * _signed(SECOND)
    state = state ^ _shifted(state, 31)
    uniform = (_shifted(state, 11).double() + 0.5) * 2.0**-53
    return -torch.log(-torch.log(uniform))


def _shifted(state: torch.Tensor, bits: int) -> torch.Tensor:
    """Right shift that fills up with zeros: that of torch repeats the sign."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def _signed(number: int) -> int:
    """The same 64 bits as a number that torch's integers hold."""
    return number - (1 << 64) if number >= 1 << 63 else number
