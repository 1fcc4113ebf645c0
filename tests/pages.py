"""How the blocks of code in docs/ and README.md are run, in their order, and compared with what the page prints.

A page is run from top to bottom in a folder of its own: ```python blocks in one namespace, and the commands of
`dime-hf` in ```sh blocks. What they print stands in a block without a language below. A comment above a block may say:

    <!-- not run: a reason -->    Python is compiled; the options of commands are read by their own parsers
    <!-- within 0.01 -->          numbers with a decimal point may differ by so much: training differs by machine
    <!-- python ... -->           Python that is run and not shown
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import itertools
import math
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dime_hf.cli
from tests.hub_client import Client
from tests.hub_server import Hub
from tests.places import ROOT

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$|^<!--\s*(.*?)\s*-->$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[+-]?\d[\d,]*\.?\d*(?:e[+-]?\d+)?")


@dataclasses.dataclass
class Block:
    """A block of a page: `printed` is what should come of it, None where the page does not say."""

    page: str
    line: int
    language: str
    code: str
    printed: str | None = None
    not_run: str | None = None
    within: float = 0.0

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path, end: str = "") -> list[Block]:
    """The blocks of a page that are code, each with what it prints and what the comments say, up to a line `end`."""
    text = page.read_text(encoding="utf-8").partition(f"\n{end}\n" if end else "\0")[0]
    found: list[Block] = []
    for line, language, content, above in fences(text):
        place = f"{page.name}:{line}"
        if language in ("python", "sh"):
            found.append(Block(page.name, line + 1, language, content, **marks(above, place)))
            continue
        assert language in ("", "text"), f"{place}: what is {language}?"
        if not found or found[-1].printed is not None:
            pytest.fail(f"{place}: which block prints this?")
        found[-1] = dataclasses.replace(found[-1], printed=content, **marks(above, place))
    return found


def fences(text: str) -> Iterator[tuple[int, str, str, str]]:
    """Line, language, content of every block, hidden ones too, and the comment right above it."""
    comment, end = "", 0
    for match in FENCE.finditer(text):
        language, content, note = match.groups()
        line = text.count("\n", 0, match.start()) + 1
        hidden = (note or "").startswith("python\n")
        if hidden:
            yield line, "python", note.removeprefix("python\n"), ""
        elif note is None:
            yield line, language, content, "" if text[end : match.start()].strip() else comment
        comment, end = "" if hidden or note is None else note, match.end()


def marks(comment: str, place: str) -> dict:
    """What the comment above a block says."""
    if not comment:
        return {}
    kind, _, value = comment.partition(" ")
    if kind == "within":
        return {"within": float(value)}
    assert comment.startswith("not run: "), f"{place}: the comment {comment!r} means nothing here"
    return {"not_run": comment.removeprefix("not run: ")}


def assert_printed(printed: str, block: Block) -> None:
    """Compare what a block printed with the page, line by line; a line `...` of the page stands for any lines."""
    wanted, got = ([line.rstrip() for line in text.strip("\n").split("\n")] for text in (block.printed or "", printed))
    assert matches(got, wanted, block.within), (
        f"{block.place} prints\n\n{printed}\n\nbut the page says\n\n{block.printed}"
    )


def matches(got: list[str], wanted: list[str], within: float) -> bool:
    if not wanted:
        return not got
    if wanted[0] == "...":
        return any(matches(got[start:], wanted[1:], within) for start in range(len(got) + 1))
    return bool(got) and alike(got[0], wanted[0], within) and matches(got[1:], wanted[1:], within)


def alike(got: str, wanted: str, within: float) -> bool:
    """Whether two lines are the same, but for numbers with a decimal point that differ by no more than `within`."""
    if not within:
        return got == wanted
    words = [" ".join(NUMBER.sub("0", line).split()) for line in (got, wanted)]  # columns move with a minus sign
    pairs = itertools.zip_longest(*(NUMBER.findall(line) for line in (got, wanted)), fillvalue="nan")
    return words[0] == words[1] and all(close(*pair, within) for pair in pairs)


def close(got: str, wanted: str, within: float) -> bool:
    if "." not in wanted:
        return got == wanted
    values = [float(number.replace(",", "")) for number in (got, wanted)]
    return math.isclose(*values, rel_tol=0, abs_tol=within + 1e-9)


class Here:
    """Runs blocks in this process, in one namespace."""

    def __init__(self):
        self.cleanup = contextlib.ExitStack()
        self.names = {"__name__": "page", "page": self.cleanup}  # hidden blocks hand what is to be closed to `page`

    def run(self, code: str, place: str) -> str:
        """Run code and return what it prints."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, place, "exec"), self.names)
        return printed.getvalue()

    def close(self) -> None:
        self.cleanup.close()


class There:
    """Runs blocks in the process of somebody who is logged in to a Hub on loopback."""

    def __init__(self, folder: Path):
        self.hub = Hub().start()
        self.client = Client(self.hub, folder.parent)
        self.client.run("import contextlib, io, os\nos.chdir(folder)", folder=str(folder))

    def run(self, code: str, place: str) -> str:
        """Run code and return what it prints."""
        wrapped = (
            "printed = io.StringIO()\n"
            "with contextlib.redirect_stdout(printed):\n"
            "    exec(compile(block, place, 'exec'), globals())\n"
            "result = printed.getvalue()"
        )
        return self.client.run(wrapped, block=code, place=place)

    def close(self) -> None:
        self.client.close()
        self.hub.stop()


def run_page(blocks: list[Block], runner) -> None:
    """Run the blocks of a page in their order, and compare what they print."""
    for block in blocks:
        commands = commands_of(block) if block.language == "sh" else None
        if block.not_run is not None:
            if commands is None:
                compile(block.code, block.place, "exec")
            for command in commands or ():
                check_command(command, block.place)
            continue
        code = block.code if commands is None else "\n".join(calls(command, block.place) for command in commands)
        assert_printed(without_logs(runner.run(code, block.place)), block)


def without_logs(printed: str) -> str:
    """What was printed, without the lines that `Trainer` prints as it goes."""
    return "\n".join(line for line in printed.split("\n") if not re.fullmatch(r"\{'\w+': .*'epoch': .*\}", line))


def commands_of(block: Block) -> list[list[str]]:
    """The commands of a ```sh block as words."""
    lines = block.code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def calls(command: list[str], place: str) -> str:
    """Python that does what a command of `dime-hf` does, without another start of Python."""
    assert command[0] == "dime-hf", f"{place}: {command[0]} is not run here; say `not run: ...` and why"
    return f"import dime_hf.cli\nassert dime_hf.cli.main({command[1:]!r}) == 0, 'see the error that it told'"


def check_command(command: list[str], place: str) -> None:
    """Refuse a command whose options its own parser, the Makefile or setup.cfg do not know."""
    scripts = [word for word in command if word.endswith(".py")]
    if command[0] == "dime-hf":
        with contextlib.redirect_stdout(io.StringIO()):
            code = dime_hf.cli.main([*command[1:], "--print_config"])
        assert code == 0, f"{place}: `{' '.join(command)}` is refused"
    elif scripts:
        parse(ROOT / scripts[0], command[command.index(scripts[0]) + 1 :], place)
    elif command[0] == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
        assert set(command[1:]) <= set(targets), f"{place}: the Makefile has {targets}"
    else:
        pytest.fail(f"{place}: nobody knows how to check {command[0]}")


class ParsedError(Exception):
    """The options of a command were understood; what it would do is not done."""


def parse(script: Path, given: list[str], place: str) -> None:
    """Start a script, up to where its options are read."""
    real = argparse.ArgumentParser.parse_args

    def parse_args(self, *arguments, **more):
        real(self, *arguments, **more)
        raise ParsedError

    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said):
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        patch.setattr(sys, "argv", [str(script), *given])
        try:
            runpy.run_path(str(script), run_name="__main__")
        except ParsedError:
            return
        except SystemExit:
            pass
    pytest.fail(f"{place}: {said.getvalue()}")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory of its own, where pages write to."""
    made = tmp_path / "page"
    made.mkdir()
    (made / "metrics").symlink_to(ROOT / "metrics")  # as in a checkout
    monkeypatch.chdir(made)
    return made
