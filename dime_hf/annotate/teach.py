"""Teach an audio LM to answer with soft labels: soft cross-entropy of its option probabilities."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from dime_hf import audio, columns
from dime_hf.annotate.families.whisper import Qwen2Audio, frames_to_keep, short_window
from dime_hf.annotate.prompts import Prompt, conversation, cyclic_orders
from dime_hf.annotate.scoring import option_log_probabilities, option_tokens
from dime_hf.distribution import as_distributions
from dime_hf.errors import AnnotationError

SHOWN = 0.85  # share of the questions that show the transcript, where the prompt allows it


def teach(
    model: Any,
    processor: Any,
    school: Dataset,
    *,
    prompts: Sequence[Prompt],
    options: Sequence[str],
    steps: int,
    seed: int,
    batch_size: int = 32,
    learning_rate: float = 2e-3,
) -> None:
    """Fit all weights of `model` to the soft labels of `school`, asking as the annotator asks.

    Every utterance of every batch gets a prompt, a cyclic option order and a transcript (or none) by lot. The loss, in
    nats, counts the mass off the options as an error, so that there is little of it afterwards.
    """
    with _one_thread():
        _teach(model, _Lesson(processor, school, prompts, options), steps, seed, batch_size, learning_rate)


def _teach(model: Any, lesson: _Lesson, steps: int, seed: int, batch_size: int, learning_rate: float) -> None:
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.15)
    model.train()
    with short_window(model, lesson.features.shape[-1]):
        for rows in _batches(len(lesson.labels), batch_size, steps, rng):
            inputs, labels = lesson.batch(rows, rng)
            loss = -(labels * option_log_probabilities(model, inputs, lesson.tokens)).sum(-1).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    model.eval()


class _Lesson:
    """A school in memory: mel features, transcripts and soft labels, from which batches of questions are made."""

    def __init__(self, processor: Any, school: Dataset, prompts: Sequence[Prompt], options: Sequence[str]):
        self.family, self.prompts, self.options = Qwen2Audio(None, processor), prompts, options
        self.orders = cyclic_orders(len(options), len(options))
        self.texts = school[columns.TEXT]
        self.labels = torch.tensor(
            as_distributions(school[columns.SOFT_LABEL], columns.SOFT_LABEL), dtype=torch.float32
        )
        self.features, self.mask = _mel(processor, school)
        self.tokens = option_tokens(self.family, conversation(prompts[0], options, self.orders[0], None), options)

    def batch(self, rows: Sequence[int], rng: np.random.Generator) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Model inputs and soft labels (batch, C) of one question about every utterance of `rows`."""
        mask = self.mask[rows]
        texts = [self._question(row, int(length), rng) for row, length in zip(rows, mask.sum(-1), strict=True)]
        tokens = self.family.processor.tokenizer(texts, padding=True, return_tensors="pt")
        inputs = {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
        return {**inputs, "input_features": self.features[rows], "feature_attention_mask": mask}, self.labels[rows]

    def _question(self, row: int, frames: int, rng: np.random.Generator) -> str:
        """One rendered conversation, with as many audio tokens as the processor would write for `frames` of mel."""
        prompt = self.prompts[int(rng.integers(len(self.prompts)))]
        order = self.orders[int(rng.integers(len(self.orders)))]
        text = self.texts[row] if rng.random() < SHOWN else None
        messages = conversation(prompt, self.options, order, text)
        token = self.family.processor.audio_token
        return self.family.text(messages).replace(token, token * self.family.vectors(frames))


def _mel(processor: Any, school: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    """Mel features (N, bins, frames) and mask (N, frames), cut behind the longest clip of the school."""
    extractor = processor.feature_extractor
    sounds = [audio.read(cell, extractor.sampling_rate) for cell in school[columns.AUDIO]]
    longest = max(map(len, sounds))
    if longest > extractor.n_samples:
        seconds, window = longest / extractor.sampling_rate, extractor.chunk_length
        raise AnnotationError(f"`school` has a recording of {seconds:.2f} s, but the model hears {window} s at a time")
    frames = frames_to_keep(longest // extractor.hop_length, extractor.nb_max_frames)
    parts = [
        extractor(
            sounds[start : start + 32],
            sampling_rate=extractor.sampling_rate,
            padding="max_length",
            max_length=frames * extractor.hop_length,
            return_attention_mask=True,
            return_tensors="pt",
        )
        for start in range(0, len(sounds), 32)
    ]
    return torch.cat([part["input_features"] for part in parts]), torch.cat([part["attention_mask"] for part in parts])


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread: the same weights on any number of cores.

    At this size more threads gain little, and beside another busy process they wait for one another at every operation
    (measured on two cores: 125 s instead of 36 s).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _batches(size: int, batch_size: int, steps: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Yield `steps` batches of rows, all rows in a new order in every round."""
    waiting: list[int] = []
    for _ in range(steps):
        while len(waiting) < batch_size:
            waiting += rng.permutation(size).tolist()
        yield [waiting.pop() for _ in range(min(batch_size, size))]
