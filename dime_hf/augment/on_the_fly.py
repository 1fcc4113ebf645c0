"""An operation drawn anew each time a row is trained on, by the collator; nothing is planned and nothing written."""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np
from numpy.typing import NDArray

from dime_hf.augment.operations import Operation, Utterance
from dime_hf.errors import DistributionError


@dataclasses.dataclass(frozen=True)
class OnTheFly:
    """Changes a share of the utterances by a label-preserving operation (one parent), drawn by (seed, epoch, id).

    The same for any batch size, order and number of workers, and for a run that is resumed.
    """

    operation: Operation
    share: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.operation.parents != 1:
            raise DistributionError(
                f"`operation` {self.operation.name!r} mixes {self.operation.parents} utterances: those are planned, "
                "with `DimeAug`; on the fly only operations on one keep its soft label"
            )
        if not 0 <= self.share <= 1:
            raise DistributionError(f"`share` must lie in [0, 1], not {self.share}")

    def __call__(self, samples: NDArray[np.float32], id: str, epoch: int) -> NDArray[np.float32]:
        """Change the samples (T,) at 16 kHz of an utterance, or leave them."""
        rng = np.random.default_rng([self.seed, epoch, zlib.crc32(id.encode())])
        if rng.uniform() >= self.share:
            return samples
        parameters = self.operation.draw(rng)
        return self.operation.apply([Utterance(samples, None)], parameters).samples
