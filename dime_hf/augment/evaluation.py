"""The paper's wish, an augmented test set: only for whoever asks for it by name, and marked.

Nobody voted on what DiME-Aug makes, so scores on it are of the augmentation too. To score rare classes, take
`dime_hf.protocol.balanced_weights` or `balanced_selection`, which leave real utterances as they are.
"""

from __future__ import annotations

from typing import Protocol

import datasets
import numpy as np

from dime_hf import columns
from dime_hf.augment.apply import augment
from dime_hf.augment.moves import Lineage
from dime_hf.augment.plan import Plan
from dime_hf.columns import ID, REFERENCE_COUNTS
from dime_hf.distribution import Array
from dime_hf.errors import LeakageError
from dime_hf.protocol.reference import by_class, made_rows
from dime_hf.stage import beside


class Planner(Protocol):
    """What plans an augmentation: `DimeAug`."""

    def plan(self, train: datasets.Dataset) -> Plan: ...


def augment_test(test: datasets.Dataset, planner: Planner, *, augmented_test: bool = False) -> datasets.Dataset:
    """Return `test` with what `planner` adds to it by the kept votes, if `augmented_test` asks for it by name.

    The `reference_counts` of a new row are its parents', mixed by `parent_weights`. New rows have `parents` and the
    source "dime_aug", and `score_labels` refuses them without `moving_reference=True`. Raises `LeakageError`.
    """
    if not augmented_test:
        raise LeakageError(
            "`test` would get rows that nobody voted on. Score real utterances (`dime_hf.protocol.balanced_weights` "
            "gives rare classes weight), or ask for an augmented test set by `augmented_test=True`"
        )
    columns.require(test, ID, REFERENCE_COUNTS, argument="test")
    kept = test.remove_columns([REFERENCE_COUNTS])
    kept = datasets.Dataset(kept.data, info=kept.info, indices_table=kept._indices)  # of no split: plans refuse tests
    made = augment(kept, planner.plan(kept))
    references = _references(test, made)
    feature = {REFERENCE_COUNTS: test.features[REFERENCE_COUNTS]}
    return beside(
        made, datasets.Dataset.from_dict({REFERENCE_COUNTS: references}, features=datasets.Features(feature))
    )


def _references(test: datasets.Dataset, made: datasets.Dataset) -> Array:
    """Held-out votes (N, C) of real rows, and mixes of them for the others."""
    new, votes = made_rows(made), by_class(test, REFERENCE_COUNTS)
    mixed = np.empty((len(made), votes.shape[1]))
    mixed[~new] = votes  # real rows come first, as they were
    if new.any():
        lineage = Lineage.read(test, made)
        mixed[new] = lineage.weights @ votes[lineage.parents]
    return mixed
