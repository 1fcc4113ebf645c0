"""Scoring the answer options from one prefill against sampling the answer ten times."""

from __future__ import annotations

import tempfile
from typing import Any

import torch

from dime_hf import audio, columns
from dime_hf.annotate import PROMPTS, SmallShape, checkpoints, scoring, small_audio_lm
from dime_hf.annotate.prompts import conversation, cyclic_orders, option_words
from dime_hf.corpora import toy
from tests.bench.timing import compare

SHAPE = SmallShape(seconds=10, mel_bins=80, encoder_width=384, encoder_layers=4, width=512, layers=8, heads=8)  # 25 M
CLIPS = 8
BATCH = 4
DRAWS = 10


def options_vs_sampled10() -> dict[str, Any]:
    """Baseline: ten separate sampled generations, as many new tokens as the longest option has.

    Same random model of 25 M parameters, same clips, same batches; features are extracted beforehand for both. In one
    thread: several of them wait for whatever else the machine does, and the ratio says more about that than about us.
    """
    school = toy.school(CLIPS)
    options = option_words(columns.classes(school))
    with tempfile.TemporaryDirectory() as folder:
        lm = checkpoints.load(str(small_audio_lm(folder, label_set=options, shape=SHAPE)))
    parts = [school[start : start + BATCH] for start in range(0, CLIPS, BATCH)]
    batches, whole = ([make(lm, part, options) for part in parts] for make in (inputs, processed))
    tokens = scoring.option_tokens(lm.family, conversation(PROMPTS[0], options, range(4), None), options)
    longest = max(map(len, tokens))

    @torch.inference_mode()
    def ours() -> None:
        for batch in batches:
            scoring.score_recordings(lm.family, batch, tokens)

    def sampled() -> None:
        for batch in whole:
            for _ in range(DRAWS):
                lm.model.generate(**batch, do_sample=True, max_new_tokens=longest)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return compare("options_vs_sampled10", ours, sampled, unit=f"s for {CLIPS} clips", n=CLIPS, repetitions=3)
    finally:
        torch.set_num_threads(threads)


def prompts5_orders4() -> dict[str, Any]:
    """Baseline: twenty separate passes of ours, one a question, over the same extracted features."""
    school = toy.school(CLIPS)
    options = option_words(columns.classes(school))
    with tempfile.TemporaryDirectory() as folder:
        lm = checkpoints.load(str(small_audio_lm(folder, label_set=options, shape=SHAPE)))
    recordings = lm.listen([audio.read(cell, lm.rate) for cell in school[columns.AUDIO]])
    questions = [
        [conversation(prompt, options, order, text) for text in school[columns.TEXT]]
        for prompt in PROMPTS
        for order in cyclic_orders(len(options), 4)
    ]
    return compare(
        "prompts5_orders4",
        lambda: lm.score(recordings, questions, options),
        lambda: [lm.score(recordings, [question], options) for question in questions],
        unit=f"s for {CLIPS} clips",
        n=CLIPS * len(questions),
        repetitions=3,
    )


def inputs(lm: checkpoints.AudioLM, rows: dict[str, list[Any]], options: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Model inputs of one question about every utterance."""
    recordings = lm.listen([audio.read(cell, lm.rate) for cell in rows[columns.AUDIO]])
    order = range(len(options))
    return recordings.ask([conversation(PROMPTS[0], options, order, text) for text in rows[columns.TEXT]])


def processed(
    lm: checkpoints.AudioLM, rows: dict[str, list[Any]], options: tuple[str, ...]
) -> dict[str, torch.Tensor]:
    """The same as the processor makes it, for whatever does not cut the encoder's window."""
    order = range(len(options))
    asked = [conversation(PROMPTS[0], options, order, text) for text in rows[columns.TEXT]]
    texts = [lm.processor.apply_chat_template(q, tokenize=False, add_generation_prompt=True) for q in asked]
    sounds = [audio.read(cell, lm.rate) for cell in rows[columns.AUDIO]]
    return dict(lm.processor(text=texts, audio=sounds, sampling_rate=lm.rate, return_tensors="pt", padding=True))
