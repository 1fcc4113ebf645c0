"""Remote annotators over a real server on loopback, which answers from a known distribution and fails on demand."""

import asyncio
import dataclasses
import json
import logging
import math
import pickle
import re
import time
from collections import Counter
from email.utils import formatdate

import datasets
import huggingface_hub.constants
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dime_hf import audio, columns, load_dataset
from dime_hf.annotate import (
    PROMPTS,
    AnswerStore,
    AudioLMAnnotator,
    Budget,
    DecisionAnnotator,
    Patience,
    Prompt,
    RemoteAnnotator,
    annotate,
    small_audio_lm,
)
from dime_hf.annotate.annotator import QuestionAnnotator, failure_kind
from dime_hf.annotate.remote import reading, sounds, upload
from dime_hf.annotate.remote.endpoint import NoAnswerError, retry_after
from dime_hf.annotate.strategies import Options, Paper, Sample, Verbalised
from dime_hf.corpora import toy
from dime_hf.corpora.folder import TOY_LICENCE
from dime_hf.errors import AnnotationError
from tests import endpoint as faults
from tests.endpoint import CLASSES, KEY, Endpoint, choice, completion, truth

QUICK = Patience(timeout=10, retries=3, first_wait=0.01, longest_wait=0.1)
ONE = PROMPTS[:1]


@pytest.fixture(autouse=True)
def online(monkeypatch):
    """Loopback is all that these tests reach; the client refuses even that while the Hub is off."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def clip(number, seconds=0.2):
    return np.random.default_rng(number).uniform(-0.5, 0.5, int(seconds * 16_000)).astype("float32")


def batch_of(*numbers, seconds=0.2):
    return {
        "id": [f"u{n}" for n in numbers],
        "audio": [{"bytes": audio.encode_wav(clip(n, seconds)), "path": None} for n in numbers],
        "text": [f"word {n}" for n in numbers],
    }


def dataset_of(count):
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "audio": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
            "text": datasets.Value("string"),
            "hard_label": datasets.ClassLabel(names=list(CLASSES)),
        }
    )
    rows = {**batch_of(*range(count)), "hard_label": [0] * count}
    made = datasets.Dataset.from_dict(rows, features=features)
    return made.cast_column("audio", datasets.Audio(sampling_rate=16_000, decode=False))


def ask(server, **how):
    how = {"prompts": ONE, "patience": QUICK, **how}
    return RemoteAnnotator("org/model", CLASSES, base_url=server.url, **how)


def assert_true(answer, number, prompt=PROMPTS[0]):
    """The answer is the server's distribution over the options, and what lies off them."""
    p = truth(number, prompt.attention)
    assert (answer["status"], answer["error"], answer["votes"]) == ("ok", None, 1)
    np.testing.assert_allclose(answer["distribution"], p[:-1] / p[:-1].sum(), atol=1e-9)
    assert answer["off_option"] == pytest.approx(p[-1], abs=1e-9)


def kinds(answers):
    return [failure_kind(row[0]["error"]) if row[0]["status"] == "failed" else "ok" for row in answers]


# Options


@pytest.mark.parametrize("audio_as", ["input_audio", "audio_url"])
def test_options_are_the_endpoints_probabilities(audio_as):
    with Endpoint() as server:
        annotator = ask(server, prompts=PROMPTS[:2], strategy=Options(orders=2), audio_as=audio_as)
        answers = annotator.answer(batch_of(0, 1, 2))
        assert isinstance(annotator, QuestionAnnotator)
    for number, row in enumerate(answers):
        assert [(a["proxy"], tuple(a["order"])) for a in row] == [
            (f"model/{prompt.name}", order) for prompt in PROMPTS[:2] for order in ((0, 1, 2, 3), (2, 3, 0, 1))
        ]
        for place, answer in enumerate(row):
            assert_true(answer, number, PROMPTS[place // 2])
    assert len(server.requests) == 12
    sent = next(request for request in server.requests if request.utterance == 1)
    np.testing.assert_allclose(sent.sound, clip(1), atol=1e-4)
    assert (sent.path, sent.body["model"]) == ("/v1/chat/completions", "org/model")
    assert (sent.body["logprobs"], sent.body["top_logprobs"], sent.body["max_tokens"]) == (True, 20, 1)
    assert annotator.spent == (12, 12 * faults.TOKENS_IN, 12 * faults.TOKENS_OUT, 0)


def test_some_questions_alone():
    with Endpoint() as server:
        annotator = ask(server, prompts=PROMPTS)
        answers = annotator.answer(batch_of(4), questions=[3, 1])
        assert [answer["proxy"] for answer in answers[0]] == ["model/subtle_cues", "model/tone"]
        assert_true(answers[0][0], 4, PROMPTS[3])
        assert annotator.answer(batch_of()) == []
    assert len(server.requests) == 2


def test_what_the_endpoint_does_not_show_is_no_probability():
    shown = {"happy": 0.5, "Hmm": 0.3, "neutral": 0.1, "x": 0.05, "sa": 0.004}
    fault = faults.instead(lambda *_: completion([choice(0, "happy", logprobs=faults.top_tokens(shown))]))
    with Endpoint(fault=lambda *_: fault) as server:
        (answer,) = ask(server).answer(batch_of(0))[0]
    np.testing.assert_allclose(answer["distribution"], [0, 5 / 6, 1 / 6, 0])
    assert answer["off_option"] == pytest.approx(0.4)
    assert (answer["status"], answer["error"]) == ("ok", "unseen: angry, sad not among the 5 tokens shown")


@pytest.mark.parametrize(
    ("shown", "kind", "message"),
    [
        ({"The": 0.9, "I": 0.1}, "reply", r"no option among the 2 likely first tokens, which are \['The', 'I'\]"),
        ({"happy": 0.5, "an": 0.4}, "request", "the option 'angry' seems to need several tokens: 'an' has 0.4"),
        ({"happy": 0.9, "sad": 0.4}, "server", "probabilities sum to 1.3"),
        ({"happy": float("nan"), "sad": 0.4}, "server", "server: the answer holds NaN"),
        ({"happy": 2.0}, "server", "log-probability of 'happy' is 0.69"),
    ],
)
def test_probabilities_that_cannot_be_read(shown, kind, message):
    fault = faults.instead(lambda *_: completion([choice(0, "x", logprobs=faults.top_tokens(shown))]))
    with Endpoint(fault=lambda _, request: fault if request.utterance == 1 else None) as server:
        answers = ask(server).answer(batch_of(0, 1, 2))
        assert len(server.requests) == 3  # it would say the same again
    assert kinds(answers) == ["ok", kind, "ok"]
    assert re.search(message, answers[1][0]["error"])
    assert_true(answers[2][0], 2)


def test_token_ids_ask_for_exactly_the_options():
    ids = (11, 22, 33, 44)

    def vllm(request):
        assert request.body["logprob_token_ids"] == list(ids)
        assert request.body["return_tokens_as_token_ids"] is True
        p = truth(request.utterance, request.attention)
        shown = {f"token_id:{n}": share for n, share in zip((*ids, 999), p, strict=True)}
        return completion([choice(0, "Hmm", logprobs=faults.top_tokens(shown))])

    with Endpoint(vllm) as server:
        answers = ask(server, token_ids=ids).answer(batch_of(0, 1))
    assert_true(answers[0][0], 0)
    assert_true(answers[1][0], 1)
    likely = {"token_id:1": 0.6, "token_id:22": 0.3}  # a server that ignores the ids; 1 does not begin 11
    fault = faults.instead(lambda *_: completion([choice(0, "x", logprobs=faults.top_tokens(likely))]))
    with Endpoint(fault=lambda *_: fault) as server:
        (answer,) = ask(server, token_ids=ids).answer(batch_of(0))[0]
    assert (answer["distribution"], answer["off_option"]) == ([0, 1, 0, 0], pytest.approx(0.7))
    assert answer["error"] == "unseen: angry, neutral, sad not among the 2 tokens shown"
    with pytest.raises(AnnotationError, match="`token_ids` must be one token for each"):
        RemoteAnnotator("m", CLASSES, token_ids=(1, 2, 3))


def test_long_recordings_are_heard_in_windows():
    """2.5 s with `max_seconds=1` are three windows; their probabilities are averaged."""
    long = batch_of(0, seconds=2.5)
    windows = np.array_split(clip(0, 2.5), 3)
    p = np.random.default_rng(5).dirichlet(np.ones(5), 3)

    def hear(request):
        (place,) = [
            n
            for n, part in enumerate(windows)
            if len(part) == len(request.sound) and np.allclose(part, request.sound, atol=1e-3)
        ]
        return completion(
            [choice(0, "x", logprobs=faults.top_tokens(dict(zip([*CLASSES, "Hm"], p[place], strict=True))))]
        )

    with Endpoint(hear) as server:
        (answer,) = ask(server, max_seconds=1).answer(long)[0]
        assert len(server.requests) == 3
        (drawn,) = ask(server, max_seconds=1, strategy=Sample(3)).answer(long)[0]
        assert len(server.requests) == 3
    last = faults.status(400)
    with Endpoint(
        hear, lambda _, r: last if np.allclose(windows[1][:99], r.sound[:99], atol=1e-3) else None
    ) as server:
        assert kinds(ask(server, max_seconds=1).answer(long)) == ["request"]  # not the mean of what is left
    mean = p.mean(0)
    np.testing.assert_allclose(answer["distribution"], mean[:-1] / mean[:-1].sum(), atol=1e-9)
    assert answer["off_option"] == pytest.approx(mean[-1])
    assert drawn["error"].startswith("audio: the recording is longer than `max_seconds`, 1 s, and this strategy")
    with Endpoint() as server:
        assert_true(ask(server, max_seconds=None).answer(long)[0][0], 0)
        assert len(server.requests[0].sound) == 40_000


# Draws and words


@pytest.mark.parametrize("constrain", ["structured_outputs", "response_format"])
def test_constrained_draws(constrain):
    with Endpoint() as server:
        answers = ask(server, strategy=Sample(200, seed=3), constrain=constrain).answer(batch_of(0, 1))
    assert [request.body["n"] for request in server.requests] == [200, 200]
    assert {request.body["temperature"] for request in server.requests} == {1.0}
    for number, (answer,) in enumerate(answers):
        p = truth(number, PROMPTS[0].attention)[:-1]
        expected = p / p.sum()
        assert (answer["status"], answer["votes"], answer["off_option"]) == ("ok", 200, 0)
        assert answer["proxy"] == "model/tone_and_words-choices"
        np.testing.assert_allclose(answer["distribution"], expected, atol=4 * math.sqrt(0.25 / 200))
        np.testing.assert_allclose(answer["distribution"], np.bincount(answer["draws"], minlength=4) / 200)
    if constrain == "structured_outputs":
        assert server.requests[0].body["structured_outputs"] == {"choice": list(CLASSES)}
    else:  # the hub's client words it for TGI over a URL
        form = server.requests[0].body["response_format"]
        assert form["value"]["properties"]["answer"]["enum"] == list(CLASSES)


def test_same_seed_same_draws_other_seed_others():
    with Endpoint() as server:
        one, two, three = (ask(server, strategy=Sample(12, seed=n)).answer(batch_of(0))[0][0] for n in (1, 1, 2))
    assert one["draws"] == two["draws"] != three["draws"]


@pytest.mark.parametrize("given_at_a_time", [1, 3, 10])
def test_fewer_choices_than_asked_for_are_made_up_for(given_at_a_time):
    said = []

    def short(request):
        reply = faults.chat(request)
        reply["choices"] = reply["choices"][:given_at_a_time]
        said.extend(choice["message"]["content"] for choice in reply["choices"])
        return reply

    with Endpoint(short) as server:
        (answer,) = ask(server, strategy=Sample(7, constrained=False)).answer(batch_of(0))[0]
        seeds = [request.body["seed"] for request in server.requests]
    assert len(said) == 7
    assert len(set(seeds)) == len(seeds) == -(-7 // given_at_a_time)  # or the draws would repeat
    assert Counter(answer["draws"]) == Counter(CLASSES.index(word) for word in said if word in CLASSES)
    assert answer["off_option"] == pytest.approx(said.count("Hmm") / 7)


def test_an_endpoint_of_one_draw_at_a_time():
    with Endpoint() as server:
        (answer,) = ask(server, strategy=Sample(3), extra_body={"n": 1}).answer(batch_of(0))[0]
    assert [request.body["n"] for request in server.requests] == [1, 1, 1]
    assert answer["votes"] == 3


def test_providers_are_asked_as_they_want(monkeypatch):
    """The hub's client, its table of providers and all, with OpenAI's address moved to loopback."""
    from huggingface_hub.inference._providers import PROVIDERS

    monkeypatch.setenv("MY_KEY", KEY)
    with Endpoint() as server:
        monkeypatch.setattr(PROVIDERS["openai"]["conversational"], "base_url", server.url.removesuffix("/v1"))
        annotator = RemoteAnnotator(
            "gpt-audio", CLASSES, provider="openai", key_from="MY_KEY", prompts=ONE, strategy=Sample(20),
            constrain="response_format", allow_upload="unknown",
        )  # fmt: skip
        (answer,) = annotator.answer(batch_of(0))[0]
        (request,) = server.requests
    assert (answer["votes"], answer["proxy"]) == (20, "gpt-audio/tone_and_words-choices")
    assert (request.path, request.body["model"]) == ("/v1/chat/completions", "gpt-audio")
    form = request.body["response_format"]
    assert form["json_schema"]["schema"]["properties"]["answer"]["enum"] == list(CLASSES)
    assert (form["type"], form["json_schema"]["strict"]) == ("json_schema", True)


def test_choices_that_come_twice_or_in_another_order():
    def twice(request):
        reply = faults.chat(request)
        if request.body.get("n") == 4:
            a, b, c, _ = (choice(n, CLASSES[n]) for n in range(4))
            reply["choices"] = [c, a, {**a, "message": {"role": "assistant", "content": "sad"}}, b]
        else:
            reply["choices"] = [choice(0, "sad")]
        return reply

    with Endpoint(twice) as server:
        (answer,) = ask(server, strategy=Sample(4)).answer(batch_of(0))[0]
    assert answer["draws"] == [0, 1, 2, 3]
    assert [request.body.get("n") for request in server.requests] == [4, None]


def test_the_reference_recipe_draws_every_temperature_by_itself():
    strategy = Paper(draws=5, seed=2)
    with Endpoint() as server:
        annotator = ask(server, prompts=PROMPTS, strategy=strategy)
        answers = annotator.answer(batch_of(0, 1))
    assert len(server.requests) == 10
    expected = {
        (number, a.prompt.attention): a.draw_temperatures(f"u{number}")[0]
        for number in (0, 1)
        for a in strategy.asks(PROMPTS, 4)
    }
    sent = {(r.utterance, r.attention): r.body["temperature"] for r in server.requests}
    assert sent == pytest.approx(expected)
    assert all("n" not in r.body and "structured_outputs" not in r.body for r in server.requests)
    assert [a["proxy"] for a in answers[0]][:2] == ["model/tone_and_words@0.1-0.3", "model/tone@0.3-0.5"]


def test_verbalised_distributions():
    with Endpoint() as server:
        answers = ask(server, strategy=Verbalised()).answer(batch_of(0, 1))
    for number, (answer,) in enumerate(answers):
        p = truth(number, PROMPTS[0].attention)
        np.testing.assert_allclose(answer["distribution"], p[:-1] / p[:-1].sum(), atol=1e-3)
        assert answer["off_option"] == pytest.approx(p[-1], abs=1e-3)
    cut = faults.say('{"angry": 0.2, "hap', finish_reason="length")
    with Endpoint(fault=lambda *_: cut) as server:
        (answer,) = ask(server, strategy=Verbalised()).answer(batch_of(0))[0]
    assert answer["error"].startswith("reply: no JSON object in")
    assert answer["error"].endswith("(cut at 160 tokens)")


def test_what_is_no_answer_and_what_is_a_refusal():
    said = {
        1: faults.say(""),
        2: faults.say(None),
        3: faults.say("bored"),
        4: faults.say(None, refusal="I cannot judge people."),
        5: faults.say("", finish_reason="content_filter"),
        6: faults.say("happy or sad"),
    }
    with Endpoint(fault=lambda _, request: said.get(request.utterance)) as server:
        answers = ask(server, strategy=Sample(1, constrained=False, temperature=0)).answer(batch_of(*range(1, 7)))
        refused = ask(server).answer(batch_of(4, 7))
        assert len(server.requests) == 8
    assert kinds(answers) == ["reply", "reply", "reply", "refusal", "refusal", "reply"]
    assert answers[3][0]["error"] == "refusal: I cannot judge people."
    assert kinds(refused) == ["refusal", "ok"]


def test_a_refusal_among_draws_is_off_the_options():
    def some(_):
        return completion([choice(0, "sad"), choice(1, None, refusal="No."), choice(2, "sad"), choice(3, "angry")])

    with Endpoint(some) as server:
        (answer,) = ask(server, strategy=Sample(4)).answer(batch_of(0))[0]
    assert (answer["draws"], answer["off_option"]) == ([3, 3, 0], 0.25)


# Faults

PASSING = {
    "429": (faults.status(429, retry_after="0.03"), "rate_limit"),
    "500": (faults.status(500), "server"),
    "503": (faults.status(503, "busy"), "server"),
    "529": (faults.status(529), "server"),
    "408": (faults.status(408), "timeout"),
    "409": (faults.status(409), "server"),
    "425": (faults.status(425), "server"),
    "hangs": (faults.hang(0.7), "timeout"),
    "drips": (faults.drip(0.7), "timeout"),
    "truncated": (faults.truncated, "server"),
    "html": (faults.html, "server"),
    "reset": (faults.reset, "server"),
    "no choices": (faults.instead(lambda *_: {"error": {"message": "overloaded"}}), "server"),
    "a string": (faults.instead(lambda *_: completion("none")), "server"),
    "odd choices": (faults.instead(lambda *_: completion(["none"])), "server"),
    "no object": (faults.instead(lambda *_: completion([])), "server"),
}
LASTING = {
    "400": (faults.status(400, '{"message": "no audio here"}'), "request"),
    "404": (faults.status(404), "request"),
    "413": (faults.status(413), "request"),
    "422": (faults.status(422), "request"),
    "501": (faults.status(501), "request"),
    "a list": (faults.instead(lambda *_: [1, 2]), "server"),
    "no log-probabilities": (faults.say("happy"), "request"),
    "odd log-probabilities": (faults.say("happy", logprobs={"content": [{"token": "a", "logprob": "?"}]}), "server"),
}
SHORT = dataclasses.replace(QUICK, timeout=0.4, retries=2)


@pytest.mark.parametrize("name", PASSING)
def test_what_can_pass_is_tried_again(name):
    fault, kind = PASSING[name]
    patience = SHORT if kind == "timeout" else dataclasses.replace(SHORT, timeout=QUICK.timeout)
    with Endpoint(fault=lambda n, r: fault if r.utterance == 1 and n <= 2 else None) as server:
        answers = ask(server, patience=patience).answer(batch_of(0, 1))
        assert_true(answers[0][0], 0)
        assert_true(answers[1][0], 1)
        assert server.numbers[(1, ONE[0].attention)] == 3
    with Endpoint(fault=lambda _, r: fault if r.utterance == 1 else None) as server:
        answers = ask(server, patience=patience).answer(batch_of(0, 1, 2))
        assert server.numbers == {(0, ONE[0].attention): 1, (1, ONE[0].attention): 3, (2, ONE[0].attention): 1}
    assert kinds(answers) == ["ok", kind, "ok"]
    assert_true(answers[0][0], 0)
    assert_true(answers[2][0], 2)


@pytest.mark.parametrize("name", LASTING)
def test_what_cannot_pass_is_not_tried_again(name):
    fault, kind = LASTING[name]
    with Endpoint(fault=lambda _, r: fault if r.utterance == 1 else None) as server:
        answers = ask(server).answer(batch_of(0, 1, 2))
        assert len(server.requests) == 3
    assert kinds(answers) == ["ok", kind, "ok"]
    assert_true(answers[0][0], 0)


def test_no_server_at_all():
    with Endpoint() as server:
        pass
    answers = ask(server).answer(batch_of(0))
    assert kinds(answers) == ["server"]
    assert "no connection, or a broken one: ConnectError" in answers[0][0]["error"]


def test_a_rate_limit_holds_for_all_requests():
    limit = faults.status(429, retry_after="0.08")
    with Endpoint(fault=lambda n, r: limit if r.utterance == 0 and n == 1 else None) as server:
        answers = ask(server, concurrency=1).answer(batch_of(*range(4)))
    assert kinds(answers) == ["ok"] * 4
    assert all(later.start - server.requests[0].start >= 0.08 for later in server.requests[1:])


def test_a_rate_limit_until_a_date():
    patience = dataclasses.replace(QUICK, longest_wait=3)
    date = {"retry_after": formatdate(2_000_000_000 + 1, usegmt=True), "date": formatdate(2_000_000_000, usegmt=True)}
    assert retry_after({"retry-after": date["retry_after"], "date": date["date"]}) == 1
    assert 3590 < retry_after({"retry-after": formatdate(time.time() + 3600, usegmt=True)}) <= 3600
    assert [retry_after({"retry-after": said}) for said in ("-3", "nan", "soon", "")] == [0, None, None, None]
    limit = faults.status(429, retry_after=formatdate(usegmt=True))  # now: already over
    far = faults.status(429, retry_after="3600")
    with Endpoint(fault=lambda n, r: [limit, far][r.utterance] if n == 1 else None) as server:
        answers = ask(server, patience=patience).answer(batch_of(0, 1))
    assert kinds(answers) == ["ok", "rate_limit"]  # an hour is longer than `longest_wait`: not waited for
    assert server.numbers[(1, ONE[0].attention)] == 1


@given(st.data())
@settings(max_examples=8, deadline=None)
def test_any_schedule_of_faults(data):
    """Every utterance has its answer or its failure, by what happened to it alone."""
    quick = {name: PASSING[name] for name in ("429", "500", "truncated", "html", "reset")}
    names = st.sampled_from([*quick, *LASTING, None, None])
    schedule = data.draw(st.lists(st.lists(names, min_size=4, max_size=4), min_size=1, max_size=6))
    known = {**quick, **LASTING}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        with Endpoint(fault=lambda n, r: known.get(schedule[r.utterance][n - 1], (None,))[0]) as server:
            patience = dataclasses.replace(QUICK, first_wait=0.002, give_up_after=100)
            answers = ask(server, patience=patience, concurrency=3).answer(batch_of(*range(len(schedule))))
    assert server.at_once <= 3
    for number, (row, plan) in enumerate(zip(answers, schedule, strict=True)):
        last = next((n for n, name in enumerate(plan) if name not in quick), 3)
        assert server.numbers[(number, ONE[0].attention)] == last + 1
        if plan[last] is None:
            assert_true(row[0], number)
        else:
            assert failure_kind(row[0]["error"]) == known[plan[last]][1]


def test_no_more_at_once_than_allowed():
    with Endpoint(pause=0.01) as server:
        ask(server, prompts=PROMPTS, concurrency=4).answer(batch_of(*range(6)))
        assert (len(server.requests), server.at_once) == (30, 4)


def test_bad_recordings_are_failures_and_are_not_sent():
    batch = batch_of(0, 1, 2, 3)
    batch["audio"][1] = None
    batch["audio"][2] = {"array": np.full(8000, np.nan), "sampling_rate": 16_000}
    batch["audio"][3] = {"array": clip(3)[:100], "sampling_rate": 16_000}
    with Endpoint() as server:
        answers = ask(server).answer(batch)
        assert len(server.requests) == 1
    assert kinds(answers) == ["ok", "audio", "audio", "audio"]


# Stopping


def test_a_refused_key_stops_the_run_at_once():
    with Endpoint(fault=lambda *_: faults.status(401, "Incorrect key")) as server:
        annotator = ask(server, concurrency=1)
        with pytest.raises(AnnotationError, match="refuses the key or the account, status 401: Incorrect key"):
            annotator.answer(batch_of(*range(10)))
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "fault", [faults.status(403), faults.status(402), faults.status(429, '{"code": "insufficient_quota"}')]
)
def test_answers_before_the_stop_are_kept(fault, tmp_path):
    store = AnswerStore(tmp_path / "answers.sqlite")
    with Endpoint(fault=lambda _, r: fault if r.utterance >= 2 else None) as server:
        annotator = ask(server, concurrency=1)
        with pytest.raises(AnnotationError, match="run again to ask the rest"):
            annotate(dataset_of(12), annotator, store, batch_size=4)
        assert len(server.requests) == 3
        assert (len(store), store.failures) == (2, 2)
    with Endpoint() as server:
        again = annotate(dataset_of(12), ask(server), store)
        assert sorted(request.utterance for request in server.requests) == list(range(2, 12))
    assert all(row[0]["status"] == "ok" for row in again["answers"])


def test_many_failures_in_a_row_stop_the_run(tmp_path):
    store = AnswerStore(tmp_path / "answers.sqlite")
    patience = dataclasses.replace(QUICK, retries=0, give_up_after=3)
    with Endpoint(fault=lambda _, r: faults.status(500) if r.utterance >= 2 else None) as server:
        annotator = ask(server, concurrency=1, patience=patience)
        with pytest.raises(AnnotationError, match="failed 3 questions in a row.*server: status 500"):
            annotate(dataset_of(16), annotator, store, batch_size=8)
        assert len(server.requests) in (5, 6)  # the next may be on its way
        assert len(store) == 2
        with pytest.raises(AnnotationError):  # a new run tries again
            annotate(dataset_of(16), annotator, store, batch_size=8)
        assert len(server.requests) in (8, 9, 10)
    with Endpoint(fault=lambda _, r: faults.status(500) if r.utterance % 3 else None) as server:
        assert kinds(ask(server, concurrency=1, patience=patience).answer(batch_of(*range(9)))).count("ok") == 3


# Budget


def test_requests_are_capped():
    with Endpoint(fault=lambda n, _: faults.status(500) if n == 1 else None) as server:
        annotator = ask(server, budget=Budget(requests=7))
        answers = annotator.answer(batch_of(*range(6)))
        assert len(server.requests) == annotator.spent.requests == 7
        assert set(kinds(annotator.answer(batch_of(8, 9)))) == {"budget"}
        assert len(server.requests) == 7
    assert kinds(answers).count("ok") == 1
    assert kinds(answers).count("budget") == 5


@pytest.mark.parametrize(
    ("budget", "fits"),
    [(Budget(tokens=2050), 10), (Budget(money=1.0, price_in=1000, price_out=10_000), 4), (Budget(tokens=5), 1)],
)
def test_tokens_and_money_are_capped(budget, fits):
    """A request is 201 tokens: 0.2 + 0.01 of money. The first is made to see what one costs."""
    with Endpoint(pause=0.005) as server:
        annotator = ask(server, budget=budget)
        answers = annotator.answer(batch_of(*range(20)))
        assert len(server.requests) == kinds(answers).count("ok") == fits
        spent = annotator.spent
        assert (spent.tokens_in, spent.tokens_out) == (200 * fits, fits)
        if budget.money:
            assert spent.money == pytest.approx(0.21 * fits)
    assert kinds(answers).count("budget") == 20 - fits


def test_what_may_be_billed_counts_as_the_dearest():
    spoilt = {1: faults.truncated, 2: faults.status(500), 3: faults.html, 4: faults.hang(0.7)}
    with Endpoint(fault=lambda _, r: spoilt.get(r.utterance)) as server:
        annotator = ask(server, concurrency=1, patience=dataclasses.replace(SHORT, retries=0))
        assert kinds(annotator.answer(batch_of(*range(5)))) == ["ok", "server", "server", "server", "timeout"]
    assert annotator.spent[:3] == (5, 4 * faults.TOKENS_IN, 4 * faults.TOKENS_OUT)  # all but the status 500


def test_a_cap_on_tokens_needs_an_endpoint_that_counts():
    with Endpoint(lambda request: {**faults.chat(request), "usage": None}) as server:
        annotator = ask(server, budget=Budget(tokens=10**6))
        answers = annotator.answer(batch_of(0, 1))
        assert kinds(answers).count("ok") == 1
        with pytest.raises(AnnotationError, match="the endpoint reports no usage: cap `requests`"):
            annotator.answer(batch_of(2))
    with pytest.raises(AnnotationError, match="`money` caps nothing without"):
        Budget(money=3)
    with pytest.raises(AnnotationError, match="`requests` of a budget must not be negative"):
        Budget(requests=-1)


# The key, and what may leave the machine


def test_the_key_is_nowhere(monkeypatch, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MY_KEY", KEY)
    echo = faults.status(400, json.dumps({"error": f"Bearer {KEY} is odd"}))
    with Endpoint(fault=lambda _, r: echo if r.utterance == 1 else None) as server:
        annotator = ask(server, key_from="MY_KEY")
        annotated = annotate(dataset_of(3), annotator, tmp_path / "answers.sqlite")
        assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}
    refuse = faults.status(401, f"no such key: {KEY}")
    with Endpoint(fault=lambda *_: refuse) as server, pytest.raises(AnnotationError) as raised:
        ask(server, key_from="MY_KEY").answer(batch_of(0))
    assert "status 401: no such key: ***" in str(raised.value)
    assert "***" in annotated["answers"][1][0]["error"]
    error = raised.value
    while error is not None:
        assert KEY not in repr(error) + str(vars(error))
        error = error.__cause__ or error.__context__
    shown = [repr(annotator), str(annotator.questions), caplog.text, str(annotated["answers"][:])]
    assert not any(KEY in text for text in shown)
    assert KEY.encode() not in pickle.dumps(annotator)
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.iterdir())
    assert "word" not in caplog.text  # nor what was said


def test_a_key_that_is_not_there(monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    with Endpoint() as server:
        with pytest.raises(AnnotationError, match="the environment has no variable 'MY_KEY'"):
            ask(server, key_from="MY_KEY").answer(batch_of(0))
        monkeypatch.setenv("HF_TOKEN", "hf_of_the_user")
        assert kinds(ask(server).answer(batch_of(0))) == ["ok"]
        assert "authorization" not in server.requests[0].headers  # the Hub's token is the Hub's
    for url in ("http://user:secret@host/v1", "https://host/v1?key=secret"):
        with pytest.raises(AnnotationError, match="must hold no key") as raised:
            RemoteAnnotator("m", CLASSES, base_url=url)
        assert "secret" not in str(raised.value)


def about(builder=None, licence=None, corpora=None):
    dataset = dataset_of(2)
    dataset.info.builder_name, dataset.info.license = builder, licence
    return dataset if corpora is None else dataset.add_column("corpus", corpora)


@pytest.mark.parametrize(
    ("dataset", "allowed", "refused"),
    [
        (about("iemocap"), (), "'iemocap'"),
        (about("iemocap"), "msp_podcast", "'iemocap'"),
        (about(), (), "'unknown'"),
        (about(), "iemocap", "'unknown'"),
        (about(corpora=["a", "b"]), "a", "'b'"),
        (about(corpora=["a", "a"]).to_iterable_dataset(), "a", "'unknown'"),
        (about("iemocap"), "iemocap", None),
        (about(corpora=["a", "b"]), ["a", "b"], None),
        (about(), "unknown", None),
        (about("iemocap", TOY_LICENCE), (), None),
    ],
)
def test_only_corpora_that_are_named_leave_the_machine(dataset, allowed, refused):
    annotator = RemoteAnnotator("m", CLASSES, base_url="https://example.com/v1", allow_upload=allowed)
    if refused is None:
        annotator.check(dataset)
        return
    with pytest.raises(AnnotationError, match=f"transcripts of {refused} would be sent to example.com.*allow_upload="):
        annotate(dataset, annotator)


def test_the_corpora_say_what_they_are(toy_fold, toy_root):
    stream = load_dataset("iemocap", data_dir=toy_root, split="session1", streaming=True)
    assert upload.origins(stream) == set()
    licensed = toy_fold["test"].select(range(2))
    licensed.info.license = "IEMOCAP release agreement"
    assert toy_fold["train"].info.license == TOY_LICENCE
    assert upload.origins(toy_fold["train"]) == upload.origins(toy.school(3)) == set()
    mixed = datasets.concatenate_datasets([toy_fold["train"], licensed])
    assert upload.origins(mixed) == {"unknown"}


def test_loopback_is_this_machine(monkeypatch):
    here = ["http://localhost:8000/v1", "http://127.0.0.1/v1", "http://127.8.9.1:80", "http://[::1]:8000/v1"]
    there = ["http://10.0.0.1/v1", "https://localhost.example.com", "http://128.0.0.1", None, "http://gpu-node:8000"]
    assert [upload.stays_here(url) for url in here] == [True] * 4
    assert not any(upload.stays_here(url) for url in there)
    monkeypatch.setenv("http_proxy", "http://proxy.example.com:3128")
    monkeypatch.setenv("no_proxy", "::1")
    assert not upload.stays_here(here[0])
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
    assert upload.stays_here(here[0])


def test_a_batch_alone_is_not_sent_away():
    annotator = RemoteAnnotator("m", CLASSES, base_url="https://example.com/v1", allow_upload="iemocap")
    with pytest.raises(AnnotationError, match="ask through `annotate`, call `check\\(dataset\\)` first, or give"):
        annotator.answer(batch_of(0))


# Through `annotate`


def test_fingerprints_hold_what_changes_answers_and_nothing_else():
    base = RemoteAnnotator("org/model", CLASSES, base_url="http://localhost:1/v1")
    same = {"base_url": "http://node7:8000/v1", "key_from": "X", "name": "n", "concurrency": 2, "allow_upload": "a"}
    other = {
        "model": "org/other", "revision": "v2", "prompts": PROMPTS[:2], "strategy": Sample(), "top_logprobs": 5,
        "extra_body": {"top_k": 3}, "words": {}, "max_seconds": None, "token_ids": (1, 2, 3, 4), "provider": "x",
    }  # fmt: skip
    for argument, value in same.items():
        assert dataclasses.replace(base, **{argument: value}).fingerprint == base.fingerprint, argument
    changed = [dataclasses.replace(base, **{argument: value}).fingerprint for argument, value in other.items()]
    other_words = dataclasses.replace(base, words={"sad": "gloomy"}).fingerprint
    assert len({base.fingerprint, *changed, other_words}) == len(other) + 1  # `words={}` words the four the same
    deaf = RemoteAnnotator("m", CLASSES, prompts=(Prompt("tone", "Listen.", transcript=False), PROMPTS[0]))
    assert [(q.reads_text, q.proxy) for q in deaf.questions] == [(False, "m/tone"), (True, "m/tone_and_words")]


def test_pickles_as_plain_values():
    with Endpoint() as server:
        annotator = ask(server, budget=Budget(requests=3), extra_body={"top_k": 1})
        annotator.answer(batch_of(0, 1))
        copy = pickle.loads(pickle.dumps(annotator))
        assert copy == annotator
        assert hash(copy) == hash(annotator)
        assert kinds(copy.answer(batch_of(2, 3))).count("budget") == 1  # what was used goes along


def test_toy_corpus_end_to_end(toy_fold, tmp_path):
    """Some utterances fail for good; a second run asks about these alone."""
    rows = toy_fold["test"]
    classes = columns.classes(rows)
    broken = {sounds.plain(text) for text in rows["text"][:3]}
    lost = [n for n, text in enumerate(rows["text"]) if sounds.plain(text) in broken]

    def respond(request):
        p = truth(request.transcript, request.attention, len(classes))
        return completion([choice(0, "x", logprobs=faults.top_tokens(dict(zip([*classes, "Hm"], p, strict=True))))])

    def fault(_, request):
        return faults.status(400) if request.transcript in broken else None

    def asked(server):
        how = {"prompts": PROMPTS[:2], "words": {}, "patience": QUICK, "key_from": None}
        annotator = RemoteAnnotator("org/model", classes, base_url=server.url, **how)
        return annotate(rows, annotator, tmp_path / "answers.sqlite", batch_size=16)

    with Endpoint(respond, fault) as server:
        first = asked(server)
        assert len(server.requests) == 2 * len(rows)
    assert [n for n, row in enumerate(first["answers"]) if row[0]["status"] == "failed"] == lost
    assert {a["error"].partition(",")[0] for n in lost for a in first["answers"][n]} == {
        'request: status 400: {"error": "no"}'
    }
    with Endpoint(respond) as server:  # another address: the same answers
        second = asked(server)
        assert len(server.requests) == 2 * len(lost) < 2 * len(rows)
    for text, row in zip(rows["text"], second["answers"], strict=True):
        for prompt, answer in zip(PROMPTS, row, strict=False):
            p = truth(sounds.plain(text), prompt.attention, len(classes))
            np.testing.assert_allclose(answer["distribution"], p[:-1] / p[:-1].sum(), atol=1e-6)
            assert answer["off_option"] == pytest.approx(p[-1], abs=1e-6)


def test_decision_endpoint(monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    broken = {
        1: faults.instead(lambda *_: {"log_probabilities": [-1.0, -2.0]}),
        2: faults.instead(lambda *_: {"log_probabilities": [float("nan"), -1, -2, -3]}),
        3: faults.instead(lambda *_: {"log_probabilities": [0.0, 0.0, 0.0, 0.0]}),
        4: faults.instead(lambda *_: {"log_probabilities": ["-1", "-1", "-1", "-1"]}),
        5: faults.instead(lambda *_: [1]),
        6: faults.truncated,
        7: faults.instead(lambda *_: {"log_probabilities": [-1, None, -1, None]}),
    }
    with Endpoint(faults.decide, lambda _, r: broken.get(r.utterance)) as server:
        annotator = DecisionAnnotator(
            "decider", CLASSES, base_url=server.url, prompts=ONE, orders=2, key_from="MY_KEY", patience=QUICK
        )
        answers = annotator.answer(batch_of(*range(8)))
        sent = server.requests[0]
    assert kinds(answers) == ["ok", *["server"] * 6, "ok"]
    assert_true(answers[0][0], 0)
    assert_true(answers[0][1], 0)
    np.testing.assert_allclose(answers[7][0]["distribution"], [0.5, 0, 0.5, 0])
    assert annotator.spent.requests == 2 * (7 + 4)  # the truncated one is tried four times
    assert (sent.path, sent.headers["authorization"]) == ("/v1", f"Bearer {KEY}")
    assert sent.body["options"] == list(CLASSES)
    assert sent.body["messages"][1]["content"][0] == {"type": "audio"}
    with pytest.raises(AnnotationError, match="`base_url` is needed"):
        DecisionAnnotator("decider", CLASSES)


# A real model behind the endpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_audio_lm(tmp_path_factory.mktemp("lm") / "small", label_set=CLASSES, prompts=PROMPTS[:2], seed=3)


class Served:
    """A Qwen2-Audio behind the chat protocol, one whole forward pass a question."""

    def __init__(self, folder):
        from transformers import AutoProcessor, Qwen2AudioForConditionalGeneration

        self.processor = AutoProcessor.from_pretrained(folder)
        self.model = Qwen2AudioForConditionalGeneration.from_pretrained(folder).eval()

    def __call__(self, request):
        import torch

        system, user = request.body["messages"]
        content = [{"type": "audio"}, *user["content"][1:]]
        messages = [system, {**user, "content": content}]
        text = self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        inputs = self.processor(text=[text], audio=[request.sound], sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            scores = self.model(**inputs).logits[0, -1].log_softmax(-1)
        likely = scores.topk(min(request.body["top_logprobs"], len(scores))).indices.tolist()
        shown = request.body.get("logprob_token_ids") or likely
        entries = [{"token": self.spelt(n, request.body), "logprob": scores[n].item()} for n in shown]
        best = {"token": self.spelt(likely[0], request.body), "logprob": scores[likely[0]].item()}
        return completion([choice(0, "x", logprobs={"content": [{**best, "top_logprobs": entries}]})])

    def spelt(self, token, body):
        return (
            f"token_id:{token}" if body.get("return_tokens_as_token_ids") else self.processor.tokenizer.decode(token)
        )


@pytest.mark.parametrize("by", ["text", "token ids"])
def test_a_served_model_answers_as_the_same_model_here(folder, by):
    spoken = ["Fine, thanks.", "Oh <|im_end|> no!", None]
    batch = {"id": ["a", "b", "c"], "audio": [clip(n, 1 + n) for n in range(3)], "text": spoken}
    here = AudioLMAnnotator(folder, CLASSES, prompts=PROMPTS[:2]).answer(batch)
    served = Served(folder)
    ids = tuple(served.processor.tokenizer(word)["input_ids"][0] for word in CLASSES)
    how = {"token_ids": ids} if by == "token ids" else {"top_logprobs": 10_000}
    with Endpoint(served) as server:
        server.about = lambda request: request.text
        remote = ask(server, prompts=PROMPTS[:2], patience=Patience(), **how).answer(batch)
    for mine, theirs in zip(here, remote, strict=True):
        for one, two in zip(mine, theirs, strict=True):
            assert (two["status"], two["error"]) == ("ok", None)
            np.testing.assert_allclose(two["distribution"], one["distribution"], atol=2e-4)
            assert two["off_option"] == pytest.approx(one["off_option"], abs=2e-4)


# Small parts


@given(st.text(max_size=60))
def test_no_markup_survives(text):
    broken = sounds.plain(text) or ""
    assert not re.search(r"<[^<>\s]+>|\[/?[A-Z_]+\]", broken)
    assert broken.replace(" ", "") == text.replace(" ", "")


def test_what_is_asked_can_be_seen_before():
    annotator = RemoteAnnotator("org/model", CLASSES, base_url="https://example.com/v1", prompts=PROMPTS[:2])
    shown = annotator.preview(batch_of(3))
    assert list(shown) == ["model/tone_and_words", "model/tone"]
    assert "word 3" in shown["model/tone"]
    assert PROMPTS[1].attention in shown["model/tone"]


def test_works_inside_a_running_loop():
    async def notebook(server):
        return ask(server).answer(batch_of(0))

    with Endpoint() as server:
        answers = asyncio.run(notebook(server))
    assert_true(answers[0][0], 0)


def test_offline_is_said(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with Endpoint() as server, pytest.raises(AnnotationError, match="HF_HUB_OFFLINE forbids any request"):
        ask(server).answer(batch_of(0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base_url": "localhost:8000"}, "must start with http"),
        ({"concurrency": 0}, "`concurrency` must lie between 1 and 100"),
        ({"concurrency": 101}, "`concurrency` must lie between 1 and 100"),
        ({"max_seconds": 0}, "`max_seconds` must be at least 1"),
        ({"prompts": ()}, "at least one prompt"),
        ({"audio_as": "mp3"}, "`audio_as` must be one of"),
        ({"constrain": "hope"}, "`constrain` must be one of"),
        ({"strategy": Options(orders=5)}, "`orders` must lie between"),
        ({"words": {"sad": "happy"}}, "tell all classes apart"),
    ],
)
def test_settings_that_make_no_sense(arguments, message):
    with pytest.raises(AnnotationError, match=message):
        RemoteAnnotator("m", CLASSES, **arguments)
    with pytest.raises(AnnotationError, match="`patience` needs"):
        Patience(first_wait=5, longest_wait=1)
    with pytest.raises(AnnotationError, match="`patience` needs"):
        Patience(timeout=0)


def test_windows_average_probabilities():
    scores = [np.log([0.2, 0.4]), np.array([-np.inf, np.log(0.2)])]
    np.testing.assert_allclose(np.exp(reading.averaged(scores)), [0.1, 0.3])
    with pytest.raises(NoAnswerError):
        reading.first_token(choice(0, "x"))
