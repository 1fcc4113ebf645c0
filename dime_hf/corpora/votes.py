"""Vote policies: from every tick of every annotator to counts, a soft label and a hard label."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from dime_hf import columns
from dime_hf.columns import EXTERNAL, HUMAN_VOTES
from dime_hf.corpora.labels import LabelSet
from dime_hf.errors import ColumnError, DistributionError

TALLY_LINE = "Votes are counted by: "


class Vote(NamedTuple):
    """One annotator's answer for one utterance, as `human_votes` keeps it; labels are raw ones of the corpus."""

    annotator: str | None
    kind: str
    choices: tuple[str, ...]
    secondary: tuple[str, ...] = ()
    note: str = ""


Ballots = tuple[tuple[str, ...], ...]  # the choices of those annotators of an utterance whose votes count


@dataclasses.dataclass(frozen=True)
class VotePolicy:
    """How raw ticks become counts. The default reproduces the official label of IEMOCAP and CREMA-D.

    self_votes: whether the speakers' votes on themselves count.
    several_choices: an annotator's k ticks give k votes ("pool"), or one vote split into k parts ("split").
    outside: votes for raw labels outside the label set are dropped ("drop"), or kept as the class "other" ("other").
    merge: whether raw labels are merged into classes after the plurality is taken, or before (which decides more
        rows).
    """

    self_votes: bool = False
    several_choices: Literal["pool", "split"] = "pool"
    outside: Literal["drop", "other"] = "drop"
    merge: Literal["after", "before"] = "after"

    def __post_init__(self) -> None:
        for field, allowed in (
            ("several_choices", ("pool", "split")),
            ("outside", ("drop", "other")),
            ("merge", ("after", "before")),
        ):
            if (value := getattr(self, field)) not in allowed:
                raise DistributionError(f"`VotePolicy.{field}` must be one of {allowed}, not {value!r}")


@dataclasses.dataclass(frozen=True)
class Tally:
    """Counts votes over `inventory` in a label set, under a policy."""

    policy: VotePolicy
    label_set: LabelSet
    inventory: tuple[str, ...]

    @classmethod
    def of(cls, policy: VotePolicy, label_set: LabelSet, inventory: Sequence[str]) -> Tally:
        """Make a tally; with `outside="other"` the label set grows to cover the whole inventory."""
        if policy.outside == "other":
            inside = dict(label_set.merge)
            merged: dict[str, list[str]] = {name: [] for name in (*label_set.classes, "other")}
            for raw in inventory:
                merged[inside.get(raw, "other")].append(raw)
            label_set = LabelSet.of(merged, inventory)
        return cls(policy, label_set, tuple(inventory))

    @property
    def follows_the_corpus(self) -> bool:
        """Whether the policy decides as the corpus does, so that its official labels can be taken as they are."""
        return dataclasses.replace(self.policy, outside="drop") == VotePolicy()

    @property
    def classes(self) -> tuple[str, ...]:
        return self.label_set.classes

    def ballots(self, votes: Iterable[Vote]) -> Ballots:
        """The choices of the annotators whose votes count under the policy."""
        return tuple([vote.choices for vote in votes if vote.kind == EXTERNAL or self.policy.self_votes])

    def count(self, ballots: Ballots) -> list[float]:
        """Votes by class: (C,), fractional when choices share a vote; votes outside the label set are not counted."""
        counts = [0.0] * len(self.classes)
        for raw, weight in self._weights(ballots).items():
            if (index := self.label_set.class_of.get(raw)) is not None:
                counts[index] += weight
        return counts

    def decide(self, ballots: Ballots) -> int | None:
        """Class index of the unique plurality, or None when it is tied, or lies outside the label set."""
        if self.policy.merge == "before":
            return plurality(self.count(ballots))
        weights = self._weights(ballots)
        winner = plurality(list(weights.values()))
        return None if winner is None else self.label_set.class_of.get(list(weights)[winner])

    def _weights(self, ballots: Ballots) -> dict[str, float]:
        """Votes by raw label."""
        weights: dict[str, float] = {}
        for choices in ballots:
            weight = 1 / len(choices) if choices and self.policy.several_choices == "split" else 1.0
            for raw in choices:
                weights[raw] = weights.get(raw, 0.0) + weight
        return weights

    def describe(self) -> str:
        """One line for the dataset's description, from which `Tally.read` makes the tally again."""
        fields = {"policy": dataclasses.asdict(self.policy), "merge": self.label_set.merge}
        return TALLY_LINE + json.dumps(fields)

    @classmethod
    def read(cls, dataset: Any) -> Tally:
        """Return the tally that made a dataset's `vote_counts`, from its features and description."""
        columns.require(dataset, HUMAN_VOTES)
        lines = [line for line in (dataset.info.description or "").splitlines() if line.startswith(TALLY_LINE)]
        if not lines:
            raise ColumnError(
                "`dataset` does not say how its votes were counted (its description is gone): "
                "load it from the corpus with `load_dataset`"
            )
        fields = json.loads(lines[-1].removeprefix(TALLY_LINE))
        inventory = dataset.features[HUMAN_VOTES].feature["choices"].feature.names
        merge = tuple((raw, name) for raw, name in fields["merge"])
        return cls(VotePolicy(**fields["policy"]), LabelSet(columns.classes(dataset), merge), tuple(inventory))


def plurality(counts: Sequence[float]) -> int | None:
    """Index of the unique largest positive count, else None.

    >>> plurality([2, 1, 0]), plurality([1, 1, 0])
    (0, None)
    """
    top = max(counts, default=0.0)
    winners = [index for index, count in enumerate(counts) if top - count < 1e-9]
    return winners[0] if top > 0 and len(winners) == 1 else None
