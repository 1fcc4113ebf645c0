"""Evidence: is a difference between scores more than chance, and would chance have found it?

One endpoint is declared beforehand and decides (`verdict`: the paired squared score against a control, one-sided
2.5 %); every other comparison goes through `holm`. Intervals are clustered by speaker and hold with few speakers:
`groups` (N,) names the cluster of every row, as `dime_hf.columns.groups` gives them.
"""

from __future__ import annotations

from dime_hf.evidence.comparisons import (
    Paired,
    Verdict,
    holm,
    minimum_detectable_difference,
    paired,
    paired_scores,
    verdict,
)
from dime_hf.evidence.controls import one_more_human, prior_control, shuffled, uniform_control
from dime_hf.evidence.intervals import Interval, bootstrap, interval, score_intervals
from dime_hf.evidence.plain import plain
from dime_hf.evidence.truth import fit_dirichlet, score_of_truth
from dime_hf.evidence.weights import Weights, importance_weights

__all__ = [
    "Interval",
    "Paired",
    "Verdict",
    "Weights",
    "bootstrap",
    "fit_dirichlet",
    "holm",
    "importance_weights",
    "interval",
    "minimum_detectable_difference",
    "one_more_human",
    "paired",
    "paired_scores",
    "plain",
    "prior_control",
    "score_intervals",
    "score_of_truth",
    "shuffled",
    "uniform_control",
    "verdict",
]
