"""Which columns of a dataset may leave the machine: ids and soft labels, and what is named."""

from __future__ import annotations

import re
from collections.abc import Collection

import datasets
import pyarrow as pa

from dime_hf import columns
from dime_hf.corpora.register import BUILDERS, builder_class
from dime_hf.errors import ColumnError, did_you_mean
from dime_hf.stage import beside

ALWAYS = (
    columns.ID,
    columns.CORPUS,
    columns.DURATION,  # `attach_audio` knows a recording by it; a length gives away neither voice nor words
    columns.SOFT_LABEL,
    columns.SOFT_LABEL_SOURCE,
    columns.SOFT_LABEL_VOTES,
    columns.SOFT_LABEL_LOW,
    columns.SOFT_LABEL_HIGH,
    columns.SOFT_LABEL_ENTROPY,
    columns.SOFT_LABEL_ENTROPY_LOW,
    columns.SOFT_LABEL_ENTROPY_HIGH,
    columns.PARENTS,  # or else a row made by DiME-Aug would pass for one of the corpus
    columns.PARENT_WEIGHTS,
    columns.AUGMENTATION,
)
INCLUDE = {  # what can be named, and the columns that go with it
    "audio": (columns.AUDIO,),
    "text": (columns.TEXT,),
    "votes": (columns.HUMAN_VOTES, columns.VOTE_COUNTS, columns.HARD_LABEL, columns.REFERENCE_COUNTS),
    "answers": (columns.ANSWERS,),
    "groups": (columns.SPEAKER, columns.GENDER, columns.SESSION, columns.DIALOG),
    "ratings": (columns.VALENCE, columns.ACTIVATION, columns.DOMINANCE),
}


def as_splits(dataset: datasets.Dataset | datasets.DatasetDict) -> dict[str, datasets.Dataset]:
    """The splits of a dataset by name; a single one has its own, without the part of it that was asked for."""
    if isinstance(dataset, dict):
        return dict(dataset)
    return {re.split(r"\W", str(dataset.split or "train"))[0]: dataset}


def shared(split: datasets.Dataset, include: Collection[str]) -> datasets.Dataset:
    """Return a split with the columns that may leave, and with the name of its corpus where it is known."""
    if not isinstance(split, datasets.Dataset):
        raise ColumnError(f"`dataset` is a stream ({type(split).__name__}): load it without `streaming=True`")
    columns.require(split, columns.ID, columns.SOFT_LABEL, columns.HARD_LABEL)
    named = _named(split, include)
    if columns.AUDIO in named and split.format["type"] == "custom":
        raise ColumnError(
            "`dataset` makes its recordings as rows are read: give `augment(..., lazy=False)` to share them"
        )
    kept = split.select_columns([name for name in split.column_names if name in named]).with_format(None)
    if columns.HARD_LABEL not in named:
        kept = beside(kept, _nulls(len(split), split.features[columns.HARD_LABEL]))
    corpus = corpus_name(split)
    if corpus is None or columns.CORPUS in kept.column_names:
        return kept
    return beside(kept, datasets.Dataset(pa.table({columns.CORPUS: pa.repeat(corpus, len(split))})))


def corpus_name(split: datasets.Dataset) -> str | None:
    """The corpus that a split was loaded from, by its builder, or by what the builder says about it."""
    made_by = split.info.dataset_name or split.info.builder_name
    if made_by in BUILDERS:
        return made_by
    lines = (split.info.description or "").splitlines()  # stages keep it, but not the builder's name
    return next((corpus for corpus in BUILDERS if _about(corpus) in lines), None)


def _about(corpus: str) -> str:
    return builder_class(corpus).BUILDER_CONFIG_CLASS.folder_class.about


def _named(split: datasets.Dataset, include: Collection[str]) -> set[str]:
    """Names of the columns that are always shared or are included."""
    if isinstance(include, str):
        raise ColumnError(f"`include` is the text {include!r}: give names, such as `include=({include!r},)`")
    named = set(ALWAYS)
    for name in include:
        if name not in INCLUDE and name not in split.column_names:
            possible = [*INCLUDE, *split.column_names]
            raise ColumnError(f"`include` names {name!r}.{did_you_mean(name, possible)}")
        named.update(INCLUDE.get(name, (name,)))
    return named


def _nulls(rows: int, feature: datasets.ClassLabel) -> datasets.Dataset:
    """A hard label that says which classes there are, and nothing of any row."""
    features = datasets.Features({columns.HARD_LABEL: feature})
    return datasets.Dataset(pa.table([pa.nulls(rows, pa.int64())], schema=features.arrow_schema))
