"""New utterances as files of a folder; a run that was killed goes on where it stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash
from datasets.fingerprint import Hasher

from dime_hf import audio
from dime_hf.augment.make import ENCODINGS, Maker, encode, seconds
from dime_hf.columns import AUDIO, DURATION, ID, TEXT
from dime_hf.stage import Batch

UNFINISHED, STALE = ".part", 3600  # seconds after which nobody is writing an unfinished file any more


@dataclasses.dataclass(frozen=True, eq=False)
class Files:
    """Makes the columns of sound of new rows as `maker` does, into files, but for those that are there already.

    A file is named after what it is made of: the operation, its parameters, and what the parents hold. Its line in a
    manifest comes first, then the file, whole: where there is a file, there is its line. known: lines by that name.
    """

    maker: Maker
    folder: Path
    known: Mapping[str, Mapping[str, Any]]
    operations: Mapping[str, str]  # hash of every operation, its settings included
    run: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    contents: dict[int, str] = dataclasses.field(default_factory=dict, repr=False)  # hash by row of the training set

    @classmethod
    def of(cls, maker: Maker, folder: str | os.PathLike[str]) -> Files:
        folder = Path(folder).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        used = {operation.name: operation for operation in maker.family.operations}
        return cls(maker, folder, _read(folder), {name: Hasher.hash(operation) for name, operation in used.items()})

    @property
    def fingerprint(self) -> str:
        return Hasher.hash([self.maker.fingerprint, str(self.folder)])

    def __call__(self, batch: Batch) -> dict[str, list[Any]]:
        rows = [self.make(place) for place in batch["place"]]
        return {name: [row[name] for row in rows] for name in self.maker.columns}

    def make(self, place: int) -> dict[str, Any]:
        """Make a row's columns of sound, unless its file is there."""
        key = self._key(place)
        path = self.folder / key[:2] / f"{key}.{ENCODINGS[self.maker.encoding]}"
        line = self.known.get(key)
        if line is None or not path.exists() or path.stat().st_size != line["bytes"]:
            line = self._write(place, key, path)
        return {AUDIO: {"bytes": None, "path": str(path)}, TEXT: line[TEXT], DURATION: line[DURATION]}

    def _key(self, place: int) -> str:
        """Hash of all that decides what a row's file holds."""
        family = self.maker.family
        operation = self.operations[family.operations[place].name]
        parents = [self._content(place, int(row)) for row in family.of(place)]
        parts = [self.maker.encoding, operation, family.parameters[place], parents]
        return xxhash.xxh3_128_hexdigest(json.dumps(parts, sort_keys=True).encode())

    def _content(self, place: int, row: int) -> str:
        if row not in self.contents:
            source = self.maker.sources[row]
            with self.maker.naming(place, source[ID]):
                self.contents[row] = f"{audio.content_hash(source[AUDIO])} {source.get(TEXT)}"
        return self.contents[row]

    def _write(self, place: int, key: str, path: Path) -> dict[str, Any]:
        """Make a row, then write its line, then its file; return the line."""
        (made,) = self.maker.utterances([place])
        content = encode(made.samples, self.maker.encoding)
        line = {"key": key, ID: self.maker.ids[place], TEXT: made.text, DURATION: seconds(made), "bytes": len(content)}
        path.parent.mkdir(exist_ok=True)
        unfinished = path.with_name(f"{key}.{self.run}-{os.getpid()}{UNFINISHED}")
        unfinished.write_bytes(content)
        with open(self.folder / f"manifest-{self.run}-{os.getpid()}.jsonl", "a", encoding="utf-8") as manifest:
            manifest.write(json.dumps(line) + "\n")
        unfinished.replace(path)
        return line


def _read(folder: Path) -> dict[str, dict[str, Any]]:
    """Lines of all manifests by key; a process that was killed may have left half a line."""
    lines = {}
    for manifest in sorted(folder.glob("manifest-*.jsonl")):
        for text in manifest.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                line = json.loads(text)
                lines[line["key"]] = line
    return lines


def _sweep(folder: Path) -> None:
    """Delete what killed processes did not finish."""
    for path in folder.glob(f"*/*{UNFINISHED}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > STALE:
                path.unlink()
