"""Vote policies: from every tick of every annotator to counts, a soft label and a hard label."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from dime_hf import columns
from dime_hf.columns import EXTERNAL, HUMAN_VOTES
from dime_hf.corpora.labels import LabelSet
from dime_hf.corpora.votes import CastVotes
from dime_hf.distribution import UNDECIDED, Array, plurality, smooth
from dime_hf.errors import ColumnError, DistributionError, did_you_mean

TALLY_LINE = "Votes are counted by: "


@dataclasses.dataclass(frozen=True)
class VotePolicy:
    """How raw ticks become counts. The default reproduces the official labels of IEMOCAP, MSP-Podcast and CREMA-D.

    self_votes: whether the speakers' votes on themselves count.
    question: the "primary" emotion counts (`choices`), the "secondary" ones, or "both" (a label named in both twice).
    several_choices: an annotator's k ticks give k votes ("pool"), or one vote split into k parts ("split").
    outside: votes for raw labels outside the label set are dropped ("drop"), or kept as the class "other" ("other").
    merge: whether raw labels are merged into classes after the plurality is taken, or before (which decides more
        rows).
    smoothing: epsilon of `smooth`, for the soft label alone; counts stay counts.
    """

    self_votes: bool = False
    question: Literal["primary", "secondary", "both"] = "primary"
    several_choices: Literal["pool", "split"] = "pool"
    outside: Literal["drop", "other"] = "drop"
    merge: Literal["after", "before"] = "after"
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        for field, allowed in (
            ("question", ("primary", "secondary", "both")),
            ("several_choices", ("pool", "split")),
            ("outside", ("drop", "other")),
            ("merge", ("after", "before")),
        ):
            if (value := getattr(self, field)) not in allowed:
                raise DistributionError(f"`VotePolicy.{field}` must be one of {allowed}, not {value!r}")
        if not 0 <= self.smoothing < 0.5:
            raise DistributionError(f"`VotePolicy.smoothing` must be from 0 to under 0.5, not {self.smoothing!r}")

    @classmethod
    def of(cls, policy: VotePolicy | str) -> VotePolicy:
        """A policy, or the one of that name in `POLICIES`."""
        if isinstance(policy, VotePolicy):
            return policy
        if policy not in POLICIES:
            raise DistributionError(f"`vote_policy` is {policy!r}.{did_you_mean(str(policy), POLICIES)}")
        return POLICIES[policy]


POLICIES = {
    # the corpus's own: every primary tick of the external annotators
    "official": VotePolicy(),
    # arXiv 2601.14620, with the label set "4class_pure": votes outside the four classes are dropped
    "paper": VotePolicy(),
    # EMO-SUPERB (Wu et al. 2024), with the label set "9class" of IEMOCAP: speakers on themselves too, smoothed
    "emo_superb": VotePolicy(self_votes=True, smoothing=0.05),
    # Chou et al. 2024: every tick of everybody, primary and secondary
    "all_inclusive": VotePolicy(self_votes=True, question="both"),
}


@dataclasses.dataclass(frozen=True)
class Tally:
    """Counts votes over `inventory` in a label set, under a policy."""

    policy: VotePolicy
    label_set: LabelSet
    inventory: tuple[str, ...]

    @classmethod
    def of(cls, policy: VotePolicy, label_set: LabelSet, inventory: Sequence[str]) -> Tally:
        """Make a tally; with `outside="other"` the label set grows to cover the whole inventory, unless it does."""
        if policy.outside == "other" and set(inventory) - set(label_set.class_of):
            inside = dict(label_set.merge)
            merged: dict[str, list[str]] = {name: [] for name in (*label_set.classes, "other")}
            for raw in inventory:
                merged[inside.get(raw, "other")].append(raw)
            label_set = LabelSet.of(merged, inventory)
        return cls(policy, label_set, tuple(inventory))

    @property
    def follows_the_corpus(self) -> bool:
        """Whether the policy decides as the corpus does, so that its official labels can be taken as they are."""
        return dataclasses.replace(self.policy, outside="drop", smoothing=0.0) == VotePolicy()

    @property
    def classes(self) -> tuple[str, ...]:
        return self.label_set.classes

    @functools.cached_property
    def merging(self) -> Array:
        """(R, C): 1 where a raw label belongs to a class."""
        matrix = np.zeros((len(self.inventory), len(self.classes)))
        for raw, index in self.label_set.class_of.items():
            matrix[self.inventory.index(raw), index] = 1
        return matrix

    def ticks(self, votes: CastVotes) -> Array:
        """(N, R) votes by raw label under the policy, fractional where choices share a vote."""
        single = self.answer_ticks(votes)
        ticks = np.zeros((votes.rows, len(self.inventory)))
        for raw in np.flatnonzero(single.any(axis=0)):
            ticks[:, raw] = np.bincount(votes.row, single[votes.answer, raw], votes.rows)
        return ticks

    def answer_ticks(self, votes: CastVotes) -> Array:
        """(A, R) what each different answer gives to each raw label."""
        asked = {"primary": ("choices",), "secondary": ("secondary",), "both": ("choices", "secondary")}
        single = np.zeros((len(votes.answers), len(self.inventory)))
        for question in asked[self.policy.question]:
            chosen = votes.answers.field(question)
            answer = np.repeat(np.arange(len(chosen)), pc.fill_null(pc.list_value_length(chosen), 0).to_numpy())
            np.add.at(single, (answer, chosen.flatten().to_numpy(zero_copy_only=False)), 1.0)
        if self.policy.several_choices == "split":
            single /= np.maximum(single.sum(-1, keepdims=True), 1)
        if not self.policy.self_votes:
            single[pc.not_equal(votes.answers.field("kind"), EXTERNAL).to_numpy(zero_copy_only=False)] = 0
        return single

    def count(self, ticks: Array) -> Array:
        """(N, C) votes by class; votes outside the label set are not counted."""
        return ticks @ self.merging

    def decide(self, ticks: Array) -> NDArray[np.int64]:
        """(N,) class of the unique plurality; -1 where it is tied, or lies outside the label set."""
        if self.policy.merge == "before":
            return plurality(self.count(ticks))
        class_of = np.array([self.label_set.class_of.get(raw, UNDECIDED) for raw in self.inventory] + [UNDECIDED])
        return class_of[plurality(ticks)]

    def soft_labels(self, counts: Array) -> Array:
        """(N, C) shares of the votes, smoothed as the policy says; NaN where nobody voted inside the label set."""
        totals = counts.sum(-1, keepdims=True)
        shares = np.divide(counts, totals, where=totals > 0, out=np.full(counts.shape, np.nan))
        return smooth(shares, self.policy.smoothing)

    def describe(self) -> str:
        """One line for the dataset's description, from which `Tally.read` makes the tally again."""
        fields = {"policy": dataclasses.asdict(self.policy), "merge": self.label_set.merge}
        return TALLY_LINE + json.dumps(fields)

    def redescribe(self, description: str) -> str:
        """A dataset's description, with the line of this tally in place of another's."""
        kept = [line for line in description.splitlines() if not line.startswith(TALLY_LINE)]
        return "\n".join([*kept, self.describe()])

    @classmethod
    def read(cls, dataset: Any) -> Tally:
        """Return the tally that made a dataset's `vote_counts`, from its features and description."""
        columns.require(dataset, HUMAN_VOTES)
        lines = [line for line in (dataset.info.description or "").splitlines() if line.startswith(TALLY_LINE)]
        if not lines:
            raise ColumnError(
                "`dataset` does not say how its votes were counted: its description is gone (load it from the corpus "
                "with `load_dataset`), or it joins corpora of several policies (give `join` a `vote_policy`)"
            )
        fields = json.loads(lines[-1].removeprefix(TALLY_LINE))
        merge = tuple((raw, name) for raw, name in fields["merge"])
        return cls(VotePolicy(**fields["policy"]), LabelSet(columns.classes(dataset), merge), inventory(dataset))


def inventory(dataset: Any) -> tuple[str, ...]:
    """All raw labels that the votes of a dataset may name."""
    columns.require(dataset, HUMAN_VOTES)
    return tuple(dataset.features[HUMAN_VOTES].feature["choices"].feature.names)
