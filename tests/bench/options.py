"""Scoring the answer options from one prefill against sampling the answer ten times."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from dime_hf import audio, columns
from dime_hf.annotate import PROMPTS, SmallShape, checkpoints, scoring, small_audio_lm
from dime_hf.annotate.prompts import conversation, cyclic_orders, option_words
from dime_hf.corpora import toy
from tests.bench.timing import compare
from tests.places import DATA

# 25 M parameters; the window of 30 s is that of released models, whose encoder always runs over all of it
SHAPE = SmallShape(seconds=30, mel_bins=80, encoder_width=384, encoder_layers=4, width=512, layers=8, heads=8)
CLASSES = ("angry", "happy", "neutral", "sad")
TEXT = "I told you, there is nothing we can do about it now."
CLIPS = 8
BATCH = 4
DRAWS = 10


def in_one_thread(benchmark: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """Run it so: several threads wait for whatever else the machine does, which is then what is measured."""

    @functools.wraps(benchmark)
    def run() -> dict[str, Any]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return benchmark()
        finally:
            torch.set_num_threads(threads)

    return run


@in_one_thread
def options_vs_sampled10() -> dict[str, Any]:
    """Baseline: ten separate sampled generations, as many new tokens as the longest option has."""
    return _against_sampling("options_vs_sampled10", calls=DRAWS, sequences=1)


@in_one_thread
def options_vs_num_return_sequences10() -> dict[str, Any]:
    """Baseline: one sampled generation of ten sequences, as many new tokens as the longest option has."""
    return _against_sampling("options_vs_num_return_sequences10", calls=1, sequences=DRAWS)


def _against_sampling(name: str, calls: int, sequences: int) -> dict[str, Any]:
    """Same random model of 25 M parameters, same clips, same batches; features are extracted beforehand for both."""
    lm, clips, options = medium_model(), recordings_of(BATCH), option_words(CLASSES)
    parts, whole = ([make(lm, part, options) for part in batches(clips)] for make in (inputs, processed))
    tokens = option_token_ids(lm, options)
    longest = max(map(len, tokens))

    @torch.inference_mode()
    def ours() -> None:
        for part in parts:
            scoring.score_recordings(lm.family, part, tokens)

    def sampled() -> None:
        for part in whole:
            for _ in range(calls):
                lm.model.generate(**part, do_sample=True, num_return_sequences=sequences, max_new_tokens=longest)

    return compare(name, ours, sampled, unit=f"s for {len(clips)} clips", n=len(clips), repetitions=1)


def prompts5_orders4() -> dict[str, Any]:
    """Baseline: twenty separate passes of ours, one a question, over the same extracted features."""
    lm, clips, options = medium_model(), recordings_of(), option_words(CLASSES)
    heard = lm.listen(clips)
    questions = [
        [conversation(prompt, options, order, TEXT)] * len(clips)
        for prompt in PROMPTS
        for order in cyclic_orders(len(options), 4)
    ]
    return compare(
        "prompts5_orders4",
        lambda: lm.score(heard, questions, options),
        lambda: [lm.score(heard, [question], options) for question in questions],
        unit=f"s for {len(clips)} clips",
        n=len(clips) * len(questions),
        repetitions=3,
    )


@functools.cache
def medium_model() -> checkpoints.AudioLM:
    """A random model of 25 M parameters."""
    with tempfile.TemporaryDirectory() as folder:
        return checkpoints.load(str(small_audio_lm(folder, label_set=CLASSES, shape=SHAPE)))


def recordings_of(count: int = CLIPS) -> list[np.ndarray]:
    """Real clips, of EmoDB, where they are at hand; otherwise toy speech. Shortest first: a batch has one length."""
    wavs = sorted((DATA / "emodb" / "wav").glob("*.wav"))
    cells: list[Any] = wavs[:: max(1, len(wavs) // count)][:count] or toy.school(count)[:][columns.AUDIO]
    return sorted((audio.read(cell) for cell in cells), key=len)


def batches(clips: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    for start in range(0, len(clips), BATCH):
        yield clips[start : start + BATCH]


def option_token_ids(lm: checkpoints.AudioLM, options: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    return scoring.option_tokens(lm.family, asked(options, 1)[0], options)


def asked(options: tuple[str, ...], count: int) -> list[list[dict[str, Any]]]:
    """One question about each of some clips."""
    return [conversation(PROMPTS[0], options, range(len(options)), TEXT)] * count


def inputs(lm: checkpoints.AudioLM, clips: list[np.ndarray], options: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Model inputs of one question about every clip."""
    return lm.listen(clips).ask(asked(options, len(clips)))


def processed(lm: checkpoints.AudioLM, clips: list[np.ndarray], options: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """The same as the processor makes it, for whatever does not cut the encoder's window."""
    texts = [
        lm.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        for messages in asked(options, len(clips))
    ]
    return dict(lm.processor(text=texts, audio=clips, sampling_rate=lm.rate, return_tensors="pt", padding=True))
