"""The parity probe: a batch must be answered as its recordings are one by one.

Masks that an attention implementation ignores, positions that count the padding, numbers too coarse to tell options
apart: whatever makes answers depend on the batch shows on noise, before the first utterance is annotated. (It found
that transformers 5.0.0 mixes up the recordings of a batch in Audio Flamingo 3.)
"""

from __future__ import annotations

import numpy as np
import torch

from dime_hf.annotate.families.base import Family
from dime_hf.annotate.prompts import PROMPTS, conversation
from dime_hf.annotate.scoring import Recordings, option_tokens
from dime_hf.annotate.tree import score_questions
from dime_hf.errors import AnnotationError

SECONDS = (0.4, 1.0, 1.7)
OPTIONS = ("happy", "sad")
FINEST = 1e-3  # nats: sums of float32 in another order differ by far less, a wrong mask by far more
STEPS = 64  # what a log-probability of coarser numbers may differ by, in units of their relative precision:
# 0.5 nats in bfloat16 and 0.06 in float16, which is four steps of a logit between 16 and 32


def check_parity(family: Family, checkpoint: str) -> None:
    """Raise `AnnotationError` if a batch of noise is not answered, on two questions, as its recordings alone are.

    Compares log-probabilities of the options, in nats. What is not a number does not differ: it makes failed answers.
    """
    together, alone = _scores(family, [SECONDS]), _scores(family, [(seconds,) for seconds in SECONDS])
    with np.errstate(invalid="ignore"):
        difference = float(np.nanmax(np.abs(together - alone), initial=0.0))
    if difference > (allowed := tolerance(family)):
        model = family.model
        raise AnnotationError(
            f"`checkpoint` {checkpoint!r}: option log-probabilities of a batch differ by {difference:.3g} nats from "
            f"those of its recordings one by one ({model.dtype} on {model.device}, attention "
            f"{model.config._attn_implementation!r}; {allowed:.3g} may be rounding), so that answers would depend on "
            "the batch: try another `dtype`, such as float32, another `attention`, such as eager, or another version "
            "of transformers"
        )


def tolerance(family: Family) -> float:
    """Nats that rounding may make between a batch and its recordings: by dtype, for each token of an option."""
    question = conversation(PROMPTS[0], OPTIONS, range(len(OPTIONS)), None)
    tokens = max(map(len, option_tokens(family, question, OPTIONS)))
    return max(FINEST, STEPS * torch.finfo(family.model.dtype).eps) * tokens


def _scores(family: Family, batches: list[tuple[float, ...]]) -> np.ndarray:
    """Log-probabilities (Q, recordings, K) of noise of so many seconds, asked about batch by batch."""
    scores = []
    for batch in batches:
        sounds = [_noise(int(seconds * family.rate)) for seconds in batch]
        questions = [
            [conversation(prompt, OPTIONS, range(len(OPTIONS)), None)] * len(sounds) for prompt in PROMPTS[:2]
        ]
        scores.append(score_questions(family, Recordings(family, sounds), questions, OPTIONS))
    return np.concatenate(scores, axis=1)


def _noise(samples: int) -> np.ndarray:
    return np.random.default_rng(samples).normal(0, 0.1, samples).astype("float32")
