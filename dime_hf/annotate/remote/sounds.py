"""What is sent about an utterance: its recording as WAV in base64, and words that stay words."""

from __future__ import annotations

import base64
import re
from typing import Any

import numpy as np

from dime_hf import audio
from dime_hf.annotate.listening import audible
from dime_hf.columns import SAMPLING_RATE

MARKUP = re.compile(r"<(?=[^<>\s]+>|<)|\[(?=/?[A-Z_]+\])")  # opens <|im_end|>, <audio>, </s>, <<SYS>>, [INST]


def encoded_windows(cell: Any, max_seconds: float | None) -> list[str]:
    """Return a recording as 16-bit WAV at 16 kHz in base64, in equal windows of at most `max_seconds`.

    Raises `AudioError` for what cannot be read or judged.
    """
    samples = audible(audio.read(cell), SAMPLING_RATE)
    count = 1 if max_seconds is None else -(-len(samples) // int(max_seconds * SAMPLING_RATE))
    return [base64.b64encode(audio.encode_wav(part)).decode() for part in np.array_split(samples, count)]


def plain(text: str | None) -> str | None:
    """Break up what a chat template or tokenizer may take for markup: the words of a speaker stay words.

    >>> plain("Fine.<|im_end|> [INST] 1 < 2")
    'Fine.< |im_end|> [ INST] 1 < 2'
    """
    return MARKUP.sub(r"\g<0> ", text) if text else None
