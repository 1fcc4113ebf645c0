"""What labels are called in the files that a user brings, and in the house."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from dime_hf import columns
from dime_hf.corpora.dime_votes.files import Sheet, choices
from dime_hf.corpora.dime_votes.sheets import LABEL, ROW, SECONDARY, SHEET, Rules
from dime_hf.errors import CorpusError

ALIASES = {
    **{name: name for name in columns.EMOTIONS},
    "anger": "angry", "happiness": "happy", "joy": "happy", "joyful": "happy", "neutrality": "neutral",
    "neutral state": "neutral", "sadness": "sad", "excitement": "excited", "frustration": "frustrated",
    "surprised": "surprise", "fearful": "fear", "afraid": "fear", "disgusted": "disgust",
    "contemptuous": "contempt", "others": "other",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Names:
    """What labels are called: house names for common spellings, others as they were written."""

    house: Mapping[str, str]  # of every label that a vote names
    inventory: tuple[str, ...]
    rename: bool | Mapping[str, str]

    @classmethod
    def of(cls, votes: pa.Table, counted: Sequence[str], rules: Rules) -> Names:
        """Names of all labels; the inventory is `rules.classes`, or what `votes` name and the `counted` classes."""
        texts = [text for name in (LABEL, SECONDARY) for text in pc.unique(votes[name]).to_pylist() if text]
        written = sorted({choice for text in texts for choice in choices(text)} | set(counted))
        house = {name: rename_label(name, rules.rename) for name in written}
        known = written if rules.classes is None else rules.classes
        inventory = columns.in_house_order(rename_label(name, rules.rename) for name in known)
        return cls(house, inventory, rules.rename)

    def check(self, votes: pa.Table, sheets: Sequence[Sheet]) -> None:
        """Raise `LabelFileError` for the first vote that names a label outside the inventory."""
        outside = {name for name, house in self.house.items() if house not in self.inventory}
        for name in (LABEL, SECONDARY) if outside else ():
            for number, text in enumerate(votes[name].to_pylist()):
                if not outside.isdisjoint(choices(text or "")):
                    sheet, row = (votes[place][number].as_py() for place in (SHEET, ROW))
                    sheets[sheet].refuse(row, text, f"labels out of `classes`: {', '.join(self.inventory)}")

    def places(self, texts: pa.Array) -> pa.ListArray:
        """Places in the inventory of the choices that each text names."""
        place = {name: self.inventory.index(house) for name, house in self.house.items()}
        lists = [[place[choice] for choice in choices(text or "")] for text in texts.to_pylist()]
        return pa.array(lists, type=pa.list_(pa.int64()))


def rename_label(name: str, rename: bool | Mapping[str, str]) -> str:
    """Name of a label by the table of common spellings (True), by the user's own, or as it is (False).

    >>> rename_label("Anger", True), rename_label("Calm", True), rename_label("Anger", {"Calm": "neutral"})
    ('angry', 'Calm', 'Anger')
    """
    if isinstance(rename, Mapping):
        return rename.get(name, name)
    return ALIASES.get(name.lower(), name) if rename else name


def check_distinct(house: Mapping[str, str], sheets: Sequence[Sheet]) -> None:
    """Raise `CorpusError` where two labels, not only two spellings, would become one."""
    spelled: dict[str, str] = {}
    for name, target in house.items():
        other = spelled.setdefault(target, name)
        if other.lower() != name.lower():
            raise CorpusError(
                f"{', '.join(sheet.path for sheet in sheets)}: the labels {other!r} and {name!r} would both become "
                f"{target!r}: keep them apart with `rename_labels=False`, or say what is meant, as in "
                f"`rename_labels={{{name!r}: {target!r}}}`"
            )
