"""Soft labels for speech emotion: human and synthetic votes, pooling, DiME-Aug, training and honest scores.

Importing it makes `datasets.load_dataset("iemocap", data_dir=...)` work; torch and transformers load on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

from dime_hf.corpora.register import register as _register

__version__ = "0.1.0"

_HOMES = {
    "AnswerStore": "annotate",
    "AudioLMAnnotator": "annotate",
    "DimeAug": "augment",
    "LabelSet": "corpora.labels",
    "SoftLabelCollator": "trainer",
    "SoftLabelConfig": "trainer",
    "SoftLabelTrainer": "trainer",
    "VotePolicy": "corpora.policy",
    "cross_pool": "pool",
    "derive": "corpora.derive",
    "get_pooler": "pool",
    "hold_out_votes": "corpora.holdout",
    "join": "corpora.join",
    "load_dataset": "corpora.register",
    "load_encoder": "modeling",
    "register": "corpora.register",
    "rotate_annotators": "corpora.rotation",
    "unregister": "corpora.register",
}  # annotate(), pool() and score() are named like their modules: import them from there
__all__ = [
    "AnswerStore",
    "AudioLMAnnotator",
    "DimeAug",
    "LabelSet",
    "SoftLabelCollator",
    "SoftLabelConfig",
    "SoftLabelTrainer",
    "VotePolicy",
    "__version__",
    "cross_pool",
    "derive",
    "get_pooler",
    "hold_out_votes",
    "join",
    "load_dataset",
    "load_encoder",
    "register",
    "rotate_annotators",
    "unregister",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])


_register()
