"""The paper's operation: two waveforms summed, and the transcript of the heavier one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dime_hf.augment.operations.base import Operation, Parameters, Utterance
from dime_hf.augment.operations.preserving import number
from dime_hf.distribution import Array
from dime_hf.errors import DistributionError


class Interpolate(Operation):
    """(1 - a) x_i + a x_j cut to the shorter, a ~ U(0, 1); i's transcript where a < 0.5, else j's (2601.14620).

    Two voices speak at once and the words are one's: sound and transcript disagree. `concatenate` has both.
    """

    name = "interpolate"
    parents = 2

    def draw(self, rng: np.random.Generator) -> Parameters:
        return {"weight": float(rng.uniform())}

    def _weight(self, parameters: Parameters) -> float:
        weight = number(self, parameters, "weight")
        if not 0 <= weight <= 1:
            raise DistributionError(f"`parameters`: 'weight' of {self.name!r} must lie in [0, 1], not {weight!r}")
        return weight

    def weights(self, durations: Sequence[float], parameters: Parameters) -> Array:
        weight = self._weight(parameters)
        return np.array([1 - weight, weight])

    def duration(self, durations: Sequence[float], parameters: Parameters) -> float:
        return float(min(durations))

    def apply(self, parents: Sequence[Utterance], parameters: Parameters) -> Utterance:
        first, second = parents
        length, weight = min(len(first.samples), len(second.samples)), self._weight(parameters)
        samples = np.float32(1 - weight) * first.samples[:length]
        samples += np.float32(weight) * second.samples[:length]
        return Utterance(samples, (first if weight < 0.5 else second).text)
