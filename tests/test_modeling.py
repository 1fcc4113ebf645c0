"""Encoders: the head is for the classes, in their order; the small one hears what it should, padded or not."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from transformers import (
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    HubertConfig,
    HubertForSequenceClassification,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    WavLMForSequenceClassification,
    pipeline,
)

from dime_hf import load_encoder
from dime_hf.columns import SAMPLING_RATE
from dime_hf.errors import DistributionError, FitError
from dime_hf.modeling import HIGHEST, LOWEST, fit_temperature, fold_temperature, gabor_filters, small_encoder
from tests.encoders import FAMILIES, build

CLASSES = ("angry", "happy", "neutral", "sad")
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": (8, 8),
    "conv_kernel": (10, 8),
    "conv_stride": (10, 8),
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 8,
    "feat_extract_norm": "layer",
}


def tone(frequency, seconds=0.5, phase=0.0):
    return np.sin(2 * np.pi * frequency * np.arange(int(seconds * SAMPLING_RATE)) / SAMPLING_RATE + phase)


def logits(model, extractor, *sounds):
    inputs = extractor(list(sounds), sampling_rate=SAMPLING_RATE, padding=True, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**inputs).logits


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same_weights(one, other):
    torch.testing.assert_close(weights(one), weights(other), rtol=0, atol=0)


@pytest.fixture
def save(tmp_path):
    """Save a model as a checkpoint with a feature extractor, and return its folder."""

    def save_checkpoint(model, folder="checkpoint"):
        model.save_pretrained(tmp_path / folder)
        Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(tmp_path / folder)
        return str(tmp_path / folder)

    return save_checkpoint


def test_filters_answer_to_their_tone_in_any_phase_and_not_to_an_offset():
    bank = gabor_filters()
    band = bank.unflatten(0, (-1, 4))[16, :, 0]
    spectrum = np.abs(np.fft.rfft(band[0].numpy(), 16000))
    centre = float(spectrum.argmax())
    answers = [
        torch.relu(band @ torch.from_numpy(tone(centre, phase=phase)[: bank.shape[-1]]).float()).sum()
        for phase in np.arange(0, 6, 0.1)
    ]
    assert LOWEST < centre < HIGHEST
    assert max(answers) / min(answers) < 1.5  # between 1 and the square root of 2
    torch.testing.assert_close(bank.sum(-1), torch.zeros(len(bank), 1), atol=1e-4, rtol=0)


def test_small_encoder_starts_from_its_seed_and_leaves_the_global_one_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, _ = small_encoder(CLASSES, seed=1)
    assert torch.equal(torch.rand(2), expected)
    assert_same_weights(first, small_encoder(CLASSES, seed=1)[0])
    assert not torch.equal(first.classifier.weight, small_encoder(CLASSES, seed=2)[0].classifier.weight)


def test_small_encoder_is_a_stock_checkpoint(tmp_path):
    model, extractor = small_encoder(CLASSES)
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    again = AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert_same_weights(model, again)
    assert again.config.id2label == dict(enumerate(CLASSES))
    assert again.config.label2id == {name: index for index, name in enumerate(CLASSES)}
    sounds = tone(200), tone(300, seconds=0.8)
    reloaded = AutoFeatureExtractor.from_pretrained(tmp_path)
    torch.testing.assert_close(logits(again, reloaded, *sounds), logits(model, extractor, *sounds))


def test_small_encoder_hears_alike_in_a_batch_and_alone():
    model, extractor = small_encoder(CLASSES)
    short, long = tone(200, 0.4), tone(150, 1.7)
    together = logits(model, extractor, short, long)
    alone = torch.cat([logits(model, extractor, sound) for sound in (short, long)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_small_encoder_hears_how_loud_it_is():
    model, extractor = small_encoder(CLASSES)
    normal, soft = logits(model, extractor, 0.2 * tone(200), 0.05 * tone(200))
    assert (normal - soft).abs().max() > 10 * torch.finfo(torch.float32).eps ** 0.5


# WavLM's attention adds a float position bias to a boolean padding mask, which torch deprecates
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask and attn_mask:UserWarning")
@pytest.mark.parametrize(
    ("config", "head"),
    [(HubertConfig, HubertForSequenceClassification), (WavLMConfig, WavLMForSequenceClassification)],
)
def test_load_encoder_gives_a_pretrained_body_a_head_for_the_classes(config, head, save):
    pretrained = head(config(**SIZES, num_labels=7))
    model, extractor = load_encoder(save(pretrained), CLASSES)
    assert type(model) is head
    assert model.config.id2label == dict(enumerate(CLASSES))
    assert model.classifier.out_features == 4
    torch.testing.assert_close(model.projector.weight, pretrained.projector.weight, rtol=0, atol=0)
    assert logits(model, extractor, tone(200), tone(300)).shape == (2, 4)


def test_load_encoder_keeps_a_head_for_the_same_classes_only(save):
    trained, _ = small_encoder(CLASSES, seed=5)
    checkpoint = save(trained)
    assert_same_weights(load_encoder(checkpoint, CLASSES)[0], trained)
    turned, _ = load_encoder(checkpoint, CLASSES[::-1])  # its outputs would bear the wrong names
    assert turned.config.id2label == dict(enumerate(CLASSES[::-1]))
    assert not torch.isclose(turned.classifier.weight, trained.classifier.weight).any(-1).all()
    torch.testing.assert_close(turned.projector.weight, trained.projector.weight, rtol=0, atol=0)


@pytest.mark.parametrize("classes", [CLASSES[::-1], CLASSES[:3]])
def test_load_encoder_draws_a_head_from_its_seed(classes, save):
    checkpoint = save(small_encoder(CLASSES)[0])
    heads = [load_encoder(checkpoint, classes, seed=seed)[0].classifier.weight for seed in (0, 0, 1)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_load_encoder_passes_options_on(save):
    model, _ = load_encoder(save(small_encoder(CLASSES)[0]), CLASSES, dtype=torch.bfloat16, hidden_dropout=0.3)
    assert model.dtype == torch.bfloat16
    assert model.config.hidden_dropout == 0.3


@pytest.mark.parametrize("classes", ["angry", (), ("angry",), ("angry", "sad", "angry")])
def test_classes_must_be_a_label_set(classes):
    with pytest.raises(ValueError, match="`classes` must be two or more different names"):
        small_encoder(classes)


def votes_of(logits, temperature, votes, rng):
    return np.array([rng.multinomial(votes, q) for q in softmax(logits / temperature, axis=-1)])


@given(st.floats(0.2, 5), st.integers(0, 10_000))
def test_temperature_is_the_most_likely_one(temperature, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(200, 4)) * 2
    counts = votes_of(logits, temperature, 5, rng)
    found = fit_temperature(logits, counts)
    best = minimize_scalar(
        lambda t: -(counts * log_softmax(logits / t, axis=-1)).sum(), bounds=(0.05, 30), method="bounded",
        options={"xatol": 1e-9},
    ).x  # fmt: skip
    assert found == pytest.approx(best, rel=1e-4)
    assert fit_temperature(logits * 3, counts) == pytest.approx(3 * found, rel=1e-6)


def test_temperature_is_found_again():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 4)) * 3
    assert fit_temperature(logits, votes_of(logits, 1.7, 5, rng)) == pytest.approx(1.7, rel=0.02)
    some = np.where(np.arange(20_000)[:, None] % 2, votes_of(logits, 1.7, 5, rng), 0)  # rows without votes
    assert fit_temperature(logits, some) == pytest.approx(fit_temperature(logits[1::2], some[1::2]))


def test_temperature_that_votes_cannot_tell_is_refused():
    logits = np.array([[2.0, 0.0], [0.0, 1.0]])
    with pytest.raises(FitError, match="no temperature from 0.01 to 100.0 is best for the 2 votes"):
        fit_temperature(logits, [[1, 0], [0, 1]])  # the colder, the likelier
    with pytest.raises(FitError, match="no temperature"):
        fit_temperature(logits, [[0, 1], [1, 0]])
    with pytest.raises(DistributionError, match="must have the same shape"):
        fit_temperature(logits, [[1, 0]])


# WavLM's attention adds a float position bias to a boolean padding mask, which torch deprecates
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask and attn_mask:UserWarning")
@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values:UserWarning")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_folded_temperature_is_in_every_pipeline(family, tmp_path):
    model, extractor = build(family)
    inputs = extractor(tone(200), sampling_rate=SAMPLING_RATE, return_tensors="pt")
    with torch.no_grad():
        before = model.eval()(**inputs).logits[0].double().numpy()
    fold_temperature(model, 2.0)
    fold_temperature(model, 1.5)
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    answers = pipeline("audio-classification", model=str(tmp_path), top_k=None)(tone(200).astype(np.float32))
    by_label = {answer["label"]: answer["score"] for answer in answers}
    found = [by_label[model.config.id2label[n]] for n in range(7)]
    np.testing.assert_allclose(found, softmax(before / 3), atol=1e-5)
    assert np.abs(softmax(before) - found).max() > 1e-4
    assert AutoModelForAudioClassification.from_pretrained(tmp_path).config.vote_temperature == 3.0


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf")])
def test_a_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match="`temperature` must be a number above 0"):
        fold_temperature(small_encoder(CLASSES)[0], temperature)
