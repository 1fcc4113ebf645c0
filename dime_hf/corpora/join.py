"""Several corpora as one dataset: one label set, one inventory, and every row still says where it is from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Value

from dime_hf import columns
from dime_hf.columns import ACTIVATION, CORPUS, DIALOG, DOMINANCE, HUMAN_VOTES, ID, SESSION, SPEAKER, VALENCE
from dime_hf.corpora.derive import ROWS_A_BATCH, derive
from dime_hf.corpora.policy import Tally, VotePolicy
from dime_hf.corpora.votes import CastVotes
from dime_hf.errors import ColumnError, CorpusError
from dime_hf.stage import add_columns, read_column

GROUPS = (SPEAKER, SESSION, DIALOG)
RATINGS = (ACTIVATION, VALENCE, DOMINANCE)


def join(
    corpora: Mapping[str, datasets.Dataset],
    label_set: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    vote_policy: VotePolicy | str | None = None,
    *,
    rows: str = "voted",
    ratings: Literal["drop", "keep"] | None = None,
) -> datasets.Dataset:
    """Bring datasets to one label set and put them one after the other; `corpora` maps a name to each.

    label_set: what `load_dataset` takes, over the raw labels of all; None where the datasets agree on theirs.
    vote_policy: for all; None for the policy that each was loaded with. `rows` are chosen as in `derive`.
    ratings: corpora rate activation, valence and dominance on different scales: where several do, say whether to
        "drop" or to "keep" them.

    The column `corpus` has the name, which also starts every `speaker`, `session`, `dialog` and annotator
    ("iemocap:Ses01F"), so that no group spans two corpora; an `id` is unique within its corpus. Labels are counted
    anew from the votes.
    Raises `ColumnError` for columns of different types, a repeated id, or ratings of several corpora.
    """
    if not corpora:
        raise CorpusError("`corpora` is empty: give a mapping from names to datasets")
    for name, dataset in corpora.items():
        _check(name, dataset)
    _check_ratings(corpora, ratings)
    _check_types(corpora)
    tallies = {name: Tally.read(dataset) for name, dataset in corpora.items()}
    inventory = columns.in_house_order(raw for tally in tallies.values() for raw in tally.inventory)
    wanted = _shared(tallies) if label_set is None else label_set
    parts = {
        name: derive(
            _widen(dataset, name, tallies[name].inventory, inventory, ratings == "drop"),
            tallies[name].policy if vote_policy is None else vote_policy,
            wanted,
            rows,
        )
        for name, dataset in corpora.items()
    }
    return _concatenate(parts)


def _check(name: str, dataset: datasets.Dataset) -> None:
    """Refuse a dataset that cannot be joined."""
    argument = f"corpora[{name!r}]"
    columns.require(dataset, ID, HUMAN_VOTES, argument=argument)
    if not isinstance(dataset, datasets.Dataset):
        raise ColumnError(f"`{argument}` is a stream ({type(dataset).__name__}): load it without `streaming=True`")
    if CORPUS in dataset.column_names:
        raise ColumnError(f"`{argument}` has a column {CORPUS!r}: join the corpora that it was made of, or rename it")
    ids = read_column(dataset, ID)
    counts = pc.value_counts(ids)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    if len(repeated):
        raise ColumnError(f"`{argument}` has {len(repeated):,} ids more than once, first {repeated[0].as_py()!r}")


def _check_ratings(corpora: Mapping[str, datasets.Dataset], ratings: str | None) -> None:
    if ratings not in ("drop", "keep", None):
        raise CorpusError(f"`ratings` is {ratings!r}: give 'drop', 'keep' or None")
    for rating in RATINGS if ratings is None else ():
        rated = [
            name
            for name, dataset in corpora.items()
            if rating in dataset.column_names and read_column(dataset, rating).null_count < len(dataset)
        ]
        if len(rated) > 1:
            raise ColumnError(
                f"{' and '.join(rated)} have {rating!r}, which may be on different scales: "
                "give `ratings='drop'`, or `ratings='keep'` if they are on one"
            )


def _check_types(corpora: Mapping[str, datasets.Dataset]) -> None:
    """Raise `ColumnError` for a column that has another type in another corpus; labels are made anew."""
    made = {HUMAN_VOTES, *columns.label_features(("x", "y"))}
    first: dict[str, tuple[str, Any]] = {}
    for corpus, dataset in corpora.items():
        for name, feature in dataset.features.items():
            other, known = first.setdefault(name, (corpus, feature))
            if name not in made and known != feature:
                raise ColumnError(f"the column {name!r} is {known} in {other}, but {feature} in {corpus}: cast one")


def _shared(tallies: Mapping[str, Tally]) -> dict[str, list[str]]:
    """The label set that all corpora have, as a mapping from classes to the raw labels of any."""
    first = next(iter(tallies))
    classes = tallies[first].classes
    inside: dict[str, str | None] = {}
    for name, other in tallies.items():
        merge = dict(other.label_set.merge)
        own = {raw: merge.get(raw) for raw in other.inventory}
        if other.classes != classes or any(inside.get(raw, own[raw]) != own[raw] for raw in own):
            raise CorpusError(
                f"`label_set` is needed: {first} has the classes {', '.join(classes)}, and {name} has "
                f"{', '.join(other.classes)} or merges other labels into them"
            )
        inside |= own
    return {name: [raw for raw, into in inside.items() if into == name] for name in classes}


def _widen(
    dataset: datasets.Dataset, name: str, old: Sequence[str], inventory: Sequence[str], unrated: bool
) -> datasets.Dataset:
    """The dataset with its votes over a larger inventory, and with the name of its corpus."""
    text = Value("string")
    groups = [group for group in GROUPS if group in dataset.column_names]
    rated = [rating for rating in RATINGS if unrated and rating in dataset.column_names]
    features = columns.corpus_features(("x", "y"), inventory)
    writes = {HUMAN_VOTES: features[HUMAN_VOTES], CORPUS: text} | dict.fromkeys(groups, text)
    widen = _Widen(name, tuple(old), tuple(inventory), tuple(groups), tuple(rated))
    return add_columns(
        dataset,
        widen,
        reads=[HUMAN_VOTES, *groups],
        writes=writes | {rating: features[rating] for rating in rated},
        batch_format="arrow",
        batch_size=ROWS_A_BATCH,
        desc=f"Joining {name}",
    )


@dataclasses.dataclass(frozen=True)
class _Widen:
    """The map of `_widen`."""

    name: str
    old: tuple[str, ...]
    inventory: tuple[str, ...]
    groups: tuple[str, ...]
    unrated: tuple[str, ...]

    def __call__(self, batch: pa.Table) -> pa.Table:
        votes = CastVotes.read(batch[HUMAN_VOTES], self.old)
        kind, choices, secondary, note = votes.answers.flatten()
        answers = [kind, self._places(choices), self._places(secondary), note]
        names = [field.name for field in votes.answers.type]
        widened = dataclasses.replace(
            votes,
            answers=pa.StructArray.from_arrays(answers, names=names),
            annotator=self._named(votes.annotator),
        )
        made = {
            HUMAN_VOTES: widened.column(batch.schema.field(HUMAN_VOTES).type),
            CORPUS: pa.repeat(self.name, len(batch)),
        }
        made |= {group: self._named(batch[group]) for group in self.groups}
        return pa.table(made | {rating: pa.nulls(len(batch), pa.float32()) for rating in self.unrated})

    def _named(self, values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """Strings that start with the name of the corpus; null stays null."""
        return pc.binary_join_element_wise(self.name, values, ":")

    def _places(self, lists: pa.ListArray) -> pa.ListArray:
        """Lists of places in the old inventory, as places in the new one."""
        place = pa.array([self.inventory.index(raw) for raw in self.old], type=pa.int64())
        ends = np.cumsum(pc.fill_null(pc.list_value_length(lists), 0).to_numpy())
        return pa.ListArray.from_arrays(pa.array([0, *ends], type=pa.int32()), place.take(lists.flatten()))


def _concatenate(parts: Mapping[str, datasets.Dataset]) -> datasets.Dataset:
    """One dataset of all, whose description has a line a corpus, and the tally if it is one for all."""
    tallies = {name: Tally.read(part) for name, part in parts.items()}
    if len({frozenset(tally.label_set.merge) for tally in tallies.values()}) > 1:
        raise CorpusError(
            "the policies of the corpora disagree on labels `outside` the label set: give one `vote_policy`"
        )
    joined = datasets.concatenate_datasets(list(parts.values()))
    contract = [name for name in (*columns.corpus_features((), ()), CORPUS) if name in joined.column_names]
    joined = joined.select_columns(list(dict.fromkeys([*contract, *joined.column_names])))
    lines = [_provenance(name, part, tallies[name].policy) for name, part in parts.items()]
    tally, *others = dict.fromkeys(tallies.values())
    joined.info.description = "\n".join([*lines, *([] if others else [tally.describe()])])
    joined.info.license = "; ".join(f"{name}: {part.info.license or 'not known'}" for name, part in parts.items())
    return joined


def _provenance(name: str, part: datasets.Dataset, policy: VotePolicy) -> str:
    about = (part.info.description or "").partition("\n")[0]
    fields = json.dumps(dataclasses.asdict(policy))
    return f"{name}: {about} Licence: {part.info.license or 'not known'}. Vote policy: {fields}"
