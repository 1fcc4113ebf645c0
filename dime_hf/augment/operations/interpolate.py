"""The paper's operation: two waveforms summed, and the transcript of the heavier one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dime_hf.augment.operations.base import Operation, Parameters, Utterance
from dime_hf.distribution import Array


class Interpolate(Operation):
    """(1 - a) x_i + a x_j cut to the shorter, a ~ U(0, 1); i's transcript where a < 0.5, else j's (2601.14620).

    Two voices speak at once and the words are one's: sound and transcript disagree. `concatenate` has both.
    """

    name = "interpolate"
    parents = 2

    def draw(self, rng: np.random.Generator) -> Parameters:
        return {"weight": float(rng.uniform())}

    def weights(self, durations: Sequence[float], parameters: Parameters) -> Array:
        return np.array([1 - parameters["weight"], parameters["weight"]])

    def duration(self, durations: Sequence[float], parameters: Parameters) -> float:
        return float(min(durations))

    def apply(self, parents: Sequence[Utterance], parameters: Parameters) -> Utterance:
        first, second = parents
        length, weight = min(len(first.samples), len(second.samples)), parameters["weight"]
        samples = (1 - weight) * first.samples[:length] + weight * second.samples[:length]
        return Utterance(samples.astype(np.float32), (first if weight < 0.5 else second).text)
