"""Distances and similarities of distributions as an `evaluate` metric: a thin shell over `dime_hf.score`."""

import datasets
import evaluate

from dime_hf.score import score

NAMES = (
    "js_divergence", "js_distance", "bhattacharyya", "kl_human_to_model", "total_variation", "manhattan_distance",
    "chebyshev_distance", "clark_distance", "canberra_distance", "cosine_similarity", "intersection_similarity",
    "r2_within", "r2_per_class",
)  # fmt: skip

_CITATION = """\
@article{geng_ldl,
  author = {Geng, Xin},
  title = {Label Distribution Learning},
  journal = {arXiv 1408.6027},
  year = {2014}
}
"""

_DESCRIPTION = """\
Distances and similarities of predicted distributions and shares of human votes, as papers report them: the six
measures of label distribution learning, Jensen-Shannon, Kullback-Leibler, Bhattacharyya, R2. They describe; none
of them is proper against shares of a few votes, so decide by `proper_score`.
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
    the thirteen numbers of `NAMES`, each defined in the card, and n.
    The same under "control", and by stratum under "levels", where asked for.
Examples:
    >>> metric = evaluate.load("metrics/distribution_distance")
    >>> scores = metric.compute(predictions=[[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], references=[[3, 1, 0], [0, 1, 2]])
    >>> [round(scores[name], 3) for name in ("js_divergence", "bhattacharyya", "total_variation", "r2_per_class")]
    [0.052, 0.948, 0.1, 0.617]
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class DistributionDistance(evaluate.Metric):
    """How far predictions are from shares of votes."""

    def _info(self) -> evaluate.MetricInfo:
        distribution = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": distribution, "references": distribution}),
            reference_urls=["https://arxiv.org/abs/1408.6027", "https://arxiv.org/abs/2601.14620"],
        )

    def _compute(  # type: ignore[no-untyped-def]
        self, predictions, references, control=None, levels=None, metrics=NAMES, weights=None
    ):
        return score(predictions, references, control=control, levels=levels, metrics=metrics, weights=weights)
