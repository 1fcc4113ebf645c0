"""Counts that were published, or measured by others, on the corpora as released."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from dime_hf.columns import EMOTIONS


@dataclasses.dataclass(frozen=True)
class Release:
    """Counts of one release, by what they count; `tolerance` is how exact they are themselves."""

    name: str
    source: str
    counts: Mapping[str, int]
    tolerance: int = 0

    def deviations(self, found: Mapping[str, int]) -> dict[str, tuple[int, int]]:
        """What is otherwise in `found`: published and found count."""
        pairs = {what: (count, found.get(what, 0)) for what, count in self.counts.items()}
        return {what: pair for what, pair in pairs.items() if abs(pair[0] - pair[1]) > self.tolerance}


def table(header: str, *rows: str) -> dict[str, int]:
    """Counts of a table written as text: a name and a number a column, in rows of splits.

    >>> table("utterances happy", "train 3 2")
    {'train: utterances': 3, 'train: happy': 2}
    """
    names = header.split()
    cells = {row.split()[0]: row.split()[1:] for row in rows}
    return {
        f"{split}: {name}": int(number.replace(",", ""))
        for split, numbers in cells.items()
        for name, number in zip(names, numbers, strict=True)
    }


def votes(numbers: Sequence[int], labels: Sequence[str]) -> dict[str, int]:
    """Total votes by label."""
    return {f"votes: {label}": number for label, number in zip(labels, numbers, strict=True)}


IEMOCAP_LABELS = [name for name in EMOTIONS if name != "contempt"]
CREMA_D_LABELS = ("angry", "disgust", "fear", "happy", "neutral", "sad")
MSP_HEADER = "angry contempt disgust fear happy neutral sad surprise other undecided utterances"

PUBLISHED = {
    "iemocap": (
        Release(
            "IEMOCAP",
            "Busso et al. 2008, counted from the release",
            {
                **table(
                    "angry happy excited sad neutral frustrated fear surprise disgust other undecided utterances",
                    "session1 229 135 143 194 384 280 12 25 1 1 415 1819",
                    "session2 137 117 210 197 362 325 9 17 0 1 436 1811",
                    "session3 240 135 151 305 320 382 2 28 1 0 572 2136",
                    "session4 327 65 238 143 258 481 7 19 0 1 564 2103",
                    "session5 170 143 299 245 384 381 10 18 0 0 520 2170",
                ),
                **votes([4433, 3076, 6406, 3694, 4365, 7514, 658, 348, 137, 783], IEMOCAP_LABELS),
            },
        ),
    ),
    "crema_d": tuple(
        Release(
            f"CREMA-D, {modality}",
            "Cao et al. 2014, tabulatedVotes.csv",
            {"train: utterances": 7442, "train: undecided": ties, **votes(numbers, CREMA_D_LABELS)},
        )
        for modality, ties, numbers in (
            ("voice", 644, (9863, 8851, 8212, 4590, 30152, 6900)),
            ("face", 470, (10005, 12428, 9149, 12152, 18628, 9292)),
            ("audiovisual", 420, (10220, 12197, 11849, 11139, 18688, 7685)),
        )
    ),
    "msp_podcast": (
        Release(
            "MSP-Podcast 1.8",
            "as measured by EmoBox",
            table(
                MSP_HEADER,
                "validation 621 547 441 130 1320 2529 302 382 74 1454 7800",
                "test1 622 736 709 367 3475 4702 505 1029 226 2955 15326",
            ),
        ),
        Release(
            "MSP-Podcast 1.11",
            "its readme",
            table("utterances", "train 84030", "validation 19815", "test1 30647", "test2 14815", "test3 2347"),
        ),
        Release(
            "MSP-Podcast 2.0",
            "its paper's table, exact to about 3 a cell",
            table(
                MSP_HEADER,
                "train 22609 2765 1324 794 37048 51149 18256 3220 1746 30279 169190",
                "validation 5728 1476 534 285 7487 8318 2351 1025 677 6518 34399",
                "test1 6985 1040 744 348 10948 12457 3041 1206 1019 8506 46294",
                "test2 538 304 141 116 2801 6793 581 394 277 2877 14822",
            ),
            tolerance=3,
        ),
    ),
}
