"""What all remote annotators share: questions, what may be sent, and a batch asked with many requests at a time."""

from __future__ import annotations

import abc
import asyncio
import concurrent.futures
import contextlib
import dataclasses
import json
import os
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

import xxhash

from dime_hf.annotate.annotator import Answer, Question, failed, failure_kind
from dime_hf.annotate.prompts import OPTION_WORDS, PROMPTS, Prompt, as_text, option_words
from dime_hf.annotate.remote.budget import Budget, Ledger, Spent
from dime_hf.annotate.remote.endpoint import Line, NoAnswerError, Patience, Send
from dime_hf.annotate.remote.sounds import encoded_windows, plain
from dime_hf.annotate.remote.upload import HUB, UNKNOWN, check_upload, stays_here, where
from dime_hf.annotate.strategies import Ask
from dime_hf.columns import AUDIO, ID, OK, TEXT
from dime_hf.errors import AnnotationError, AudioError

READING = 1  # part of every fingerprint: raise it when a change to asking or reading changes answers
CONNECTIONS = 100  # that the client opens; more requests would wait for one while their time runs
ENDPOINT_FAILURES = ("timeout", "rate_limit", "server", "request")

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Utterance:
    """One utterance as it is sent: windows of its recording (WAV in base64), and its transcript."""

    id: str
    windows: list[str]
    text: str | None


@dataclasses.dataclass(frozen=True)
class Remote(abc.ABC):
    """Base of annotators behind an endpoint; see `RemoteAnnotator` for the arguments."""

    model: str
    label_set: tuple[str, ...]
    _: dataclasses.KW_ONLY
    base_url: str | None = None
    key_from: str | None = None
    allow_upload: str | tuple[str, ...] = ()
    prompts: tuple[Prompt, ...] = PROMPTS
    words: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(OPTION_WORDS), hash=False)
    revision: str | None = None
    max_seconds: float | None = 30.0
    concurrency: int = 16
    patience: Patience = dataclasses.field(default_factory=Patience)
    budget: Budget = dataclasses.field(default_factory=Budget)
    name: str | None = None
    _ledger: Ledger = dataclasses.field(default_factory=Ledger, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_set", tuple(self.label_set))
        object.__setattr__(self, "prompts", tuple(self.prompts))
        allowed = (self.allow_upload,) if isinstance(self.allow_upload, str) else tuple(self.allow_upload)
        object.__setattr__(self, "allow_upload", allowed)
        names = [prompt.name for prompt in self.prompts]
        if not names or len(set(names)) < len(names):
            raise AnnotationError(f"`prompts` must hold at least one prompt, each with its own name; got {names}")
        if not 1 <= self.concurrency <= CONNECTIONS:
            raise AnnotationError(f"`concurrency` must lie between 1 and {CONNECTIONS}; got {self.concurrency}")
        if self.max_seconds is not None and not self.max_seconds >= 1:
            raise AnnotationError(
                f"`max_seconds` must be at least 1, or None for whole recordings: {self.max_seconds}"
            )
        if self.base_url is not None:
            _check_url(self.base_url)
        option_words(self.label_set, self.words)
        _ = self._asks

    @property
    def options(self) -> tuple[str, ...]:
        """Words (C,) that stand for the classes of `label_set`."""
        return option_words(self.label_set, self.words)

    @property
    def questions(self) -> tuple[Question, ...]:
        """What is asked about every utterance."""
        return tuple(
            Question(self._question_fingerprint(ask), ask.prompt.transcript, self._proxy(ask)) for ask in self._asks
        )

    @property
    def fingerprint(self) -> str:
        """Hash of all that changes the answers: model, revision, words asked; not the address, key or names."""
        return xxhash.xxh3_128_hexdigest("\n".join(question.fingerprint for question in self.questions).encode())

    @property
    def spent(self) -> Spent:
        """What this object has used of its `budget`."""
        used = self._ledger
        return Spent(used.requests, used.sent, used.received, self.budget.price(used.sent, used.received))

    def check(self, dataset: Any) -> None:
        """Raise `AnnotationError` if `dataset` must not be sent to the endpoint; `annotate` calls this first."""
        self._ledger.new_run()
        if not stays_here(self.base_url):
            check_upload(dataset, self.allow_upload, self.base_url)
        self._ledger.cleared = True

    def answer(self, batch: Mapping[str, Sequence[Any]], questions: Sequence[int] | None = None) -> list[list[Answer]]:
        """Return for every utterance its answers to `questions` (places in `self.questions`; all if None).

        Whatever goes wrong with one is a failed answer. Raises `AnnotationError` where no further request would fare
        better (a refused key, many failures in a row): at once if the batch gave no answer, otherwise in the next.
        """
        self._ledger.raise_if_stopped()
        self._check_cleared()
        asks = self._asks if questions is None else [self._asks[i] for i in questions]
        rows = [self._utterance(*row) for row in zip(batch[ID], batch[AUDIO], batch[TEXT], strict=True)]
        answers = run(self._ask_all(asks, rows, self._key()))
        if not any(answer["status"] == OK for row in answers for answer in row):
            self._ledger.raise_if_stopped()
        return answers

    def describe(self) -> dict[str, dict[str, str]]:
        """Model, revision as the user names it, prompt and strategy of each proxy."""
        revision = self.revision or "not known"
        return {self._proxy(ask): {"model": self.model, "revision": revision, **ask.describe()} for ask in self._asks}

    def preview(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, str]:
        """Return by proxy what would be asked about the first utterance of a batch, without its sound."""
        text = plain(batch[TEXT][0])
        return {self._proxy(ask): as_text(ask.messages(self.options, text)) for ask in self._asks}

    async def _ask_all(
        self, asks: Sequence[Ask], rows: Sequence[Utterance | AudioError], key: str | None
    ) -> list[list[Answer]]:
        async with contextlib.AsyncExitStack() as stack:
            send = await self._connect(stack, key)
            line = Line(send, self._ledger, self.budget, self.patience, self.concurrency, key)
            answers = await asyncio.gather(*(self._answer_one(line, ask, row) for row in rows for ask in asks))
        return [answers[start : start + len(asks)] for start in range(0, len(answers), len(asks))]

    async def _answer_one(self, line: Line, ask: Ask, row: Utterance | AudioError) -> Answer:
        """Answer of one question about one utterance; the ledger hears how the endpoint fares."""
        if isinstance(row, AudioError):
            return failed(self._proxy(ask), ask.order, str(row), "audio")
        try:
            answer = await self._elicit(line, ask, row)
        except NoAnswerError as fault:
            answer = failed(self._proxy(ask), ask.order, str(fault), fault.kind)
        self._note(answer)
        return answer

    def _note(self, answer: Answer) -> None:
        """Count failures of the endpoint in a row, and stop where there are too many."""
        kind = None if answer["status"] == OK else failure_kind(answer["error"] or "")
        if kind in ENDPOINT_FAILURES:
            self._ledger.failures += 1
            if self._ledger.failures >= self.patience.give_up_after:
                self._ledger.stop(
                    f"the endpoint failed {self._ledger.failures} questions in a row, the last with "
                    f"{answer['error']!r}: see that it is up and takes such requests"
                )
        elif kind not in ("budget", "audio"):
            self._ledger.failures = 0

    def _utterance(self, id: str, cell: Any, text: str | None) -> Utterance | AudioError:
        try:
            return Utterance(id, encoded_windows(cell, self.max_seconds), plain(text))
        except AudioError as error:
            return error

    def _key(self) -> str | None:
        """The key of the endpoint, read where the user keeps it and kept nowhere else."""
        if self.key_from is None:
            return None
        if not (key := os.environ.get(self.key_from, "").strip()):
            raise AnnotationError(f"`key_from`: the environment has no variable {self.key_from!r} with a key in it")
        return key

    def _check_cleared(self) -> None:
        if not (self._ledger.cleared or stays_here(self.base_url) or UNKNOWN in self.allow_upload):
            raise AnnotationError(
                f"a batch by itself does not tell which corpus would be sent to {where(self.base_url)}: ask through "
                f"`annotate`, call `check(dataset)` first, or give allow_upload={UNKNOWN!r}"
            )

    def _proxy(self, ask: Ask) -> str:
        return f"{self.name or PurePosixPath(self.model).name}/{ask.prompt.name}{ask.label}"

    def _question_fingerprint(self, ask: Ask) -> str:
        messages = ask.messages(self.options, "" if not ask.prompt.transcript else "\0")
        parts = ["remote", READING, self.model, self.revision, self.max_seconds, messages, self.options, ask.key]
        return json.dumps([*parts, *self._key_parts(ask)], ensure_ascii=False, sort_keys=True)

    @property
    @abc.abstractmethod
    def _asks(self) -> tuple[Ask, ...]:
        """What is asked about every utterance."""

    @abc.abstractmethod
    def _key_parts(self, ask: Ask) -> list[Any]:
        """What else changes the answer to an ask."""

    @abc.abstractmethod
    async def _connect(self, stack: contextlib.AsyncExitStack, key: str | None) -> Send:
        """Open the connection of a batch, to be closed with the `stack`."""

    @abc.abstractmethod
    async def _elicit(self, line: Line, ask: Ask, row: Utterance) -> Answer:
        """Answer of one question about one utterance, or `NoAnswerError`."""


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run asynchronous work to its end, in a notebook, too, whose own loop is running."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def too_long(max_seconds: float | None) -> NoAnswerError:
    """The fault of a recording in several windows whose answers cannot be averaged."""
    return NoAnswerError(
        "audio",
        f"the recording is longer than `max_seconds`, {max_seconds} s, and this strategy cannot average windows; "
        "max_seconds=None sends whole recordings to an endpoint that hears them to the end",
    )


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AnnotationError(f"`base_url` must start with http:// or https:// and a host; None means {HUB}")
    if parts.username or parts.password or parts.query:
        raise AnnotationError("`base_url` must hold no key: put it into the environment and name it with `key_from`")
