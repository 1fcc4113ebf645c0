"""What all targets share: damage to files, outcomes, and the loop."""

from __future__ import annotations

import collections
import dataclasses
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dime_hf.errors import CorpusError, LabelFileError

Votes = Mapping[str, Sequence[Any]]  # what a loader gives: everything that was said of each utterance, in order
Damage = Callable[[bytes, random.Random], bytes]
OUTCOMES = ("same", "changed", "refused")
MUTANTS = 40  # of each written corpus


@dataclasses.dataclass(frozen=True)
class Parsed:
    """A mutant that was parsed: what the file said, what it says now, and the votes loaded from either."""

    original: str
    mutant: str
    before: Votes
    after: Votes


@dataclasses.dataclass(frozen=True)
class Target:
    """A kind of label file.

    file: its place in the corpus that `write` makes in an empty folder.
    load: the utterances of a corpus with their votes, as pairs, so that an utterance may come twice.
    judge: what is wrong with the votes loaded from a mutant, or None.
    """

    name: str
    file: str
    write: Callable[[Path, random.Random], None]
    load: Callable[[Path], list[tuple[str, Sequence[Any]]]]
    judge: Callable[[Parsed], str | None]


@dataclasses.dataclass
class MutantError(Exception):
    """A mutant that was neither parsed with all its votes nor refused as it should be."""

    target: str
    reason: str
    mutant: bytes

    def save(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.target}.txt"
        path.write_bytes(self.mutant)
        return path


def run(targets: Sequence[Target], *, seed: int, seconds: float = float("inf"), mutants: int | None = None) -> Counts:
    """Outcomes by target, of as many mutants as there is time for; raise the first `MutantError`."""
    rng, end = random.Random(seed), time.monotonic() + seconds
    counts: Counts = {target.name: collections.Counter() for target in targets}
    while time.monotonic() < end and (mutants is None or sum(map(total, counts.values())) < mutants):
        for target in targets:
            counts[target.name].update(try_corpus(target, rng))
    return counts


Counts = dict[str, "collections.Counter[str]"]


def total(outcomes: Mapping[str, int]) -> int:
    return sum(outcomes.values())


def try_corpus(target: Target, rng: random.Random) -> list[str]:
    """Outcomes of some mutants of one corpus."""
    folder = Path(tempfile.mkdtemp(prefix="dime_hf_fuzz_"))
    try:
        target.write(folder, rng)
        original = (folder / target.file).read_bytes()
        votes = dict(target.load(folder))
        return [try_mutant(target, folder, original, votes, rng) for _ in range(MUTANTS)]
    finally:
        shutil.rmtree(folder)


def try_mutant(target: Target, folder: Path, original: bytes, votes: Votes, rng: random.Random) -> str:
    """Outcome of one mutant."""
    mutant, harmless = mutate(original, rng)
    path = folder / target.file
    path.write_bytes(mutant)
    try:
        loaded = target.load(folder)
    except CorpusError as error:
        if harmless:
            raise MutantError(target.name, f"refused, though nothing is lost: {error}", mutant) from error
        if reason := badly_refused(error, path, mutant):
            raise MutantError(target.name, f"{reason}: {error}", mutant) from error
        return "refused"
    except Exception as error:
        raise MutantError(target.name, f"crashed: {error!r}", mutant) from error
    if len(dict(loaded)) < len(loaded):
        raise MutantError(target.name, "loaded an utterance twice", mutant)
    try:
        reason = target.judge(Parsed(text_of(original), text_of(mutant), votes, dict(loaded)))
    except Exception as error:
        raise MutantError(target.name, f"parsed, though it cannot be judged: {error!r}", mutant) from error
    if reason:
        raise MutantError(target.name, reason, mutant)
    if dict(loaded) == dict(votes):
        return "same"
    if harmless:
        raise MutantError(target.name, "other votes, though nothing is lost", mutant)
    return "changed"


def badly_refused(error: CorpusError, path: Path, mutant: bytes) -> str | None:
    """Why a refusal does not help: it must name the file, and where the fault is a line, its number and text."""
    message = str(error)
    if path.name not in message:
        return "the refusal does not name the file"
    place = re.search(rf"{re.escape(path.name)}, line (\d+): ", message)
    if isinstance(error, LabelFileError) and not place:
        return "the refusal names no line"
    if place and not 1 <= int(place[1]) <= text_of(mutant).count("\n") + 1:
        return "the refusal names a line that the file does not have"
    return None


def text_of(content: bytes) -> str:
    """What a file says, whatever its encoding and line ends."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.replace("\r\r\n", "\n").replace("\r\n", "\n").replace("\r", "\n")


def mutate(content: bytes, rng: random.Random) -> tuple[bytes, bool]:
    """A damaged file, by one to three kinds of damage; and whether nothing of what it says is lost."""
    kinds = rng.choices([*HARMLESS, *HARMFUL], k=rng.choice((1, 1, 1, 2, 2, 3)))
    for damage in kinds:
        content = damage(content, rng)
    return content, all(damage in HARMLESS for damage in kinds)


def change_line_ends(content: bytes, rng: random.Random) -> bytes:
    straight = re.sub(rb"\r*\n|\r", b"\n", content)
    return straight.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\r\r\n")))


def lose_tabs(content: bytes, rng: random.Random) -> bytes:
    return content.replace(b"\t", rng.choice((b" ", b"    ")))


def mark_byte_order(content: bytes, _: random.Random) -> bytes:
    return b"\xef\xbb\xbf" + content.removeprefix(b"\xef\xbb\xbf")


def end_otherwise(content: bytes, rng: random.Random) -> bytes:
    return content.rstrip(b"\n") + b"\n" * rng.randrange(3)


def flip_bit(content: bytes, rng: random.Random) -> bytes:
    return _replace(content, rng, 1, lambda old: bytes([old[0] ^ 1 << rng.randrange(8)]) if old else b"")


def change_bytes(content: bytes, rng: random.Random) -> bytes:
    return _replace(content, rng, rng.randrange(1, 4), lambda old: rng.randbytes(len(old)))


def lose_bytes(content: bytes, rng: random.Random) -> bytes:
    return _replace(content, rng, rng.randrange(1, 12), lambda _: b"")


def zero_bytes(content: bytes, rng: random.Random) -> bytes:
    return _replace(content, rng, rng.randrange(1, 64), lambda old: b"\0" * len(old))


def insert_junk(content: bytes, rng: random.Random) -> bytes:
    return _replace(content, rng, 0, lambda _: rng.choice(JUNK))


def change_punctuation(content: bytes, rng: random.Random) -> bytes:
    places = [n for n, byte in enumerate(content) if byte in PUNCTUATION]
    return _swap_byte(content, rng.choice(places), rng.choice(PUNCTUATION)) if places else content


def change_digit(content: bytes, rng: random.Random) -> bytes:
    places = [n for n, byte in enumerate(content) if byte in b"0123456789"]
    return _swap_byte(content, rng.choice(places), rng.choice(b"0123456789")) if places else content


def truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def drop_line(lines: list[bytes], rng: random.Random) -> None:
    lines.pop(rng.randrange(len(lines)))


def drop_lines(lines: list[bytes], rng: random.Random) -> None:
    start = rng.randrange(len(lines))
    del lines[start : start + rng.randrange(1, 8)]


def double_line(lines: list[bytes], rng: random.Random) -> None:
    lines.insert(rng.randrange(len(lines)), rng.choice(lines))


def swap_lines(lines: list[bytes], rng: random.Random) -> None:
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]


def split_line(lines: list[bytes], rng: random.Random) -> None:
    place = rng.randrange(len(lines))
    cut = rng.randrange(len(lines[place]) + 1)
    lines[place : place + 1] = [lines[place][:cut], lines[place][cut:]]


def join_lines(lines: list[bytes], rng: random.Random) -> None:
    place = rng.randrange(len(lines))
    lines[place : place + 2] = [b"".join(lines[place : place + 2])]


def on_lines(damage: Callable[[list[bytes], random.Random], None]) -> Damage:
    """Damage to the lines of a file, made damage to the file."""

    def damaged(content: bytes, rng: random.Random) -> bytes:
        lines = content.split(b"\n")
        damage(lines, rng)
        return b"\n".join(lines)

    return damaged


def _replace(content: bytes, rng: random.Random, length: int, new: Callable[[bytes], bytes]) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + new(content[start : start + length]) + content[start + length :]


def _swap_byte(content: bytes, place: int, byte: int) -> bytes:
    return content[:place] + bytes([byte]) + content[place + 1 :]


PUNCTUATION = b";:,.()[]-%\"' \t\n"
JUNK = [
    b"\n", b"\n\n", b"\r", b"\t", b" ", b";", b"(", b")", b"%", b'"', b",", b"\0", b"\x0b", b"\x0c", b"\x1a", b"\x1c",
    b"\x85", b"\xa0", b"\xe9", b"\xff\xfe", b"\xe2\x80\xa8", b"\xc2\x85", b"-1", b"1e+05", b"NaN", b"NA", b"xxx",
    b"% a comment\n", b"<<<<<<< HEAD\n", b"Neutral; ", b"(Anger;", b"\n\n\n", b"\xd9\xa3", b"\xef\xbc\xae",
    b"0" * 400, b"9" * 400,
]  # fmt: skip
HARMLESS: list[Damage] = [change_line_ends, lose_tabs, mark_byte_order, end_otherwise]
HARMFUL: list[Damage] = [
    flip_bit, change_bytes, lose_bytes, zero_bytes, insert_junk, insert_junk, change_punctuation, change_digit,
    truncate, *map(on_lines, (drop_line, drop_lines, double_line, swap_lines, split_line, join_lines)),
]  # fmt: skip
