"""What a corpus looks like on disk: the interface between its files and the one builder that all corpora share."""

from __future__ import annotations

import abc
import dataclasses
import difflib
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from dime_hf.errors import CorpusError


@dataclasses.dataclass
class Utterance:
    """One row as its corpus tells it: `votes` and `official` in raw labels, `audio` where the recording should lie."""

    id: str
    audio: str
    votes: list[dict[str, Any]]
    official: str | None
    fields: dict[str, Any]  # any other column of the corpus's features


class CorpusFolder(abc.ABC):
    """A corpus's folder. `root` is found from `data_dir`: the folder itself, or one level down."""

    corpus: ClassVar[str]
    about: ClassVar[str]  # for the dataset's description
    homepage: ClassVar[str]
    licence: ClassVar[str]
    inventory: ClassVar[tuple[str, ...]]  # all raw labels, by their house names
    extra_features: ClassVar[Mapping[str, Any]] = {}
    marker: ClassVar[str]  # a glob that matches in the root and nowhere else

    def __init__(self, data_dir: str | os.PathLike[str]):
        self.root = find_root(Path(data_dir).expanduser(), self.marker, self.corpus)

    @abc.abstractmethod
    def label_files(self) -> list[Path]:
        """Files whose change must rebuild the dataset."""

    @abc.abstractmethod
    def audio_folders(self) -> list[Path]:
        """Folders whose change (a recording that comes or goes) must rebuild the dataset."""

    @abc.abstractmethod
    def groups(self) -> dict[str, list[str]]:
        """Speaker-independent groups in order, each with its shards (what processes share out, and `read` takes)."""

    @abc.abstractmethod
    def splits(self) -> dict[str, list[str]]:
        """The corpus's own splits and their shards."""

    @abc.abstractmethod
    def read(self, shards: Sequence[str]) -> Iterator[Utterance]:
        """Read the utterances of `shards`, in corpus order."""

    def why_missing(self, audio: str) -> str | None:
        """Say why there is no recording at a path, or None when there is one."""
        folder, name = os.path.split(audio)
        return None if name in _names(folder) else "there is no such file"

    def stamp(self) -> str:
        """Fingerprint of the label files and of which recordings there are, from the file system's own records."""
        states = []
        for path in [*self.label_files(), *(folder for folder in self.audio_folders() if folder.is_dir())]:
            stat = path.stat()
            states.append((str(path.relative_to(self.root)), 0 if path.is_dir() else stat.st_size, stat.st_mtime_ns))
        return repr(sorted(states))


@functools.lru_cache(maxsize=1024)
def _listing(folder: str, mtime: int) -> frozenset[str]:
    return frozenset(os.listdir(folder))


def _names(folder: str) -> frozenset[str]:
    """Names in a folder, read once as long as it does not change."""
    try:
        return _listing(folder, os.stat(folder).st_mtime_ns)
    except FileNotFoundError:
        return frozenset()


def visible(folder: Path, pattern: str) -> list[Path]:
    """Files of `folder` that match, sorted, without the `._*` twins that macOS leaves beside them."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def read_text(path: Path) -> str:
    """Text of a label file: UTF-8, or latin-1 where it is not; line ends of any system."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def find_root(data_dir: Path, marker: str, corpus: str) -> Path:
    """Folder that holds the corpus: `data_dir` or one of its children; else `CorpusError` with the nearest match."""
    if not data_dir.is_dir():
        raise CorpusError(f"`data_dir` for {corpus}: {data_dir} is not a folder.{_nearest_folder(data_dir)}")
    children = sorted(child for child in data_dir.iterdir() if child.is_dir() and not child.name.startswith("."))
    for root in [data_dir, *children]:
        if any(root.glob(marker)):
            return root.absolute()
    found = ", ".join(child.name for child in children[:5]) or "no folder"
    raise CorpusError(
        f"`data_dir` for {corpus}: looked for {marker} in {data_dir} and one level down, found {found}."
        f"{_nearest_root(data_dir, marker)}"
    )


def _nearest_folder(missing: Path) -> str:
    """The existing folder whose path is most like a missing one."""
    parent = next(folder for folder in missing.absolute().parents if folder.is_dir())
    wanted = missing.absolute().relative_to(parent).parts[0]
    names = [child.name for child in parent.iterdir() if child.is_dir()]
    close = difflib.get_close_matches(wanted, names, n=1)
    return f" Did you mean {parent / close[0]}?" if close else f" The folder {parent} exists, but has no {wanted!r}."


def _nearest_root(data_dir: Path, marker: str) -> str:
    """A folder above `data_dir`, or two levels down, that does hold the corpus."""
    above = list(data_dir.absolute().parents)[:3]
    for root in [*above, *sorted(data_dir.glob("*/*/"))]:
        if any(root.glob(marker)):
            return f" Did you mean {root}?"
    return ""


def fold_splits(groups: Mapping[str, list[str]], fold: int, folds: int = 5) -> dict[str, list[str]]:
    """Shards of `train`, `validation` and `test` of a fold from 1 to `folds`, no group in two of them.

    Group i goes to block i mod `folds`; the fold's block is the test set and the next one validates.
    """
    if fold not in range(1, folds + 1):
        raise CorpusError(f"`fold` must be from 1 to {folds}, not {fold!r}")
    names = list(groups)
    if len(names) < folds:
        raise CorpusError(f"`fold` needs {folds} groups of speakers, but there are only {len(names)}: {names}")
    blocks = [names[start::folds] for start in range(folds)]
    test, validation = blocks[fold - 1], blocks[fold % folds]
    train = [name for name in names if name not in test and name not in validation]
    members = {"train": train, "validation": validation, "test": test}
    return {split: [shard for name in members[split] for shard in groups[name]] for split in members}
