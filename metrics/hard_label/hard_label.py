"""Hard-label scores of soft labels as an `evaluate` metric: a thin shell over `dime_hf.score`."""

import datasets
import evaluate

from dime_hf.score import score

NAMES = ("accuracy", "macro_f1", "weighted_f1", "unweighted_average_recall", "multilabel_macro_f1")

_CITATION = """\
@article{scikit_learn,
  author = {Pedregosa, Fabian and others},
  title = {Scikit-learn: Machine Learning in Python},
  journal = {Journal of Machine Learning Research},
  volume = {12},
  pages = {2825--2830},
  year = {2011}
}
"""

_DESCRIPTION = """\
Whether the likeliest class of a prediction is the unique plurality of the human votes: accuracy, F1 and recall
(higher is better). Rows whose votes are tied are not decided and left out; a predicted tie is no decision and
counts as wrong. `multilabel_macro_f1` takes every class with a share above 1/C as present.
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
    the five numbers of `NAMES`, n_decided, n_tied (decided rows whose prediction is tied) and n.
    The same under "control", and by stratum under "levels", where asked for.
Examples:
    >>> metric = evaluate.load("metrics/hard_label")
    >>> scores = metric.compute(predictions=[[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], references=[[3, 1, 0], [0, 1, 2]])
    >>> [scores[name] for name in ("accuracy", "macro_f1", "n_decided", "n_tied")]
    [1.0, 1.0, 2, 0]
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class HardLabel(evaluate.Metric):
    """Whether the likeliest class is the one that most humans chose."""

    def _info(self) -> evaluate.MetricInfo:
        distribution = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": distribution, "references": distribution}),
            reference_urls=["https://scikit-learn.org/stable/modules/model_evaluation.html"],
        )

    def _compute(  # type: ignore[no-untyped-def]
        self, predictions, references, control=None, levels=None, metrics=NAMES, weights=None
    ):
        return score(predictions, references, control=control, levels=levels, metrics=metrics, weights=weights)
