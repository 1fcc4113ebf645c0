"""`SoftLabelTrainer`: transformers' `Trainer` on the columns `audio` and `soft_label`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from huggingface_hub import ModelCard
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import TrainerCallback

from dime_hf import columns
from dime_hf.cards import ModelScores, model_card, model_scores
from dime_hf.errors import LeakageError
from dime_hf.losses import fit_to
from dime_hf.modeling import fit_temperature, fold_temperature
from dime_hf.protocol import ScoreTable
from dime_hf.protocol.reference import by_class
from dime_hf.trainer import evaluation
from dime_hf.trainer.checks import by_name, check_dataset, check_options, feature_extractor, is_several
from dime_hf.trainer.collator import SoftLabelCollator
from dime_hf.trainer.config import BEST, SoftLabelConfig
from dime_hf.trainer.feature_mix import Pairs, find_projection, mixed
from dime_hf.trainer.named_loss import NamedLossTrainer

MODEL, CONTROL = "model", "mean label"  # rows of the score table


class _Epochs(TrainerCallback):
    """Tells a collator which epoch begins."""

    def __init__(self, collator: SoftLabelCollator):
        self.collator = collator

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.collator.epoch.fill_(int((state.epoch or 0) + 1e-6))  # a resumed run begins within one


class SoftLabelTrainer(NamedLossTrainer):
    """`Trainer` on the columns `audio` and `soft_label`, with the loss that `args.loss` names.

    Takes what `Trainer` takes; the collator is made from the feature extractor, `processing_class`. Evaluation scores
    against votes (`reference_counts` where some were held out, then by level of ambiguity, too; else `vote_counts`,
    else the soft labels), and adds `compute_metrics` on logits and soft labels (N, C); of several evaluation sets the
    first decides which model is best. Raises `ColumnError` for a dataset that lacks a column or is several splits,
    `ValueError` where the model's classes are not the dataset's, in its order.
    """

    args: SoftLabelConfig
    training_collator: SoftLabelCollator | None  # where it augments

    def __init__(
        self,
        model: nn.Module | None = None,
        args: SoftLabelConfig | None = None,
        data_collator: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        **options: Any,
    ):
        args = SoftLabelConfig() if args is None else args
        check_options(args, options)
        self.loss = _fitted(args.get_loss(), train_dataset)
        collator = self._collator(data_collator, processing_class, args)
        self.training_collator = None
        if isinstance(collator, SoftLabelCollator) and collator.augment is not None:
            self.training_collator, collator = collator, dataclasses.replace(collator, augment=None)
        super().__init__(
            model=model,
            args=args,
            data_collator=collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            **options,
        )
        if self.training_collator is not None:
            self.add_callback(_Epochs(self.training_collator))
        self._scored: Any = None
        self._micro = (-1, 0)  # step, and micro-batch within it
        if args.feature_mix:
            find_projection(self.model)  # type: ignore[arg-type]
            if self.needs:
                raise ValueError(f"`feature_mix` mixes soft labels, but `loss` {args.loss!r} needs {self.needs}")
        if not args.batch_eval_metrics:
            self.compute_metrics = _Scores(self, self.compute_metrics)
        if is_several(eval_dataset) and args.metric_for_best_model == BEST:
            args.metric_for_best_model = f"{next(iter(eval_dataset))}_{BEST}"
        for name, dataset in [("train_dataset", train_dataset), *by_name("eval_dataset", eval_dataset)]:
            check_dataset(self.model, name, dataset, self.needs)
        if args.train_sampling_strategy == "group_by_length" and isinstance(train_dataset, datasets.Dataset):
            columns.require(train_dataset, args.length_column_name, argument="train_dataset")

    def answers(self, model: nn.Module, inputs: dict[str, Any], labels: Tensor) -> tuple[Any, Tensor]:
        """Return the model's outputs, and the labels; in training mixed with `feature_mix` of the rows."""
        if not (self.args.feature_mix and model.training):
            return model(**inputs), labels
        pairs = Pairs.draw(len(labels), self.args.feature_mix, self._mixing_seed())
        with mixed(model, inputs, pairs) as changed:
            return model(**changed), pairs.mix(labels)

    def _mixing_seed(self) -> int:
        """A number of its own for each micro-batch, the same in a run that is resumed."""
        step = self.state.global_step
        self._micro = (step, self._micro[1] + 1 if self._micro[0] == step else 0)
        return int(
            np.random.SeedSequence([self.args.seed, *self._micro, self.args.process_index]).generate_state(1)[0]
        )

    def get_train_dataloader(self) -> Any:
        """Return the `DataLoader` of training, the only one that augments."""
        plain, self.data_collator = self.data_collator, self.training_collator or self.data_collator
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator = plain

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Return the `DataLoader` of `eval_dataset`, after the checks of construction."""
        if not isinstance(eval_dataset, str):
            check_dataset(self.model, "eval_dataset", eval_dataset, self.needs)
        return super().get_eval_dataloader(eval_dataset)

    def evaluation_loop(self, dataloader: Any, *args: Any, **options: Any) -> Any:
        """Predict, and score by the votes of the dataset that the loader reads."""
        self._scored = getattr(dataloader, "dataset", None)
        try:
            return super().evaluation_loop(dataloader, *args, **options)
        finally:
            self._scored = None

    def predict_distributions(self, dataset: Any) -> NDArray[np.float64]:
        """Return the predicted distributions (N, C) of the rows of `dataset`, in its order; it needs no labels."""
        return self.vote_distributions(self._predict_logits(dataset))

    def fold_temperature(self, validation: datasets.Dataset) -> float:
        """Fit a temperature to the votes of `validation`, fold it into the model's last layer, and return it.

        The votes are `reference_counts`, or without them `vote_counts`; they must not be those that later judge.
        """
        votes = evaluation.votes_of(validation)
        if getattr(self.loss, "moves_logits", False):
            raise ValueError(
                f"`loss` {self.args.loss!r} gives the votes' distribution by other logits than the model's own, which "
                "no temperature can be folded into: train with another loss, such as 'kl'"
            )
        temperature = fit_temperature(self._predict_logits(validation), votes)
        fold_temperature(self.accelerator.unwrap_model(self.model), temperature)
        return temperature

    def score_table(self, dataset: datasets.Dataset, name: str | None = None) -> ModelScores:
        """Score the model on the votes of `dataset`, called `name`, beside the mean training label as its control.

        Where other votes than those that judge tell it, by level of ambiguity, too. Raises `LeakageError` where the
        dataset has no votes that judge but labels that contain synthetic ones.
        """
        labels = {MODEL: self.predict_distributions(dataset)}
        constant = evaluation.mean_label(self.train_dataset)
        if constant is not None:
            labels[CONTROL] = np.broadcast_to(constant, labels[MODEL].shape)
        return model_scores(labels, dataset, control=CONTROL if CONTROL in labels else None, name=name)

    def push_to_hub(self, *args: Any, scores: ScoreTable | str | None = None, **options: Any) -> Any:
        """Push the model with a card that carries `scores`, as `score_table` gives them for a test set.

        Without them the evaluation set is scored. Other arguments are those of `Trainer.push_to_hub`.
        """
        scores = self._scores_for_card() if scores is None else scores  # here, since all processes predict
        return super().push_to_hub(*args, scores=scores, **options)

    def create_model_card(self, *args: Any, scores: ScoreTable | str | None = None, **options: Any) -> None:
        """Write the model's card to `output_dir`; arguments are those of `Trainer.create_model_card`, and `scores`."""
        super().create_model_card(*args, **options)
        if self.is_world_process_zero():
            path = Path(str(self.args.output_dir)) / "README.md"
            model_card(
                ModelCard.load(path),
                repo=self.hub_model_id or self.args.hub_model_id or path.parent.name,
                config=self.accelerator.unwrap_model(self.model).config,
                training=self.train_dataset,
                loss=self.args.loss,
                scores=scores,
            ).save(path)

    def _collator(self, given: Any, processing_class: Any, args: SoftLabelConfig) -> Any:
        if given is not None and args.augment is not None:
            raise ValueError("`args.augment` is for the collator made here: give yours `augment=OnTheFly(...)` itself")
        collator = given
        if given is None:
            collator = SoftLabelCollator(feature_extractor(processing_class), augment=args.on_the_fly())
        if isinstance(collator, SoftLabelCollator):
            return dataclasses.replace(collator, needs=self.needs)
        return collator

    def _predict_logits(self, dataset: Any) -> Any:
        columns.require(dataset, columns.AUDIO)
        collator = self.data_collator
        if isinstance(collator, SoftLabelCollator):
            self.data_collator = dataclasses.replace(collator, labels=False)
        try:
            return self.predict(dataset, ignore_keys=["hidden_states", "attentions"]).predictions
        finally:
            self.data_collator = collator

    def _scores_for_card(self) -> ModelScores | str:
        """Scores of the evaluation set, or why there are none."""
        if not evaluation.has_votes(self.eval_dataset):
            return "there was no evaluation set with votes"
        try:
            return self.score_table(self.eval_dataset)
        except LeakageError as error:
            return str(error)

    def _get_eval_sampler(self, eval_dataset: Any) -> None:
        """Evaluate in the dataset's order: `Trainer` itself sorts by length where training is grouped by it.

        Then `predict` returns rows out of order: https://github.com/huggingface/transformers/pull/33514
        """


def _fitted(loss: Any, train_dataset: Any) -> Any:
    """The loss with what it learns from the training set: masses and names of the classes."""
    if not isinstance(train_dataset, datasets.Dataset) or columns.HARD_LABEL not in train_dataset.column_names:
        return loss
    if columns.SOFT_LABEL not in train_dataset.column_names:
        return loss
    labels = by_class(train_dataset, columns.SOFT_LABEL)
    known = labels[~np.isnan(labels).any(-1)]
    return fit_to(loss, known, columns.classes(train_dataset)) if len(known) else loss


@dataclasses.dataclass(frozen=True)
class _Scores:
    """The trainer's `compute_metrics`: scores of the dataset that is evaluated, and those of the user."""

    trainer: SoftLabelTrainer
    users: Any

    def __call__(self, prediction: Any) -> dict[str, Any]:
        predicted = self.trainer.vote_distributions(prediction.predictions)
        ours = evaluation.score_dataset(predicted, self.trainer._scored, prediction.label_ids)
        return ours | (self.users(prediction) if self.users else {})
