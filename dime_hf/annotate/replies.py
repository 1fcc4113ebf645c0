"""From what a model says to an answer: strictly, so that what is no answer is never taken for one."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dime_hf.annotate.annotator import Answer, failed, succeeded

NEGATION = re.compile(r"\b(?:not|never|no|nor|neither|nothing|without|cannot)\b|n['’]t\b")  # noqa: RUF001
JSON_BLOCK = re.compile(r"\{[^{}]*\}")
PERCENT = 100.0
DRIFT_LIMIT = 0.5  # of the sum of a distribution from 1 (or from 100 percent): beyond, it is none
DRIFT_NOTED = 0.005  # a sum that differs from 1 by more is noted: two digits a class round to less


def parse_word(reply: str, options: Sequence[str]) -> int | None:
    """Place of the option that a reply names: the option itself, or the only one among its words; None otherwise.

    A reply that negates anything names nothing.

    >>> [parse_word(said, ("angry", "sad")) for said in ("Angry.", "She sounds sad.", "angry or sad", "not angry", "")]
    [0, 1, None, None, None]
    """
    said = _plain(reply)
    known = [_plain(option) for option in options]
    if said in known:
        return known.index(said)
    if NEGATION.search(said):
        return None
    named = [place for place, option in enumerate(known) if re.search(rf"(?<!\w){re.escape(option)}(?!\w)", said)]
    return named[0] if len(named) == 1 else None


def drawn(proxy: str, order: Sequence[int], replies: Sequence[str], options: Sequence[str]) -> Answer:
    """Answer from replies in words, one draw each; the share that names no option is the off-option mass.

    Failed if no reply names one.
    """
    places = [parse_word(reply, options) for reply in replies]
    draws = [place for place in places if place is not None]
    if not draws:
        return failed(proxy, order, f"no option is named in {_excerpt(replies)}", "reply")
    return from_draws(proxy, order, draws, len(options), off_option=1 - len(draws) / len(replies))


def from_draws(proxy: str, order: Sequence[int], draws: Sequence[int], size: int, off_option: float) -> Answer:
    """Answer from `draws` (places of classes) over `size` classes: their shares are the distribution."""
    shares = np.bincount(draws, minlength=size) / len(draws)
    return succeeded(proxy, order, shares.tolist(), off_option, draws)


def from_log_probabilities(proxy: str, order: Sequence[int], scores: ArrayLike) -> Answer:
    """Answer from log-probabilities (C,), nats: renormalised over the options, and the mass that lies off them."""
    scores = np.asarray(scores, dtype=float)
    if np.isnan(scores).any() or not np.isfinite(scores.max()):
        return failed(proxy, order, "the option probabilities are not finite numbers")
    total = np.logaddexp.reduce(scores)
    return succeeded(proxy, order, np.exp(scores - total).tolist(), float(np.clip(-np.expm1(total), 0, 1)))


def verbalised(proxy: str, order: Sequence[int], said: Sequence[str], options: Sequence[str]) -> Answer:
    """Answer from distributions in JSON (one, or one a part of a long recording): option words to shares or percents.

    Words without a share have none; shares of other words are the off-option mass. Shares that do not sum to 1 are
    divided by their sum, and the answer notes it (`drift`). Failed: no JSON object, shares that are negative or no
    numbers, a word twice, a sum that is no distribution's, nothing on the options; and if one of several fails.
    """
    read = []
    for reply in said:
        try:
            read.append(_distribution(reply, options))
        except ValueError as error:
            return failed(proxy, order, f"{error} in {_excerpt([reply])}", "reply")
    on, totals = np.mean([shares for shares, _ in read], axis=0), [total for _, total in read]
    drifted = [f"{total:g}" for total in totals if abs(total - 1) > DRIFT_NOTED]
    note = f"drift: the shares sum to {', '.join(drifted)}" if drifted else None
    return succeeded(proxy, order, (on / on.sum()).tolist(), max(0.0, 1 - float(on.sum())), note=note)


def _distribution(reply: str, options: Sequence[str]) -> tuple[NDArray[np.float64], float]:
    """Shares (C,) of the options among all that is named, and the sum as written, 1 where it is as it should be."""
    shares = _shares(reply)
    total = math.fsum(shares.values())
    unit = PERCENT if abs(total / PERCENT - 1) <= DRIFT_LIMIT else 1.0
    if abs(total / unit - 1) > DRIFT_LIMIT:
        raise ValueError(f"shares that sum to {total:g}")
    on = np.array([shares.get(_plain(option), 0.0) for option in options]) / total
    if not on.sum():
        raise ValueError("no share for any option")
    return on, total / unit


def _shares(reply: str) -> dict[str, float]:
    """Word to share, from the only JSON object in a reply; `ValueError` says what is wrong."""
    blocks = JSON_BLOCK.findall(reply)
    if len(blocks) != 1 or reply.count("{") > 1:
        raise ValueError(f"{'more than one' if blocks else 'no'} JSON object")
    pairs = json.loads(blocks[0], object_pairs_hook=list, parse_int=float, parse_constant=_no_number)
    twice = [word for word, count in Counter(_plain(word) for word, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} more than once")
    for word, share in pairs:
        if isinstance(share, bool) or not isinstance(share, (int, float)) or share < 0:
            raise ValueError(f"{word!r} has {share!r} for a share")
    return {_plain(word): float(share) for word, share in pairs}


def _no_number(word: str) -> float:
    raise ValueError(f"{word} for a share")


def _plain(text: str) -> str:
    """Lower case, without the quotes, stops and stars around it."""
    return text.strip(" \t\r\n.,;:!?*_`'\"“”‘’()[]").casefold()  # noqa: RUF001


def _excerpt(replies: Sequence[str]) -> str:
    """What was said, short enough for an error."""
    first = replies[0] if len(replies[0]) <= 80 else replies[0][:77] + "..."
    return f"{first!r}" + (f" and {len(replies) - 1} more" if len(replies) > 1 else "")
