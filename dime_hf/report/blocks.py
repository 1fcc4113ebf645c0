"""What a section of a report is made of: texts, tables and figures, for the page and for Markdown alike."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeAlias

from dime_hf.evidence import Interval

MINUS, NONE = "\N{MINUS SIGN}", "\N{EN DASH}"


@dataclasses.dataclass(frozen=True)
class Value:
    """A number as it is shown, and its interval."""

    text: str
    interval: str = ""

    def __str__(self) -> str:
        return f"{self.text} {self.interval}".rstrip()


Cell: TypeAlias = str | Value


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph; `warning` stands out. `title` makes it the start of a part of the section."""

    text: str = ""
    title: str = ""
    warning: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of cells below a head; a row of one cell is the heading of those that follow."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    @property
    def body(self) -> list[tuple[Cell, ...]]:
        """The rows that are no headings."""
        return [row for row in self.rows if len(row) == len(self.head)]

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers."""
        return [any(isinstance(row[place], Value) for row in self.body) for place in range(len(self.head))]

    @property
    def intervals(self) -> list[bool]:
        """Which columns hold numbers with intervals."""
        cells = [[row[place] for row in self.body] for place in range(len(self.head))]
        return [any(isinstance(cell, Value) and bool(cell.interval) for cell in column) for column in cells]


@dataclasses.dataclass(frozen=True)
class Figure:
    """A drawing as SVG. `says` is what it shows, for those who cannot see it."""

    name: str
    caption: str
    says: str
    svg: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class Printed:
    """Text as a part of the library prints it, in lines."""

    text: str
    title: str = ""


Block: TypeAlias = Text | Table | Figure | Printed


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of the report; `name` is its anchor."""

    name: str
    title: str
    blocks: tuple[Block, ...]


def number(value: Any, digits: int = 3, sign: bool = False) -> Value:
    """A number with so many digits after the point; a dash for None and for what is not finite."""
    if value is None or not math.isfinite(value):
        return Value(NONE)
    shown = f"{round(value, digits) + 0.0:{'+' if sign else ''},.{digits}f}"  # + 0.0: no minus before a zero
    return Value(shown.replace("-", MINUS))


def count(value: float) -> Value:
    """A number of things; fractions of votes have two digits."""
    return number(value, 0 if float(value).is_integer() else 2)


def percent(value: float) -> Value:
    return Value(f"{number(100 * value, 1).text} %" if math.isfinite(value) else NONE)


def estimate(one: Interval | None, digits: int = 4, sign: bool = False) -> Value:
    """An estimate with its interval."""
    if one is None:
        return Value(NONE)
    ends = [number(end, digits, sign).text for end in (one.low, one.high)]
    return Value(number(one.estimate, digits, sign).text, f"[{ends[0]}, {ends[1]}]")


def chance(p_value: float | None) -> Value:
    """A p-value."""
    if p_value is None:
        return Value("")
    return Value("< 0.0001") if p_value < 1e-4 else number(p_value, 4)
