"""The desk where chunks of utterances come by: what the store holds is handed out, the rest is asked and kept."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from dime_hf.annotate import schema
from dime_hf.annotate.ahead import ahead
from dime_hf.annotate.annotator import FAILURE_KINDS, Annotator, Answer, Question, QuestionAnnotator
from dime_hf.annotate.chunk import Batch, Chunk, Places, Units, hash_of, hash_sounds
from dime_hf.annotate.progress import Tally
from dime_hf.annotate.store import Entry, kind_of
from dime_hf.columns import ANSWERS, AUDIO, FAILED, ID, OK, TEXT
from dime_hf.distribution import as_distributions
from dime_hf.errors import AnnotationError, DistributionError, LeakageError, did_you_mean

KINDS = (*FAILURE_KINDS, schema.UNKNOWN)


class Store(Protocol):
    """What a desk needs of an `AnswerStore`."""

    def get(self, keys: Iterable[str]) -> dict[str, list[Answer]]: ...

    def failed(self, keys: Iterable[str]) -> dict[str, list[Answer]]: ...

    def put(self, entries: Iterable[Entry]) -> None: ...

    def introduce(self, proxies: Mapping[str, Mapping[str, Any]]) -> None: ...


class Desk:
    """Function of a chunk of utterances for `Dataset.map`: returns the column `answers`.

    Questions are asked in batches of `batch_size` utterances of similar length, the longest first, and every batch is
    kept before the next. `retry` are the kinds of failures on record that are asked again, all if None. With
    `asks=False` nothing is asked: what the store lacks stays out and is counted. An annotator may offer
    `prepare(batch)`, called ahead in a thread: `answer` then gets what it returned in place of the batch; and
    `describe()`, fields (model, revision, prompt, strategy) by proxy, which the store keeps for the card.
    """

    def __init__(
        self,
        annotator: Annotator,
        store: Store,
        *,
        batch_size: int = 8,
        retry: Collection[str] | None = None,
        asks: bool = True,
    ):
        if batch_size < 1:
            raise AnnotationError(f"`batch_size` must be at least 1; got {batch_size}")
        self.annotator, self.store, self.batch_size, self.asks = annotator, store, batch_size, asks
        self.retry, self.tally = _kinds(retry), Tally()
        self.by_question = annotator if isinstance(annotator, QuestionAnnotator) else None
        self.questions = self.by_question.questions if self.by_question else (Question(annotator.fingerprint),)
        self.tuned_on: frozenset[str] = frozenset(getattr(annotator, "tuned_on", ()))

    def __call__(self, batch: Batch) -> dict[str, list[list[Answer]]]:
        self.refuse_tuned(batch[ID])
        chunk = self.look_up({name: batch[name] for name in batch})  # plain lists, for a thread reads them, too
        for utterance, known in zip(batch[ID], chunk.units, strict=True):
            for unit in known:
                self.tally.count(unit or (), utterance, asked=False)
        self._answer(chunk)
        answers = [self._named(units) for units in chunk.units]
        earlier = batch[ANSWERS] if ANSWERS in batch else [[] for _ in answers]
        merged = [_merge(old or [], new) for old, new in zip(earlier, answers, strict=True)]
        self.tally.content = hash_of(self.tally.content, json.dumps(merged))
        return {ANSWERS: merged}

    def refuse_tuned(self, ids: Iterable[str]) -> None:
        """Raise `LeakageError` if the annotator has seen human labels of any of `ids`."""
        if seen := sorted(self.tuned_on.intersection(ids)):
            raise LeakageError(
                f"`annotator` was tuned on the human labels of {len(seen)} of these utterances "
                f"({', '.join(seen[:3])}, ...): its answers about them would repeat the votes; tune it on other "
                "utterances, or annotate others"
            )

    def look_up(self, batch: Batch) -> Chunk:
        """Find what the store holds about the utterances of a batch."""
        sounds = hash_sounds(batch[AUDIO])
        keys = [self._keys(*row) for row in zip(batch[ID], sounds, batch[TEXT], strict=True)]
        held = self.store.get(key for row in keys for key in row)
        if self.retry != set(KINDS):
            lacking = (key for row in keys for key in row if key not in held)
            failures = self.store.failed(lacking).items()
            held |= {key: unit for key, unit in failures if kind_of(unit[0]["error"]) not in self.retry}
        units: list[Units] = [[held.get(key) for key in row] for row in keys]
        return Chunk(batch, [sound is not None for sound in sounds], keys, units)

    def _keys(self, utterance: str, sound: str | None, text: str | None) -> list[str]:
        """Key of every question about one utterance: by its content, or its id where there is no sound."""
        unheard = [] if sound else [utterance]
        return [
            hash_of(question.fingerprint, sound, text if question.reads_text else None, *unheard)
            for question in self.questions
        ]

    def _answer(self, chunk: Chunk) -> None:
        """Fill the chunk with answers, asked and kept batch by batch."""
        wanted = chunk.wanted() if self.asks else {}
        self.tally.advance(len(chunk.units) - len(wanted))
        answered: dict[str, list[Answer]] = {}
        for (rows, places), prepared in self._prepared(chunk, self._batches(chunk, wanted)):
            for row, units in zip(rows, self._ask(chunk, rows, places, prepared), strict=True):
                answered |= {chunk.keys[row][place]: unit for place, unit in zip(places, units, strict=True)}
            self.tally.advance(len(rows))
        chunk.fill(answered)
        self.tally.missing += sum(units.count(None) for units in chunk.units)
        self.tally.utterances_missing += sum(None in units for units in chunk.units)

    def _batches(self, chunk: Chunk, wanted: Mapping[int, Places]) -> list[tuple[list[int], Places]]:
        """Rows of which the same is wanted, by length, in batches; that of the longest recording comes first."""
        seconds = chunk.lengths(wanted)
        batches = []
        for places in sorted(set(wanted.values())):
            rows = sorted((row for row in wanted if wanted[row] == places), key=lambda row: -seconds[row])
            starts = range(0, len(rows), self.batch_size)
            batches += [(rows[start : start + self.batch_size], places) for start in starts]
        return sorted(batches, key=lambda batch: -seconds[batch[0][0]])

    def _prepared(
        self, chunk: Chunk, batches: Sequence[tuple[list[int], Places]]
    ) -> Iterable[tuple[tuple[list[int], Places], Any]]:
        """Every batch as the annotator is asked about it: its columns, or what it has prepared of them ahead."""
        if prepare := getattr(self.annotator, "prepare", None):
            return ahead(lambda batch: prepare(chunk.columns(batch[0])), batches)
        return ((batch, chunk.columns(batch[0])) for batch in batches)

    def _ask(self, chunk: Chunk, rows: Sequence[int], places: Places, prepared: Any) -> list[list[list[Answer]]]:
        """Ask the questions at `places` about `rows`, keep what comes, return the answers by row and question."""
        if not self.tally.asked and (describe := getattr(self.annotator, "describe", None)):
            self.store.introduce(describe())
        if self.by_question:
            fresh = [[[a] for a in answers] for answers in self.by_question.answer(prepared, questions=places)]
        else:
            fresh = [[answers] for answers in self.annotator.answer(prepared)]
        if len(fresh) != len(rows) or any(len(row) != len(places) for row in fresh):
            raise AnnotationError(
                f"`annotator` must answer all {len(places)} questions about all {len(rows)} utterances of a batch"
            )
        entries = list(_entries(chunk, rows, places, fresh))
        for entry in entries:
            _check(entry.answers, entry.utterance, len(self.annotator.label_set))
        self.store.put(entries)
        for entry in entries:
            self.tally.count(entry.answers, entry.utterance, asked=True)
        return fresh

    def _named(self, units: Units) -> list[Answer]:
        """Answers of one utterance in one list, those from the store under their proxy's name of today."""
        return [
            {**answer, "proxy": question.proxy or answer["proxy"]}
            for question, unit in zip(self.questions, units, strict=True)
            for answer in unit or ()
        ]


def _kinds(retry: Collection[str] | None) -> set[str]:
    """Kinds of failures to ask again."""
    if retry is None:
        return set(KINDS)
    kinds = {retry} if isinstance(retry, str) else set(retry)
    for kind in sorted(kinds - set(KINDS)):
        raise AnnotationError(f"`retry` names {kind!r}, which is no kind of failure.{did_you_mean(kind, KINDS)}")
    return kinds


def _entries(
    chunk: Chunk, rows: Sequence[int], places: Places, fresh: Sequence[Sequence[list[Answer]]]
) -> Iterator[Entry]:
    """What the store is to keep: an answer about a recording that cannot be read has no content to be keyed by."""
    for row, units in zip(rows, fresh, strict=True):
        for place, unit in zip(places, units, strict=True):
            kept = chunk.heard[row] or any(answer["status"] == FAILED for answer in unit)
            yield Entry(chunk.keys[row][place] if kept else None, chunk.batch[ID][row], unit)


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
