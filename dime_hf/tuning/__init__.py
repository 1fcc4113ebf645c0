"""Tune an audio LM on soft labels with LoRA: what comes out is again an annotator, or a classifier as the paper's."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dime_hf.tuning.config import TuningConfig
    from dime_hf.tuning.export import merge
    from dime_hf.tuning.run import make_trainer, tune
    from dime_hf.tuning.training import TuningTrainer

_HOMES = {
    "TuningConfig": "config",
    "TuningTrainer": "training",
    "make_trainer": "run",
    "merge": "export",
    "tune": "run",
}
__all__ = ["TuningConfig", "TuningTrainer", "make_trainer", "merge", "tune"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
