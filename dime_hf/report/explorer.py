"""The utterances of a report one by one: columns of whole numbers, which the page's script lays out as bars."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import soundfile
from numpy.typing import ArrayLike, NDArray

from dime_hf import audio, columns
from dime_hf.columns import AUDIO, HUMAN, ID, SAMPLING_RATE, SOFT_LABEL_SOURCE, TEXT
from dime_hf.distribution import UNDECIDED, Array, as_distributions, js_divergence, plurality
from dime_hf.errors import ColumnError, DistributionError, did_you_mean
from dime_hf.report.corpus import Split
from dime_hf.report.figures import colours
from dime_hf.score import LEVELS
from dime_hf.stage import undecoded

INCLUDE = {"text": TEXT, "audio": AUDIO}  # what can be named, and the column that goes with it
NOTHING = -1  # in a column of whole numbers
THOUSAND = 1000


def explore(
    splits: Mapping[str, Split],
    predictions: Mapping[str, Array],
    *,
    include: Collection[str] = (),
    utterances: int = 10_000,
    recordings: int = 200,
) -> dict[str, Any]:
    """Return the columns of the explorer, `utterances` rows at most, of which `recordings` may have their sound.

    Shares and JS divergences (bits, to the human votes) in thousandths, rows of C after each other; -1 is nothing.
    """
    for name, most in (("utterances", utterances), ("recordings", recordings)):
        if most < 1:
            raise DistributionError(f"`{name}` must be at least 1, not {most}")
    total = sum(len(split.rows) for split in splits.values())
    places = _spread(np.arange(total), utterances)
    bounds = np.cumsum([0, *(len(split.rows) for split in splits.values())])
    chosen = {
        name: places[(places >= low) & (places < high)] - low
        for name, low, high in zip(splits, bounds, bounds[1:], strict=False)
    }
    classes = next(iter(splits.values())).classes
    human = _stacked(splits, chosen, {name: split.shares for name, split in splits.items()})
    kinds = {"human": human, **_others(splits, predictions, chosen)}
    level = [level for name, split in splits.items() for level in split.level[chosen[name]].tolist()]
    found: dict[str, Any] = {
        "total": total,
        "classes": list(classes),
        "colours": colours(classes),
        "splits": list(splits),
        "levels": list(LEVELS),
        "id": [id for name, split in splits.items() for id in split.rows.select(chosen[name])[ID]],
        "split": [place for place, name in enumerate(splits) for _ in chosen[name]],
        "level": [LEVELS.index(one) if one else NOTHING for one in level],
        "favourite": [NOTHING if one == UNDECIDED else one for one in plurality(np.nan_to_num(human)).tolist()],
        "votes": _numbers(np.concatenate([split.human.sum(-1)[chosen[name]] for name, split in splits.items()])),
        "held_out": _held_out(splits, chosen),
        "entropy": _thousandths(np.concatenate([split.entropy[chosen[name]] for name, split in splits.items()])),
        "shares": {name: _thousandths(values) for name, values in kinds.items()},
        "js": {name: _thousandths(js_divergence(values, human)) for name, values in kinds.items() if name != "human"},
    }
    if "text" in include:
        found["text"] = [text for name, split in splits.items() for text in split.rows.select(chosen[name])[TEXT]]
    if "audio" in include:
        found["audio"] = _recordings(splits, chosen, recordings)
    return found


def check_include(include: Collection[str], splits: Mapping[str, Split]) -> None:
    """Raise `ColumnError` for a name that cannot be included, or that no split has."""
    for name in [include] if isinstance(include, str) else include:
        if isinstance(include, str) or name not in INCLUDE:
            raise ColumnError(
                f"`include` must hold names out of {tuple(INCLUDE)}, not {include!r}.{did_you_mean(name, INCLUDE)}"
            )
        for split in splits.values():
            columns.require(split.rows, INCLUDE[name], argument=split.name)


def read_predictions(predictions: Any, splits: Mapping[str, Split]) -> dict[str, Array]:
    """Predictions (N, C) by split; raise `DistributionError` where they do not fit the rows."""
    if predictions is None:
        return {}
    if not isinstance(predictions, Mapping):
        if len(splits) > 1:
            raise DistributionError(
                f"`predictions`: there are the splits {list(splits)}; say which they are of, as {{name: predictions}}"
            )
        predictions = {next(iter(splits)): predictions}
    return {str(name): _read(name, values, splits) for name, values in predictions.items()}


def _read(name: Any, values: ArrayLike, splits: Mapping[str, Split]) -> Array:
    if name not in splits:
        raise DistributionError(f"`predictions` are of {name!r}, no split of `data`.{did_you_mean(str(name), splits)}")
    array, split = as_distributions(values, "predictions"), splits[name]
    if array.shape != (len(split.rows), len(split.classes)):
        raise DistributionError(
            f"`predictions` of {name!r} have the shape {array.shape}, not that of its {len(split.rows)} rows and "
            f"{len(split.classes)} classes"
        )
    return array


def _spread(places: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of the places, evenly spread."""
    if len(places) <= most:
        return places
    return places[np.linspace(0, len(places) - 1, most).round().astype(int)]


def _others(
    splits: Mapping[str, Split], predictions: Mapping[str, Array], chosen: Mapping[str, Any]
) -> dict[str, Array]:
    """Distributions (M, C) beside the human ones, by kind, as far as there are any."""
    found: dict[str, dict[str, Array | None]] = {
        "proxies": {name: split.proxies for name, split in splits.items()},
        "pooled": {name: split.pooled for name, split in splits.items() if _is_pooled(split)},
        "predicted": dict(predictions),
    }
    return {
        kind: _stacked(splits, chosen, values)
        for kind, values in found.items()
        if any(value is not None for value in values.values())
    }


def _is_pooled(split: Split) -> bool:
    """Whether soft labels are more than the share of human votes."""
    if split.pooled is None or SOFT_LABEL_SOURCE not in split.rows.column_names:
        return False
    return bool(set(split.rows.unique(SOFT_LABEL_SOURCE)) - {HUMAN, None})


def _stacked(splits: Mapping[str, Split], chosen: Mapping[str, Any], values: Mapping[str, Array | None]) -> Array:
    """The chosen rows of all splits; NaN for a split without values."""
    parts = []
    for name, split in splits.items():
        given = values.get(name)
        parts.append(
            np.full((len(chosen[name]), len(split.classes)), np.nan) if given is None else given[chosen[name]]
        )
    return np.concatenate(parts)


def _held_out(splits: Mapping[str, Split], chosen: Mapping[str, Any]) -> list[float]:
    """How many of the votes of an utterance are held out."""
    parts = []
    for name, split in splits.items():
        votes = np.zeros(len(split.rows)) if split.held_out is None else np.nan_to_num(split.held_out).sum(-1)
        parts.append(votes[chosen[name]])
    return _numbers(np.concatenate(parts))


def _thousandths(values: Array) -> list[int]:
    whole: list[int] = (
        np.where(np.isnan(values), NOTHING, np.rint(THOUSAND * np.nan_to_num(values))).astype(int).ravel().tolist()
    )
    return whole


def _numbers(values: Array) -> list[Any]:
    """Numbers with two digits at most, whole ones without a point."""
    return [int(one) if one.is_integer() else one for one in values.round(2).tolist()]


def _recordings(splits: Mapping[str, Split], chosen: Mapping[str, Any], most: int) -> dict[str, str]:
    """Recordings as data URIs, by place among the rows."""
    rows = [(split, int(place)) for name, split in splits.items() for place in chosen[name]]
    has = {
        name: undecoded(split.rows).select_columns([AUDIO]).with_format("arrow")[:][AUDIO].is_valid().to_numpy()
        for name, split in splits.items()
    }
    recorded = np.array([row for row, (split, place) in enumerate(rows) if has[split.name][place]], dtype=np.int64)
    cells = {name: undecoded(split.rows).select_columns([AUDIO]) for name, split in splits.items()}
    return {
        str(row): data_uri(cells[rows[row][0].name][rows[row][1]][AUDIO]) for row in _spread(recorded, most).tolist()
    }


def data_uri(cell: Any) -> str:
    """A recording as an address that holds it: MP3 where libsndfile writes it, else FLAC."""
    form = "MP3" if "MP3" in soundfile.available_formats() else "FLAC"
    buffer = io.BytesIO()
    soundfile.write(buffer, audio.read(cell), SAMPLING_RATE, format=form)
    kind = {"MP3": "mpeg", "FLAC": "flac"}[form]
    return f"data:audio/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
