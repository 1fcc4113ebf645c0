"""Votes that a user brings: a row a vote as csv and as JSON lines, and counts by class as csv."""

from __future__ import annotations

import collections
import csv
import io
import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dime_hf import columns
from dime_hf.columns import EXTERNAL, ID
from dime_hf.corpora.dime_votes.builder import TRAIN, DimeVotesFolder
from dime_hf.corpora.dime_votes.files import A_NUMBER, choices
from dime_hf.corpora.dime_votes.labels import rename_label
from dime_hf.corpora.dime_votes.sheets import OF_VOTES, Rules
from tests.fuzz.harness import Parsed, Target

LONG, WIDE, LINES = "long.csv", "wide.csv", "long.jsonl"
NAMES = [ID, *OF_VOTES, columns.SPEAKER]
LABELS = ["Anger", "sad", "fearful", "joy", "Calm", "sad;Calm", "others"]
NOTES = ["", "loud", "well, yes", 'say "no"', "fatigu\u00e9"]
CLASSES, ROOMS = ["Anger", "sad", "Calm", "others"], ["kitchen", "hall", ""]
GAPS = {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "N/A", "NA", "NULL",
        "NaN", "n/a", "nan", "null"}  # fmt: skip


def votes(rng: random.Random) -> list[dict[str, str]]:
    """Two to five votes on each of some utterances."""
    return [
        dict(
            zip(
                NAMES,
                (f"u{number}", rng.choice([f"r{annotator}", ""]), rng.choice(LABELS), rng.choice([EXTERNAL, "self"]),
                 rng.choice(["", *LABELS]), rng.choice(NOTES), f"s{number % 2}"),
                strict=True,
            )
        )
        for number in range(rng.randrange(1, 6))
        for annotator in range(rng.randrange(2, 6))
    ]  # fmt: skip


def write_long(root: Path, rng: random.Random) -> None:
    (root / LONG).write_text(csv_text(NAMES, [list(vote.values()) for vote in votes(rng)]), encoding="utf-8")


def write_lines(root: Path, rng: random.Random) -> None:
    """Labels as texts or as lists, and what is not known as null, as empty or not at all."""
    rows = [{name: _json(name, text, rng) for name, text in vote.items()} for vote in votes(rng)]
    listed = [{name: value for name, value in row.items() if value != "" or name == "annotator"} for row in rows]
    lines = "".join(f"{json.dumps(row, ensure_ascii=rng.random() < 0.5)}\n" for row in listed)
    (root / LINES).write_text(lines, encoding="utf-8")


def _json(name: str, text: str, rng: random.Random) -> str | list[str] | None:
    if not text:
        return rng.choice([None, ""])
    return text.split(";") if name == "label" and rng.random() < 0.5 else text


def write_wide(root: Path, rng: random.Random) -> None:
    rows = [
        [f"u{number}", *(str(rng.randrange(4)) for _ in CLASSES), rng.choice(ROOMS)]
        for number in range(rng.randrange(2, 9))
    ]
    (root / WIDE).write_text(csv_text([ID, *CLASSES, "room"], rows), encoding="utf-8")


def csv_text(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([names, *rows])
    return buffer.getvalue()


def load(root: Path) -> list[tuple[str, Sequence[Any]]]:
    """The speaker of every utterance, and the votes on it."""
    (path,) = root.iterdir()
    folder = DimeVotesFolder({TRAIN: [str(path)]}, [], {}, Rules())
    table, cast = folder.tables.utterances, folder.tables.votes
    said = cast.answers.take(cast.answer).to_pylist() if len(cast) else []
    ids = table[ID].to_pylist()
    known = table[columns.SPEAKER].to_pylist() if columns.SPEAKER in table.column_names else [None] * len(ids)
    found: dict[str, list[Any]] = {id: [speaker] for id, speaker in zip(ids, known, strict=True)}
    for row, annotator, answer in zip(cast.row, cast.annotator.to_pylist(), said, strict=True):
        named = (tuple(cast.inventory[place] for place in answer[name]) for name in ("choices", "secondary"))
        found[ids[row]].append((annotator, answer["kind"], *named, answer["note"]))
    return list(found.items())


def judge_long(parsed: Parsed) -> str | None:
    """Every row that a strict reader of csv finds is the vote that is written there, and there is no other.

    Two quotes too many may make all lines between them a note: then they are one, as csv has it.
    """
    names, *rows = filter(None, csv.reader(io.StringIO(parsed.mutant, newline=""), strict=True))
    return _judge(parsed, [dict(zip(names, row, strict=True)) for row in rows])


def judge_lines(parsed: Parsed) -> str | None:
    """Every line is the vote that is written in it.

    A name that is damaged is a column that is not known, of which a warning tells: what was under it is not given.
    """
    return _judge(parsed, [json.loads(line) for line in parsed.mutant.split("\n") if line.strip()])


def _judge(parsed: Parsed, rows: Sequence[Mapping[str, Any]]) -> str | None:
    written = collections.Counter((_text(row[ID]), _vote(row)) for row in rows)
    found = collections.Counter((id, vote) for id, said in parsed.after.items() for vote in said[1:])
    speakers = {_text(row[ID]): _text(row[columns.SPEAKER]) or None for row in rows if row.get(columns.SPEAKER)}
    if written != found:
        return f"written, but not read: {list(written - found)}; read, but not written: {list(found - written)}"
    if {id: said[0] for id, said in parsed.after.items() if said[0]} != speakers:
        return f"the speakers are {speakers}, but others were read"
    return None


def _vote(row: Mapping[str, Any]) -> tuple[Any, ...]:
    given = {name: _text(row.get(name)) for name in OF_VOTES}
    named = (tuple(rename_label(name, True) for name in choices(given[text])) for text in ("label", "secondary"))
    return (given["annotator"] or None, given["kind"] or EXTERNAL, *named, given["note"])


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ";".join(map(str, value))
    return "" if value is None else str(value)


def judge_wide(parsed: Parsed) -> str | None:
    """Every row has as many votes as it counts.

    A class may be called otherwise, and a digit may be another or gone (an empty cell, or one such as `NA`, is none).
    What no row counts any more is no class.
    """
    names, *rows = filter(None, csv.reader(io.StringIO(parsed.mutant, newline=""), strict=True))
    if len(rows) != len(parsed.after):
        return f"{len(rows)} rows, but {len(parsed.after)} utterances"
    counted = [n for n, name in enumerate(names) if name != ID and any(_is_number(row[n]) for row in rows)]
    for cells in rows:
        counts = collections.Counter[tuple[str, ...]]()
        for place in counted:
            counts[tuple(rename_label(name, True) for name in choices(names[place]))] += _count(cells[place])
        found = collections.Counter(vote[2] for vote in parsed.after[cells[names.index(ID)]][1:])
        if found != +counts:
            return f"the row {cells} has the votes {found}"
    return None


def _is_number(cell: str) -> bool:
    return re.fullmatch(A_NUMBER, cell, re.ASCII) is not None


def _count(cell: str) -> int:
    return 0 if cell in GAPS else int(float(cell))


TARGETS = [
    Target("dime_votes long", LONG, write_long, load, judge_long),
    Target("dime_votes wide", WIDE, write_wide, load, judge_wide),
    Target("dime_votes lines", LINES, write_lines, load, judge_lines),
]
