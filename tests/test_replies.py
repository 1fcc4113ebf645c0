"""What models say, parsed: exactly, or not at all."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dime_hf.annotate.annotator import failure_kind
from dime_hf.annotate.replies import drawn, from_log_probabilities, parse_word, verbalised
from dime_hf.columns import FAILED, OK

OPTIONS = ("angry", "happy", "neutral", "fearful")


@pytest.mark.parametrize(
    ("reply", "place"),
    [
        ("happy", 1),
        (" **Happy**.\n", 1),
        ("“Fearful”", 3),
        ("The speaker sounds rather angry to me.", 0),
        ("ANGRY, very angry", 0),
        ("happy or angry", None),
        ("unhappy", None),
        ("not angry", None),
        ("She isn't happy", None),
        ("I cannot tell, perhaps neutral", None),
        ("happy-go-lucky", 1),
        ("bored", None),
        ("", None),
    ],
)
def test_a_reply_names_an_option_or_nothing(reply, place):
    assert parse_word(reply, OPTIONS) == place


@given(st.text())
def test_what_is_said_without_an_option_in_it_is_never_taken_for_one(reply):
    if not any(option in reply.casefold() for option in OPTIONS):
        assert parse_word(reply, OPTIONS) is None


def test_draws_are_shares_and_what_names_no_option_is_off_option_mass():
    answer = drawn("m", range(4), ["happy", "Happy!", "angry", "hm"], OPTIONS)
    assert answer["draws"] == [1, 1, 0]
    assert answer["votes"] == 3
    assert answer["distribution"] == pytest.approx([1 / 3, 2 / 3, 0, 0])
    assert answer["off_option"] == pytest.approx(1 / 4)


def test_draws_of_which_none_names_an_option_are_a_failure_that_quotes_one():
    answer = drawn("m", range(4), ["bored", "tired"], OPTIONS)
    assert answer["status"] == FAILED
    assert answer["error"] == "reply: no option is named in 'bored' and 1 more"


def test_log_probabilities_are_renormalised_and_the_rest_is_off_option_mass():
    answer = from_log_probabilities("m", range(3), np.log([0.1, 0.2, 0.1]))
    assert answer["distribution"] == pytest.approx([0.25, 0.5, 0.25])
    assert answer["off_option"] == pytest.approx(0.6)
    assert from_log_probabilities("m", range(2), [np.nan, 0.0])["status"] == FAILED


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4).filter(lambda shares: sum(shares) > 0.01))
def test_a_written_distribution_reads_back(shares):
    shares = np.array(shares) / sum(shares)
    reply = f"Sure:\n```json\n{json.dumps(dict(zip(OPTIONS, shares.tolist(), strict=True)))}\n```"
    answer = verbalised("m", range(4), [reply], OPTIONS)
    assert answer["status"] == OK
    assert answer["distribution"] == pytest.approx(shares.tolist())
    assert answer["off_option"] == pytest.approx(0, abs=1e-9)
    assert answer["error"] is None


def test_percentages_drift_and_other_words_are_read_for_what_they_are():
    percent = verbalised("m", range(4), ['{"angry": 60, "happy": 40}'], OPTIONS)
    assert (percent["distribution"], percent["error"]) == ([0.6, 0.4, 0, 0], None)
    drift = verbalised("m", range(4), ['{"Angry": 0.6, "happy": 0.6}'], OPTIONS)
    assert (drift["distribution"], drift["error"]) == ([0.5, 0.5, 0, 0], "drift: the shares sum to 1.2")
    other = verbalised("m", range(4), ['{"angry": 0.3, "bored": 0.7}'], OPTIONS)
    assert (other["distribution"], other["off_option"]) == ([1, 0, 0, 0], pytest.approx(0.7))


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("I would say angry", "no JSON object"),
        ('{"angry": 1} or {"happy": 1}', "more than one JSON object"),
        ('{"angry": 1, "more": {"happy": 1}}', "more than one JSON object"),
        ('{"angry": 0.6,', "no JSON object"),
        ('{"angry": 0.6 "happy": 0.4}', "delimiter"),
        ('{"angry": -0.1, "happy": 1.1}', "'angry' has -0.1"),
        ('{"angry": "much"}', "'angry' has 'much'"),
        ('{"angry": true}', "'angry' has True"),
        ('{"angry": NaN}', "NaN for a share"),
        ('{"angry": 0.5, "Angry": 0.5}', "'angry' more than once"),
        ('{"angry": 7}', "sum to 7"),
        ('{"angry": 1e999}', "sum to inf"),
        ('{"angry": ' + "9" * 400 + "}", "sum to inf"),
        ("{}", "sum to 0"),
        ('{"bored": 1}', "no share for any option"),
    ],
)
def test_what_is_no_distribution_is_a_failure_that_says_why(reply, why):
    answer = verbalised("m", range(4), [reply], OPTIONS)
    assert answer["status"] == FAILED
    assert failure_kind(answer["error"]) == "reply"
    assert why in answer["error"]


@given(st.text() | st.dictionaries(st.text(), st.floats() | st.integers() | st.text()).map(json.dumps))
def test_no_reply_of_any_kind_breaks_the_parser(reply):
    answer = verbalised("m", range(4), [reply], OPTIONS)
    assert (answer["status"] == OK) == (answer["distribution"] is not None)
    if answer["distribution"]:
        assert sum(answer["distribution"]) == pytest.approx(1)


def test_the_parts_of_a_long_recording_count_alike():
    answer = verbalised("m", range(4), ['{"angry": 1}', '{"angry": 0.5, "happy": 0.5}'], OPTIONS)
    assert answer["distribution"] == pytest.approx([0.75, 0.25, 0, 0])
    assert verbalised("m", range(4), ['{"angry": 1}', "hm"], OPTIONS)["status"] == FAILED
