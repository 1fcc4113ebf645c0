"""The data of a report: what its splits hold, who voted how, and what annotation left undone."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dime_hf import columns
from dime_hf.columns import ANSWERS, OK, REFERENCE_COUNTS, SOFT_LABEL, VOTE_COUNTS
from dime_hf.corpora.policy import TALLY_LINE
from dime_hf.distribution import Array, entropy, krippendorff_alpha
from dime_hf.errors import ColumnError, DistributionError
from dime_hf.pool.panel import Answers
from dime_hf.protocol.reference import by_class, made_rows
from dime_hf.report.blocks import Block, Cell, Section, Table, Text, count, number, percent
from dime_hf.report.figures import bars, draw
from dime_hf.score import LEVELS, ambiguity_levels
from dime_hf.stage import read_column

NO_LEVEL = ""


@dataclasses.dataclass(frozen=True)
class Split:
    """A split as a report reads it: `kept` votes, those `held_out` and `pooled` labels are (N, C), NaN where null.

    human: all votes (N, C), zeros where nobody voted. level: (N,) of ambiguity, by the kept votes.
    """

    name: str
    rows: datasets.Dataset
    classes: tuple[str, ...]
    kept: Array
    held_out: Array | None
    pooled: Array | None

    @classmethod
    def read(cls, name: str, rows: datasets.Dataset) -> Split:
        columns.require(rows, columns.ID, columns.HARD_LABEL, VOTE_COUNTS, argument=name)
        if not isinstance(rows, datasets.Dataset) or not len(rows):
            raise ColumnError(f"`data`: {name!r} must be a dataset with at least one row, not a {type(rows).__name__}")
        held_out, pooled = (
            by_class(rows, column) if column in rows.column_names else None
            for column in (REFERENCE_COUNTS, SOFT_LABEL)
        )
        return cls(name, rows, columns.classes(rows), by_class(rows, VOTE_COUNTS), held_out, pooled)

    @functools.cached_property
    def human(self) -> Array:
        both = np.nan_to_num(self.kept)
        return both if self.held_out is None else both + np.nan_to_num(self.held_out)

    @functools.cached_property
    def voted(self) -> Any:
        """Rows (N,) that humans voted on."""
        return self.human.sum(-1) > 0

    @functools.cached_property
    def shares(self) -> Array:
        """Shares (N, C) of all human votes, NaN where there is none."""
        totals = self.human.sum(-1, keepdims=True)
        return np.where(totals > 0, self.human / np.where(totals > 0, totals, 1), np.nan)

    @functools.cached_property
    def entropy(self) -> Array:
        """Entropy (N,) in bits of all human votes."""
        return entropy(self.shares)

    @functools.cached_property
    def level(self) -> Any:
        votes, found = np.nan_to_num(self.kept), np.full(len(self.rows), NO_LEVEL, dtype=object)
        known = votes.sum(-1) > 0
        if known.any():
            found[known] = ambiguity_levels(votes[known])
        return found

    @functools.cached_property
    def proxies(self) -> Array | None:
        """Mean (N, C) of the valid answers by their votes, NaN where there is none."""
        if ANSWERS not in self.rows.column_names:
            return None
        given = Answers.read(read_column(self.rows, ANSWERS), len(self.rows), len(self.classes))
        votes = np.bincount(given.row, given.votes, len(self.rows))[:, None]
        sums = np.zeros((len(self.rows), len(self.classes)))
        np.add.at(sums, given.row, given.votes[:, None] * given.distribution)
        return np.where(votes > 0, sums / np.where(votes > 0, votes, 1), np.nan)

    def known(self, column: str) -> int | None:
        """How many rows have a value; None where there is no such column."""
        if column not in self.rows.column_names:
            return None
        return len(self.rows) - read_column(self.rows, column).null_count


def read_splits(data: Any) -> dict[str, Split]:
    """Read a dataset or several; raise `ColumnError` or `DistributionError` for what is none."""
    if isinstance(data, datasets.Dataset):
        data = {str(data.split or "all"): data}
    if not isinstance(data, Mapping) or not data:
        raise ColumnError(f"`data` must be a dataset, or several by name, not {type(data).__name__}")
    splits = {str(name): Split.read(str(name), rows) for name, rows in data.items()}
    if len({split.classes for split in splits.values()}) > 1:
        sets = {name: split.classes for name, split in splits.items()}
        raise DistributionError(f"`data`: the splits are over different classes: {sets}")
    return splits


def licences(splits: Mapping[str, Split]) -> str:
    """The licences that the datasets name."""
    names = dict.fromkeys(split.rows.info.license or "not known" for split in splits.values())
    return "; ".join(names)


def corpus_section(splits: Mapping[str, Split]) -> Section:
    """What the splits hold."""
    first = next(iter(splits.values()))
    described = (first.rows.info.description or "").splitlines()
    about = [line for line in described if not line.startswith(TALLY_LINE)][:1]
    blocks: list[Block] = [Text(f"{' '.join(about)} Licence of the data: {licences(splits)}.".strip())]
    blocks += [_sizes(splits), _masses(splits), _mass_figure(splits), _levels(splits), _votes(splits)]
    if any(ANSWERS in split.rows.column_names for split in splits.values()):
        blocks += _annotation(splits)
    return Section("data", "Data", tuple(blocks))


def facts(split: Split) -> dict[str, Any]:
    """What is counted of a split; None where the data do not say."""
    voted, bits = split.human[split.voted], split.entropy[split.voted]
    speakers = split.known(columns.SPEAKER)
    return {
        "utterances": len(split.rows),
        "recordings": split.known(columns.AUDIO),
        "decided": split.known(columns.HARD_LABEL),
        "speakers": len(set(read_column(split.rows, columns.SPEAKER).drop_null().to_pylist())) if speakers else None,
        "votes": float(split.human.sum()),
        "votes_each": float(voted.sum() / len(voted)) if len(voted) else None,
        "krippendorff_alpha": krippendorff_alpha(voted) if len(voted) else None,
        "entropy_bits": float(bits.mean()) if len(bits) else None,
        "made": int(made_rows(split.rows).sum()),
        "class_mass": dict(zip(split.classes, _mass(split), strict=True)),
        "levels": {level: int((split.level == level).sum()) for level in LEVELS},
    }


def _mass(split: Split) -> list[float]:
    """Share (C,) of each class in the human votes."""
    shares: list[float] = (split.human.sum(0) / max(split.human.sum(), 1)).tolist()
    return shares


def _sizes(splits: Mapping[str, Split]) -> Table:
    digits = {"votes_each": 2, "krippendorff_alpha": 3, "entropy_bits": 3}
    heads = {
        "utterances": "utterances", "recordings": "recordings", "decided": "decided", "speakers": "speakers",
        "votes": "votes", "votes_each": "votes each", "krippendorff_alpha": "alpha", "entropy_bits": "entropy, bits",
        "made": "made",
    }  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for split in splits.values():
        found = facts(split)
        rows.append((split.name, *(number(found[name], digits.get(name, 0)) for name in heads)))
    note = (
        "Votes are of humans, held-out ones among them; votes each: of utterances with a vote. Decided: with a hard "
        "label. Alpha: Krippendorff's, 1 is perfect agreement and 0 what chance gives. Made: rows of DiME-Aug, on "
        "which nobody voted. A dash: the data do not say."
    )
    return Table("What the splits hold", ("split", *heads.values()), tuple(rows), note)


def _masses(splits: Mapping[str, Split]) -> Table:
    shares = [_mass(split) for split in splits.values()]
    names = next(iter(splits.values())).classes
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name, *(percent(share[place]) for share in shares)) for place, name in enumerate(names)
    )
    return Table("Class mass: share of the human votes", ("class", *splits), rows)


def _mass_figure(splits: Mapping[str, Split]) -> Any:
    names = next(iter(splits.values())).classes
    shares = {name: _mass(split) for name, split in splits.items()}

    def plot(canvas: Any) -> None:
        axes = canvas.subplots()
        bars(axes, names, shares)
        axes.set_ylabel("share of the human votes")

    said = "; ".join(f"{split}: {_listed(names, share)}" for split, share in shares.items())
    return draw("class-mass", "Share of the human votes by class", f"Bars of the class mass. {said}.", plot)


def _listed(names: Any, shares: Any) -> str:
    return ", ".join(f"{name} {100 * share:.1f} %" for name, share in zip(names, shares, strict=True))


def _levels(splits: Mapping[str, Split]) -> Table:
    """How many utterances each level has, and what entropies."""
    rows: list[Any] = []
    for split in splits.values():
        bits = entropy(np.nan_to_num(split.kept) / np.maximum(np.nan_to_num(split.kept).sum(-1, keepdims=True), 1e-12))
        for level in LEVELS:
            inside = split.level == level
            if inside.any():
                ends = [number(end).text for end in (bits[inside].min(), bits[inside].max())]
                rows.append((split.name, level, count(int(inside.sum())), f"{ends[0]} to {ends[1]}"))
    note = (
        "Terciles of the entropy of the votes that labels see. A few votes allow few entropies: levels differ in size."
    )
    return Table("Levels of ambiguity", ("split", "level", "utterances", "entropy, bits"), tuple(rows), note)


def _votes(splits: Mapping[str, Split]) -> Table:
    """How many utterances have how many votes; the fewer there are, the less is known of any."""
    totals = {name: collections.Counter(split.human.sum(-1).round(2).tolist()) for name, split in splits.items()}
    numbers = sorted(set().union(*totals.values()))
    if len(numbers) > 12:
        cuts = sorted({float(cut) for cut in np.quantile(numbers, np.linspace(0, 1, 9), method="nearest")})
        spans = [(low, high) for low, high in zip([-1.0, *cuts], cuts, strict=False)]
    else:
        spans = [(one - 1e-9, one) for one in numbers]
    rows: list[tuple[Cell, ...]] = []
    for low, high in spans:
        inside = [one for one in numbers if low < one <= high]
        label = f"{inside[0]:g}" if len(inside) == 1 else f"{inside[0]:g} to {inside[-1]:g}"
        rows.append((label, *(count(sum(total[one] for one in inside)) for total in totals.values())))
    return Table("Utterances by number of human votes", ("votes", *splits), tuple(rows))


def _annotation(splits: Mapping[str, Split]) -> list[Block]:
    """Answers and failures of every proxy."""
    given = [read_column(split.rows, ANSWERS) for split in splits.values() if ANSWERS in split.rows.column_names]
    answers = pa.concat_arrays([cells.flatten() for cells in given])
    failed = pc.not_equal(answers.field("status"), OK)
    off = pc.if_else(failed, None, answers.field("off_option"))
    found = pa.table({"proxy": answers.field("proxy"), "failed": failed, "off": off}).group_by("proxy")
    counted = found.aggregate([("failed", "count"), ("failed", "sum"), ("off", "mean")]).sort_by("proxy").to_pylist()
    table = Table(
        "Answers of the proxies, and failures",
        ("proxy", "answers", "failed", "share failed", "off the options"),
        tuple(
            (
                one["proxy"], count(one["failed_count"]), count(one["failed_sum"]),
                percent(one["failed_sum"] / one["failed_count"]), number(one["off_mean"], 4),
            )
            for one in counted
        ),
        "A failed answer weighs nothing. Off the options: mean probability outside the answer options.",
    )  # fmt: skip
    errors = answers.field("error").filter(failed).fill_null("not said").value_counts().to_pylist()
    if not errors:
        return [table]
    errors.sort(key=lambda one: -one["counts"])
    shown = tuple((one["values"][:200], count(one["counts"])) for one in errors[:5])
    more = f"{len(errors):,} different errors in all." if len(errors) > 5 else ""
    return [table, Table("Why answers failed", ("error", "answers"), shown, more)]
