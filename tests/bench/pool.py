"""Pooling: how fast a fit over a whole corpus is, and how good every method's labels are on CREMA-D's real votes.

The table of `crema_pooling` takes minutes: python -c "from tests.bench.pool import crema_pooling; crema_pooling()"
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln

import dime_hf
from dime_hf import columns
from dime_hf.distribution import Array, normalize
from dime_hf.pool import FittedPooler, get_pooler
from dime_hf.pool.panel import Panel, Training, as_batch
from dime_hf.pool.strengths import fit_strengths, smoothed_share
from dime_hf.score import row_scores
from dime_hf.simulation import Proxy, simulate
from tests.places import DATA

RESULTS = Path("crema_pooling.json")
PANELS = {"face": ("face",), "audiovisual": ("audiovisual",), "both": ("face", "audiovisual")}
METHODS = ("human", "prior", "equal", "linear", "debiased", "fitted", "calibrated")
FOLDS = 5
UTTERANCES, PRIOR = 265_000, (0.24, 0.2, 0.16, 0.12, 0.1, 0.08, 0.06, 0.04)  # of MSP-Podcast's size
PART = 10  # the baseline fits every 10th utterance


def pool_fit_265k() -> dict[str, Any]:
    """Fit `fitted` and label 265,000 utterances x 8 classes x 10 proxies, in memory: s0, kappas, posterior means.

    Baseline: the same two fits (prior alone, prior and proxies) and labels by gamma functions and L-BFGS-B's numerical
    gradients, on one utterance in 10; its seconds are multiplied by 10. Both find the same. Each is timed once.
    """
    proxies = [Proxy(f"p{j}", votes=0.3, correlation=0.5) for j in range(10)]
    corpus = simulate(UTTERANCES, prior=PRIOR, speakers=1000, annotators=5, proxies=proxies)
    votes, drawn = np.ones(corpus.answers.shape[:2]), np.zeros(corpus.answers.shape[:2], dtype=bool)
    names = tuple(proxy.name for proxy in proxies)
    panel = Panel(corpus.counts, names, corpus.answers, votes, drawn, np.zeros((UTTERANCES, 0)))
    started = time.perf_counter()
    pooler = FittedPooler().fit_votes(Training(panel, np.array(corpus.speakers), ()))
    labels = normalize(pooler.total_votes(panel))
    ours = time.perf_counter() - started
    print(f"squared distance to the truth: {((labels - corpus.truth) ** 2).sum(-1).mean():.4f}, {pooler.source}")
    counts, answers = corpus.counts[::PART], corpus.answers[::PART]
    started = time.perf_counter()
    basis = np.stack(_components(counts, answers))
    numerical_strengths(counts, basis[:1])
    slow = numerical_strengths(counts, basis)
    normalize(counts + np.tensordot(slow, basis, 1))
    baseline = (time.perf_counter() - started) * PART
    fast = fit_strengths(counts, _components(counts, answers), [1.0, *[0.1] * 10]).votes
    np.testing.assert_allclose(slow, fast, atol=0.05)
    return {
        "name": "pool_fit_265k", "ours": ours, "baseline": baseline, "ratio": baseline / ours, "unit": "s",
        "n": UTTERANCES,
    }  # fmt: skip


def _components(counts: Array, answers: Array) -> list[Array]:
    return [np.broadcast_to(smoothed_share(counts), counts.shape), *answers.swapaxes(0, 1)]


def numerical_strengths(counts: Array, basis: Array) -> Array:
    """Strengths by the textbook: gamma functions, and gradients by finite differences."""
    middle = np.log([1.0, *[1 / max(len(basis) - 1, 1)] * (len(basis) - 1)])
    votes = counts.sum(-1)

    def loss(logs: Array) -> float:
        alpha = np.tensordot(np.exp(logs), basis, 1)
        total = alpha.sum(-1)
        value = (gammaln(total) - gammaln(votes + total)).sum() + (gammaln(counts + alpha) - gammaln(alpha)).sum()
        return -(value - ((logs - middle) ** 2).sum() / 8) / len(counts)

    return np.exp(minimize(loss, middle, method="L-BFGS-B", bounds=[(-7, 7)] * len(basis)).x)


def crema_pooling(seeds: Iterable[int] = range(5), keeps: Sequence[int] = (1, 2, 3, 5)) -> list[dict[str, Any]]:
    """Score every method on all clips, write `crema_pooling.json` and print the means over the seeds."""
    logging.getLogger("dime_hf").setLevel(logging.ERROR)  # that recordings are missing is known
    datasets.disable_progress_bars()
    rows = crema_rows(DATA / "crema_d", seeds, keeps)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{'method':<12}{'proxy':<13}{'k':>2}{'js_divergence':>15}{'sd':>8}{'squared_score':>15}{'n':>7}")
    for method, proxy, keep in dict.fromkeys((row["method"], row["proxy"], row["k"]) for row in rows):
        some = [row for row in rows if (row["method"], row["proxy"], row["k"]) == (method, proxy, keep)]
        js, squared = ([row[name] for row in some] for name in ("js_divergence", "squared_score"))
        print(
            f"{method:<12}{proxy:<13}{keep:>2}{np.mean(js):>15.4f}{np.std(js):>8.4f}{np.mean(squared):>15.4f}"
            f"{some[0]['n']:>7}"
        )
    return rows


def crema_rows(
    root: Path, seeds: Iterable[int], keeps: Sequence[int], methods: Sequence[str] = METHODS, proxies: Any = PANELS
) -> list[dict[str, Any]]:
    """Scores against held-out votes on the voice, of labels from `k` of them and a panel's, by seed.

    Voters on other modalities stand in for proxies that draw votes. A pooler is fitted on all votes of the speakers of
    four folds, and labels the clips of the fifth from `k` votes each; the seed draws votes and folds.
    """
    voice, other = read_votes(root)
    corpora = {proxy: with_answers(voice, [other[name] for name in PANELS[proxy]]) for proxy in proxies}
    panels = {proxy: Panel.read(as_batch(corpus.with_format("arrow")[:])) for proxy, corpus in corpora.items()}
    rows = []
    for seed in seeds:
        kept = {keep: held_out(voice, keep, seed) for keep in keeps}
        for proxy, corpus in corpora.items():
            for method in methods:
                totals = cross_fitted(corpus, panels[proxy], kept, method, seed)
                rows += [
                    {"method": method, "proxy": proxy, "k": keep, "seed": seed, **_scores(totals[keep], kept[keep][1])}
                    for keep in keeps
                ]
    return rows


def _scores(total: Array, reference: Array) -> dict[str, Any]:
    scored = reference.sum(-1) > 0
    scores = row_scores(normalize(total[scored]), reference[scored])
    names = ("js_divergence", "squared_score")
    return {name: float(scores[name].mean()) for name in names} | {"n": int(scored.sum())}


def read_votes(root: Path) -> tuple[datasets.Dataset, dict[str, Array]]:
    """All votes on the voice, and the counts (N, C) of the votes on face and on both, clip by clip."""
    voice = dime_hf.load_dataset("crema_d", "voice", root, "train", rows="all").remove_columns(columns.AUDIO)
    other = {}
    for modality in ("face", "audiovisual"):
        votes = dime_hf.load_dataset("crema_d", modality, root, "train", rows="all")
        found = dict(zip(votes[columns.ID], votes[columns.VOTE_COUNTS], strict=True))
        other[modality] = np.array([found[id] for id in voice[columns.ID]])
    return voice, other


def with_answers(voice: datasets.Dataset, panels: Sequence[Array]) -> datasets.Dataset:
    """The corpus with answers: each panel (N, C) is a proxy that drew these votes."""
    rows = [
        [_answer(f"panel{number}", counts) for number, counts in enumerate(utterance)]
        for utterance in zip(*panels, strict=True)
    ]
    return voice.add_column(columns.ANSWERS, rows, feature=columns.answers_feature(columns.classes(voice)))


def _answer(proxy: str, counts: Array) -> dict[str, Any]:
    return {
        "proxy": proxy, "order": [], "distribution": normalize(counts).tolist(), "votes": float(counts.sum()),
        "draws": np.repeat(np.arange(len(counts)), counts.astype(int)).tolist(), "off_option": 0.0, "status": "ok",
        "error": None,
    }  # fmt: skip


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
    corpus: datasets.Dataset, panel: Panel, kept: dict[int, tuple[Array, Array]], method: str, seed: int
) -> dict[int, Array]:
    """Total votes (N, C) of every clip by k, from poolers fitted on all votes of the speakers of other folds."""
    speakers, speaker = np.unique(corpus[columns.SPEAKER], return_inverse=True)
    fold = (np.random.default_rng(seed).permutation(len(speakers)) % FOLDS)[speaker]
    totals = {keep: np.zeros_like(votes) for keep, (votes, _) in kept.items()}
    for number in range(FOLDS):
        pooler = get_pooler(method).fit(corpus.select(np.flatnonzero(fold != number)))
        inside = np.flatnonzero(fold == number)
        for keep, (votes, _) in kept.items():
            some = dataclasses.replace(panel.select(inside), human=votes[inside])
            totals[keep][inside] = pooler.total_votes(some)
    return totals
