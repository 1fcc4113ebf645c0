"""Controls: what a proxy must beat before it can be said to know anything of an utterance.

Each gives distributions (N, C), to be put where the proxy's are: into the scores, or into the pooling.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from dime_hf.distribution import Array, as_distributions, normalize
from dime_hf.errors import DistributionError
from dime_hf.score import prior


def prior_control(counts: ArrayLike, rows: int) -> Array:
    """The mean share of the votes of training utterances (M, C), for each of `rows` others: (rows, C)."""
    return np.tile(prior(counts), (rows, 1))


def uniform_control(rows: int, classes: int) -> Array:
    """The uniform distribution over `classes` for each of `rows` utterances: (rows, classes)."""
    return np.full((rows, classes), 1 / classes)


def one_more_human(spare: ArrayLike, ids: Sequence[str], seed: int = 0) -> Array:
    """One vote of each row (N, C) of spare vote counts, drawn by (seed, id): what one more annotator would say.

    `spare` are votes that are neither in the labels nor among the scored. Raises `DistributionError` where a row has
    none.
    """
    shares = normalize(spare, "spare")
    chance = chances(ids, len(shares), seed)
    vote = (np.cumsum(shares, axis=-1) <= chance[:, None]).sum(-1)
    last = shares.shape[1] - 1 - (shares[:, ::-1] > 0).argmax(-1)  # where rounding has the shares end below 1
    return np.eye(shares.shape[1])[np.minimum(vote, last)]


def shuffled(predictions: ArrayLike, ids: Sequence[str], seed: int = 0) -> Array:
    """Predictions (N, C) handed to other utterances by (seed, id): right on average, and ignorant of each one.

    No row keeps its own. Raises `DistributionError` for fewer than two rows.
    """
    q = as_distributions(predictions, "predictions")
    if len(q) < 2:
        raise DistributionError(f"`predictions` has {len(q)} rows: there is nothing to shuffle")
    order = np.lexsort((np.asarray(ids), chances(ids, len(q), seed)))
    handed = np.empty_like(q)
    handed[order] = q[np.roll(order, 1)]
    return handed


def chances(ids: Sequence[str], rows: int, seed: int) -> Array:
    """A number in [0, 1) for each id (N,), the same whatever the other ids."""
    if len(ids) != rows or len(set(ids)) != rows:
        raise DistributionError(f"`ids` must be {rows} different ids; they are {len(ids)}, {len(set(ids))} different")
    digests = b"".join(hashlib.blake2b(f"{seed}/{id}".encode(), digest_size=8).digest() for id in ids)
    return (np.frombuffer(digests, dtype="<u8") >> np.uint64(11)) / 2.0**53
