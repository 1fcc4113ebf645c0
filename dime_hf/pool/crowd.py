"""Consensus: Dawid-Skene, GLAD and MACE, by the package crowd-kit, for those who want one truth an utterance.

These models take every utterance to have one true class, and every other vote for an error: what they give is how
sure that class is, not how people differ. All votes are judged at once, so there is nothing to fit beforehand. A vote
by an annotator whom the corpus does not name is one by `anonymous`: all of them are taken to be of one quality, since
nothing tells them apart. Several votes of one annotator on an utterance, by `anonymous` too, are independent given
the truth in all three models. Sources: Dawid & Skene 1979; Whitehill et al. 2009; Hovy et al. 2013.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray

from dime_hf import columns
from dime_hf.columns import ANSWERS, HUMAN_VOTES, ID, VOTE_COUNTS
from dime_hf.corpora.cast import UNKNOWN, Ballots
from dime_hf.distribution import UNDECIDED, Array, plurality
from dime_hf.errors import ColumnError, FitError, PackageError, did_you_mean
from dime_hf.pool.panel import Panel, as_batch
from dime_hf.pool.poolers import POSTERIOR
from dime_hf.stage import beside

ANONYMOUS = "anonymous"
WHOLE = 1e-3  # drawn votes are stored as shares in float32
METHODS: dict[str, tuple[str, dict[str, Any]]] = {  # class of crowd-kit, settings that are not its own
    "dawid_skene": ("DawidSkene", {}),
    "glad": ("GLAD", {}),
    "mace": ("MACE", {"n_restarts": 1}),  # all its restarts start from `random_state`, so they are one and the same
}
QUALITY = {
    "dawid_skene": "share of votes that are right",
    "glad": "ability alpha: 0 is chance, below 0 worse",
    "mace": "share of votes that are not cast blindly",
}


@dataclasses.dataclass(frozen=True)
class Consensus:
    """The posterior of the true class of N utterances, and what the model says of A annotators.

    labels: (N, C), NaN where nobody voted.
    votes: (N,) votes that it rests on.
    annotators: their names; those of proxies begin with "proxy:".
    annotator_votes, quality: (A,); what quality is, `QUALITY` says by method.
    confusions: (A, C, C), of "dawid_skene" alone: row j is what they say where class j is true; NaN where no vote was
        for j.
    tied: answers of proxies that were left out, since their likeliest options are tied.
    """

    method: str
    classes: tuple[str, ...]
    labels: Array
    votes: Array
    annotators: tuple[str, ...]
    annotator_votes: Array
    quality: Array
    confusions: Array | None
    tied: int

    def __str__(self) -> str:
        width = max(map(len, self.annotators))
        rows = zip(self.annotators, self.annotator_votes, self.quality, strict=True)
        lines = [f"{name:<{width}}  {votes:8,.0f}  {quality:8.3f}" for name, votes, quality in rows]
        head = f"{self.method}: votes, {QUALITY[self.method]}"
        return "\n".join([head, *lines, *([f"{self.tied:,} tied answers left out"] if self.tied else [])])


def consensus(
    dataset: datasets.Dataset, method: str = "dawid_skene", *, synthetic: bool = False, **settings: Any
) -> datasets.Dataset:
    """Replace the soft labels of `dataset` by how sure the one true class of each utterance is.

    `soft_label_votes` counts the votes; where there is none, the label is null. It has no intervals. Arguments and
    errors are those of `find_consensus`.
    """
    found = find_consensus(dataset, method, synthetic=synthetic, **settings)
    labels = [row if votes else None for row, votes in zip(found.labels.tolist(), found.votes, strict=True)]
    source = f"{method}(synthetic)" if synthetic else method
    rows: dict[str, list[Any]] = {
        columns.SOFT_LABEL: labels,
        columns.SOFT_LABEL_SOURCE: [source] * len(dataset),
        columns.SOFT_LABEL_VOTES: found.votes.tolist(),
        **{name: [None] * len(dataset) for name in POSTERIOR},
    }
    features = datasets.Features(columns.pooled_features(found.classes))
    return beside(dataset, datasets.Dataset.from_dict(rows, features=features))


def find_consensus(
    dataset: datasets.Dataset, method: str = "dawid_skene", *, synthetic: bool = False, **settings: Any
) -> Consensus:
    """Judge truth and annotators by "dawid_skene", "glad" or "mace"; the same for any order of the rows.

    With `synthetic`, each proxy is an annotator too: by its drawn votes, or by the likeliest of its options; and
    `settings` go to crowd-kit's class (`n_iter`, `tol`, `random_state`). Raises `FitError` where votes are split, or
    all for one class; `PackageError` without crowd-kit.
    """
    if method not in METHODS:
        raise FitError(f"`method` is {method!r}, no consensus method.{did_you_mean(method, METHODS)}")
    columns.require(dataset, ID, VOTE_COUNTS, *([ANSWERS] if synthetic else []))
    classes = columns.classes(dataset)
    votes = _Votes.read(dataset, synthetic)
    if len(seen := set(votes.label.tolist())) < 2:
        what = f"only votes for {classes[seen.pop()]!r}" if seen else "no vote"
        raise FitError(f"`dataset` has {what}: nothing tells annotators who are right from others")
    return _judge(votes, method, settings, classes, len(dataset))


@dataclasses.dataclass(frozen=True)
class _Votes:
    """Votes for one class each: the row, annotator (a place in `annotators`) and class of each (V,)."""

    row: NDArray[np.int64]
    annotator: NDArray[np.int64]
    label: NDArray[np.int64]
    annotators: tuple[str, ...]
    tied: int

    @classmethod
    def read(cls, dataset: datasets.Dataset, synthetic: bool) -> _Votes:
        """Read the votes, in an order that does not depend on that of the rows."""
        if columns.PARENTS in dataset.column_names and any(dataset[columns.PARENTS]):
            raise ColumnError("`dataset` has mixes of DiME-Aug, on which nobody voted: find the consensus first")
        names = [ID, VOTE_COUNTS, *([ANSWERS] if synthetic else [])]
        batch = as_batch(dataset.select_columns(names).with_format("arrow")[:])
        panel, ids = Panel.read(batch), batch[ID]
        annotators, votes = _human_votes(dataset, panel.human, ids)
        tied = 0
        if synthetic:
            answered, tied = _synthetic_votes(panel, ids)
            answered[1] += len(annotators)
            annotators += tuple(f"proxy:{name}" for name in panel.proxies)
            votes = np.concatenate([votes, answered], axis=1)
        rank = np.argsort(np.argsort(np.array(ids, dtype=str)))
        row, annotator, label = votes[:, np.lexsort((votes[2], rank[votes[0]], votes[1]))]
        return cls(row, annotator, label, annotators, tied)


def _human_votes(dataset: datasets.Dataset, counts: Array, ids: Sequence[str]) -> tuple[tuple[str, ...], NDArray[Any]]:
    """Names of annotators, the last of them `anonymous`, and row, annotator and class (3, V) of every human vote."""
    if HUMAN_VOTES not in dataset.column_names:
        rows = np.arange(len(counts))
        return (ANONYMOUS,), _one_by_one(rows, np.zeros_like(rows), counts, ids)
    ballots = Ballots.read(dataset)
    place = np.append(np.argsort(np.argsort(ballots.annotators)), len(ballots.annotators))
    who = place[np.where(ballots.annotator == UNKNOWN, len(ballots.annotators), ballots.annotator)]
    return (*sorted(ballots.annotators), ANONYMOUS), _one_by_one(ballots.row, who, ballots.votes, ids)


def _synthetic_votes(panel: Panel, ids: Sequence[str]) -> tuple[NDArray[Any], int]:
    """Row, proxy and class (3, V) of what proxies vote for, and how many answers are left out since they are tied."""
    row, proxy = np.nonzero(panel.votes)
    answers, drawn = panel.answers[row, proxy], panel.drawn[row, proxy]
    best = plurality(answers)
    votes = np.where(drawn[:, None], panel.votes[row, proxy, None] * answers, np.eye(answers.shape[1])[best])
    tied = ~drawn & (best == UNDECIDED)
    return _one_by_one(row[~tied], proxy[~tied], votes[~tied], ids), int(tied.sum())


def _one_by_one(
    row: NDArray[np.int64], annotator: NDArray[np.int64], votes: Array, ids: Sequence[str]
) -> NDArray[np.int64]:
    """Row, annotator and class (3, V) of every vote of whole `votes` (B, C) of `row` and `annotator` (B,)."""
    whole = np.rint(votes)
    if (split := np.abs(votes - whole).max(-1, initial=0) > WHOLE).any():
        first = int(np.flatnonzero(split)[0])
        raise FitError(
            f"`dataset` splits a vote on {ids[row[first]]!r} between classes {votes[first].round(3).tolist()}, but "
            "these models take whole votes: count them again with `derive` and several_choices='pool'"
        )
    cell, label = np.nonzero(whole)
    times = whole[cell, label].astype(np.int64)
    return np.repeat(np.stack([row[cell], annotator[cell], label]), times, axis=1)


def _judge(votes: _Votes, method: str, settings: dict[str, Any], classes: tuple[str, ...], rows: int) -> Consensus:
    """Run a model of crowd-kit on votes.

    Its tables come in codes of their first appearance: with any others, its MACE (1.4.2) takes the counts of one
    class, in sorted order, for those of another, in the order of appearance.
    """
    import pandas as pd

    named = {"task": votes.row, "worker": votes.annotator, "label": votes.label}
    coded = {column: pd.factorize(values) for column, values in named.items()}
    codes = pd.DataFrame({column: code for column, (code, _) in coded.items()})
    task, worker, label = (found for _, found in coded.values())
    model = _fit(method, settings, codes)
    posterior = model.probas_.loc[range(len(task)), range(len(label))].to_numpy()
    labels = np.full((rows, len(classes)), np.nan)
    labels[task] = 0
    labels[np.ix_(task, label)] = posterior / posterior.sum(-1, keepdims=True)
    confusions = _confusions(model.errors_, len(worker), label, len(classes)) if method == "dawid_skene" else None
    return Consensus(
        method,
        classes,
        labels,
        np.bincount(votes.row, minlength=rows).astype(float),
        tuple(votes.annotators[place] for place in worker),
        np.bincount(codes["worker"]).astype(float),
        _quality(model, confusions, label, len(worker)),
        confusions,
        votes.tied,
    )


def _fit(method: str, settings: dict[str, Any], votes: Any) -> Any:
    """Fit a model of crowd-kit to a table of task, worker and label."""
    try:
        from crowdkit import aggregation
    except ImportError as error:
        raise PackageError(f"`method` {method!r}", "crowd-kit", "crowd") from error
    name, defaults = METHODS[method]
    with warnings.catch_warnings():
        # crowd-kit 1.4.2 passes what pandas 3 gives up: https://pandas.pydata.org/pdeps/0008-inplace-methods-in-pandas
        warnings.filterwarnings("ignore", r"The (copy|inplace) keyword", DeprecationWarning, r"crowdkit\.")
        return getattr(aggregation, name)(**{**defaults, **settings}).fit(votes)


def _confusions(errors: Any, annotators: int, label: NDArray[np.int64], size: int) -> Array:
    """Confusions (A, C, C) from crowd-kit's table of worker and label said, by true label, in codes of `label`."""
    made = np.full((annotators, size, size), np.nan)
    made[:, label] = 0
    worker, said = errors.index.get_level_values("worker"), errors.index.get_level_values("label")
    for code, true in enumerate(label):
        made[worker, true, label[said]] = errors[code]
    return made


def _quality(model: Any, confusions: Array | None, label: NDArray[np.int64], annotators: int) -> Array:
    """What a model says of each annotator (A,), as `QUALITY` has it."""
    if confusions is not None:
        return confusions[:, label, label] @ model.priors_.loc[range(len(label))].to_numpy()
    if hasattr(model, "alphas_"):
        return model.alphas_.loc[range(annotators)].to_numpy()
    return model.spamming_[:, 1]
