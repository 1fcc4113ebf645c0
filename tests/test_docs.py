"""Every page of docs/: its blocks do what it says, its links lead somewhere."""

import re

import pytest

from tests.pages import Here, There, blocks_of, folder, run_page  # noqa: F401
from tests.places import ROOT

# transformers 5.0 to 5.23 calls what it deprecates, where an adapter is trained: see test_tuning.py
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

DOCS = ROOT / "docs"
PAGES = sorted(page.name for page in DOCS.glob("*.md"))
ON_A_HUB = ("6-share.md",)  # run by a process that knows the Hub on loopback from its start
LINK = re.compile(r"\]\((?!https?:)([^)]+)\)")


def test_every_page_is_in_the_index_and_every_link_leads_somewhere():
    index = (DOCS / "README.md").read_text()
    assert PAGES == sorted({"README.md", *re.findall(r"\]\(([\w-]+\.md)\)", index)})
    for page in PAGES:
        for target, _, anchor in (link.partition("#") for link in LINK.findall((DOCS / page).read_text())):
            place = (DOCS / target).resolve()
            assert place.exists(), f"{page} links {target}"
            heads = (
                [anchor_of(line) for line in place.read_text().splitlines() if line.startswith("#")] if anchor else []
            )
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
def test_a_page_prints_what_it_says(page, folder):  # noqa: F811
    runner = There(folder) if page in ON_A_HUB else Here()
    try:
        run_page(blocks_of(DOCS / page), runner)
    finally:
        runner.close()
