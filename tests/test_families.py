"""Families of audio LMs on small random models: options equal brute force, batches equal their recordings alone."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dime_hf.annotate import PROMPTS, checkpoints, parity, scoring
from dime_hf.annotate.families import Family, family_of, whisper
from dime_hf.annotate.prompts import conversation
from dime_hf.errors import AnnotationError
from tests import small_families
from tests.small_families import FAMILIES, OPTIONS, processed

TEXTS = ("So we go there.", None, "[INST] He said stop </s>")
QUESTIONS = [
    [conversation(prompt, OPTIONS, order, text) for text in TEXTS]
    for prompt in PROMPTS[:2]
    for order in (range(5), (3, 4, 0, 1, 2))
]


def noise(seconds, seed):
    return np.random.default_rng(seed).normal(0, 0.1, int(16_000 * seconds)).astype("float32")


CLIPS = [noise(1.2, 1), noise(0.4, 2), noise(2.57, 3)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Returns the checkpoint of a family, which is built when it is first asked for."""
    built = {}

    def folder(name, whole_words=True):
        small_families.needed(name)
        if (name, whole_words) not in built:
            target = tmp_path_factory.mktemp("families") / name
            built[name, whole_words] = small_families.build(name, target, whole_words)
        return built[name, whole_words]

    return folder


@pytest.fixture(scope="module", params=[(name, whole) for whole in (True, False) for name in FAMILIES], ids=str)
def lm(request, folders):
    return checkpoints.load(str(folders(*request.param)))


def base(lm):
    """What holds the encoder: transformers 5.0 has no `model` in between."""
    return getattr(lm.model, "model", lm.model)


def brute_force(lm, messages, clip):
    """Log-likelihood of every option by a full forward over conversation and option, from the processor's inputs."""
    inputs = processed(lm, messages, clip)
    tokenizer = lm.processor.tokenizer
    spelt = [tokenizer(option, add_special_tokens=False)["input_ids"] for option in OPTIONS]
    if any(len(ids) > 1 for ids in spelt):
        spelt = [[*ids, tokenizer.eos_token_id] for ids in spelt]
    scores = []
    for ids in spelt:
        whole = torch.cat([inputs["input_ids"], torch.tensor([ids])], 1)
        with torch.no_grad():
            logits = lm.model(**inputs | {"input_ids": whole, "attention_mask": torch.ones_like(whole)}).logits[0]
        steps = logits.log_softmax(-1)[-1 - len(ids) : -1]
        scores.append(steps[range(len(ids)), ids].sum().item())
    return scores


def test_options_equal_brute_force_together_and_alone(lm):
    recordings = lm.listen(CLIPS)
    found = lm.score(recordings, QUESTIONS, OPTIONS)
    expected = [brute_force(lm, QUESTIONS[1][row], clip) for row, clip in enumerate(CLIPS)]
    np.testing.assert_allclose(found[1], expected, atol=5e-5)
    np.testing.assert_allclose(found[2, 1], brute_force(lm, QUESTIONS[2][1], CLIPS[1]), atol=5e-5)
    one_question = [lm.score(recordings, [question], OPTIONS)[0] for question in QUESTIONS]
    np.testing.assert_allclose(one_question, found, atol=5e-5)
    for row, clip in enumerate(CLIPS):
        alone = lm.score(lm.listen([clip]), [[question[row]] for question in QUESTIONS], OPTIONS)
        np.testing.assert_allclose(alone[:, 0], found[:, row], atol=5e-5)


def test_other_sound_gives_other_answers(lm):
    same_words = [[question[0]] * 3 for question in QUESTIONS]
    scores = lm.score(lm.listen(CLIPS), same_words, OPTIONS)
    assert np.abs(scores[:, 0] - scores[:, 2]).min(0).max() > 0.05
    assert np.abs(scores[0] - scores[2]).max() > 0.01  # and another prompt, other ones


def test_few_sequences_at_a_time_give_the_same(lm, monkeypatch):
    recordings = lm.listen(CLIPS)
    expected = lm.score(recordings, QUESTIONS, OPTIONS)
    rows, forward = [], type(lm.model).forward
    monkeypatch.setattr(
        type(lm.model),
        "forward",
        lambda self, input_ids, **k: rows.append(len(input_ids)) or forward(self, input_ids=input_ids, **k),
    )
    monkeypatch.setattr(scoring, "SEQUENCES", 6)
    np.testing.assert_allclose(lm.score(recordings, QUESTIONS, OPTIONS), expected, atol=5e-5)
    assert max(rows) <= 6


def test_questions_that_are_alike_are_answered_alike(lm):
    recordings = lm.listen(CLIPS)
    scores = lm.score(recordings, [QUESTIONS[1], QUESTIONS[0], QUESTIONS[1]], OPTIONS)
    np.testing.assert_allclose(scores[0], scores[2], atol=5e-5)
    np.testing.assert_allclose(scores[:2], lm.score(recordings, QUESTIONS[1::-1], OPTIONS), atol=5e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_half_precision(folders, name):
    """Features come in the model's own precision, and rounding stays within what the probe allows."""
    whole = checkpoints.load(str(folders(name)))
    expected = whole.score(whole.listen(CLIPS), QUESTIONS, OPTIONS)
    lm = checkpoints.load(str(folders(name)), dtype="bfloat16")
    assert lm.model.dtype == torch.bfloat16
    np.testing.assert_allclose(lm.score(lm.listen(CLIPS), QUESTIONS, OPTIONS), expected, atol=0.5)


def test_a_recording_beyond_the_window_is_refused(folders):
    lm = checkpoints.load(str(folders("audioflamingo3")))
    assert (lm.rate, lm.window) == (16_000, 64_000)
    with pytest.raises(AnnotationError, match="a recording of 5.00 s, but the model hears 4 s at a time"):
        lm.listen([noise(1, 1), noise(5, 1)])


@pytest.mark.parametrize("name", ["qwen2_audio", "audioflamingo3"])
def test_the_encoder_is_cut_to_the_longest_recording(folders, name):
    lm = checkpoints.load(str(folders(name)))
    features = lm.listen(CLIPS).features
    assert features["input_features"].shape[-1] == whisper.frames_to_keep(257, 400) == 268
    table = base(lm).audio_tower.embed_positions.weight
    with lm.family.hearing(features):
        assert len(base(lm).audio_tower.embed_positions.weight) == 134
    assert base(lm).audio_tower.embed_positions.weight is table


def test_transcripts_stay_words(folders):
    lm = checkpoints.load(str(folders("qwen2_audio")))
    assert lm.plain("<|im_end|> <|AUDIO|>") == "< |im_end|> < |AUDIO|>"
    assert (lm.plain(None), lm.plain("")) == (None, None)
    voxtral = checkpoints.load(str(folders("voxtral")))
    said = "[/INST] [AUDIO] </s>"
    tokens = voxtral.family.tokens([conversation(PROMPTS[0], OPTIONS, range(5), voxtral.plain(said))], [""])[0]
    assert (tokens.count(24), tokens.count(4), tokens.count(2)) == (375, 1, 0)
    assert said in voxtral.processor.tokenizer.decode(tokens)


def test_an_omni_model_is_asked_through_its_thinker(folders, tmp_path):
    """A checkpoint of the whole model, and no processor that could be read without torchvision."""
    source = folders("qwen2_5_omni_thinker")
    lm = checkpoints.load(str(source))
    expected = lm.score(lm.listen(CLIPS), QUESTIONS, OPTIONS)
    lm.processor.tokenizer.save_pretrained(tmp_path)
    lm.processor.feature_extractor.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    settings |= {"processor_class": "Qwen2_5OmniProcessor", "image_processor_type": "Qwen2VLImageProcessor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    (tmp_path / "chat_template.jinja").write_text(lm.processor.chat_template)
    whole = {"model_type": "qwen2_5_omni", "thinker_config": json.loads((source / "config.json").read_text())}
    (tmp_path / "config.json").write_text(json.dumps(whole))
    (tmp_path / "generation_config.json").write_text((source / "generation_config.json").read_text())
    weights = {f"thinker.{name}": tensor for name, tensor in load_file(source / "model.safetensors").items()}
    weights["talker.codec_head.weight"] = torch.zeros(2, 2)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    omni = checkpoints.load(str(tmp_path))
    np.testing.assert_allclose(omni.score(omni.listen(CLIPS), QUESTIONS, OPTIONS), expected, atol=1e-6)


def test_families_by_model_type():
    from transformers import GPT2Config, GraniteSpeechConfig, Qwen2AudioConfig

    assert family_of(Qwen2AudioConfig()) is whisper.Qwen2Audio
    assert family_of(GraniteSpeechConfig()) is Family
    with pytest.raises(AnnotationError, match="is a gpt2 model, not one that takes sound and chat"):
        family_of(GPT2Config())


def test_any_processor_of_text_and_audio_is_driven_alike(folders):
    """The default, which knows nothing of a family, on a processor that can be had here."""
    lm = checkpoints.load(str(folders("audioflamingo3")))
    default = checkpoints.AudioLM(Family(lm.model, lm.processor))
    found = default.score(default.listen(CLIPS), QUESTIONS, OPTIONS)
    np.testing.assert_allclose(found, lm.score(lm.listen(CLIPS), QUESTIONS, OPTIONS), atol=5e-5)


def test_the_probe_finds_a_mask_that_is_ignored(folders, monkeypatch):
    folder = str(folders("audioflamingo3"))
    lm = checkpoints.load(folder)
    parity.check_parity(lm.family, folder)
    forward = type(lm.model).forward

    def careless(self, attention_mask, **inputs):
        return forward(self, attention_mask=torch.ones_like(attention_mask), **inputs)

    monkeypatch.setattr(type(lm.model), "forward", careless)
    monkeypatch.setattr(checkpoints, "_loaded", {})
    with pytest.raises(AnnotationError, match="differ by .* nats .*torch.float32 on cpu, attention 'sdpa'; 0.001 may"):
        checkpoints.load(folder)
    assert checkpoints._loaded == {}


def test_what_the_probe_allows_depends_on_the_precision(folders):
    allowed = {}
    for dtype in ("float32", "float16", "bfloat16"):
        allowed[dtype] = parity.tolerance(checkpoints.load(str(folders("qwen2_audio")), dtype=dtype).family)
    assert allowed == {"float32": 1e-3, "float16": 0.0625, "bfloat16": 0.5}
    several = checkpoints.load(str(folders("qwen2_audio", False)))
    assert parity.tolerance(several.family) == pytest.approx(6e-3)  # h a p p y and the end of the turn


def test_ways_to_load(folders):
    folder = str(folders("qwen2_audio"))
    eager = checkpoints.load(folder, attention="eager")
    assert eager.model.config._attn_implementation == "eager"
    found = eager.score(eager.listen(CLIPS), QUESTIONS, OPTIONS)
    plain = checkpoints.load(folder)
    assert plain.model.config._attn_implementation == "sdpa"
    np.testing.assert_allclose(found, plain.score(plain.listen(CLIPS), QUESTIONS, OPTIONS), atol=5e-5)
    with pytest.raises(AnnotationError, match="must be one of 4bit, 8bit or None; got '2bit'"):
        checkpoints.load(folder, quantization="2bit")
    with pytest.raises(AnnotationError, match="cannot be loaded as an audio language model: .*nothing"):
        checkpoints.load(folder, attention="nothing")


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_quantization_asks_for_its_package(folders):
    with pytest.raises(AnnotationError, match="needs the package bitsandbytes.*pip install bitsandbytes"):
        checkpoints.load(str(folders("qwen2_audio")), quantization="4bit")


@pytest.mark.parametrize("part", ["audio_tower", "language_model", "lm_head"])
def test_running_out_of_memory_leaves_the_model_as_it_was(folders, part):
    lm = checkpoints.load(str(folders("qwen2_audio", False)))
    recordings = lm.listen(CLIPS)
    expected = lm.score(recordings, QUESTIONS, OPTIONS)
    head = lm.model.get_output_embeddings()
    module = head if part == "lm_head" else getattr(base(lm), part)

    def full(*_):
        raise torch.OutOfMemoryError("no room")

    table = base(lm).audio_tower.embed_positions.weight
    handle = module.register_forward_hook(full)
    for questions in (QUESTIONS, QUESTIONS[:1]):
        with pytest.raises(torch.OutOfMemoryError):
            lm.score(recordings, questions, OPTIONS)
    handle.remove()
    assert base(lm).audio_tower.embed_positions.weight is table
    assert base(lm).audio_tower.config.max_source_positions == len(table)
    assert not head._forward_pre_hooks
    np.testing.assert_array_equal(lm.score(recordings, QUESTIONS, OPTIONS), expected)
