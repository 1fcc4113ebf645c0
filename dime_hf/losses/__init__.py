"""Losses on distributions, by name: of logits and soft labels, both (batch, C), to the mean over the batch.

In nats, as torch has them (`score` and `distribution.py` are in bits). All work on log probabilities, in float32 or
better, so that they and their gradients are finite for labels with zeros, for extreme logits and under bf16.
p is the soft label, q = softmax(logits), n the vote counts.

| loss | formula | proper | least at |
|---|---|---|---|
| `kl`, `soft_cross_entropy` | -sum p ln q, less the entropy of p or not | yes | q = p |
| `js`; `js_entropy` | Jensen-Shannon; + 0.08 x entropy of q (the paper's) | no | q = p; sharper |
| `emd2` | -1/2 (p - q)' D (p - q), D distances between emotions | yes | q = p |
| `sinkhorn` | entropic transport cost from p to q over D, debiased | no | q = p |
| `dirichlet_multinomial` | -ln P(n given exp(logits)); needs `vote_counts` | yes | the votes' mean and spread |
| `dirichlet_prior` | -sum p_c ln Dir(one-hot of c given exp(logits)) | no | elsewhere |
| `evidential` | a vote's likelihood + unbacked evidence; needs `vote_counts` | no | elsewhere |
| `focal` | -sum p (1 - q)^gamma ln q | no | flatter |
| `balanced_softmax` | `kl` of the logits + ln prior; `fit_to` gives the prior | yes | q in proportion to p / prior |

Proper: on noisy vote shares least at the distribution they are drawn from. `Mixed` mixes two of them, and `Weighted`
takes `weights` of rows. Under `balanced_softmax` and `evidential` score softmax(`loss.vote_logits(logits)`).
"""

from __future__ import annotations

from dime_hf.losses.base import Loss
from dime_hf.losses.divergences import JS, KL, JSEntropy, SoftCrossEntropy, js, js_entropy, kl, soft_cross_entropy
from dime_hf.losses.ground import ground_distances
from dime_hf.losses.imbalance import BalancedSoftmax, Focal, Weighted, class_balanced_weights
from dime_hf.losses.named import LOSSES, Mixed, fit_to, get_loss
from dime_hf.losses.transport import EarthMover, Sinkhorn
from dime_hf.losses.votes import DirichletMultinomial, DirichletPrior, Evidential

__all__ = [
    "JS",
    "KL",
    "LOSSES",
    "BalancedSoftmax",
    "DirichletMultinomial",
    "DirichletPrior",
    "EarthMover",
    "Evidential",
    "Focal",
    "JSEntropy",
    "Loss",
    "Mixed",
    "Sinkhorn",
    "SoftCrossEntropy",
    "Weighted",
    "class_balanced_weights",
    "fit_to",
    "get_loss",
    "ground_distances",
    "js",
    "js_entropy",
    "kl",
    "soft_cross_entropy",
]
