"""Votes for one label each, as crowd-kit and cleanlab take them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dime_hf.columns import EXTERNAL
from dime_hf.corpora.policy import Tally
from dime_hf.errors import ColumnError, did_you_mean
from dime_hf.interchange.exchange import Exported, left_behind

Several = Literal["refuse", "rows", "leave_out"]
Anonymous = Literal["refuse", "number"]
Counting = Literal["cast", "counted"]
WHOLE = 1e-6


@dataclasses.dataclass(frozen=True)
class SingleVotes:
    """Votes (V,) in the order of the utterances: the `row`, the annotator's name, the label's place in `labels`."""

    labels: tuple[str, ...]
    ids: pa.Array
    row: NDArray[np.int64]
    annotator: pa.Array
    label: NDArray[np.int64]

    @classmethod
    def read(
        cls,
        dataset: datasets.Dataset,
        format: str,
        votes: Counting,
        several_choices: Several,
        anonymous: Anonymous,
        allowed: Sequence[str] = ("refuse", "rows", "leave_out"),
    ) -> SingleVotes:
        """Read the votes; raise `ColumnError` for what the format cannot hold, unless an argument says how."""
        _check("votes", votes, ("cast", "counted"))
        _check("several_choices", several_choices, allowed)
        _check("anonymous", anonymous, ("refuse", "number"))
        exported = Exported.read(dataset)
        vote, label, labels = _cast(exported) if votes == "cast" else _counted(dataset, exported, several_choices)
        nameless = exported.votes.annotator.is_null().to_numpy(zero_copy_only=False)
        if anonymous == "refuse" and nameless[vote].any():
            first = exported.ids[int(exported.votes.row[vote[nameless[vote]][0]])].as_py()
            raise ColumnError(
                f"`dataset` has votes of annotators without a name (first: on {first!r}), and {format} goes by names: "
                "anonymous='number' calls them anonymous:1, anonymous:2, ... anew on every utterance"
            )
        names = exported.numbered().take(pa.array(vote))
        made = cls(labels, exported.ids, exported.votes.row[vote], names, label)
        kept = made._without_several(format, several_choices)
        left_behind(format, _losses(exported, vote, made, kept))
        return kept

    def _without_several(self, format: str, several_choices: Several) -> SingleVotes:
        """The votes without those of an annotator who names several labels on an utterance, where that is wanted."""
        if several_choices == "rows":
            return self
        who = self.annotator.dictionary_encode()
        ballot = self.row * max(len(who.dictionary), 1) + who.indices.to_numpy()
        _, number, times = np.unique(ballot, return_inverse=True, return_counts=True)
        several = times[number] > 1
        if several.any() and several_choices == "refuse":
            vote = int(np.argmax(several))
            raise ColumnError(
                f"`dataset` has {len(np.unique(ballot[several])):,} times several labels of one annotator on an "
                f"utterance (first: {self.annotator[vote].as_py()!r} on {self.ids[int(self.row[vote])].as_py()!r}), "
                f"but {format} takes one: say what is to become of them by `several_choices`"
            )
        return self.where(~several)

    def where(self, wanted: NDArray[np.bool_]) -> SingleVotes:
        """The votes (V,) that are wanted."""
        annotator = self.annotator.filter(pa.array(wanted))
        return dataclasses.replace(self, row=self.row[wanted], annotator=annotator, label=self.label[wanted])


def _cast(exported: Exported) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
    """Vote and label (T,) of every tick of external annotators, over the whole inventory."""
    answers = exported.votes.answers.take(pa.array(exported.votes.answer))
    chosen = answers.field("choices")
    vote = np.repeat(np.arange(len(chosen)), pc.fill_null(pc.list_value_length(chosen), 0).to_numpy())
    label = chosen.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    external = pc.equal(answers.field("kind"), EXTERNAL).to_numpy(zero_copy_only=False)
    wanted = external[vote]
    return vote[wanted], label[wanted], exported.votes.inventory


def _counted(
    dataset: datasets.Dataset, exported: Exported, several_choices: Several
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
    """Vote and class (T,) of every vote that the dataset's own policy counts, as often as it counts."""
    tally = Tally.read(dataset)
    counts = tally.count(tally.answer_ticks(exported.votes))[exported.votes.answer]
    whole = np.rint(counts)
    parts = np.abs(counts - whole).max(-1, initial=0) > WHOLE
    if parts.any() and several_choices != "leave_out":
        first = exported.ids[int(exported.votes.row[np.argmax(parts)])].as_py()
        raise ColumnError(
            f"`dataset` splits a vote on {first!r} between classes: count again with `derive` and "
            "several_choices='pool', or leave such votes out (`several_choices`)"
        )
    vote, label = np.nonzero(whole * ~parts[:, None])
    times = whole[vote, label].astype(np.int64)
    return np.repeat(vote, times), np.repeat(label, times), tally.classes


def _losses(exported: Exported, vote: NDArray[np.int64], made: SingleVotes, kept: SingleVotes) -> dict[str, int]:
    """How much of the votes is not among those that are kept."""
    answers = exported.votes.answers.take(pa.array(exported.votes.answer))
    secondary = pc.fill_null(pc.list_value_length(answers.field("secondary")), 0)
    return {
        "votes that do not count (self votes, or outside the label set)": len(answers) - len(np.unique(vote)),
        "labels of annotators who name several": len(made.row) - len(kept.row),
        "secondary answers": pc.sum(pc.greater(secondary, 0)).as_py() or 0,
        "notes": pc.sum(pc.not_equal(answers.field("note"), "")).as_py() or 0,
        "utterances without a vote": exported.votes.rows - len(np.unique(kept.row)),
    }


def _check(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ColumnError(f"`{name}` is {value!r}.{did_you_mean(str(value), allowed)}")
