"""`SoftLabelConfig`: `TrainingArguments` for soft labels."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from transformers import TrainingArguments

from dime_hf import columns
from dime_hf.augment.on_the_fly import OnTheFly
from dime_hf.augment.operations import get_operation
from dime_hf.losses import Loss, get_loss
from dime_hf.trainer.collator import LABELS

BEST = "squared_score"  # proper, so that the truth is best


@dataclasses.dataclass(repr=False)  # the parent's `repr` hides tokens
class SoftLabelConfig(TrainingArguments):
    """`TrainingArguments` for soft labels; `loss`, of `dime_hf.losses`, is made with `loss_settings`.

    `augment` names an operation of DiME-Aug, such as "perturb", that is drawn anew for each row and epoch of training.
    `feature_mix` mixes features of so many rows with another's, inside the model.

    Changed defaults: `remove_unused_columns=False` (the collator reads the audio column), `label_names=["labels"]`
    (or `compute_metrics` is never called), `length_column_name="duration"` (for `train_sampling_strategy`), no pinned
    memory where there is no accelerator; where evaluation is on, the best model is that of the least `squared_score`.
    Raises `ValueError` for an unknown loss and for `label_smoothing_factor`, which means nothing for labels that are
    distributions.
    """

    _VALID_DICT_FIELDS = [*TrainingArguments._VALID_DICT_FIELDS, "loss_settings"]

    loss: str = dataclasses.field(default="kl", metadata={"help": "A name of `dime_hf.losses.LOSSES`."})
    loss_settings: dict[str, Any] | str | None = dataclasses.field(
        default=None, metadata={"help": "Keyword arguments of the loss, as JSON."}
    )
    augment: str | None = dataclasses.field(
        default=None, metadata={"help": "A label-preserving operation of DiME-Aug, drawn anew for each training row."}
    )
    augment_share: float = dataclasses.field(
        default=1.0, metadata={"help": "Share of the rows that `augment` changes."}
    )
    feature_mix: float = dataclasses.field(
        default=0.0, metadata={"help": "Share of training rows whose features are mixed with another row's."}
    )
    remove_unused_columns: bool = dataclasses.field(
        default=False, metadata={"help": "Keep it False: the collator reads the audio column."}
    )
    label_names: list[str] | None = dataclasses.field(
        default_factory=lambda: [LABELS], metadata={"help": "Keys of a batch that are labels."}
    )
    length_column_name: str = dataclasses.field(
        default=columns.DURATION, metadata={"help": "Column with the lengths that batches are grouped by."}
    )

    def __post_init__(self) -> None:
        if self.eval_strategy != "no" and self.metric_for_best_model is None:
            self.metric_for_best_model = BEST
        if self.metric_for_best_model in (BEST, f"eval_{BEST}") and self.greater_is_better is None:
            self.greater_is_better = False  # the parent would take it for one that should grow
        super().__post_init__()
        self.get_loss()
        self.on_the_fly()
        if self.label_smoothing_factor != 0:
            raise ValueError(
                f"`label_smoothing_factor` is {self.label_smoothing_factor}, but it smooths class indices and these "
                "labels are distributions: leave it 0, and pool with a prior (`dime_hf.pool`) for smoother soft labels"
            )
        if not 0 <= self.feature_mix <= 1:
            raise ValueError(f"`feature_mix` must lie in [0, 1], not {self.feature_mix}")
        if self.remove_unused_columns:
            raise ValueError("`remove_unused_columns=True` would take the audio from the collator: leave it False")
        # A DataLoader warns where there is nothing to pin memory for: https://github.com/pytorch/pytorch/pull/146821
        self.dataloader_pin_memory = self.dataloader_pin_memory and torch.accelerator.is_available()

    def on_the_fly(self) -> OnTheFly | None:
        """Return what `augment` names, seeded as the order of the rows is."""
        seed = self.seed if self.data_seed is None else self.data_seed
        return None if self.augment is None else OnTheFly(get_operation(self.augment), self.augment_share, seed)

    def get_loss(self) -> Loss:
        """Return the loss: a function of logits, soft labels, and what its `needs` names."""
        return get_loss(self.loss, **dict(self.loss_settings or {}))  # type: ignore[arg-type]
