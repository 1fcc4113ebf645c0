"""Pooling: human and synthetic votes of an utterance -> one soft label.

Every method adds pseudo-votes alpha_i to the human counts n_i and divides by their sum:

| method | pseudo-votes alpha_i | fitted on training votes |
|---|---|---|
| `human` | none | - |
| `synthetic` | the synthetic votes, and the human ones dropped | - |
| `equal` | K_i s_i: every synthetic vote weighs as much as a human one (2601.14620) | - |
| `prior` | s0 pi: the control without any proxy | pi, s0 |
| `fitted` | s0 pi + kappa s_i: the panel of proxies weighs kappa human votes | pi, s0, kappa |

s_i is the mean of the utterance's valid answers, K_i how many there are, pi the share of votes in the training set.
`prior` and `fitted` maximise the Dirichlet-multinomial likelihood of the training votes, times a wide prior on the
strengths, which matters only where utterances are few; their labels are posterior means.
"""

from dime_hf.pool.poolers import FittedPooler, Pooler, PriorPooler
from dime_hf.pool.run import POOLERS, cross_pool, get_pooler, pool

__all__ = ["POOLERS", "FittedPooler", "Pooler", "PriorPooler", "cross_pool", "get_pooler", "pool"]
