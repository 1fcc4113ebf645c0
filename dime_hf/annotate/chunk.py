"""A chunk of a dataset on its way through `annotate`: content hashes, what is still to be asked, how long it lasts."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import soundfile
import xxhash

from dime_hf import audio
from dime_hf.annotate.annotator import Answer
from dime_hf.columns import AUDIO, DURATION, ID, TEXT
from dime_hf.errors import AudioError

READERS = 8  # threads that read and hash recordings

Batch = Mapping[str, Sequence[Any]]
Places = tuple[int, ...]  # of questions
Units = list[list[Answer] | None]  # the answers to every question about one utterance; None is not answered


@dataclasses.dataclass
class Chunk:
    """Utterances with the keys of all questions and, in `units`, the answers to each.

    `heard` says whose recording can be read: what is said about the others is kept as a failure or not at all.
    """

    batch: Batch
    heard: list[bool]
    keys: list[list[str]]
    units: list[Units]

    def wanted(self) -> dict[int, Places]:
        """Questions to ask, by row. What is missing twice (the same recording and words) is asked once."""
        claimed: set[str] = set()
        wanted = {}
        for row, (keys, units) in enumerate(zip(self.keys, self.units, strict=True)):
            places = tuple(q for q, unit in enumerate(units) if unit is None and keys[q] not in claimed)
            claimed.update(keys[q] for q in places)
            if places:
                wanted[row] = places
        return wanted

    def fill(self, answered: Mapping[str, list[Answer]]) -> None:
        """Put the answers, by key, wherever they are wanted."""
        for keys, units in zip(self.keys, self.units, strict=True):
            units[:] = (answered.get(key) if unit is None else unit for key, unit in zip(keys, units, strict=True))

    def columns(self, rows: Iterable[int]) -> dict[str, list[Any]]:
        """What an annotator gets of some rows."""
        return {name: [self.batch[name][row] for row in rows] for name in (ID, AUDIO, TEXT)}

    def lengths(self, rows: Iterable[int]) -> dict[int, float]:
        """Seconds by row: its `duration`, or what the header of its file says; 0 where neither is known."""
        known = self.batch[DURATION] if DURATION in self.batch else [None] * len(self.units)
        unknown = [row for row in rows if known[row] is None]
        read = _in_threads(_seconds, [self.batch[AUDIO][row] for row in unknown])
        return {row: known[row] for row in rows if known[row] is not None} | dict(zip(unknown, read, strict=True))


def hash_sounds(cells: Sequence[Any]) -> list[str | None]:
    """Hash of every recording; None where it cannot be read."""
    return _in_threads(_sound, cells)


def hash_of(*parts: str | None) -> str:
    """Hash of several texts, told apart."""
    return xxhash.xxh3_128_hexdigest(json.dumps(parts).encode())


def _in_threads(function: Callable[[Any], Any], cells: Sequence[Any]) -> list[Any]:
    """Map a function that waits for files most of its time; every thread takes its share at once."""
    results: list[Any] = [None] * len(cells)

    def share(first: int) -> None:
        results[first::READERS] = map(function, cells[first::READERS])

    with ThreadPoolExecutor(READERS) as readers:
        list(readers.map(share, range(min(READERS, len(cells)))))
    return results


def _sound(cell: Any) -> str | None:
    try:
        return audio.content_hash(cell)
    except AudioError:
        return None


def _seconds(cell: Any) -> float:
    """Length that the header of a sound file tells."""
    content, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (None, None)
    if content is None and path is None:
        return 0.0
    try:
        return soundfile.info(path if content is None else io.BytesIO(content)).duration
    except (soundfile.LibsndfileError, OSError):
        return 0.0  # the annotator will say what is wrong with it
