"""`annotate`: ask an annotator about every utterance of a dataset, whatever the store already holds apart."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar

from datasets import Dataset, Features, IterableDataset

from dime_hf.annotate.annotator import Annotator
from dime_hf.annotate.chunk import hash_of
from dime_hf.annotate.desk import Desk, Store
from dime_hf.annotate.progress import bar
from dime_hf.annotate.store import AnswerStore
from dime_hf.columns import ANSWERS, AUDIO, DURATION, ID, TEXT, answers_feature, classes, require
from dime_hf.errors import AnnotationError
from dime_hf.stage import beside, new_columns, undecoded

logger = logging.getLogger(__name__)

CHUNK = 1024  # utterances that are looked up at once, and sorted by length
AnyDataset = TypeVar("AnyDataset", Dataset, IterableDataset)


def annotate(
    dataset: AnyDataset,
    annotator: Annotator,
    store: Store | str | Path | None = None,
    *,
    batch_size: int = 8,
    retry: Collection[str] | None = None,
) -> AnyDataset:
    """Return `dataset` with the answers of `annotator` in its column `answers`.

    Answers of other proxies stay, those of the same proxy and option order are replaced. What the `store` (an
    `AnswerStore` or its path) holds is not asked again: a killed run resumes. `retry` names the kinds of failures to
    ask again (default: all; `()`: none), the others are served. Utterances are asked about in batches of `batch_size`.

    Raises `AnnotationError` where the label sets differ or the annotator's own `check(dataset)`, if it has one,
    refuses, and `LeakageError` for utterances that the annotator was tuned on.
    """
    check_askable(dataset, annotator)
    if isinstance(dataset, IterableDataset):  # whoever reads a stream waits for one batch, not for a chunk
        desk = Desk(annotator, _store(store), batch_size=batch_size, retry=retry)
        features = Features({**dataset.features, ANSWERS: answers_feature(classes(dataset))})
        return dataset.map(desk, batched=True, batch_size=batch_size, features=features)
    with opened(store) as ready:
        return run(dataset, Desk(annotator, ready, batch_size=batch_size, retry=retry))


def run(dataset: Dataset, desk: Desk) -> Dataset:
    """Return `dataset` with the answers that a desk gives, set beside it: audio is not written again."""
    with bar(len(dataset), "Annotating") as desk.tally.bar:
        asked = ask(dataset, desk)
        # Known only now: later stages must not find in their caches what they made of other answers.
        answers = Dataset(asked.data, info=asked.info, split=asked.split, fingerprint=desk.tally.content)
        return beside(dataset, answers)


def ask(dataset: Dataset, desk: Desk) -> Dataset:
    """Return the answers alone, as a dataset of one column: a map over the columns that a desk reads."""
    desk.refuse_tuned(dataset[ID])
    try:
        answers = new_columns(
            undecoded(dataset.with_format(None)),
            desk,
            reads=reads(dataset, ANSWERS),
            writes={ANSWERS: answers_feature(classes(dataset))},
            batch_size=CHUNK,
            load_from_cache_file=False,  # the store is the cache: it asks again what failed
            new_fingerprint=hash_of(dataset._fingerprint, desk.annotator.fingerprint),  # and no model is pickled
        )
    except KeyboardInterrupt:
        logger.warning(_stopped(desk))
        raise
    desk.tally.log(logger, len(dataset))
    return answers


def check_askable(dataset: AnyDataset, annotator: Annotator) -> None:
    """Raise unless `annotator` answers about the classes of a `dataset` with sounds and words."""
    require(dataset, ID, AUDIO, TEXT)
    if tuple(annotator.label_set) != classes(dataset):
        raise AnnotationError(
            f"`annotator` answers about {tuple(annotator.label_set)}, but the classes of `dataset` are "
            f"{classes(dataset)}: give both the same label set, in the same order"
        )
    if hasattr(annotator, "check"):
        annotator.check(dataset)  # a remote one refuses to send what it may not


def reads(dataset: Dataset, *more: str) -> list[str]:
    """Columns that a desk reads, as far as the dataset has them."""
    return [name for name in (ID, AUDIO, TEXT, DURATION, *more) if name in dataset.column_names]


@contextlib.contextmanager
def opened(store: Store | str | Path | None) -> Iterator[Store]:
    """Open the store at a path, and close it in the end; one that is open already stays so."""
    ready = _store(store)
    with contextlib.nullcontext() if ready is store else contextlib.closing(ready):
        yield ready


def _store(store: Store | str | Path | None) -> Any:
    return AnswerStore(":memory:" if store is None else store) if isinstance(store, str | Path | None) else store


def _stopped(desk: Desk) -> str:
    """What to tell whoever pressed Ctrl-C."""
    path = getattr(desk.store, "path", "the store")
    if path == ":memory:":
        return f"stopped after {desk.tally.asked} answers, which are lost: give `store` a path to keep them"
    return f"stopped: {desk.tally.asked} answers of this run are kept in {path}; the same command goes on from there"
