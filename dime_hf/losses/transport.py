"""Losses that know how far emotions are apart: a vote for a near class costs less than one for a far class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from dime_hf.losses.base import Loss
from dime_hf.losses.ground import Matrix, check_ground, ground_distances


@dataclasses.dataclass(frozen=True)
class OnGround(Loss):
    """A loss over the distances between classes, the largest of them 1: see `ground_distances` for the fields."""

    ground: str | Matrix = "valence_arousal"
    classes: tuple[str, ...] = ()
    unplaced: str = "refuse"

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        if not isinstance(self.ground, str):
            object.__setattr__(self, "ground", tuple(tuple(map(float, row)) for row in self.ground))
        else:
            check_ground(self.ground, self.classes, self.unplaced)

    def fit_to(self, labels: ArrayLike, classes: Sequence[str] = ()) -> Self:
        """Take the names of the classes, unless they are set."""
        return self if self.classes or not classes else dataclasses.replace(self, classes=tuple(classes))

    def distances(self, like: Tensor) -> Tensor:
        """Return the distances (C, C) for tensors (B, C) `like` this one."""
        return torch.tensor(
            ground_distances(self.ground, self.classes, like.shape[-1], self.unplaced),
            dtype=like.dtype,
            device=like.device,
        )


@dataclasses.dataclass(frozen=True)
class EarthMover(OnGround):
    """EMD^2 in closed form, -1/2 (p - q)' D (p - q) for distances D, in [0, 1]; least, 0, at q = p.

    On an ordered ground, the sum of squared differences of the cumulative p and q over C - 1: the EMD^2 of 1611.05916.
    Between words in the plane its extension, half the energy distance (Szekely & Rizzo 2013): no transport cost,
    but what `sinkhorn` becomes under endless regularisation. With equal distances, half the squared error.
    A proper score (unlike `sinkhorn`): least at the mean of noisy vote shares. Its gradient fades where the model is
    sure and wrong, so mix it with `kl`.
    """

    def rows(self, logits: Tensor, p: Tensor, needed: Mapping[str, Tensor]) -> Tensor:
        gap = p - torch.softmax(logits, -1)
        return -((gap @ self.distances(gap)) * gap).sum(-1) / 2


@dataclasses.dataclass(frozen=True)
class Sinkhorn(OnGround):
    """Debiased entropic transport OT(p,q) - OT(p,p)/2 - OT(q,q)/2; about the earth mover's distance, least at q = p.

    OT(p,q) = min_T <T, D> + r KL(T || p x q) over tables T with margins p and q (1810.08278), where r is the
    `regularisation` in units of the largest distance: r to 0 gives the exact transport cost, r to infinity `emd2`.
    OT is taken as its dual after so many `iterations` (a smaller r needs more), and the gradient is that value's own.
    At the defaults some .04 below the exact cost. Not a proper score: on noisy vote shares it is least at something
    sharper, like a median. Some 100 times the work of `emd2`, which is little beside a model.
    """

    regularisation: float = 0.05
    iterations: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.regularisation > 0 or self.iterations < 1:
            raise ValueError(
                f"`regularisation` must be above 0 and `iterations` at least 1; they are {self.regularisation} and "
                f"{self.iterations}"
            )

    def rows(self, logits: Tensor, p: Tensor, needed: Mapping[str, Tensor]) -> Tensor:
        cost = self.distances(logits) / self.regularisation
        log_p, log_q = p.log(), torch.log_softmax(logits, -1)
        q = log_q.exp()
        across = self._transport(p, log_p, q, log_q, cost)
        own = self._transport(p, log_p, p, log_p, cost) + self._transport(q, log_q, q, log_q, cost)
        return self.regularisation * (across - own / 2)

    def _transport(self, a: Tensor, log_a: Tensor, b: Tensor, log_b: Tensor, cost: Tensor) -> Tensor:
        """Dual value (B,) in units of the regularisation.

        Both potentials step at once, and half way: what does not tell a from b makes a loss that is level at q = p
        after however few iterations.
        """
        of_a, of_b = torch.zeros_like(a), torch.zeros_like(b)
        for _ in range(self.iterations):
            next_a = -torch.logsumexp((log_b + of_b)[:, None, :] - cost, -1)
            next_b = -torch.logsumexp((log_a + of_a)[:, None, :] - cost, -1)
            of_a, of_b = (of_a + next_a) / 2, (of_b + next_b) / 2
        return (a * of_a).sum(-1) + (b * of_b).sum(-1)
