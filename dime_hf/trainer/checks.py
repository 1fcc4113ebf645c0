"""What a trainer refuses, with the reason: options, models and datasets that cannot go with soft labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets

from dime_hf import columns
from dime_hf.trainer.config import SoftLabelConfig

SPLITS = (datasets.DatasetDict, datasets.IterableDatasetDict)
CLASS_WEIGHTS = ("class_weight", "class_weights")


def check_options(args: SoftLabelConfig, options: Mapping[str, Any]) -> None:
    """Refuse options of `Trainer` that cannot go with soft labels."""
    if not isinstance(args, SoftLabelConfig):
        raise ValueError(f"`args` must be a `SoftLabelConfig`, which names the loss; it is a {type(args).__name__}")
    if options.get("compute_loss_func") is not None:
        raise ValueError(
            "`compute_loss_func` is scaled otherwise under gradient accumulation: put your loss, a function of "
            "(logits, targets), into `dime_hf.losses.LOSSES` and name it in `SoftLabelConfig(loss=...)`"
        )
    for name in CLASS_WEIGHTS:
        if name in options:
            raise ValueError(
                f"`{name}`: class weights in the loss of a distribution move its optimum ((.5, .4, .1) weighted by "
                "(1, 5, 10) is learnt as (.14, .57, .29)): weight utterances, or augment the rare ones (`DimeAug`)"
            )


def check_dataset(model: Any, argument: str, dataset: Any, needs: Sequence[str] = ()) -> None:
    """Check columns and classes of a dataset; what is no `datasets` object is left to the collator."""
    if isinstance(dataset, datasets.IterableDataset) and dataset.features is None:
        return  # a stream that does not say what it holds
    if isinstance(dataset, (datasets.Dataset, datasets.IterableDataset, *SPLITS)):
        columns.require(dataset, columns.AUDIO, columns.SOFT_LABEL, *needs, argument=argument)
        _check_classes(model, argument, dataset)


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


def feature_extractor(processing_class: Any) -> Any:
    """Return the feature extractor that a collator can be made from."""
    extractor = getattr(processing_class, "feature_extractor", processing_class)
    if not hasattr(extractor, "sampling_rate"):
        raise ValueError(
            "`processing_class` must be the model's feature extractor, unless there is a `data_collator`; "
            f"it is {processing_class!r}"
        )
    return extractor


def by_name(argument: str, given: Any) -> list[tuple[str, Any]]:
    """Datasets by name: `Trainer` takes one to evaluate on, or a plain dict of several."""
    if is_several(given):
        return [(f"{argument}[{name!r}]", dataset) for name, dataset in given.items()]
    return [(argument, given)]


def is_several(given: Any) -> bool:
    return isinstance(given, dict) and not isinstance(given, SPLITS)
