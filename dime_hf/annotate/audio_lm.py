"""An audio LM as an annotator: its answers to several prompts, elicited by one of the `strategies`."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from dime_hf.annotate import checkpoints, replies
from dime_hf.annotate.annotator import Answer, Question, failed
from dime_hf.annotate.listening import Heard
from dime_hf.annotate.prompts import OPTION_WORDS, PROMPTS, Prompt, as_text, option_words
from dime_hf.annotate.strategies import Ask, Options, Strategy
from dime_hf.columns import TEXT
from dime_hf.distribution import Array
from dime_hf.errors import AnnotationError

if TYPE_CHECKING:
    from dime_hf.annotate.checkpoints import AudioLM

logger = logging.getLogger(__name__)

OPTIONS = Options()
MODALITIES = ("both", "audio", "text")
SCORING = 1  # part of every fingerprint: raise it when a change to the scoring changes answers


@dataclasses.dataclass(frozen=True)
class AudioLMAnnotator:
    """Annotator that asks an audio LM every prompt as `strategy` says; what prompts share is computed once a batch.

    `checkpoint` is a folder or a Hub id (then `revision` may pin it) of an instruction-tuned audio LM: see `families`
    for those that are known. `words` names the classes that are shown under another word, `name` the annotator
    (default: the end of `checkpoint`); a proxy is called `name/prompt`. `attention` and `quantization` are those of
    `checkpoints.load`, `adapter` a folder or Hub id of LoRA weights (`dime_hf.tuning`). `modality` "audio" shows no
    transcript, "text" replaces every recording by silence. Plain values only: the model is never pickled.
    """

    checkpoint: str
    label_set: tuple[str, ...]
    prompts: tuple[Prompt, ...] = PROMPTS
    strategy: Strategy = OPTIONS
    words: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(OPTION_WORDS), hash=False)
    revision: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    attention: str | None = None
    quantization: str | None = None
    name: str | None = None
    adapter: str | None = None
    modality: str = "both"

    def __post_init__(self) -> None:
        object.__setattr__(self, "checkpoint", str(self.checkpoint))
        object.__setattr__(self, "adapter", None if self.adapter is None else str(self.adapter))
        object.__setattr__(self, "label_set", tuple(self.label_set))
        object.__setattr__(self, "prompts", tuple(self.prompts))
        names = [prompt.name for prompt in self.prompts]
        if not names or len(set(names)) < len(names):
            raise AnnotationError(f"`prompts` must hold at least one prompt, each with its own name; got {names}")
        if self.modality not in MODALITIES:
            raise AnnotationError(f"`modality` must be one of {', '.join(MODALITIES)}; got {self.modality!r}")
        if blind := [prompt.name for prompt in self.prompts if not prompt.transcript and self.modality == "text"]:
            raise AnnotationError(f"`modality='text'` leaves nothing to the `prompts` without a transcript: {blind}")
        option_words(self.label_set, self.words)
        self.strategy.asks(self.prompts, len(self.label_set))

    @property
    def options(self) -> tuple[str, ...]:
        """Words (C,) that stand for the classes of `label_set`."""
        return option_words(self.label_set, self.words)

    @property
    def asks(self) -> tuple[Ask, ...]:
        """What is asked about every utterance, in the order of `questions`."""
        return self.strategy.asks(self.prompts, len(self.label_set))

    @property
    def questions(self) -> tuple[Question, ...]:
        """What is asked about every utterance, as the store knows it."""
        weights = "+".join(self._weights)
        return tuple(
            Question(self._question_fingerprint(weights, ask), self._reads_text(ask), self._proxy(ask))
            for ask in self.asks
        )

    @property
    def fingerprint(self) -> str:
        """Hash of all that changes the answers: weights, dtype, prompts, strategy, option words; not the names."""
        return xxhash.xxh3_128_hexdigest("\n".join(question.fingerprint for question in self.questions).encode())

    @property
    def tuned_on(self) -> frozenset[str]:
        """Ids of the utterances whose human labels the checkpoint, or its adapter, has seen."""
        seen = checkpoints.tuned_on(self.checkpoint, self.revision)
        return seen if self.adapter is None else seen | checkpoints.tuned_on(self.adapter)

    def describe(self) -> dict[str, dict[str, str]]:
        """Model, revision (of a folder the hash of its content), prompt and strategy of each proxy."""
        parts = [part for part in (self.checkpoint, self.adapter) if part]
        model = " + ".join(Path(part).name if Path(part).is_dir() else part for part in parts)
        weights = "+".join(part.rpartition("@")[2] for part in self._weights)
        about = {"model": model, "revision": weights}
        if self.modality != "both":
            about["modality"] = self.modality
        return {self._proxy(ask): {**about, **ask.describe()} for ask in self.asks}

    def preview(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, str]:
        """What each proxy is asked about the first utterance of a batch, as plain text; no model is loaded."""
        text = batch[TEXT][0] if self.modality != "audio" else None
        return {self._proxy(ask): as_text(ask.messages(self.options, text)) for ask in self.asks}

    def prepare(self, batch: Mapping[str, Sequence[Any]]) -> Heard:
        """Read and hear a batch: what `answer` takes in its place, and what can be done ahead of it."""
        return Heard.of(self.load(), batch, self.modality)

    def answer(
        self, batch: Mapping[str, Sequence[Any]] | Heard, questions: Sequence[int] | None = None
    ) -> list[list[Answer]]:
        """Return for every utterance its answers to `questions` (places in `self.questions`; all if None).

        A recording that is longer than the encoder's window is heard in windows, and the answer is that of their mean
        probabilities. One that cannot be read, and probabilities that are not finite, make failed answers; they leave
        the rest of the batch alone. A batch that does not fit in memory is halved.
        """
        lm = self.load()
        heard = batch if isinstance(batch, Heard) else Heard.of(lm, batch, self.modality)
        asks = self.asks if questions is None else [self.asks[place] for place in questions]
        return self._in_parts(lm, heard, asks)

    def _in_parts(self, lm: AudioLM, heard: Heard, asks: Sequence[Ask]) -> list[list[Answer]]:
        """Answer about a batch, or about its halves, down to one utterance, where it is too large for the memory.

        The model remembers what was too large: nothing of that size is tried again.
        """
        import torch

        try:
            if len(heard) == 1 or heard.size < lm.room.too_much:
                return self._answers(lm, heard, asks)
        except torch.OutOfMemoryError as error:
            if len(heard) == 1:
                raise AnnotationError(f"{heard.ids[0]}: does not fit in memory, not even alone: {error}") from error
            logger.warning("a batch of %d utterances does not fit in memory; it is halved from now on", len(heard))
            lm.room.too_much = heard.size
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = len(heard) // 2
        parts = [heard.part(lm, slice(None, half)), heard.part(lm, slice(half, None))]
        return [answers for part in parts for answers in self._in_parts(lm, part, asks)]

    def _answers(self, lm: AudioLM, heard: Heard, asks: Sequence[Ask]) -> list[list[Answer]]:
        by_form: dict[bool, list[Ask]] = {}
        for ask in asks:
            by_form.setdefault(ask.form in ("probabilities", "choices"), []).append(ask)
        found: dict[Ask, list[Answer]] = {}
        for is_scored, some in by_form.items():
            found |= zip(some, (self._scored if is_scored else self._written)(lm, heard, some), strict=True)
        return [[found[ask][row] for ask in asks] for row in range(len(heard))]

    def _scored(self, lm: AudioLM, heard: Heard, asks: Sequence[Ask]) -> list[list[Answer]]:
        """Answers by ask and utterance, from the probabilities of the options."""
        if heard.recordings is None:
            return [[self._unheard(ask, heard, row) for row in range(len(heard))] for ask in asks]
        scores = lm.score(heard.recordings, self._conversations(heard, asks), self.options)
        return [
            [
                self._from_scores(ask, heard.ids[row], np.stack(of_row)) if of_row else self._unheard(ask, heard, row)
                for row, of_row in enumerate(heard.by_row(of_ask))
            ]
            for ask, of_ask in zip(asks, scores, strict=True)
        ]

    def _from_scores(self, ask: Ask, utterance: str, scores: Array) -> Answer:
        """Answer from log-probabilities (windows, C): the probabilities themselves, or draws from them."""
        with np.errstate(invalid="ignore"):  # what is NaN stays NaN, and fails
            mean = np.logaddexp.reduce(scores, axis=0) - np.log(len(scores))
        answer = replies.from_log_probabilities(self._proxy(ask), ask.order, mean)
        if ask.form == "probabilities" or answer["distribution"] is None:
            return answer
        draws = draw_options(mean, ask.draw_temperatures(utterance), ask.generator(utterance, "draws"))
        return replies.from_draws(self._proxy(ask), ask.order, draws, len(self.options), answer["off_option"] or 0.0)

    def _written(self, lm: AudioLM, heard: Heard, asks: Sequence[Ask]) -> list[list[Answer]]:
        """Answers by ask and utterance, from what the model says."""
        from dime_hf.annotate.decoding import Draws

        if heard.recordings is None:
            return [[self._unheard(ask, heard, row) for row in range(len(heard))] for ask in asks]
        draws = [
            [
                Draws(temperatures.tolist(), ask.generator(id, f"window {place}"))
                for id, windows in zip(heard.ids, heard.windows, strict=True)
                for place, temperatures in enumerate(_shared_out(ask, id, len(windows)))
            ]
            for ask in asks
        ]
        said = lm.write(heard.recordings, self._conversations(heard, asks), draws, [ask.max_tokens for ask in asks])
        return [
            [
                self._from_replies(ask, [text for window in windows for text in window])
                if windows
                else self._unheard(ask, heard, row)
                for row, windows in enumerate(heard.by_row(of_ask))
            ]
            for ask, of_ask in zip(asks, said, strict=True)
        ]

    def _from_replies(self, ask: Ask, said: Sequence[str | None]) -> Answer:
        if None in said:
            return failed(self._proxy(ask), ask.order, "the logits are not finite numbers")
        texts = [text for text in said if text is not None]
        if ask.form == "words":
            return replies.drawn(self._proxy(ask), ask.order, texts, self.options)
        return replies.verbalised(self._proxy(ask), ask.order, texts, self.options)

    def _conversations(self, heard: Heard, asks: Sequence[Ask]) -> list[list[list[dict[str, Any]]]]:
        """What is asked about every window, by ask."""
        return [[ask.messages(self.options, heard.texts[row]) for row in heard.rows] for ask in asks]

    def _unheard(self, ask: Ask, heard: Heard, row: int) -> Answer:
        return failed(self._proxy(ask), ask.order, heard.errors[row] or "no recording", "audio")

    def load(self, keep: bool = True) -> AudioLM:
        """The model that answers; with `keep=False` one of its own, which the caller may change."""
        return checkpoints.load(
            self.checkpoint,
            self.revision,
            self.dtype,
            self.device,
            attention=self.attention,
            quantization=self.quantization,
            adapter=self.adapter,
            keep=keep,
        )

    @property
    def _weights(self) -> list[str]:
        """What names the weights of the checkpoint and, where there is one, of the adapter."""
        base = checkpoints.identity(self.checkpoint, self.revision)
        return [base] if self.adapter is None else [base, checkpoints.identity(self.adapter, argument="adapter")]

    def _reads_text(self, ask: Ask) -> bool:
        return ask.prompt.transcript and self.modality != "audio"

    def _proxy(self, ask: Ask) -> str:
        return f"{self.name or Path(self.adapter or self.checkpoint).name}/{ask.prompt.name}{ask.label}"

    def _question_fingerprint(self, weights: str, ask: Ask) -> str:
        messages = ask.messages(self.options, "\0" if self._reads_text(ask) else "")
        parts = [SCORING, weights, self.dtype, self.quantization, messages, self.options, ask.key]
        return json.dumps(parts + ["deaf"] * (self.modality == "text"), ensure_ascii=False)


def draw_options(scores: Array, temperatures: Array, generator: np.random.Generator) -> list[int]:
    """Draw an option at each of `temperatures` (draws,), from log-probabilities (C,); 0 takes the most probable.

    The same distribution as a model's whose sampling is held to the options, weighed by their temperature as wholes.
    """
    noise = generator.gumbel(size=(len(temperatures), len(scores)))
    heat = np.asarray(temperatures)[:, None]
    sums = np.where(heat > 0, scores / np.where(heat > 0, heat, 1) + noise, scores)
    return sums.argmax(axis=1).tolist()


def _shared_out(ask: Ask, utterance: str, windows: int) -> list[Array]:
    """Temperatures of the draws that each window of a recording has: a draw falls on one of them, by lot.

    So draws come from the mean of the windows' distributions. A distribution that is written down is asked of each.
    """
    temperatures = ask.draw_temperatures(utterance)
    if ask.form == "shares":
        return [temperatures] * windows
    lot = ask.generator(utterance, "windows").integers(windows, size=ask.draws) if windows else np.zeros(0, int)
    return [temperatures[lot == window] for window in range(windows)]
