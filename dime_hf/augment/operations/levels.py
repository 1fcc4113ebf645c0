"""How loud samples are, and how to set it without clipping."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dime_hf.augment.operations.base import Samples


def level(samples: NDArray[Any]) -> float:
    """Return the root mean square of samples (T,): 1 is full scale, 0 silence."""
    return math.sqrt(float(np.square(samples, dtype=np.float64).mean())) if len(samples) else 0.0


def at_level(samples: NDArray[Any], target: float) -> Samples:
    """Scale samples (T,) to the level `target`, or as near to it as full scale allows; silence stays silence."""
    found = level(samples)
    return within_full_scale(np.asarray(samples, dtype=np.float64) * (target / found if found else 0.0))


def within_full_scale(samples: NDArray[Any]) -> Samples:
    """Scale samples (T,) down until no peak exceeds 1; clipping would distort."""
    return (samples / max(float(np.abs(samples).max(initial=0.0)), 1.0)).astype(np.float32)


def amplitude(decibels: float) -> float:
    """Return the factor on samples that changes their level by so many dB."""
    return float(10 ** (decibels / 20))
