"""New utterances that are made when their row is read; nothing is written."""

from __future__ import annotations

import dataclasses
from typing import Any

import datasets

from dime_hf.augment.make import Maker
from dime_hf.columns import AUDIO
from dime_hf.stage import Batch

MARK = "dime_aug:"  # begins the path of a sound that is still to be made; the row's place in the plan follows


def lazily(real: datasets.Dataset, new: datasets.Dataset, maker: Maker) -> datasets.Dataset:
    """Return both, one after the other, as a dataset that makes the sound and words of `new` whenever they are read.

    `select`, `shuffle`, `DataLoader` workers and `Trainer` work on it; what writes rows (`map`, `save_to_disk`) needs
    a dataset that is not lazy. Read without the sound, a new row has no text, and its duration is an estimate.
    """
    cells = [{"bytes": None, "path": f"{MARK}{place}"} for place in range(len(new))]
    marked = new.remove_columns(AUDIO).add_column(AUDIO, cells, feature=real.features[AUDIO])
    both = datasets.concatenate_datasets(
        [real, marked.select_columns(real.column_names)], info=real.info, split=real.split
    )
    return both.with_transform(Making(maker))


@dataclasses.dataclass(frozen=True, eq=False)
class Making:
    """Puts the sound, words and duration in place of the mark of every new row of a batch."""

    maker: Maker

    def __deepcopy__(self, memo: dict[int, Any]) -> Making:
        return self  # `select` and `shuffle` copy a dataset's format; nothing in this one changes

    def __call__(self, batch: Batch) -> dict[str, list[Any]]:
        given = {name: list(values) for name, values in batch.items()}
        rows = [row for row, cell in enumerate(given.get(AUDIO, ())) if _is_mark(cell)]
        made = self.maker.make([int(given[AUDIO][row]["path"].removeprefix(MARK)) for row in rows])
        for row, columns in zip(rows, made, strict=True):
            for name in given.keys() & columns.keys():
                given[name][row] = columns[name]
        return given


def _is_mark(cell: Any) -> bool:
    return cell is not None and (cell["path"] or "").startswith(MARK)
