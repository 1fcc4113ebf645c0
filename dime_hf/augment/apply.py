"""Carries out a plan of DiME-Aug: sound, words and distribution of the parents become new utterances."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from dime_hf import columns
from dime_hf.augment.describe import PROVENANCE, Family, describe
from dime_hf.augment.files import Files
from dime_hf.augment.lazy import lazily
from dime_hf.augment.make import Maker, of_sound
from dime_hf.augment.operations import Operation
from dime_hf.augment.plan import Plan
from dime_hf.columns import AUDIO, AUGMENTATION, ID, PARENT_WEIGHTS, PARENTS, SOFT_LABEL
from dime_hf.errors import PlanError
from dime_hf.stage import beside, new_columns, undecoded

BATCH = 64  # utterances that are made before they are written


def augment(
    train: datasets.Dataset,
    plan: Plan,
    *,
    lazy: bool = False,
    folder: str | os.PathLike[str] | None = None,
    encoding: str = "float",
    operations: Sequence[Operation] = (),
    num_proc: int | None = None,
) -> datasets.Dataset:
    """Return `train` followed by the new utterances of a plan made on it; real rows have empty provenance.

    A new row's soft label is the mean of its parents' by their weights; nobody voted on it. Its sound lies in the
    dataset, or in files of `folder` (a run that was killed goes on where it stopped), or is made when the row is read
    (`lazy`): the same samples to the bit. encoding: "float" (32-bit wav), or "pcm16" and "flac", which round.
    `operations` are your own beside `OPERATIONS`. Raises `PlanError` for a plan of another dataset.
    """
    if lazy and folder is not None:
        raise PlanError("`folder` is for files and `lazy` writes none: leave one of them out")
    columns.require(train, ID, AUDIO, SOFT_LABEL, argument="train")
    train = undecoded(train)
    real = beside(train, _no_provenance(len(train)))
    if not len(plan.rows):
        return real
    family = Family.read(train, plan.rows, operations)
    maker = Maker.of(train, plan.rows, family, encoding)
    new = describe(train, plan, family, real.features)
    if lazy:
        return lazily(real, new, maker)
    sounds = _materialise(maker if folder is None else Files.of(maker, folder), len(new), train, num_proc)
    made = beside(new, sounds).select_columns(real.column_names)
    return datasets.concatenate_datasets([real, made], info=real.info, split=train.split)


def _no_provenance(count: int) -> datasets.Dataset:
    """What real utterances have in the columns of provenance."""
    empty: dict[str, list[Any]] = {PARENTS: [[]] * count, PARENT_WEIGHTS: [[]] * count, AUGMENTATION: [""] * count}
    return datasets.Dataset(pa.table(empty, schema=datasets.Features(PROVENANCE).arrow_schema))


def _materialise(maker: Maker | Files, count: int, train: datasets.Dataset, num_proc: int | None) -> datasets.Dataset:
    """Make the columns of sound of all rows; they are kept on disk where those of `train` are."""
    fingerprint = maker.fingerprint
    places = datasets.Dataset.from_dict({"place": range(count)})
    return new_columns(
        places,
        maker,
        reads=["place"],
        writes=of_sound(train.features),
        batch_format="arrow" if isinstance(maker, Maker) else None,
        batch_size=BATCH,
        writer_batch_size=BATCH,
        num_proc=num_proc,
        cache_file_name=_beside_cache(train, fingerprint),
        load_from_cache_file=False if isinstance(maker, Files) else None,  # files may have gone since
        new_fingerprint=fingerprint,
        desc="Making utterances",
    )


def _beside_cache(train: datasets.Dataset, fingerprint: str) -> str | None:
    """Where `map` would keep what it makes of `train`; None for a dataset in memory."""
    files = train.cache_files
    return str(Path(files[0]["filename"]).with_name(f"cache-{fingerprint}.arrow")) if files else None
