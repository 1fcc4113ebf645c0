"""The contract between `annotate` and whatever answers: an audio LM, a remote endpoint, a stand-in of a test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypedDict, get_args, runtime_checkable

from dime_hf.columns import FAILED, OK

# Why an answer failed: the recording, the local model's numbers, words that are no answer, a refusal, and of a remote
# endpoint its patience, its limits, its faults, our request, and our own budget.
FailureKind = Literal["audio", "model", "reply", "refusal", "timeout", "rate_limit", "server", "request", "budget"]
FAILURE_KINDS: tuple[FailureKind, ...] = get_args(FailureKind)


class Answer(TypedDict):
    """One entry of the `answers` column; see `columns.answers_feature`."""

    proxy: str
    order: list[int]
    distribution: list[float] | None
    draws: list[int]
    votes: float
    off_option: float | None
    status: str
    error: str | None


class Question(NamedTuple):
    """One thing that an annotator asks about every utterance, and that the store keeps by itself.

    `fingerprint` holds all that changes the answer beside the utterance: its sound and, if `reads_text`, its
    transcript. `proxy` is the name under which the answer goes; it does not change the answer, so a renamed proxy is
    not asked again.
    """

    fingerprint: str
    reads_text: bool = True
    proxy: str | None = None


@runtime_checkable
class Annotator(Protocol):
    """Anything that answers about a batch of utterances.

    `batch` is a dict of lists with `id`, `audio` (cells, see `dime_hf.audio`) and `text`; `answer` returns one list of
    answers an utterance. What cannot be answered is a `failed` answer; errors of the program are raised.
    `distribution` follows `label_set`; `fingerprint` is a string of all that changes the answers.
    """

    @property
    def label_set(self) -> tuple[str, ...]: ...

    @property
    def fingerprint(self) -> str: ...

    def answer(self, batch: dict[str, list[Any]]) -> list[list[Answer]]: ...


@runtime_checkable
class QuestionAnnotator(Protocol):
    """An annotator whose answers can be asked for one by one: adding a prompt then costs that prompt alone.

    `answer` returns for every utterance one answer to each of the `questions` asked for (places in `self.questions`,
    all if None).
    """

    @property
    def questions(self) -> tuple[Question, ...]: ...

    def answer(self, batch: dict[str, list[Any]], questions: Sequence[int] | None = None) -> list[list[Answer]]: ...


def succeeded(
    proxy: str,
    order: Sequence[int],
    distribution: Sequence[float],
    off_option: float,
    draws: Sequence[int] = (),
    note: str | None = None,
) -> Answer:
    """Return an answer: probabilities (C,) in the order of the classes, and the mass off the options, in [0, 1].

    An answer that was drawn has its `draws` (places of classes) and weighs as many votes, one of probabilities weighs
    one. A `note` goes where the error of a failed answer would stand.
    """
    return Answer(
        proxy=proxy,
        order=list(order),
        distribution=list(distribution),
        draws=list(draws),
        votes=float(len(draws) or 1),
        off_option=off_option,
        status=OK,
        error=note,
    )


def failed(proxy: str, order: Sequence[int], error: str, kind: FailureKind = "model") -> Answer:
    """Return the entry of a `proxy` that gave no usable answer: it says why and weighs nothing."""
    return Answer(
        proxy=proxy,
        order=list(order),
        distribution=None,
        draws=[],
        votes=0.0,
        off_option=None,
        status=FAILED,
        error=f"{kind}: {error}",
    )


def failure_kind(error: str) -> str:
    """Kind of the failure that an `error` tells of.

    >>> failure_kind("timeout: no answer within 60 s")
    'timeout'
    """
    return error.partition(":")[0]
