"""Merge an adapter into its checkpoint: ordinary weights, for engines that know nothing of adapters."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from dime_hf.annotate.audio_lm import AudioLMAnnotator
from dime_hf.annotate.checkpoints import adapted, write_tuned_on
from dime_hf.errors import AnnotationError


def merge(annotator: AudioLMAnnotator, folder: str | Path) -> AudioLMAnnotator:
    """Write the checkpoint of a tuned annotator, its adapter added to the weights, to `folder`; return its annotator.

    It answers as before, up to rounding, and refuses the same utterances.
    """
    if annotator.adapter is None:
        raise AnnotationError("`annotator` has no `adapter` to merge")
    if annotator.quantization is not None:
        raise AnnotationError(
            f"`quantization={annotator.quantization!r}` would be merged with its rounding: merge an annotator "
            "without it"
        )
    lm = dataclasses.replace(annotator, adapter=None).load(keep=False)
    merged = adapted(lm.model, annotator.adapter).merge_and_unload(safe_merge=True)
    merged.save_pretrained(folder)
    lm.processor.save_pretrained(folder)
    write_tuned_on(folder, annotator.tuned_on)
    return dataclasses.replace(annotator, checkpoint=str(folder), adapter=None, revision=None)
