"""What an annotator answers when there is nothing to hear, taken out of what it answers about utterances."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from dime_hf import audio
from dime_hf.annotate.annotator import Annotator, Answer
from dime_hf.annotate.run import annotate
from dime_hf.annotate.store import AnswerStore
from dime_hf.columns import ANSWERS, AUDIO, HARD_LABEL, ID, OK, SAMPLING_RATE, TEXT, answers_feature, classes, require
from dime_hf.distribution import Array
from dime_hf.errors import AnnotationError
from dime_hf.stage import add_columns

SECONDS = 2.0
LOUDNESS = 0.01  # root mean square of the noise, of full scale
SEEDS = (0, 1)  # of noise clips, beside one of silence
FLOOR = 1e-6  # probability below which an option counts as having this one
SUFFIX = "-corrected"  # of a proxy's name

Key = tuple[str, tuple[int, ...]]  # proxy and option order


def correct_prior(
    dataset: datasets.Dataset, annotator: Annotator, store: AnswerStore | str | Path | None = None
) -> datasets.Dataset:
    """Return `dataset` with the annotator's bias towards some options and places divided out of its `answers`.

    The annotator is asked, once and through the `store`, about clips of silence and noise; each answer about an
    utterance is divided by the geometric mean of the answers of the same proxy and order to these, and renormalised:
    p'(c) ~ p(c) / p0(c). No human label is used. A corrected proxy is called `...-corrected`; off-option mass stays
    as it was. Contextual calibration, arXiv 2102.09690. Raises `AnnotationError` for answers that were drawn.
    """
    require(dataset, ANSWERS)
    priors = content_free_priors(annotator, dataset, store)
    return add_columns(
        dataset,
        _Correction(priors),
        reads=[ANSWERS],
        writes={ANSWERS: answers_feature(classes(dataset))},
        desc="Correcting priors",
    )


def content_free_priors(
    annotator: Annotator, dataset: datasets.Dataset, store: AnswerStore | str | Path | None = None
) -> dict[Key, list[float]]:
    """Probabilities (C,) that each proxy, in each option order, gives to clips without content."""
    answers = annotate(_clips(dataset), annotator, store)[ANSWERS]
    found: dict[Key, list[Array]] = {}
    for answer in (answer for row in answers for answer in row):
        key = (answer["proxy"], tuple(answer["order"]))
        if answer["status"] != OK:
            raise AnnotationError(f"`annotator` failed to answer about a clip without content: {answer['error']}")
        if answer["draws"]:
            raise AnnotationError(
                f"`annotator` draws its answers ({key[0]!r}): a prior can be divided out of probabilities alone, as "
                "the strategy `Options` gives them"
            )
        found.setdefault(key, []).append(np.log(np.maximum(answer["distribution"], FLOOR)))
    priors = {key: np.exp(np.mean(logs, axis=0)) for key, logs in found.items()}
    return {key: (prior / prior.sum()).tolist() for key, prior in priors.items()}


@dataclasses.dataclass(frozen=True)
class _Correction:
    priors: Mapping[Key, Sequence[float]]

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[list[Answer]]]:
        return {ANSWERS: [[self._corrected(answer) for answer in row] for row in batch[ANSWERS]]}

    def _corrected(self, answer: Answer) -> Answer:
        """The answer without the prior of its proxy and order; answers of other proxies, and failed ones, as is."""
        prior = self.priors.get((answer["proxy"], tuple(answer["order"])))
        if prior is None:
            return answer
        name = answer["proxy"] + SUFFIX
        if answer["distribution"] is None:
            return {**answer, "proxy": name}
        weighed = np.asarray(answer["distribution"], dtype=float) / np.maximum(prior, FLOOR)
        return {**answer, "proxy": name, "distribution": (weighed / weighed.sum()).tolist()}


def _clips(dataset: datasets.Dataset) -> datasets.Dataset:
    """Silence and noise, without a transcript, in the classes of `dataset`."""
    samples = int(SECONDS * SAMPLING_RATE)
    noises = [np.random.default_rng(seed).normal(0, LOUDNESS, samples) for seed in SEEDS]
    sounds = {"silence": np.zeros(samples), **dict(zip(map("noise{}".format, SEEDS), noises, strict=True))}
    features = datasets.Features(
        {
            ID: datasets.Value("string"),
            AUDIO: datasets.Audio(decode=False),
            TEXT: datasets.Value("string"),
            HARD_LABEL: datasets.ClassLabel(names=list(classes(dataset))),
        }
    )
    rows = {
        ID: [f"content_free/{name}" for name in sounds],
        AUDIO: [{"bytes": audio.encode_wav(sound.astype(np.float32)), "path": None} for sound in sounds.values()],
        TEXT: [None] * len(sounds),
        HARD_LABEL: [None] * len(sounds),
    }
    table = pa.table(rows, schema=features.arrow_schema)  # `from_dict` would ask for torchcodec
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=features))
