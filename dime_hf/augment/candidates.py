"""What a balanced plan may be made of: copies of utterances that need not be told apart, and pairs of utterances."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sparse

from dime_hf.augment.operations import Parameters, get_operation
from dime_hf.augment.parents import PERTURB, UNKNOWN, Parents, Places, partners
from dime_hf.augment.plan import keyed_rng
from dime_hf.distribution import Array

if TYPE_CHECKING:
    from dime_hf.augment.recipe import DimeAug


@dataclasses.dataclass(frozen=True)
class Groups:
    """Utterances that the program need not tell apart, where copies are made of single ones; else no groups.

    of (N,): each utterance's group; first (G,): one utterance of each; size (G,).
    """

    of: Places
    first: Places
    size: Places

    @classmethod
    def read(cls, parents: Parents, settings: DimeAug) -> Groups:
        """Group by soft label, and by speaker and fold where their shares are capped."""
        if PERTURB not in settings.operations:
            return cls(*(np.zeros(0, np.int64) for _ in range(3)))
        code = np.unique(parents.labels.astype(np.float32), axis=0, return_inverse=True)[1].reshape(-1)
        shares = ((settings.speaker_share, parents.speaker), (settings.fold_share, parents.fold))
        for codes in (codes.of for share, codes in shares if share is not None):
            code = code * (codes.max() + 2) + codes + 1
        _, first, of, size = np.unique(code, return_index=True, return_inverse=True, return_counts=True)
        return cls(of, first, size)

    def deal(self, copies: Places, room: Places, turn: Places) -> Places:
        """Deal the copies (G,) of groups round robin to utterances with `room` (N,) for some; return copies (N,)."""
        if not len(copies):
            return np.zeros(len(room), np.int64)
        laps = -(-copies // self.size)
        np.add.at(laps, self.of, room.max() - room)  # more where pairs have used some up
        limit = np.where(copies[self.of] > 0, np.minimum(room, laps[self.of]), 0)
        owner = np.repeat(np.arange(len(room)), limit)
        lap = np.arange(len(owner)) - np.repeat(np.cumsum(limit) - limit, limit)
        owner = owner[np.lexsort((turn[owner], lap, self.of[owner]))]
        group = self.of[owner]
        rank = np.arange(len(owner)) - np.searchsorted(group, group)
        return np.bincount(owner[rank < copies[group]], minlength=len(room))


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Mixes of two utterances: parents (P, 2) as places, weights (P, 2), operations and their parameters."""

    parents: Places
    weights: Array
    operations: Sequence[str]
    parameters: Sequence[Parameters]

    @classmethod
    def draw(cls, utterances: Parents, settings: DimeAug) -> Pairs:
        """Pair utterances for each operation that takes two; its parameters are drawn by (seed, id of the mix)."""
        names = [name for name in settings.operations if name != PERTURB]
        found = partners(utterances, settings.neighbours) if names else np.zeros((0, 2), np.int64)
        parents = np.tile(found, (len(names), 1)).reshape(-1, 2)
        pairs = cls(parents, np.zeros(parents.shape), [name for name in names for _ in range(len(found))], ())
        parameters = []
        for row, (name, id) in enumerate(zip(pairs.operations, pairs.ids(utterances), strict=True)):
            operation = get_operation(name)
            parameters.append(operation.draw(keyed_rng(settings.seed, id)))
            pairs.weights[row] = operation.weights(utterances.durations[parents[row]], parameters[-1])
        return dataclasses.replace(pairs, parameters=parameters)

    def select(self, rows: Places) -> Pairs:
        """Return some of the pairs."""
        return Pairs(
            self.parents[rows],
            self.weights[rows],
            [self.operations[row] for row in rows],
            [self.parameters[row] for row in rows],
        )

    def ids(self, utterances: Parents) -> list[str]:
        """Id of every mix."""
        ids = utterances.ids
        return [
            f"{ids[i]}+{ids[j]}#{name}" for (i, j), name in zip(self.parents.tolist(), self.operations, strict=True)
        ]

    def labels(self, utterances: Parents) -> Array:
        """Soft labels (P, C) of the mixes."""
        return (self.weights[:, :, None] * utterances.labels[self.parents]).sum(1)

    def agreed(self, codes: Places) -> Places:
        """Code (P,) of the parents where both have the same of `codes` (N,), else -1."""
        both = codes[self.parents]
        return np.where(both[:, 0] == both[:, 1], both[:, 0], UNKNOWN)


def incidence(codes: Sequence[Places], size: int) -> sparse.csr_array:
    """Which of `size` codes each of M candidates has: (size, M), 1 where one of its `codes`, each (M,), is it."""
    candidates = np.concatenate([np.flatnonzero(code != UNKNOWN) for code in codes])
    rows = np.concatenate([code[code != UNKNOWN] for code in codes])
    matrix = sparse.coo_array((np.ones(len(rows)), (rows, candidates)), shape=(size, len(codes[0]))).tocsr()
    matrix.data = np.minimum(matrix.data, 1)  # a speaker who has both parts has one row
    return matrix
