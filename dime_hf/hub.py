"""What leaves the machine: a dataset on the Hub, private, with ids and soft labels unless more is named."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import datasets
import pyarrow as pa
from huggingface_hub import CommitInfo, DatasetCard

from dime_hf import columns
from dime_hf.errors import ColumnError, did_you_mean

ALWAYS = (
    columns.ID,
    columns.SOFT_LABEL,
    columns.SOFT_LABEL_SOURCE,
    columns.SOFT_LABEL_VOTES,
    columns.SOFT_LABEL_LOW,
    columns.SOFT_LABEL_HIGH,
    columns.SOFT_LABEL_ENTROPY,
    columns.SOFT_LABEL_ENTROPY_LOW,
    columns.SOFT_LABEL_ENTROPY_HIGH,
)
HUB_LICENCES = {"ODbL": "odbl"}  # the start of a corpus's licence, and what the Hub calls it
INCLUDE = {  # what can be named, and the columns that go with it
    "audio": (columns.AUDIO, columns.DURATION),
    "text": (columns.TEXT,),
    "votes": (columns.HUMAN_VOTES, columns.VOTE_COUNTS, columns.HARD_LABEL, columns.REFERENCE_COUNTS),
    "answers": (columns.ANSWERS,),
    "groups": (columns.SPEAKER, columns.GENDER, columns.SESSION, columns.DIALOG),
    "ratings": (columns.VALENCE, columns.ACTIVATION, columns.DOMINANCE),
    "parents": (columns.PARENTS, columns.PARENT_WEIGHTS, columns.AUGMENTATION),
}


def push_to_hub(
    dataset: datasets.Dataset | datasets.DatasetDict,
    repo: str,
    *,
    include: Collection[str] = (),
    private: bool = True,
    **push_arguments: Any,
) -> CommitInfo:
    """Push a dataset to the Hub as Parquet with a card: ids and soft labels, and what `include` names.

    `include` holds names out of `INCLUDE` ("audio", "text", "votes", "answers", "groups", "ratings", "parents") or of
    columns. Recordings are uploaded only when "audio" or the column is named. `hard_label` is always there, for the
    class names in its type, but null unless "votes" is named. `push_arguments` go to `DatasetDict.push_to_hub`
    (`config_name`, `token`, `max_shard_size`, ...).

    Raises `ColumnError` for a name that is neither, or a dataset without soft labels.
    """
    splits = dataset if isinstance(dataset, datasets.DatasetDict) else datasets.DatasetDict({"train": dataset})
    shared = datasets.DatasetDict({name: _shared(split, include) for name, split in splits.items()})
    first = next(iter(splits.values()))
    commit = shared.push_to_hub(repo, private=private, **push_arguments)
    token = push_arguments.get("token")
    card = DatasetCard.load(repo, token=token)
    card.text = _card(first, shared, include)
    card.data.license = _hub_licence(first.info.license or "")
    card.push_to_hub(repo, token=token, commit_message="Card")
    return commit


def _hub_licence(licence: str) -> str:
    """The Hub's name of a corpus's licence; "other" for what is not among the free ones."""
    return next((name for start, name in HUB_LICENCES.items() if licence.startswith(start)), "other")


def _shared(split: datasets.Dataset, include: Collection[str]) -> datasets.Dataset:
    """The columns of a split that may leave."""
    columns.require(split, columns.ID, columns.SOFT_LABEL, columns.HARD_LABEL)
    named = _named(split, include)
    kept = split.select_columns([name for name in split.column_names if name in named])
    return kept if columns.HARD_LABEL in named else _with_empty_hard_label(kept, split.features[columns.HARD_LABEL])


def _named(split: datasets.Dataset, include: Collection[str]) -> set[str]:
    """Names of the columns that are always shared or are included."""
    named = set(ALWAYS)
    for name in include:
        if name not in INCLUDE and name not in split.column_names:
            possible = [*INCLUDE, *split.column_names]
            raise ColumnError(f"`include` names {name!r}.{did_you_mean(name, possible)}")
        named.update(INCLUDE.get(name, (name,)))
    return named


def _with_empty_hard_label(split: datasets.Dataset, feature: datasets.ClassLabel) -> datasets.Dataset:
    features = datasets.Features({columns.HARD_LABEL: feature})
    nothing = pa.table([pa.nulls(len(split), pa.int64())], schema=features.arrow_schema)
    return datasets.concatenate_datasets([split, datasets.Dataset(nothing)], axis=1)


def _card(first: datasets.Dataset, shared: Mapping[str, datasets.Dataset], include: Collection[str]) -> str:
    """Text of the dataset's card."""
    about = (first.info.description or "Soft labels of speech emotion.").splitlines()
    rows = "\n".join(f"| `{name}` | {len(split):,} |" for name, split in shared.items())
    given: Sequence[str] = [name for name in next(iter(shared.values())).column_names if name != columns.HARD_LABEL]
    if "votes" in include:
        given = [*given, columns.HARD_LABEL]
    return f"""
# Soft labels of speech emotion

{about[0]}

Classes, in the order of `soft_label`: {", ".join(columns.classes(first))}.
{" ".join(about[1:])}

| split | utterances |
|---|---|
{rows}

Columns: {", ".join(f"`{name}`" for name in given)}. Everything else of the corpus stayed with its owner.
Licence of the corpus: {first.info.license or "not known"}.
"""
