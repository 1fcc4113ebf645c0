"""Results as plain values that JSON can hold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def plain(result: Any) -> Any:
    """Return a result (dataclasses, mappings, sequences, numbers) as what `json.dumps` takes.

    What is not finite becomes None, since JSON has no such number.

    >>> plain({"scores": (0.5, float("nan"))})
    {'scores': [0.5, None]}
    """
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return {field.name: plain(getattr(result, field.name)) for field in dataclasses.fields(result)}
    if isinstance(result, Mapping):
        return {str(name): plain(value) for name, value in result.items()}
    if isinstance(result, np.ndarray | np.generic):
        return plain(result.tolist())
    if isinstance(result, list | tuple):
        return [plain(value) for value in result]
    if isinstance(result, float) and not math.isfinite(result):
        return None
    return result
