"""Votes out of an ordinary audformat database: a table with a column of emotions for each human rater."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dime_hf.columns import AUDIO, DURATION, GENDER, SPEAKER, TEXT
from dime_hf.corpora.dime_votes.labels import rename_label
from dime_hf.errors import ColumnError, CorpusError, did_you_mean
from dime_hf.interchange.exchange import cast_votes, dataset_of, left_behind, lists, places, recordings

if TYPE_CHECKING:
    import audformat

HUMAN = "human"  # audformat.define.RaterType.HUMAN, which is also what a rater is called of whom nothing is said
GOLD = re.compile(r"(^|[\W_])gold(standard|[\W_]|$)", re.IGNORECASE)  # a word of the rater's name
OF_FILES = (SPEAKER, GENDER)  # what a table of files says of their segments too


def read_votes(
    database: audformat.Database,
    root: str | os.PathLike[str] | None,
    table: str | None,
    scheme: str | None,
    classes: Sequence[str] | None,
) -> datasets.Dataset:
    """Return the votes of a table's raters on the labels of a scheme as a dataset: a row an utterance.

    Raises `CorpusError` where no table or several fit, `ColumnError` for names that the database lacks.
    """
    table, scheme = _find(database, table, scheme)
    raters = _raters(database, table, scheme)
    frame = database[table].df
    if (again := frame.index.duplicated()).any():
        raise CorpusError(f"`database` {database.name!r}, table {table!r} has {frame.index[again][0]!r} twice")
    names = _names(database, scheme) if classes is None else {}
    cells = [pa.array(frame[column].astype(object), pa.string()).dictionary_encode() for column in raters.values()]
    texts = pa.concat_arrays([_renamed(cell, names) for cell in cells])
    where = f"`database` {database.name!r}, table {table!r},"
    labels, place = places(texts, list(names.values()) if classes is None else classes, where)
    voted = np.flatnonzero(place >= 0)
    annotator = pa.array(list(raters), pa.string()).take(pa.array(voted // max(len(frame), 1)))
    choices = lists(np.arange(len(voted)), place[voted], len(voted))
    votes = cast_votes(labels, len(frame), voted % max(len(frame), 1), annotator, choices)
    facts = _facts(database, table, frame.index, root)
    others = [name for name, column in database[table].columns.items() if column.scheme_id == scheme]
    left = [name for name in others if name not in raters.values()]
    about = f"{database.description or ''}\nVotes from the table {table!r}, scheme {scheme!r}.".lstrip()
    about += f" No votes: {', '.join(left)}." if left else ""
    return dataset_of(_ids(frame.index), votes, facts, about)


def _find(database: Any, table: str | None, scheme: str | None) -> tuple[str, str]:
    """The one table and scheme in which humans voted, out of those that the arguments leave."""
    for argument, value, known in (("table", table, database.tables), ("scheme", scheme, database.schemes)):
        if value is not None and value not in known:
            raise ColumnError(
                f"`{argument}` is {value!r}, which `database` {database.name!r} does not have."
                f"{did_you_mean(value, list(known))}"
            )
    all_pairs = _candidates(database)
    fitting = [pair for pair in all_pairs if table in (None, pair[0]) and scheme in (None, pair[1])]
    if len(fitting) == 1:
        return fitting[0]
    listed = "; ".join(f"table={one!r}, scheme={other!r}" for one, other in fitting or all_pairs)
    asked = " and ".join(f"{name}={value!r}" for name, value in (("table", table), ("scheme", scheme)) if value)
    if fitting:
        raise CorpusError(f"`database` {database.name!r} has votes in several places: say which of {listed}")
    raise CorpusError(
        f"`database` {database.name!r} has no votes{asked and f' in {asked}'}: `to_audformat` did not make it, and "
        "no column there has a scheme of text labels and a human rater (gold standards are none)."
        f"{f' There are votes in {listed}' if listed else ''}"
    )


def _candidates(database: Any) -> list[tuple[str, str]]:
    """Tables, each with the schemes of text labels for which it has votes."""
    found = [(name, column.scheme_id) for name, table in database.tables.items() for column in table.columns.values()]
    return [
        (table, scheme)
        for table, scheme in dict.fromkeys(found)
        if scheme is not None
        and database.schemes[scheme].labels is not None
        and database.schemes[scheme].dtype == "str"
        and _raters(database, table, scheme)
    ]


def _raters(database: Any, table: str, scheme: str) -> dict[str, str]:
    """Column of every human rater; raise `CorpusError` for a rater of two."""
    made: dict[str, str] = {}
    for name, column in database[table].columns.items():
        if column.scheme_id == scheme and _votes(database, column):
            if column.rater_id in made:
                raise CorpusError(
                    f"`database` {database.name!r}, table {table!r} has two columns of the rater {column.rater_id!r} "
                    f"and the scheme {scheme!r}: {made[column.rater_id]!r} and {name!r}; drop the one that is no vote"
                )
            made[column.rater_id] = name
    return made


def _votes(database: Any, column: Any) -> bool:
    """Whether a column is what one human said, not a gold standard, a majority or a machine."""
    rater = column.rater_id
    return rater is not None and database.raters[rater].type == HUMAN and not GOLD.search(rater)


def _names(database: Any, scheme: str) -> dict[str, str]:
    """House name of every label of a scheme; raise `CorpusError` where two would become one."""
    names = {label: rename_label(label, True) for label in database.schemes[scheme].labels_as_list}
    spelled: dict[str, str] = {}
    for label, house in names.items():
        if (other := spelled.setdefault(house, label)) != label:
            raise CorpusError(
                f"`database` {database.name!r}, scheme {scheme!r}: the labels {other!r} and {label!r} would both "
                f"become {house!r}: keep all as they are with `classes={list(names)}`"
            )
    return names


def _renamed(cell: pa.DictionaryArray, names: dict[str, str]) -> pa.Array:
    texts = [names.get(text, text) for text in cell.dictionary.to_pylist()]
    return pa.array(texts, pa.string()).take(cell.indices)


def _ids(index: pd.Index) -> pa.Array:
    """File, and of a segment `#start-end` in seconds; no end where it lasts as long as the file."""
    files = index.get_level_values("file").astype(str)
    if index.nlevels == 1:
        return pa.array(files, pa.string())
    whole, (start, end) = _whole(index), (index.get_level_values(name).total_seconds() for name in ("start", "end"))
    return pa.array(
        [
            file if all_of_it else f"{file}#{first!r}-{'' if np.isnan(last) else repr(last)}"
            for file, all_of_it, first, last in zip(files, whole, start.tolist(), end.tolist(), strict=True)
        ],
        pa.string(),
    )


def _whole(index: pd.Index) -> np.ndarray:
    """Whether each row (N,) is a whole file."""
    if index.nlevels == 1:
        return np.ones(len(index), dtype=bool)
    start, end = (index.get_level_values(name) for name in ("start", "end"))
    return np.asarray((start == pd.Timedelta(0)) & end.isna())


def _facts(database: Any, table: str, index: pd.Index, root: Any) -> dict[str, pa.Array]:
    """Recordings of whole files, and what columns of schemes of these names say."""
    found = {name: _fact(database, table, name, index) for name in (SPEAKER, GENDER, TEXT, DURATION)}
    facts = {name: pa.array(found[name].astype("string"), pa.string()) for name in (SPEAKER, GENDER, TEXT)}
    whole, files = _whole(index), index.get_level_values("file")
    if not whole.all():
        left_behind("`audio`", {"segments of files (null)": int((~whole).sum())})
    folder = root or database.root or ""
    paths = [os.path.join(folder, file) if all_of_it else None for file, all_of_it in zip(files, whole, strict=True)]
    stated = _seconds(found[DURATION])
    if index.nlevels > 1:
        length = (index.get_level_values("end") - index.get_level_values("start")).total_seconds()
        stated = np.where(np.isnan(stated), length.to_numpy(), stated)
    made = recordings(pa.array(paths, pa.string()), "audformat", durations=bool(np.isnan(stated[whole]).any()))
    told = pa.array(stated, pa.float32(), from_pandas=True)
    return {**facts, AUDIO: made[AUDIO], DURATION: pc.coalesce(told, made.get(DURATION, told))}


def _fact(database: Any, table: str, name: str, index: pd.Index) -> pd.Series:
    """Cells (N,) of the column of a scheme: of this table, else of a table of files; or a field of the speakers."""
    for other in (table, *database.tables):
        same, by_file = other == table, not database[other].is_segmented
        if same or (by_file and (name in OF_FILES or index.nlevels == 1)):
            column = _column(database, other, name)
            if column is not None:
                cells = database[other].df[column]
                return cells if same else cells.reindex(index.get_level_values("file"))
    if name == GENDER and SPEAKER in database.schemes:
        told = _genders(database, database.schemes[SPEAKER].labels)
        return _fact(database, table, SPEAKER, index).astype(object).map(told)
    return pd.Series([None] * len(index), dtype=object)


def _genders(database: Any, speakers: Any) -> dict[Any, str]:
    """Gender of every speaker, by the labels of their scheme: a mapping, or the table that these are in."""
    if isinstance(speakers, str):
        frame = database[speakers].df
        return dict(zip(frame.index, frame[GENDER], strict=True)) if GENDER in frame else {}
    named = speakers if isinstance(speakers, dict) else {}
    return {speaker: about[GENDER] for speaker, about in named.items() if isinstance(about, dict) and GENDER in about}


def _column(database: Any, table: str, scheme: str) -> str | None:
    """The column of a scheme that is no vote: the one called like it, or the only one."""
    found = [
        name
        for name, column in database[table].columns.items()
        if column.scheme_id == scheme and not _votes(database, column)
    ]
    return scheme if scheme in found else found[0] if len(found) == 1 else None


def _seconds(cells: pd.Series) -> np.ndarray:
    if pd.api.types.is_timedelta64_dtype(cells):
        return cells.dt.total_seconds().to_numpy()
    return pd.to_numeric(cells).to_numpy(np.float64, na_value=np.nan)
