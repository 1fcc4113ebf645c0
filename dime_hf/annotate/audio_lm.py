"""An audio LM as an annotator: the probabilities of its answer options, for several prompts and option orders."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from dime_hf import audio
from dime_hf.annotate import checkpoints
from dime_hf.annotate.annotator import Answer, Question, failed, succeeded
from dime_hf.annotate.prompts import OPTION_WORDS, PROMPTS, Prompt, conversation, cyclic_orders, option_words
from dime_hf.columns import AUDIO, TEXT
from dime_hf.errors import AnnotationError, AudioError

if TYPE_CHECKING:
    from dime_hf.annotate.checkpoints import AudioLM
    from dime_hf.annotate.scoring import Messages

SCORING = 1  # part of every fingerprint: raise it when a change to the scoring changes answers
SHORTEST = 0.1  # seconds; below, Qwen2-Audio's encoder leaves one vector or none of a recording


@dataclasses.dataclass(frozen=True)
class AudioLMAnnotator:
    """Annotator that scores the options of every prompt, in `orders` cyclic option orders, from one prefill a batch.

    `checkpoint` is a folder or a Hub id (then `revision` may pin it) of an instruction-tuned Qwen2-Audio of any size.
    `words` names the classes that are shown under another word, `name` the annotator (default: the end of
    `checkpoint`); a proxy is called `name/prompt`. Plain values only: the model loads at the first question and is
    never pickled.
    """

    checkpoint: str
    label_set: tuple[str, ...]
    prompts: tuple[Prompt, ...] = PROMPTS
    orders: int = 1
    words: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(OPTION_WORDS), hash=False)
    revision: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    name: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "checkpoint", str(self.checkpoint))
        object.__setattr__(self, "label_set", tuple(self.label_set))
        object.__setattr__(self, "prompts", tuple(self.prompts))
        names = [prompt.name for prompt in self.prompts]
        if not names or len(set(names)) < len(names):
            raise AnnotationError(f"`prompts` must hold at least one prompt, each with its own name; got {names}")
        option_words(self.label_set, self.words)
        cyclic_orders(len(self.label_set), self.orders)

    @property
    def options(self) -> tuple[str, ...]:
        """Words (C,) that stand for the classes of `label_set`."""
        return option_words(self.label_set, self.words)

    @property
    def questions(self) -> tuple[Question, ...]:
        """What is asked about every utterance: every prompt in every option order."""
        weights = checkpoints.identity(self.checkpoint, self.revision)
        return tuple(
            Question(self._question_fingerprint(weights, prompt, order), prompt.transcript, self._proxy(prompt))
            for prompt, order in self._asked
        )

    @property
    def fingerprint(self) -> str:
        """Hash of all that changes the answers: weights, dtype, prompts, option words, orders; not the names."""
        return xxhash.xxh3_128_hexdigest("\n".join(question.fingerprint for question in self.questions).encode())

    @property
    def tuned_on(self) -> frozenset[str]:
        """Ids of the utterances whose human labels the checkpoint has seen."""
        return checkpoints.tuned_on(self.checkpoint, self.revision)

    def answer(self, batch: Mapping[str, Sequence[Any]], questions: Sequence[int] | None = None) -> list[list[Answer]]:
        """Return for every utterance its answers to `questions` (places in `self.questions`; all if None).

        A recording that is longer than the encoder's window is heard in windows, whose probabilities are averaged. One
        that cannot be read, and probabilities that are not finite, make failed answers; they leave the rest of the
        batch alone.
        """
        lm = checkpoints.load(self.checkpoint, self.revision, self.dtype, self.device)
        asked = self._asked if questions is None else [self._asked[i] for i in questions]
        heard = _Heard(lm, batch[AUDIO], batch[TEXT])
        scores = heard.scores([self._messages(heard, prompt, order) for prompt, order in asked], self.options)
        by_question = [
            [
                _as_answer(self._proxy(prompt), order, found[row])
                if row in found
                else failed(self._proxy(prompt), order, heard.errors[row], "audio")
                for row in range(heard.size)
            ]
            for (prompt, order), found in zip(asked, scores, strict=True)
        ]
        return [list(answers) for answers in zip(*by_question, strict=True)]

    def _messages(self, heard: _Heard, prompt: Prompt, order: tuple[int, ...]) -> list[Messages]:
        """One question about every recording of a batch."""
        return [conversation(prompt, self.options, order, text) for text in heard.texts]

    @property
    def _asked(self) -> list[tuple[Prompt, tuple[int, ...]]]:
        return [
            (prompt, order) for prompt in self.prompts for order in cyclic_orders(len(self.label_set), self.orders)
        ]

    def _proxy(self, prompt: Prompt) -> str:
        return f"{self.name or Path(self.checkpoint).name}/{prompt.name}"

    def _question_fingerprint(self, weights: str, prompt: Prompt, order: tuple[int, ...]) -> str:
        messages = conversation(prompt, self.options, order, "" if not prompt.transcript else "\0")
        parts = ["options", SCORING, weights, self.dtype, messages, self.options]
        return json.dumps(parts, ensure_ascii=False)


class _Heard:
    """A batch of utterances as a model hears it: recordings and transcripts of some rows, errors of the others.

    What is longer than the encoder's window is heard in equal windows, one after the other.
    """

    def __init__(self, lm: AudioLM, cells: Sequence[Any], texts: Sequence[str | None]):
        self.lm, self.size = lm, len(cells)
        self.errors: dict[int, str] = {}
        self.windows: dict[int, list[NDArray[np.float32]]] = {}  # by row
        for row, cell in enumerate(cells):
            try:
                samples = _audible(audio.read(cell, lm.rate), lm.rate)
                self.windows[row] = np.array_split(samples, -(-len(samples) // lm.window))
            except AudioError as error:
                self.errors[row] = str(error)
        self.texts = [plain(texts[row], lm.processor) for row, parts in self.windows.items() for _ in parts]
        sounds = [part for parts in self.windows.values() for part in parts]
        self.recordings = lm.listen(sounds) if sounds else None

    def scores(
        self, questions: Sequence[Sequence[Messages]], options: Sequence[str]
    ) -> list[dict[int, NDArray[np.float64]]]:
        """Log-probabilities (C,), nats, of the `options` by question and row; what was not heard is left out.

        Probabilities are those of an utterance's windows on average.
        """
        if self.recordings is None:
            return [{} for _ in questions]
        scores = self.lm.score(self.recordings, questions, options)
        ends = np.cumsum([len(parts) for parts in self.windows.values()])
        parts = np.split(scores, ends, axis=1)[:-1]
        with np.errstate(invalid="ignore"):  # what is NaN stays NaN, and fails
            by_row = [np.logaddexp.reduce(part, axis=1) - np.log(part.shape[1]) for part in parts]
        return [dict(zip(self.windows, of_question, strict=True)) for of_question in zip(*by_row, strict=True)]


def plain(text: str | None, processor: Any) -> str | None:
    """Break up what the tokenizer would take for a token of the chat: the words of a speaker stay words."""
    if not text:
        return None
    special = {token.content for token in processor.tokenizer.added_tokens_decoder.values() if token.special}
    for token in sorted(special):
        text = text.replace(token, f"{token[:1]} {token[1:]}")
    return text


def _audible(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Return `samples`, or raise `AudioError` where the model would not hear them."""
    seconds = len(samples) / rate
    if not np.isfinite(samples).all():
        raise AudioError("the recording has samples that are NaN or infinite")
    if seconds < SHORTEST:
        raise AudioError(f"the recording lasts {seconds:.3f} s; the shortest that can be judged lasts {SHORTEST} s")
    return samples


def _as_answer(proxy: str, order: Sequence[int], scores: NDArray[np.float64]) -> Answer:
    """Answer from log-probabilities (C,): renormalised over the options, and the mass that lies off them."""
    if np.isnan(scores).any() or not np.isfinite(scores.max()):
        return failed(proxy, order, "the model's option probabilities are not finite numbers")
    total = np.logaddexp.reduce(scores)
    return succeeded(proxy, order, np.exp(scores - total).tolist(), float(np.clip(-np.expm1(total), 0, 1)))
