"""Every block of code in docs/ and README.md: run in its order, and what it prints compared with the page.

A page is run from top to bottom in a folder of its own: ```python blocks in one namespace, ```sh blocks in a shell.
A block without a language that follows is what it prints. A comment of Markdown above a block tells the exceptions:

    <!-- not run: a reason -->    Python is compiled; the options of commands are read by their own parsers
    <!-- within 0.01 -->          numbers with a decimal point may differ by so much: training differs by machine
    <!-- python ... -->           Python that is run and not shown
"""

import argparse
import contextlib
import dataclasses
import functools
import io
import itertools
import math
import os
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

import dime_hf.annotate
from dime_hf.annotate import small_audio_lm
from dime_hf.corpora import toy
from tests.hub_client import Client
from tests.hub_server import Hub
from tests.places import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(page.name for page in DOCS.glob("*.md"))
ON_A_HUB = ("6-share.md",)  # run by a process that knows the Hub on loopback from its start
WHOLE = os.environ.get("DIME_HF_README") == "whole"  # the README's blocks as they stand, which takes minutes
LINK = re.compile(r"\]\((?!https?:)([^)]+)\)")
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
    """The blocks of a page that are code, each with what it prints and with the comment above it, up to a line."""
    text = page.read_text(encoding="utf-8").partition(f"\n{end}\n" if end else "\0")[0]
    found: list[Block] = []
    comment, above_ends = "", 0
    for match in FENCE.finditer(text):
        language, content, note = match.groups()
        line = text.count("\n", 0, match.start()) + 1
        if note is not None:
            if note.startswith("python\n"):
                found.append(Block(page.name, line, "python", note.removeprefix("python\n")))
                note = ""
            comment, above_ends = note, match.end()
            continue
        above = comment if not text[above_ends : match.start()].strip() else ""
        comment = ""
        if language in ("python", "sh"):
            found.append(Block(page.name, line + 1, language, content, **marks(above, f"{page.name}:{line}")))
        elif language in ("", "text"):
            assert found and found[-1].printed is None, f"{page.name}:{line}: which block prints this?"
            found[-1].printed = content
            found[-1].within = marks(above, f"{page.name}:{line}").get("within", found[-1].within)
        else:
            assert language in ("csv", "yaml", "json"), f"{page.name}:{line}: what is {language}?"
    return found


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
    if block.printed is None:
        return
    wanted = [line.rstrip() for line in block.printed.strip("\n").split("\n")]
    got = [line.rstrip() for line in printed.strip("\n").split("\n")]
    assert matches(got, wanted, block.within), (
        f"{block.place} prints\n\n{printed}\n\nbut the page says\n\n{block.printed}"
    )


def matches(got: list[str], wanted: list[str], within: float) -> bool:
    if not wanted or not got:
        return not wanted and not got or set(wanted) == {"..."}
    if wanted[0] == "...":
        return any(matches(got[start:], wanted[1:], within) for start in range(len(got) + 1))
    return alike(got[0], wanted[0], within) and matches(got[1:], wanted[1:], within)


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
    return "\n".join(line for line in printed.split("\n") if not re.fullmatch(r"\{'\w+': .*\}", line))


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
        code = dime_hf.cli.main([*command[1:], "--print_config"])
        assert code == 0, f"{place}: `{' '.join(command)}` is refused"
    elif scripts:
        parse(ROOT / scripts[0], command[command.index(scripts[0]) + 1 :], place)
    elif command[0] == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
        assert set(command[1:]) <= set(targets), f"{place}: the Makefile has {targets}"
    else:
        pytest.fail(f"{place}: nobody knows how to check {command[0]}")


class Parsed(Exception):
    """The options of a command were understood; what it would do is not done."""


def parse(script: Path, given: list[str], place: str) -> None:
    """Start a script, up to where its options are read."""
    real = argparse.ArgumentParser.parse_args

    def parse_args(self, *arguments, **more):
        real(self, *arguments, **more)
        raise Parsed

    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said):
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        patch.setattr(sys, "argv", [str(script), *given])
        try:
            runpy.run_path(str(script), run_name="__main__")
        except Parsed:
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


def test_every_page_is_in_the_index_and_every_link_leads_somewhere():
    index = (DOCS / "README.md").read_text()
    assert PAGES == sorted({"README.md", *re.findall(r"\]\(([\w-]+\.md)\)", index)})
    for page in PAGES:
        for target, _, anchor in (link.partition("#") for link in LINK.findall((DOCS / page).read_text())):
            place = (DOCS / target).resolve()
            assert place.exists(), f"{page} links {target}"
            heads = [anchor_of(line) for line in place.read_text().splitlines() if line.startswith("#")] if anchor else []
            assert not anchor or anchor in heads, f"{page} links {target}#{anchor}"


def anchor_of(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", heading.strip("# ").lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_what_is_not_run_is_said_in_the_text(page):
    text = (DOCS / page).read_text()
    told = " ".join(re.sub(r"<!--.*?-->|^```.*?^```$", "", text, flags=re.M | re.S).split())
    marked = sum(block.not_run is not None for block in blocks_of(DOCS / page))
    assert told.count("**Not run here**") == marked


@pytest.mark.parametrize("page", PAGES)
def test_a_page_prints_what_it_says(page, folder):
    runner = There(folder) if page in ON_A_HUB else Here()
    try:
        run_page(blocks_of(DOCS / page), runner)
    finally:
        runner.close()


def test_the_readme_prints_what_it_says(folder, monkeypatch):
    """Its three blocks: the first as it stands, the others on few utterances, where numbers differ and names do not.

    DIME_HF_README=whole runs all of them as they stand, and compares the numbers to within 0.01.
    """
    make, *blocks = blocks_of(ROOT / "README.md", "## The stages")
    assert [block.language for block in (make, *blocks)] == ["sh", "python", "python", "python"]
    run_page([dataclasses.replace(make, not_run="takes minutes")], Here())
    runner = Here()
    run_page(blocks[:1], runner)
    if not WHOLE:
        monkeypatch.setattr(toy, "school", functools.partial(toy.school, 24))
        monkeypatch.setattr(dime_hf.annotate, "small_audio_lm", functools.partial(small_audio_lm, steps=2), raising=False)
        runner.names["turns"] = {name: split.select(range(30)) for name, split in runner.names["turns"].items()}
    for block in blocks[1:]:
        run_page([dataclasses.replace(block, within=0.01 if WHOLE else math.inf)], runner)
