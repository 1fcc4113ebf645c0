"""`SoftLabelTrainer`: transformers' `Trainer` on soft labels, its options, and the collator that reads the sound."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from dime_hf import audio, columns, distribution
from dime_hf.augment.on_the_fly import OnTheFly
from dime_hf.augment.operations import get_operation
from dime_hf.errors import AudioError, ColumnError, DistributionError
from dime_hf.losses import get_loss

LABELS = "labels"  # what a batch of soft labels is called inside `Trainer`
SPLITS = (datasets.DatasetDict, datasets.IterableDatasetDict)


@dataclasses.dataclass(repr=False)  # the parent's `repr` hides tokens
class SoftLabelConfig(TrainingArguments):
    """`TrainingArguments` for soft labels; `loss` names one of `dime_hf.losses.LOSSES`.

    Changed defaults: `remove_unused_columns=False` (the collator reads the audio column), `label_names=["labels"]`
    (or `compute_metrics` is never called), `length_column_name="duration"` (for `train_sampling_strategy`), no pinned
    memory where there is no accelerator. Raises `ValueError` for an unknown loss and for `label_smoothing_factor`,
    which means nothing for labels that are distributions.
    """

    loss: str = dataclasses.field(default="kl", metadata={"help": "A name of `dime_hf.losses.LOSSES`."})
    augment: str | None = dataclasses.field(
        default=None, metadata={"help": "A label-preserving operation of DiME-Aug, drawn anew for each training row."}
    )
    augment_share: float = dataclasses.field(
        default=1.0, metadata={"help": "Share of the rows that `augment` changes."}
    )
    remove_unused_columns: bool = dataclasses.field(
        default=False, metadata={"help": "Keep it False: the collator reads the audio column."}
    )
    label_names: list[str] | None = dataclasses.field(
        default_factory=lambda: [LABELS], metadata={"help": "Keys of a batch that are labels."}
    )
    length_column_name: str = dataclasses.field(
        default=columns.DURATION, metadata={"help": "Column with the lengths that batches are grouped by."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        get_loss(self.loss)
        self.on_the_fly()
        if self.label_smoothing_factor != 0:
            raise ValueError(
                f"`label_smoothing_factor` is {self.label_smoothing_factor}, but it smooths class indices and these "
                "labels are distributions: leave it 0, and pool with a prior (`dime_hf.pool`) for smoother soft labels"
            )
        if self.remove_unused_columns:
            raise ValueError("`remove_unused_columns=True` would take the audio from the collator: leave it False")
        # A DataLoader warns where there is nothing to pin memory for: https://github.com/pytorch/pytorch/pull/146821
        self.dataloader_pin_memory = self.dataloader_pin_memory and torch.accelerator.is_available()

    def on_the_fly(self) -> OnTheFly | None:
        """Return what `augment` names, seeded as the order of the rows is."""
        seed = self.seed if self.data_seed is None else self.data_seed
        return None if self.augment is None else OnTheFly(get_operation(self.augment), self.augment_share, seed)


def _shared_count() -> Tensor:
    """A whole number that the workers of a `DataLoader` see change."""
    return torch.zeros((), dtype=torch.int64).share_memory_()


@dataclasses.dataclass(frozen=True)
class SoftLabelCollator:
    """Make a batch of rows: the model's inputs, padded to the longest, and `labels` (batch, C) float32.

    `feature_extractor` is any of transformers' for sound, or a processor that has one; `padding` is passed to it. With
    `labels=False` only the sound is read. `augment` draws anew in each `epoch`, a number that workers share; the
    trainer takes it for training alone. Raises `AudioError` or `DistributionError`, with the utterance's id, for a row
    that has no sound or no soft label.
    """

    feature_extractor: Any
    padding: bool | str = True
    labels: bool = True
    augment: OnTheFly | None = None
    epoch: Tensor = dataclasses.field(default_factory=_shared_count, repr=False, compare=False)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        extractor = getattr(self.feature_extractor, "feature_extractor", self.feature_extractor)
        rate = extractor.sampling_rate
        sounds = [self._sound(row, rate) for row in rows]
        batch = extractor(sounds, sampling_rate=rate, padding=self.padding, return_tensors="pt")
        return {**batch, LABELS: _labels(rows)} if self.labels else dict(batch)

    def _sound(self, row: Mapping[str, Any], rate: int) -> NDArray[np.float32]:
        if self.augment is None:
            return _sound(row, rate)
        columns.require(row, columns.ID, argument="rows")
        samples = self.augment(_sound(row, columns.SAMPLING_RATE), row[columns.ID], int(self.epoch))
        return audio.read({"array": samples, "sampling_rate": columns.SAMPLING_RATE}, rate)


class _Epochs(TrainerCallback):
    """Tells a collator which epoch begins."""

    def __init__(self, collator: SoftLabelCollator):
        self.collator = collator

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.collator.epoch.fill_(int((state.epoch or 0) + 1e-6))  # a resumed run begins within one


class SoftLabelTrainer(Trainer):
    """`Trainer` on the columns `audio` and `soft_label`, with the loss that `args.loss` names.

    Takes what `Trainer` takes; `processing_class` is the feature extractor, from which the collator is made. The rest
    (evaluation, early stopping, `compute_metrics` on logits and soft labels (N, C), resuming, `accelerate`) is
    `Trainer`'s. Raises `ColumnError` for a dataset that lacks a column or is several splits, `ValueError` where the
    model's classes are not the dataset's, in its order.
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
        _check_options(args, options)
        if data_collator is not None and args.augment is not None:
            raise ValueError("`args.augment` is for the collator made here: give yours `augment=OnTheFly(...)` itself")
        collator = data_collator or SoftLabelCollator(_feature_extractor(processing_class), augment=args.on_the_fly())
        self.training_collator, plain = None, collator
        if isinstance(collator, SoftLabelCollator) and collator.augment is not None:
            self.training_collator, plain = collator, dataclasses.replace(collator, augment=None)
        super().__init__(
            model=model,
            args=args,
            data_collator=plain,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            **options,
        )
        # Our loss is the mean of a micro-batch, so `Trainer` must divide by the accumulation steps. It would not,
        # because the model's `forward` takes **kwargs: https://github.com/huggingface/transformers/issues/47688
        self.model_accepts_loss_kwargs = False
        if self.training_collator is not None:
            self.add_callback(_Epochs(self.training_collator))
        self.loss = get_loss(args.loss)
        for name, dataset in [("train_dataset", train_dataset), *_named("eval_dataset", eval_dataset)]:
            self._check_dataset(name, dataset)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss between softmax(logits) and `labels` (batch, C), which the model itself never sees."""
        inputs = dict(inputs)
        labels = inputs.pop(LABELS, None)
        if labels is None:
            raise ColumnError(f"`data_collator` gave no {LABELS!r} (batch, C), but {sorted(inputs)}")
        outputs = model(**inputs)
        loss = self.loss(outputs["logits"], labels)
        return (loss, outputs) if return_outputs else loss

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
            self._check_dataset("eval_dataset", eval_dataset)
        return super().get_eval_dataloader(eval_dataset)

    def predict_distributions(self, dataset: Any) -> NDArray[np.float64]:
        """Return the predicted distributions (N, C) of the rows of `dataset`, in its order; it needs no labels."""
        columns.require(dataset, columns.AUDIO)
        collator = self.data_collator
        if isinstance(collator, SoftLabelCollator):
            self.data_collator = dataclasses.replace(collator, labels=False)
        try:
            logits = self.predict(dataset, ignore_keys=["hidden_states", "attentions"]).predictions
        finally:
            self.data_collator = collator
        return softmax(np.asarray(logits, dtype=np.float64), axis=-1)

    def _get_eval_sampler(self, eval_dataset: Any) -> None:
        """Evaluate in the dataset's order: `Trainer` itself sorts by length where training is grouped by it.

        Then `predict` returns rows out of order: https://github.com/huggingface/transformers/pull/33514
        """

    def _check_dataset(self, argument: str, dataset: Any) -> None:
        """Check columns and classes of a dataset; what is no `datasets` object is left to the collator."""
        if isinstance(dataset, datasets.IterableDataset) and dataset.features is None:
            return  # a stream that does not say what it holds
        if isinstance(dataset, (datasets.Dataset, datasets.IterableDataset, *SPLITS)):
            columns.require(dataset, columns.AUDIO, columns.SOFT_LABEL, argument=argument)
            _check_classes(self.model, argument, dataset)


def _check_options(args: SoftLabelConfig, options: Mapping[str, Any]) -> None:
    """Refuse options of `Trainer` that cannot go with soft labels."""
    if not isinstance(args, SoftLabelConfig):
        raise ValueError(f"`args` must be a `SoftLabelConfig`, which names the loss; it is a {type(args).__name__}")
    if options.get("compute_loss_func") is not None:
        raise ValueError(
            "`compute_loss_func` is scaled otherwise under gradient accumulation: put your loss, a function of "
            "(logits, targets), into `dime_hf.losses.LOSSES` and name it in `SoftLabelConfig(loss=...)`"
        )


def _check_classes(model: Any, argument: str, dataset: Any) -> None:
    """Refuse a model whose outputs are not the dataset's classes one by one, or are not made for a softmax."""
    config = model.config
    names = tuple(config.id2label[index] for index in range(config.num_labels))
    expected = columns.classes(dataset) if columns.HARD_LABEL in columns.column_names(dataset) else names
    size = getattr(dataset.features[columns.SOFT_LABEL], "length", -1)  # -1: of any length
    if names != expected or size not in (-1, len(names)):
        of_dataset = f"the classes {expected}" if names != expected else f"{size} classes"
        raise ValueError(
            f"`model` has the classes {names}, but `{argument}` has {of_dataset}: make the model for them, in their "
            f"order, with `dime_hf.load_encoder(checkpoint, columns.classes({argument}))`"
        )
    if config.problem_type not in (None, "single_label_classification"):
        raise ValueError(
            f"`model.config.problem_type` is {config.problem_type!r}, with which pipelines apply no softmax: "
            "set it to None"
        )


def _feature_extractor(processing_class: Any) -> Any:
    """Return the feature extractor that a collator can be made from."""
    extractor = getattr(processing_class, "feature_extractor", processing_class)
    if not hasattr(extractor, "sampling_rate"):
        raise ValueError(
            "`processing_class` must be the model's feature extractor, unless there is a `data_collator`; "
            f"it is {processing_class!r}"
        )
    return extractor


def _named(argument: str, given: Any) -> list[tuple[str, Any]]:
    """Datasets by name: `Trainer` takes one to evaluate on, or a plain dict of several."""
    if isinstance(given, dict) and not isinstance(given, SPLITS):
        return [(f"{argument}[{name!r}]", dataset) for name, dataset in given.items()]
    return [(argument, given)]


def _sound(row: Mapping[str, Any], sampling_rate: int) -> NDArray[np.float32]:
    columns.require(row, columns.AUDIO, argument="rows")
    try:
        return audio.read(row[columns.AUDIO], sampling_rate)
    except AudioError as error:
        raise AudioError(f"utterance {row.get(columns.ID)!r}: {error}") from error


def _labels(rows: Sequence[Mapping[str, Any]]) -> Tensor:
    return torch.from_numpy(np.stack([_soft_label(row) for row in rows]).astype(np.float32))


def _soft_label(row: Mapping[str, Any]) -> NDArray[np.float64]:
    columns.require(row, columns.SOFT_LABEL, argument="rows")
    label, utterance = row[columns.SOFT_LABEL], row.get(columns.ID)
    if label is None:
        raise DistributionError(
            f"utterance {utterance!r} has no `{columns.SOFT_LABEL}` (nobody voted inside the label set): leave such "
            'utterances out, with `rows="voted"` when loading'
        )
    return distribution.as_distributions(label, f"{columns.SOFT_LABEL} of utterance {utterance!r}")
