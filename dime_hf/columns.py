"""The vocabulary: the name, type and meaning of every column, and the class names in their one order.

One row is one utterance. Stages add columns and never rewrite audio; DiME-Aug alone adds rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import datasets
from datasets import Audio, ClassLabel, Features, List, Value

from dime_hf.errors import ColumnError, did_you_mean

EMOTIONS = (
    "angry", "happy", "neutral", "sad", "excited", "frustrated", "surprise", "fear", "disgust", "contempt", "other",
)  # fmt: skip
SAMPLING_RATE = 16_000

# made by corpora
ID = "id"
AUDIO = "audio"
DURATION = "duration"
TEXT = "text"
SPEAKER = "speaker"
GENDER = "gender"
SESSION = "session"
DIALOG = "dialog"
HUMAN_VOTES = "human_votes"
VOTE_COUNTS = "vote_counts"
HARD_LABEL = "hard_label"
SOFT_LABEL = "soft_label"
SOFT_LABEL_SOURCE = "soft_label_source"
SOFT_LABEL_VOTES = "soft_label_votes"
ACTIVATION = "activation"
VALENCE = "valence"
DOMINANCE = "dominance"
RELEASED = "released_"  # prefix: the corpus's own figure where it differs from ours
# made by join: which of the joined datasets a row is from
CORPUS = "corpus"
# made by hold_out_votes: (C,) counts of the annotators that no fit may see
REFERENCE_COUNTS = "reference_counts"
# made by annotate
ANSWERS = "answers"
# made by pool: 90 % credible intervals, (C,) of the classes' shares, and of the entropy beside its posterior mean
SOFT_LABEL_LOW = "soft_label_low"
SOFT_LABEL_HIGH = "soft_label_high"
SOFT_LABEL_ENTROPY = "soft_label_entropy"
SOFT_LABEL_ENTROPY_LOW = "soft_label_entropy_low"
SOFT_LABEL_ENTROPY_HIGH = "soft_label_entropy_high"
# made by augment
PARENTS = "parents"
PARENT_WEIGHTS = "parent_weights"
AUGMENTATION = "augmentation"

EXTERNAL, SELF = "external", "self"  # kinds of human votes
OK, FAILED = "ok", "failed"  # status of an answer
HUMAN = "human"  # soft_label_source of the builders


def distribution_feature(size: int) -> List:
    """Feature of a (C,) column of counts or probabilities."""
    return List(Value("float32"), length=size)


def corpus_features(
    classes: Sequence[str], inventory: Sequence[str], extra: Mapping[str, Any] | None = None
) -> Features:
    """Features of what a corpus builder emits: label set `classes`, raw ticks over the corpus's `inventory`."""
    choices = List(ClassLabel(names=list(inventory)))
    vote = {
        "annotator": Value("string"),
        "kind": Value("string"),
        "choices": choices,
        "secondary": choices,
        "note": Value("string"),
    }
    text, number = Value("string"), Value("float32")
    return Features(
        {
            ID: text,
            AUDIO: Audio(sampling_rate=SAMPLING_RATE, decode=False),
            DURATION: number,
            TEXT: text,
            SPEAKER: text,
            GENDER: text,
            SESSION: text,
            DIALOG: text,
            HUMAN_VOTES: List(vote),
            **label_features(classes),
            ACTIVATION: number,
            VALENCE: number,
            DOMINANCE: number,
            **(extra or {}),
        }
    )


def label_features(classes: Sequence[str]) -> dict[str, Any]:
    """Features of the columns that follow from the votes and a label set `classes`."""
    return {
        VOTE_COUNTS: distribution_feature(len(classes)),
        HARD_LABEL: ClassLabel(names=list(classes)),
        SOFT_LABEL: distribution_feature(len(classes)),
        SOFT_LABEL_SOURCE: Value("string"),
        SOFT_LABEL_VOTES: Value("float32"),
    }


def pooled_features(classes: Sequence[str]) -> dict[str, Any]:
    """Features of what pooling writes: the soft label, its (effective) votes, and how uncertain it is.

    `soft_label` is the posterior mean; `soft_label_low` and `soft_label_high` are (C,), the 90 % credible interval of
    each class's share; the entropy is in bits. What needs a posterior is null for methods without one.
    """
    shares, number = distribution_feature(len(classes)), Value("float32")
    return {
        SOFT_LABEL: shares,
        SOFT_LABEL_SOURCE: Value("string"),
        SOFT_LABEL_VOTES: number,
        SOFT_LABEL_LOW: shares,
        SOFT_LABEL_HIGH: shares,
        SOFT_LABEL_ENTROPY: number,
        SOFT_LABEL_ENTROPY_LOW: number,
        SOFT_LABEL_ENTROPY_HIGH: number,
    }


def answers_feature(classes: Sequence[str]) -> List:
    """Feature of the `answers` column: one entry per proxy and option order asked.

    `distribution` is (C,) in the dataset's class order whatever the `order` in which the options were shown; it is
    null in an answer whose `status` is `failed`, and then `error` says why and `votes` is 0.
    """
    return List(
        {
            "proxy": Value("string"),
            "order": List(Value("int32")),
            "distribution": List(Value("float32")),
            "draws": List(ClassLabel(names=list(classes))),
            "votes": Value("float32"),
            "off_option": Value("float32"),
            "status": Value("string"),
            "error": Value("string"),
        }
    )


def require(dataset: Any, *columns: str, argument: str = "dataset") -> None:
    """Raise `ColumnError` unless `dataset` is one split that has all `columns`."""
    if isinstance(dataset, (datasets.DatasetDict, datasets.IterableDatasetDict)):
        splits = list(dataset)
        example = splits[0] if splits else "train"
        raise ColumnError(
            f"`{argument}` is a {type(dataset).__name__} with the splits {splits}, but one split is needed: "
            f"did you mean `{argument}[{example!r}]`?"
        )
    names = column_names(dataset)
    for column in columns:
        if column not in names:
            raise ColumnError(f"`{argument}` has no column {column!r}.{did_you_mean(column, names)}")


def column_names(dataset: Any) -> list[str]:
    """Column names of a dataset or of a batch (a mapping)."""
    if isinstance(dataset, (datasets.Dataset, datasets.IterableDataset)):
        return list(dataset.column_names or (dataset.features or {}))
    return list(dataset)


def classes(dataset: Any, argument: str = "dataset") -> tuple[str, ...]:
    """Class names of a dataset's label set, in the order of its `(C,)` columns."""
    require(dataset, HARD_LABEL, argument=argument)
    return tuple(dataset.features[HARD_LABEL].names)


def in_house_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in the one order of `EMOTIONS`; names that it lacks come last, as given.

    >>> in_house_order(["sad", "calm", "angry"])
    ('angry', 'sad', 'calm')
    """
    names = list(dict.fromkeys(names))
    return tuple(sorted(names, key=lambda name: EMOTIONS.index(name) if name in EMOTIONS else len(EMOTIONS)))


def groups(batch: Mapping[str, Sequence[Any]]) -> list[str]:
    """Cluster of every row: its speaker, or where unknown its dialog, or itself. What splits and intervals go by."""
    columns = {name: batch[name] for name in (SPEAKER, DIALOG, ID) if name in column_names(batch)}
    clusters = [
        next(f"{name}:{value}" for name, value in zip(columns, values, strict=True) if value is not None)
        for values in zip(*columns.values(), strict=True)
    ]
    if CORPUS not in column_names(batch):
        return clusters
    return [f"{corpus}/{cluster}" for corpus, cluster in zip(batch[CORPUS], clusters, strict=True)]
