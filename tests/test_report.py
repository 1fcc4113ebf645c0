"""Tables and figures of scores."""

import numpy as np
import pytest

from dime_hf.errors import DistributionError
from dime_hf.report import level_table, plot_scores, score_rows, score_table
from dime_hf.score import score

RNG = np.random.default_rng(0)
TRUTH = RNG.dirichlet(np.ones(3), 30)
COUNTS = RNG.multinomial(4, TRUTH)
PREDICTIONS = {"human": COUNTS / 4, "prior": np.tile(COUNTS.sum(0) / COUNTS.sum(), (30, 1))}
REFERENCES = {"human": COUNTS, "truth": TRUTH}


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
