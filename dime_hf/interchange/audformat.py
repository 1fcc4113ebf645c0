"""audformat: a `Database` with a scheme of labels, every tick of every annotator, and the soft labels.

| table | index | columns |
|---|---|---|
| `utterances` | file | id, recorded, text, speaker, gender, session, dialog, duration, ratings, hard label, ... |
| `soft_label` | file | a share for each class |
| `votes` | id, vote, tick | annotator, kind, question (choices or secondary), label, note |

A vote without any choice has a row without a label. An utterance without a recording is called by its id, and not
`recorded`. How the votes are counted stands in `meta`, so that the labels come back as they were.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dime_hf import columns
from dime_hf.columns import AUDIO, DURATION, GENDER, HARD_LABEL, ID, SOFT_LABEL
from dime_hf.corpora.labels import LabelSet
from dime_hf.corpora.policy import TALLY_LINE, Tally, VotePolicy
from dime_hf.corpora.rows import fixed_lists
from dime_hf.corpora.votes import CastVotes
from dime_hf.errors import ColumnError, CorpusError, PackageError, did_you_mean
from dime_hf.interchange.exchange import (
    Exported,
    below,
    cast_votes,
    dataset_of,
    left_behind,
    lists,
    paths,
    recordings,
)
from dime_hf.stage import read_column

if TYPE_CHECKING:
    import audformat
    import pandas as pd

UTTERANCES, VOTES, META = "utterances", "votes", "dime_hf"
LEVELS = [ID, "vote", "tick"]
QUESTIONS = ("choices", "secondary")
RECORDED = "recorded"
TEXTS = (columns.TEXT, columns.SPEAKER, columns.SESSION, columns.DIALOG, columns.SOFT_LABEL_SOURCE)
NUMBERS = (DURATION, columns.ACTIVATION, columns.VALENCE, columns.DOMINANCE, columns.SOFT_LABEL_VOTES)
EMOTION, CLASS, SHARE = "emotion", "class", "share"  # schemes: labels of votes, classes, shares
CARRIED = {ID, AUDIO, GENDER, HARD_LABEL, SOFT_LABEL, columns.HUMAN_VOTES, columns.VOTE_COUNTS, *TEXTS, *NUMBERS}


def to_audformat(
    dataset: datasets.Dataset, name: str, *, root: str | os.PathLike[str] | None = None, languages: Sequence[str] = ()
) -> audformat.Database:
    """Return a dataset as an audformat database called `name`, which refers to recordings and holds none.

    With `root`, files are called as in that folder, so that the database can be saved there and moved with it; save
    it by `database.save(folder, storage_format="parquet")`, since CSV makes empty texts missing ones. Columns of later
    stages (answers, intervals, mixes) have no place and are named in a warning. Raises `ColumnError` for a recording
    outside `root` or of two utterances; `PackageError` without audformat.
    """
    audformat = _audformat()
    exported, tally = Exported.read(dataset), Tally.read(dataset)
    left = [name for name in dataset.column_names if name not in CARRIED]
    left_behind("audformat", {f"columns ({', '.join(left)})": len(left)})
    about = [line for line in (dataset.info.description or "").splitlines() if not line.startswith(TALLY_LINE)]
    database = audformat.Database(
        name,
        source=dataset.info.homepage or "",
        usage=audformat.define.Usage.RESTRICTED,
        languages=list(languages),
        description="\n".join(about),
        license=dataset.info.license or None,
        meta={
            META: {"policy": dataclasses.asdict(tally.policy), "merge": [list(pair) for pair in tally.label_set.merge]}
        },
    )
    _add_schemes(database, tally, dataset)
    index, recorded = _files(dataset, exported.ids, root)
    with _deprecations():
        _add_utterances(database, audformat.filewise_index(index), recorded, dataset)
        _add_soft_labels(database, audformat.filewise_index(index), dataset)
        _add_votes(database, exported)
    return database


def from_audformat(
    database: audformat.Database,
    root: str | os.PathLike[str] | None = None,
    *,
    table: str | None = None,
    scheme: str | None = None,
    classes: Sequence[str] | None = None,
) -> datasets.Dataset:
    """Return a database as a dataset; files lie in `root` (default: where it was loaded), others are null, as is said.

    One that `to_audformat` made comes back as it was. In any other, a `table` has a column of labels of a `scheme` for
    each human rater; both may be left out where only one fits. Gold standards and columns without a rater are no
    votes. Labels get house names (anger: angry), or are kept as they are where `classes` says what could be voted for.
    A segment's id is `file#start-end` in seconds, and its `audio` null. Raises `CorpusError` and `ColumnError`.
    """
    _audformat()
    if META in database.meta:
        given = {"table": table, "scheme": scheme, "classes": classes}
        for name in (name for name, value in given.items() if value is not None):
            raise CorpusError(
                f"`{name}` is for databases that `to_audformat` did not make, as it did {database.name!r}"
            )
        made = _read_own(database, root)
    else:
        from dime_hf.interchange.audformat_votes import read_votes

        with _deprecations():
            made = read_votes(database, root, table, scheme, classes)
    made.info.license, made.info.homepage = database.license or "", database.source or ""
    return made


def _read_own(database: Any, root: str | os.PathLike[str] | None) -> datasets.Dataset:
    """What `to_audformat` made; raise `CorpusError` for a table that is gone."""
    for table in (UTTERANCES, SOFT_LABEL, VOTES):
        if table not in database:
            tables = [*database.tables, *database.misc_tables]
            raise CorpusError(f"`database` {database.name!r} has no table {table!r}.{did_you_mean(table, tables)}")
    with _deprecations():
        facts, votes = database[UTTERANCES].df, database[VOTES].df.reset_index()
        shares = database[SOFT_LABEL].df[list(database.schemes[CLASS].labels)].loc[facts.index]
    ids = pa.array(facts[ID], pa.string())
    labels = tuple(database.schemes[EMOTION].labels)
    policy, merge = (database.meta[META][name] for name in ("policy", "merge"))
    label_set = LabelSet(tuple(database.schemes[CLASS].labels), tuple((raw, name) for raw, name in merge))
    tally = Tally(VotePolicy(**policy), label_set, labels)
    cast = _read_votes(votes, ids, labels, database.name)
    known = _facts(facts, shares, tally, root or database.root)
    return dataset_of(ids, cast, known, database.description or "", tally)


def _audformat() -> Any:
    try:
        import audformat
    except ImportError as error:
        raise PackageError("An audformat database", "audformat", "interchange") from error
    return audformat


@contextmanager
def _deprecations() -> Iterator[None]:
    """audformat 1.4 passes what pandas 3 gives up: https://pandas.pydata.org/pdeps/0008-inplace-methods-in-pandas"""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"The (copy|inplace) keyword", DeprecationWarning)
        yield


def _add_schemes(database: Any, tally: Tally, dataset: datasets.Dataset) -> None:
    """One scheme for the labels of votes, one for classes, and one for each kind of other columns."""
    audformat = _audformat()
    gender = audformat.define.Gender
    known = [gender.FEMALE, gender.MALE, gender.OTHER, gender.CHILD]
    found = pc.unique(read_column(dataset, GENDER)).drop_null().to_pylist() if GENDER in dataset.column_names else []
    labels = {EMOTION: tally.inventory, CLASS: tally.classes, "kind": (columns.EXTERNAL, columns.SELF)}
    labels |= {"question": QUESTIONS, GENDER: (*known, *sorted(set(found) - set(known)))}
    for scheme, names in labels.items():
        database.schemes[scheme] = audformat.Scheme(labels=list(names))
    database.schemes[SHARE] = audformat.Scheme("float", minimum=0, maximum=1)
    for scheme, dtype in (("text", "str"), ("number", "float"), ("bool", "bool")):
        database.schemes[scheme] = audformat.Scheme(dtype)
    database.raters[VOTES] = audformat.Rater(audformat.define.RaterType.VOTE)


def _files(
    dataset: datasets.Dataset, ids: pa.Array, root: str | os.PathLike[str] | None
) -> tuple[list[str], list[bool]]:
    """What every utterance's file is called, and whether there is one."""
    found = paths(dataset)
    named = [
        id if path is None else path if root is None else below(path, root)
        for path, id in zip(found, ids.to_pylist(), strict=True)
    ]
    if len(set(named)) < len(named):
        again = next(name for name in named if named.count(name) > 1)
        raise ColumnError(f"`dataset` has the file {again!r} twice: a database goes by files")
    return named, [path is not None for path in found]


def _add_utterances(database: Any, index: Any, recorded: list[bool], dataset: datasets.Dataset) -> None:
    schemes = {ID: "text", **dict.fromkeys(TEXTS, "text"), GENDER: GENDER, **dict.fromkeys(NUMBERS, "number")}
    values = {name: read_column(dataset, name).to_pylist() for name in schemes if name in dataset.column_names}
    names = columns.classes(dataset)
    hard = read_column(dataset, HARD_LABEL).to_pylist()
    values[HARD_LABEL] = [None if place is None else names[place] for place in hard]
    values[RECORDED] = recorded
    _add_table(database, UTTERANCES, index, values, {**schemes, HARD_LABEL: CLASS, RECORDED: "bool"})


def _add_soft_labels(database: Any, index: Any, dataset: datasets.Dataset) -> None:
    names = columns.classes(dataset)
    nothing = [None] * len(names)
    rows = [row or nothing for row in read_column(dataset, SOFT_LABEL).to_pylist()]
    values = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    _add_table(database, SOFT_LABEL, index, values, dict.fromkeys(names, SHARE), rater=VOTES)


def _add_votes(database: Any, exported: Exported) -> None:
    """A row a tick: choices, then secondary ones; a row without a label for a vote without any."""
    import pandas as pd

    cast = exported.votes
    answers = cast.answers.take(pa.array(cast.answer))
    found = [_ticks(answers.field(name), number) for number, name in enumerate(QUESTIONS)]
    blank = np.setdiff1d(np.arange(len(answers)), np.concatenate([vote for vote, _, _ in found]))
    found.append((blank, np.full(len(blank), -1), np.full(len(blank), -1)))
    vote, question, label = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(vote, kind="stable")
    vote, question, label = vote[order], question[order], label[order]
    row = cast.row[vote]
    ids = exported.ids.take(pa.array(row)).to_pylist()
    numbers = vote - np.searchsorted(cast.row, row), np.arange(len(vote)) - np.searchsorted(vote, vote)
    levels = [pd.array(ids, "string"), *(pd.array(number, "Int64") for number in numbers)]
    asked, texts, taken = [*QUESTIONS, None], [*cast.inventory, None], answers.take(pa.array(vote))  # -1 is the last
    values = {
        "annotator": cast.annotator.take(pa.array(vote)).to_pylist(),
        "kind": taken.field("kind").to_pylist(),
        "question": [asked[place] for place in question],
        "label": [texts[place] for place in label],
        "note": taken.field("note").to_pylist(),
    }
    schemes = {"annotator": "text", "kind": "kind", "question": "question", "label": EMOTION, "note": "text"}
    _add_table(database, VOTES, pd.MultiIndex.from_arrays(levels, names=LEVELS), values, schemes)


def _ticks(chosen: pa.ListArray, question: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Vote, question and label (T,) of every tick of a question."""
    vote = np.repeat(np.arange(len(chosen)), pc.fill_null(pc.list_value_length(chosen), 0).to_numpy())
    return vote, np.full(len(vote), question), chosen.flatten().to_numpy(zero_copy_only=False).astype(np.int64)


def _add_table(
    database: Any,
    name: str,
    index: pd.Index,
    values: Mapping[str, Sequence[Any]],
    schemes: Mapping[str, str],
    rater: str | None = None,
) -> None:
    """Add a table of columns (M,) under their schemes: one of files, or a miscellaneous one."""
    audformat = _audformat()
    kind = audformat.Table if list(index.names) == ["file"] else audformat.MiscTable
    table = database[name] = kind(index)
    for column, cells in values.items():
        table[column] = audformat.Column(scheme_id=schemes[column], rater_id=rater)
        table[column].set(cells)


def _read_votes(votes: pd.DataFrame, ids: pa.Array, labels: Sequence[str], name: str) -> CastVotes:
    votes = votes.sort_values(LEVELS, kind="stable")
    row = pc.index_in(pa.array(votes[ID], pa.string()), ids)
    if row.null_count:
        unknown = votes[ID].iloc[pc.index(row.is_null(), True).as_py()]
        raise CorpusError(f"`database` {name!r} has votes on {unknown!r}, which is no id of {UTTERANCES!r}")
    number = row.to_numpy().astype(np.int64) * (len(votes) + 1) + votes["vote"].rank(method="dense").to_numpy(np.int64)
    _, first, vote = np.unique(number, return_index=True, return_inverse=True)
    place = (
        pc.index_in(pa.array(votes["label"].astype(object), pa.string()), pa.array(labels)).fill_null(-1).to_numpy()
    )
    question = votes["question"].astype(object).to_numpy()
    choices, secondary = (
        lists(vote[mask], place[mask], len(first)) for mask in (question == each for each in QUESTIONS)
    )
    annotator, kind, note = (
        pa.array(votes[column].astype(object).iloc[first], pa.string()) for column in ("annotator", "kind", "note")
    )
    return cast_votes(labels, len(ids), row.to_numpy()[first], annotator, choices, secondary, kind, note)


def _facts(facts: pd.DataFrame, shares: pd.DataFrame, tally: Tally, root: Any) -> dict[str, pa.Array]:
    """All columns that do not follow from the votes, or that a later stage may have replaced."""
    found = {name: pa.array(facts[name].astype(object), pa.string()) for name in (*TEXTS, GENDER) if name in facts}
    found |= {name: pa.array(facts[name], pa.float32()) for name in NUMBERS if name in facts}
    found[HARD_LABEL] = pc.index_in(pa.array(facts[HARD_LABEL].astype(object), pa.string()), pa.array(tally.classes))
    values = shares.to_numpy(dtype=np.float64, na_value=np.nan)
    found[SOFT_LABEL] = fixed_lists(values, ~np.isnan(values).any(-1))
    recorded = zip(facts.index, facts[RECORDED], strict=True)
    absolute = [os.path.join(root or "", file) if there else None for file, there in recorded]
    return found | recordings(pa.array(absolute, pa.string()), "audformat", durations=DURATION not in facts)
