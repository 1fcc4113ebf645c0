"""The recipe "balance": masses of the classes are brought to a target by a linear program over copies and mixes.

A candidate is an utterance (perturbed) or a pair of them (concatenated, interpolated), and enters with the soft label
and the entropy of what is made: by concavity a mix is more ambiguous than its parents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import scipy.sparse as sparse

from dime_hf import columns
from dime_hf.augment.candidates import Groups, Pairs, incidence
from dime_hf.augment.notes import binding_notes, rounding_note, target_note
from dime_hf.augment.operations import get_operation
from dime_hf.augment.parents import PERTURB, UNKNOWN, Codes, Parents, Places
from dime_hf.augment.plan import Plan, keyed_rng, summarise
from dime_hf.augment.program import Cap, Program
from dime_hf.augment.rounding import round_copies
from dime_hf.augment.summary import Content
from dime_hf.augment.table import LEVEL, OPERATION, PARAMETERS, Levels, as_json, plan_table
from dime_hf.columns import ID, PARENT_WEIGHTS, PARENTS, SOFT_LABEL, SPEAKER
from dime_hf.distribution import Array, entropy
from dime_hf.errors import PlanError
from dime_hf.score import LEVELS

if TYPE_CHECKING:
    from dime_hf.augment.recipe import DimeAug


class Balance:
    """Candidates of a balanced plan, first the groups of single utterances, then pairs; and the program over them.

    Made from a training set whose utterances all have a soft label.
    """

    def __init__(self, train: datasets.Dataset, settings: DimeAug, num_proc: int | None = None):
        self.settings, self.classes = settings, columns.classes(train, "train")
        self.parents = Parents.read(train, settings, num_proc)
        bits = entropy(self.parents.labels)
        self.levels, self.bits = Levels(bits), float(bits.mean())
        self.groups = Groups.read(self.parents, settings)
        self.pairs = Pairs.draw(self.parents, settings)
        singles = self.parents.labels[self.groups.first]
        self.labels = np.concatenate([singles, self.pairs.labels(self.parents)])

    def plan(self) -> Plan:
        """Solve, round, and write down the rows."""
        masses, gains, notes = self._masses()
        program = Program(masses, gains, self._capacity(), self._caps(), singles=len(self.groups.size))
        wanted = self.settings.wanted
        relaxed = program.relax(wanted)
        whole = round_copies(program, relaxed)
        notes.append(target_note(wanted, relaxed))
        notes += binding_notes(program, relaxed, self.groups.size, self.settings.copies)
        notes.append(rounding_note(whole, relaxed))
        rows = plan_table(self._rows(whole.copies), self.classes)
        before = Content.of(self.parents.labels, len(self.classes))
        numbers = {"imbalance": whole.imbalance, "relaxed": relaxed.imbalance, "bound": whole.bound}
        return Plan(rows, self.classes, summarise(self.classes, before, rows, "balance", notes, **numbers))

    def _masses(self) -> tuple[Array, sparse.csr_array, list[str]]:
        """Mass over target of every class (by level): what is there (D,), and gains (M, D) of the candidates.

        Both are in utterances. A class (in a level) that no utterance has any of, or that the target leaves out, is
        none of the D; the notes name those that are wanted and absent.
        """
        size = len(self.classes)
        levels = self._strata(self.parents.labels)
        there = np.stack([self.parents.labels[levels == level].sum(0) for level in range(len(LEVELS))])
        shares = np.broadcast_to(self.settings.shares(size), there.shape)
        targets = (shares * size * there.sum(1, keepdims=True) / there.sum()).ravel()
        wanted, present = targets > 0, there.ravel() > 0
        cells = np.flatnonzero(wanted & present)
        if cells.size == 0:
            raise PlanError("`target` asks only for classes of which no utterance has any")
        gains = self._by_stratum()[:, cells] @ sparse.diags_array(1 / targets[cells])
        notes = [f"absent: no utterance has any {self._cell(cell)}" for cell in np.flatnonzero(wanted & ~present)]
        return there.ravel()[cells] / targets[cells], sparse.csr_array(gains), notes

    def _strata(self, labels: Array) -> Places:
        """Level of each soft label where levels are balanced one by one, else all the same."""
        return self.levels(entropy(labels)) if self.settings.per_level else np.zeros(len(labels), np.int64)

    def _by_stratum(self) -> sparse.csr_array:
        """Soft labels of the candidates (M, 3 C), each in the columns of its level."""
        rows, size = self.labels.shape
        places = self._strata(self.labels)[:, None] * size + np.arange(size)
        starts = np.arange(rows + 1) * size
        return sparse.csr_array((self.labels.ravel(), places.ravel(), starts), shape=(rows, len(LEVELS) * size))

    def _cell(self, cell: int) -> str:
        level, place = divmod(int(cell), len(self.classes))
        return self.classes[place] + (f" at {LEVELS[level]} ambiguity" if self.settings.per_level else "")

    def _capacity(self) -> Array:
        """Copies of each candidate; the same mix twice would be the same row twice."""
        return np.append(self.groups.size * float(self.settings.copies), np.ones(len(self.pairs.parents)))

    def _caps(self) -> list[Cap]:
        settings, parents = self.settings, self.parents
        caps = [] if settings.entropy_shift is None else [self._entropy_cap(settings.entropy_shift)]
        if len(self.pairs.parents):
            caps.append(self._uses_cap())
        if settings.speaker_share is not None:
            caps.append(self._share_cap("speaker_share", settings.speaker_share, parents.speaker))
        if settings.fold_share is not None:
            caps.append(self._share_cap("fold_share", settings.fold_share, parents.fold))
        return caps

    def _entropy_cap(self, shift: float) -> Cap:
        """|sum_m r_m (H_m - H)| <= shift * (utterances there + new rows), H their mean entropy before."""
        excess = sparse.csr_array((entropy(self.labels) - self.bits)[None])
        both = sparse.csr_array(sparse.vstack([excess, -excess]))
        step = np.full(2, 0.01)
        rows = float(len(self.parents.ids))
        return Cap(
            "entropy_shift", ("upwards", "downwards"), both, np.full(2, shift * rows), np.full(2, shift),
            step * rows, step, "0.01 bits more",
        )  # fmt: skip

    def _uses_cap(self) -> Cap:
        """Uses of every utterance by pairs, and of every group by pairs and copies: so each can be dealt out."""
        pairs, groups = self.pairs.parents, self.groups
        singles, copies = len(groups.size), float(self.settings.copies)
        used = incidence([_after(singles, parent) for parent in pairs.T], len(self.parents.ids))
        in_pairs = np.unique(pairs)
        matrices, steps = [used[in_pairs]], [np.ones(len(in_pairs))]
        if singles:
            inside = np.unique(groups.of[in_pairs])
            own = incidence([np.append(np.arange(singles), np.full(len(pairs), UNKNOWN))], singles)
            matrices.append((incidence([groups.of], singles) @ used + own)[inside])
            steps.append(groups.size[inside].astype(float))
        step = np.concatenate(steps)
        matrix, none = sparse.csr_array(sparse.vstack(matrices)), np.zeros(len(step))
        return Cap("copies", (), matrix, copies * step, none, step, none, "one more")

    def _share_cap(self, name: str, share: float, codes: Codes) -> Cap:
        """New rows with a voice of one speaker (fold) <= share * new rows; an unknown one has no cap."""
        single, size = codes.of[self.groups.first], len(codes.names)
        matrix = incidence([np.append(single, codes.of[parent]) for parent in self.pairs.parents.T], size)
        none, all = np.zeros(size), np.ones(size)
        return Cap(name, codes.names, matrix, none, share * all, none, 0.01 * all, "0.01 more")

    def _rows(self, copies: Places) -> dict[str, Any]:
        """Columns of the plan: copies of single utterances, then pairs."""
        singles = len(self.groups.size)
        chosen = np.flatnonzero(copies[singles:])
        pairs, ids = self.pairs.select(chosen), self.parents.ids
        room = self.settings.copies - np.bincount(pairs.parents.ravel(), minlength=len(ids))
        dealt = self.groups.deal(copies[:singles], room, self.parents.turn)
        copied = np.repeat(np.arange(len(ids)), dealt)
        number = np.arange(len(copied)) - np.repeat(np.cumsum(dealt) - dealt, dealt) + 1
        names = [f"{ids[row]}#{count}" for row, count in zip(copied.tolist(), number.tolist(), strict=True)]
        labels = np.concatenate([self.parents.labels[copied], self.labels[singles + chosen]])
        speakers = self.parents.speaker
        voices = np.append(speakers.of[copied], pairs.agreed(speakers.of))
        seed = self.settings.seed
        return {
            ID: names + pairs.ids(self.parents),
            PARENTS: [[ids[row]] for row in copied.tolist()] + [[ids[i], ids[j]] for i, j in pairs.parents.tolist()],
            PARENT_WEIGHTS: [[1.0]] * len(copied) + pairs.weights.tolist(),
            OPERATION: [PERTURB] * len(copied) + list(pairs.operations),
            PARAMETERS: [as_json(get_operation(PERTURB).draw(keyed_rng(seed, name))) for name in names]
            + [as_json(drawn) for drawn in pairs.parameters],
            SOFT_LABEL: labels,
            SPEAKER: [None if voice == UNKNOWN else speakers.names[voice] for voice in voices.tolist()],
            LEVEL: self.levels.names(labels),
        }


def _after(singles: int, codes: Places) -> Places:
    """Codes of pairs, behind as many candidates that have none."""
    return np.append(np.full(singles, UNKNOWN), codes)
