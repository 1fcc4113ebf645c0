"""Carries out a plan of DiME-Aug: sound, words and distribution of the parents become new utterances."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np
from datasets import Value

from dime_hf import audio, columns
from dime_hf.augment.operations import Utterance, get_operation
from dime_hf.augment.plan import Plan
from dime_hf.augment.table import OPERATION, PARAMETERS
from dime_hf.columns import AUDIO, AUGMENTATION, ID, PARENT_WEIGHTS, PARENTS, SAMPLING_RATE, SOFT_LABEL, TEXT
from dime_hf.errors import ColumnError
from dime_hf.stage import Batch, add_columns, undecoded

PROVENANCE = {
    PARENTS: datasets.List(Value("string")),
    PARENT_WEIGHTS: datasets.List(Value("float32")),
    AUGMENTATION: Value("string"),
}
SHARED = (columns.SPEAKER, columns.GENDER, columns.SESSION, columns.DIALOG)  # kept where both parents agree


def augment(train: datasets.Dataset, plan: Plan, num_proc: int | None = None) -> datasets.Dataset:
    """Return `train` followed by the rows of a plan made on it; real rows have empty provenance.

    The operation makes sound and transcript of a new row; its soft label is the mean of its parents' by their weights.
    It has no human votes and no answers: `vote_counts` is zero and `soft_label_source` says "dime_aug".
    """
    columns.require(train, ID, AUDIO, TEXT, SOFT_LABEL, argument="train")
    train = undecoded(train)
    row_of = {id: row for row, id in enumerate(train[ID])}
    unknown = sorted({parent for parents in plan.rows[PARENTS] for parent in parents if parent not in row_of})
    if unknown:
        raise ColumnError(
            f"`plan` mixes {len(unknown)} utterances that `train` lacks, the first is {unknown[0]!r}: "
            "make the plan on this dataset"
        )
    real = add_columns(train, _no_provenance, reads=[ID], writes=PROVENANCE, desc="Marking real utterances")
    if not len(plan.rows):
        return real
    mixed = plan.rows.map(
        _Mix(train, row_of, plan.summary.recipe),
        remove_columns=plan.rows.column_names,
        features=real.features,
        num_proc=num_proc,
        desc="Mixing",
    )
    return datasets.concatenate_datasets([real, mixed], info=real.info, split=train.split)


def _no_provenance(batch: Batch) -> dict[str, list[Any]]:
    count = len(batch[ID])
    return {PARENTS: [[]] * count, PARENT_WEIGHTS: [[]] * count, AUGMENTATION: [""] * count}


@dataclasses.dataclass(frozen=True)
class _Mix:
    """Makes the row of one mix from its line in the plan."""

    train: datasets.Dataset
    row_of: Mapping[str, int]
    recipe: str

    def __call__(self, line: Mapping[str, Any]) -> dict[str, Any]:
        parents = [self.train[self.row_of[parent]] for parent in line[PARENTS]]
        weights, parameters = line[PARENT_WEIGHTS], json.loads(line[PARAMETERS])
        made = get_operation(line[OPERATION]).apply(
            [Utterance(audio.read(parent[AUDIO]), parent[TEXT]) for parent in parents], parameters
        )
        settings = {"operation": line[OPERATION], "parameters": parameters, "recipe": self.recipe}
        empty = {name: _nothing(feature) for name, feature in self.train.features.items()}
        first = parents[0]
        return {
            **empty,
            **{
                name: first[name]
                for name in SHARED
                if name in first and all(parent[name] == first[name] for parent in parents)
            },
            **{name: line[name] for name in (ID, PARENTS, PARENT_WEIGHTS)},
            AUGMENTATION: json.dumps(settings, sort_keys=True),
            AUDIO: {"bytes": audio.encode_wav(made.samples), "path": None},
            columns.DURATION: len(made.samples) / SAMPLING_RATE,
            TEXT: made.text,
            SOFT_LABEL: np.average([parent[SOFT_LABEL] for parent in parents], axis=0, weights=weights).tolist(),
            columns.SOFT_LABEL_SOURCE: "dime_aug",
            columns.SOFT_LABEL_VOTES: float(np.dot(weights, [parent[columns.SOFT_LABEL_VOTES] for parent in parents])),
        }


def _nothing(feature: Any) -> Any:
    """What a mix has in a column that only real utterances fill."""
    if isinstance(feature, datasets.List):
        return [] if feature.length in (None, -1) else [0.0] * feature.length
    return None
