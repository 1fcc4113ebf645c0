"""Row-level splits of a loaded corpus: by session, by speaker, by any other group, or over utterances.

Every split is made with `select`: no recording is copied or decoded, and rows keep the corpus's order.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dime_hf import columns
from dime_hf.columns import ID, SESSION, SPEAKER
from dime_hf.corpora.folder import fold_splits
from dime_hf.errors import ColumnError, CorpusError, did_you_mean
from dime_hf.stage import read_column

UNKNOWN = "unknown"  # in any case: what corpora write where they do not know
EMO_SUPERB_FOLDS = {1: (4, 5), 2: (3, 4), 3: (2, 3), 4: (1, 2), 5: (5, 1)}  # sessions of test and validation

Corpus: TypeAlias = datasets.Dataset | datasets.DatasetDict


class LeakageWarning(UserWarning):
    """Splits share what a test set should not have seen, or may do so."""


def leave_one_out(dataset: Corpus, *, by: str, test: Any, validation: Any = None) -> datasets.DatasetDict:
    """Return train, validation and test, where one value of the column `by` is the test set and one validates.

    `by="session"` is leave-one-session-out, `by="speaker"` leave-one-speaker-out. Without `validation` it is the value
    after `test` in sorted order, the first after the last. In IEMOCAP the one after Ses01F is Ses01M, her partner in
    all dialogs; after Ses01M it is Ses02F, and his partner trains: `leakage` shows what that shares. A `DatasetDict`
    is split as one dataset. Raises `CorpusError` for a value that the column lacks, for rows without a value, and for
    fewer than three values.
    """
    dataset = as_one(dataset)
    names, group_of = _groups(dataset, by)
    if len(names) < 3:
        raise CorpusError(f"`by`: train, validation and test need three values of {by!r}, found {names}")
    held = {"test": _position(names, test, by, "test")}
    after = (held["test"] + 1) % len(names)
    held["validation"] = after if validation is None else _position(names, validation, by, "validation")
    if held["test"] == held["validation"]:
        raise CorpusError(f"`validation` and `test` are both {test!r}")
    train = ~np.isin(group_of, list(held.values()))
    return select(dataset, {"train": train, **{split: group_of == held[split] for split in ("validation", "test")}})


def folds(dataset: Corpus, *, by: str, fold: int, folds: int = 5) -> datasets.DatasetDict:
    """Return train, validation and test of a fold from 1 to `folds`, no value of the column `by` in two of them.

    The i-th value in sorted order goes to block i mod `folds`; the fold's block is the test set and the next one
    validates, as where `load_dataset` is given a `fold`. Raises `CorpusError` for a fold that there is not, for fewer
    values than folds, and for rows without a value.
    """
    dataset = as_one(dataset)
    names, group_of = _groups(dataset, by)
    return select(dataset, members_of_fold(group_of, list(map(str, names)), fold, folds))


def emo_superb_folds(dataset: Corpus, fold: int) -> datasets.DatasetDict:
    """Return EMO-SUPERB's fold of IEMOCAP: one session tests and the next validates; fold 1 tests session 4.

    Raises `CorpusError` for a fold that is not from 1 to 5, and for a dataset without IEMOCAP's sessions.
    """
    if fold not in EMO_SUPERB_FOLDS:
        raise CorpusError(f"`fold` must be from 1 to 5, not {fold!r}")
    test, validation = (f"session{number}" for number in EMO_SUPERB_FOLDS[fold])
    return leave_one_out(dataset, by=SESSION, test=test, validation=validation)


def random_utterances(dataset: Corpus, *, test_size: float = 0.2, seed: int = 42) -> datasets.DatasetDict:
    """Return train and test drawn over utterances, as papers do that test on the speakers they trained on.

    The same for any order of rows. Warns with `LeakageWarning` how many speakers are in both. Raises `CorpusError`
    when an id is there twice or a split would be empty.
    """
    dataset = as_one(dataset)
    columns.require(dataset, ID, SPEAKER)
    ids = np.asarray(read_column(dataset, ID).to_pylist(), dtype=object)
    if len(set(ids)) < len(ids):
        raise CorpusError(f"`dataset` has {len(ids):,} rows, but only {len(set(ids)):,} different ids")
    tested = round(len(ids) * test_size)
    if not 0 < tested < len(ids):
        raise CorpusError(f"`test_size` is {test_size}: of {len(ids):,} utterances it would test on {tested:,}")
    drawn = np.random.default_rng(seed).permutation(np.argsort(ids))[:tested]
    test = np.isin(np.arange(len(ids)), drawn)
    _warn_of_speakers(read_column(dataset, SPEAKER), test)
    return select(dataset, {"train": ~test, "test": test})


def as_one(dataset: Corpus) -> datasets.Dataset:
    """Return one dataset: itself, or the splits of a `DatasetDict` one after the other."""
    if isinstance(dataset, datasets.DatasetDict) and dataset:
        return datasets.concatenate_datasets(list(dataset.values()))
    if not isinstance(dataset, datasets.Dataset):
        raise ColumnError(
            f"`dataset` must be a Dataset or a DatasetDict with splits, not {type(dataset).__name__}: load the corpus "
            "without `streaming=True`"
        )
    return dataset


def select(dataset: datasets.Dataset, members: Mapping[str, NDArray[np.bool_]]) -> datasets.DatasetDict:
    """Return the splits that `members` marks, each knowing its name."""
    return datasets.DatasetDict(
        {
            split: datasets.concatenate_datasets(
                [dataset.select(np.flatnonzero(wanted))], info=dataset.info, split=datasets.NamedSplit(split)
            )
            for split, wanted in members.items()
        }
    )


def members_of_fold(
    group_of: NDArray[np.intp], names: Sequence[str], fold: int, folds: int
) -> dict[str, NDArray[np.bool_]]:
    """Which rows, given the position in `names` of each one's group, are in the splits of a fold."""
    if folds < 3:
        raise CorpusError(f"`folds` must be at least 3 (train, validation and test), not {folds!r}")
    positions = fold_splits({name: [str(position)] for position, name in enumerate(names)}, fold, folds)
    return {split: np.isin(group_of, np.asarray(own, dtype=int)) for split, own in positions.items()}


def known(groups: pa.Array) -> pa.Array:
    """Null where a corpus says "Unknown" instead."""
    if not (pa.types.is_string(groups.type) or pa.types.is_large_string(groups.type)):
        return groups
    unknown = pc.equal(pc.utf8_lower(pc.utf8_trim_whitespace(groups)), UNKNOWN)
    return pc.if_else(unknown, pa.scalar(None, groups.type), groups)


def _groups(dataset: datasets.Dataset, by: str) -> tuple[list[Any], NDArray[np.intp]]:
    """The values of a column in order, and the position among them of every row's."""
    columns.require(dataset, by)
    if not isinstance(dataset.features[by], datasets.Value):
        raise ColumnError(f"`by`: {by!r} holds {type(dataset.features[by]).__name__}, not one group a row")
    values = known(read_column(dataset, by))
    if values.null_count:
        raise CorpusError(
            f"`by`: {values.null_count:,} of {len(values):,} utterances have no known {by!r}, so no split is sure to "
            "keep them apart: leave them out with `dataset.filter`, or split by another column"
        )
    names = sorted(pc.unique(values).to_pylist())
    return names, pc.index_in(values, pa.array(names, values.type)).to_numpy(zero_copy_only=False).astype(np.intp)


def _position(names: list[Any], value: Any, by: str, argument: str) -> int:
    if value not in names:
        raise CorpusError(
            f"`{argument}`: no utterance has the {by} {value!r}.{did_you_mean(str(value), map(str, names))}"
        )
    return names.index(value)


def _warn_of_speakers(speakers: pa.Array, test: NDArray[np.bool_]) -> None:
    """Warn when utterances of a speaker are on both sides, or may be, since nobody knows whose they are."""
    speakers = known(speakers)
    train, tested = (set(speakers.filter(pa.array(side)).drop_null().to_pylist()) for side in (~test, test))
    shared, unknown = len(train & tested), speakers.null_count
    if shared or unknown:
        anyone = f", and {unknown:,} utterances are of unknown speakers" if unknown else ""
        warnings.warn(
            f"{shared:,} of {len(train | tested):,} speakers are in both train and test{anyone}: scores say little "
            "about new speakers; `leave_one_out` and `folds` keep speakers apart",
            LeakageWarning,
            stacklevel=3,
        )
