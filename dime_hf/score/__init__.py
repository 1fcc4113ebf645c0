"""Scores of predicted distributions against votes of humans that no fit has seen.

References are vote counts (N, C), so that a score knows how many voted; a known truth (N, C) may stand in their place.
q is a prediction, p the share of the votes of its row. Means over rows, which `row_scores` also gives row by row:

| score | unit and range | better |
|---|---|---|
| `squared_score` | ||q||^2 - 2 q.p; in [-1, 1]; proper, also at one vote: decide by it | lower |
| `squared_distance` | unbiased ||q - truth||^2; in [-1, 2]; proper; rows with two whole votes or more | lower |
| `js_divergence` | bits, in [0, 1]; not proper: the truth does not score 0 | lower |
| `js_distance` | mean of the square roots of the JS divergences; in [0, 1]; not proper | lower |
| `bhattacharyya` | coefficient in [0, 1]; not proper | higher |
| `log_likelihood` | nats a vote, at most 0; proper; -inf where a vote met probability 0 | higher |
| `kl_human_to_model` | KL(p||q), bits, at least 0; inf where a vote met probability 0 | lower |
| `total_variation`, `distce` | 1/2 sum_c |p_c - q_c|, in [0, 1]; the second is its name in 2210.16133 | lower |
| `manhattan_distance`, `chebyshev_distance` | sum, and largest, |p_c - q_c|; in [0, 2], and in [0, 1] | lower |
| `clark_distance`, `canberra_distance` | |p_c - q_c| / (p_c + q_c): root of squares, sum; to sqrt C, to C | lower |
| `cosine_similarity`, `intersection_similarity` | in [0, 1] | higher |
| `r2_within` | squared Pearson of p and q within a row, in [0, 1]; rows with uniform votes are left out | higher |
| `entce` | H(q) - H(p), bits, in [-log2 C, log2 C]; above 0 is too unsure (2210.16133) | 0 |
| `entce_absolute` | |H(q) - H(p)|, bits, in [0, log2 C] | lower |
| `rankcs` | share of rows where q puts all classes into the order of the votes, in [0, 1] (2210.16133) | higher |

Numbers of the whole set, which are no means over rows:

| score | unit and range | better |
|---|---|---|
| `accuracy` | share in [0, 1], over the rows whose votes have a unique plurality | higher |
| `macro_f1`, `weighted_f1` | the same rows; mean over the classes humans decided for, plain or by how often | higher |
| `unweighted_average_recall` | the same rows; mean recall of the classes that humans decided for, in [0, 1] | higher |
| `multilabel_macro_f1` | in [0, 1]; a class is present where its share is > 1/C; over classes votes have | higher |
| `r2_per_class` | 1 - residual / variance of a class's shares over rows, mean over classes; at most 1 | higher |
| `entropy_correlation` | Pearson of H(p) and H(q) over rows, in [-1, 1] | higher |
| `ece` | |largest q_c - share of votes for c|, in 15 equal bins of the former, in [0, 1] | lower |

Ties: rows whose votes are tied are not decided and left out of accuracy, F1 and recall; a predicted tie is no decision
and counts as wrong. `ece` takes the mean share of tied classes. `rankcs` asks nothing of classes tied in the votes.
"""

from __future__ import annotations

from dime_hf.score.metrics import METRICS, ROW_METRICS, squared_score
from dime_hf.score.predictions import read_predictions
from dime_hf.score.scoring import DEFAULT, LEVELS, ambiguity_levels, compute_metrics, prior, row_scores, score

__all__ = [
    "DEFAULT",
    "LEVELS",
    "METRICS",
    "ROW_METRICS",
    "ambiguity_levels",
    "compute_metrics",
    "prior",
    "read_predictions",
    "row_scores",
    "score",
    "squared_score",
]
