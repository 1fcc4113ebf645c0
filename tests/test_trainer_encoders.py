"""Every family of speech encoders: a new head, a few steps on soft labels, the same in a batch, and as a pipeline."""

import numpy as np
import pytest
import torch
from transformers import pipeline

from dime_hf import SoftLabelCollator, SoftLabelConfig, SoftLabelTrainer, audio, columns, load_encoder
from dime_hf.corpora import toy
from tests.encoders import FAMILIES, build

pytestmark = [
    # WavLM's attention adds a float position bias to a boolean padding mask, which torch deprecates
    pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask and attn_mask:UserWarning"),
    # of the mel filters of so small an AST
    pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values:UserWarning"),
]


@pytest.fixture(scope="module")
def rows():
    return toy.school(utterances=8)


@pytest.fixture(params=FAMILIES)
def encoder(request, rows, tmp_path):
    """A saved encoder with a head for 7 classes, loaded for the 4 of `rows`."""
    model, extractor = build(request.param)
    model.save_pretrained(tmp_path / "pretrained")
    extractor.save_pretrained(tmp_path / "pretrained")
    return load_encoder(str(tmp_path / "pretrained"), columns.classes(rows))


def trainer_of(encoder, rows, folder, **settings):
    model, extractor = encoder
    args = SoftLabelConfig(
        str(folder), disable_tqdm=True, save_strategy="no", use_cpu=True, learning_rate=1e-2, **settings
    )
    return SoftLabelTrainer(model, args, train_dataset=rows, processing_class=extractor)


def test_two_steps_save_and_pipeline(encoder, rows, tmp_path):
    trainer = trainer_of(encoder, rows, tmp_path / "run", max_steps=2, per_device_train_batch_size=4)
    before = {name: weight.clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    moved = {name for name, weight in trainer.model.named_parameters() if not torch.equal(weight, before[name])}
    assert any(name.startswith("classifier") for name in moved)
    assert any(not name.startswith(("classifier", "projector")) for name in moved)

    trainer.save_model(tmp_path / "model")
    predicted = trainer.predict_distributions(rows)
    assert np.ptp(predicted, axis=0).max() > 1e-4  # it hears
    classifier = pipeline("audio-classification", model=str(tmp_path / "model"), top_k=None)
    for cell, row in zip(rows[columns.AUDIO], predicted, strict=True):
        answers = {answer["label"]: answer["score"] for answer in classifier(audio.read(cell))}
        np.testing.assert_allclose([answers[name] for name in columns.classes(rows)], row, atol=1e-5)


def test_a_batch_is_heard_as_each_recording_alone(encoder, rows, tmp_path):
    one, many = (
        trainer_of(encoder, None, tmp_path, per_device_eval_batch_size=size).predict_distributions(rows)
        for size in (1, 8)
    )
    np.testing.assert_allclose(many, one, atol=1e-5)


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm"])
def test_encoders_with_group_norm_hear_their_padding(family, rows):
    """What the documentation warns of; the day it fails, the warning can go."""
    model, extractor = build(family, norm="group")
    batch = SoftLabelCollator(extractor, labels=False)([rows[n] for n in range(8)])
    with torch.no_grad():
        together = model.eval()(**batch).logits
        alone = torch.cat([model(**SoftLabelCollator(extractor, labels=False)([rows[n]])).logits for n in range(8)])
    assert (together - alone).abs().max() > 1e-3


def test_a_fixed_length_is_the_extractors(rows):
    seconds = {
        family: SoftLabelCollator(build(family)[1])([rows[0], rows[1]]) for family in ("whisper", "ast", "wavlm")
    }
    assert seconds["whisper"]["input_features"].shape == (2, 16, 200)
    assert seconds["ast"]["input_values"].shape == (2, 64, 16)
    longest = max(len(audio.read(rows[n][columns.AUDIO])) for n in range(2))
    assert seconds["wavlm"]["input_values"].shape == (2, longest)
