"""The text and metadata of a model's card."""

from __future__ import annotations

from typing import Any

import datasets
import pyarrow.compute as pc
from huggingface_hub import EvalResult, ModelCard

import dime_hf
from dime_hf.cards.scores import ModelScores
from dime_hf.columns import PARENTS, SOFT_LABEL_SOURCE
from dime_hf.corpora.policy import TALLY_LINE
from dime_hf.protocol import ScoreTable
from dime_hf.stage import read_column

TAGS = ("dime_hf", "speech-emotion-recognition", "soft-labels")
KEPT = "## Training procedure"  # where the part of `Trainer`'s card begins that is kept
USAGE = """```python
from transformers import pipeline

classifier = pipeline("audio-classification", model="{repo}", top_k=None)
classifier(samples)  # mono float32, 16 kHz
```

The scores are a distribution over the classes: the shares of listeners who would name each. **Say `top_k=None`**: by
default the pipeline gives the five largest alone, which do not sum to 1 where there are more classes."""


def model_card(
    card: ModelCard, *, repo: str, config: Any, training: Any, loss: str, scores: ScoreTable | str | None = None
) -> ModelCard:
    """Turn the card that `Trainer` writes into one of a model of soft labels, in place, and return it.

    `repo` is where it is loaded from; `config` is the model's; `training` the dataset it was trained on; `scores` a
    table, such as `model_scores` gives, or why there is none. Kept are the metadata, and from the text the training
    procedure.
    """
    data: Any = card.data
    name = data.model_name or "model"
    procedure = card.text.partition(KEPT)[2]
    data.pipeline_tag = "audio-classification"
    data.tags = list(dict.fromkeys([*(data.tags or []), *TAGS]))
    data.license = data.license or "other"
    data.metrics = None
    data.eval_results = _eval_results(scores) if isinstance(scores, ScoreTable) else None
    data.model_name = name
    sections = [
        f"# {name}",
        f"Soft labels of speech emotion, trained by `dime_hf` {dime_hf.__version__} with the loss `{loss}`.",
        f"Classes, in the order of the logits: {', '.join(config.id2label[n] for n in range(config.num_labels))}.",
        _temperature(config),
        "## Use",
        USAGE.format(repo=repo),
        "## Scores",
        _scores(scores),
        "## Labels",
        _labels(training),
    ]
    if procedure:
        sections.append(KEPT + procedure.rstrip())
    card.text = "\n\n".join(["", *filter(None, sections), ""])
    return card


def _temperature(config: Any) -> str:
    temperature = getattr(config, "vote_temperature", None)
    if temperature is None:
        return ""
    return f"A temperature of {temperature:.4g}, fitted to validation votes, is folded into the last layer."


def _scores(scores: ScoreTable | str | None) -> str:
    """The table, or why there is none."""
    return (
        how_to_read(scores) if isinstance(scores, ScoreTable) else f"Not scored: {scores or 'no scores were given'}."
    )


def how_to_read(scores: ScoreTable) -> str:
    """Return Markdown of a table of scores, with what they mean."""
    lines = ["```", str(scores), "```", ""]
    if scores.moving:
        lines.append("**The reference moves**: it contains what it judges. These are no scores of quality.")
    lines.append(
        "Squared score and JS divergence (bits): lower is better; Bhattacharyya coefficient: higher. In brackets 95 % "
        "intervals, clustered by speaker."
    )
    if scores.control:
        lines.append(f"`{scores.control}` is the control: one and the same distribution for every utterance.")
    if scores.truth:
        lines.append("`(truth)`: the expected score of the true distributions against as many votes; it is no bound.")
    return "\n".join(lines)


def _eval_results(scores: ScoreTable) -> list[EvalResult]:
    """The scores of the first labels of a table, the model's, as metadata."""
    scored = scores.reference
    if isinstance(scores, ModelScores):
        scored = f"{scores.scored_on} ({scores.reference})"
    return [
        EvalResult(
            task_type="audio-classification",
            dataset_type="votes",
            dataset_name=scored,
            metric_type=name,
            metric_name=name,
            metric_value=round(one.estimate, 6),
        )
        for name, one in scores.rows[0].scores.items()
    ]


def _labels(training: Any) -> str:
    """Where the labels that were trained on come from."""
    if not isinstance(training, datasets.Dataset):
        return "It is not known which labels the model was trained on."
    lines = [f"Trained on {len(training):,} rows.", "", "| source of the soft label | rows |", "|---|---|"]
    lines += [f"| {source} | {count:,} |" for source, count in _sources(training).items()]
    added = _augmented(training)
    lines += ["", f"{added:,} of the rows were made by DiME-Aug." if added else "No row was made by augmentation."]
    described = (training.info.description or "").splitlines()
    policy = [line.removeprefix(TALLY_LINE) for line in described if line.startswith(TALLY_LINE)]
    lines += ["", f"Vote policy and label set: `{policy[-1]}`" if policy else "The vote policy is not known."]
    lines += ["", f"Licence of the corpus: {training.info.license or 'not known'}."]
    return "\n".join(lines)


def _sources(training: datasets.Dataset) -> dict[str, int]:
    """Rows by `soft_label_source`, the most frequent first."""
    if SOFT_LABEL_SOURCE not in training.column_names:
        return {"not known": len(training)}
    counts = read_column(training, SOFT_LABEL_SOURCE).value_counts().to_pylist()
    return {str(one["values"]): one["counts"] for one in sorted(counts, key=lambda one: -one["counts"])}


def _augmented(training: datasets.Dataset) -> int:
    """Rows that have parents."""
    if PARENTS not in training.column_names:
        return 0
    return pc.sum(pc.greater(pc.list_value_length(read_column(training, PARENTS)), 0)).as_py() or 0
