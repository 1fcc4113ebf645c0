"""How near the scoring of options comes to what the machine could do at best."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from dime_hf.annotate import scoring
from dime_hf.annotate.prompts import option_words
from tests.bench.options import CLASSES, batches, in_one_thread, inputs, medium_model, option_token_ids, recordings_of
from tests.bench.timing import fastest

SIZE = 1024  # of the square matrices whose product sets the rate


@in_one_thread
def share_of_floor() -> dict[str, Any]:
    """Ours: seconds for one question about every clip. Baseline: the physical floor, so that the ratio is its share.

    The floor is the operations of one encoder pass and one prefill of every clip by itself, without padding, over the
    rate at which the machine multiplies matrices. What lies between are padding, attention's soft maxima, norms,
    activations, and memory.
    """
    lm, clips, options = medium_model(), recordings_of(), option_words(CLASSES)
    parts, tokens = [inputs(lm, part, options) for part in batches(clips)], option_token_ids(lm, options)

    @torch.inference_mode()
    def ours() -> None:
        for part in parts:
            scoring.score_recordings(lm.family, part, tokens)

    floor = sum(operations(lm, clip, options, tokens) for clip in clips) / matmul_rate()
    seconds = fastest(ours, repetitions=5)
    return {
        "name": "share_of_floor",
        "ours": seconds,
        "baseline": floor,
        "ratio": floor / seconds,
        "unit": f"s for {len(clips)} clips",
        "n": len(clips),
    }


def operations(lm: Any, clip: Any, options: tuple[str, ...], tokens: Any) -> int:
    """Floating-point operations of one question about one clip."""
    alone = inputs(lm, [clip], options)
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        scoring.score_recordings(lm.family, alone, tokens)
    return counter.get_total_flops()


def matmul_rate() -> float:
    """Floating-point operations a second of a large product of matrices in float32."""
    one, two = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    return 2 * SIZE**3 / fastest(lambda: one @ two, repetitions=30)
