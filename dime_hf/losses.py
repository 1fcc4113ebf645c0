"""Losses on distributions, by name: functions of logits and soft labels, both (batch, C), to the mean over the batch.

In nats, as torch has them (`score.py` and `distribution.py` are in bits). All work on log probabilities, in float32 or
better, so that they and their gradients are finite for labels with zeros, for extreme logits and under bf16.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dime_hf.errors import did_you_mean

Loss = Callable[[Tensor, Tensor], Tensor]
ENTROPY_WEIGHT = 0.08  # of the prediction's entropy, 2601.14620


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Soft cross-entropy -sum_c p_c log q_c, q = softmax(logits), in nats; least, the entropy of p, at q = p.

    The negative log-likelihood of the votes whose shares p is, a vote. Same gradient as `kl`.
    """
    log_q, p = _read(logits, targets)
    return _cross_entropy(p, log_q).mean()


def kl(logits: Tensor, targets: Tensor) -> Tensor:
    """KL(p||q) in nats: `soft_cross_entropy` less the entropy of p; least, 0, at q = p.

    A proper score of p (unlike `js`): given noisy vote shares it is least at their mean, the true distribution.

    >>> round(float(kl(torch.zeros(1, 4), torch.tensor([[1.0, 0.0, 0.0, 0.0]]))), 4)  # log 4
    1.3863
    """
    log_q, p = _read(logits, targets)
    return (_cross_entropy(p, log_q) - _entropy(p)).mean()


def js(logits: Tensor, targets: Tensor) -> Tensor:
    """Jensen-Shannon divergence 1/2 KL(p||m) + 1/2 KL(q||m), m = (p + q) / 2, in nats, in [0, log 2]; least at q = p.

    `distribution.js_divergence` x log 2. Bounded, so a wrong label pulls less than under `kl`; but not a proper score:
    on vote shares, which are noisy, it is least at another distribution than the true one, mostly a sharper one.
    """
    log_q, p = _read(logits, targets)
    return _js(p, log_q).mean()


def js_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The paper's loss: mean `js` + 0.08 x mean entropy of the prediction, both in nats (2601.14620).

    The entropy term sharpens predictions further: this is least at a distribution sharper than p, even without noise.
    """
    log_q, p = _read(logits, targets)
    return (_js(p, log_q) + ENTROPY_WEIGHT * _cross_entropy(log_q.exp(), log_q)).mean()


LOSSES: dict[str, Loss] = {"kl": kl, "soft_cross_entropy": soft_cross_entropy, "js": js, "js_entropy": js_entropy}


def get_loss(name: str) -> Loss:
    """Return the loss called `name`; raise `ValueError` with the nearest name where there is none."""
    if name not in LOSSES:
        raise ValueError(f"`loss` is {name!r}, which is no loss.{did_you_mean(str(name), LOSSES)}")
    return LOSSES[name]


def _read(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Log probabilities and soft labels (batch, C), of one dtype, float32 or better."""
    if logits.shape != targets.shape or logits.ndim != 2:  # or else (batch, 1) would broadcast silently
        shapes = f"{tuple(logits.shape)} and {tuple(targets.shape)}"
        raise ValueError(f"`logits` and `targets` must both have the shape (batch, C); they have {shapes}")
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return torch.log_softmax(logits.to(dtype), dim=-1), targets.to(logits.device, dtype)


def _cross_entropy(p: Tensor, log_q: Tensor) -> Tensor:
    return -(p * log_q).sum(-1)


def _entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p).sum(-1)


def _js(p: Tensor, log_q: Tensor) -> Tensor:
    """1/2 [ sum_c p log p - p log m + q (log q - log m) ], where log m is finite because log q is."""
    log_m = torch.logaddexp(p.log(), log_q) - math.log(2)
    from_p = _cross_entropy(p, log_m) - _entropy(p)
    from_q = (log_q.exp() * (log_q - log_m)).sum(-1)
    return (from_p + from_q) / 2
