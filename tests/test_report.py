"""Tables and figures of scores; the report as Markdown and JSON, and what it is made of."""

import base64
import functools
import io
import json
import math
import re
import sys
from xml.etree import ElementTree

import datasets
import hypothesis
import numpy as np
import pytest
import scipy
import soundfile
from hypothesis import strategies as st

from dime_hf.audio import encode_wav
from dime_hf.augment.summary import Content, Summary
from dime_hf.columns import EMOTIONS
from dime_hf.errors import DimeError, DistributionError, LeakageError, PackageError
from dime_hf.evidence import Interval, fit_dirichlet, plain, score_of_truth
from dime_hf.pool import get_pooler, pool
from dime_hf.protocol import compare_protocols, own_labels, score_labels, scores_by_level
from dime_hf.report import (
    level_table,
    markdown,
    plot_scores,
    report,
    score_rows,
    score_table,
)
from dime_hf.report.blocks import Table, Value, number
from dime_hf.report.checks import TITLES, part_blocks
from dime_hf.report.explorer import data_uri
from dime_hf.report.figures import colours
from dime_hf.report.page import harmless_json
from dime_hf.score import ambiguity_levels, score
from dime_hf.simulation import Proxy, simulate
from dime_hf.validate import validate
from dime_hf.validate.drift import Drift, Moves, OrderDrift
from dime_hf.validate.rates import ClassRate, ClassRates
from dime_hf.validate.variance import Variance

RNG = np.random.default_rng(0)
TRUTH = RNG.dirichlet(np.ones(3), 30)
COUNTS = RNG.multinomial(4, TRUTH)
PREDICTIONS = {"human": COUNTS / 4, "prior": np.tile(COUNTS.sum(0) / COUNTS.sum(), (30, 1))}
REFERENCES = {"human": COUNTS, "truth": TRUTH}
EVIL = "</script><img src=x onerror=window.ran=1>"
SPOKEN = "it was all so long ago"
HISTORY = [
    {"loss": 1.3, "grad_norm": 1.0, "learning_rate": 1e-3, "epoch": 1.0, "step": 10},
    {"eval_loss": 1.25, "eval_squared_score": -0.31, "eval_accuracy": 0.4, "epoch": 1.0, "step": 10},
    {"loss": 1.1, "grad_norm": 1.0, "learning_rate": 1e-3, "epoch": 2.0, "step": 20},
    {"eval_loss": 1.2, "eval_squared_score": -0.36, "eval_accuracy": 0.5, "epoch": 2.0, "step": 20},
    {"train_runtime": 3.0, "train_loss": 1.2, "epoch": 2.0, "step": 20},
]


def test_rows_are_the_scores():
    rows = score_rows(PREDICTIONS, REFERENCES)
    assert [(row["labels"], row["reference"]) for row in rows] == [
        ("human", "human"),
        ("prior", "human"),
        ("human", "truth"),
        ("prior", "truth"),
    ]
    expected = score(PREDICTIONS["prior"], TRUTH)
    for name in ("squared_score", "js_divergence", "bhattacharyya", "n"):
        assert rows[3][name] == expected[name]


def test_table_has_a_line_for_each_kind_of_labels():
    rows = score_rows(PREDICTIONS, REFERENCES)
    lines = score_table(rows).splitlines()
    assert "votes of held-out humans, n = 30" in lines[0]
    assert "known truth, n = 30" in lines[0]
    assert len(lines) == 4
    assert lines[3].split() == ["prior", *(f"{row[name]:.3f}" for row in rows[1::2] for name in list(row)[2:5])]


def test_labels_on_different_utterances_do_not_compare():
    rows = [*score_rows(PREDICTIONS, REFERENCES), *score_rows({"model": TRUTH[:20]}, {"human": COUNTS[:20]})]
    with pytest.raises(DistributionError, match="different utterances"):
        score_table(rows)


def test_level_table():
    table = level_table(PREDICTIONS, COUNTS, ["low"] * 10 + ["high"] * 20)
    assert table.splitlines()[0].split() == ["labels", "low", "(10)", "high", "(20)"]
    assert f"{score(PREDICTIONS['human'][:10], COUNTS[:10])['squared_score']:.3f}" in table


def test_figure_is_written(tmp_path):
    rows = score_rows(PREDICTIONS, REFERENCES)
    controls = score_rows({"the truth": TRUTH}, REFERENCES)
    plot_scores(rows, tmp_path / "both.png", controls)
    plot_scores(rows[:2], tmp_path / "one.png")
    both, one = ((tmp_path / name).read_bytes() for name in ("both.png", "one.png"))
    assert both.startswith(b"\x89PNG")
    assert len(both) > len(one) > 5000


@functools.cache
def everything():
    """All that a report can be made of, small: 40 training and 60 test utterances, and what stages found on them."""
    proxies = [Proxy("plain", votes=2.0, failures=0.1), Proxy("<b>listener</b>", votes=1.0, noise=0.3)]
    how = {"speakers": 6, "annotators": 5, "proxies": proxies, "prior": (0.3, 0.2, 0.35, 0.15)}
    train, test = (simulate(rows, seed=rows, **how).held_out(3) for rows in (240, 60))
    data = {"train": train.dataset(), "test": dressed(test.dataset())}
    fitted = {name: get_pooler(name).fit(data["train"]) for name in ("fitted", "prior")}
    pooled = {name: pool(data["test"], pooler) for name, pooler in fitted.items()}
    predictions = 0.7 * test.truth + 0.3 * np.random.default_rng(0).dirichlet(np.ones(4), 60)
    constant = np.tile(train.truth.mean(0), (60, 1))
    own = {"fitted": own_labels(data["test"], fitted["fitted"])}
    given = {
        "validation": validate(data["test"]),
        "pooling": score_labels(pooled, data["test"], control="prior", verdict_on="fitted"),
        "plan": Summary(
            data["train"].features["hard_label"].names,
            Content.of(train.truth, 4),
            Content(60, (10.0, 30.0, 0.0, 20.0), 1.2),
        ),
        "history": HISTORY,
        "scores": scores_by_level(
            {"model": predictions, "constant": constant}, data["test"], control="constant", verdict_on="model"
        ),
        "protocols": compare_protocols({"fitted": pooled["fitted"]}, own, data["test"]),
        "predictions": {"test": predictions},
    }
    return {"data": {"train": data["train"].select(range(40)), "test": pooled["fitted"]}, **given}


def dressed(test):
    """The utterances with other speakers, transcripts, some recordings, and an id that would like to run."""
    sound = encode_wav(np.sin(np.arange(8000) / 9).astype(np.float32))
    rows = range(len(test))
    test = test.remove_columns(["id", "speaker"]).add_column("id", [EVIL if row == 7 else f"t{row}" for row in rows])
    test = test.add_column("speaker", [f"other{row % 6}" for row in rows])
    test = test.add_column("text", [f"{SPOKEN} {row} <i onmouseover=bad()>" for row in rows])
    cells = [{"bytes": sound, "path": None} if row % 2 else None for row in rows]
    feature = datasets.Features({"audio": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}})
    heard = datasets.Dataset.from_dict({"audio": cells}, features=feature)
    heard = heard.cast_column("audio", datasets.Audio(decode=False))
    test = datasets.concatenate_datasets([test, heard], axis=1)
    test.info.license = "Toy licence, no redistribution"
    return test


@pytest.fixture(scope="module")
def made():
    return report(**everything())


def shown(value, digits=4, sign=""):
    """A number as the report writes it."""
    return f"{value:{sign}.{digits}f}".replace("-", "\N{MINUS SIGN}")


def test_json_is_what_the_library_computed(made):
    given, found = everything(), json.loads(made.json())
    assert set(found["left_out"]) == set()
    predictions, test = given["predictions"]["test"], given["data"]["test"]
    counts = np.asarray(test["reference_counts"])
    expected = score(predictions, counts)
    model = found["scores"]["overall"]["rows"][0]
    assert model["name"] == "model"
    for name in ("squared_score", "js_divergence", "bhattacharyya"):
        assert np.isclose(model["scores"][name]["estimate"], expected[name])
    assert found["validation"] == plain(given["validation"])
    assert found["protocols"]["moving"][0]["moving"] is True
    everyone = np.asarray(test["vote_counts"]) + counts
    data = found["data"]["test"]
    assert (data["utterances"], data["votes"], data["recordings"]) == (60, 300, 30)
    assert np.allclose(list(data["class_mass"].values()), everyone.sum(0) / 300)
    assert np.isclose(data["entropy_bits"], scipy.stats.entropy(everyone, axis=1, base=2).mean())
    assert sum(data["levels"].values()) == 60
    assert found["augmentation"]["new"]["rows"] == 60


def test_utterances_are_those_of_the_data(made):
    columns, test = json.loads(made.json())["utterances"], everything()["data"]["test"]
    assert columns["total"] == len(columns["id"]) == 100
    assert columns["id"][40:] == test["id"][:]
    assert (columns["split"].count(0), columns["split"].count(1)) == (40, 60)
    counts = np.asarray(test["vote_counts"]) + np.asarray(test["reference_counts"])
    shares = {name: np.reshape(values, (100, 4))[40:] for name, values in columns["shares"].items()}
    assert np.array_equal(shares["human"], np.rint(200 * counts))
    assert np.abs(shares["pooled"] / 1000 - np.asarray(test["soft_label"])).max() <= 0.00051
    for row, answers in enumerate(test["answers"]):
        good = [answer["distribution"] for answer in answers if answer["status"] == "ok"]
        assert np.abs(shares["proxies"][row] / 1000 - np.mean(good, axis=0)).max() <= 0.00051
    predicted = everything()["predictions"]["test"]
    js = scipy.spatial.distance.jensenshannon(predicted, counts / 5, base=2, axis=1) ** 2
    assert np.abs(np.array(columns["js"]["predicted"][40:]) / 1000 - js).max() <= 0.00051
    assert columns["js"]["predicted"][:40] == [-1] * 40
    assert columns["held_out"][40:] == [2] * 60


def test_page_and_markdown_show_the_same_numbers(made):
    page, text = made.html(), made.markdown()
    table = everything()["scores"].overall
    for row in table.rows:
        one = row.scores["squared_score"]
        interval = f"[{shown(one.low)}, {shown(one.high)}]"
        assert f'<td class="number">{shown(one.estimate)}</td>\n<td class="interval">{interval}</td>' in page
        assert f"{shown(one.estimate)} {interval}" in text
    gap = table.verdict.paired.difference
    ends = f"[{shown(gap.low, 4, '+')}, {shown(gap.high, 4, '+')}]"
    for said in (page, text.replace("\\", "")):
        assert f"{shown(gap.estimate, 4, '+')} {ends}" in said
        assert shown(table.truth["js_divergence"]) in said
        assert "Scores against own labels say how alike two mixtures are" in said
    assert text.count("![") == len(made.figures) == page.count("<figure>")


def test_pages_need_no_network_and_no_markup_of_data_stays_markup(made):
    page = made.html()
    assert not re.search(r"https?://", page)
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    assert "<b>listener" not in page
    assert EVIL not in page
    assert EVIL not in made.markdown()
    assert page.count("<script") == 2


def test_transcripts_and_sound_only_by_name(made):
    assert SPOKEN not in made.html() + made.markdown() + made.json()
    assert "data:audio" not in made.html()
    assert 'class="banner"' not in made.html()
    given = {"data": everything()["data"]["test"]}
    spoken = report(**given, include=["text"])
    assert SPOKEN in spoken.html()
    assert SPOKEN in spoken.json()
    assert "data:audio" not in spoken.html()
    heard = report(**given, include=["audio", "text"], recordings=4)
    assert heard.html().count("data:audio") == 4
    assert "data:audio" not in heard.json()
    banner = heard.html().split('class="banner"')[1].split("</div>")[0]
    assert "recordings and transcripts" in banner
    assert "Toy licence, no redistribution" in banner
    assert "holds licensed material: audio, text" in heard.markdown()


def test_recordings_are_the_recordings():
    sound = 0.5 * np.sin(np.arange(16000) / 20).astype(np.float32)
    head, content = data_uri(encode_wav(sound)).split(",")
    assert head in ("data:audio/mpeg;base64", "data:audio/flac;base64")
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(content)))
    assert rate == 16000
    assert abs(len(heard) - 16000) < 3000  # MP3 pads its frames
    spectrum = np.abs(np.fft.rfft(heard[:16000]))
    assert abs(spectrum.argmax() - 16000 / 20 / (2 * np.pi)) < 2


def test_parts_of_a_validation_are_tables_of_their_numbers():
    found = everything()["validation"]
    text = markdown._table(part_table("worth", found.parts["worth"]))
    panel = found.parts["worth"].overall["panel"]
    ends = f"[{shown(panel.votes.low, 2)}, {shown(panel.votes.high, 2)}]"
    assert f"| panel | {shown(panel.votes.estimate, 2)} {ends} | {shown(panel.gain.estimate, 4, '+')} [" in text
    fitted = next(one for one in found.parts["alignment"].systems if one.system == "fitted")
    text = markdown._table(part_table("alignment", found.parts["alignment"]))
    assert shown(fitted.difference.difference.estimate, 3, "+") in text
    assert f"| (truth) | {shown(found.parts['alignment'].truth['squared_score'], 3)} |" in text
    assert set(found.parts) | set(found.not_done) == set(TITLES)
    for name, why in found.not_done.items():
        assert why in report(validation=found).html().replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">")
        assert TITLES[name] in report(validation=found).markdown()


def test_parts_that_need_other_data():
    one = Interval(0.3, 0.2, 0.4, 0.95, 0.05, 9.0, 50, 10)
    rates = ClassRates((ClassRate("sad", one, one, one, 0.7, (0.25, 0.35)),), 50, 20, 0, 0.95)
    assert part_table("class_rates", rates).rows[0][1] == Value("0.3000", "[0.2000, 0.4000]")
    moves = Moves(50, one, one, one)
    drift = Drift(4, 100, 0, {}, {"plain": OrderDrift(2, moves, one, (one,) * 4, True)}, Variance(0.7, 0.2, 0.1))
    blocks = part_blocks("drift", drift)
    assert [type(block).__name__ for block in blocks] == ["Text", "Figure", "Table"]
    assert blocks[2].rows[0][:3] == ("orders: plain", Value("50"), Value("0.300", "[0.200, 0.400]"))
    assert [type(block).__name__ for block in part_blocks("new", "something\nnew")] == ["Text", "Printed"]


def part_table(name, part):
    """The table of a part."""
    return next(block for block in part_blocks(name, part) if isinstance(block, Table))


def test_files(made, tmp_path):
    paths = made.save(tmp_path / "deep" / "report")
    assert all(path.is_file() for path in paths)
    assert {"report.html", "report.md", "report.json"} <= {path.name for path in paths}
    linked = re.findall(r"\]\((figures/[^)]+)\)", (tmp_path / "deep/report/report.md").read_text(encoding="utf-8"))
    assert len(linked) == len(made.figures)
    for name in linked:
        root = ElementTree.parse(tmp_path / "deep/report" / name).getroot()
        assert root.tag.endswith("svg")
        assert [node for node in root.iter() if node.tag.endswith("text")]  # text is text


def test_what_is_not_given_is_left_out_with_the_reason():
    empty = report()
    assert set(empty.left_out) == {
        "data", "validation", "pooling", "augmentation", "training", "scores", "protocols", "utterances", "predictions"
    }  # fmt: skip
    assert "`trainer.state.log_history`" in empty.left_out["training"]
    assert "trainer.state.log_history" in empty.html()
    assert "trainer.state.log_history" in empty.markdown()
    assert json.loads(empty.json())["scores"] is None
    assert "training: left out" in str(empty)
    only = report(history=HISTORY)
    assert [section.name for section in only.sections] == ["training"]
    assert "training" not in only.left_out


def test_the_explorer_is_evenly_limited():
    few = report(everything()["data"], utterances=10).utterances
    assert few["total"] == 100
    assert len(few["id"]) == 10
    assert few["id"][0] == "u000000"
    assert few["id"][-1] == "t59"
    assert len(few["shares"]["human"]) == 40


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"data": "corpus"}, "`data` must be a dataset, or several by name, not str"),
        ({"data": {}}, "`data` must be a dataset"),
        ({"include": ["audio"]}, "need `data`"),
        ({"predictions": np.ones((3, 4)) / 4}, "need `data`"),
        ({"scores": [1]}, "`scores` must be a ScoreTable or LevelScores, not list"),
        ({"validation": {}}, "`validation` must be a Validation"),
        ({"plan": 3}, "`plan` must be a plan of DiME-Aug"),
        ({"history": []}, "`history` has no step"),
    ],
)
def test_bad_arguments(arguments, says):
    with pytest.raises(DimeError, match=says):
        report(**arguments)


def test_bad_arguments_beside_data():
    data = everything()["data"]
    cases = [
        ({"predictions": np.ones((60, 4)) / 4}, "say which they are of"),
        ({"predictions": {"tset": np.ones((60, 4)) / 4}}, "Did you mean 'test'"),
        ({"predictions": {"test": np.ones((59, 4)) / 4}}, r"shape \(59, 4\), not that of its 60 rows and 4 classes"),
        ({"predictions": {"test": np.ones((60, 4))}}, "`predictions`"),
        ({"include": ["speech"]}, "`include` must hold names"),
        ({"include": "audio"}, "`include` must hold names"),
        ({"include": ["audio"]}, "`train` has no column 'audio'"),
        ({"utterances": 0}, "`utterances` must be at least 1, not 0"),
    ]
    for arguments, says in cases:
        with pytest.raises(DimeError, match=says):
            report(data, **arguments)
    with pytest.raises(DimeError, match="at least one row"):
        report(data["test"].select([]))
    names = datasets.ClassLabel(names=["angry", "happy", "neutral", "calm"])
    with pytest.raises(DimeError, match="different classes"):
        report({**data, "train": data["train"].cast_column("hard_label", names)})


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_packages_that_are_missing_are_named(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PackageError, match=f"{package}: pip install 'dime_hf.report.'"):
        report(history=HISTORY).html()


def test_levels_are_told_by_other_votes_than_those_that_judge():
    given = everything()
    test, found = given["data"]["test"], given["scores"]
    levels = np.array(ambiguity_levels(np.asarray(test["vote_counts"])))
    reference = np.asarray(test["reference_counts"])
    assert set(found.by_level) | set(found.not_done) == {"low", "medium", "high"}
    assert set(found.by_level) == set(levels)
    for level, table in found.by_level.items():
        rows = levels == level
        expected = score(given["predictions"]["test"][rows], reference[rows])
        assert table.n == rows.sum()
        assert np.isclose(table.rows[0].scores["squared_score"].estimate, expected["squared_score"])
        alpha = fit_dirichlet(reference[rows])
        truth = score_of_truth(reference[rows].sum(-1), alpha=alpha, metrics=["squared_score"])
        assert np.isclose(table.truth["squared_score"], truth["squared_score"])
        assert f"{level} ambiguity" in str(found)
    with pytest.raises(LeakageError, match="the votes that judge bend the scores"):
        scores_by_level({"model": given["predictions"]["test"]}, test.remove_columns(["reference_counts"]))


def test_what_a_table_lacks_is_said():
    test, predictions = everything()["data"]["test"], everything()["predictions"]["test"]
    weighted = score_labels({"model": predictions}, test, weights=np.linspace(1, 2, 60))
    said = report(scores=weighted).markdown()
    assert "No verdict was declared before the scores were seen" in said
    assert f"an effective sample of {weighted.n_effective:.1f}" in said
    assert "squared score less" not in said
    moving = report(scores=everything()["protocols"].moving[0])
    assert "The reference moves" in moving.html()
    assert "score of the truth cannot be told here" in moving.markdown()


def test_one_judging_vote_tells_no_truth():
    drawn = simulate(80, speakers=5, annotators=4, seed=3).held_out(3)
    constant = np.tile(drawn.counts.sum(0) / drawn.counts.sum(), (80, 1))
    found = scores_by_level({"truth": drawn.truth, "constant": constant}, drawn.dataset(), control="constant")
    assert [table.truth for table in found.by_level.values()] == [{}] * len(found.by_level)
    assert sum(table.n for table in found.by_level.values()) == 80
    assert "by level the truth cannot be told" in report(scores=found).markdown()
    assert "by level the truth cannot be told" not in report(scores=everything()["scores"]).markdown()


def test_names_may_hold_anything():
    odd = {r"$\frac{$ & <model>": everything()["predictions"]["test"], "|": np.full((60, 4), 0.25)}
    said = report(scores=score_labels(odd, everything()["data"]["test"])).html()
    assert said.count(r"$\frac{$ &amp; &lt;model&gt;") >= 2  # in the table and in the figure


def test_data_that_nobody_voted_on():
    test = everything()["data"]["test"].remove_columns(["reference_counts", "answers", "audio", "speaker"])
    silent = test.map(lambda _: {"vote_counts": None, "hard_label": None}, features=test.features)
    made = report(silent)
    found = json.loads(made.json())
    assert next(iter(found["data"].values()))["krippendorff_alpha"] is None
    assert set(found["utterances"]["shares"]["human"]) == {-1}
    assert set(found["utterances"]["level"]) == set(found["utterances"]["entropy"]) == {-1}
    assert "\N{EN DASH}" in made.markdown()


def test_every_emotion_looks_different():
    looks = colours(EMOTIONS)
    assert len(set(looks)) == len(EMOTIONS)
    assert colours(["sad", "calm"])[0] == looks[EMOTIONS.index("sad")]
    assert len(set(colours(["calm", "sad", "bored"]))) == 3


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(st.text())
def test_data_end_no_script_and_break_no_table(said):
    harmless = harmless_json({said: [said]})
    assert json.loads(harmless) == {said: [said]}
    assert not set("<>&") & set(harmless)
    table = Table("caption", ("one", "two"), ((said, Value("1.0", "[0, 2]")),))
    line = markdown._table(table).splitlines()[-1]
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(st.floats(allow_nan=True), st.integers(0, 6))
def test_numbers_as_they_are_shown(value, digits):
    text = number(value, digits).text
    if not math.isfinite(value):
        assert text == "\N{EN DASH}"
    else:
        read = float(text.replace("\N{MINUS SIGN}", "-").replace(",", ""))
        assert abs(read - value) <= 0.5001 * 10.0**-digits + abs(value) * 1e-15
        assert not (read == 0 and text.startswith("\N{MINUS SIGN}"))
