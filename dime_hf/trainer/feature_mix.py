"""Mixing inside the model, the operation `feature` of DiME-Aug: for training without new sound files.

Two utterances of a batch become one where the features of their sound enter the encoder (manifold mixup, 1806.05236):
w h_i + (1 - w) h_j, cut to the shorter, w ~ U(0, 1) as in `interpolate`, and the soft label is w p_i + (1 - w) p_j.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

PROJECTION = "feature_projection"  # of wav2vec 2.0, HuBERT, WavLM and w2v-BERT


@dataclasses.dataclass(frozen=True)
class Pairs:
    """The partner (B,) of each row of a batch, and the weight (B,) that the row itself keeps: 1 where it is alone."""

    partner: Tensor
    weight: Tensor

    @classmethod
    def draw(cls, rows: int, share: float, seed: int) -> Pairs:
        """Draw partners for about `share` of the rows."""
        generator = torch.Generator().manual_seed(seed)
        partner = torch.randperm(rows, generator=generator)
        weight = torch.rand(rows, generator=generator)
        alone = torch.rand(rows, generator=generator) >= share
        return cls(partner, torch.where(alone | (partner == torch.arange(rows)), 1.0, weight))

    def mix(self, values: Tensor) -> Tensor:
        """Mix values (B, ...) of the rows."""
        weight = self.weight.to(values).reshape(-1, *[1] * (values.ndim - 1))
        return weight * values + (1 - weight) * values[self.partner]

    def cut(self, attention_mask: Tensor) -> Tensor:
        """The mask (B, T) of what both partners have."""
        both = attention_mask & attention_mask[self.partner]
        return torch.where((self.weight < 1).to(both.device)[:, None], both, attention_mask)


def find_projection(model: nn.Module) -> nn.Module:
    """Return the module whose output is mixed; raise `ValueError` for a model that has none."""
    for name, module in model.named_modules():
        if name.split(".")[-1] == PROJECTION:
            return module
    raise ValueError(
        f"`feature_mix` mixes the output of a module called {PROJECTION!r}, which {type(model).__name__} lacks: take "
        'a wav2vec 2.0, HuBERT, WavLM or w2v-BERT, or mix sounds with `DimeAug(operations=("concatenate",))`'
    )


@contextmanager
def mixed(model: nn.Module, inputs: Mapping[str, Any], pairs: Pairs) -> Iterator[dict[str, Any]]:
    """Yield the inputs for a forward pass in which features of pairs are mixed."""

    def hook(_module: nn.Module, _given: Any, output: Any) -> Any:
        return (pairs.mix(output[0]), *output[1:]) if isinstance(output, tuple) else pairs.mix(output)

    changed = dict(inputs)
    if changed.get("attention_mask") is not None:
        changed["attention_mask"] = pairs.cut(changed["attention_mask"])
    handle = find_projection(model).register_forward_hook(hook)
    try:
        yield changed
    finally:
        handle.remove()
