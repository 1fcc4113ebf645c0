"""Several changes that keep the label, one after another."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dime_hf.augment.operations.base import Parameters, Utterance
from dime_hf.augment.operations.channel import Background, Codec, Mask, Room
from dime_hf.augment.operations.preserving import Bounds, LabelPreserving
from dime_hf.augment.operations.voice import Gain, Pitch, Tempo
from dime_hf.augment.operations.words import TextNoise
from dime_hf.errors import DistributionError, did_you_mean

# in the order in which sound travels: voice, room, background, recorder, line; then what is written down
PERTURBATIONS: tuple[LabelPreserving, ...] = (
    Tempo(),
    Pitch(),
    Room(),
    Background(),
    Gain(),
    Codec(),
    Mask(),
    TextNoise(),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perturb(LabelPreserving):
    """Apply one to `most` of the given operations, each at most once and within its own bounds, in their order.

    Parameters: `steps`, a list of {"operation": name, "parameters": {...}}. `operations` says what takes part, and how
    far it goes: `Perturb(operations=(Tempo(most=0.05), Codec(codecs=("opus",))))`.
    """

    name = "perturb"
    operations: Sequence[LabelPreserving] = PERTURBATIONS
    most: int = 3

    def __post_init__(self) -> None:
        names = [operation.name for operation in self.operations]
        if not names or len({*names}) < len(names):
            raise DistributionError(f"`operations` must be at least one, each once, not {names}")
        if self.most < 1:
            raise DistributionError(f"`most` must be at least 1, not {self.most}")

    @property
    def bounds(self) -> Bounds:
        return {}

    def draw(self, rng: np.random.Generator) -> Parameters:
        count = rng.integers(1, min(self.most, len(self.operations)), endpoint=True)
        chosen = sorted(rng.choice(len(self.operations), count, replace=False))
        return {
            "steps": [
                {"operation": operation.name, "parameters": operation.draw(rng)}
                for operation in (self.operations[place] for place in chosen)
            ]
        }

    def check(self, parameters: Parameters) -> None:
        steps = parameters.get("steps")
        if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
            raise DistributionError(f"`parameters`: 'steps' of {self.name!r} must be a list of steps, not {steps!r}")
        if not 1 <= len(steps) <= self.most:
            raise self.refusal("steps", len(steps), f"1 to {self.most} steps")
        names = [step.get("operation") for step in steps]
        if len({*names}) < len(names):
            raise DistributionError(f"`parameters`: {self.name!r} takes each operation once, not {names}")
        for step in steps:
            self._operation(step).check(step.get("parameters", {}))

    def change(self, parent: Utterance, parameters: Parameters) -> Utterance:
        for step in parameters["steps"]:
            parent = self._operation(step).change(parent, step.get("parameters", {}))
        return parent

    def duration(self, durations: Sequence[float], parameters: Parameters) -> float:
        seconds = float(sum(durations))
        for step in parameters["steps"]:
            seconds = self._operation(step).duration([seconds], step.get("parameters", {}))
        return seconds

    def _operation(self, step: Parameters) -> LabelPreserving:
        known, name = {operation.name: operation for operation in self.operations}, str(step.get("operation"))
        if name not in known:
            raise DistributionError(f"`parameters`: a step of {self.name!r} is {name!r}.{did_you_mean(name, known)}")
        return known[name]
