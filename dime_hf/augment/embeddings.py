"""A column of embeddings from a speech encoder, to find neighbours by instead of the paper's statistics."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import datasets
from datasets import List, Value

from dime_hf import audio
from dime_hf.columns import AUDIO, SAMPLING_RATE
from dime_hf.errors import DistributionError
from dime_hf.stage import Batch, beside, new_columns, undecoded


def embed(
    dataset: datasets.Dataset,
    checkpoint: str,
    *,
    column: str = "embedding",
    layer: int = -1,
    revision: str = "main",
    device: str = "cpu",
) -> datasets.Dataset:
    """Add `column`, a list of D floats: the mean over time of a speech encoder's hidden states after `layer`.

    checkpoint: folder or Hub id of a Wav2Vec2, HuBERT, WavLM or other encoder of waveforms. Each clip is heard alone:
    padding changes what some encoders answer. Kept in the cache of `datasets`, by the checkpoint's name.
    """
    made = new_columns(
        undecoded(dataset),
        _Embedder(checkpoint, layer, revision, device, column),
        reads=[AUDIO],
        writes={column: List(Value("float32"))},
        batch_size=100,
        desc="Embedding utterances",
    )
    return beside(dataset, made)


@dataclasses.dataclass(frozen=True)
class _Embedder:
    """Embeddings of a batch; the model loads with the first."""

    checkpoint: str
    layer: int
    revision: str
    device: str
    column: str

    def __call__(self, batch: Batch) -> dict[str, Any]:
        extractor, model = _load(self.checkpoint, self.revision, self.device)
        rows = []
        for cell in batch[AUDIO]:
            inputs = extractor(audio.read(cell), sampling_rate=SAMPLING_RATE, return_tensors="pt")
            output = model(inputs.input_values.to(self.device), output_hidden_states=True)
            rows.append(output.hidden_states[self.layer][0].mean(0).float().cpu().numpy())
        return {self.column: rows}


@functools.lru_cache(maxsize=1)
def _load(checkpoint: str, revision: str, device: str) -> tuple[Any, Any]:
    """Feature extractor and model."""
    from transformers import AutoFeatureExtractor, AutoModel

    extractor = AutoFeatureExtractor.from_pretrained(checkpoint, revision=revision)
    model = AutoModel.from_pretrained(checkpoint, revision=revision)
    if model.main_input_name != "input_values" or model.config.is_encoder_decoder:
        raise DistributionError(
            f"`checkpoint` is a {type(model).__name__}, which takes {model.main_input_name!r}: "
            "an encoder of waveforms is needed, such as Wav2Vec2, HuBERT or WavLM"
        )
    return extractor, model.eval().requires_grad_(False).to(device)
