"""Proper scores of soft labels as an `evaluate` metric: a thin shell over `dime_hf.score`."""

import datasets
import evaluate

from dime_hf.score import score

NAMES = ("squared_score", "squared_distance", "log_likelihood")

_CITATION = """\
@article{gneiting_raftery,
  author = {Gneiting, Tilmann and Raftery, Adrian E.},
  title = {Strictly Proper Scoring Rules, Prediction, and Estimation},
  journal = {Journal of the American Statistical Association},
  volume = {102},
  pages = {359--378},
  year = {2007}
}
"""

_DESCRIPTION = """\
Scores of predicted distributions that, in expectation, the true distribution of the votes wins and no other does:
what to decide by. `squared_score` (lower is better) is valid from one vote on and finite everywhere;
`squared_distance` (lower) estimates the squared distance to the truth without bias; `log_likelihood` (higher) is
in nats a vote.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: (N, C) distributions; each row sums to 1.
    references: (N, C) counts of held-out human votes, or known distributions.
    control: optional (C,) constant distribution, scored beside the predictions, which must beat it.
    levels: optional (N,) names of strata, such as those of `dime_hf.score.ambiguity_levels`.
    metrics: optional names out of those of this family, or others of `dime_hf.score.METRICS`.
    weights: optional (N,) weights of the rows, which must not come from the scored votes.
Returns:
    squared_score, squared_distance (NaN where no row has two votes), log_likelihood and n.
    The same under "control", and by stratum under "levels", where asked for.
Examples:
    >>> metric = evaluate.load("metrics/proper_score")
    >>> scores = metric.compute(predictions=[[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], references=[[3, 1, 0], [0, 1, 2]])
    >>> [round(scores[name], 3) for name in scores]
    [-0.575, -0.158, -0.706, 2]
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class ProperScore(evaluate.Metric):
    """Scores that the true distribution wins."""

    def _info(self) -> evaluate.MetricInfo:
        distribution = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": distribution, "references": distribution}),
            reference_urls=["https://doi.org/10.1198/016214506000001437"],
        )

    def _compute(  # type: ignore[no-untyped-def]
        self, predictions, references, control=None, levels=None, metrics=NAMES, weights=None
    ):
        return score(predictions, references, control=control, levels=levels, metrics=metrics, weights=weights)
