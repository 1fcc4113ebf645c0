"""Speech encoders with a classification head: any checkpoint of transformers, or a small one built in place.

Both come as (model, feature extractor), and `AutoModelForAudioClassification` loads both again. The outputs are the
classes of a dataset, in its order: `columns.classes(dataset)`. A temperature fitted to votes can be folded into their
last layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import softmax
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)
from transformers.audio_utils import hertz_to_mel, mel_to_hertz

from dime_hf.columns import SAMPLING_RATE
from dime_hf.distribution import as_counts
from dime_hf.errors import DistributionError, FitError

# of the small encoder: 32 bands x 4 phases, windows of 25 ms every 20 ms
BANDS, PHASES, WINDOW, HOP = 32, 4, 400, 320
LOWEST, HIGHEST = 80.0, 7000.0  # edges of the bands in Hz
LEVEL = 0.1  # response of a filter that is taken for silence
TEMPERATURES = (1e-2, 1e2)  # among which one is looked for


def load_encoder(
    checkpoint: str, classes: Sequence[str], *, seed: int = 0, revision: str = "main", **options: Any
) -> tuple[Any, Any]:
    """Load a speech encoder, a folder or Hub id, with a head for `classes`; return it and its feature extractor.

    A head that was trained for just these classes, in this order, is kept; any other is replaced by a fresh one, drawn
    from `seed`. `options` go to `AutoModelForAudioClassification.from_pretrained` (`dtype`, `attn_implementation`,
    settings of the model's config). Raises `ValueError` for classes that are no label set.
    """
    id2label = _id2label(classes)
    trained_for = AutoConfig.from_pretrained(checkpoint, revision=revision).id2label
    with _seeded(seed):
        model = AutoModelForAudioClassification.from_pretrained(
            checkpoint,
            revision=revision,
            id2label=id2label,
            label2id={name: index for index, name in id2label.items()},
            ignore_mismatched_sizes=True,
            **options,
        )
        if trained_for != id2label:
            _draw_head(model)
    return model, AutoFeatureExtractor.from_pretrained(checkpoint, revision=revision)


def small_encoder(
    classes: Sequence[str], *, seed: int = 0
) -> tuple[Wav2Vec2ForSequenceClassification, Wav2Vec2FeatureExtractor]:
    """Build a Wav2Vec2 of 0.13 M weights that learns toy speech from scratch in a minute on two CPU cores.

    A stock model but for where it starts: the one layer of its feature encoder is a frozen Gabor filter bank, since
    no pretraining has taught it to hear (random filters, trained along, cost a third of the gain over a constant). Its
    position convolution spans 2.5 s, a whole melody. For tests and demonstrations: it never heard real speech.
    """
    id2label = _id2label(classes)
    config = Wav2Vec2Config(
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=128,
        conv_dim=(BANDS * PHASES,),
        conv_kernel=(WINDOW,),
        conv_stride=(HOP,),
        conv_bias=True,
        feat_extract_activation="relu",
        feat_extract_norm="layer",  # unlike "group", the same for a padded recording as for it alone
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=128,
        num_conv_pos_embedding_groups=16,
        classifier_proj_size=64,
        mask_time_prob=0.0,
        mask_feature_prob=0.2,  # against learning the few speakers by heart
        mask_feature_length=4,
        layerdrop=0.0,
        id2label=id2label,
        label2id={name: index for index, name in id2label.items()},
    )
    with _seeded(seed):
        model = Wav2Vec2ForSequenceClassification(config)
    _start_as_filter_bank(model.wav2vec2.feature_extractor.conv_layers[0].conv)
    model.freeze_feature_encoder()
    # without `do_normalize` the model hears how loud a recording is
    return model, Wav2Vec2FeatureExtractor(sampling_rate=SAMPLING_RATE, do_normalize=False, return_attention_mask=True)


def fit_temperature(logits: ArrayLike, counts: ArrayLike) -> float:
    """Return the T > 0 that maximises the likelihood of the votes, sum_ic n_ic log softmax(z_i / T)_c.

    `logits` z and `counts` n are (N, C); rows without votes count for nothing. Raises `FitError` where no T in
    [0.01, 100] is best: the votes rank the classes just as the logits do, or against them.
    """
    z, n = np.asarray(logits, dtype=np.float64), as_counts(counts, "counts")
    if z.shape != n.shape or z.ndim != 2 or not np.isfinite(z).all():
        raise DistributionError(
            f"`logits` {z.shape} and `counts` {n.shape} must have the same shape (N, C), and the logits be finite"
        )

    def slope(log_t: float) -> float:
        """Of the likelihood, along 1/T: concave, so that it falls as T falls."""
        return float(((n - n.sum(-1, keepdims=True) * softmax(z * np.exp(-log_t), axis=-1)) * z).sum())

    coldest, hottest = np.log(TEMPERATURES)
    if not slope(coldest) < 0 < slope(hottest):
        raise FitError(
            f"`counts`: no temperature from {TEMPERATURES[0]} to {TEMPERATURES[1]} is best for the {int(n.sum())} "
            "votes: take more votes, or a model that predicts them"
        )
    return float(np.exp(brentq(slope, coldest, hottest, xtol=1e-10)))


@torch.no_grad()
def fold_temperature(model: Any, temperature: float) -> None:
    """Divide the last layer's weights by a temperature, so that the logits are, in every pipeline, from now on.

    The product of all that were folded in stands in the model's config, as `vote_temperature`.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise ValueError(f"`temperature` must be a number above 0, not {temperature!r}")
    last = [module for module in model.classifier.modules() if isinstance(module, nn.Linear)][-1]
    for weight in last.parameters():  # its bias, too
        weight.div_(temperature)
    model.config.vote_temperature = getattr(model.config, "vote_temperature", 1.0) * float(temperature)


@torch.no_grad()
def _start_as_filter_bank(conv: Any) -> None:
    """Set the filters, and biases of either sign: beside such constants the layer norm cannot erase the level."""
    conv.weight.copy_(gabor_filters())
    conv.bias = nn.Parameter(LEVEL * (-1.0) ** torch.arange(conv.out_channels))


def gabor_filters() -> Tensor:
    """Return filters (bands x phases, 1, window): cosines under Gaussians, mel-spaced from 80 Hz to 7 kHz.

    Four phases a quarter turn apart answer alike to a tone of any phase. Unit energy, tilted up by 3 dB an octave
    against the spectrum of a voice; no answer to a constant offset.
    """
    edges = np.asarray(mel_to_hertz(np.linspace(hertz_to_mel(LOWEST), hertz_to_mel(HIGHEST), BANDS + 2)))
    centre, width = edges[1:-1, None, None], (edges[2:] - edges[:-2])[:, None, None] / 2
    time = (np.arange(WINDOW) - (WINDOW - 1) / 2) / SAMPLING_RATE
    phase = 2 * np.pi * np.arange(PHASES)[:, None] / PHASES
    spread = np.minimum(0.19 / width, WINDOW / SAMPLING_RATE / 5)
    window = np.exp(-((time / spread) ** 2) / 2)
    wave = window * np.cos(2 * np.pi * centre * time + phase)
    wave -= window * wave.sum(-1, keepdims=True) / window.sum(-1, keepdims=True)
    wave *= np.sqrt(centre / 500) / np.linalg.norm(wave, axis=-1, keepdims=True)
    return torch.from_numpy(wave.reshape(BANDS * PHASES, 1, WINDOW)).float()


def _draw_head(model: Any) -> None:
    """Draw the weights of the last layers anew."""
    std = getattr(model.config, "initializer_range", None) or model.config.init_std  # Whisper's name for it
    for module in model.classifier.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=std)
            nn.init.zeros_(module.bias)


def _id2label(classes: Sequence[str]) -> dict[int, str]:
    """Number the classes; refuse what is no label set."""
    names = list(classes)
    if isinstance(classes, str) or len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(
            f"`classes` must be two or more different names, as `columns.classes(dataset)` gives; got {classes!r}"
        )
    return dict(enumerate(names))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw initial weights from `seed`, and leave torch's own random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
