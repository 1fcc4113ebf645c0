"""Ask audio language models, as simulated annotators, which emotions they perceive in an utterance."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dime_hf.annotate.annotator import Annotator, Answer, Question
    from dime_hf.annotate.audio_lm import AudioLMAnnotator
    from dime_hf.annotate.checkpoints import write_tuned_on
    from dime_hf.annotate.prompts import OPTION_WORDS, PROMPTS, Prompt
    from dime_hf.annotate.remote import Budget, DecisionAnnotator, Patience, RemoteAnnotator
    from dime_hf.annotate.run import annotate
    from dime_hf.annotate.small import SmallShape, small_audio_lm
    from dime_hf.annotate.store import AnswerStore

_HOMES = {
    "Annotator": "annotator",
    "Answer": "annotator",
    "AnswerStore": "store",
    "AudioLMAnnotator": "audio_lm",
    "Budget": "remote",
    "DecisionAnnotator": "remote",
    "OPTION_WORDS": "prompts",
    "PROMPTS": "prompts",
    "Patience": "remote",
    "Prompt": "prompts",
    "Question": "annotator",
    "RemoteAnnotator": "remote",
    "SmallShape": "small",
    "annotate": "run",
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
    "Patience",
    "Prompt",
    "Question",
    "RemoteAnnotator",
    "SmallShape",
    "annotate",
    "small_audio_lm",
    "write_tuned_on",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
