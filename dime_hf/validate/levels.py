"""How proxies fare by level of ambiguity, where levels are as uncertain as a few votes leave them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dime_hf.errors import DistributionError
from dime_hf.evidence import one_more_human
from dime_hf.evidence.intervals import LEVEL
from dime_hf.pool import PriorPooler
from dime_hf.pool.panel import Panel
from dime_hf.validate.crossfit import FOLDS, Folds, ids_of, whole_votes
from dime_hf.validate.strata import StratifiedScores, paper_tertiles, strata, stratified_scores


@dataclasses.dataclass(frozen=True)
class Levels:
    """Scores of the mean answer by level of ambiguity; levels and scores rest on different votes.

    level_votes: votes of an utterance that tell its level; the others judge.
    sizes, misassigned, misassigned_overall: as `Strata` has them. paper_sizes: of the tertiles of the same votes.
    """

    scores: StratifiedScores
    level_votes: int
    sizes: dict[str, int]
    misassigned: dict[str, float]
    misassigned_overall: float
    paper_sizes: dict[str, int]

    def __str__(self) -> str:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in self.misassigned.items())
        paper = ", ".join(f"{name} {size:,}" for name, size in self.paper_sizes.items())
        return "\n".join(
            [
                str(self.scores),
                f"  levels by {self.level_votes} other votes: {self.misassigned_overall:.0%} of utterances are "
                f"expected to lie in another ({shares})",
                f"  the paper's tertiles of the same votes would have {paper}",
            ]
        )


def score_by_level(
    panel: Panel,
    ids: Sequence[str],
    groups: Sequence[str] | NDArray[Any],
    *,
    folds: int = FOLDS,
    seed: int = 0,
    level: float = LEVEL,
) -> Levels:
    """Score the mean answer of a panel by the posterior ambiguity of utterances.

    Half of the votes that most utterances have, drawn by (seed, id), tell the level, together with the prior of other
    speakers; the others judge. Raises `DistributionError` for fractional votes.
    """
    counts = whole_votes(panel, "some of them tell the level, and others judge")
    voters = counts.sum(-1)
    enough = (voters >= 2) & (panel.synthetic_votes > 0)
    if not enough.any():
        raise DistributionError("`panel` has no utterance that has both two human votes and a valid answer")
    half = max(1, int(np.median(voters[enough])) // 2)
    rows = np.flatnonzero(enough & (voters > half))
    chosen, left = ids_of(ids, rows, len(counts)), counts[rows]
    for draw in range(half):
        left = left - one_more_human(left, chosen, seed + draw)
    seen = np.zeros_like(counts)
    seen[rows] = counts[rows] - left
    dealt = Folds.read(panel, groups, folds)
    found = strata(dealt.total_votes(dealt.fit(PriorPooler()), seen)[rows], chosen)
    scores = stratified_scores(panel.synthetic[rows], left, np.asarray(groups)[rows].tolist(), found, level=level)
    paper = paper_tertiles(seen[rows])
    return Levels(scores, half, found.sizes, found.misassigned, found.misassigned_overall, paper.sizes)
