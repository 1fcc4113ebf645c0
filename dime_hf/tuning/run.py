"""`tune`: from an annotator and utterances with soft labels to the tuned annotator."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import datasets

from dime_hf import columns
from dime_hf.annotate.audio_lm import AudioLMAnnotator
from dime_hf.errors import AnnotationError, LeakageError
from dime_hf.tuning.config import TuningConfig
from dime_hf.tuning.questions import Questions
from dime_hf.tuning.training import TuningTrainer


def tune(
    annotator: AudioLMAnnotator,
    train: datasets.Dataset,
    config: TuningConfig,
    *,
    validation: datasets.Dataset | None = None,
    callbacks: Sequence[Any] = (),
    resume: bool = False,
) -> AudioLMAnnotator:
    """Tune `annotator` on the soft labels of `train`; return it with the adapter in `config.output_dir`.

    It is asked what it asks as an annotator: its prompts, option orders and modality. `resume` goes on from the last
    checkpoint there. Raises `LeakageError` where `validation` shares utterances with `train`.
    """
    if config.head != "options":
        raise AnnotationError(
            f"`config.head` is {config.head!r}, which makes no annotator: run `make_trainer` and its "
            "`predict_distributions`"
        )
    trainer = make_trainer(annotator, train, config, validation=validation, callbacks=callbacks)
    trainer.train(resume_from_checkpoint=resume)
    trainer.save_model()
    return dataclasses.replace(annotator, adapter=config.output_dir)


def make_trainer(
    annotator: AudioLMAnnotator,
    train: datasets.Dataset,
    config: TuningConfig,
    *,
    validation: datasets.Dataset | None = None,
    callbacks: Sequence[Any] = (),
) -> TuningTrainer:
    """Return the trainer that `tune` runs, for the head `classifier` and for whoever wants to run it otherwise."""
    if annotator.adapter is not None:
        raise AnnotationError(
            "`annotator` has an adapter already: write a checkpoint with it by `merge`, and tune that"
        )
    if any(ask.form not in ("probabilities", "choices") for ask in annotator.asks):
        raise AnnotationError("`annotator` answers in words, which are not tuned: give it the strategy `Options`")
    needs = tuple(getattr(config.get_loss(), "needs", ()))
    questions = Questions(annotator, train, "train", needs)
    seen = frozenset(train[columns.ID])
    if validation is not None:
        if shared := sorted(seen.intersection(validation[columns.ID])):
            raise LeakageError(f"`validation` has {len(shared)} utterances of `train`, such as {shared[0]!r}")
        if config.load_best_model_at_end or callbacks:  # their labels choose the weights, or when to stop
            seen |= frozenset(validation[columns.ID])
    return TuningTrainer(
        annotator,
        annotator.load(keep=False),
        config,
        questions,
        None if validation is None else Questions(annotator, validation, "validation", needs),
        tuned_on=seen | annotator.tuned_on,
        callbacks=list(callbacks),
    )
