"""How good every pooling method's labels are on CREMA-D's real votes: python -m tests.bench.crema takes minutes."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np

import dime_hf
from dime_hf import columns
from dime_hf.distribution import Array, normalize
from dime_hf.evidence import paired
from dime_hf.pool import get_pooler
from dime_hf.pool.panel import Panel, Training
from dime_hf.pool.poolers import TrainedPooler
from dime_hf.score import row_scores
from tests.places import DATA

RESULTS = Path("crema_pooling.json")
PANELS = {"face": ("face",), "audiovisual": ("audiovisual",), "both": ("face", "audiovisual")}
METHODS = ("human", "prior", "equal", "linear", "debiased", "fitted", "calibrated")
TESTED, TESTED_AT = (("calibrated", "fitted"), ("fitted", "prior"), ("calibrated", "prior")), 3
FOLDS = 5

Key = tuple[str, str, int, int]


@dataclasses.dataclass(frozen=True)
class Scored:
    """Scores of clips (N,), NaN where nothing is held out, by method, panel, k and seed, and speakers (N,)."""

    js: dict[Key, Array]
    squared: dict[Key, Array]
    groups: list[str]

    def rows(self) -> list[dict[str, Any]]:
        """The means, as they are written."""
        return [
            {
                **dict(zip(("method", "proxy", "k", "seed"), key, strict=True)),
                "js_divergence": float(np.nanmean(self.js[key])),
                "squared_score": float(np.nanmean(self.squared[key])),
                "n": int(np.isfinite(self.js[key]).sum()),
            }
            for key in self.js
        ]

    def mean(self, method: str, proxy: str, keep: int) -> Array:
        """Squared score (N,) of every clip, the mean over the seeds."""
        return np.mean([scores for key, scores in self.squared.items() if key[:3] == (method, proxy, keep)], axis=0)

    def compare(self, better: str, worse: str, proxy: str, keep: int = TESTED_AT) -> Any:
        """Paired test of two methods on the same clips, clustered by speaker."""
        differences = self.mean(better, proxy, keep), self.mean(worse, proxy, keep)
        known = np.isfinite(differences[0])
        return paired(*(scores[known] for scores in differences), np.array(self.groups)[known])


def crema_pooling(seeds: Iterable[int] = range(5), keeps: Sequence[int] = (1, 2, 3, 5)) -> None:
    """Score every method on all clips, write `crema_pooling.json`, and print means over the seeds, and tests."""
    logging.getLogger("dime_hf").setLevel(logging.ERROR)  # that recordings are missing is known
    datasets.disable_progress_bars()
    root = DATA / "crema_d"
    if not root.is_dir():
        print(f"crema_pooling: SKIPPED, no votes of CREMA-D in {root}")
        return
    scored = score_crema(root, seeds, keeps)
    rows = scored.rows()
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{'method':<12}{'proxy':<13}{'k':>2}{'js_divergence':>15}{'sd':>8}{'squared_score':>15}{'n':>7}")
    for method, proxy, keep in dict.fromkeys((row["method"], row["proxy"], row["k"]) for row in rows):
        some = [row for row in rows if (row["method"], row["proxy"], row["k"]) == (method, proxy, keep)]
        js, squared = ([row[name] for row in some] for name in ("js_divergence", "squared_score"))
        print(
            f"{method:<12}{proxy:<13}{keep:>2}{np.mean(js):>15.4f}{np.std(js):>8.4f}{np.mean(squared):>15.4f}"
            f"{some[0]['n']:>7}"
        )
    print(f"squared score at k = {TESTED_AT}, paired by clip and clustered by speaker; below 0, the first is better")
    for proxy in PANELS:
        for better, worse in TESTED:
            print(f"{proxy:<13}{better} - {worse}: {scored.compare(better, worse, proxy)}")


def score_crema(
    root: Path,
    seeds: Iterable[int],
    keeps: Sequence[int],
    methods: Sequence[str] = METHODS,
    proxies: Iterable[str] = tuple(PANELS),
) -> Scored:
    """Scores against held-out votes on the voice, of labels from `k` of them and a panel's, by seed.

    Voters on other modalities stand in for proxies that draw votes. A pooler is fitted on all votes of the speakers of
    four folds, and labels the clips of the fifth from `k` votes each; the seed draws votes and folds.
    """
    voice, other = read_votes(root)
    counts, groups = np.array(voice[columns.VOTE_COUNTS]), columns.groups(voice.select_columns([columns.SPEAKER])[:])
    panels = {proxy: panel_of(counts, [other[name] for name in PANELS[proxy]]) for proxy in proxies}
    scored = Scored({}, {}, groups)
    for seed in seeds:
        kept = {keep: held_out(voice, keep, seed) for keep in keeps}
        for proxy, panel in panels.items():
            for method in methods:
                totals = cross_fitted(panel, np.array(groups), kept, method, seed)
                for keep, total in totals.items():
                    key = (method, proxy, keep, seed)
                    scored.js[key], scored.squared[key] = _scores(total, kept[keep][1])
    return scored


def _scores(total: Array, reference: Array) -> list[Array]:
    known = reference.sum(-1) > 0
    scores = row_scores(normalize(total[known]), reference[known])
    wide = [np.full(len(total), np.nan) for _ in range(2)]
    for array, name in zip(wide, ("js_divergence", "squared_score"), strict=True):
        array[known] = scores[name]
    return wide


@functools.cache
def read_votes(root: Path) -> tuple[datasets.Dataset, dict[str, Array]]:
    """All votes on the voice, and the counts (N, C) of the votes on face and on both, clip by clip."""
    voice = dime_hf.load_dataset("crema_d", "voice", root, "train", rows="all").remove_columns(columns.AUDIO)
    other = {}
    for modality in ("face", "audiovisual"):
        votes = dime_hf.load_dataset("crema_d", modality, root, "train", rows="all")
        found = dict(zip(votes[columns.ID], votes[columns.VOTE_COUNTS], strict=True))
        other[modality] = np.array([found[id] for id in voice[columns.ID]])
    return voice, other


def panel_of(counts: Array, panels: Sequence[Array]) -> Panel:
    """Human counts, and proxies that drew the votes of `panels`, (N, C) each."""
    drawn = np.stack(panels, axis=1)
    names = tuple(f"panel{number}" for number in range(len(panels)))
    votes = drawn.sum(-1)
    return Panel(counts, names, normalize(drawn), votes, votes > 0, np.zeros((len(counts), 0)))


def held_out(voice: datasets.Dataset, keep: int, seed: int) -> tuple[Array, Array]:
    """Counts (N, C) of `keep` votes a clip, and of the others; no others where a clip has no more."""
    held = dime_hf.hold_out_votes(voice, keep, seed)
    place = {id: index for index, id in enumerate(voice[columns.ID])}
    rows = [place[id] for id in held[columns.ID]]
    kept = np.array(voice[columns.VOTE_COUNTS])
    reference = np.zeros_like(kept)
    kept[rows], reference[rows] = held[columns.VOTE_COUNTS], held[columns.REFERENCE_COUNTS]
    return kept, reference


def cross_fitted(
    panel: Panel, groups: Array, kept: dict[int, tuple[Array, Array]], method: str, seed: int
) -> dict[int, Array]:
    """Total votes (N, C) of every clip by k, from poolers fitted on all votes of the speakers of other folds."""
    speakers, speaker = np.unique(groups, return_inverse=True)
    fold = np.random.default_rng(seed).permutation(len(speakers)) % FOLDS
    training = Training(panel, groups, tuple(speakers.tolist()))
    totals = {keep: np.zeros_like(votes) for keep, (votes, _) in kept.items()}
    for number in range(FOLDS):
        pooler = get_pooler(method)
        if isinstance(pooler, TrainedPooler):
            pooler = pooler.fit_votes(training.without(speakers[fold == number]))
        inside = np.flatnonzero(fold[speaker] == number)
        for keep, (votes, _) in kept.items():
            some = dataclasses.replace(panel.select(inside), human=votes[inside])
            totals[keep][inside] = pooler.total_votes(some)
    return totals


if __name__ == "__main__":
    crema_pooling()
