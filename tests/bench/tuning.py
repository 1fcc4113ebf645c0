"""Memory of one LoRA step: the loss on the answer options' logits against a loss over the whole vocabulary."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from dime_hf.annotate import PROMPTS, AudioLMAnnotator, SmallShape, small_audio_lm
from dime_hf.annotate.scoring import positions
from dime_hf.annotate.strategies import Options
from dime_hf.columns import classes
from dime_hf.corpora import toy
from dime_hf.tuning import TuningConfig, TuningTrainer
from dime_hf.tuning.questions import LABELS, WINDOWS, Questions

VOCABULARY = 156_032  # Qwen2-Audio's
BATCH = 4
SHAPE = SmallShape(seconds=30, mel_bins=80, encoder_width=128, encoder_layers=2, width=256, layers=4, heads=8)


def lora_options_memory() -> dict[str, Any]:
    """Baseline: the model's own loss, over all positions and tokens, of the most probable class as the next token.

    The same random model with a vocabulary of Qwen2-Audio's size, the same adapters, batch and window of the encoder.
    Most that torch has allocated in a forward and backward pass, beside the weights, in MiB.
    """
    with tempfile.TemporaryDirectory() as folder:
        trainer, batch = _prepared(Path(folder))
    family = trainer.head.family
    inputs = {name: tensor for name, tensor in batch.items() if name not in (LABELS, WINDOWS)}
    targets = torch.full_like(inputs["input_ids"], -100)
    first = torch.tensor([tokens[0] for tokens in trainer.head.tokens])
    targets[:, -1] = first[batch[LABELS].argmax(-1)]

    def whole_vocabulary() -> torch.Tensor:
        place = positions(inputs["attention_mask"])
        with family.hearing(inputs):
            return trainer.model(**inputs, position_ids=place, labels=targets, use_cache=False).loss

    ours = peak(lambda: trainer.compute_loss(trainer.model, batch))
    baseline = peak(whole_vocabulary)
    return {
        "name": "lora_options_memory",
        "ours": ours,
        "baseline": baseline,
        "ratio": baseline / ours,
        "unit": f"MiB beside the weights, batch of {BATCH}",
        "n": BATCH,
    }


def peak(loss: Callable[[], torch.Tensor]) -> float:
    """Most MiB that tensors made in a forward and backward pass take at once, by the allocator's own record."""
    loss().backward()  # gradients of the adapters are there from now on
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        loss().backward()
    found = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(found, key=lambda event: event.start_ns()))) / 2**20


def _prepared(folder: Path) -> tuple[TuningTrainer, dict[str, torch.Tensor]]:
    """A trainer of a random model with a large vocabulary, and a batch of toy speech."""
    school = toy.school(BATCH)
    small_audio_lm(folder, label_set=classes(school), shape=SHAPE)
    annotator = AudioLMAnnotator(str(folder), classes(school), prompts=PROMPTS[:1], strategy=Options())
    lm = annotator.load(keep=False)
    lm.model.resize_token_embeddings(VOCABULARY, mean_resizing=False)
    questions = Questions(annotator, school)
    trainer = TuningTrainer(annotator, lm, TuningConfig(str(folder / "run"), disable_tqdm=True), questions)
    return trainer, trainer.data_collator([questions[place] for place in range(BATCH)])
