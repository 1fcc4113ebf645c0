"""Changes of the transcript alone: as another transcriber would write it, or in other words."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dime_hf.augment.operations.base import Parameters
from dime_hf.augment.operations.preserving import Bounds, Words, draw_seed, require_range, seeded
from dime_hf.errors import AnnotationError, DistributionError

FILLERS = ("uh", "um", "er")
_PARTS = re.compile(r"(\W*)(.*?)(\W*)", re.DOTALL)  # of a word: punctuation before, the word itself, punctuation after


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextNoise(Words):
    """Write the words as another transcriber or recogniser might: `lower` case, no punctuation (`bare`), disfluencies.

    Before a word comes one of `fillers` with probability `filler_rate`, and the word is said twice with `repeat_rate`,
    each at most `most`; `seed` says where. Words in brackets, such as [LAUGHTER], are left alone.
    """

    name = "text_noise"
    most: float = 0.1
    fillers: Sequence[str] = FILLERS

    def __post_init__(self) -> None:
        require_range(self, "most", self.most, 0, 1)
        _require_words(self.fillers, "`fillers`")

    @property
    def bounds(self) -> Bounds:
        return {"filler_rate": (0.0, self.most), "repeat_rate": (0.0, self.most)}

    def draw(self, rng: np.random.Generator) -> Parameters:
        lower, bare = (bool(choice) for choice in rng.integers(2, size=2))
        styles = {"lower": lower, "bare": bare, "fillers": list(self.fillers), "seed": draw_seed(rng)}
        return {**super().draw(rng), **styles}

    def check(self, parameters: Parameters) -> None:
        super().check(parameters)
        _require_words(parameters.get("fillers"), f"`parameters`: 'fillers' of {self.name!r}")
        for name in ("lower", "bare"):
            if not isinstance(parameters.get(name), bool):
                raise DistributionError(f"`parameters`: {name!r} of {self.name!r} must be true or false")

    def words(self, text: str, parameters: Parameters) -> str:
        rng, written = seeded(self, parameters), []
        for word in (_restyled(word, parameters["lower"], parameters["bare"]) for word in text.split()):
            speakable = bool(_core(word)) and not _bracketed(word)
            if speakable and rng.random() < parameters["filler_rate"]:
                written.append(parameters["fillers"][int(rng.integers(len(parameters["fillers"])))])
            if speakable and rng.random() < parameters["repeat_rate"]:
                written.append(word)
            written.append(word)
        return " ".join(filter(None, written)) or text


@dataclasses.dataclass(frozen=True, kw_only=True)
class Synonyms(Words):
    """Replace a `share` of the words, at most `most`, by one of their synonyms in a given mapping; `seed` says which.

    The number of words is rounded up or down by chance, so that short utterances get their share on average.
    `synonyms` maps a word in lower case to others; case at the start of a word and punctuation around it stay. Give a
    mapping that keeps the mood: a thesaurus alone does not ("glad": "ecstatic").
    """

    name = "synonyms"
    synonyms: Mapping[str, Sequence[str]]
    most: float = 0.2

    def __post_init__(self) -> None:
        require_range(self, "most", self.most, 0, 1)
        for word, others in self.synonyms.items():
            _require_words(others, f"`synonyms` of {word!r}")

    @property
    def bounds(self) -> Bounds:
        return {"share": (0.0, self.most)}

    def draw(self, rng: np.random.Generator) -> Parameters:
        return {**super().draw(rng), "seed": draw_seed(rng)}

    def words(self, text: str, parameters: Parameters) -> str:
        rng, written = seeded(self, parameters), text.split()
        known = [place for place, word in enumerate(written) if _core(word).lower() in self.synonyms]
        chosen = rng.permutation(known)[: int(parameters["share"] * len(written) + rng.random())]
        for place in chosen.tolist():
            others = self.synonyms[_core(written[place]).lower()]
            written[place] = _replaced(written[place], others[int(rng.integers(len(others)))])
        return " ".join(written) if len(chosen) else text


@dataclasses.dataclass(kw_only=True)
class Paraphrase(Words):
    """Say it in the words of a language model: `generate` takes a list of texts and returns one paraphrase for each.

    Every text is asked for once: `ask` asks for many in one batch, `apply` for those that are not in `answers` yet,
    which may be saved and given again. A paraphrase that has no words, or over `longest` times as many, is no answer:
    the words stay, and `failures` counts them. `generate` never travels to other processes, `answers` do; `model` is
    what caches know it by, so name the checkpoint and the prompt.
    """

    name = "paraphrase"
    model: str
    generate: Callable[[list[str]], list[str]] | None = None
    answers: dict[str, str | None] = dataclasses.field(default_factory=dict)
    longest: float = 3.0

    @property
    def bounds(self) -> Bounds:
        return {}

    @property
    def failures(self) -> int:
        """How many texts were asked for and kept their words."""
        return sum(answer is None for answer in self.answers.values())

    def ask(self, texts: Iterable[str | None]) -> None:
        """Ask for all texts that have words and were not asked for; `AnnotationError` unless each is answered."""
        asked = [text for text in dict.fromkeys(texts) if text and text.strip() and text not in self.answers]
        if not asked:
            return
        if self.generate is None:
            raise AnnotationError(
                f"`generate`: no language model here to paraphrase {len(asked)} texts, the first is {asked[0]!r}; "
                "give one, or `ask` for them before the work is shared among processes"
            )
        said = self.generate(asked)
        if (
            not isinstance(said, (list, tuple))
            or len(said) != len(asked)
            or not all(isinstance(one, str) for one in said)
        ):
            raise AnnotationError(f"`generate` must return a list of {len(asked)} texts, not {said!r:.200}")
        self.answers.update((text, self._accepted(text, one)) for text, one in zip(asked, said, strict=True))

    def words(self, text: str, parameters: Parameters) -> str:
        self.ask([text])
        answer = self.answers[text]
        return text if answer is None else answer

    def _accepted(self, text: str, answer: str) -> str | None:
        words = answer.split()
        return " ".join(words) if 0 < len(words) <= self.longest * max(len(text.split()), 3) else None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "generate": None}


def paraphrase_with(
    pipeline: Callable[..., Any],
    prompt: str = "Say the same in other words, as briefly and in the same mood:\n{text}\n",
    **generation: Any,
) -> Callable[[list[str]], list[str]]:
    """Turn a text-generation pipeline of `transformers` into what `Paraphrase` takes; the first line is the answer.

    `generation` goes to the pipeline; without it the likeliest words are taken: the same for the same text.
    """
    settings = {"return_full_text": False, "do_sample": False, "max_new_tokens": 64, **generation}

    def generate(texts: list[str]) -> list[str]:
        replies = pipeline([prompt.format(text=text) for text in texts], **settings)
        return [reply[0]["generated_text"].strip().partition("\n")[0] for reply in replies]

    return generate


def _require_words(words: object, what: str) -> None:
    if not isinstance(words, (list, tuple)) or not words or not all(isinstance(word, str) and word for word in words):
        raise DistributionError(f"{what} must be a list of words, not {words!r}")


def _restyled(word: str, lower: bool, bare: bool) -> str:
    if _bracketed(word):
        return word
    word = _core(word) if bare else word
    return word.lower() if lower else word


def _bracketed(word: str) -> bool:
    return word.startswith(("[", "(", "<")) or word.endswith(("]", ")", ">"))


def _core(word: str) -> str:
    """The word without the punctuation around it; apostrophes and hyphens inside stay."""
    return _parts(word)[1]


def _parts(word: str) -> tuple[str, str, str]:
    before, core, after = re.fullmatch(_PARTS, word).groups()  # type: ignore[union-attr]  # it matches anything
    return before, core, after


def _replaced(word: str, other: str) -> str:
    before, core, after = _parts(word)
    return before + (other[0].upper() + other[1:] if core[0].isupper() else other) + after
