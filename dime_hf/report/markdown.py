"""A report as Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dime_hf.report.blocks import Block, Cell, Figure, Printed, Table, Text, Value

if TYPE_CHECKING:
    from dime_hf.report.run import Report


def text(report: Report, figures: str) -> str:
    """The whole report; the figures lie in the folder `figures`."""
    lines = [
        f"# {_safe(report.title)}",
        f"Made by `dime_hf` {report.version}. Licence of the data: {_safe(report.licence)}.",
    ]
    if report.holds:
        lines.append(f"**report.html holds licensed material: {', '.join(report.holds)}.**")
    if report.in_short:
        lines += ["## In short", "\n".join(f"- {_safe(line)}" for line in report.in_short)]
    for section in report.sections:
        lines += [f"## {_safe(section.title)}", *(_block(block, figures) for block in section.blocks)]
    if report.utterances:
        shown, total = len(report.utterances["id"]), report.utterances["total"]
        lines += ["## Utterances", f"{shown:,} of {total:,} utterances one by one: in report.html and report.json."]
    if report.left_out:
        left = "\n".join(f"- {name}: {why}" for name, why in report.left_out.items())
        lines += ["## Not in this report", left]
    return "\n\n".join(filter(None, lines)) + "\n"


def _block(block: Block, figures: str) -> str:
    if isinstance(block, Text):
        title = f"### {_safe(block.title)}" if block.title else ""
        said = f"**{_safe(block.text)}**" if block.warning else _safe(block.text)
        return "\n\n".join(filter(None, (title, said if block.text else "")))
    if isinstance(block, Figure):
        return f"![{_safe(block.caption)}]({figures}/{block.name}.svg)\n\n*{_safe(block.caption)}*"
    if isinstance(block, Printed):
        return f"```\n{block.text.replace('```', '` ` `')}\n```"
    return _table(block)


def _table(table: Table) -> str:
    rule = ["--:" if numeric else "---" for numeric in table.numeric]
    lines = [_line([_safe(head) for head in table.head]), _line(rule)]
    for row in table.rows:
        cells = [_cell(cell) for cell in row]
        if len(row) < len(table.head):
            cells = [f"**{cells[0]}**", *[""] * (len(table.head) - 1)]
        lines.append(_line(cells))
    return "\n\n".join(filter(None, (f"**{_safe(table.caption)}**", "\n".join(lines), _safe(table.note))))


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    return str(cell) if isinstance(cell, Value) else _safe(cell)


def _safe(said: str) -> str:
    """Text that is no markup, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(said.split()))
