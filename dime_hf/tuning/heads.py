"""What is read off the last hidden states of an audio LM: the answer options' logits, or those of a classifier."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dime_hf.annotate.families import Family
from dime_hf.annotate.scoring import positions, score_recordings

Inputs = Mapping[str, Tensor]
CLASSIFIER = "soft_label_head"  # name of the module that is put into a model
ATTENTION_HEADS = 8  # the paper's


@contextlib.contextmanager
def answering(model: Any, answer: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While it lasts, the logits of `model` are `answer` of its last hidden states (rows, length, width)."""
    head = model.get_output_embeddings()
    before = head.__dict__.get("forward")  # a hook of accelerate may stand there
    head.forward = answer
    try:
        yield
    finally:
        del head.forward
        if before is not None:
            head.forward = before


def last_logits(family: Family, model: Any, inputs: Inputs, answer: Callable[[Tensor], Tensor]) -> Tensor:
    """What `answer` makes of the hidden states, at the last position: (rows, K) float32.

    `model` is the family's, or what wraps it (peft, distributed training), through which gradients are gathered.
    """
    with family.hearing(inputs), answering(family.model, answer):
        read = model(**inputs, position_ids=positions(inputs["attention_mask"]), use_cache=False)
    return read.logits[:, -1].float()


@dataclasses.dataclass(frozen=True)
class OptionsHead:
    """The answer options themselves: log-probabilities (batch, C), up to a constant in each row, of their tokens.

    Options of one token each: the last hidden state times their rows of the LM head, so that no logits of the
    vocabulary are held. Options of several: `scoring.score_recordings`, as the annotator has them.
    """

    family: Family
    tokens: Sequence[Sequence[int]]

    def __call__(self, model: Any, inputs: Inputs, windows: Tensor) -> Tensor:
        rows = int(windows[-1]) + 1
        if max(map(len, self.tokens)) > 1:
            return mean_of_windows(score_recordings(self.family, inputs, self.tokens), windows)
        if len(windows) == rows:
            return last_logits(self.family, model, inputs, self._of_options)
        scores = last_logits(self.family, model, inputs, self._of_vocabulary).log_softmax(-1)
        return mean_of_windows(scores[:, self._first], windows)

    @property
    def _first(self) -> list[int]:
        return [tokens[0] for tokens in self.tokens]

    def _of_options(self, hidden: Tensor) -> Tensor:
        head = self.family.model.get_output_embeddings()
        bias = getattr(head, "bias", None)
        return nn.functional.linear(
            hidden[:, -1:], head.weight[self._first], None if bias is None else bias[self._first]
        )

    def _of_vocabulary(self, hidden: Tensor) -> Tensor:
        head = self.family.model.get_output_embeddings()
        return nn.functional.linear(hidden[:, -1:], head.weight, getattr(head, "bias", None))


def mean_of_windows(scores: Tensor, windows: Tensor) -> Tensor:
    """Log of the mean probabilities (batch, C), up to a constant, of the windows (W, C) of each recording."""
    if len(windows) == int(windows[-1]) + 1:
        return scores
    return torch.stack([part.logsumexp(0) for part in _by_row(scores, windows)])


def _by_row(scores: Tensor, windows: Tensor) -> list[Tensor]:
    return [scores[windows == row] for row in range(int(windows[-1]) + 1)]


class Classifier(nn.Module):
    """The paper's head: the first token attends, in 8 heads, to the last hidden states; an MLP makes C logits of it.

    Padding is masked: logits (rows, C) of hidden states (rows, length, width) and mask (rows, length) do not depend on
    the batch. In float32 whatever the model is in. arXiv 2601.14620.
    """

    def __init__(self, width: int, classes: int, dropout: float = 0.0):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, ATTENTION_HEADS, dropout=dropout, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, width // 2), nn.GELU(), nn.Dropout(dropout), nn.Linear(width // 2, classes)
        )

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        hidden = self.norm(hidden.float())
        first = hidden[torch.arange(len(mask), device=mask.device), mask.argmax(-1)][:, None]
        attended, _ = self.attention(first, hidden, hidden, key_padding_mask=mask == 0, need_weights=False)
        return self.mlp(attended[:, 0])


@dataclasses.dataclass(frozen=True)
class ClassifierHead:
    """Logits (batch, C) that the `Classifier` in the family's model gives.

    Of several windows: those of the mean distribution, at the mean of the windows' log sums.
    """

    family: Family

    def __call__(self, model: Any, inputs: Inputs, windows: Tensor) -> Tensor:
        classifier = getattr(self.family.model, CLASSIFIER)
        mask = inputs["attention_mask"]
        logits = last_logits(self.family, model, inputs, lambda hidden: classifier(hidden, mask)[:, None])
        if len(windows) == int(windows[-1]) + 1:
            return logits
        sums = torch.stack([part.logsumexp(-1).mean() for part in _by_row(logits, windows)])
        return mean_of_windows(logits.log_softmax(-1), windows).log_softmax(-1) + sums[:, None]
