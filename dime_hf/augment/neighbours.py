"""Which utterances are nearest to which: by the paper's 82 statistics or any embedding, inside groups by choice."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from dime_hf import columns
from dime_hf.augment.features import neighbour_features, standardize
from dime_hf.columns import ID, SOFT_LABEL
from dime_hf.distribution import Array
from dime_hf.errors import ColumnError, DistributionError, did_you_mean
from dime_hf.score import ambiguity_levels
from dime_hf.stage import read_column

METHODS = ("auto", "exact", "faiss")
SCALES = ("zscore", "cosine")
DOMINANT, LEVEL = "dominant", "level"  # groups that follow from the soft label
EXACT_UP_TO = 20_000  # utterances of a group, for method "auto"
DISTANCES = 1 << 22  # of utterances to others, held at once
PAIRS = 1 << 15  # of utterances whose distance is computed in double precision at once
PROBED = 32  # cells of the index that are searched: has 99 % of the 3 nearest of 265,000, in 80 s of processors
NOBODY = -1

Rows = NDArray[np.int64]


def nearest_utterances(
    dataset: datasets.Dataset,
    k: int,
    *,
    match: Sequence[str] = (),
    embeddings: str | None = None,
    scale: str = "zscore",
    method: str = "auto",
    num_proc: int | None = None,
) -> tuple[Rows, Array]:
    """Return the `k` nearest utterances of each, as rows (N, k) of `dataset`, and their distances (N, k).

    They agree on every column of `match`; see `group_names`. They are near by the paper's 82 statistics of sound and
    transcript, or by the column `embeddings`; see `embedding_features`. The rest is as in `find_neighbours`.
    """
    columns.require(dataset, ID)
    if embeddings is None:
        features = neighbour_features(dataset, num_proc)
    else:
        features = embedding_features(dataset, embeddings, scale)
    within = group_names(dataset, match) if match else None
    return find_neighbours(features, k, within=within, ids=dataset[ID][:], method=method)


def find_neighbours(
    features: ArrayLike,
    k: int,
    *,
    within: Sequence[Hashable] | None = None,
    ids: Sequence[str] | None = None,
    method: str = "auto",
) -> tuple[Rows, Array]:
    """Return the `k` nearest others of each row of `features` (N, D), and Euclidean distances, both (N, k).

    within: (N,) names of groups: neighbours are of the same group; a row whose group is None, or a tuple that holds
        None, has none. Where fewer than `k` others are left, the rest is -1, at distance NaN.
    ids: (N,) unique; the lesser id wins a tie, so that the order of rows does not matter. Without: the lesser row.
    method: "exact", "faiss" (extra `augment`, may miss some), or "auto": exact in groups of up to 20,000 rows.
    """
    points = _checked(features, k, within, ids, method)
    order = np.arange(len(points)) if ids is None else np.argsort(np.asarray(ids))
    indices = np.full((len(points), k), NOBODY)
    distances = np.full((len(points), k), np.nan)
    for rows in _groups(order, within):
        reach = min(k, len(rows) - 1)
        if reach < 1:
            continue
        exact = method == "exact" or (method == "auto" and len(rows) <= EXACT_UP_TO)
        near, far = (_exact if exact else _approximate)(points[rows], reach)
        indices[rows, :reach] = rows[near]
        distances[rows, :reach] = far
    return indices, distances


def group_names(dataset: datasets.Dataset, match: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return the values (N,) that utterances must share to be neighbours, for `within` of `find_neighbours`.

    match: columns such as speaker, gender or session, and "dominant" (the class with most of the soft label, the first
        of tied ones) or "level" (low, medium or high: the tercile of its entropy in `dataset`). A null agrees with
        nothing.
    """
    return list(zip(*(_named(dataset, name) for name in match), strict=True))


def embedding_features(dataset: datasets.Dataset, column: str, scale: str = "zscore") -> Array:
    """Return a column of equally long lists of numbers as features (N, D).

    scale: "zscore" (each dimension has mean 0 and deviation 1) or "cosine" (each row has length 1: the nearest are
        those of the largest cosine similarity s, at distance sqrt(2 - 2 s)).
    """
    columns.require(dataset, column)
    if scale not in SCALES:
        raise DistributionError(f"`scale` is {scale!r}.{did_you_mean(scale, SCALES)}")
    if not isinstance(dataset.features[column], datasets.List):
        raise ColumnError(f"the column {column!r} holds {dataset.features[column]}, but lists of numbers are needed")
    lists = read_column(dataset, column)
    lengths = pc.unique(pc.list_value_length(lists)).to_pylist()
    if len(lengths) != 1 or lengths[0] in (None, 0):
        raise ColumnError(f"the column {column!r} has lists of the lengths {lengths[:5]}, but one length is needed")
    values = lists.flatten().to_numpy(zero_copy_only=False).reshape(len(lists), -1).astype(np.float64)
    if scale == "zscore":
        return standardize(values)
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    return values / np.where(length > 0, length, 1)


def _named(dataset: datasets.Dataset, name: str) -> list[Any]:
    if name in dataset.column_names or name not in (DOMINANT, LEVEL):
        columns.require(dataset, name)
        return dataset[name][:]
    columns.require(dataset, SOFT_LABEL)
    labels = dataset[SOFT_LABEL][:]
    voted = [row for row, label in enumerate(labels) if label is not None]
    known = np.array([labels[row] for row in voted])
    names: list[Any] = [None] * len(labels)
    for row, found in zip(voted, known.argmax(-1) if name == DOMINANT else ambiguity_levels(known), strict=True):
        names[row] = found
    return names


def _checked(features: ArrayLike, k: int, within: Any, ids: Any, method: str) -> Array:
    points = np.asarray(features, dtype=np.float64)
    if points.ndim != 2 or not np.isfinite(points).all():
        raise DistributionError(f"`features` must be finite and (N, D), not of the shape {points.shape} or with NaN")
    if k < 1:
        raise DistributionError(f"`k` must be at least 1, not {k}")
    if method not in METHODS:
        raise DistributionError(f"`method` is {method!r}.{did_you_mean(method, METHODS)}")
    for name, given in (("within", within), ("ids", ids)):
        if given is not None and len(given) != len(points):
            raise DistributionError(f"`{name}` has {len(given)} entries for {len(points)} rows of `features`")
    if ids is not None and len(set(ids)) < len(points):
        raise DistributionError("`ids` are not unique: ties could not be decided")
    return points


def _groups(order: Rows, within: Sequence[Hashable] | None) -> Iterator[Rows]:
    """Rows of each group, in `order`."""
    if within is None:
        yield order
        return
    codes: dict[Hashable, int] = {}
    code = np.array([NOBODY if _unknown(name) else codes.setdefault(name, len(codes)) for name in within], np.int64)
    grouped = order[np.argsort(code[order], kind="stable")]
    starts = np.searchsorted(code[grouped], np.arange(len(codes) + 1))
    yield from (grouped[start:end] for start, end in itertools.pairwise(starts))


def _unknown(name: Hashable) -> bool:
    return name is None or (isinstance(name, tuple) and None in name)


def _exact(points: Array, k: int, rows: Rows | None = None) -> tuple[Rows, Array]:
    """Nearest others and their distances, of `rows` or all; ties go to the lesser row.

    Matrix products in single precision find who can be among them, with a bound on their error; differences in double
    precision decide.
    """
    rows = np.arange(len(points)) if rows is None else rows
    single = (points - points.mean(0)).astype(np.float32)
    squares = np.einsum("nd,nd->n", single, single)
    error = np.finfo(np.float32).eps * (points.shape[1] + 16) * (squares + squares.max())
    found = []
    for part in np.array_split(rows, math.ceil(len(rows) * len(points) / DISTANCES)):
        squared = squares - 2 * (single[part] @ single.T) + squares[part, None]
        squared[np.arange(len(part)), part] = np.inf
        limit = np.partition(squared, k - 1)[:, k - 1] + 2 * error[part]
        place, other = np.nonzero(squared <= limit[:, None])
        found.append(_nearest(points, part, place, other, k))
    indices, distances = zip(*found, strict=True)
    return np.concatenate(indices), np.concatenate(distances)


def _nearest(points: Array, rows: Rows, place: Rows, other: Rows, k: int) -> tuple[Rows, Array]:
    """The nearest `k` of the candidates `other` of `rows[place]`, at least as many for each; `place` ascends."""
    squared = np.empty(len(place))
    for start in range(0, len(place), PAIRS):
        pairs = slice(start, start + PAIRS)
        difference = points[rows[place[pairs]]] - points[other[pairs]]
        squared[pairs] = np.einsum("nd,nd->n", difference, difference)
    order = np.lexsort((other, squared, place))
    first = np.searchsorted(place, np.arange(len(rows)))
    best = order[first[:, None] + np.arange(k)]
    return other[best], np.sqrt(squared[best])


def _approximate(points: Array, k: int) -> tuple[Rows, Array]:
    """As `_exact`, but only among the others whose cell of faiss's inverted index is one of the nearest.

    Of those that faiss finds, distances and ties are exact. An utterance for which it finds fewer than `k` is searched
    for exactly.
    """
    found = _candidates(points, 2 * k + 1)
    valid = (found >= 0) & (found != np.arange(len(points))[:, None])
    enough = np.flatnonzero(valid.sum(1) >= k)
    few = np.setdiff1d(np.arange(len(points)), enough)
    place, slot = np.nonzero(valid[enough])
    indices, distances = np.empty((len(points), k), np.int64), np.empty((len(points), k))
    indices[enough], distances[enough] = _nearest(points, enough, place, found[enough][place, slot], k)
    if few.size:
        indices[few], distances[few] = _exact(points, k, few)
    return indices, distances


def _candidates(points: Array, count: int) -> Rows:
    """Rows (N, count) that faiss finds near each point, itself among them; -1 where it finds no more."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            f"neighbours among {len(points):,} utterances need faiss: pip install 'dime_hf[augment]', or take "
            "`method='exact'`, which takes longer"
        ) from error
    single = np.ascontiguousarray(points - points.mean(0), dtype=np.float32)
    cells = max(1, round(2 * math.sqrt(len(points))))
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(points.shape[1]), points.shape[1], cells)
    index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, 64
    index.nprobe = min(PROBED, cells)
    index.train(single)
    index.add(single)
    return index.search(single, min(count, len(points)))[1]
