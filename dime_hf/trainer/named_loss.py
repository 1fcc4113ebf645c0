"""What the trainers of encoders and of audio LMs share: the loss that `args.loss` names, fitted and fed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import Trainer

from dime_hf.errors import ColumnError
from dime_hf.trainer import evaluation
from dime_hf.trainer.collator import LABELS


class NamedLossTrainer(Trainer):
    """`Trainer` with the loss `self.loss`, between softmax(logits) and the batch's `labels` (batch, C).

    A subclass sets `loss` before it calls this constructor, and says in `answers` what the model makes of a batch.
    """

    loss: Any

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        # Our loss is the mean of a micro-batch, so `Trainer` must divide by the accumulation steps. It would not,
        # because the model's `forward` takes **kwargs: https://github.com/huggingface/transformers/issues/47688
        self.model_accepts_loss_kwargs = False

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the columns that the loss takes besides the soft labels."""
        return tuple(getattr(self.loss, "needs", ()))

    def answers(self, model: nn.Module, inputs: dict[str, Any], labels: Tensor) -> tuple[Any, Tensor]:
        """Return outputs with `logits` (batch, C), and the labels that they are compared to."""
        return model(**inputs), labels

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss between softmax(logits) and `labels` (batch, C), which the model itself never sees."""
        inputs = dict(inputs)
        for name in (LABELS, *self.needs):
            if name not in inputs:
                raise ColumnError(f"`data_collator` gave no {name!r}, but {sorted(inputs)}")
        labels = inputs.pop(LABELS)
        needed = {name: inputs.pop(name) for name in self.needs}
        outputs, labels = self.answers(model, inputs, labels)
        loss = self.loss(outputs["logits"], labels, **needed)
        return (loss, outputs) if return_outputs else loss

    def vote_distributions(self, logits: Any) -> NDArray[np.float64]:
        """Return the distributions (N, C) that the loss takes for the votes': of most losses softmax(logits)."""
        if getattr(self.loss, "moves_logits", False):
            logits = logits[0] if isinstance(logits, (tuple, list)) else logits
            logits = self.loss.vote_logits(torch.as_tensor(np.asarray(logits, dtype=np.float64))).numpy()
        return evaluation.probabilities(logits)
