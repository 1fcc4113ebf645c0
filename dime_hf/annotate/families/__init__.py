"""Families of audio LMs: one small adapter each, picked by the `model_type` of a checkpoint's config."""

from __future__ import annotations

import importlib
from typing import Any

from dime_hf.annotate.families.base import Family
from dime_hf.errors import AnnotationError

_HOMES = {
    "audioflamingo3": "whisper:AudioFlamingo3",
    "qwen2_5_omni": "qwen_omni:Qwen25OmniThinker",
    "qwen2_5_omni_thinker": "qwen_omni:Qwen25OmniThinker",
    "qwen2_audio": "whisper:Qwen2Audio",
    "qwen3_omni_moe": "qwen_omni:Qwen3OmniThinker",
    "qwen3_omni_moe_thinker": "qwen_omni:Qwen3OmniThinker",
    "voxtral": "voxtral:Voxtral",
}
__all__ = ["Family", "family_of"]


def family_of(config: Any) -> type[Family]:
    """Class that drives the models of a `config`; `Family` itself for a type that is not known here but hears.

    Raises `AnnotationError` for a type whose config says nothing of audio.
    """
    if config.model_type in _HOMES:
        module, _, name = _HOMES[config.model_type].partition(":")
        return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    if not any("audio" in key for key in config.to_dict()):
        raise AnnotationError(
            f"`checkpoint` is a {config.model_type} model, not one that takes sound and chat; models that were tried "
            f"are of the types {', '.join(sorted(_HOMES))}"
        )
    return Family
