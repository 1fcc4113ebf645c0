"""LoRA in the layers of an audio LM, with peft: which layers, and what goes with the weights into a folder."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from dime_hf.annotate.checkpoints import AudioLM, write_tuned_on
from dime_hf.errors import AnnotationError
from dime_hf.tuning.config import TuningConfig
from dime_hf.tuning.heads import CLASSIFIER, Classifier

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
ENCODER_ONLY = ["out_proj"]  # what Whisper's encoder calls `o_proj`
# Modules of the families, and of others that drive like them, that are not the language model
OTHERS = rf"visual|vision_tower|talker|token2wav|speaker_encoder|{CLASSIFIER}"
SENSES = rf".*\b({OTHERS})\b.*"
ENCODERS = rf".*\b(audio_tower|audio_encoder|encoder|{OTHERS})\b.*"


def adapt(lm: AudioLM, config: TuningConfig, classes: int) -> PeftModel:
    """Put LoRA, and the classifier where it is the head, into the layers of `lm.model`; return peft's wrapper of it.

    The weights are drawn from `config.seed`; those of the model are frozen.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        is_classifier = config.head == "classifier"
        if is_classifier:
            add_classifier(lm, classes, config.lora_dropout)
        targets = ATTENTION + ENCODER_ONLY * config.tune_encoder
        lora = LoraConfig(
            r=config.lora_r,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=targets,
            exclude_modules=_excluded(lm.model, targets, SENSES if config.tune_encoder else ENCODERS),
            modules_to_save=[CLASSIFIER] if is_classifier else None,
        )
        try:
            return get_peft_model(lm.model, lora)
        except ValueError as error:
            raise AnnotationError(
                f"LoRA finds no {', '.join(ATTENTION)} in {type(lm.model).__name__}: {error}"
            ) from error


def _excluded(model: Any, targets: Collection[str], pattern: str) -> str | None:
    """The `pattern` of modules to leave alone, where the model has such `targets`: peft warns of one that is idle."""
    named = (name for name, _ in model.named_modules() if name.rpartition(".")[2] in targets)
    return pattern if any(re.fullmatch(pattern, name) for name in named) else None


def add_classifier(lm: AudioLM, classes: int, dropout: float = 0.0) -> None:
    """Put a fresh classifier beside the LM head of a model."""
    width = lm.model.get_output_embeddings().weight.shape[1]
    setattr(lm.model, CLASSIFIER, Classifier(width, classes, dropout).to(lm.model.device))


def save_adapter(model: PeftModel, folder: str | Path, tuned_on: Iterable[str], card: str, **how: Any) -> None:
    """Write what was tuned to a folder that peft loads, with a card and the ids whose labels it has seen."""
    model.save_pretrained(str(folder), save_embedding_layers=False, **how)
    write_tuned_on(folder, tuned_on)
    Path(folder, "README.md").write_text(card, encoding="utf-8")
