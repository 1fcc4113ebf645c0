"""How much of what answers differ in is of the recording, of the prompt, and of the order of the options."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dime_hf.distribution import Array


@dataclasses.dataclass(frozen=True)
class Variance:
    """Shares of the variance of probabilities, together 1: of utterances, prompts on an utterance, and orders.

    NaN where nothing tells: with one prompt, its share is in `utterance`; with one order, its share is in `prompt`.
    """

    utterance: float
    prompt: float
    order: float


def variance_shares(row: NDArray[np.int64], proxy: NDArray[np.int64], answers: Array) -> Variance:
    """Components of the variance of answers (A, C), given the utterance (A,) and the proxy (A,) of each.

    Sums of squares between utterances, between proxies within them, and within those, by the method of moments; what
    comes out below 0 is 0.
    """
    _, cell, count = np.unique(row * (proxy.max(initial=0) + 1) + proxy, return_inverse=True, return_counts=True)
    of_cell = np.zeros(len(count), dtype=np.int64)
    of_cell[cell] = row
    _, utterance = np.unique(of_cell, return_inverse=True)
    sizes = np.bincount(utterance, count)
    n, cells, utterances = len(row), len(count), len(sizes)
    if utterances < 2 or n == utterances:
        return Variance(*[float("nan")] * 3)
    cell_sums = _sums(cell, answers, cells)
    square = _squares(_sums(utterance, cell_sums, utterances), sizes)
    between_cells = _squares(cell_sums, count)
    total = answers.sum(0)
    per_utterance = (square - (total**2).sum() / n) / (utterances - 1)
    order = ((answers**2).sum() - between_cells) / (n - cells) if n > cells else 0.0
    crowd = (np.bincount(utterance, count**2) / sizes).sum()
    prompt = max(between_cells - square - (cells - utterances) * order, 0) / (n - crowd) if cells > utterances else 0.0
    inside = order + prompt * (crowd - (count**2).sum() / n) / (utterances - 1)
    between = max(per_utterance - inside, 0) * (utterances - 1) / (n - (sizes**2).sum() / n)
    whole = between + prompt + order
    if not whole > 0:
        return Variance(*[float("nan")] * 3)
    shares = (prompt / whole if cells > utterances else float("nan"), order / whole if n > cells else float("nan"))
    return Variance(between / whole, *shares)


def _sums(index: NDArray[np.int64], values: Array, size: int) -> Array:
    return np.stack([np.bincount(index, column, size) for column in values.T], axis=1)


def _squares(sums: Array, sizes: NDArray[Any]) -> float:
    return float(((sums**2).sum(-1) / sizes).sum())
