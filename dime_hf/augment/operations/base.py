"""What an operation is: parameters are drawn when the plan is made, and applied when a row is."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dime_hf.distribution import Array

Parameters = Mapping[str, Any]  # numbers, strings and lists, as JSON has them
Samples = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Utterance:
    """What an operation takes and gives: mono float32 samples (T,) at 16 kHz in [-1, 1], and any transcript."""

    samples: Samples
    text: str | None


class Operation(abc.ABC):
    """Makes a new utterance of `parents` others.

    The new soft label is the mean of the parents' by `weights`, whatever the operation: a label that no weights give
    (such as the union of two) is no distribution that anybody perceived.
    """

    name: ClassVar[str]
    parents: ClassVar[int]

    @abc.abstractmethod
    def draw(self, rng: np.random.Generator) -> Parameters:
        """Draw the parameters of one application."""

    @abc.abstractmethod
    def weights(self, durations: Sequence[float], parameters: Parameters) -> Array:
        """Weight (P,) of each parent in the label, summing to 1; durations (P,) in seconds."""

    def duration(self, durations: Sequence[float], parameters: Parameters) -> float:
        """About how many seconds the result lasts; durations (P,) are the parents'."""
        return float(sum(durations))

    @abc.abstractmethod
    def apply(self, parents: Sequence[Utterance], parameters: Parameters) -> Utterance:
        """Make the sound and the words; pure: the same parents and parameters give the same samples."""
