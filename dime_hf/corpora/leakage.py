"""What splits share: speakers, dialogs, recordings, lines. How to see it, and how to drop it.

A kind of leak is the column it goes by; `keys` says what makes two values of it the same.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Mapping, Sequence

import datasets
import numpy as np

from dime_hf import columns
from dime_hf.columns import AUDIO, DIALOG, ID, SPEAKER, TEXT
from dime_hf.corpora.keys import KINDS, MIN_WORDS, as_tuple, read_keys, recurring
from dime_hf.corpora.splits import Corpus, as_one
from dime_hf.errors import ColumnError, CorpusError, did_you_mean
from dime_hf.stage import read_column

logger = logging.getLogger(__name__)
UNMATCHED = {
    SPEAKER: "of unknown speakers: may be anyone",
    DIALOG: "of no known dialog",
    AUDIO: "without a recording",
    TEXT: f"of fewer than {MIN_WORDS} words",
}


@dataclasses.dataclass(frozen=True)
class Leak:
    """What two splits share of one kind: every shared value, with the ids of its utterances in the one and the other.

    The value of a line is its words, the value of a recording a hash of its content.
    """

    kind: str
    splits: tuple[str, str]
    shared: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]

    def __len__(self) -> int:
        return len(self.shared)

    @property
    def rows(self) -> tuple[int, int]:
        """How many utterances of either split have a shared value."""
        first, second = zip(*self.shared.values(), strict=True)
        return sum(map(len, first)), sum(map(len, second))

    @property
    def example(self) -> str:
        """The first shared values, or for recordings the ids of two."""
        if self.kind == AUDIO:
            first, second = next(iter(self.shared.values()))
            return f"{first[0]} = {second[0]}"
        shown = ", ".join(itertools.islice(self.shared, 3))
        return shown if len(shown) <= 60 else f"{shown[:57]}..."


@dataclasses.dataclass(frozen=True)
class LeakageReport:
    """What every pair of splits shares; true when that is anything, and printed as a table.

    rows: how many each split has.
    kinds: what was compared.
    leaks: one for each kind and pair of splits that share something.
    unmatched: by kind and split, how many utterances have no value that could be compared.
    """

    rows: Mapping[str, int]
    kinds: tuple[str, ...]
    leaks: tuple[Leak, ...]
    unmatched: Mapping[str, Mapping[str, int]]

    def __bool__(self) -> bool:
        return bool(self.leaks)

    @property
    def clean(self) -> bool:
        """Whether no two splits share anything that was compared."""
        return not self.leaks

    def count(self, kind: str, first: str, second: str) -> int:
        """How many values of a kind the splits `first` and `second` share."""
        return sum(len(leak) for leak in self.leaks if leak.kind == kind and {*leak.splits} == {first, second})

    def to_drop(self, keep: str | Sequence[str] = "test") -> dict[str, frozenset[str]]:
        """Ids by split that must go so that nothing is shared, as `drop` does it; none of the splits `keep`."""
        gone: dict[str, set[str]] = {name: set() for name in self.rows}
        kept = self._kept(keep)
        others = [name for name in reversed(list(self.rows)) if name not in kept]
        others.sort(key=lambda name: name == "train")
        for position, loser in enumerate(others):
            for winner in [*kept, *others[:position]]:
                gone[loser] |= self._lost(loser, winner, gone[winner])
        return {name: frozenset(ids) for name, ids in gone.items()}

    def _kept(self, keep: str | Sequence[str]) -> tuple[str, ...]:
        kept = as_tuple(keep)
        for name in kept:
            if name not in self.rows:
                raise CorpusError(f"`keep`: there is no split {name!r}.{did_you_mean(name, self.rows)}")
        return kept

    def _lost(self, loser: str, winner: str, gone: set[str]) -> set[str]:
        """Ids of `loser` that share something with an utterance of `winner` which is not `gone` itself."""
        lost: set[str] = set()
        for leak in self.leaks:
            if {*leak.splits} == {loser, winner}:
                for pair in leak.shared.values():
                    ids = dict(zip(leak.splits, pair, strict=True))
                    if not gone.issuperset(ids[winner]):
                        lost.update(ids[loser])
        return lost

    def __str__(self) -> str:
        sizes = ", ".join(f"{name} ({size:,})" for name, size in self.rows.items())
        lines = [f"{sizes}; compared by {', '.join(self.kinds)}"]
        if self.clean:
            lines.append("no two splits share anything")
        else:
            lines.append(f"{'splits':<24}{'kind':<9}{'shared':>7}{'rows':>17}  e.g.")
        for leak in self.leaks:
            rows = " / ".join(f"{count:,}" for count in leak.rows)
            lines.append(f"{' / '.join(leak.splits):<24}{leak.kind:<9}{len(leak):>7,}{rows:>17}  {leak.example}")
        for kind, counts in self.unmatched.items():
            why = UNMATCHED.get(kind, f"without {kind}")
            lines += [f"{split}: {count:,} utterances {why}" for split, count in counts.items() if count]
        return "\n".join(lines)


def leakage(splits: datasets.DatasetDict, *, kinds: str | Sequence[str] = KINDS, audio: bool = True) -> LeakageReport:
    """Return what every pair of splits shares, by `kinds`; with `audio=False` no recording is touched.

    Unknown speakers match nobody and are counted apart. Only recordings of the same size are read. Further kinds may
    be any column of groups. Raises `ColumnError` where a column is missing, `AudioError` for a recording that cannot
    be read.
    """
    if not isinstance(splits, datasets.DatasetDict) or len(splits) < 2:
        raise ColumnError(f"`splits` must be a DatasetDict of two splits or more, not {type(splits).__name__}")
    kinds = tuple(kind for kind in as_tuple(kinds) if audio or kind != AUDIO)
    for name, split in splits.items():
        columns.require(split, ID, *kinds, argument=f"splits[{name!r}]")
    parts = list(splits.values())
    ids, keys = read_keys(parts, kinds)
    bounds = np.cumsum([0, *map(len, parts)])
    rows = {name: np.arange(start, end) for name, (start, end) in zip(splits, itertools.pairwise(bounds), strict=True)}
    found = [
        Leak(kind, pair, keys[kind].shared(ids, *(rows[name] for name in pair)))
        for pair in itertools.combinations(splits, 2)
        for kind in kinds
    ]
    return LeakageReport(
        rows={name: len(split) for name, split in splits.items()},
        kinds=kinds,
        leaks=tuple(leak for leak in found if len(leak)),
        unmatched={
            kind: {name: int((keys[kind].codes[own] < 0).sum()) for name, own in rows.items()} for kind in kinds
        },
    )


def drop(
    splits: datasets.DatasetDict,
    leaks: LeakageReport | str | Sequence[str] = KINDS,
    *,
    keep: str | Sequence[str] = "test",
) -> datasets.DatasetDict:
    """Return the splits without the utterances that share something with a split which is to be scored.

    `leaks` is the report of these splits, or the kinds to look at. The splits `keep` stay whole; of the others
    the train split gives way first, then the earlier to the later. How many went is logged, and
    `report.to_drop(keep)` says which. Raises `CorpusError` when a split would stay empty.
    """
    report = leaks if isinstance(leaks, LeakageReport) else leakage(splits, kinds=leaks)
    if report.rows != {name: len(split) for name, split in splits.items()}:
        raise CorpusError(f"`leaks` is the report of other splits, with the rows {dict(report.rows)}")
    gone = report.to_drop(keep)
    return datasets.DatasetDict({name: _without(name, split, gone[name]) for name, split in splits.items()})


def _without(name: str, split: datasets.Dataset, gone: frozenset[str]) -> datasets.Dataset:
    if not gone:
        return split
    rows = [row for row, id in enumerate(read_column(split, ID).to_pylist()) if id not in gone]
    if not rows:
        raise CorpusError(
            f"`splits`: nothing would be left of {name!r}, all its {len(split):,} utterances share something with "
            "another split; `regroup` and `leave_one_out` make splits that share less"
        )
    logger.warning("%s: dropped %s of %s utterances", name, f"{len(split) - len(rows):,}", f"{len(split):,}")
    return split.select(rows)


def duplicates(dataset: Corpus) -> list[list[str]]:
    """Return the groups of ids whose recordings are the same byte for byte, sorted.

    Raises `AudioError` for a recording that cannot be read; utterances without one are in no group.
    """
    dataset = as_one(dataset)
    columns.require(dataset, ID, AUDIO)
    ids, keys = read_keys([dataset], (AUDIO,))
    codes = keys[AUDIO].codes
    rows = np.flatnonzero(recurring(codes))
    rows = rows[np.argsort(codes[rows], kind="stable")]
    groups = np.split(ids[rows], np.flatnonzero(np.diff(codes[rows])) + 1) if len(rows) else []
    return sorted(sorted(group.tolist()) for group in groups)
