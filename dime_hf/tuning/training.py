"""`TuningTrainer`: transformers' `Trainer` on an audio LM, its adapters and the annotator's questions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray
from peft import PeftModel
from torch import Tensor, nn

from dime_hf import columns
from dime_hf.annotate.audio_lm import AudioLMAnnotator
from dime_hf.annotate.checkpoints import AudioLM
from dime_hf.annotate.scoring import option_tokens
from dime_hf.errors import AnnotationError, LeakageError
from dime_hf.losses import fit_to
from dime_hf.trainer.named_loss import NamedLossTrainer
from dime_hf.tuning.adapters import adapt, save_adapter
from dime_hf.tuning.card import adapter_card
from dime_hf.tuning.config import TuningConfig
from dime_hf.tuning.heads import ClassifierHead, OptionsHead
from dime_hf.tuning.questions import WINDOWS, QuestionCollator, Questions


class TuningTrainer(NamedLossTrainer):
    """`Trainer` of the adapters of `lm`, a model that the annotator loaded with `keep=False`.

    The loss is the one that `args.loss` names, fitted to the training set, between the head's distribution over the
    classes and the soft label; evaluation gives its mean and the logits (N, C) by question. What is saved are
    adapters, each with the ids `tuned_on` that a tuned annotator refuses. The rest (resuming, `accelerate`, callbacks)
    is `Trainer`'s. Raises `ValueError` for a loss that the head cannot be tuned with.
    """

    args: TuningConfig

    def __init__(
        self,
        annotator: AudioLMAnnotator,
        lm: AudioLM,
        args: TuningConfig,
        train_dataset: Questions | None = None,
        eval_dataset: Questions | None = None,
        *,
        tuned_on: Iterable[str] = (),
        **options: Any,
    ):
        self.loss = args.get_loss()
        _check_loss(self.loss, args)
        if train_dataset is not None:
            self.loss = fit_to(self.loss, train_dataset.labels, annotator.label_set)
        self.head = _head(annotator, lm, args)
        super().__init__(
            model=adapt(lm, args, len(annotator.label_set)),
            args=args,
            data_collator=QuestionCollator(lm, annotator, self.needs),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            **options,
        )
        self.annotator, self.tuned_on = annotator, frozenset(tuned_on)

    def answers(self, model: nn.Module, inputs: dict[str, Any], labels: Tensor) -> tuple[Any, Tensor]:
        """Return the head's logits, and the labels as they are."""
        windows = inputs.pop(WINDOWS)
        return {"logits": self.head(model, inputs, windows)}, labels

    def predict_distributions(self, dataset: datasets.Dataset) -> NDArray[np.float64]:
        """Return the predicted distributions (N, C), each the mean of the answers to all questions, in its order.

        Those of the annotator where the head is `options`. `dataset` has soft labels, and what the loss needs besides.
        Raises `LeakageError` for utterances that were tuned on.
        """
        if seen := self.tuned_on.intersection(dataset[columns.ID]):
            raise LeakageError(f"`dataset` has {len(seen)} utterances that were tuned on, such as {min(seen)!r}")
        questions = Questions(self.annotator, dataset, needs=self.needs)
        answers = self.vote_distributions(self.predict(questions).predictions)
        return answers.reshape(questions.asks, len(dataset), -1).mean(axis=0)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write adapters, and no more: what `Trainer` adds would change the hash that names them."""
        folder = output_dir or self.args.output_dir or "."
        assert isinstance(self.model, PeftModel)  # which `adapt` made
        card = adapter_card(self.annotator, self.args, len(self.tuned_on))
        save_adapter(self.model, folder, self.tuned_on, card, state_dict=state_dict)


def _check_loss(loss: Any, args: TuningConfig) -> None:
    """Refuse losses of which the answers to options say too little: they are probabilities up to a constant."""
    if args.head != "options":
        return
    if getattr(loss, "takes_concentrations", False):
        raise ValueError(
            f"`loss` {args.loss!r} takes exp(logits) for concentrations of a Dirichlet, but the answers to options "
            "are known up to a constant in each row, and say nothing of how sure they are: take `head='classifier'`, "
            "or another loss, such as 'kl'"
        )
    if getattr(loss, "moves_logits", False):
        raise ValueError(
            f"`loss` {args.loss!r} gives the votes' distribution by other logits than the options' own, by which "
            "an annotator answers: take `head='classifier'`, or another loss, such as 'kl'"
        )


def _head(annotator: AudioLMAnnotator, lm: AudioLM, args: TuningConfig) -> OptionsHead | ClassifierHead:
    if args.head == "classifier":
        return ClassifierHead(lm.family)
    first = annotator.asks[0]
    tokens = option_tokens(lm.family, first.messages(annotator.options, None), annotator.options)
    if max(map(len, tokens)) > 1:
        _check_spelt(annotator, args)
    return OptionsHead(lm.family, tokens)


def _check_spelt(annotator: AudioLMAnnotator, args: TuningConfig) -> None:
    """Refuse what cannot go with options of several tokens, which take a second pass over the cache of the first."""
    reasons = {
        "`gradient_checkpointing` keeps no cache, from which they are scored": args.gradient_checkpointing,
        "distributed training takes their two passes through the model for two steps": args.world_size > 1,
    }
    for reason in (reason for reason, wanted in reasons.items() if wanted):
        raise AnnotationError(
            f"the options {annotator.options} have several tokens each with this tokenizer, and {reason}: do without "
            "it, or choose words of one token with the annotator's `words`"
        )
