"""What a corpus looks like on disk: the interface between its files and the one builder that all corpora share."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import difflib
import gc
import hashlib
import io
import itertools
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dime_hf.corpora.votes import CastVotes, Vote
from dime_hf.errors import CorpusError

TOY_MARK = "toy.json"  # in the root of a toy corpus, which has the layout of a real one
TOY_LICENCE = "none needed: made-up voices and words of the toy corpus"


@dataclasses.dataclass
class Block:
    """N utterances as columns, as the corpus tells them: raw labels, and where each recording should lie."""

    id: list[str] = dataclasses.field(default_factory=list)
    audio: list[str] = dataclasses.field(default_factory=list)
    votes: list[tuple[Vote, ...]] | CastVotes = dataclasses.field(default_factory=list)
    official: list[str | None] | pa.Array = dataclasses.field(default_factory=list)  # raw label of the consensus
    fields: dict[str, list[Any] | pa.Array] = dataclasses.field(default_factory=dict)  # other columns of the features

    def __len__(self) -> int:
        return len(self.id)

    @classmethod
    def join(cls, blocks: Sequence[Block]) -> Block:
        """One block of several that have the same fields, and their votes one at a time."""
        chain = itertools.chain.from_iterable
        return cls(
            id=list(chain(block.id for block in blocks)),
            audio=list(chain(block.audio for block in blocks)),
            votes=list(chain(block.votes for block in blocks if isinstance(block.votes, list))),
            official=list(chain(block.official for block in blocks)),
            fields={name: list(chain(block.fields[name] for block in blocks)) for name in blocks[0].fields},
        )

    def where(self, wanted: NDArray[np.bool_]) -> Block:
        """The rows for which `wanted` holds."""
        if wanted.all():
            return self
        votes, mask = self.votes, pa.array(wanted)

        def kept(values: Any) -> Any:
            return values.filter(mask) if isinstance(values, pa.Array) else list(itertools.compress(values, wanted))

        return Block(
            id=kept(self.id),
            audio=kept(self.audio),
            votes=votes.of_rows(wanted) if isinstance(votes, CastVotes) else kept(votes),
            official=kept(self.official),
            fields={name: kept(values) for name, values in self.fields.items()},
        )


class CorpusFolder(abc.ABC):
    """A corpus's folder: `data_dir` itself, or one level down. All paths have forward slashes."""

    corpus: ClassVar[str]
    about: ClassVar[str]  # for the dataset's description
    homepage: ClassVar[str]
    licence: ClassVar[str]
    inventory: ClassVar[tuple[str, ...]]  # all raw labels, by their house names
    extra_features: ClassVar[Mapping[str, Any]] = {}
    marker: ClassVar[str]  # a glob that matches in the root and nowhere else

    def __init__(self, data_dir: str | os.PathLike[str]):
        self.root = find_root(Path(data_dir).expanduser(), type(self)).as_posix()
        self._listed: set[str] = set()  # folders
        self._present: set[str] = set()  # the paths in them

    @classmethod
    def is_root(cls, folder: Path) -> bool:
        """Whether a folder holds the corpus directly."""
        return any(folder.glob(cls.marker))

    @abc.abstractmethod
    def label_files(self) -> list[str]:
        """Files whose change must rebuild the dataset."""

    @abc.abstractmethod
    def audio_folders(self) -> list[str]:
        """Folders whose change (a recording that comes or goes) must rebuild the dataset."""

    @abc.abstractmethod
    def groups(self) -> dict[str, list[str]]:
        """Speaker-independent groups in order, each with its shards (what processes share out, and `read` takes)."""

    @abc.abstractmethod
    def splits(self) -> dict[str, list[str]]:
        """The corpus's own splits and their shards."""

    @abc.abstractmethod
    def read(self, shards: Sequence[str]) -> Iterator[Block]:
        """Read the utterances of `shards` in corpus order, in blocks of some thousand: each becomes an Arrow table."""

    def late_fields(self, block: Block) -> dict[str, list[Any]]:
        """Further columns of a block whose rows are all wanted: those that cost a file a row."""
        return {}

    def missing(self, recordings: Collection[str]) -> dict[str, str]:
        """Which of the paths in `recordings` hold none, and why."""
        for folder in {path.rpartition("/")[0] for path in recordings} - self._listed:
            self._listed.add(folder)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                self._present.update([f"{folder}/{name}" for name in os.listdir(folder)])
        return {path: "there is no such file" for path in recordings if path not in self._present}

    def stamp(self, *, labels_only: bool = False) -> str:
        """Fingerprint of the label files, and of which recordings there are unless only labels matter."""
        state = self.label_state() + ([] if labels_only else self.audio_state())
        return hashlib.sha256(repr(state).encode()).hexdigest()

    def label_state(self) -> list[tuple[str, int, int]]:
        """Path, size and time of the label files."""
        files = [(path, os.stat(path)) for path in self.label_files()]
        return [(path.removeprefix(self.root), stat.st_size, stat.st_mtime_ns) for path, stat in files]

    def audio_state(self) -> list[tuple[str, int]]:
        """What tells that a recording came or went: the times of its folders, without looking into them."""
        return [(path.removeprefix(self.root), os.stat(path).st_mtime_ns) for path in self.audio_folders()]


@contextlib.contextmanager
def paused_collector() -> Iterator[None]:
    """Leave reference cycles alone: a hundred thousand parsed answers set their search off time and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def visible(folder: str, suffix: str = "") -> list[str]:
    """Paths in `folder` that end with `suffix`, sorted, without the `._*` twins that macOS leaves beside files."""
    if not os.path.isdir(folder):
        return []
    with os.scandir(folder) as entries:
        return sorted(
            f"{folder}/{entry.name}"
            for entry in entries
            if entry.name.endswith(suffix) and not entry.name.startswith(".")
        )


def read_text(path: str | os.PathLike[str]) -> str:
    """Text of a label file: UTF-8, or latin-1 where it is not; line ends of any system."""
    with io.FileIO(path) as file:  # `open` is replaced by `datasets` in modules of builders, by a slower one
        content = file.readall()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if "\r" not in text:
        return text
    return text.replace("\r\r\n", "\n").replace("\r\n", "\n").replace("\r", "\n")  # the first one: converted twice


def find_root(data_dir: Path, folder: type[CorpusFolder]) -> Path:
    """Folder that holds the corpus: `data_dir` or one of its children; else `CorpusError` with the nearest match."""
    corpus = folder.corpus
    if not data_dir.is_dir():
        raise CorpusError(f"`data_dir` for {corpus}: {data_dir} is not a folder.{_nearest_folder(data_dir)}")
    children = sorted(child for child in data_dir.iterdir() if child.is_dir() and not child.name.startswith("."))
    for root in [data_dir, *children]:
        if folder.is_root(root):
            return root.absolute()
    found = ", ".join(child.name for child in children[:5]) or "no folder"
    raise CorpusError(
        f"`data_dir` for {corpus}: looked for {folder.marker} in {data_dir} and one level down, found {found}."
        f"{_nearest_root(data_dir, folder)}"
    )


def _nearest_folder(missing: Path) -> str:
    """The existing folder whose path is most like a missing one."""
    parent = next(folder for folder in missing.absolute().parents if folder.is_dir())
    wanted = missing.absolute().relative_to(parent).parts[0]
    names = [child.name for child in parent.iterdir() if child.is_dir()]
    close = difflib.get_close_matches(wanted, names, n=1)
    return f" Did you mean {parent / close[0]}?" if close else f" The folder {parent} exists, but has no {wanted!r}."


def _nearest_root(data_dir: Path, folder: type[CorpusFolder]) -> str:
    """A folder above `data_dir`, or two levels down, that does hold the corpus."""
    above = list(data_dir.absolute().parents)[:3]
    for root in [*above, *sorted(data_dir.glob("*/*/"))]:
        if folder.is_root(root):
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
