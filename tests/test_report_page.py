"""The page of a report in a real browser: what it shows, how it is used, and that it asks nobody for anything."""

import re
import shutil

import numpy as np
import pytest

from dime_hf.report import report
from tests.test_report import EVIL, everything

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
FIRST = ".utterances tbody tr:first-child th"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def made():
    given = dict(everything())
    given["data"] = {"test": given["data"]["test"]}
    return report(**given, include=["text", "audio"], recordings=5, title="Votes <i>& more</i>")


@pytest.fixture(scope="module")
def browser():
    driver = pytest.importorskip("playwright.sync_api").sync_playwright().start()
    chromium = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
    yield chromium
    chromium.close()
    driver.stop()


@pytest.fixture(scope="module")
def address(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    made.save(folder)
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def window(browser):
    """A window, and what pages in it complain of or ask for."""
    opened, trouble = browser.new_page(), []
    opened.on("console", lambda message: trouble.append(message.text))
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.on("request", lambda request: trouble.append(request.url))
    return opened, trouble


@pytest.fixture
def page(window, address):
    """The page, just loaded; whatever it complains of or asks for fails the test."""
    opened, trouble = window
    opened.emulate_media(media="screen")
    opened.set_viewport_size({"width": 1280, "height": 900})
    trouble.clear()
    opened.goto(address)
    opened.wait_for_selector("html[data-ready]")
    trouble.remove(address)
    yield opened
    assert [each for each in trouble if not each.startswith("data:audio")] == []


def ids(page):
    return page.locator(".utterances tbody tr > th").evaluate_all("cells => cells.map(cell => cell.firstChild.data)")


def status(page):
    return page.locator("[role=status]").inner_text()


def heads(page):
    return page.locator(".utterances thead th").evaluate_all(
        "heads => Object.fromEntries(heads.map(head => [head.textContent, head.getAttribute('aria-sort')]))"
    )


def test_structure(page, made):
    assert page.locator("h1").inner_text() == "Votes <i>& more</i>"
    assert page.locator("main h2").all_inner_texts()[1:-1] == [section.title for section in made.sections]
    for link in page.locator("nav a").evaluate_all("links => links.map(link => link.getAttribute('href'))"):
        assert page.locator(f"section{link} > h2").count() == 1
    assert page.locator("svg").count() == page.locator("svg[role=img][aria-label]").count() == len(made.figures)
    names = page.evaluate("[...document.querySelectorAll('[id]')].map(node => node.id)")
    assert len(set(names)) == len(names)
    used = re.findall(r'(?:href="#|url\(#)([^")]+)', made.html())
    assert set(used) <= set(names)
    assert any(name.startswith("training-") for name in used)


def test_numbers_are_the_library_s(page):
    table = everything()["scores"].overall
    cells = page.locator("#scores table").first.locator("tbody tr").first.locator("th, td").all_inner_texts()
    one, gap = table.rows[0].scores["squared_score"], table.verdict.paired.difference
    read = [[float(x) for x in re.findall(r"[+-]?\d+\.\d+", cell.replace("\N{MINUS SIGN}", "-"))] for cell in cells]
    assert np.allclose(read[1] + read[2], [one.estimate, one.low, one.high], atol=5e-5)
    assert np.allclose(read[7] + read[8], [gap.estimate, gap.low, gap.high], atol=5e-5)


def test_widths_of_bars_are_the_shares(page):
    test = everything()["data"]["test"]
    row = test["id"][:].index(ids(page)[3])
    counts = np.add(test["vote_counts"][row], test["reference_counts"][row])
    expected = {
        "Humans": counts / counts.sum(),
        "Pooled": np.array(test["soft_label"][row]),
        "Predicted": everything()["predictions"]["test"][row],
    }
    lines = page.locator(".utterances tbody tr").nth(3).locator(".line")
    assert lines.locator(".kind").all_inner_texts() == ["Humans", "Proxies", "Pooled", "Predicted"]
    names = test.features["hard_label"].names
    for place, shares in ((0, expected["Humans"]), (2, expected["Pooled"]), (3, expected["Predicted"])):
        bar = lines.nth(place).locator(".bar")
        whole = bar.bounding_box()["width"]
        widths = bar.locator(".part").evaluate_all(
            "parts => parts.map(part => [part.dataset.class, part.getBoundingClientRect().width])"
        )
        drawn = {name: width / whole for name, width in widths}
        assert np.allclose([drawn.get(name, 0) for name in names], shares, atol=0.002)
        said = bar.get_attribute("aria-label")
        assert [float(share) for share in re.findall(r"\d\.\d{3}", said)] == pytest.approx(shares, abs=0.00051)


def test_sorting_by_mouse_and_by_keyboard(page):
    test = everything()["data"]["test"]
    assert ids(page) == test["id"][:25]
    assert set(heads(page).values()) == {"none", None}
    entropy = page.get_by_role("button", name="Entropy")
    entropy.click()
    assert heads(page)["Entropy"] == "descending"
    column = page.locator(".utterances tbody td[data-title=Entropy]")
    first = [float(value) for value in column.all_inner_texts()]
    assert first == sorted(first, reverse=True)
    counts = np.add(test["vote_counts"], test["reference_counts"]) / 5
    highest = -(counts * np.log2(np.where(counts > 0, counts, 1))).sum(1)
    assert first[0] == pytest.approx(highest.max(), abs=5e-4)
    entropy.focus()
    page.keyboard.press("Enter")
    assert heads(page)["Entropy"] == "ascending"
    assert float(column.first.inner_text()) == pytest.approx(highest.min(), abs=5e-4)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Ambiguity"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Space")
    assert heads(page) == {**heads(page), "Entropy": "none", "Ambiguity": "descending"}
    page.get_by_role("button", name="Utterance").click()
    assert ids(page)[:4] == [EVIL, "t0", "t1", "t2"]  # and t10 not before t2


def test_search_filters_and_pages(page):
    test = everything()["data"]["test"]
    assert status(page) == "1\N{EN DASH}25 of 60 utterances"
    turns = {name: page.get_by_role("button", name=name) for name in ("First", "Previous", "Next", "Last")}
    assert turns["Previous"].is_disabled()
    turns["Next"].click()
    assert ids(page) == test["id"][25:50]
    turns["Last"].press("Enter")
    assert ids(page) == test["id"][50:]
    assert turns["Next"].is_disabled()
    page.locator("#explorer").get_by_label("Ambiguity").select_option("high")
    levels = page.locator(".utterances tbody td[data-title=Ambiguity]").all_inner_texts()
    assert set(levels) == {"high"}
    assert turns["Previous"].is_disabled()  # back on the first page
    page.locator("#explorer").get_by_label("Ambiguity").select_option("all")
    page.get_by_label("Search").fill("LONG AGO 41")
    assert ids(page) == ["t41"]
    page.get_by_label("Search").fill("nowhere")
    assert ids(page) == []
    assert status(page) == "No utterance is like that"
    page.get_by_label("Search").fill("")
    page.get_by_label("Humans heard most").select_option("angry")
    counts = np.add(test["vote_counts"], test["reference_counts"])
    angry = [id for id, row in zip(test["id"], counts, strict=True) if row[0] > np.delete(row, 0).max()]
    assert ids(page) == angry[:25]
    page.get_by_label("Humans heard most").select_option("all")
    page.get_by_label("a page").select_option("100")
    assert ids(page) == test["id"][:]


def test_numbers_of_an_utterance_on_demand(page):
    details = page.locator(".utterances details").first
    details.locator("summary").press("Enter")
    details.locator("table").wait_for()
    shown = details.locator("tbody tr").first.locator("td").all_inner_texts()
    test = everything()["data"]["test"]
    human = np.add(test["vote_counts"][0], test["reference_counts"][0])[0] / 5
    assert [float(shown[0]), float(shown[2])] == pytest.approx([human, test["soft_label"][0][0]], abs=0.00051)


def test_data_stay_text(page):
    page.get_by_label("Search").fill("onerror")
    assert ids(page) == [EVIL]
    assert page.locator(".utterances q").inner_text().endswith("7 <i onmouseover=bad()>")
    assert page.locator("#explorer img, #explorer script, #explorer q i").count() == 0
    assert page.evaluate("window.ran") is None
    assert page.locator("#validation b").count() == 0
    assert page.locator("#validation").get_by_text("<b>listener</b>").count() > 0


def test_recordings_play(page):
    page.get_by_label("a page").select_option("100")
    assert page.locator("audio[controls]").count() == 5
    sound = page.locator("audio").first
    sound.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('audio').readyState >= 1")
    assert sound.evaluate("sound => sound.duration") == pytest.approx(0.5, abs=0.15)  # MP3 pads its frames
    banner = page.locator(".banner")
    assert "Toy licence, no redistribution" in banner.inner_text()
    assert banner.is_visible()


def test_the_policy_forbids_the_network(browser, address):
    opened = browser.new_page()
    opened.goto(address)
    blocked = """async () => {
        const asked = new Promise(done => document.addEventListener("securitypolicyviolation", done));
        fetch("https://example.com/x").catch(() => {});
        return (await asked).blockedURI;
    }"""
    assert opened.evaluate(blocked) == "https://example.com/x"
    opened.close()


def test_small_windows_and_print(page):
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.locator(".bar").first.bounding_box()["width"] > 200
    page.emulate_media(media="print")
    assert not page.locator(".controls").is_visible()
    assert not page.locator("nav").is_visible()
    assert page.locator(".utterances").is_visible()
    assert page.locator(".part").first.evaluate("part => getComputedStyle(part).printColorAdjust") == "exact"
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert len(printed) > 50_000
