"""What a balanced plan says of itself in words: the target, the caps that bind, and what rounding cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dime_hf.augment.program import Cap, Program, Relaxed
from dime_hf.augment.rounding import Whole
from dime_hf.distribution import Array

BINDS = 1e-9  # a price (imbalance per copy) that is more than a solver's error
NAMED = 3


def target_note(wanted: float, relaxed: Relaxed) -> str:
    """Whether the imbalance that is `wanted` is reached, or else the least that can be had."""
    what = f"imbalance (largest over smallest of mass / target) {relaxed.imbalance:.4f}"
    if relaxed.reached:
        return f"target reached: {what}"
    return f"target not reached: {what} is the least that the caps allow, {wanted:.4f} was asked for"


def binding_notes(program: Program, relaxed: Relaxed, singles: NDArray[np.int64], copies: int) -> list[str]:
    """One line for each cap that keeps the imbalance from falling, with what raising it would bring.

    singles (G,): the number of utterances in each of the first G candidates; the rest are pairs.
    """
    rows, start, notes = relaxed.copies.sum(), 0, []
    uses = float(relaxed.capacity_prices[: len(singles)] @ singles)
    for cap in program.caps:
        prices = relaxed.cap_prices[start : start + len(cap.limit)]
        start += len(cap.limit)
        worth = float(prices @ (cap.step + cap.step_per_row * rows))
        if cap.name == "copies":
            uses += worth
        elif (prices > BINDS).any():
            notes.append(_binds(f"{cap.name} ({_named(cap, prices)})", cap.step_name, worth))
    if uses > BINDS:
        notes.append(_binds(f"copies={copies}", "one more of every utterance", uses))
    return notes


def rounding_note(whole: Whole, relaxed: Relaxed) -> str:
    """What whole copies cost."""
    taken = f", {whole.taken_back:,} copies taken back to keep the caps" if whole.taken_back else ""
    return (
        f"rounding: imbalance {whole.imbalance:.4f} in whole copies, {relaxed.imbalance:.4f} in fractions, bound "
        f"{whole.bound:.4f} ({whole.fractions:,} candidates had fractions{taken})"
    )


def _binds(what: str, step: str, worth: float) -> str:
    return f"binding: {what}; {step} would lower the imbalance by about {worth:.2g} (first order)"


def _named(cap: Cap, prices: Array) -> str:
    held = [cap.members[row] for row in np.flatnonzero(prices > BINDS)]
    more = f" and {len(held) - NAMED} more" if len(held) > NAMED else ""
    return ", ".join(held[:NAMED]) + more
