"""Figures as SVG: text stays text, colours that colour-blind readers tell apart, and never colour alone."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dime_hf.columns import EMOTIONS
from dime_hf.errors import PackageError
from dime_hf.evidence import Interval
from dime_hf.report.blocks import Figure

BLUE, ORANGE, GREEN, GREY, BLACK = "#0072b2", "#d55e00", "#009e73", "#6b6b6b", "#000000"
PALETTE = (  # Okabe and Ito, and a grey
    "#d55e00", "#e69f00", "#bbbbbb", "#0072b2", "#f0e442", "#cc79a7", "#56b4e9", "#000000", "#009e73",
)  # fmt: skip
LOOK: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name may hold a dollar
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": "#222222",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "figure.facecolor": "white",
}
MARKERS = "osD^v"


def draw(
    name: str, caption: str, says: str, plot: Callable[[Any], None], *, size: tuple[float, float] = (6.6, 3.4)
) -> Figure:
    """Let `plot` draw on a matplotlib figure of `size` inches, and return it as SVG."""
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError as error:
        raise PackageError("`report`", "matplotlib", "report") from error
    with matplotlib.rc_context({**LOOK, "svg.hashsalt": name}):
        canvas = matplotlib.figure.Figure(figsize=size, layout="constrained")
        plot(canvas)
        file = io.StringIO()
        canvas.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return Figure(name, caption, says, _own_ids(file.getvalue(), name))


def _own_ids(svg: str, name: str) -> str:
    """The drawing alone, whose ids are of no other one."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("xlink:href", "href")
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)


def colours(classes: Sequence[str]) -> list[tuple[str, bool]]:
    """Colour of each class, the same in every report, and whether it is hatched: there are more than colours."""
    known = [EMOTIONS.index(name) for name in classes if name in EMOTIONS]
    free = iter(place for place in range(len(EMOTIONS) + len(classes)) if place not in known)
    places = [EMOTIONS.index(name) if name in EMOTIONS else next(free) for name in classes]
    return [(PALETTE[place % len(PALETTE)], place >= len(PALETTE)) for place in places]


def bars(axes: Any, names: Sequence[str], groups: Mapping[str, Sequence[float]]) -> None:
    """Bars of each group beside each other; hatches tell them apart without colour."""
    looks = ((BLUE, ""), ("#e69f00", "//"), (GREEN, ".."), ("#cc79a7", "xx"), ("#56b4e9", "\\\\"))
    width = 0.8 / len(groups)
    for index, (group, heights) in enumerate(groups.items()):
        colour, hatch = looks[index % len(looks)]
        place = np.arange(len(names)) + (index + 0.5) * width - 0.4
        axes.bar(place, heights, width * 0.92, color=colour, hatch=hatch, edgecolor="white", linewidth=0, label=group)
    axes.set_xticks(range(len(names)), names, rotation=30 if len(names) > 6 else 0)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="#e4e4e4")
    if len(groups) > 1:
        axes.legend(loc="best", fontsize="small")


def dots(axes: Any, values: Mapping[str, Interval], lines: Mapping[str, float]) -> None:
    """Estimates with their intervals below each other, and lines that they are to be compared with."""
    for index, (name, one) in enumerate(values.items()):
        ends = np.nan_to_num([[one.estimate - one.low], [one.high - one.estimate]])
        axes.errorbar([one.estimate], [name], xerr=ends, fmt=MARKERS[index % 5], color=BLUE, capsize=3)
    for style, (name, value) in zip((":", "--", "-."), lines.items(), strict=False):
        axes.axvline(value, linestyle=style, color=GREY, label=name, zorder=0)
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.grid(axis="x", color="#e4e4e4")
