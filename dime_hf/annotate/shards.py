"""Annotation by many processes: each asks about its share of a dataset and writes a store of its own in one folder."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from dime_hf.annotate.annotator import Annotator, Answer
from dime_hf.annotate.desk import Desk
from dime_hf.annotate.progress import bar
from dime_hf.annotate.run import ask, check_askable, run
from dime_hf.annotate.store import AnswerStore, Entry
from dime_hf.columns import DURATION
from dime_hf.errors import AnnotationError
from dime_hf.stage import read_column

SUFFIX = ".sqlite"
COLLECTED = f"answers{SUFFIX}"


class StoreFolder:
    """A folder of answer stores: reads all of them, writes the one called `name`, as a store to `annotate` with.

    The folder may lie on a network drive that locks files. The own file is made when there is something to write;
    files that others begin later are not seen.
    """

    def __init__(self, folder: str | Path, name: str):
        self.path = str(Path(folder, name + SUFFIX))
        self._stores = {str(path): AnswerStore(path, write_ahead=False) for path in store_files(folder)}

    def get(self, keys: Iterable[str]) -> dict[str, list[Answer]]:
        """Return the good answers that any of the files holds for `keys`, by key."""
        return self._found(AnswerStore.get, keys)

    def failed(self, keys: Iterable[str]) -> dict[str, list[Answer]]:
        """Return a failure on record in any of the files for `keys`, by key."""
        return self._found(AnswerStore.failed, keys)

    def put(self, entries: Iterable[Entry]) -> None:
        """Keep `entries` in the own file; see `AnswerStore.put`."""
        self._own.put(entries)

    def introduce(self, proxies: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep what an annotator says about its proxies in the own file."""
        self._own.introduce(proxies)

    def close(self) -> None:
        """Close all files."""
        for store in self._stores.values():
            store.close()

    def __enter__(self) -> StoreFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _own(self) -> AnswerStore:
        if self.path not in self._stores:
            self._stores[self.path] = AnswerStore(self.path, write_ahead=False)
        return self._stores[self.path]

    def _found(self, look: Any, keys: Iterable[str]) -> dict[str, list[Answer]]:
        found: dict[str, list[Answer]] = {}
        lacking = set(keys)
        for store in self._stores.values():
            found |= look(store, lacking)
            lacking -= found.keys()
        return found


def annotate_shard(
    dataset: Dataset,
    annotator: Annotator,
    folder: str | Path,
    rank: int,
    world_size: int,
    *,
    name: str | None = None,
    batch_size: int = 8,
    retry: Collection[str] | None = None,
) -> int:
    """Ask about the share of `rank` among `world_size` processes, and return its number of utterances; see `annotate`.

    Answers go to `folder`/`name`.sqlite (default: by rank and world size); whatever any file in the folder holds is
    not asked again, so that another run may have another number of processes. `collect` makes the annotated dataset.
    """
    check_askable(dataset, annotator)
    share = dataset.select(shard_rows(dataset, rank, world_size))
    with StoreFolder(folder, name or f"{rank:05d}-of-{world_size:05d}") as store:
        desk = Desk(annotator, store, batch_size=batch_size, retry=retry)
        with bar(len(share), "Annotating") as desk.tally.bar:
            ask(share, desk)
    return len(share)


def shard_rows(dataset: Dataset, rank: int, world_size: int) -> list[int]:
    """Rows of one share: every `world_size`-th of those sorted by `duration`, so that all have as much to do.

    The longest come first; rows that tell no duration come last, in their order.
    """
    if not 0 <= rank < world_size:
        raise AnnotationError(f"`rank` must lie between 0 and `world_size` - 1; got {rank} of {world_size}")
    if DURATION not in dataset.column_names:
        return list(range(rank, len(dataset), world_size))
    seconds = read_column(dataset, DURATION).fill_null(0).to_numpy(zero_copy_only=False)
    return np.argsort(-seconds, kind="stable")[rank::world_size].tolist()


def collect(dataset: Dataset, annotator: Annotator, folder: str | Path, store: str | Path | None = None) -> Dataset:
    """Merge the files in `folder` into one `store` (default: answers.sqlite there), and return the annotated dataset.

    Nothing is asked: failures are served as failed answers, and what nobody answered yet is left out and counted in a
    warning.
    """
    check_askable(dataset, annotator)
    target = Path(store or Path(folder, COLLECTED))
    files = [path for path in store_files(folder) if path.resolve() != target.resolve()]
    if not files and not target.exists():
        raise AnnotationError(f"`folder` {folder} has no answer stores (*{SUFFIX}): annotate into it first")
    with AnswerStore(target, write_ahead=False) as merged:
        for path in files:
            merged.merge(path)
        return run(dataset, Desk(annotator, merged, retry=(), asks=False))


def store_files(folder: str | Path) -> list[Path]:
    """Answer stores in a folder, by name."""
    return sorted(Path(folder).glob(f"*{SUFFIX}"))
