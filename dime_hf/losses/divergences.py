"""Losses that compare the whole predicted distribution with the soft label: cross-entropy, KL, JS."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from dime_hf.losses.base import Loss, cross_entropy, entropy


@dataclasses.dataclass(frozen=True)
class SoftCrossEntropy(Loss):
    """Soft cross-entropy -sum_c p_c log q_c, q = softmax(logits), in nats; least, the entropy of p, at q = p.

    The negative log-likelihood of the votes whose shares p is, a vote. Same gradient as `kl`.
    """

    def rows(self, logits: Tensor, p: Tensor, needed: Mapping[str, Tensor]) -> Tensor:
        return cross_entropy(p, torch.log_softmax(logits, -1))


@dataclasses.dataclass(frozen=True)
class KL(Loss):
    """KL(p||q) in nats: `soft_cross_entropy` less the entropy of p; least, 0, at q = p.

    A proper score of p (unlike `js`): given noisy vote shares it is least at their mean, the true distribution.

    >>> round(float(KL()(torch.zeros(1, 4), torch.tensor([[1.0, 0.0, 0.0, 0.0]]))), 4)  # log 4
    1.3863
    """

    def rows(self, logits: Tensor, p: Tensor, needed: Mapping[str, Tensor]) -> Tensor:
        return cross_entropy(p, torch.log_softmax(logits, -1)) - entropy(p)


@dataclasses.dataclass(frozen=True)
class JS(Loss):
    """Jensen-Shannon divergence 1/2 KL(p||m) + 1/2 KL(q||m), m = (p + q) / 2, in nats, in [0, log 2]; least at q = p.

    `distribution.js_divergence` x log 2. Bounded, so a wrong label pulls less than under `kl`; but not a proper score:
    on vote shares, which are noisy, it is least at another distribution than the true one, mostly a sharper one.
    """

    def rows(self, logits: Tensor, p: Tensor, needed: Mapping[str, Tensor]) -> Tensor:
        """1/2 [ sum_c p log p - p log m + q (log q - log m) ], where log m is finite because log q is."""
        log_q = torch.log_softmax(logits, -1)
        log_m = torch.logaddexp(p.log(), log_q) - math.log(2)
        from_p = cross_entropy(p, log_m) - entropy(p)
        from_q = (log_q.exp() * (log_q - log_m)).sum(-1)
        return (from_p + from_q) / 2


@dataclasses.dataclass(frozen=True)
class JSEntropy(Loss):
    """The paper's loss: `js` + `weight` x entropy of the prediction, both in nats (2601.14620, weight 0.08).

    The entropy term sharpens predictions further: this is least at a distribution sharper than p, even without noise.
    """

    weight: float = 0.08

    def rows(self, logits: Tensor, p: Tensor, needed: Mapping[str, Tensor]) -> Tensor:
        log_q = torch.log_softmax(logits, -1)
        return JS().rows(logits, p, needed) + self.weight * cross_entropy(log_q.exp(), log_q)


soft_cross_entropy, kl, js, js_entropy = SoftCrossEntropy(), KL(), JS(), JSEntropy()
