"""What DiME-Aug does with sound and words, by name; the distribution always follows from the weights."""

from __future__ import annotations

from collections.abc import Iterable

from dime_hf.augment.operations.base import Operation, Parameters, Utterance
from dime_hf.augment.operations.channel import Background, Codec, Mask, RecordedBackground, Room
from dime_hf.augment.operations.concatenate import Concatenate
from dime_hf.augment.operations.interpolate import Interpolate
from dime_hf.augment.operations.perturb import PERTURBATIONS, Perturb
from dime_hf.augment.operations.voice import Gain, Pitch, Tempo
from dime_hf.augment.operations.words import Paraphrase, Synonyms, TextNoise, paraphrase_with
from dime_hf.errors import DistributionError, did_you_mean

OPERATIONS: dict[str, Operation] = {
    operation.name: operation for operation in (Interpolate(), Concatenate(), Perturb(), *PERTURBATIONS)
}
# those that need something of yours
CONSTRUCTED: dict[str, type[Operation]] = {
    operation.name: operation for operation in (Paraphrase, RecordedBackground, Synonyms)
}


def get_operation(name: str, own: Iterable[Operation] = ()) -> Operation:
    """Return the operation called `name`: one of your `own`, else that of `OPERATIONS`, with its safe bounds."""
    known = {**OPERATIONS, **{operation.name: operation for operation in own}}
    if name in known:
        return known[name]
    if name in CONSTRUCTED:
        raise DistributionError(
            f"`operation` {name!r} needs what only you have: construct {CONSTRUCTED[name].__name__}"
        )
    possible = [*known, *CONSTRUCTED]
    raise DistributionError(f"`operation` is {name!r}, none of DiME-Aug's.{did_you_mean(name, possible)}")


__all__ = [
    "OPERATIONS",
    "PERTURBATIONS",
    "Background",
    "Codec",
    "Concatenate",
    "Gain",
    "Interpolate",
    "Mask",
    "Operation",
    "Parameters",
    "Paraphrase",
    "Perturb",
    "Pitch",
    "RecordedBackground",
    "Room",
    "Synonyms",
    "Tempo",
    "TextNoise",
    "Utterance",
    "get_operation",
    "paraphrase_with",
]
