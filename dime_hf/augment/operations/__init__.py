"""What DiME-Aug does with sound and words, by name; the distribution always follows from the weights."""

from __future__ import annotations

from dime_hf.augment.operations.base import Operation, Parameters, Utterance
from dime_hf.augment.operations.interpolate import Interpolate
from dime_hf.errors import DistributionError, did_you_mean

OPERATIONS: dict[str, Operation] = {operation.name: operation for operation in (Interpolate(),)}


def get_operation(name: str) -> Operation:
    """Return the operation called `name`."""
    if name not in OPERATIONS:
        raise DistributionError(f"`operation` is {name!r}, none of DiME-Aug's.{did_you_mean(name, OPERATIONS)}")
    return OPERATIONS[name]


__all__ = ["OPERATIONS", "Operation", "Parameters", "Utterance", "get_operation"]
