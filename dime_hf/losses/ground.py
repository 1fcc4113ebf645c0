"""How far apart emotions are: the ground metric that transport losses move votes over."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from dime_hf.columns import EMOTIONS
from dime_hf.distribution import Array
from dime_hf.errors import did_you_mean

Matrix = tuple[tuple[float, ...], ...]
# Mean ratings of these very words, 1 to 9: valence, arousal, dominance. Warriner, Kuperman & Brysbaert 2013, "Norms of
# valence, arousal, and dominance for 13,915 English lemmas", Behavior Research Methods 45:1191-1207, columns
# V.Mean.Sum, A.Mean.Sum and D.Mean.Sum, doi:10.3758/s13428-012-0314-x
WORDS = {
    "angry": (2.53, 6.20, 4.11),
    "happy": (8.47, 6.05, 7.21),
    "neutral": (5.50, 3.45, 5.81),
    "sad": (2.10, 3.49, 3.84),
    "excited": (8.11, 6.43, 7.33),
    "frustrated": (2.55, 5.40, 3.85),
    "surprise": (7.44, 6.57, 5.17),
    "fear": (2.93, 6.14, 3.32),
    "disgust": (3.32, 5.00, 4.84),
    "contempt": (3.22, 4.61, 4.45),
}  # "other" has a rating as a word, but as a class it is no emotion
LAYOUTS = {"valence_arousal": 2, "valence_arousal_dominance": 3}
ORDERED = "ordered"
UNPLACED = ("refuse", "mean")


def ground_distances(ground: str | Matrix, classes: Sequence[str], size: int, unplaced: str = "refuse") -> Array:
    """Return the distances (C, C) between `size` classes, the largest of them 1.

    `ground` is `valence_arousal` or `valence_arousal_dominance` (Euclidean, between the words' norms), `ordered`
    (|i - j|: the classes are steps of a scale), or a matrix (C, C). A class without norms, such as "other", is refused
    or, with `unplaced="mean"`, as far from every class as two placed classes are on average. Norms are of the words,
    not of voices: surprise is pleasant there, and fear lies next to anger. Raises `ValueError`.
    """
    return _distances(ground, tuple(classes), size, unplaced)


@functools.lru_cache(maxsize=64)
def _distances(ground: str | Matrix, classes: tuple[str, ...], size: int, unplaced: str) -> Array:
    if isinstance(ground, str):
        check_ground(ground, classes, unplaced)
    if ground == ORDERED:
        places = np.arange(size)
        distances = np.abs(np.subtract.outer(places, places)).astype(float)
    elif isinstance(ground, str):
        distances = _between_words(LAYOUTS[ground], classes, size)
    else:
        distances = _given(ground, size)
    distances = distances / distances.max()
    _check_negative_type(distances)
    distances.setflags(write=False)
    return distances


def check_ground(ground: str, classes: Sequence[str], unplaced: str) -> None:
    """Raise `ValueError` for a ground that is none, and for classes that it has no place for."""
    if ground != ORDERED and ground not in LAYOUTS:
        raise ValueError(
            f"`ground` is {ground!r}, which is no ground metric.{did_you_mean(ground, [*LAYOUTS, ORDERED])}"
        )
    if unplaced not in UNPLACED:
        raise ValueError(f"`unplaced` is {unplaced!r}.{did_you_mean(str(unplaced), UNPLACED)}")
    strangers = [name for name in classes if name not in WORDS]
    if ground in LAYOUTS and strangers and unplaced == "refuse":
        raise ValueError(
            f"the classes {strangers} have no place in the ground {ground!r}: set `unplaced='mean'` (as far from "
            "every class as two classes are on average), or give `ground` as a matrix of distances"
        )
    if ground in LAYOUTS and classes and len(classes) - len(strangers) < 2:
        raise ValueError(f"the ground {ground!r} places only words of {EMOTIONS[:-1]}, not {tuple(classes)}")


def _between_words(dimensions: int, classes: tuple[str, ...], size: int) -> Array:
    if len(classes) != size:
        raise ValueError(
            f"`classes` has {len(classes)} names for {size} classes: name them all, in the dataset's order, or call "
            "`fit_to(loss, labels, classes)`"
        )
    places = np.array([WORDS.get(name, (np.nan,) * 3)[:dimensions] for name in classes])
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    placed = ~np.isnan(distances)
    mean = distances[placed].sum() / max(placed.sum() - np.trace(placed), 1)
    distances = np.where(placed, distances, mean)
    np.fill_diagonal(distances, 0)
    return distances


def _given(ground: Matrix, size: int) -> Array:
    distances = np.asarray(ground, dtype=float)
    if distances.shape != (size, size):
        raise ValueError(f"`ground` has the shape {distances.shape}, but there are {size} classes")
    if (
        not np.isfinite(distances).all()
        or (distances < 0).any()
        or np.trace(distances)
        or (distances != distances.T).any()
    ):
        raise ValueError("`ground` must be a symmetric matrix of distances, at least 0, with zeros on its diagonal")
    if not (distances + np.eye(size) > 0).all():
        raise ValueError("`ground` puts two classes at distance 0: votes could move between them for nothing")
    return distances


def _check_negative_type(distances: Array) -> None:
    """Refuse distances under which a prediction other than the label could cost less than the label itself."""
    centre = np.eye(len(distances)) - 1 / len(distances)
    least = np.linalg.eigvalsh(-centre @ distances @ centre)[:2]  # one eigenvalue is the 0 of the constant
    if least.min() < -1e-9 or least.max() < 1e-9:
        raise ValueError(
            "`ground` is not of strict negative type (as Euclidean distances between different points are), so that "
            "the loss would not be least at the label: take distances between points of a space"
        )
