"""MSP-Podcast's votes in each form of its releases, its consensus and its partitions."""

from __future__ import annotations

import collections
import csv
import io
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dime_hf import columns
from dime_hf.corpora.msp_podcast import MspPodcastFolder
from dime_hf.corpora.msp_podcast.labels import CODES, EXTENSION, RATINGS, SETS, SPLIT, UNKNOWN, read_worker_votes
from dime_hf.corpora.msp_podcast.utterances import UNASSIGNED
from tests.fuzz.harness import Parsed, Target, Votes

CSV, JSON, TEXT = (f"Labels/{name}" for name in ("labels_detailed.csv", "labels_detailed.json", "labels.txt"))
CONSENSUS, PARTITIONS = "Labels/labels_consensus.csv", "Partitions.txt"
QUESTIONS = ("EmoClass_Major", "EmoClass_Second", "EmoAct", "EmoVal", "EmoDom")
HEADER = ["FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set"]
FILES = [f"MSP-PODCAST_000{number}_0008.wav" for number in range(1, 6)] + ["nixon tape.v2.wav", "a.wav"]
WORDS = ["Angry", "Sad", "Happy", "Neutral", "Contempt", "Concerned", "Frustrated", "Dissapointed"]
TYPED = ["Other-tired", 'Other-"so; so", [x]', "Other-1; 2; 3", "Other (a, b)", "Other-fatigu\u00e9", "Other-"]
SPOKEN = ["Train", "Development", "Test1", "Test2", "NA"]

Ballots = dict[str, list[list[str]]]  # by file: worker, and what they said to each of `QUESTIONS`


def ballots(rng: random.Random) -> Ballots:
    """Two to four votes on each of some files."""
    files = rng.sample(FILES, rng.randrange(2, 6))
    return {file: [ballot(worker, rng) for worker in rng.sample(range(1, 30), rng.randrange(2, 5))] for file in files}


def ballot(worker: int, rng: random.Random) -> list[str]:
    primary, *secondary = (rng.choice(TYPED if rng.random() < 0.3 else WORDS) for _ in range(rng.randrange(2, 5)))
    ratings = [rng.choice(["NaN", *(f"{n}.000000" for n in range(1, 8))]) for _ in RATINGS]
    return [f"WORKER{worker:08}", primary, ",".join(word for word in secondary if ";" not in word), *ratings]


def line_of(vote: Sequence[str]) -> str:
    """A vote as one text."""
    worker, primary, secondary, a, v, d = vote
    return f"{worker}; {primary}; {secondary}; A:{a}; V:{v}; D:{d};"


def detail_csv(votes: Ballots, _: random.Random) -> str:
    return csv_text([("FileName", "EmoDetail"), *((file, line_of(vote)) for file in votes for vote in votes[file])])


def column_csv(votes: Ballots, _: random.Random) -> str:
    rows = [(file, *vote, "1.5") for file in votes for vote in votes[file]]
    return csv_text([("FileName", "WorkerID", *QUESTIONS, "Duration"), *rows])


def csv_text(rows: Iterable[Sequence[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def detail_json(votes: Ballots, _: random.Random) -> str:
    """A line a vote."""
    files = []
    for file, cast in votes.items():
        lines = [f"{json.dumps(vote[0])}: {json.dumps(dict(zip(QUESTIONS, vote[1:], strict=True)))}" for vote in cast]
        files.append(f"{json.dumps(file)}: {{\n" + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(files) + "\n}\n"


def text_blocks(votes: Ballots, rng: random.Random) -> str:
    blocks = ([f"{file}; {rng.choice(list(CODES))}; A:1.5; V:NaN; D:3;", *map(line_of, votes[file])] for file in votes)
    return "\n".join("".join(f"{line}\n" for line in block) for block in blocks)


def consensus_csv(votes: Ballots, rng: random.Random) -> str:
    rows = [
        (file, rng.choice(list(CODES)), "1.5", "NaN", f"{rng.randrange(1, 8)}", rng.choice(["17", "18", "Unknown"]),
         rng.choice(["Male", "Female", "Unknown"]), rng.choice(SPOKEN))
        for file in votes
    ]  # fmt: skip
    return csv_text([HEADER, *rows])


def partition_lines(votes: Ballots, rng: random.Random) -> str:
    return "".join(f"{rng.choice(SPOKEN)}; {file}\n" for file in votes) + "Test3; MSP-PODCAST_test3_0001.wav\n"


def writer(forms: Mapping[str, Callable[[Ballots, random.Random], str]]) -> Callable[[Path, random.Random], None]:
    """Writes files that tell of the same votes."""

    def write(root: Path, rng: random.Random) -> None:
        votes = ballots(rng)
        for file, form in forms.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(form(votes, rng), encoding="utf-8")

    return write


def load(root: Path) -> list[tuple[str, Sequence[Any]]]:
    """What is known of every utterance, by column of the consensus, and the votes on it."""
    folder = MspPodcastFolder(root)
    utterances, votes = folder.utterances, read_votes(str(folder.votes_file))
    names = (*(columns.RELEASED + name for name in RATINGS.values()), columns.SPEAKER, columns.GENDER, SPLIT)
    known = [utterances.table[name].to_pylist() for name in ("official", *names)]
    ids = utterances.table[columns.ID].to_pylist()
    workers = utterances.workers.take(utterances.worker).to_pylist()
    for id, start, end in zip(ids, utterances.votes_before, utterances.votes_before[1:], strict=False):
        if workers[start:end] != [vote[0] for vote in votes.get(id, [])]:
            raise AssertionError(f"{id} has votes of {workers[start:end]}, but the file has {votes.get(id)}")
    return [(id, [facts, *votes.get(id, [])]) for id, facts in zip(ids, zip(*known, strict=True), strict=True)]


def read_votes(path: str) -> dict[str, list[Any]]:
    """Worker, answer and ratings of every vote, by utterance."""
    given = read_worker_votes(path)
    votes = collections.defaultdict[str, list[Any]](list)
    for number, (file, worker, answer) in enumerate(zip(given.file, given.worker, given.answer, strict=True)):
        ratings = tuple(f"{values[number]:g}" for values in given.ratings.values())
        vote = (given.workers[worker].as_py(), given.answers[answer], ratings)
        votes[id_of(given.files[file].as_py())].append(vote)
    return votes


def id_of(file: str) -> str:
    return EXTENSION.sub("", file.strip())


def judge_rows(parsed: Parsed) -> str | None:
    """Every line after the header is a vote on the file in its first cell; one that stands is the vote it was.

    A cell that became another one that may stand there (a digit of a worker or a rating, a letter of a file's name, of
    free text) cannot be noticed, nor can a line that is gone.
    """
    lines, was = _rows(parsed.mutant), _votes_by_line(parsed)
    on = [id_of(next(csv.reader([line]))[0]) for line in lines]
    standing = [was[line] for line in lines if line in was]
    return _miscounted(parsed, on) or _lost(parsed.after, standing) or _other_facts(parsed)


def _rows(text: str) -> list[str]:
    """The lines after the header."""
    return [line for line in text.split("\n") if line][1:]


def _votes_by_line(parsed: Parsed) -> dict[str, tuple[str, Any]]:
    """Utterance and vote of the lines of the original."""
    votes = {id: iter(said[1:]) for id, said in parsed.before.items()}
    ids = [(line, id_of(next(csv.reader([line]))[0])) for line in _rows(parsed.original)]
    return {line: (id, next(votes[id])) for line, id in ids}


def _miscounted(parsed: Parsed, on: Sequence[str]) -> str | None:
    """A vote must be `on` each of these utterances, and there is no other."""
    voted = collections.Counter(_ascii(id) for id, said in parsed.after.items() for _ in said[1:])
    return None if collections.Counter(map(_ascii, on)) == voted else f"written are votes on {on}, but read on {voted}"


def _ascii(text: str) -> str:
    """What is the same in any encoding: a file may be taken for latin-1 by who reads all of it alone."""
    return re.sub(r"[^\x00-\x7f]+", "?", text)


def _lost(after: Votes, standing: Iterable[tuple[str, Any]]) -> str | None:
    """Votes that stand as they stood must be with their utterances."""
    for (id, vote), count in collections.Counter(standing).items():
        if after[id][1:].count(vote) < count:
            return f"{vote} on {id} stands, but is not among its votes"
    return None


def _other_facts(parsed: Parsed) -> str | None:
    """What a file says that is whole must not change."""
    for id, said in parsed.before.items():
        if parsed.after[id][0] != said[0]:
            return f"{said[0]} became {parsed.after[id][0]}"
    return None


def judge_json(parsed: Parsed) -> str | None:
    """Every entry must count, for the worker and on the file that it has for any reader of JSON.

    Lines that are gone may take the end of one file and the name of the next: then its workers are the former's.
    """
    before, after = list(_entries(parsed.original)), list(_entries(parsed.mutant))
    votes = {id: iter(said[1:]) for id, said in parsed.before.items()}
    was = {(worker, said): next(votes[id]) for id, worker, said in before}
    standing = [(id, was[worker, said]) for id, worker, said in after if (worker, said) in was]
    return _miscounted(parsed, [id for id, _, _ in after]) or _lost(parsed.after, standing) or _other_facts(parsed)


def _entries(text: str) -> Iterator[tuple[str, str, str]]:
    for file, votes in json.loads(text, object_pairs_hook=list):
        for worker, vote in votes:
            yield id_of(file), worker, json.dumps(vote)


def judge_blocks(parsed: Parsed) -> str | None:
    """Every line is a head, or a vote on the file whose head is the nearest above; what stands is what it was.

    Where a head is gone with the blank line above, its votes are the former file's.
    """
    facts, votes = _lines_of(parsed)
    lines = [line for line in parsed.mutant.split("\n") if line.strip()]
    on, standing = [], []
    id = ""
    for line in lines:
        if not line.strip().startswith("WORKER"):
            id = id_of(line.split(";")[0])
            if line in facts and parsed.after[id][0] != facts[line]:
                return f"{line!r} stands, but {id} is {parsed.after[id][0]}"
            continue
        on.append(id)
        standing += [(id, votes[line])] if line in votes else []
    return _miscounted(parsed, on) or _lost(parsed.after, standing)


def _lines_of(parsed: Parsed) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the heads of the original say, and its votes."""
    facts: dict[str, Any] = {}
    votes: dict[str, Any] = {}
    said: Iterator[Any] = iter(())
    for line in filter(None, parsed.original.split("\n")):
        if line.startswith("WORKER"):
            votes[line] = next(said)
        else:
            said = iter(parsed.before[id_of(line.split(";")[0])])
            facts[line] = next(said)
    return facts, votes


def judge_consensus(parsed: Parsed) -> str | None:
    """Every line must say of its file what is written in it, and no vote changes.

    A column whose name is damaged is one that the file does not have, as in older releases: nothing is known of it.
    """
    if any(said[1:] != parsed.after[id][1:] for id, said in parsed.before.items()):
        return "votes changed with the consensus"
    names = [name.strip().casefold() for name in next(csv.reader(filter(None, parsed.mutant.split("\n"))))]
    lines = [[cell.strip() for cell in next(csv.reader([line]))] for line in _rows(parsed.mutant)]
    said = {_ascii(id_of(cells[0])): _facts(dict(zip(names, map(_ascii, cells), strict=True))) for cells in lines}
    after = {_ascii(id): facts for id, (facts, *_) in parsed.after.items()}
    if len(said) < len(lines) or after.keys() != said.keys() | parsed.before.keys():
        return f"{len(lines)} lines are on {list(said)}, but there are {list(after)}"
    for id, facts in after.items():
        known = tuple(_ascii(fact) if isinstance(fact, str) else fact for fact in facts)
        if known != said.get(id, (facts[0], *_facts({})[1:])):
            return f"{id} is {facts}, but written is {said.get(id)}"
    return None


def _facts(cells: Mapping[str, str]) -> tuple[Any, ...]:
    """What a row of the consensus says, read without much ado."""
    known = {name: cells.get(name.casefold(), "").strip() for name in HEADER}
    given = [None if known[name].casefold() in UNKNOWN else known[name] for name in HEADER]
    numbers = [None if text is None else float(text) for text in given[2:5]]
    gender, split = (text and text.casefold() for text in given[6:])
    return (CODES.get(known["EmoClass"].upper()), *numbers, given[5], gender, SETS[split] if split else UNASSIGNED)


def judge_partitions(parsed: Parsed) -> str | None:
    """Every line must put its file into its set; what no line names is in none, and no vote changes.

    Where a line end and the set after it are gone, two names are one.
    """
    if any(said[1:] != parsed.after[id][1:] for id, said in parsed.before.items() if len(said) > 1):
        return "votes changed with the partitions"
    lines = [line.strip(" ;\t").split(";") for line in parsed.mutant.split("\n") if line.strip(" ;\t")]
    split = {id_of(file): name.strip().casefold() for name, file in lines}
    for id, said in parsed.after.items():
        if said[0][-1] != (SETS.get(split.get(id, "na"), UNASSIGNED)):
            return f"{id} is in {said[0][-1]}, but written is {split.get(id)}"
    voted = {id for id, said in parsed.before.items() if len(said) > 1}
    return None if parsed.after.keys() == voted | split.keys() else f"{list(split)} became {list(parsed.after)}"


FORMS: list[tuple[str, str, dict[str, Any], Callable[[Parsed], str | None]]] = [
    ("texts", CSV, {CSV: detail_csv, CONSENSUS: consensus_csv}, judge_rows),
    ("columns", CSV, {CSV: column_csv, CONSENSUS: consensus_csv}, judge_rows),
    ("json", JSON, {JSON: detail_json, CONSENSUS: consensus_csv}, judge_json),
    ("blocks", TEXT, {TEXT: text_blocks}, judge_blocks),
    ("consensus", CONSENSUS, {CSV: detail_csv, CONSENSUS: consensus_csv}, judge_consensus),
    ("partitions", PARTITIONS, {CSV: column_csv, PARTITIONS: partition_lines}, judge_partitions),
]
TARGETS = [Target(f"msp_podcast {name}", file, writer(forms), load, judge) for name, file, forms, judge in FORMS]
