"""Answers in words: drawn as the probabilities say, greedy as transformers writes them, the same in any batch."""

import numpy as np
import pytest
import torch
from scipy import stats

from dime_hf.annotate import PROMPTS, checkpoints, decoding, scoring
from dime_hf.annotate.decoding import Draws
from dime_hf.annotate.prompts import conversation
from dime_hf.errors import AnnotationError
from tests import small_families
from tests.small_families import FAMILIES, OPTIONS, processed

TEXTS = ("So we go there.", None, "And then?")
QUESTIONS = [[conversation(prompt, OPTIONS, range(5), text) for text in TEXTS] for prompt in PROMPTS[:2]]


def noise(seconds, seed):
    return np.random.default_rng(seed).normal(0, 0.1, int(16_000 * seconds)).astype("float32")


CLIPS = [noise(1.2, 1), noise(0.4, 2), noise(2.57, 3)]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    small_families.needed(request.param)
    folder = small_families.build(request.param, tmp_path_factory.mktemp("models") / request.param)
    return str(folder)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    return str(small_families.build("qwen2_audio", tmp_path_factory.mktemp("models") / "qwen"))


def draws(temperatures, seed=0, questions=2, rows=3):
    """As many draws for every question and recording, each with random numbers of its own."""
    return [
        [Draws(temperatures, np.random.default_rng([seed, q, row])) for row in range(rows)] for q in range(questions)
    ]


def generated(lm, messages, clip, tokens):
    """Token ids of an answer as transformers writes it, from inputs as the processor makes them."""
    inputs = processed(lm, messages, clip)
    return lm.model.generate(**inputs, do_sample=False, max_new_tokens=tokens)[
        0, inputs["input_ids"].shape[1] :
    ].tolist()


def test_greedy_writes_what_transformers_generates(family):
    lm = checkpoints.load(family)
    found = lm.write(lm.listen(CLIPS), QUESTIONS, draws([0.0, 0.0]), [6, 4])
    for question, tokens, answers in zip(QUESTIONS, (6, 4), found, strict=True):
        for messages, clip, answer in zip(question, CLIPS, answers, strict=True):
            ids = generated(lm, messages, clip, tokens)
            assert len(ids) == tokens
            assert answer == [lm.processor.tokenizer.decode(ids, skip_special_tokens=True)] * 2


def test_an_answer_ends_with_its_turn(qwen, monkeypatch):
    lm = checkpoints.load(qwen)
    whole = generated(lm, QUESTIONS[0][0], CLIPS[0], 8)
    last = next(n for n in range(1, 8) if whole[n] not in whole[:n])
    monkeypatch.setattr(lm.model.generation_config, "eos_token_id", [whole[last], 5])
    ids = generated(lm, QUESTIONS[0][0], CLIPS[0], 8)
    assert ids == whole[: last + 1]
    rows, forward = [], type(lm.model).forward
    monkeypatch.setattr(
        type(lm.model), "forward", lambda self, **k: rows.append(len(k["input_ids"])) or forward(self, **k)
    )
    answers = lm.write(lm.listen(CLIPS[:1]), [QUESTIONS[0][:1]], draws([0.0] * 3, questions=1, rows=1), [8])
    assert answers == [[[lm.processor.tokenizer.decode(ids[:-1])] * 3]]
    assert rows == [1, 1] + [3] * last


def test_draws_follow_the_probabilities(qwen):
    """Chi-square of 4,000 draws of one token each, by text, against the softmax of the logits over the temperature."""
    lm = checkpoints.load(qwen)
    recordings = lm.listen(CLIPS[:1])
    inputs = recordings.ask(QUESTIONS[0][:1])
    with torch.no_grad(), lm.family.hearing(inputs):
        logits = lm.model(**inputs).logits[0, -1].double()
    for temperature, seed in ((1.0, 1), (0.5, 2)):
        asked = [[Draws([temperature] * 4000, np.random.default_rng(seed))]]
        [[texts]] = lm.write(recordings, [QUESTIONS[0][:1]], asked, [1])
        expected = {}
        for token, share in enumerate((logits / temperature).softmax(-1).tolist()):
            text = "" if token in lm.family.ends else lm.family.written([token])
            expected[text] = expected.get(text, 0) + 4000 * share
        assert chi_square(texts, expected) > 0.001
        assert chi_square(texts, {text: count**1.1 for text, count in expected.items()}) < 1e-6  # were it different


def chi_square(texts, expected):
    """p-value of counts against expected ones; texts that are expected fewer than five times count as one."""
    often = [text for text, count in expected.items() if count >= 5]
    assert len(often) > 50
    counts, shares = [texts.count(text) for text in often], [expected[text] for text in often]
    seldom = sum(count for text, count in expected.items() if text not in often)
    counts, shares = [*counts, len(texts) - sum(counts)], np.array([*shares, seldom])
    return stats.chisquare(counts, shares * len(texts) / shares.sum()).pvalue


def test_the_same_draws_in_any_batch(qwen, monkeypatch):
    lm = checkpoints.load(qwen)
    temperatures, limits = [0.3, 0.9, 0.0, 1.5, 1.0], [5, 3]
    expected = lm.write(lm.listen(CLIPS), QUESTIONS, draws(temperatures), limits)
    assert len({text for texts in expected[0] for text in texts}) > 8
    for row, clip in enumerate(CLIPS):
        alone = lm.write(
            lm.listen([clip]),
            [q[row : row + 1] for q in QUESTIONS],
            [d[row : row + 1] for d in draws(temperatures)],
            limits,
        )
        assert [answers[0] for answers in alone] == [answers[row] for answers in expected]
    backwards = lm.write(
        lm.listen(CLIPS[::-1]),
        [q[::-1] for q in QUESTIONS[::-1]],
        [d[::-1] for d in draws(temperatures)[::-1]],
        limits[::-1],
    )
    assert [answers[::-1] for answers in backwards[::-1]] == expected
    fewer = lm.write(lm.listen(CLIPS), QUESTIONS, draws(temperatures[:2]), limits)
    assert fewer == [[texts[:2] for texts in answers] for answers in expected]
    rows, forward = [], type(lm.model).forward
    monkeypatch.setattr(
        type(lm.model), "forward", lambda self, **k: rows.append(len(k["input_ids"])) or forward(self, **k)
    )
    monkeypatch.setattr(scoring, "SEQUENCES", 4)
    assert lm.write(lm.listen(CLIPS), QUESTIONS, draws(temperatures), limits) == expected
    assert max(rows) == 4


def test_asking_again_gives_the_same_and_another_seed_another(qwen):
    lm = checkpoints.load(qwen)
    recordings, asked = lm.listen(CLIPS), draws([1.0] * 4)
    first = lm.write(recordings, QUESTIONS, asked, [3, 3])
    asked[0][0].generator.random(7)
    assert lm.write(recordings, QUESTIONS, asked, [3, 3]) == first
    assert lm.write(recordings, QUESTIONS, draws([1.0] * 4, seed=1), [3, 3]) != first


def test_questions_that_are_alike_draw_for_themselves(qwen):
    """Annotators that share a prompt and differ in their temperature."""
    lm = checkpoints.load(qwen)
    alike = [QUESTIONS[0]] * 3
    asked = [
        [Draws([t], np.random.default_rng([7, q, row])) for row in range(3)] for q, t in enumerate((0.1, 0.9, 0.9))
    ]
    found = lm.write(lm.listen(CLIPS), alike, asked, [4] * 3)
    one_by_one = [lm.write(lm.listen(CLIPS), [QUESTIONS[0]], [of_one], [4])[0] for of_one in asked]
    assert found == one_by_one
    assert found[1] != found[2]


def test_logits_that_are_no_numbers_write_nothing(qwen):
    lm = checkpoints.load(qwen)
    recordings = lm.listen(CLIPS)
    expected = lm.write(recordings, QUESTIONS, draws([1.0, 0.0]), [3, 3])
    recordings.features["input_features"][1] = float("nan")
    found = lm.write(recordings, QUESTIONS, draws([1.0, 0.0]), [3, 3])
    assert [answers[1] for answers in found] == [[None, None]] * 2
    assert [answers[::2] for answers in found] == [answers[::2] for answers in expected]


def test_running_out_of_memory_leaves_the_model_as_it_was(qwen):
    lm = checkpoints.load(qwen)
    recordings = lm.listen(CLIPS)
    expected = lm.write(recordings, QUESTIONS, draws([1.0] * 3), [3, 3])

    def full(_, arguments, __):
        if len(arguments[0]) > 6:  # while the draws are written
            raise torch.OutOfMemoryError("no room")

    head = lm.model.get_output_embeddings()
    handle = head.register_forward_hook(full)
    with pytest.raises(torch.OutOfMemoryError):
        lm.write(recordings, QUESTIONS, draws([1.0] * 3), [3, 3])
    handle.remove()
    assert not head._forward_pre_hooks
    assert lm.write(recordings, QUESTIONS, draws([1.0] * 3), [3, 3]) == expected


def test_what_is_asked_must_fit(qwen):
    lm = checkpoints.load(qwen)
    for asked, limits in ((draws([1.0])[:1], [3, 3]), (draws([1.0]), [3]), (draws([1.0]), [3, 0])):
        with pytest.raises(AnnotationError, match="must say for each of 2 questions how it is answered"):
            lm.write(lm.listen(CLIPS), QUESTIONS, asked, limits)


def test_noise_is_gumbel_and_that_of_splitmix():
    keys = [0, -1, 2**63 - 1, 1234567]
    noise = decoding.gumbel(keys, 3, 20_000, torch.device("cpu")).numpy()
    for row in noise:
        assert stats.kstest(row, "gumbel_r").pvalue > 0.001
    assert (
        np.abs(np.corrcoef([*noise, decoding.gumbel([0], 4, 20_000, torch.device("cpu"))[0]]) - np.eye(5)).max() < 0.03
    )
    uniform = np.exp(-np.exp(-noise[3, :5]))
    np.testing.assert_allclose(uniform, [splitmix(1234567, (3 << 32) + n + 1) for n in range(5)], atol=1e-12)


def splitmix(key, count):
    """The reference: uniform number from the `count`-th output of SplitMix64 that starts at `key`."""
    mask = 2**64 - 1
    z = (key + count * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return ((z ^ (z >> 31)) >> 11) / 2**53
