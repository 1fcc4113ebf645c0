"""The README's blocks, and the ways in which a page can be wrong."""

import dataclasses
import functools
import math
import os

import pytest

import dime_hf.annotate
from dime_hf.annotate import small_audio_lm
from dime_hf.corpora import toy
from tests.pages import Here, alike, blocks_of, check_command, commands_of, folder, matches, run_page  # noqa: F401
from tests.places import ROOT

WHOLE = os.environ.get("DIME_HF_README") == "whole"  # the README's blocks as they stand, which takes minutes
PAGE = """# A page

```python
print("a", 0.25)
```
<!-- within 0.01 -->
```
a {number}
```

<!-- not run: why -->
```sh
dime-hf pool {option} 2 \\
    --rotate  # a comment
```
"""


def page_of(where, number="0.255", option="--keep"):
    path = where / "a.md"
    path.write_text(PAGE.format(number=number, option=option))
    return blocks_of(path)


def test_a_page_that_is_right(folder):  # noqa: F811
    blocks = page_of(folder)
    assert [(block.place, block.language, block.within, block.not_run) for block in blocks] == [
        ("a.md:4", "python", 0.01, None),
        ("a.md:13", "sh", 0, "why"),
    ]
    assert commands_of(blocks[1]) == [["dime-hf", "pool", "--keep", "2", "--rotate"]]
    run_page(blocks, Here())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"number": "0.27"}, "but the page says"),
        ({"number": "0.25 b"}, "but the page says"),
        ({"number": "25"}, "but the page says"),
        ({"option": "--kept"}, "is refused"),
    ],
)
def test_a_page_that_is_wrong_is_told(folder, wrong, message):  # noqa: F811
    with pytest.raises(AssertionError, match=message):
        run_page(page_of(folder, **wrong), Here())


@pytest.mark.parametrize(
    ("got", "wanted", "within", "same"),
    [
        ("1.0", "1.00", 0.0, False),
        ("n = 1,000 [-0.10,  0.1]", "n = 1,000 [0.05, 0.10]", 0.2, True),
        ("n = 1,001 0.1", "n = 1,000 0.1", 9.0, False),
        ("p = 6.9e-07", "p = 7.2e-07", 0.001, True),
        ("p < 1e-4", "p < 1e-3", 0.1, False),
    ],
)
def test_lines_are_alike_but_for_decimals(got, wanted, within, same):
    assert alike(got, wanted, within) is same


def test_dots_stand_for_any_lines():
    assert matches(["a", "b", "c"], ["a", "..."], 0)
    assert matches(["a", "b", "c"], ["...", "c"], 0)
    assert not matches(["a", "b"], ["...", "c"], 0)
    assert not matches(["a", "b"], ["a"], 0)


@pytest.mark.parametrize(
    "command",
    [
        "make quick",
        "python examples/reproduce.py --cofig x",
        "python examples/reproduce.py",
        "rm -rf x",
        "dime-hf dream",
    ],
)
def test_commands_that_are_wrong_are_refused(command):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check_command(command.split(), "here")


@pytest.mark.usefixtures("folder")
def test_the_readme_prints_what_it_says(monkeypatch):
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
        monkeypatch.setattr(
            dime_hf.annotate, "small_audio_lm", functools.partial(small_audio_lm, steps=2), raising=False
        )
        runner.names["turns"] = {name: split.select(range(30)) for name, split in runner.names["turns"].items()}
    for block in blocks[1:]:
        run_page([dataclasses.replace(block, within=0.01 if WHOLE else math.inf)], runner)
