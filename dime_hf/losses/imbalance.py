"""Losses and weights for rare classes and easy rows, and what each of them does to the optimum."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from dime_hf.distribution import Array, normalize
from dime_hf.losses.base import BY_ROW, Loss, cross_entropy, entropy


@dataclasses.dataclass(frozen=True)
class Focal(Loss):
    """Mean focal loss of a vote, -sum_c p_c (1 - q_c)^gamma ln q_c, in nats (1708.02002); gamma = 0 is soft CE.

    Not a proper score: least at a q flatter than p, where p_c is in proportion to
    q_c / ((1 - q_c)^gamma - gamma q_c (1 - q_c)^(gamma - 1) ln q_c), the relation of 2011.09172. Use it where the
    order of the classes matters, or calibrate afterwards.
    """

    gamma: float = 2.0

    def __post_init__(self) -> None:
        if not self.gamma >= 0:
            raise ValueError(f"`gamma` is {self.gamma}, but must be at least 0")

    def rows(self, logits: Tensor, p: Tensor, needed: Mapping[str, Tensor]) -> Tensor:
        log_q = torch.log_softmax(logits, -1)
        itself = torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)
        log_rest = torch.logsumexp(log_q[:, None, :].masked_fill(itself, -torch.inf), -1)  # ln(1 - q), without loss
        return cross_entropy(p * (self.gamma * log_rest).exp(), log_q)


@dataclasses.dataclass(frozen=True)
class BalancedSoftmax(Loss):
    """KL(p || softmax(logits + tau ln prior)) in nats: the log mass of the classes is added to the logits in training.

    Least, 0, where softmax(logits) is in proportion to p / prior^tau: the plain output is for classes that are equally
    common, and the vote distribution is softmax(`vote_logits(logits)`), by which it is to be scored. Unlike class
    weights it biases neither. `fit_to` takes the `prior` (C,) from the mean soft label of the training set, half a row
    added to each class. 2007.10740 (tau = 1) and 2007.07314.
    """

    prior: tuple[float, ...] = ()
    tau: float = 1.0

    def __post_init__(self) -> None:
        prior = tuple(map(float, self.prior))
        if prior and not all(0 < mass < np.inf for mass in prior):
            raise ValueError(f"`prior` is {prior}, but the mass of every class must be above 0")
        object.__setattr__(self, "prior", prior)

    @property
    def moves_logits(self) -> bool:
        return True

    def fit_to(self, labels: ArrayLike, classes: Sequence[str] = ()) -> Self:
        """Take the prior from counts or soft labels (N, C), unless it is set."""
        if self.prior:
            return self
        mass = normalize(labels, "labels").sum(0) + 0.5
        return dataclasses.replace(self, prior=tuple((mass / mass.sum()).tolist()))

    def vote_logits(self, logits: Tensor) -> Tensor:
        """Return logits + tau ln prior."""
        if len(self.prior) != logits.shape[-1]:
            raise ValueError(
                f"`prior` has {len(self.prior)} masses for {logits.shape[-1]} classes: call `fit_to(loss, labels)` "
                "with the training set's soft labels"
            )
        mass = torch.tensor(self.prior, dtype=logits.dtype, device=logits.device)
        return logits + self.tau * mass.log()

    def rows(self, logits: Tensor, p: Tensor, needed: Mapping[str, Tensor]) -> Tensor:
        return cross_entropy(p, torch.log_softmax(self.vote_logits(logits), -1)) - entropy(p)


@dataclasses.dataclass(frozen=True)
class Weighted(Loss):
    """`loss`, each row times its `weights` (B,), over the number of rows: with weights of mean 1, as large as `loss`.

    Weights that depend on the recording alone move no optimum; see `class_balanced_weights` for those that do.
    """

    loss: Loss

    def __post_init__(self) -> None:
        require_rows("loss", self.loss)

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.loss.needs, BY_ROW)))

    @property
    def moves_logits(self) -> bool:
        return self.loss.moves_logits

    @property
    def takes_concentrations(self) -> bool:
        return self.loss.takes_concentrations

    def fit_to(self, labels: ArrayLike, classes: Sequence[str] = ()) -> Self:
        return dataclasses.replace(self, loss=self.loss.fit_to(labels, classes))

    def vote_logits(self, logits: Tensor) -> Tensor:
        return self.loss.vote_logits(logits)

    def rows(self, logits: Tensor, p: Tensor, needed: Mapping[str, Tensor]) -> Tensor:
        return needed[BY_ROW] * self.loss.rows(logits, p, needed)


def require_rows(argument: str, loss: Any) -> None:
    """Raise unless a loss can be had row by row."""
    if not isinstance(loss, Loss):
        raise ValueError(
            f"`{argument}` is {loss!r}, but must be a `Loss`, which gives a value a row: `get_loss` makes one by name"
        )


def class_balanced_weights(labels: ArrayLike, beta: float = 0.999) -> Array:
    """Return weights (N,), of mean 1, of rows by their class: counts or soft labels (N, C).

    w_i = sum_c p_ic / E_c, E_c = (1 - beta^m_c) / (1 - beta), the effective number of the m_c = sum_i p_ic rows of a
    class (1901.05555); beta = 0 weighs all alike, beta to 1 by 1 / m_c. Made from a row's own few votes they are class
    weights by another name: of rows alike in sound, those weigh more where a rare class got the vote by chance, and
    the model learns too much of it. Make them from other labels than the targets: pooled ones, a proxy's, a script's.

    >>> class_balanced_weights([[1, 0], [1, 0], [1, 0], [0, 1]], beta=0.9).round(2).tolist()
    [0.7, 0.7, 0.7, 1.9]
    """
    if not 0 <= beta < 1:
        raise ValueError(f"`beta` is {beta}, but must be at least 0 and below 1")
    shares = normalize(labels, "labels")
    mass = shares.sum(0)
    effective = np.expm1(mass * np.log(beta)) / np.expm1(np.log(beta)) if beta else np.ones_like(mass)
    weights = shares @ np.divide(1, effective, out=np.zeros_like(mass), where=mass > 0)
    return weights / weights.mean()
