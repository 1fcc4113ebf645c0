"""Training: what soft labels cost beside plain `Trainer`, and what padding to the longest saves."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import (
    Trainer,
    TrainerCallback,
    TrainingArguments,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)

from dime_hf import SoftLabelCollator, SoftLabelConfig, SoftLabelTrainer
from dime_hf.columns import AUDIO, SAMPLING_RATE, SOFT_LABEL
from dime_hf.trainer import LABELS
from tests.bench.timing import compare

CLASSES, CLIPS, BATCH, STEPS, ROUNDS = 4, 16, 8, 10, 4
EXTRACTOR = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
Rows = list[dict[str, Any]]


def trainer_vs_plain() -> dict[str, Any]:
    """Steps a CPU second of `SoftLabelTrainer` with the loss `kl`, over those of `Trainer` on integer labels.

    The same model, recordings, order and collator; the labels are another. Both train in turn, and of every step the
    fastest round counts, since whatever else the machine does only slows steps.
    """
    rows = clips(CLIPS, seconds=(1, 2))
    ours, plain = [], []
    for _ in range(ROUNDS):
        ours.append(steps_of(SoftLabelTrainer, SoftLabelConfig, SoftLabelCollator(EXTRACTOR), rows))
        plain.append(steps_of(Trainer, TrainingArguments, hard_batch, rows))
    mine, theirs = (float(np.min(seconds, axis=0).sum()) for seconds in (ours, plain))
    steps = len(ours[0])
    return {
        "name": "trainer_vs_plain", "ours": steps / mine, "baseline": steps / theirs, "ratio": theirs / mine,
        "unit": "steps/CPU s", "n": ROUNDS * STEPS,
    }  # fmt: skip


def dynamic_padding_vs_30s() -> dict[str, Any]:
    """Seconds of a pass, forwards and backwards, over clips of 2 to 6 s: padded to a batch's longest, or to 30 s.

    Of Wav2Vec2, and with it HuBERT and WavLM; w2v-BERT pads likewise. Whisper's encoder and AST have one length, so
    that there is nothing to save.
    """
    rows = sorted(clips(CLIPS, seconds=(2, 6)), key=lambda row: len(row[AUDIO]["array"]))
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    model = encoder()

    def run(collator: SoftLabelCollator) -> None:
        for rows in batches:
            inputs = collator(rows)
            labels = inputs.pop(LABELS)
            torch.nn.functional.cross_entropy(model(**inputs).logits, labels).backward()

    return compare(
        "dynamic_padding_vs_30s",
        lambda: run(SoftLabelCollator(EXTRACTOR)),
        lambda: run(SoftLabelCollator(ThirtySeconds())),
        unit="s",
        n=CLIPS,
        repetitions=1,
    )


class ThirtySeconds:
    """An extractor that pads to 30 s, whatever it is told."""

    sampling_rate = SAMPLING_RATE

    def __call__(self, sounds: Any, **how: Any) -> Any:
        return EXTRACTOR(sounds, **{**how, "padding": "max_length", "max_length": 30 * SAMPLING_RATE})


def hard_batch(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """The same batch with class indices."""
    inputs = SoftLabelCollator(EXTRACTOR, labels=False)(rows)
    return {**inputs, LABELS: torch.tensor([int(np.argmax(row[SOFT_LABEL])) for row in rows])}


def steps_of(trainer: Any, config: Any, collator: Any, rows: Rows) -> list[float]:
    """CPU seconds of the steps of a training, without the first two."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        args = config(
            folder, max_steps=STEPS, per_device_train_batch_size=BATCH, use_cpu=True, disable_tqdm=True,
            save_strategy="no", logging_strategy="no", label_names=[LABELS], remove_unused_columns=False,
            dataloader_pin_memory=False,
        )  # fmt: skip
        trainer(model=encoder(), args=args, data_collator=collator, train_dataset=rows, callbacks=[clock]).train()
    return np.diff(clock.times).tolist()[2:]


class Clock(TrainerCallback):
    """When steps ended, in CPU seconds, which other work on the machine hardly changes."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, *args: Any, **options: Any) -> None:
        self.times.append(time.process_time())


def clips(number: int, seconds: tuple[float, float]) -> Rows:
    """Noise of lengths in a range, with soft labels."""
    rng = np.random.default_rng(0)
    lengths = (np.linspace(*seconds, number) * SAMPLING_RATE).astype(int)
    return [
        {
            AUDIO: {"array": rng.normal(size=length).astype(np.float32), "sampling_rate": SAMPLING_RATE},
            SOFT_LABEL: rng.dirichlet(np.ones(CLASSES)),
        }
        for length in lengths
    ]


def encoder() -> Wav2Vec2ForSequenceClassification:
    """A Wav2Vec2 with the frame rate of the large ones, 0.7 M weights."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256,
        conv_dim=(32, 32, 64, 64), conv_kernel=(10, 8, 4, 2), conv_stride=(5, 8, 4, 2), num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=4, classifier_proj_size=64, feat_extract_norm="layer", do_stable_layer_norm=True,
        apply_spec_augment=False, layerdrop=0.0, num_labels=CLASSES,
    )  # fmt: skip
    return Wav2Vec2ForSequenceClassification(config)
