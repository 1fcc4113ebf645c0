"""How an audio LM is tuned: the options of transformers' `TrainingArguments`, of LoRA and of the head."""

from __future__ import annotations

import dataclasses
from typing import Any

from dime_hf.errors import did_you_mean
from dime_hf.trainer import SoftLabelConfig

HEADS = ("options", "classifier")
# arXiv 2601.14620; one process, 8 utterances at a time, as the effective batch is 64
PAPER: dict[str, Any] = {
    "head": "classifier",
    "lora_r": 8,
    "lora_alpha": 16,
    "lora_dropout": 0.2,
    "loss": "js_entropy",
    "learning_rate": 2.5e-6,
    "lr_scheduler_type": "cosine_with_restarts",
    "warmup_steps": 0.15,
    "weight_decay": 0.03,
    "max_grad_norm": 3.0,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 8,
    "num_train_epochs": 60,
}


@dataclasses.dataclass(repr=False)  # the parent's `repr` hides tokens
class TuningConfig(SoftLabelConfig):
    """`SoftLabelConfig` with LoRA of rank `lora_r` on q, k, v and o of the language model, scaled by alpha / r.

    `head="options"` fits the probabilities of the answer options, with no new weights; `"classifier"` is the paper's.
    `tune_encoder` puts LoRA into the audio encoder, too. Changed defaults: learning rate 2e-4, cosine after a warm-up
    of 5 %, and the best model is that of the least evaluation loss. The frozen weights are as the annotator loads
    them: `dtype="bfloat16"`, or `quantization="4bit"` (QLoRA, by bitsandbytes on a GPU; never run here). LoRA's are
    float32.
    """

    head: str = dataclasses.field(default="options", metadata={"help": f"One of {', '.join(HEADS)}."})
    lora_r: int = dataclasses.field(default=16, metadata={"help": "Rank of the added matrices."})
    lora_alpha: int = dataclasses.field(default=32, metadata={"help": "What they are scaled by, times the rank."})
    lora_dropout: float = dataclasses.field(default=0.05, metadata={"help": "Dropout before the added matrices."})
    tune_encoder: bool = dataclasses.field(default=False, metadata={"help": "Tune the audio encoder, too."})
    learning_rate: float = dataclasses.field(default=2e-4, metadata={"help": "Largest learning rate."})
    lr_scheduler_type: str = dataclasses.field(default="cosine", metadata={"help": "Schedule of the learning rate."})
    warmup_steps: float = dataclasses.field(default=0.05, metadata={"help": "Warm-up: share of the steps, or steps."})

    def __post_init__(self) -> None:
        if self.eval_strategy != "no" and self.metric_for_best_model is None:
            self.metric_for_best_model, self.greater_is_better = "loss", False  # all that evaluation by question gives
        super().__post_init__()
        if self.augment is not None or self.feature_mix:
            raise ValueError("`augment` and `feature_mix` are for speech encoders: give `tune` augmented utterances")
        if self.head not in HEADS:
            raise ValueError(f"`head` is {self.head!r}, which is no head.{did_you_mean(str(self.head), HEADS)}")
        if not hasattr(self, "activation_checkpointing_kwargs") and self.gradient_checkpointing_kwargs is None:
            # transformers 5.0: reentrant checkpoints have no gradient where their inputs have none, as behind frozen
            # embeddings; later versions have this default
            self.gradient_checkpointing_kwargs = {"use_reentrant": False}

    @classmethod
    def paper(cls, output_dir: str, **changes: Any) -> TuningConfig:
        """The paper's settings (`PAPER`, for one device), with `changes`."""
        return cls(output_dir, **{**PAPER, **changes})
