"""What an audio LM is tuned on: the annotator's questions about utterances whose soft labels are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor

from dime_hf import columns
from dime_hf.annotate.audio_lm import AudioLMAnnotator
from dime_hf.annotate.checkpoints import AudioLM
from dime_hf.annotate.listening import Heard
from dime_hf.distribution import as_distributions
from dime_hf.errors import AnnotationError, AudioError, DistributionError
from dime_hf.stage import undecoded
from dime_hf.trainer.collator import LABELS, numbers

ASK, WINDOWS = "ask", "windows"
READ = (columns.ID, columns.AUDIO, columns.TEXT, columns.SOFT_LABEL)


class Questions(torch.utils.data.Dataset[dict[str, Any]]):
    """Every question about every utterance: item i is question i // N about utterance i % N.

    So an epoch asks every prompt in every option order once about each of the N utterances. `needs` names further
    columns, for the loss. Raises `AnnotationError` for another label set than the annotator's, `DistributionError` for
    utterances without a soft label.
    """

    def __init__(
        self,
        annotator: AudioLMAnnotator,
        dataset: datasets.Dataset,
        argument: str = "dataset",
        needs: Sequence[str] = (),
    ):
        columns.require(dataset, *READ, *needs, argument=argument)
        if columns.classes(dataset, argument) != annotator.label_set:
            raise AnnotationError(
                f"`annotator` answers about {annotator.label_set}, but the classes of `{argument}` are "
                f"{columns.classes(dataset, argument)}: give both the same label set, in the same order"
            )
        labels = dataset[columns.SOFT_LABEL][:]
        if lacking := [id for id, label in zip(dataset[columns.ID], labels, strict=True) if label is None]:
            raise DistributionError(
                f"`{argument}` has {len(lacking)} utterances without a soft label (such as {lacking[0]!r}), in whose "
                'label set nobody voted: leave them out, with `rows="voted"` when loading'
            )
        self.labels = as_distributions(labels, columns.SOFT_LABEL)
        self.utterances = undecoded(dataset.with_format(None)).select_columns([*READ[:3], *needs])
        self.asks = len(annotator.asks)

    def __len__(self) -> int:
        return len(self.utterances) * self.asks

    def __getitem__(self, place: int) -> dict[str, Any]:
        ask, row = divmod(place, len(self.utterances))
        return {**self.utterances[row], columns.SOFT_LABEL: self.labels[row], ASK: ask}


@dataclasses.dataclass(frozen=True)
class QuestionCollator:
    """Make a batch of rows of `Questions`: the model's inputs, as the annotator makes them.

    `labels` are the soft labels (batch, C) and `windows` (W,) the row in the batch of each window that is heard: a
    recording longer than the encoder's window is heard in several. `needs` names further columns of numbers, for the
    loss. Raises `AudioError`, with the utterance's id, for one that cannot be heard.
    """

    lm: AudioLM
    annotator: AudioLMAnnotator
    needs: tuple[str, ...] = ()

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        batch = {name: [row[name] for row in rows] for name in READ[:3]}
        heard = Heard.of(self.lm, batch, self.annotator.modality)
        for id, error in zip(heard.ids, heard.errors, strict=True):
            if error is not None:
                raise AudioError(f"utterance {id!r}: {error}")
        asks = self.annotator.asks
        conversations = [
            asks[rows[place][ASK]].messages(self.annotator.options, heard.texts[place]) for place in heard.rows
        ]
        assert heard.recordings is not None  # there is a window where there is no error
        labels = np.stack([row[columns.SOFT_LABEL] for row in rows])
        return {
            LABELS: torch.from_numpy(labels.astype(np.float32)),  # first: `Trainer` reads the batch's size off it
            WINDOWS: torch.tensor(heard.rows),
            **{name: numbers(rows, name) for name in self.needs},
            **heard.recordings.ask(conversations),
        }
