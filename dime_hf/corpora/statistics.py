"""What is in a corpus: the table of its statistics, and its counts beside the published ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dime_hf import columns
from dime_hf.corpora.derive import derive
from dime_hf.corpora.published import Release
from dime_hf.distribution import UNDECIDED, Array, entropy, krippendorff_alpha, normalize
from dime_hf.stage import read_column


def describe(splits: Mapping[str, datasets.Dataset]) -> str:
    """Return a table of utterances, recordings, votes, agreement, ambiguity and class mass, a line a split."""
    names = columns.classes(next(iter(splits.values())))
    head = f"{'split':<12}{'rows':>9}{'audio':>9}{'votes':>11}{'decided':>9}{'alpha':>7}{'bits':>7}"
    lines = [_line(name, split) for name, split in splits.items()]
    return "\n".join([f"{head}  share of votes: {' '.join(names)}", *lines])


def _line(name: str, split: datasets.Dataset) -> str:
    counts = vote_counts(split)
    voted = counts[counts.sum(-1) > 0]
    bits = entropy(normalize(voted)).mean() if len(voted) else float("nan")
    recordings, decided = (len(split) - _nulls(split, column) for column in (columns.AUDIO, columns.HARD_LABEL))
    shares = " ".join(f"{share:.3f}" for share in counts.sum(0) / max(counts.sum(), 1))
    return (
        f"{name:<12}{len(split):>9,}{recordings:>9,}{counts.sum():>11,.0f}{decided:>9,}"
        f"{krippendorff_alpha(counts):>7.3f}{bits:>7.3f}  {shares}"
    )


def vote_counts(split: datasets.Dataset) -> Array:
    """(N, C) vote counts of a dataset."""
    column = split.select_columns([columns.VOTE_COUNTS]).with_format("numpy")[:][columns.VOTE_COUNTS]
    return np.asarray(column, dtype=float).reshape(len(split), len(columns.classes(split)))


def _nulls(split: datasets.Dataset, column: str) -> int:
    return read_column(split, column).null_count


def measure(splits: Mapping[str, datasets.Dataset]) -> dict[str, int]:
    """Counts of a corpus by the names that `published` uses: utterances, official labels and votes."""
    found: dict[str, int] = {}
    for name, split in splits.items():
        classes, labels = columns.classes(split), read_column(split, columns.HARD_LABEL)
        found[f"{name}: utterances"] = len(split)
        found[f"{name}: undecided"] = labels.null_count
        decided = np.bincount(labels.drop_null().to_numpy(), minlength=len(classes)).tolist()
        found.update({f"{name}: {label}": number for label, number in zip(classes, decided, strict=True)})
        for label, votes in zip(classes, vote_counts(split).sum(0), strict=True):
            found[f"votes: {label}"] = found.get(f"votes: {label}", 0) + round(votes)
    return found


@dataclasses.dataclass(frozen=True)
class Check:
    """A corpus beside the published release that it is most like."""

    release: Release
    deviations: dict[str, tuple[int, int]]  # what, published, found
    unlike_votes: list[str]  # ids whose official label is not the plurality of their votes

    def __bool__(self) -> bool:
        """Whether every count is as published."""
        return not self.deviations

    def __str__(self) -> str:
        agreed = f"{len(self.release.counts) - len(self.deviations)} of {len(self.release.counts)} counts agree"
        lines = [f"beside {self.release.name} ({self.release.source}): {agreed}"]
        if self.deviations:
            lines.append(f"  {'':<32}{'published':>12}{'found':>12}")
            lines += [f"  {what:<32}{says:>12,}{is_:>12,}" for what, (says, is_) in self.deviations.items()]
        if self.unlike_votes:
            lines.append(
                f"  {len(self.unlike_votes):,} official labels are not the plurality of the votes: "
                f"{', '.join(self.unlike_votes[:5])} ..."
            )
        return "\n".join(lines)


def check(splits: Mapping[str, datasets.Dataset], releases: tuple[Release, ...]) -> Check:
    """Compare a corpus, loaded with all rows and its whole label set, with that release which it is most like."""
    found = measure(splits)
    release, deviations = min(
        ((release, release.deviations(found)) for release in releases),
        key=lambda pair: len(pair[1]) / len(pair[0].counts),
    )
    unlike = [id for split in splits.values() for id in _unlike_votes(split)]
    return Check(release, deviations, unlike)


def _unlike_votes(split: datasets.Dataset) -> list[str]:
    """Ids of the voted utterances whose official label is not the plurality of their votes."""
    derived = derive(split, rows="all")
    official, decided = (
        pc.fill_null(read_column(part, columns.HARD_LABEL), UNDECIDED).to_numpy() for part in (split, derived)
    )
    unlike = (official != decided) & (vote_counts(split).sum(-1) > 0)
    return read_column(split, columns.ID).filter(pa.array(unlike)).to_pylist()
