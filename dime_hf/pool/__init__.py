"""Pooling: human and synthetic votes of an utterance -> one soft label.

Every method adds pseudo-votes alpha_i to the human counts n_i and divides by their sum:

| method | pseudo-votes alpha_i | fitted on training votes |
|---|---|---|
| `human` | none | - |
| `synthetic` | the synthetic votes, and the human ones dropped | - |
| `equal` | K_i s_i: every synthetic vote weighs as much as a human one (2601.14620) | - |
| `linear` | w/(1-w) k_i s_i: a fixed mix of human share and synthetic mean | w |
| `prior` | s0 pi: the control without any proxy | pi, s0 |
| `fitted` | s0 pi + sum_j kappa_j s_ij: proxy j weighs kappa_j human votes | pi, s0, kappa_j |
| `calibrated` | softmax(b + x_i W) exp(g0 + g1 H_i): de-biased, weighed, gated by ambiguity; or the prior | W, b, g |
| `debiased` | s_i T: what humans say where a proxy says j, for where there are almost no human votes | T |

s_i is the mean of the utterance's valid answers, s_ij that of proxy j's, K_i how many there are, k_i the human votes,
pi the share of votes in the training set, x_i the log answers of all proxies, H_i the entropy of the softmax.
`prior`, `fitted` and `calibrated` maximise the Dirichlet-multinomial likelihood of the training votes, times a wide
prior on the strengths, which matters only where utterances are few; their labels are posterior means, and carry
credible intervals. One vote an utterance cannot identify a strength: they are fitted where there are two or more.

Dawid-Skene, GLAD and MACE, for those who want one truth, judge all votes at once and are no poolers: `consensus`.
`rank_for_votes` says where one more human vote would help a pooler with a posterior most.

A proxy that failed on an utterance is missing there: it adds nothing in `linear`, `fitted` and `debiased`; in
`calibrated` its log answer is put at its mean, and the gate learns what it is worth to miss it. An utterance without
any valid answer gets what `prior` gives it, or its human votes alone.
"""

from dime_hf.pool.budget import plan_votes, rank_for_votes
from dime_hf.pool.calibrated import CalibratedPooler
from dime_hf.pool.crowd import Consensus, consensus, find_consensus
from dime_hf.pool.fitted import FittedPooler, PriorPooler
from dime_hf.pool.poolers import DebiasedPooler, LinearPooler, Pooler
from dime_hf.pool.run import POOLERS, cross_pool, get_pooler, pool

__all__ = [
    "POOLERS",
    "CalibratedPooler",
    "Consensus",
    "DebiasedPooler",
    "FittedPooler",
    "LinearPooler",
    "Pooler",
    "PriorPooler",
    "consensus",
    "cross_pool",
    "find_consensus",
    "get_pooler",
    "plan_votes",
    "pool",
    "rank_for_votes",
]
