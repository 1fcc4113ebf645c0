"""Calibration to human uncertainty as an `evaluate` metric: a thin shell over `dime_hf.score`."""

import datasets
import evaluate

from dime_hf.score import score

NAMES = ("ece", "distce", "entce", "entce_absolute", "rankcs", "entropy_correlation")

_CITATION = """\
@article{baan,
  author = {Baan, Joris and Aziz, Wilker and Plank, Barbara and Fern{\'a}ndez, Raquel},
  title = {Stop Measuring Calibration When Humans Disagree},
  journal = {arXiv 2210.16133},
  year = {2022}
}
"""

_DESCRIPTION = """\
Whether a prediction is as sure as humans agree: calibration errors against the distribution of the votes (lower is
better), the share of rows in the order of the votes (higher), and whether ambiguity rises and falls with that of
the votes (higher). A signed `entce` above 0 is too unsure, below 0 too sure.
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
    ece, distce, entce, entce_absolute (bits), rankcs, entropy_correlation and n.
    The same under "control", and by stratum under "levels", where asked for.
Examples:
    >>> metric = evaluate.load("metrics/vote_calibration")
    >>> scores = metric.compute(predictions=[[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], references=[[3, 1, 0], [0, 1, 2]])
    >>> [round(scores[name], 3) for name in ("ece", "distce", "entce", "rankcs")]
    [0.058, 0.1, 0.361, 1.0]
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class VoteCalibration(evaluate.Metric):
    """Whether a prediction is as sure as humans agree."""

    def _info(self) -> evaluate.MetricInfo:
        distribution = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": distribution, "references": distribution}),
            reference_urls=["https://arxiv.org/abs/2210.16133"],
        )

    def _compute(  # type: ignore[no-untyped-def]
        self, predictions, references, control=None, levels=None, metrics=NAMES, weights=None
    ):
        return score(predictions, references, control=control, levels=levels, metrics=metrics, weights=weights)
