"""Features of two utterances mixed inside the model: labels and outputs are what the weights say."""

import numpy as np
import pytest
import torch
from transformers import ASTConfig, ASTForAudioClassification

from dime_hf import SoftLabelConfig, SoftLabelTrainer
from dime_hf.corpora import toy
from dime_hf.modeling import small_encoder
from dime_hf.trainer.feature_mix import Pairs, find_projection, mixed

CLASSES = ("angry", "happy", "neutral", "sad")


@pytest.fixture(scope="module")
def encoder():
    model, extractor = small_encoder(CLASSES)
    return model.eval(), extractor


def batch(extractor, lengths=(8000, 12000, 16000)):
    rng = np.random.default_rng(0)
    sounds = [rng.normal(0, 0.1, length).astype(np.float32) for length in lengths]
    return dict(extractor(sounds, sampling_rate=16000, padding=True, return_tensors="pt"))


@torch.no_grad()
def test_weights_of_one_change_nothing_and_of_none_give_the_partner(encoder):
    model, extractor = encoder
    inputs, partner = batch(extractor, (9000, 9000, 9000)), torch.tensor([1, 2, 0])
    plain = model(**inputs).logits
    for weight, expected in ((1.0, plain), (0.0, plain[partner])):
        with mixed(model, inputs, Pairs(partner, torch.full((3,), weight))) as changed:
            torch.testing.assert_close(model(**changed).logits, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(**inputs).logits, plain)  # nothing is left behind


@torch.no_grad()
def test_mixes_are_cut_to_the_shorter_and_padding_is_not_heard(encoder):
    model, extractor = encoder
    inputs = batch(extractor, (8000, 16000))
    pairs = Pairs(torch.tensor([1, 0]), torch.tensor([0.3, 1.0]))
    with mixed(model, inputs, pairs) as changed:
        assert changed["attention_mask"].sum(-1).tolist() == [8000, 16000]
        found = model(**changed).logits
    short = {name: values[:, :8000] for name, values in inputs.items()}
    with mixed(model, short, pairs) as changed:
        expected = model(**changed).logits
    torch.testing.assert_close(found[0], expected[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found[1], model(**inputs).logits[1], rtol=1e-4, atol=1e-5)


def test_labels_are_mixed_by_the_same_weights():
    labels = torch.softmax(torch.randn(6, 4), -1)
    pairs = Pairs.draw(6, 1.0, seed=3)
    weights = torch.zeros(6, 6)
    weights[torch.arange(6), torch.arange(6)] += pairs.weight
    weights[torch.arange(6), pairs.partner] += 1 - pairs.weight
    torch.testing.assert_close(pairs.mix(labels), weights @ labels)
    assert (weights.sum(-1) == 1).all()


def test_a_share_of_the_rows_is_mixed_and_the_seed_decides():
    assert (Pairs.draw(500, 0.0, 0).weight == 1).all()
    assert 0.4 < (Pairs.draw(500, 0.5, 0).weight < 1).float().mean() < 0.6
    assert torch.equal(Pairs.draw(50, 0.5, 7).weight, Pairs.draw(50, 0.5, 7).weight)
    assert not torch.equal(Pairs.draw(50, 0.5, 7).weight, Pairs.draw(50, 0.5, 8).weight)


def trainer_of(folder, **settings):
    model, extractor = small_encoder(CLASSES)
    args = SoftLabelConfig(
        str(folder), use_cpu=True, disable_tqdm=True, save_strategy="no", per_device_train_batch_size=16, **settings
    )
    return SoftLabelTrainer(
        model=model, args=args, train_dataset=toy.school(utterances=64), processing_class=extractor
    )


def test_training_on_mixes_lowers_the_loss(tmp_path):
    trainer = trainer_of(tmp_path, feature_mix=0.5, max_steps=24, learning_rate=2e-3, logging_steps=1)
    trainer.train()
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    assert np.mean(losses[-8:]) < np.mean(losses[:8]) - 0.02
    plain = trainer.evaluate(trainer.train_dataset)["eval_loss"]
    assert plain == trainer.evaluate(trainer.train_dataset)["eval_loss"]  # evaluation mixes nothing


def test_what_is_refused(tmp_path):
    with pytest.raises(ValueError, match="feature_mix` must lie in"):
        SoftLabelConfig(str(tmp_path), feature_mix=1.5)
    with pytest.raises(ValueError, match="needs \\('vote_counts',\\)"):
        trainer_of(tmp_path, feature_mix=0.5, loss="dirichlet_multinomial")
    with pytest.raises(ValueError, match="which ASTForAudioClassification lacks"):
        find_projection(
            ASTForAudioClassification(ASTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1))
        )
