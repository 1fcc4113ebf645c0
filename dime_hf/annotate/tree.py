"""Many questions about the same recordings: what they share is computed once.

The tokens of all questions about a recording form a tree: the recording with the words that all questions begin with,
then what several go on with (a prompt), then what one says alone (its option order). Each node runs once, from the
cache of the node above it. Equal to asking every question by itself, up to rounding.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dime_hf.annotate.scoring import (
    Messages,
    Recordings,
    last_position_only,
    left_padded,
    option_tokens,
    remaining_tokens,
    score_recordings,
    whole_recordings,
)

SEQUENCES = 64  # at a time: what bounds the memory of their caches


def score_questions(
    model: Any, recordings: Recordings, questions: Sequence[Sequence[Messages]], options: Sequence[str]
) -> NDArray[np.float64]:
    """Log-probabilities (Q, batch, K), nats, of the `options` as answers to Q questions about every recording.

    `questions[q][row]` is the q-th conversation about a recording.
    """
    tokens = option_tokens(recordings.processor, questions[0][0], options)
    with torch.inference_mode():
        if len(questions) == 1:
            inputs = recordings.ask(questions[0], model.device)
            scores = score_recordings(model, inputs, tokens)[None]
        else:
            scores = _Tree(model, recordings, questions, tokens).scores()
        return scores.double().cpu().numpy()


@dataclasses.dataclass(frozen=True)
class _Node:
    """Where a node's tokens end: its cache, the mask (rows, length) of what is in it, the next position (rows,)."""

    cache: Any
    mask: torch.Tensor
    position: torch.Tensor

    def repeated(self, times: int) -> _Node:
        """A copy in which every row is there `times` times."""
        cache = copy.deepcopy(self.cache)
        cache.batch_repeat_interleave(times)
        return _Node(cache, self.mask.repeat_interleave(times, 0), self.position.repeat_interleave(times, 0))


class _Tree:
    """Scores all questions about the recordings of a batch."""

    def __init__(
        self,
        model: Any,
        recordings: Recordings,
        questions: Sequence[Sequence[Messages]],
        options: Sequence[Sequence[int]],
    ):
        self.model, self.recordings, self.options = model, recordings, options
        self.tokens = [recordings.tokens(conversations) for conversations in questions]
        self.rows = range(len(recordings.counts))
        self.found: dict[int, torch.Tensor] = {}  # (batch, K) by question

    def scores(self) -> torch.Tensor:
        """(Q, batch, K)."""
        questions = list(range(len(self.tokens)))
        ends = self._shared(questions)
        beginnings = [self.tokens[0][row][: ends[row]] for row in self.rows]
        inputs = self.recordings.pad(beginnings, self.model.device)
        with whole_recordings(self.model, inputs) as heard, last_position_only(self.model):
            cache = self.model(**heard, use_cache=True).past_key_values
        length = inputs["attention_mask"].shape[1]
        position = torch.full((len(self.rows),), length, device=self.model.device)
        self._branch(_Node(cache, inputs["attention_mask"], position), questions, ends)
        return torch.stack([self.found[question] for question in questions])

    def _branch(self, node: _Node, questions: Sequence[int], starts: Sequence[int]) -> None:
        """Go on from a node whose `questions` part at the tokens `starts` of every row."""
        branches: dict[int, list[int]] = {}
        for question in questions:
            branches.setdefault(self.tokens[question][0][starts[0]], []).append(question)
        leaves = [branch[0] for branch in branches.values() if len(branch) == 1]
        step = max(1, SEQUENCES // len(self.rows))
        for start in range(0, len(leaves), step):
            self._answer(node, leaves[start : start + step], starts)
        for branch in branches.values():
            if len(branch) > 1:
                ends = self._shared(branch)
                segments = [self.tokens[branch[0]][row][starts[row] : ends[row]] for row in self.rows]
                self._branch(self._extend(node.repeated(1), segments)[0], branch, ends)

    def _answer(self, node: _Node, questions: Sequence[int], starts: Sequence[int]) -> None:
        """Score the options of questions that share nothing more."""
        segments = [self.tokens[question][row][starts[row] :] for row in self.rows for question in questions]
        end, logits = self._extend(node.repeated(len(questions)), segments)
        first = logits.float().log_softmax(-1)
        scores = first[:, [option[0] for option in self.options]]
        if max(map(len, self.options)) > 1:
            scores = scores + remaining_tokens(self.model, end.mask, end.position, end.cache, self.options)
        by_question = scores.view(len(self.rows), len(questions), -1)
        self.found.update({question: by_question[:, place] for place, question in enumerate(questions)})

    def _extend(self, node: _Node, segments: Sequence[Sequence[int]]) -> tuple[_Node, torch.Tensor]:
        """Run a segment a row from a node; return where it ends, and the logits (rows, vocabulary) there."""
        padded = left_padded(segments, self.recordings.processor.tokenizer.pad_token_id)
        ids, mask = (tensor.to(self.model.device) for tensor in padded)
        positions = node.position[:, None] + (mask.cumsum(-1) - 1).clamp(min=0)
        seen = torch.cat([node.mask, mask], 1)
        with last_position_only(self.model):
            logits = self.model(
                input_ids=ids,
                attention_mask=seen,
                position_ids=positions,
                past_key_values=node.cache,
                use_cache=True,
            ).logits
        return _Node(node.cache, seen, node.position + mask.sum(-1)), logits[:, -1]

    def _shared(self, questions: Sequence[int]) -> list[int]:
        """How many tokens all `questions` begin with, by row; the last token of each stays its own."""
        return [_common([self.tokens[question][row] for question in questions]) for row in self.rows]


def _common(sequences: Sequence[Sequence[int]]) -> int:
    """Length of the longest common beginning, at least one shorter than the shortest."""
    shortest = min(map(len, sequences)) - 1
    for place in range(shortest):
        if len({sequence[place] for sequence in sequences}) > 1:
            return place
    return shortest
