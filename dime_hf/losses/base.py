"""What every loss on distributions is: a frozen dataclass that is called with a batch and gives its mean."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor

BY_CLASS = "vote_counts"  # what a loss may need besides logits and targets: (B, C) as they are,
BY_ROW = "weights"  # or (B,)


@dataclasses.dataclass(frozen=True)
class Loss(abc.ABC):
    """A loss of logits and soft labels, both (B, C): called, it gives the mean over the batch, in float32 or better.

    `needs` names further tensors that it takes by keyword: `vote_counts` (B, C), `weights` (B,). A loss that learns
    from the training set, or goes by the names of the classes, does so in `fit_to`.
    """

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the tensors that it takes besides logits and targets."""
        return ()

    @property
    def moves_logits(self) -> bool:
        """Whether the vote distribution that it learns is the softmax of something else than the logits."""
        return False

    @property
    def takes_concentrations(self) -> bool:
        """Whether exp(logits) are concentrations, so that adding a constant to a row of logits changes the loss."""
        return False

    def fit_to(self, labels: ArrayLike, classes: Sequence[str] = ()) -> Self:
        """Return this loss for a training set: counts or soft labels (N, C), and its class names."""
        return self

    def vote_logits(self, logits: Tensor) -> Tensor:
        """Return the logits whose softmax is the predicted vote distribution: what is to be scored."""
        return logits

    def __call__(self, logits: Tensor, targets: Tensor, **needed: Tensor | None) -> Tensor:
        """Return the mean over the batch; raise `ValueError` for other shapes, and for what is needed and missing."""
        if logits.shape != targets.shape or logits.ndim != 2:  # or else (batch, 1) would broadcast silently
            shapes = f"{tuple(logits.shape)} and {tuple(targets.shape)}"
            raise ValueError(f"`logits` and `targets` must both have the shape (batch, C); they have {shapes}")
        dtype = torch.promote_types(logits.dtype, torch.float32)
        more = {name: self._needed(name, needed, logits).to(logits.device, dtype) for name in self.needs}
        return self.rows(logits.to(dtype), targets.to(logits.device, dtype), more).mean()

    @abc.abstractmethod
    def rows(self, logits: Tensor, p: Tensor, needed: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of every row (B,); all tensors are of one dtype and device."""

    def _needed(self, name: str, needed: Mapping[str, Tensor | None], logits: Tensor) -> Tensor:
        shape = tuple(logits.shape[:1] if name == BY_ROW else logits.shape)
        found = needed.get(name)
        if found is None or tuple(found.shape) != shape:
            what = "is missing" if found is None else f"has the shape {tuple(found.shape)}"
            raise ValueError(f"the loss {type(self).__name__} needs `{name}` of the shape {shape}; it {what}")
        return found


def cross_entropy(p: Tensor, log_q: Tensor) -> Tensor:
    """Return -sum_c p_c log q_c of every row, in nats."""
    return -(p * log_q).sum(-1)


def entropy(p: Tensor) -> Tensor:
    """Return the entropy of every row, in nats."""
    return torch.special.entr(p).sum(-1)
