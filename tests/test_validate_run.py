"""validate(): its parts are those of the modules, and it says what the votes do not allow."""

import json
import math

import numpy as np
import pytest

from dime_hf import columns, hold_out_votes
from dime_hf.corpora.cast import Ballots
from dime_hf.errors import ColumnError
from dime_hf.evidence import plain
from dime_hf.pool.panel import Panel, as_batch
from dime_hf.simulation import Proxy, simulate
from dime_hf.validate import validate
from dime_hf.validate.agreement import measure_agreement
from dime_hf.validate.alignment import align
from dime_hf.validate.levels import score_by_level
from dime_hf.validate.worth import worth_in_votes

PROXIES = (Proxy("good", votes=3, failures=0.1), Proxy("drawn", votes=1, draws=5))


@pytest.fixture(scope="module")
def dataset():
    return simulate(300, annotators=5, speakers=10, proxies=PROXIES, seed=3).dataset()


@pytest.fixture(scope="module")
def found(dataset):
    return validate(dataset)


def test_parts_are_those_of_the_modules(dataset, found):
    panel = Panel.read(as_batch(dataset.with_format("arrow")[:]))
    groups, ids, names = columns.groups(dataset[:]), dataset["id"][:], columns.classes(dataset)
    assert str(found.parts["alignment"]) == str(align(panel, ids, groups))
    assert str(found.parts["worth"]) == str(worth_in_votes(panel, ids, groups, names))
    assert str(found.parts["agreement"]) == str(measure_agreement(panel, groups, ballots=Ballots.read(dataset)))
    assert found.parts["alt_test"].by_proxy["good"].reason is None  # the annotators of a simulation have names
    assert set(found.parts["reliability"].by_class) == set(names)
    assert found.parts["drift"].between_prompts.keys() == {"drawn - good"}
    assert found.not_done.keys() == {"class_rates"}  # every utterance has human votes
    failed = sum(answer["status"] == "failed" for row in dataset["answers"] for answer in row)
    assert (found.utterances, found.voted, found.answers, found.failed) == (300, 300, 600, failed)
    assert failed > 10


def test_it_is_text_json_and_figures(found, tmp_path):
    written = found.save(tmp_path / "out")
    loaded = json.loads(written[0].read_text())
    assert loaded == plain(found)
    assert loaded["parts"]["worth"]["overall"]["good"]["votes"]["estimate"] > 0.5
    assert written[1].read_text() == f"{found}\n"
    assert "class_rates: not done, " in str(found)
    figures = [path.name for path in written[2:]]
    assert figures == [f"validation-{name}.png" for name in found.parts if hasattr(found.parts[name], "plot")]
    assert len(figures) >= 4
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written[2:])


def test_held_out_votes_judge_too(dataset, found):
    held = validate(hold_out_votes(dataset, keep=3))
    for name in ("alignment", "worth", "saturation", "reliability", "levels", "drift"):
        assert str(held.parts[name]) == str(found.parts[name])
    assert "annotators" in held.parts["alt_test"].by_proxy["good"].reason  # who cast the held-out votes is not kept


def test_unvoted_utterances_have_class_rates():
    corpus = simulate(400, annotators=4, speakers=20, proxies=(Proxy(votes=6),), seed=1)
    dataset = corpus.dataset()
    voted = np.random.default_rng(0).random(400) < 0.5
    counts = np.where(voted[:, None], corpus.counts, 0).tolist()
    few = dataset.remove_columns(["vote_counts", "human_votes"]).add_column(
        "vote_counts", counts, feature=dataset.features["vote_counts"]
    )
    found = validate(few)
    rates = found.parts["class_rates"]
    assert (rates.utterances, rates.voted, found.voted) == (400, voted.sum(), voted.sum())
    assert sum(rate.rate.estimate for rate in rates.rates) == pytest.approx(1, abs=0.02)


def test_what_votes_do_not_allow_is_said(dataset):
    halves = dataset.remove_columns(["vote_counts", "human_votes"]).add_column(
        "vote_counts", (np.array(dataset["vote_counts"]) / 2).tolist(), feature=dataset.features["vote_counts"]
    )
    found = validate(halves)
    assert {"alignment", "worth", "levels"} <= found.not_done.keys()
    assert "whole votes" in found.not_done["worth"]
    assert "reliability" in found.parts
    only_drawn = dataset.map(
        lambda answers: {"answers": [one for one in answers if one["proxy"] == "drawn"]},
        input_columns=["answers"],
        features=dataset.features,
    )
    assert "votes were drawn" in validate(only_drawn).not_done["reliability"]


def test_no_answers(dataset):
    with pytest.raises(ColumnError, match="answers"):
        validate(dataset.remove_columns(["answers"]))
    failed = simulate(20, proxies=(Proxy(failures=1),)).dataset()
    with pytest.raises(ColumnError, match="no valid answer"):
        validate(failed)


def test_levels_rest_on_other_votes_than_scores():
    """Where the answers know nothing, no level of ambiguity looks easier to them because of its own votes."""
    corpus = simulate(4000, prior=(0.25,) * 4, annotators=6, speakers=20, proxies=(Proxy(votes=0),), seed=2)
    panel = Panel.read(as_batch(corpus.dataset().with_format("arrow")[:]))
    levels = score_by_level(panel, [f"u{n}" for n in range(4000)], corpus.speakers)
    assert levels.level_votes == 3
    squared = [one.estimate for one in levels.scores.hard["squared_score"].values()]
    truth = ((panel.synthetic**2).sum(-1) - 2 * (panel.synthetic * corpus.truth).sum(-1)).mean()
    assert max(abs(value - truth) for value in squared if math.isfinite(value)) < 0.03
    assert sum(levels.sizes.values()) == 4000
    assert 0.3 < levels.misassigned_overall < 0.6
