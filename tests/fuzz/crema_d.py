"""CREMA-D's table of votes, its responses, their first clicks, and its actors."""

from __future__ import annotations

import collections
import csv
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dime_hf.corpora.crema_d import CODES, MODALITIES, PRACTICE, CremaDFolder
from tests.fuzz.harness import Parsed, Target

TABLE, RESPONSES, FIRST_CLICKS, ACTORS = (
    "processedResults/tabulatedVotes.csv",
    "finishedResponses.csv",
    "finishedEmoResponses.csv",
    "VideoDemographics.csv",
)
KNOWN_OF_ACTORS = ("gender", "age", "race", "ethnicity")
TABLE_HEADER = '"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote","meanEmoResp"'
RESPONSE_HEADER = (
    '"","localid","pos","ans","ttr","queryType","numTries","clipNum","questNum","subType","clipName","sessionNums",'
    '"respEmo","respLevel","dispEmo","dispVal","dispLevel"'
)
FIRST_CLICK_HEADER = '"","localid","sessionNums","queryType","questNum","pos","ttr","numTries","clipNum","clipName"'
CLIPS = ["1001_IEO_NEU_XX", "1001_IEO_HAP_LO", "1001_DFA_ANG_XX", "1002_ITS_SAD_XX", "1002_WSI_FEA_XX"]


def write(root: Path, rng: random.Random) -> None:
    """Some clips, and five to seven responses to each in every modality, of which some came late."""
    asked = collections.Counter[tuple[int, str]]()
    responses, clicks, table = [RESPONSE_HEADER], [FIRST_CLICK_HEADER], [TABLE_HEADER]
    for modality in MODALITIES.values():
        for number, clip in enumerate(CLIPS, start=1):
            counts = collections.Counter[str]()
            for annotator in rng.sample(range(1, 10), rng.randrange(5, 8)):
                answer, late = rng.choice(list(CODES)), total(counts) > 0 and rng.random() < 0.1
                asked[annotator, modality] += 1
                question = asked[annotator, modality]
                responses.append(response(len(responses), annotator, modality, number, question, clip, answer))
                clicks.append(first_click(len(clicks), annotator, modality, number, question, clip, late))
                counts[answer] += not late
            table.append(row(modality, number, clip, counts))
    responses.append(response(len(responses), 1, "1", int(PRACTICE[0]), 99, "ANG_HI_practice", "A"))
    actors = [
        '"ActorID","Age","Sex","Race","Ethnicity"',
        *(f'{n},{n % 100},"Female","Asian","Hispanic"' for n in (1001, 1002)),
    ]
    for file, lines in ((TABLE, table), (RESPONSES, responses), (FIRST_CLICKS, clicks), (ACTORS, actors)):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("\n".join(lines) + "\n")


def row(modality: str, number: int, clip: str, counts: collections.Counter[str]) -> str:
    """A row of the table of votes."""
    most = max(counts.values())
    winners = ":".join(code for code in CODES if counts[code] == most)
    cells = [f'"{modality}{number:05}"', *(str(counts[code]) for code in CODES), f'"{clip}"', str(total(counts))]
    return ",".join([*cells, f"{most / total(counts):.15g}", f'"{winners}"', "71.5"])


def total(counts: collections.Counter[str]) -> int:
    return sum(counts.values())


def response(n: int, annotator: int, modality: str, number: int, question: int, clip: str, answer: str) -> str:
    """A row of the responses."""
    what = f'"{answer}_60",4321,{modality},0,{number},{question},4,"{clip}"'
    return f'"{n}","{annotator}",{n},{what},{100_000 + annotator},"{answer}","60","N","XX",NA'


def first_click(n: int, annotator: int, modality: str, number: int, question: int, clip: str, late: bool) -> str:
    """A row of the first clicks."""
    milliseconds = 12_345 if late else 1234
    return f'"{n}","{annotator}",{100_000 + annotator},{modality},{question},{n},{milliseconds},0,{number},"{clip}"'


def load_table(root: Path) -> list[tuple[str, Sequence[Any]]]:
    return list(_load(root, "tabulated"))


def load_responses(root: Path) -> list[tuple[str, Sequence[Any]]]:
    return [pair for responses in ("all", "filtered") for pair in _load(root, responses)]


def load_actors(root: Path) -> list[tuple[str, Sequence[Any]]]:
    """What is known of the speaker of each clip."""
    folder = CremaDFolder(root)
    (block,) = folder.read(list(folder.groups()))
    return list(zip(block.id, zip(*(block.fields[name] for name in KNOWN_OF_ACTORS), strict=True), strict=True))


def _load(root: Path, responses: str) -> Iterator[tuple[str, Sequence[Any]]]:
    """Votes by clip, of every modality."""
    for modality, digit in MODALITIES.items():
        folder = CremaDFolder(root, modality, responses)
        shards = [shard for shards in folder.groups().values() for shard in shards]
        for block in folder.read(shards):
            for id, votes in zip(block.id, block.votes, strict=True):
                yield f"{responses} {digit} {id}", [(vote.annotator, vote.choices) for vote in votes]


def judge_table(parsed: Parsed) -> str | None:
    """Every row must count, as it is written: who reads it naively finds the same."""
    rows = _rows(parsed.mutant)
    if len(rows) != len(parsed.after):
        return f"{len(rows)} rows, but {len(parsed.after)} clips"
    for name, *counts, clip in (cells[:8] for cells in rows):
        if not all(map(str.isdecimal, counts)):
            return f"row {name} was read, though its counts are {counts}"
        given = zip(CODES.values(), map(int, counts), strict=True)
        votes = [(None, (emotion,)) for emotion, count in given for _ in range(count)]
        if parsed.after.get(f"tabulated {name[0]} {clip}") != votes:
            return f"row {name} has other votes"
    return None


def _rows(text: str) -> list[list[str]]:
    """Cells of every line after the header, each read alone."""
    return [next(csv.reader([line])) for line in text.split("\n")[1:] if line]


def judge_responses(parsed: Parsed) -> str | None:
    """Every row must count among all responses, and after the filter as many as the table has."""
    rows = _rows(parsed.mutant)
    rows = [cells for cells in rows if cells[7] not in PRACTICE]
    if len(rows) != sum(len(votes) for clip, votes in parsed.after.items() if clip.startswith("all")):
        return f"{len(rows)} responses, but other votes"
    for cells in rows:
        if (cells[1], (CODES[cells[12]],)) not in parsed.after[f"all {cells[5]} {cells[10]}"]:
            return f"the response {cells} is not among the votes"
    return judge_first_clicks(parsed)


def judge_first_clicks(parsed: Parsed) -> str | None:
    """They tell which responses are left out: those that the table does not count either."""
    for clip in parsed.before:
        before, after = (sorted(choices for _, choices in votes[clip]) for votes in (parsed.before, parsed.after))
        if clip.startswith("filtered") and before != after:
            return f"{clip} has other votes than the table"
    return None


def judge_actors(parsed: Parsed) -> str | None:
    """A row that stands says the same; a clip of an actor without one says nothing."""
    standing = {line.split(",")[0] for line in parsed.mutant.split("\n") if line in parsed.original.split("\n")}
    named = {cells[0] for cells in _rows(parsed.mutant)}
    for clip, known in parsed.before.items():
        actor = clip.split("_")[0]
        if parsed.after[clip] != known and actor in standing:
            return f"{actor} stands as it stood, but {known} became {parsed.after[clip]}"
        if (parsed.after[clip] == (None,) * 4) == (actor in named):
            return f"{actor} is there, but nothing is known, or the other way round"
    return None


TARGETS = [
    Target("crema_d table", TABLE, write, load_table, judge_table),
    Target("crema_d responses", RESPONSES, write, load_responses, judge_responses),
    Target("crema_d first clicks", FIRST_CLICKS, write, load_responses, judge_first_clicks),
    Target("crema_d actors", ACTORS, write, load_actors, judge_actors),
]
