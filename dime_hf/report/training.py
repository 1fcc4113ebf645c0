"""Sections of training: the curves of the loss and the scores, and what DiME-Aug does to the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dime_hf.augment.summary import Summary
from dime_hf.errors import DistributionError
from dime_hf.report.blocks import Block, Figure, Section, Table, Text, count, number, percent
from dime_hf.report.figures import BLUE, ORANGE, bars, draw
from dime_hf.report.findings import metric_name

SHOWN = ("loss", "squared_score", "js_divergence", "bhattacharyya", "accuracy", "macro_f1")
MOST = 20  # evaluations in the table
History = Sequence[Mapping[str, Any]]


def training_section(history: History) -> Section:
    """The log of a training run."""
    steps = [row for row in history if "loss" in row]
    evaluated = [row for row in history if any(name.startswith("eval_") for name in row)]
    if not steps and not evaluated:
        raise DistributionError(
            "`history` has no step with a 'loss' or an 'eval_...': take `trainer.state.log_history`"
        )
    blocks: list[Block] = [_curves(steps, evaluated)]
    if evaluated:
        blocks.append(_evaluations(evaluated))
    return Section("training", "Training", tuple(blocks))


def _curves(steps: History, evaluated: History) -> Figure:
    scored = [row for row in evaluated if "eval_squared_score" in row]

    def plot(canvas: Any) -> None:
        panels = np.atleast_1d(canvas.subplots(1, 1 + bool(scored)))
        _line(panels[0], steps, "loss", "training", BLUE, "-")
        _line(panels[0], [row for row in evaluated if "eval_loss" in row], "eval_loss", "evaluation", ORANGE, "--o")
        panels[0].set(xlabel="epoch", ylabel="loss (nats)")
        panels[0].legend(fontsize="small")
        if scored:
            _line(panels[1], scored, "eval_squared_score", "evaluation", ORANGE, "--o")
            panels[1].set(xlabel="epoch", ylabel="squared score (lower is better)")

    last = [f"loss {steps[-1]['loss']:.4g}"] if steps else []
    last += [f"squared score {scored[-1]['eval_squared_score']:.4g}"] if scored else []
    says = f"Curves over {_epochs([*steps, *evaluated])} epochs; at the end: {', '.join(last) or 'no score'}."
    return draw("training", "Loss and score over the epochs", says, plot, size=(7.2, 3.0))


def _line(axes: Any, rows: History, name: str, label: str, colour: str, style: str) -> None:
    if rows:
        x = [row.get("epoch", place) for place, row in enumerate(rows)]
        axes.plot(x, [row[name] for row in rows], style, color=colour, markersize=4, linewidth=1.4, label=label)
        axes.grid(color="#e4e4e4")


def _epochs(rows: History) -> str:
    return f"{max(float(row.get('epoch', 0)) for row in rows):g}"


def _evaluations(evaluated: History) -> Table:
    """The evaluations, evenly thinned where there are many; the best one is always there."""
    names = [name for name in SHOWN if any(f"eval_{name}" in row for row in evaluated)]
    decisive = next((name for name in ("squared_score", "loss") if name in names), None)
    best = None
    if decisive:
        scores = [row.get(f"eval_{decisive}", np.inf) for row in evaluated]
        best = int(np.argmin(scores))
    places = set(np.linspace(0, len(evaluated) - 1, min(MOST, len(evaluated))).round().astype(int).tolist())
    if best is not None:
        places.add(best)
    rows = [
        (
            number(evaluated[place].get("epoch"), 2),
            *(number(evaluated[place].get(f"eval_{name}"), 4) for name in names),
            "best" if place == best else "",
        )
        for place in sorted(places)
    ]
    heads = ["loss, nats ↓" if name == "loss" else metric_name(name) for name in names]
    thinned = f" {len(places)} of {len(evaluated):,} evaluations." if len(places) < len(evaluated) else ""
    note = (
        f"Best: the lowest {'squared score' if decisive == 'squared_score' else 'loss'}. Good for early stopping; the "
        f"control, the truth and intervals stand in the scores.{thinned}"
    )
    return Table("Evaluations during training", ("epoch", *heads, ""), tuple(rows), note)


def augmentation_section(plan: Any) -> Section:
    """Class mass before and after a plan of DiME-Aug."""
    summary = getattr(plan, "summary", plan)
    if not isinstance(summary, Summary):
        raise DistributionError(f"`plan` must be a plan of DiME-Aug or its summary, not {type(plan).__name__}")
    before, after, names = summary.before, summary.after, summary.classes
    shares = [np.divide(content.mass, max(sum(content.mass), 1e-12)).tolist() for content in (before, after)]
    rows = tuple(
        (name, number(old, 1), percent(old_share), number(new, 1), percent(new_share))
        for name, old, old_share, new, new_share in zip(
            names, before.mass, shares[0], after.mass, shares[1], strict=True
        )
    )
    about = [
        f"{before.rows:,} utterances become {after.rows:,}, {summary.new.rows:,} of them new: {summary.recipe}.",
        f"Largest over smallest class mass: {number(before.ratio)} before, {number(after.ratio)} after.",
        f"Mean entropy of the soft labels: {number(before.entropy)} bits before, {number(after.entropy)} after.",
        *(f"{note.rstrip('.')}." for note in summary.notes),
    ]

    def plot(canvas: Any) -> None:
        axes = canvas.subplots()
        bars(axes, names, {"before": before.mass, "after": after.mass})
        axes.set_ylabel("mass of the soft labels")

    says = "; ".join(
        f"{name} {old:.1f} before, {new:.1f} after"
        for name, old, new in zip(names, before.mass, after.mass, strict=True)
    )
    head = ("class", "mass before", "share before", "mass after", "share after")
    blocks = (
        Text(" ".join(about)),
        draw("augmentation", "Class mass before and after DiME-Aug", f"Bars of the class mass: {says}.", plot),
        Table(
            "Class mass of the training set",
            head,
            rows,
            f"Mass: sum of the soft labels. {count(len(names)).text} classes.",
        ),
    )
    return Section("augmentation", "DiME-Aug", blocks)
