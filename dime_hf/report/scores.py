"""Tables and figures of scores: every number beside its control."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dime_hf.errors import DistributionError
from dime_hf.score import LEVELS, score

SHOWN = {"squared_score": "squared (lower)", "js_divergence": "JS bits (lower)", "bhattacharyya": "BC (higher)"}
REFERENCES = {"human": "votes of held-out humans", "truth": "known truth"}
Row = dict[str, Any]


def score_rows(predictions: Mapping[str, ArrayLike], references: Mapping[str, ArrayLike]) -> list[Row]:
    """Score every kind of labels (N, C) against every reference (N, C), on the same rows.

    Returns a row each with `labels`, `reference`, `squared_score`, `js_divergence`, `bhattacharyya` and `n`.
    """
    return [
        {"labels": labels, "reference": reference, **_shown(score(q, p))}
        for reference, p in references.items()
        for labels, q in predictions.items()
    ]


def score_table(rows: Sequence[Row]) -> str:
    """Lay out rows of `score_rows`: a line for each kind of labels, a group of columns for each reference."""
    references = list(dict.fromkeys(row["reference"] for row in rows))
    cells = {(row["labels"], row["reference"]): row for row in rows}
    width = 17 * len(SHOWN)
    lines = [" " * 12 + "".join(f"{_heading(reference, rows):^{width}}" for reference in references)]
    lines += [f"{'labels':<12}" + "".join(f"{name:>17}" for name in SHOWN.values()) * len(references)]
    for labels in dict.fromkeys(row["labels"] for row in rows):
        shown = [cells[labels, reference][name] for reference in references for name in SHOWN]
        lines.append(f"{labels:<12}" + "".join(f"{value:>17.3f}" for value in shown))
    return "\n".join(lines)


def level_table(predictions: Mapping[str, ArrayLike], references: ArrayLike, levels: Sequence[str]) -> str:
    """Lay out the squared scores of every kind of labels (N, C) by level of ambiguity, against vote counts (N, C)."""
    present = [level for level in LEVELS if level in levels]
    heads = "".join(f"{f'{level} ({list(levels).count(level)})':>17}" for level in present)
    lines = [f"{'labels':<12}{heads}"]
    for labels, q in predictions.items():
        by_level = score(q, references, levels=levels)["levels"]
        lines.append(f"{labels:<12}" + "".join(f"{by_level[level]['squared_score']:>17.3f}" for level in present))
    return "\n".join(lines)


def plot_scores(rows: Sequence[Row], path: str | os.PathLike[str], controls: Sequence[Row] = ()) -> None:
    """Draw the squared scores of `score_rows` as points, a panel for each reference; `controls` are dotted lines."""
    from matplotlib.figure import Figure

    references = list(dict.fromkeys(row["reference"] for row in rows))
    figure = Figure(figsize=(4.6 * len(references), 3.2), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(references), sharey=True))
    for axes, reference in zip(panels, references, strict=True):
        mine = [row for row in rows if row["reference"] == reference]
        axes.plot([row["squared_score"] for row in mine], [row["labels"] for row in mine], "o", color="#0072b2")
        for style, row in zip((":", "--"), (row for row in controls if row["reference"] == reference), strict=False):
            axes.axvline(row["squared_score"], linestyle=style, color="#555555", label=row["labels"])
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="best", fontsize="small")
        axes.set(title=f"against the {_heading(reference, rows)}", xlabel="squared score (lower is better)")
        axes.grid(axis="x", alpha=0.3)
    figure.axes[0].invert_yaxis()  # shared: the first row on top
    figure.savefig(path, dpi=150)


def _shown(scores: Mapping[str, Any]) -> Row:
    return {name: scores[name] for name in (*SHOWN, "n")}


def _heading(reference: str, rows: Sequence[Row]) -> str:
    counts = {row["n"] for row in rows if row["reference"] == reference}
    if len(counts) != 1:
        raise DistributionError(
            f"`rows` compare labels on different utterances: {sorted(counts)} against {reference!r}"
        )
    return f"{REFERENCES.get(reference, reference)}, n = {counts.pop()}"
