"""Biases that are planted, and taken out again."""

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch

from dime_hf import columns
from dime_hf.annotate import AudioLMAnnotator, SmallShape, annotate, checkpoints, small_audio_lm
from dime_hf.annotate.content_free import content_free_priors, correct_prior
from dime_hf.annotate.prompts import PROMPTS
from dime_hf.annotate.replies import from_log_probabilities
from dime_hf.annotate.strategies import Options, Sample
from dime_hf.audio import encode_wav
from dime_hf.errors import AnnotationError

CLASSES = ("angry", "happy", "neutral", "sad")


def utterances(count):
    rng = np.random.default_rng(7)
    features = columns.corpus_features(CLASSES, CLASSES)
    features = datasets.Features({name: features[name] for name in ("id", "audio", "text", "hard_label")})
    waves = [(rng.normal(0, 0.1, 8_000 + 500 * n)).astype("float32") for n in range(count)]
    rows = {
        "id": [f"u{n}" for n in range(count)],
        "audio": [{"bytes": encode_wav(wave), "path": None} for wave in waves],
        "text": ["Well then."] * count,
        "hard_label": [None] * count,
    }
    table = pa.table(rows, schema=features.arrow_schema)
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=features))


class Biased:
    """Knows the truth about utterances, and leans towards words and places: p ~ truth * word bias * place bias."""

    label_set, fingerprint = CLASSES, "biased"
    words, places = np.array([1.0, 3.0, 0.5, 1.0]), np.array([2.0, 1.0, 1.0, 0.7])

    def truth(self, id):
        if id.startswith("content_free"):
            return np.full(4, 0.25)
        return np.random.default_rng(list(id.encode())).dirichlet(np.ones(4))

    def answer(self, batch):
        return [[self.one(id, order) for order in ([0, 1, 2, 3], [2, 3, 0, 1])] for id in batch["id"]]

    def one(self, id, order):
        place = np.argsort(order)
        p = self.truth(id) * self.words * self.places[place]
        return from_log_probabilities("m/tone", order, np.log(p / p.sum() * 0.9))


def test_a_bias_towards_words_and_places_is_taken_out_exactly():
    annotator, dataset = Biased(), utterances(5)
    annotated = annotate(dataset, annotator)
    corrected = correct_prior(annotated, annotator)
    for id, before, after in zip(dataset["id"], annotated["answers"], corrected["answers"], strict=True):
        for one, two in zip(before, after, strict=True):
            assert np.abs(np.array(one["distribution"]) - annotator.truth(id)).max() > 0.01
            np.testing.assert_allclose(two["distribution"], annotator.truth(id), atol=1e-5)
            assert (two["proxy"], two["order"], two["off_option"]) == (
                "m/tone-corrected",
                one["order"],
                one["off_option"],
            )
    assert correct_prior(corrected, annotator)["answers"] == corrected["answers"]


def test_averaging_over_orders_takes_out_a_bias_towards_places():
    """With all cyclic orders every word has been in every place: what is left is nearer the truth."""
    annotator = Biased()
    truth = annotator.truth("u1")
    orders = [[(start + i) % 4 for i in range(4)] for start in range(4)]
    unbiased = truth * annotator.words / (truth * annotator.words).sum()
    answers = np.array([annotator.one("u1", order)["distribution"] for order in orders])
    errors = np.abs(answers - unbiased).sum(-1)
    assert np.abs(answers.mean(0) - unbiased).sum() < errors.min() / 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    shape = SmallShape(mel_bins=16, encoder_width=16, width=32)
    return small_audio_lm(tmp_path_factory.mktemp("models") / "small", label_set=CLASSES, shape=shape)


def test_a_bias_planted_in_a_models_head_is_taken_out(folder):
    annotator = AudioLMAnnotator(folder, CLASSES, prompts=PROMPTS[:2], strategy=Options(orders=2))
    dataset = utterances(4)
    fair = correct_prior(annotate(dataset, annotator), annotator)["answers"]
    head = checkpoints.load(str(folder)).model.get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.randn(head.out_features, generator=torch.Generator().manual_seed(0)))
    try:
        biased = annotate(dataset, annotator)
        corrected = correct_prior(biased, annotator)["answers"]
    finally:
        head.bias = None
    for before, after, wanted in zip(biased["answers"], corrected, fair, strict=True):
        for one, two, three in zip(before, after, wanted, strict=True):
            assert np.abs(np.subtract(one["distribution"], three["distribution"])).max() > 0.05
            np.testing.assert_allclose(two["distribution"], three["distribution"], atol=1e-5)


def test_clips_without_content_are_asked_about_once(folder, tmp_path):
    annotator, dataset = AudioLMAnnotator(folder, CLASSES, prompts=PROMPTS[:2]), utterances(1)
    priors = content_free_priors(annotator, dataset, tmp_path / "answers.sqlite")
    assert list(priors) == [("small/tone_and_words", (0, 1, 2, 3)), ("small/tone", (0, 1, 2, 3))]
    checkpoints._loaded.clear()
    assert content_free_priors(annotator, dataset, tmp_path / "answers.sqlite") == priors
    assert not checkpoints._loaded


def test_drawn_answers_have_no_probabilities_to_correct(folder):
    annotator = AudioLMAnnotator(folder, CLASSES, prompts=PROMPTS[:1], strategy=Sample(draws=3))
    annotated = annotate(utterances(1), annotator)
    with pytest.raises(AnnotationError, match="`annotator` draws its answers"):
        correct_prior(annotated, annotator)
