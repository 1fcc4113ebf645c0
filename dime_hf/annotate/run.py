"""`annotate`: ask an annotator about every utterance of a dataset, whatever the store already holds apart."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import xxhash
from datasets import Dataset, Features, IterableDataset

from dime_hf import audio
from dime_hf.annotate.annotator import Annotator, Answer, Question, QuestionAnnotator
from dime_hf.annotate.store import AnswerStore, Entry
from dime_hf.columns import ANSWERS, AUDIO, FAILED, ID, OK, TEXT, answers_feature, classes, require
from dime_hf.distribution import as_distributions
from dime_hf.errors import AnnotationError, AudioError, DistributionError, LeakageError
from dime_hf.stage import beside, new_columns, undecoded

logger = logging.getLogger(__name__)

Batch = Mapping[str, Sequence[Any]]
AnyDataset = TypeVar("AnyDataset", Dataset, IterableDataset)


def annotate(
    dataset: AnyDataset, annotator: Annotator, store: AnswerStore | str | Path | None = None, *, batch_size: int = 8
) -> AnyDataset:
    """Return `dataset` with the answers of `annotator` in its column `answers`.

    Answers of other proxies stay, those of the same proxy and option order are replaced. What the `store` (an
    `AnswerStore` or its path) holds is not asked again, so that a killed run resumes; failed answers are asked again.
    Utterances are asked about in batches of `batch_size`.

    Raises `AnnotationError` where the label sets differ or the annotator's own `check(dataset)`, if it has one,
    refuses, and `LeakageError` for utterances that the annotator was tuned on.
    """
    require(dataset, ID, AUDIO, TEXT)
    if tuple(annotator.label_set) != classes(dataset):
        raise AnnotationError(
            f"`annotator` answers about {tuple(annotator.label_set)}, but the classes of `dataset` are "
            f"{classes(dataset)}: give both the same label set, in the same order"
        )
    if hasattr(annotator, "check"):
        annotator.check(dataset)  # a remote one refuses to send what it may not
    opened = store if isinstance(store, AnswerStore) else AnswerStore(":memory:" if store is None else store)
    desk = _Desk(annotator, opened)
    feature = answers_feature(classes(dataset))
    if isinstance(dataset, IterableDataset):
        features = Features({**dataset.features, ANSWERS: feature})
        return dataset.map(desk, batched=True, batch_size=batch_size, features=features)
    with contextlib.nullcontext() if opened is store else opened:
        desk.refuse_tuned(dataset[ID])
        return _annotated(dataset, desk, feature, batch_size)


def _annotated(dataset: Dataset, desk: _Desk, feature: Any, batch_size: int) -> Dataset:
    """Map over the columns that are read, and set the answers beside the dataset: audio is not written again."""
    asked = new_columns(
        undecoded(dataset.with_format(None)),
        desk,
        reads=[name for name in (ID, AUDIO, TEXT, ANSWERS) if name in dataset.column_names],
        writes={ANSWERS: feature},
        batch_size=batch_size,
        load_from_cache_file=False,  # the store is the cache: it asks again what failed
        new_fingerprint=_hash(dataset._fingerprint, desk.annotator.fingerprint),  # and no model is pickled
        desc="Annotating",
    )
    desk.tally.log(len(dataset))
    # Known only now: later stages must not find in their caches what they made of other answers to the same questions.
    answers = Dataset(asked.data, info=asked.info, split=asked.split, fingerprint=desk.tally.content)
    return beside(dataset, answers)


class _Desk:
    """Where batches come by: what the store holds is handed out, the rest is asked and kept."""

    def __init__(self, annotator: Annotator, store: AnswerStore):
        self.annotator, self.store, self.tally = annotator, store, _Tally()
        self.by_question = annotator if isinstance(annotator, QuestionAnnotator) else None
        self.questions = self.by_question.questions if self.by_question else (Question(annotator.fingerprint),)
        self.tuned_on: frozenset[str] = frozenset(getattr(annotator, "tuned_on", ()))

    def __call__(self, batch: Batch) -> dict[str, list[list[Answer]]]:
        """Return the column `answers` of a batch."""
        self.refuse_tuned(batch[ID])
        keys = [self._keys(sound, text) for sound, text in zip(batch[AUDIO], batch[TEXT], strict=True)]
        held = self.store.get(key for row in keys for key in row if key is not None)
        units = [[held.get(key) if key is not None else None for key in row] for row in keys]
        self.tally.stored += sum(len(unit) for row in units for unit in row if unit)
        missing = [tuple(q for q, unit in enumerate(row) if unit is None) for row in units]
        for places in sorted(set(missing) - {()}):
            rows = [row for row, needed in enumerate(missing) if needed == places]
            for row, fresh in zip(rows, self._ask(batch, rows, places, keys), strict=True):
                for place, unit in zip(places, fresh, strict=True):
                    units[row][place] = unit
        answers = [self._named(row) for row in units]
        earlier = batch[ANSWERS] if ANSWERS in batch else [[] for _ in answers]
        merged = [_merge(old or [], new) for old, new in zip(earlier, answers, strict=True)]
        self.tally.content = _hash(self.tally.content, json.dumps(merged))
        return {ANSWERS: merged}

    def refuse_tuned(self, ids: Iterable[str]) -> None:
        """Raise `LeakageError` if the annotator has seen human labels of any of `ids`."""
        if seen := sorted(self.tuned_on.intersection(ids)):
            raise LeakageError(
                f"`annotator` was tuned on the human labels of {len(seen)} of these utterances "
                f"({', '.join(seen[:3])}, ...): its answers about them would repeat the votes; tune it on other "
                "utterances, or annotate others"
            )

    def _keys(self, cell: Any, text: str | None) -> list[str | None]:
        """Key of every question about one utterance; None where there is no sound to key it by."""
        try:
            sound = audio.content_hash(cell)
        except AudioError:
            return [None] * len(self.questions)
        return [
            _hash(question.fingerprint, sound, text if question.reads_text else None) for question in self.questions
        ]

    def _ask(
        self, batch: Batch, rows: Sequence[int], places: tuple[int, ...], keys: list[list[str | None]]
    ) -> list[list[list[Answer]]]:
        """Ask the questions at `places` about `rows`, keep what comes, return the answers by row and question."""
        part = {name: [batch[name][row] for row in rows] for name in (ID, AUDIO, TEXT)}
        if self.by_question:
            fresh = [[[a] for a in answers] for answers in self.by_question.answer(part, questions=places)]
        else:
            fresh = [[answers] for answers in self.annotator.answer(part)]
        if len(fresh) != len(rows) or any(len(row) != len(places) for row in fresh):
            raise AnnotationError(
                f"`annotator` must answer all {len(places)} questions about all {len(rows)} utterances of a batch"
            )
        for utterance, row in zip(part[ID], fresh, strict=True):
            for unit in row:
                _check(unit, utterance, len(self.annotator.label_set))
                self.tally.add(unit, utterance)
        self.store.put(
            Entry(keys[row][place], utterance, unit)
            for row, utterance, units in zip(rows, part[ID], fresh, strict=True)
            for place, unit in zip(places, units, strict=True)
        )
        return fresh

    def _named(self, units: Sequence[list[Answer] | None]) -> list[Answer]:
        """Answers of one utterance in one list, those from the store under their proxy's name of today."""
        return [
            {**answer, "proxy": question.proxy or answer["proxy"]}
            for question, unit in zip(self.questions, units, strict=True)
            for answer in unit or ()
        ]


@dataclasses.dataclass
class _Tally:
    """What a run asked, found in the store and failed to get; `content` hashes the answers."""

    asked: int = 0
    stored: int = 0
    failed: int = 0
    first: str | None = None
    content: str | None = None

    def add(self, answers: Sequence[Answer], utterance: str) -> None:
        """Count fresh answers about one utterance."""
        self.asked += len(answers)
        for answer in answers:
            if answer["status"] == FAILED:
                self.failed += 1
                self.first = self.first or f"{utterance}: {answer['error']}"

    def log(self, utterances: int) -> None:
        """Say in one line what was done, as a warning where answers failed."""
        logger.log(
            logging.WARNING if self.failed else logging.INFO,
            "annotated %d utterances: %d answers asked, %d from the store, %d failed%s",
            *(utterances, self.asked, self.stored, self.failed, f" (first: {self.first})" if self.first else ""),
        )


def _check(answers: Sequence[Answer], utterance: str, size: int) -> None:
    """Raise `AnnotationError` unless an annotator's `answers` about an utterance are what the contract says."""
    if not answers:
        raise AnnotationError(
            f"`annotator` gave no answer about {utterance}: what cannot be answered is a failed answer"
        )
    for answer in answers:
        if answer["status"] not in (OK, FAILED) or (
            answer["status"] == FAILED and (answer["votes"] or not answer["error"])
        ):
            raise AnnotationError(
                f"`annotator` gave an answer about {utterance} with a wrong status, error or votes: {answer}"
            )
        try:
            if answer["status"] == OK and len(as_distributions(answer["distribution"] or [], "distribution")) != size:
                raise AnnotationError(
                    f"`annotator` gave a distribution over other than {size} classes about {utterance}: {answer}"
                )
        except DistributionError as error:
            raise AnnotationError(f"`annotator` gave an unusable distribution about {utterance}: {error}") from error


def _merge(earlier: Iterable[Answer], new: Sequence[Answer]) -> list[Answer]:
    """Answers of other proxies and orders as they were, then the new ones."""
    replaced = {(answer["proxy"], tuple(answer["order"])) for answer in new}
    return [answer for answer in earlier if (answer["proxy"], tuple(answer["order"])) not in replaced] + list(new)


def _hash(*parts: str | None) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(parts).encode())
