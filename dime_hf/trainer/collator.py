"""`SoftLabelCollator`: from rows of a dataset to a batch of a speech encoder."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dime_hf import audio, columns, distribution
from dime_hf.augment.on_the_fly import OnTheFly
from dime_hf.errors import AudioError, ColumnError, DistributionError

LABELS = "labels"  # what a batch of soft labels is called inside `Trainer`


def _shared_count() -> Tensor:
    """A whole number that the workers of a `DataLoader` see change."""
    return torch.zeros((), dtype=torch.int64).share_memory_()


@dataclasses.dataclass(frozen=True)
class SoftLabelCollator:
    """Make a batch of rows: the model's inputs, and `labels` (batch, C) float32.

    `feature_extractor` is any of transformers' for sound, or a processor that has one; `padding` is passed to it: by
    default to the longest of the batch, or to the one length that the model takes (Whisper, AST). `needs` names
    further columns of numbers for the loss. With `labels=False` only the sound is read. `augment` draws anew in each
    `epoch`, a number that workers share; the trainer takes it for training alone. Raises `AudioError` or
    `DistributionError`, with the utterance's id, for a row that has no sound or no soft label.
    """

    feature_extractor: Any
    padding: bool | str | None = None
    labels: bool = True
    needs: tuple[str, ...] = ()
    augment: OnTheFly | None = None
    epoch: Tensor = dataclasses.field(default_factory=_shared_count, repr=False, compare=False)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        extractor = getattr(self.feature_extractor, "feature_extractor", self.feature_extractor)
        rate = extractor.sampling_rate
        sounds = [self._sound(row, rate) for row in rows]
        padding = _padding(extractor) if self.padding is None else self.padding
        batch = extractor(sounds, sampling_rate=rate, padding=padding, return_tensors="pt")
        if not self.labels:
            return dict(batch)
        return {**batch, LABELS: _labels(rows), **{name: numbers(rows, name) for name in self.needs}}

    def _sound(self, row: Mapping[str, Any], rate: int) -> NDArray[np.float32]:
        if self.augment is None:
            return _sound(row, rate)
        columns.require(row, columns.ID, argument="rows")
        samples = self.augment(_sound(row, columns.SAMPLING_RATE), row[columns.ID], int(self.epoch))
        return audio.read({"array": samples, "sampling_rate": columns.SAMPLING_RATE}, rate)


def _padding(extractor: Any) -> bool | str:
    """Whisper's extractor pads to 30 s unless told otherwise, since its encoder takes nothing else."""
    parameters = inspect.signature(extractor.__call__).parameters
    fixed = "padding" in parameters and parameters["padding"].default == "max_length"
    return "max_length" if fixed else True


def _sound(row: Mapping[str, Any], sampling_rate: int) -> NDArray[np.float32]:
    columns.require(row, columns.AUDIO, argument="rows")
    try:
        return audio.read(row[columns.AUDIO], sampling_rate)
    except AudioError as error:
        raise AudioError(f"utterance {row.get(columns.ID)!r}: {error}") from error


def _labels(rows: Sequence[Mapping[str, Any]]) -> Tensor:
    return torch.from_numpy(np.stack([_soft_label(row) for row in rows]).astype(np.float32))


def _soft_label(row: Mapping[str, Any]) -> NDArray[np.float64]:
    columns.require(row, columns.SOFT_LABEL, argument="rows")
    label, utterance = row[columns.SOFT_LABEL], row.get(columns.ID)
    if label is None:
        raise DistributionError(
            f"utterance {utterance!r} has no `{columns.SOFT_LABEL}` (nobody voted inside the label set): leave such "
            'utterances out, with `rows="voted"` when loading'
        )
    return distribution.as_distributions(label, f"{columns.SOFT_LABEL} of utterance {utterance!r}")


def numbers(rows: Sequence[Mapping[str, Any]], column: str) -> Tensor:
    """A column of a batch, for the loss: float32 (batch, ...); raise `ColumnError` for a row that lacks it."""
    for row in rows:
        columns.require(row, column, argument="rows")
        if row[column] is None:
            raise ColumnError(f"utterance {row.get(columns.ID)!r} has no `{column}`, which the loss needs")
    return torch.tensor(np.array([row[column] for row in rows], dtype=np.float32))
