"""Losses whose logits say how sure the model is as well: concentrations of a Dirichlet over vote distributions.

They are worked out in float64. A Dirichlet worth e^10 votes is all but a single distribution: of a larger one, value
and slope are those of the one with the same mean there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from dime_hf.losses.base import BY_CLASS, Loss

LARGEST_LOG = 10.0  # of a concentration


class _OfDirichlet(Loss):
    @property
    def takes_concentrations(self) -> bool:
        return True


@dataclasses.dataclass(frozen=True)
class DirichletMultinomial(_OfDirichlet):
    """-ln P(n | alpha), alpha = exp(logits), of the `vote_counts` n (B, C); in nats an utterance, without coefficient.

    ln P = sum_c [ln G(a_c + n_c) - ln G(a_c)] - [ln G(A + N) - ln G(A)], A = sum_c a_c, N = sum_c n_c: the likelihood
    that pooling fits (`dime_hf.dirichlet`). It knows how many voted: five votes say more than one, none say nothing.
    softmax(logits) is the Dirichlet's mean, and A how many votes the model's word is worth; at one vote an utterance
    this is `soft_cross_entropy`, and A is arbitrary. A proper score of the votes; `targets` are not looked at.
    """

    @property
    def needs(self) -> tuple[str, ...]:
        return (BY_CLASS,)

    def rows(self, logits: Tensor, p: Tensor, needed: Mapping[str, Tensor]) -> Tensor:
        votes, log_alpha = needed[BY_CLASS].double(), _capped(logits)
        of_total = _log_rising(torch.logsumexp(log_alpha, -1), votes.sum(-1))
        return (of_total - _log_rising(log_alpha, votes).sum(-1)).to(logits.dtype)


@dataclasses.dataclass(frozen=True)
class DirichletPrior(_OfDirichlet):
    """-sum_c p_c ln Dir(e_c | alpha), alpha = exp(logits), e_c the smoothed one-hot of class c: a Dirichlet prior net.

    e_c has 1 - `smoothing` at c and the rest spread evenly. Votes count as draws of distributions (2203.04443), not of
    classes as in `dirichlet_multinomial`: least where psi(a_c) - psi(A) = sum_k p_k ln e_kc, which is mostly at a mean
    softmax(logits) unlike p. It is known to cost accuracy (2402.12862, appendix H): here to compare with, also mixed
    with `kl`, as 2203.04443 does.
    """

    smoothing: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.smoothing < 0.5:
            raise ValueError(f"`smoothing` is {self.smoothing}, but must be between 0 and 0.5: ln 0 has no mean")

    def rows(self, logits: Tensor, p: Tensor, needed: Mapping[str, Tensor]) -> Tensor:
        log_alpha = _capped(logits)
        alpha, log_total = log_alpha.exp(), torch.logsumexp(log_alpha, -1)
        size, p = logits.shape[-1], p.double()
        low, high = math.log(self.smoothing / (size - 1)), math.log1p(-self.smoothing)
        of_classes = (_log_gamma(log_alpha) - (alpha - 1) * (low + (high - low) * p)).sum(-1)
        return (of_classes - _log_gamma(log_total)).to(logits.dtype)


@dataclasses.dataclass(frozen=True)
class Evidential(_OfDirichlet):
    """EDL*(R1) of 2402.12862: sum_c n_c (ln A - ln a_c) + `strength` x KL(Dir(b) || Dir(1)), alpha = 1 + exp(logits).

    n are the `vote_counts` (B, C), y their shares, b = y + (1 - y) alpha: evidence that no vote backs is to shrink.
    (The paper's evidence is relu, which has no slope at 0.) The first term takes each vote for itself, so only the
    second tells how sure to be; `dirichlet_multinomial` learns that from the votes. The predicted distribution is
    alpha / A = softmax(`vote_logits(logits)`), not softmax(logits); it is y only for a `strength` of 0.
    """

    strength: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.strength < math.inf:
            raise ValueError(f"`strength` is {self.strength}, but must be at least 0")

    @property
    def needs(self) -> tuple[str, ...]:
        return (BY_CLASS,)

    @property
    def moves_logits(self) -> bool:
        return True

    def vote_logits(self, logits: Tensor) -> Tensor:
        """Return ln alpha."""
        return F.softplus(logits)

    def rows(self, logits: Tensor, p: Tensor, needed: Mapping[str, Tensor]) -> Tensor:
        votes, log_alpha = needed[BY_CLASS].double(), F.softplus(_capped(logits))
        total = votes.sum(-1, keepdim=True)
        shares = votes / torch.where(total > 0, total, 1)
        likelihood = (votes * torch.log_softmax(log_alpha, -1)).sum(-1)
        penalty = _kl_to_uniform(shares + (1 - shares) * log_alpha.exp())
        return (self.strength * penalty - likelihood).to(logits.dtype)


def _capped(logits: Tensor) -> Tensor:
    """Log concentrations in float64, lowered together where the largest is too large: their softmax stays."""
    logits = logits.double()
    return logits - torch.relu(logits.detach().amax(-1, keepdim=True) - LARGEST_LOG)


def _log_rising(log_base: Tensor, votes: Tensor) -> Tensor:
    """ln G(a + n) - ln G(a) = ln a + ln G(a + n) - ln G(a + 1): finite also where a underflows; 0 without votes."""
    base, some = log_base.exp(), votes > 0
    rising = log_base + torch.lgamma(base + torch.where(some, votes, 1)) - torch.lgamma(base + 1)
    return torch.where(some, rising, 0)


def _log_gamma(log_base: Tensor) -> Tensor:
    """ln G(a) = ln G(a + 1) - ln a."""
    return torch.lgamma(log_base.exp() + 1) - log_base


def _kl_to_uniform(alpha: Tensor) -> Tensor:
    """KL(Dir(alpha) || Dir(1)) in nats."""
    total = alpha.sum(-1, keepdim=True)
    normaliser = torch.lgamma(total[:, 0]) - torch.lgamma(alpha).sum(-1) - math.lgamma(alpha.shape[-1])
    return normaliser + ((alpha - 1) * (torch.digamma(alpha) - torch.digamma(total))).sum(-1)
