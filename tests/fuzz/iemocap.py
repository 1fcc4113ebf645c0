"""IEMOCAP's evaluations and transcripts."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dime_hf.corpora.iemocap import LABELS as LABEL_NAMES
from dime_hf.corpora.iemocap import IemocapFolder
from tests.fuzz.harness import Parsed, Target

DIALOG = "Ses01F_impro01"
LABELS = [label for label in LABEL_NAMES if label != "Neutral state"]
COMMENTS = ["", ":))", "a (nested) one, ", 'say "no"; ', "&quot;duh&quot;", "100 % sure"]
EVALUATION, TRANSCRIPT = (f"Session1/dialog/{kind}/{DIALOG}.txt" for kind in ("EmoEvaluation", "transcriptions"))


def write(root: Path, rng: random.Random) -> None:
    """A dialog of some turns; every vote has a comment of its own, by which it is found again."""
    turns = [f"{DIALOG}_{letter}{number:03}" for letter in "FM" for number in range(rng.randrange(1, 5))]
    number = iter(range(1000))
    blocks = [_block(turn, start, number, rng) for start, turn in enumerate(turns)]
    texts = [f"{turn} [{start:08.4f}-{start + 1:08.4f}]: Words {start}." for start, turn in enumerate(turns)]
    texts.insert(rng.randrange(len(texts)), rng.choice(["M: Yeah.", f"{DIALOG}_FXX0 [900.0000-901.0000]: [GARBAGE]"]))
    header = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
    for file, text in ((EVALUATION, header + "\n".join(blocks)), (TRANSCRIPT, "\n".join(texts) + "\n")):
        (root / file).parent.mkdir(parents=True)
        (root / file).write_text(text)


def _block(turn: str, start: int, number: Iterator[int], rng: random.Random) -> str:
    lines = [f"[{start}.0000 - {start}.9000]\t{turn}\t{rng.choice(['neu', 'xxx'])}\t[2.5000, 5.5000, 0.5000]"]
    for annotator in ["E1", "E2", "E4"] + ["F1"] * (rng.random() < 0.3):
        labels = " ".join(f"{label};" for label in rng.sample(LABELS, rng.choice((1, 1, 1, 2, 3))))
        lines.append(f"C-{annotator}:\t{labels}\t({rng.choice(COMMENTS)}{next(number)})")
    lines += [f"A-{annotator}:\tval {rng.randrange(1, 7)}; act 3; dom  ;\t()" for annotator in ("E1", "E2")]
    return "\n".join(lines) + "\n"


def load(root: Path) -> list[tuple[str, Sequence[Any]]]:
    """Votes by turn, and the text of the turn before them."""
    folder = IemocapFolder(root)
    shards = [shard for shards in folder.groups().values() for shard in shards]
    return [
        (id, [text, *((vote.annotator, vote.choices) for vote in votes)])
        for block in folder.read(shards)
        for id, text, votes in zip(block.id, block.fields["text"], block.votes, strict=True)
    ]


def judge_evaluation(parsed: Parsed) -> str | None:
    """Every line must count: a vote that stands, under the turn that it stands under, and a damaged one somewhere."""
    return _misplaced(parsed) or _changed_block(parsed) or _uncounted(parsed)


def _misplaced(parsed: Parsed) -> str | None:
    """A vote whose line stands must be with the turn above it; below a damaged line, with a turn that is new."""
    lines = [_plain(line) for line in parsed.mutant.split("\n")]
    voted = dict(_votes(parsed))
    turns = {
        _plain(line): turn for line in parsed.original.split("\n") for turn in parsed.before if f"\t{turn}\t" in line
    }
    new = parsed.after.keys() - {turns[line] for line in lines if line in turns}
    owners = new
    for line in lines:
        if line in turns:
            owners = {turns[line]}
        elif line in voted and not any(voted[line] in parsed.after[turn] for turn in owners):
            return f"{line!r} is not among the votes of {owners}"
        elif not line.startswith(("C-", "A-")):
            owners = new
    return None


def _votes(parsed: Parsed) -> Iterator[tuple[str, Any]]:
    """The lines of the original that are votes, and these votes."""
    lines = [_plain(line) for line in parsed.original.split("\n") if line.startswith("C-")]
    return zip(lines, [vote for _, *votes in parsed.before.values() for vote in votes], strict=True)


def _changed_block(parsed: Parsed) -> str | None:
    """A turn whose block still stands between blank lines must have the same votes."""
    standing = set(_blocks(parsed.mutant))
    for block, (turn, said) in zip(_blocks(parsed.original), parsed.before.items(), strict=True):
        if block in standing and said[1:] != parsed.after[turn][1:]:
            return f"{turn} stands as it stood, but has other votes"
    return None


def _blocks(text: str) -> list[str]:
    plain = "\n".join(_plain(line) for line in text.split("\n") if not line.startswith("%"))
    return [block.strip("\n") for block in plain.split("\n\n") if block.strip("\n")]


def _uncounted(parsed: Parsed) -> str | None:
    """Every line after the header is a turn, a vote or a rating; and every tick is a choice."""
    lines = [line for line in parsed.mutant.split("\n") if line.strip(" \t")]
    while lines and lines[0].startswith("%"):
        lines.pop(0)
    votes = [vote for _, *said in parsed.after.values() for vote in said]
    if len(lines) != len(parsed.after) + len(votes) + sum(line.startswith("A-") for line in lines):
        return f"{len(lines)} lines, but {len(parsed.after)} turns and {len(votes)} votes"
    voted = [line for line in lines if line.startswith("C-")]
    ticks = sum(bool(label.strip()) for line in voted for label in _labels(line).split(";"))
    named = sum(len(re.findall(rf"({'|'.join(LABELS)});", line)) for line in voted)  # also beyond a stray parenthesis
    chosen = sum(len(choices) for _, choices in votes)
    return None if named <= ticks == chosen else f"{ticks} ticks, {named} labels, but {chosen} choices"


def _labels(line: str) -> str:
    """What stands before the comment, which begins after a tab where there are any."""
    return re.split(r"\t[ \t]*\(" if "\t" in line else r"\(", line.partition(":")[2])[0]


def judge_transcript(parsed: Parsed) -> str | None:
    """No vote may change; a line that stands keeps its text, and one that is there is not lost."""
    before, after = ({turn: said[1:] for turn, said in votes.items()} for votes in (parsed.before, parsed.after))
    if before != after:
        return "votes changed with the transcript"
    lines = set(parsed.mutant.split("\n"))
    for line in lines & set(parsed.original.split("\n")):
        turn = line.split(" ")[0]
        if turn in before and parsed.after[turn][0] != parsed.before[turn][0]:
            return f"the text of {turn} changed"
    texts = sum(said[0] is not None for said in parsed.after.values())
    timed = sum(line.startswith("Ses") and "XX" not in line.split("[")[0] for line in lines)
    return None if texts == timed else f"{timed} turns in the transcript, but {texts} texts"


def _plain(line: str) -> str:
    """A line whatever became of its tabs."""
    return " ".join(line.split())


TARGETS = [
    Target("iemocap evaluation", EVALUATION, write, load, judge_evaluation),
    Target("iemocap transcript", TRANSCRIPT, write, load, judge_transcript),
]
