"""The small audio LM: that it learns what it is taught, from its seed alone, and says whom it was taught on."""

import datasets
import numpy as np
import pytest
import torch

from dime_hf import audio, columns
from dime_hf.annotate import (
    PROMPTS,
    AudioLMAnnotator,
    SmallShape,
    annotate,
    checkpoints,
    scoring,
    small_audio_lm,
    teach,
)
from dime_hf.annotate.families import whisper
from dime_hf.annotate.prompts import conversation
from dime_hf.annotate.strategies import Options
from dime_hf.corpora import toy
from dime_hf.distribution import js_divergence
from dime_hf.errors import AnnotationError, ColumnError, LeakageError

SHAPE = SmallShape(encoder_width=48, width=64)


@pytest.fixture(scope="module")
def school():
    return toy.school(320, seed=3)


@pytest.fixture(scope="module")
def taught(school, tmp_path_factory):
    return small_audio_lm(tmp_path_factory.mktemp("models") / "taught", school, shape=SHAPE, steps=80)


def strangers():
    """Utterances of speakers that the school does not have."""
    other = toy.school(80, seed=11)
    return other.map(lambda row: {"id": f"stranger_{row['id']}"})


def test_learns_to_answer_about_speakers_it_never_heard(taught):
    dataset = strangers()
    classes = columns.classes(dataset)
    annotated = annotate(dataset, AudioLMAnnotator(taught, classes, prompts=PROMPTS[::2], strategy=Options(orders=2)))
    answers = np.array([[a["distribution"] for a in row] for row in annotated["answers"]])
    shares = np.array(dataset["soft_label"])
    prior = js_divergence(shares, shares.mean(0)).mean()  # it even knows the marginal of those it is scored on
    assert js_divergence(shares[:, None], answers).mean(0).max() < 0.85 * prior
    assert np.mean([a["off_option"] for row in annotated["answers"] for a in row]) < 0.1


def test_is_not_asked_about_its_school(taught, school):
    annotator = AudioLMAnnotator(taught, columns.classes(school))
    assert annotator.tuned_on == set(school["id"])
    with pytest.raises(LeakageError, match="of 20 of these utterances"):
        annotate(school.select(range(20)), annotator)


def test_same_seed_same_model(school, tmp_path):
    few = school.select(range(40))
    prints = [
        checkpoints.identity(str(small_audio_lm(tmp_path / str(n), few, shape=SHAPE, steps=3, seed=seed)))
        for n, seed in enumerate((1, 1, 2))
    ]
    assert prints[0] == prints[1] != prints[2]


def test_leaves_the_state_of_torch_alone(tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    small_audio_lm(tmp_path, label_set=("happy", "sad"), shape=SHAPE)
    assert torch.rand(1) == expected


def test_a_short_window_is_exact(taught, school):
    """Cutting mel features and positions behind the longest clip changes no answer."""
    lm = checkpoints.load(str(taught))
    options = ("angry", "happy", "neutral", "sad")
    lesson = teach._Lesson(lm.processor, school.select(range(4)), PROMPTS, options)
    inputs, _ = lesson.batch([0, 1, 2, 3], np.random.default_rng(0))
    whole = torch.nn.functional.pad(inputs["input_features"], (0, 1000 - inputs["input_features"].shape[-1]))
    mask = torch.nn.functional.pad(inputs["feature_attention_mask"], (0, 1000 - inputs["input_features"].shape[-1]))
    assert inputs["input_features"].shape[-1] < 400
    with torch.no_grad():
        with whisper.short_window(lm.model, inputs["input_features"].shape[-1]):
            short = lm.model(**inputs).logits[:, -1]
        full = lm.model(**{**inputs, "input_features": whole, "feature_attention_mask": mask}).logits[:, -1]
    torch.testing.assert_close(short, full, atol=1e-4, rtol=0)


@pytest.mark.parametrize("seconds", [(0.5, 2.3), (3.0, 9.99), (10.0, 1.0)])
def test_hearing_no_further_than_the_longest_recording_is_exact(taught, seconds):
    """What the processor pads to the whole window, and the encoder would run over, changes no score."""
    lm = checkpoints.load(str(taught))
    rng = np.random.default_rng(0)
    sounds = [rng.normal(0, 0.1, int(s * lm.rate)).astype("float32") for s in seconds]
    recordings = lm.listen(sounds)
    options = ("angry", "happy", "neutral", "sad")
    question = conversation(PROMPTS[0], options, range(4), None)
    tokens = scoring.option_tokens(lm.family, question, options)
    text = lm.processor.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    inputs = lm.processor(text=[text] * 2, audio=sounds, sampling_rate=lm.rate, return_tensors="pt", padding=True)
    with torch.inference_mode():
        whole = scoring.option_log_probabilities(lm.model, inputs, tokens)
        short = scoring.score_recordings(lm.family, recordings.ask([question] * 2), tokens)
    torch.testing.assert_close(short, whole, atol=1e-5, rtol=1e-5)
    assert inputs["input_features"].shape[-1] == 1000
    assert recordings.features["input_features"].shape[-1] <= max(seconds) * 100 + 12


def test_counts_audio_tokens_like_the_processor(taught):
    lm = checkpoints.load(str(taught))
    for samples in (1_600, 4_801, 16_000, 31_999, 160_000):
        heard = lm.listen([np.zeros(samples, "float32")])
        counted = lm.processor(text=["<|AUDIO|>"], audio=[np.zeros(samples, "float32")], return_tensors="pt")
        assert heard.sounds == ["<|AUDIO|>" * counted["input_ids"].numel()]


def test_prompts_are_short_in_tokens(taught):
    tokenizer = checkpoints.load(str(taught)).processor.tokenizer
    for prompt in PROMPTS:
        assert len(tokenizer(prompt.attention)["input_ids"]) == 1


def test_what_cannot_be_taught(school, tmp_path):
    with pytest.raises(AnnotationError, match="give a `school` to be taught on, or the `label_set`"):
        small_audio_lm(tmp_path)
    with pytest.raises(ColumnError, match="`school` has no column 'soft_label'"):
        small_audio_lm(tmp_path, school.remove_columns("soft_label"))
    long = {"bytes": audio.encode_wav(np.zeros(32_000, "float32")), "path": None}
    longer = school.select(range(2)).map(lambda row: {"audio": long if row["id"].endswith("1") else row["audio"]})
    with pytest.raises(AnnotationError, match="a recording of 2.00 s, but the model hears 1 s at a time"):
        small_audio_lm(tmp_path, longer, shape=SmallShape(seconds=1), steps=1)
    assert isinstance(longer, datasets.Dataset)
