"""Label sets: which of a corpus's raw classes count, and under which name."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from dime_hf.columns import in_house_order
from dime_hf.errors import CorpusError, did_you_mean


@dataclasses.dataclass(frozen=True)
class LabelSet:
    """Classes in house order, and the class of each raw label; raw labels that `merge` lacks lie outside the set."""

    classes: tuple[str, ...]
    merge: tuple[tuple[str, str], ...]  # (raw label, class): pairs, so that a label set can be hashed

    @classmethod
    def of(cls, members: Sequence[str] | Mapping[str, Sequence[str]], inventory: Sequence[str]) -> LabelSet:
        """Make a label set of the raw labels `members`, or of a mapping from class to the raw labels merged into it.

        Raises `CorpusError` for a raw label that is not in the corpus's `inventory`, or in two classes.
        """
        merged = dict(members) if isinstance(members, Mapping) else {name: [name] for name in members}
        raw_to_class: dict[str, str] = {}
        for name, raw_labels in merged.items():
            if isinstance(raw_labels, str):
                raise CorpusError(f"`label_set` maps {name!r} to the string {raw_labels!r}: give a list of raw labels")
            for raw in raw_labels:
                if raw not in inventory:
                    raise CorpusError(f"`label_set` names the raw label {raw!r}.{did_you_mean(raw, inventory)}")
                if raw in raw_to_class:
                    raise CorpusError(
                        f"`label_set` puts the raw label {raw!r} into two classes: {raw_to_class[raw]!r} and {name!r}"
                    )
                raw_to_class[raw] = name
        if len(merged) < 2:
            raise CorpusError(f"`label_set` needs at least two classes, not {list(merged)}")
        return cls(in_house_order(merged), tuple(raw_to_class.items()))

    @functools.cached_property
    def class_of(self) -> dict[str, int]:
        """Class index of every raw label inside the set."""
        return {raw: self.classes.index(name) for raw, name in self.merge}
