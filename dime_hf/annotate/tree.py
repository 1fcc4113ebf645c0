"""Many questions about the same recordings: what they share is computed once.

The tokens of all questions about a recording form a tree: the recording with the words that all questions begin with,
then what several go on with (a prompt), then what one says alone (its option order). Each node runs once, from the
cache of the node above it. Equal to asking every question by itself, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from dime_hf.annotate import scoring
from dime_hf.annotate.families.base import Family, Messages
from dime_hf.annotate.scoring import Prefix, Recordings

# Called with the places of some questions, and the prefix and logits of all rows of the first recording under each of
# them, then of the second one, and so on.
Leaf = Callable[[Sequence[int], Prefix, torch.Tensor], None]


def score_questions(
    family: Family, recordings: Recordings, questions: Sequence[Sequence[Messages]], options: Sequence[str]
) -> NDArray[np.float64]:
    """Log-probabilities (Q, batch, K), nats, of the `options` as answers to Q questions about every recording.

    `questions[q][row]` is the q-th conversation about a recording.
    """
    tokens = scoring.option_tokens(family, questions[0][0], options)
    with torch.inference_mode():
        if len(questions) == 1:
            inputs = recordings.ask(questions[0], family.model.device)
            scores = scoring.score_recordings(family, inputs, tokens)[None]
        else:
            scores = _score_tree(family, recordings, questions, tokens)
        return scores.double().cpu().numpy()


def _score_tree(
    family: Family,
    recordings: Recordings,
    questions: Sequence[Sequence[Messages]],
    options: Sequence[Sequence[int]],
) -> torch.Tensor:
    found: dict[int, torch.Tensor] = {}  # (batch, K) by question

    def leaf(asked: Sequence[int], end: Prefix, logits: torch.Tensor) -> None:
        scores = scoring.after_prefix(family.model, end, logits, options)
        found.update(zip(asked, scores.view(recordings.size, len(asked), -1).unbind(1), strict=True))

    Tree(family, recordings, questions, leaf).walk()
    return torch.stack([found[question] for question in range(len(questions))])


class Tree:
    """Reads all questions about the recordings of a batch, and calls `leaf` where questions end.

    No more than `scoring.SEQUENCES` rows come to a leaf, or the recordings of the batch where these are more.
    """

    def __init__(self, family: Family, recordings: Recordings, questions: Sequence[Sequence[Messages]], leaf: Leaf):
        self.family, self.recordings, self.leaf = family, recordings, leaf
        self.tokens = [recordings.tokens(conversations) for conversations in questions]
        self.rows = range(recordings.size)

    def walk(self) -> None:
        """Read what all questions share, then the rest."""
        questions = range(len(self.tokens))
        ends = self._shared(questions)
        beginnings = [self.tokens[0][row][: ends[row]] for row in self.rows]
        inputs = self.recordings.pad(beginnings, self.family.model.device)
        with self.family.hearing(inputs):
            prefix, _ = scoring.prefill(self.family.model, inputs)
        self._branch(prefix, questions, ends)

    def _branch(self, prefix: Prefix, questions: Sequence[int], starts: Sequence[int]) -> None:
        """Go on from a prefix whose `questions` part at the tokens `starts` of every row."""
        branches: dict[int, list[int]] = {}
        for question in questions:
            branches.setdefault(self.tokens[question][0][starts[0]], []).append(question)
        ends = {first: self._shared(branch) for first, branch in branches.items()}
        going_on = [first for first, branch in branches.items() if len(branch) > 1 and ends[first] != list(starts)]
        leaves = [question for first in branches.keys() - set(going_on) for question in branches[first]]
        step = max(1, scoring.SEQUENCES // len(self.rows))
        for start in range(0, len(leaves), step):
            self._end(prefix, sorted(leaves)[start : start + step], starts)
        for first in going_on:
            branch = branches[first]
            segments = [self.tokens[branch[0]][row][starts[row] : ends[first][row]] for row in self.rows]
            self._branch(self._extend(prefix.copy(), segments)[0], branch, ends[first])

    def _end(self, prefix: Prefix, questions: Sequence[int], starts: Sequence[int]) -> None:
        """Read to the end what shares nothing more."""
        segments = [self.tokens[question][row][starts[row] :] for row in self.rows for question in questions]
        every = torch.arange(len(self.rows), device=prefix.mask.device).repeat_interleave(len(questions))
        self.leaf(questions, *self._extend(prefix.rows(every), segments))

    def _extend(self, prefix: Prefix, segments: Sequence[Sequence[int]]) -> tuple[Prefix, torch.Tensor]:
        ids, mask = (t.to(self.family.model.device) for t in scoring.left_padded(segments, self.family.pad))
        return scoring.extend(self.family.model, prefix, ids, mask)

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
