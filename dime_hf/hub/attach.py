"""`attach_audio`: labels from the Hub beside the reader's own copy of the corpus, joined by id."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dime_hf import columns
from dime_hf.columns import AUDIO, CORPUS, DURATION, ID, PARENTS
from dime_hf.corpora.register import BUILDERS, load_dataset
from dime_hf.errors import ColumnError, CorpusError, did_you_mean
from dime_hf.hub.share import corpus_name
from dime_hf.stage import beside, read_column

logger = logging.getLogger(__name__)

TOLERANCE = 0.05  # seconds: more than what frames and rounding change, less than a word
SHOWN = 3
Splits = TypeVar("Splits", datasets.Dataset, datasets.DatasetDict)
Folder = str | os.PathLike[str]


def attach_audio(
    labels: Splits,
    data_dir: Folder | Mapping[str, Folder] | None = None,
    corpus: str | Mapping[str, str] | None = None,
    *,
    missing_audio: Literal["error", "keep", "drop"] = "error",
    tolerance: float = TOLERANCE,
    **config: Any,
) -> Splits:
    """Return `labels` with `audio` and `duration` from the reader's own copy of the corpus at `data_dir`, by `id`.

    `corpus` is its name, if the column `corpus` does not tell it; for labels of several corpora, `data_dir` maps each
    to its folder (and `corpus` to the name of its builder, where that is another). `config` are further arguments of
    the corpus (`data_files`, `audio_dir`, ...). Rows keep their order; those without a recording are an error, or
    null ("keep"), or left out ("drop"), and so are rows made by DiME-Aug: make these again with `augment`.

    Raises `CorpusError` for a recording that lasts `tolerance` seconds more or less than its label says.
    """
    if missing_audio not in ("error", "keep", "drop"):
        raise CorpusError(f"`missing_audio` is {missing_audio!r}: give 'error', 'keep' or 'drop'")
    if isinstance(labels, dict):
        own = _own_copies(list(labels.values()), data_dir, corpus, config)
        splits = {name: _attach(split, own, missing_audio, tolerance) for name, split in labels.items()}
        return datasets.DatasetDict(splits)
    return _attach(labels, _own_copies([labels], data_dir, corpus, config), missing_audio, tolerance)


def _own_copies(
    splits: list[datasets.Dataset],
    data_dir: Folder | Mapping[str, Folder] | None,
    corpus: str | Mapping[str, str] | None,
    config: Mapping[str, Any],
) -> dict[str | None, datasets.Dataset]:
    """The reader's copy of every corpus, by its name in the column `corpus` (None where there is no such column)."""
    for split in splits:
        columns.require(split, ID, argument="labels")
        if not isinstance(split, datasets.Dataset):
            raise ColumnError(f"`labels` is a stream ({type(split).__name__}): load it without `streaming=True`")
        if AUDIO in split.column_names and read_column(split, AUDIO).null_count < len(split):
            raise ColumnError("`labels` have recordings already: remove the column 'audio' to attach others")
    names = sorted({name for split in splits for name in _names(split)}, key=str)
    folders: Mapping[Any, Any] = data_dir if isinstance(data_dir, Mapping) else dict.fromkeys(names, data_dir)
    if len(names) > 1 and not isinstance(data_dir, Mapping):
        raise CorpusError(
            f"`labels` are of several corpora: give data_dir={{{', '.join(f'{n!r}: ...' for n in names)}}}"
        )
    copies: dict[str | None, datasets.Dataset] = {}
    for name in names:
        if name not in folders:
            raise CorpusError(f"`data_dir` has no folder for {name!r}.{did_you_mean(str(name), map(str, folders))}")
        builder = corpus.get(str(name), name) if isinstance(corpus, Mapping) else corpus or name or _told(splits)
        copies[name] = _own_copy(builder, folders[name], config)
    return copies


def _names(split: datasets.Dataset) -> list[str | None]:
    return split.unique(CORPUS) if CORPUS in split.column_names else [None]


def _told(splits: list[datasets.Dataset]) -> str | None:
    """The corpus that labels were loaded from on this machine."""
    return next((name for split in splits if (name := corpus_name(split))), None)


def _own_copy(corpus: str | None, folder: Folder | None, config: Mapping[str, Any]) -> datasets.Dataset:
    """All utterances of a corpus: ids, recordings and durations, under the corpus's licence."""
    if corpus not in BUILDERS:
        found = "do not say which corpus they are of" if corpus is None else f"are of {corpus!r}, no corpus known here"
        raise CorpusError(f"`labels` {found}: give `corpus`, one of {', '.join(map(repr, BUILDERS))}")
    options = {"rows": "all", **config}
    loaded = load_dataset(corpus, data_dir=None if folder is None else os.fspath(folder), **options)
    return datasets.concatenate_datasets([split.select_columns([ID, AUDIO, DURATION]) for split in loaded.values()])


def _attach(
    split: datasets.Dataset, copies: Mapping[str | None, datasets.Dataset], missing_audio: str, tolerance: float
) -> datasets.Dataset:
    if not len(split):
        nothing = {
            name: feature for name, feature in columns.corpus_features((), ()).items() if name in (AUDIO, DURATION)
        }
        return beside(
            split, datasets.Dataset.from_dict({AUDIO: [], DURATION: []}, features=datasets.Features(nothing))
        )
    found = _found(split, copies)
    lacking = found[AUDIO].is_null().to_numpy()
    _check_durations(split, found, tolerance)
    if lacking.any():
        why = _lacking(split, found, lacking)
        if missing_audio == "error":
            raise CorpusError(f"{why}; give `missing_audio='keep'` for null audio, or 'drop' to leave such rows out")
        logger.warning("%s; %s", why, "they stay, with null audio" if missing_audio == "keep" else "they are left out")
    features = next(iter(copies.values())).features
    kept = split.features.get(DURATION, features[DURATION])
    told = [read_column(split, DURATION)] if DURATION in split.column_names else []
    made = datasets.Dataset(
        pa.table({AUDIO: found[AUDIO], DURATION: pc.coalesce(found[DURATION], *told).cast(kept.pa_type)}),
        info=datasets.DatasetInfo(features=datasets.Features({AUDIO: features[AUDIO], DURATION: kept})),
        split=split.split,
    )
    joined = beside(split, made)
    joined.info.license = _licence(split, copies)
    return joined.select(np.flatnonzero(~lacking)) if missing_audio == "drop" and lacking.any() else joined


def _found(split: datasets.Dataset, copies: Mapping[str | None, datasets.Dataset]) -> pa.Table:
    """Id, recording and duration of every row in the reader's copy, null where it has no such id."""
    tables = {name: own.with_format("arrow")[:].combine_chunks() for name, own in copies.items()}
    ids = read_column(split, ID)
    of = read_column(split, CORPUS) if CORPUS in split.column_names else None
    places, start = pa.nulls(len(ids), pa.int64()), 0
    for name, table in tables.items():
        here = pc.cast(pc.index_in(ids, table[ID]), pa.int64())
        if of is not None:
            here = pc.if_else(pc.equal(of, name), here, None)
        places = pc.coalesce(places, pc.add(here, start))
        start += len(table)
    return pa.concat_tables(tables.values()).take(places).combine_chunks()


def _check_durations(split: datasets.Dataset, found: pa.Table, tolerance: float) -> None:
    if DURATION not in split.column_names:
        return
    told = read_column(split, DURATION).cast(pa.float64())
    gap = pc.abs(pc.subtract(told, found[DURATION].combine_chunks().cast(pa.float64())))
    gap = pc.if_else(found[AUDIO].is_valid(), gap, None)  # what is not there is told elsewhere
    off = np.flatnonzero(pc.fill_null(pc.greater(gap, tolerance), False).to_numpy(zero_copy_only=False))
    if off.size:
        ids, own = read_column(split, ID), found[DURATION]
        first = [
            f"{ids[row]} ({told[row].as_py():.2f} s, yours {own[row].as_py():.2f} s)" for row in off[:SHOWN].tolist()
        ]
        raise CorpusError(
            f"`data_dir`: {off.size:,} of {len(split):,} recordings last over {tolerance:g} s more or less than the "
            f"labels say, such as {', '.join(first)}: is it the same release of the corpus?"
        )


def _lacking(split: datasets.Dataset, found: pa.Table, lacking: np.ndarray[Any, np.dtype[np.bool_]]) -> str:
    """Which rows have no recording, and why."""
    ids = read_column(split, ID)
    known = found[ID].is_valid().to_numpy()
    made = np.zeros(len(ids), dtype=bool)
    if PARENTS in split.column_names:
        parents = pc.list_value_length(read_column(split, PARENTS))
        made = pc.greater(pc.fill_null(parents, 0), 0).to_numpy(zero_copy_only=False)
    reasons = []
    for which, why in (
        (lacking & made, "were made by DiME-Aug and are in no corpus"),
        (lacking & ~made & ~known, "have an id that the corpus at `data_dir` lacks"),
        (lacking & ~made & known, "have no recording at `data_dir`"),
    ):
        if which.any():
            few = ", ".join(repr(ids[row].as_py()) for row in np.flatnonzero(which)[:SHOWN].tolist())
            reasons.append(f"{which.sum():,} of {len(ids):,} rows {why}, such as {few}")
    return "; ".join(reasons)


def _licence(split: datasets.Dataset, copies: Mapping[str | None, datasets.Dataset]) -> str:
    """The licences of what was attached: labels from the Hub have lost theirs, and pushes are guarded by it."""
    told = split.info.license or ""
    own = {name: copy.info.license or "not known" for name, copy in copies.items()}
    lines = [licence if len(own) == 1 else f"{name}: {licence}" for name, licence in own.items()]
    return "; ".join([told] * bool(told) + [line for line in lines if line not in told])
