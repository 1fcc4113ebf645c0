"""What the strategies ask."""

import numpy as np
import pytest

from dime_hf.annotate.prompts import PROMPTS
from dime_hf.annotate.strategies import PAPER_BANDS, Options, Paper, Sample, Verbalised
from dime_hf.errors import AnnotationError


def test_options_asks_every_prompt_in_every_order():
    asks = Options(orders=2).asks(PROMPTS[:3], 4)
    assert [(ask.prompt, ask.order) for ask in asks[:2]] == [(PROMPTS[0], (0, 1, 2, 3)), (PROMPTS[0], (2, 3, 0, 1))]
    assert len(asks) == 6


def test_the_papers_annotators_have_prompt_and_band_by_their_number():
    asks = Paper(draws=8).asks(PROMPTS, 4)
    assert [(ask.prompt, ask.temperatures) for ask in asks] == [(PROMPTS[i % 5], PAPER_BANDS[i % 5]) for i in range(8)]
    assert {ask.draws for ask in asks} == {1}
    assert len({ask.seed for ask in asks}) == 8


def test_uncoupled_every_prompt_meets_every_band():
    asks = Paper(draws=25, coupled=False).asks(PROMPTS, 4)
    assert len({(ask.prompt.name, ask.temperatures) for ask in asks}) == 25


def test_temperatures_lie_in_the_band_and_depend_on_seed_and_utterance_alone():
    ask = Paper(draws=1).asks(PROMPTS, 4)[0]
    drawn = np.concatenate([ask.draw_temperatures(f"u{i}") for i in range(2_000)])
    assert 0.1 <= drawn.min() < 0.11 < 0.29 < drawn.max() <= 0.3
    assert drawn.mean() == pytest.approx(0.2, abs=0.005)
    assert ask.draw_temperatures("u7") == drawn[7]
    assert Paper(draws=1, seed=1).asks(PROMPTS, 4)[0].draw_temperatures("u7") != drawn[7]


def test_forms_differ_in_what_is_said_and_in_their_key():
    choices, words = (Sample(constrained=constrained).asks(PROMPTS, 4)[0] for constrained in (True, False))
    shares = Verbalised().asks(PROMPTS, 4)[0]
    assert choices.messages("abcd", None) == words.messages("abcd", None) != shares.messages("abcd", None)
    assert len({str(ask.key) for ask in (choices, words, shares)}) == 3
    assert "JSON" in shares.messages("abcd", None)[1]["content"][1]["text"]


def test_impossible_settings_are_refused():
    with pytest.raises(AnnotationError, match="`draws`"):
        Sample(draws=0)
    with pytest.raises(AnnotationError, match="`temperature`"):
        Sample(temperature=-1)
    with pytest.raises(AnnotationError, match="`draws`"):
        Paper(draws=0)
