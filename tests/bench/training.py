"""Training: what soft labels cost beside plain `Trainer`, and what padding to the longest saves."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import (
    HubertConfig,
    HubertForSequenceClassification,
    SeamlessM4TFeatureExtractor,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForSequenceClassification,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    WavLMConfig,
    WavLMForSequenceClassification,
)

from dime_hf import SoftLabelCollator, SoftLabelConfig, SoftLabelTrainer
from dime_hf.columns import AUDIO, SAMPLING_RATE, SOFT_LABEL
from dime_hf.trainer import LABELS
from tests.bench.timing import compare

CLASSES, CLIPS, BATCH, STEPS, ROUNDS = 4, 16, 8, 12, 6
ANY_LENGTH = ("wav2vec2", "hubert", "wavlm", "wav2vec2-bert")
ONE_LENGTH = {"whisper": "30 s", "ast": "10.24 s"}
SIZES: dict[str, Any] = {
    "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256,
    "num_labels": CLASSES,
}  # fmt: skip
EXTRACTOR = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
Rows = list[dict[str, Any]]


def trainer_vs_plain() -> dict[str, Any]:
    """Steps a second of `SoftLabelTrainer` with the loss `kl`, over those of `Trainer` on integer labels.

    The same model, recordings, order and collator; the labels are another. Runs of both take turns, each first in
    every other round; a step counts with its median over the rounds.
    """
    rows = clips(CLIPS, seconds=(1, 2))
    kinds = {
        "ours": (SoftLabelTrainer, SoftLabelConfig, SoftLabelCollator(EXTRACTOR)),
        "plain": (Trainer, TrainingArguments, hard_batch),
    }
    seconds: dict[str, list[list[float]]] = {name: [] for name in kinds}
    for turn in range(ROUNDS):
        for name in sorted(kinds, reverse=turn % 2 == 1):
            seconds[name].append(steps_of(*kinds[name], rows))
    mine, theirs = (float(np.median(seconds[name], axis=0).sum()) for name in kinds)
    return {
        "name": "trainer_vs_plain", "ours": (STEPS - 3) / mine, "baseline": (STEPS - 3) / theirs,
        "ratio": theirs / mine, "unit": "steps/s", "n": ROUNDS * STEPS,
    }  # fmt: skip


def dynamic_padding_vs_30s() -> dict[str, Any]:
    """Seconds of a pass, forwards and backwards, over clips of 2 to 6 s: padded to a batch's longest, or to 30 s.

    The row is that of the family that saves least among those that take any length; `families` has the ratio of each.
    Whisper's encoder and AST take one length alone, so there is nothing to save: 1.
    """
    rows = sorted(clips(BATCH, seconds=(2, 6)), key=lambda row: len(row[AUDIO]["array"]))
    batches = [rows[: BATCH // 2], rows[BATCH // 2 :]]
    found = {family: padding_of(family, batches) for family in ANY_LENGTH}
    ratios = {family: row["ratio"] for family, row in found.items()} | dict.fromkeys(ONE_LENGTH, 1.0)
    print("  dynamic padding by family: " + ", ".join(f"{family} {ratio:.1f}" for family, ratio in ratios.items()))
    print("  (one length alone: " + ", ".join(f"{family} {length}" for family, length in ONE_LENGTH.items()) + ")")
    return {**min(found.values(), key=lambda row: row["ratio"]), "families": ratios}


def padding_of(family: str, batches: list[Rows]) -> dict[str, Any]:
    model, extractor = encoder(family)

    def run(collator: SoftLabelCollator) -> None:
        for rows in batches:
            inputs = collator(rows)
            labels = inputs.pop(LABELS)
            torch.nn.functional.cross_entropy(model(**inputs).logits, labels).backward()

    return compare(
        "dynamic_padding_vs_30s",
        lambda: run(SoftLabelCollator(extractor)),
        lambda: run(SoftLabelCollator(ThirtySeconds(extractor))),
        unit="s",
        n=BATCH,
        repetitions=1,
    )


class ThirtySeconds:
    """An extractor that pads to 30 s, whatever it is told."""

    sampling_rate = SAMPLING_RATE

    def __init__(self, extractor: Any):
        self.extractor = extractor
        per_second = 100 if hasattr(extractor, "num_mel_bins") else SAMPLING_RATE  # frames, or samples
        self.how = {"padding": "max_length", "max_length": 30 * per_second}

    def __call__(self, sounds: Any, **how: Any) -> Any:
        return self.extractor(sounds, **{**how, **self.how})


def hard_batch(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """The same batch with class indices."""
    inputs = SoftLabelCollator(EXTRACTOR, labels=False)(rows)
    return {**inputs, LABELS: torch.tensor([int(np.argmax(row[SOFT_LABEL])) for row in rows])}


def steps_of(trainer: Any, config: Any, collator: Any, rows: Rows) -> list[float]:
    """Seconds of the steps of a training, without the first two."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        args = config(
            folder, max_steps=STEPS, per_device_train_batch_size=BATCH, use_cpu=True, disable_tqdm=True,
            save_strategy="no", logging_strategy="no", label_names=[LABELS], remove_unused_columns=False,
            dataloader_pin_memory=False,
        )  # fmt: skip
        trainer(model=encoder()[0], args=args, data_collator=collator, train_dataset=rows, callbacks=[clock]).train()
    return np.diff(clock.times).tolist()[2:]  # the first step has no start


class Clock(TrainerCallback):
    """When steps ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, *args: Any, **options: Any) -> None:
        self.times.append(time.perf_counter())


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


def encoder(family: str = "wav2vec2") -> tuple[Any, Any]:
    """A model of a family, with the frame rate of its checkpoints and a tenth of their width, and its extractor."""
    torch.manual_seed(0)
    if family == "wav2vec2-bert":
        bert = Wav2Vec2BertConfig(**SIZES, classifier_proj_size=64, apply_spec_augment=False, layerdrop=0.0)
        return Wav2Vec2BertForSequenceClassification(bert), SeamlessM4TFeatureExtractor(num_mel_bins=80)
    config, model = {
        "wav2vec2": (Wav2Vec2Config, Wav2Vec2ForSequenceClassification),
        "hubert": (HubertConfig, HubertForSequenceClassification),
        "wavlm": (WavLMConfig, WavLMForSequenceClassification),
    }[family]
    convolutions = {
        "conv_dim": (32, 32, 64, 64), "conv_kernel": (10, 8, 4, 2), "conv_stride": (5, 8, 4, 2),
        "num_conv_pos_embeddings": 32, "num_conv_pos_embedding_groups": 4, "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
    }  # fmt: skip
    settings = {**SIZES, **convolutions, "classifier_proj_size": 64, "apply_spec_augment": False, "layerdrop": 0.0}
    return model(config(**settings)), EXTRACTOR
