"""Ask audio language models, as simulated annotators, which emotions they perceive in an utterance."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dime_hf.annotate.annotator import Annotator, Answer, Question
    from dime_hf.annotate.audio_lm import AudioLMAnnotator
    from dime_hf.annotate.card import annotation_card
    from dime_hf.annotate.checkpoints import write_tuned_on
    from dime_hf.annotate.content_free import correct_prior
    from dime_hf.annotate.planning import Plan, plan
    from dime_hf.annotate.prompts import OPTION_WORDS, PROMPTS, Prompt
    from dime_hf.annotate.remote import Budget, DecisionAnnotator, Patience, RemoteAnnotator
    from dime_hf.annotate.run import annotate
    from dime_hf.annotate.shards import StoreFolder, annotate_shard, collect
    from dime_hf.annotate.small import SmallShape, small_audio_lm
    from dime_hf.annotate.store import AnswerStore
    from dime_hf.annotate.strategies import Options, Paper, Sample, Verbalised

_HOMES = {
    "Annotator": "annotator",
    "Answer": "annotator",
    "AnswerStore": "store",
    "AudioLMAnnotator": "audio_lm",
    "Budget": "remote",
    "DecisionAnnotator": "remote",
    "OPTION_WORDS": "prompts",
    "Options": "strategies",
    "PROMPTS": "prompts",
    "Paper": "strategies",
    "Patience": "remote",
    "Plan": "planning",
    "Prompt": "prompts",
    "Question": "annotator",
    "RemoteAnnotator": "remote",
    "Sample": "strategies",
    "SmallShape": "small",
    "StoreFolder": "shards",
    "Verbalised": "strategies",
    "annotate": "run",
    "annotate_shard": "shards",
    "annotation_card": "card",
    "collect": "shards",
    "correct_prior": "content_free",
    "plan": "planning",
    "small_audio_lm": "small",
    "write_tuned_on": "checkpoints",
}
__all__ = [
    "OPTION_WORDS",
    "PROMPTS",
    "Annotator",
    "Answer",
    "AnswerStore",
    "AudioLMAnnotator",
    "Budget",
    "DecisionAnnotator",
    "Options",
    "Paper",
    "Patience",
    "Plan",
    "Prompt",
    "Question",
    "RemoteAnnotator",
    "Sample",
    "SmallShape",
    "StoreFolder",
    "Verbalised",
    "annotate",
    "annotate_shard",
    "annotation_card",
    "collect",
    "correct_prior",
    "plan",
    "small_audio_lm",
    "write_tuned_on",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
