"""Operations that change one utterance too little to change what is heard in it: it keeps its soft label.

More noise changes annotators' answers (2104.08806), and so does a quarter more or less of pitch or rate.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence

import numpy as np

from dime_hf.augment.operations.base import Operation, Parameters, Samples, Utterance
from dime_hf.augment.operations.levels import at_level, level
from dime_hf.distribution import Array
from dime_hf.errors import DistributionError

Bounds = Mapping[str, tuple[float, float]]  # lowest and highest value of a parameter


class LabelPreserving(Operation):
    """Changes one utterance within `bounds`: the lowest and highest value of each parameter that is a number.

    `apply` refuses what lies outside, whoever wrote it into the plan. An operation that may do more, and whose labels
    then need a look, is constructed with wider bounds by name: `Tempo(most=0.2)`.
    """

    parents = 1

    @property
    @abc.abstractmethod
    def bounds(self) -> Bounds:
        """Lowest and highest value of each parameter that is a number."""

    def draw(self, rng: np.random.Generator) -> Parameters:
        return {name: float(rng.uniform(low, high)) for name, (low, high) in self.bounds.items()}

    def weights(self, durations: Sequence[float], parameters: Parameters) -> Array:
        return np.ones(1)

    def apply(self, parents: Sequence[Utterance], parameters: Parameters) -> Utterance:
        if len(parents) != 1:
            raise DistributionError(f"`parents`: {self.name!r} changes one utterance, and was given {len(parents)}")
        self.check(parameters)
        return self.change(parents[0], parameters)

    def check(self, parameters: Parameters) -> None:
        """Raise `DistributionError` for a parameter that is missing or out of bounds."""
        for name, (low, high) in self.bounds.items():
            if not low <= number(self, parameters, name) <= high:
                raise self.refusal(name, parameters[name], f"in [{low:g}, {high:g}]")

    def refusal(self, parameter: str, found: object, allowed: str) -> DistributionError:
        """Error for a parameter that might change the label."""
        return DistributionError(
            f"`parameters`: {parameter!r} of {self.name!r} must be {allowed}, not {found!r}: beyond that the label "
            f"may change (to allow it, construct {type(self).__name__} with wider bounds)"
        )

    @abc.abstractmethod
    def change(self, parent: Utterance, parameters: Parameters) -> Utterance:
        """Make the sound and the words, from parameters that have been checked."""


class Sound(LabelPreserving):
    """Changes the sound alone: the words stay, and so does the level, unless full scale forces it lower."""

    def change(self, parent: Utterance, parameters: Parameters) -> Utterance:
        changed = self.sound(parent.samples, parameters)
        return Utterance(at_level(changed, level(parent.samples)), parent.text)

    @abc.abstractmethod
    def sound(self, samples: Samples, parameters: Parameters) -> Array | Samples:
        """Make the samples, at any level."""


class Words(LabelPreserving):
    """Changes the words alone; an utterance without words stays as it is."""

    def change(self, parent: Utterance, parameters: Parameters) -> Utterance:
        if not parent.text or not parent.text.strip():
            return parent
        return Utterance(parent.samples, self.words(parent.text, parameters))

    @abc.abstractmethod
    def words(self, text: str, parameters: Parameters) -> str:
        """Make the transcript."""


def number(operation: Operation, parameters: Parameters, name: str) -> float:
    """Return a parameter that must be a finite number."""
    value = parameters.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise DistributionError(f"`parameters`: {name!r} of {operation.name!r} must be a number, not {value!r}")
    return value


def require_range(operation: object, argument: str, value: float, low: float, high: float) -> None:
    """Raise `DistributionError` unless a bound that an operation is constructed with lies in [low, high]."""
    if not low <= value <= high:
        raise DistributionError(
            f"`{argument}` of {type(operation).__name__} must lie in [{low:g}, {high:g}], not {value!r}"
        )


def draw_seed(rng: np.random.Generator) -> int:
    """Draw the seed of what is too long to be written into a plan, such as a noise."""
    return int(rng.integers(2**32))


def seeded(operation: Operation, parameters: Parameters) -> np.random.Generator:
    """Return the generator that the parameter `seed` stands for."""
    seed = parameters.get("seed")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise DistributionError(f"`parameters`: 'seed' of {operation.name!r} must be a whole number, not {seed!r}")
    return np.random.default_rng(seed)
