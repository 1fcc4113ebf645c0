"""Soft-label scores as an `evaluate` metric: a thin shell over `dime_hf.score`."""

import datasets
import evaluate

from dime_hf.score import DEFAULT, score

_CITATION = """\
@article{scaling_ambiguity,
  title = {Scaling Ambiguity: Augmenting Human Annotation in Speech Emotion Recognition with Audio-Language Models},
  journal = {arXiv 2601.14620},
  year = {2026}
}
"""

_DESCRIPTION = """\
Scores predicted distributions against the votes of humans who were held out from every fit. Decide by `squared_score`
(proper, lower is better); `js_divergence` (bits), `bhattacharyya`, `log_likelihood` (nats a vote), `accuracy` and
`macro_f1` (over rows whose votes have a unique plurality) stand beside it.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: (N, C) distributions; each row sums to 1.
    references: (N, C) counts of held-out human votes, or known distributions.
    control: optional (C,) constant distribution, scored beside the predictions, which must beat it.
    levels: optional (N,) names of strata, such as those of `dime_hf.score.ambiguity_levels`.
    metrics: optional names of `dime_hf.score.METRICS` to compute in place of the default ones.
    weights: optional (N,) weights of the rows, which must not come from the scored votes.
Returns:
    the scores of `dime_hf.score.score`: squared_score, js_divergence, bhattacharyya, log_likelihood, accuracy,
    macro_f1, n_decided, n_tied and n; the same under "control", and by stratum under "levels", where asked for.
Examples:
    >>> metric = evaluate.load("metrics/soft_label")
    >>> scores = metric.compute(predictions=[[0.5, 0.5], [0.25, 0.75]], references=[[1, 1], [1, 3]])
    >>> scores["squared_score"], scores["js_divergence"], scores["n"]
    (-0.5625, 0.0, 2)
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class SoftLabel(evaluate.Metric):
    """Proper and descriptive scores of soft labels."""

    def _info(self) -> evaluate.MetricInfo:
        distribution = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": distribution, "references": distribution}),
            reference_urls=["https://arxiv.org/abs/2601.14620"],
        )

    def _compute(  # type: ignore[no-untyped-def]
        self, predictions, references, control=None, levels=None, metrics=DEFAULT, weights=None
    ):
        return score(predictions, references, control=control, levels=levels, metrics=metrics, weights=weights)
