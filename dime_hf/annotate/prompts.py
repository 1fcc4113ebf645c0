"""What an audio LM is asked: where it should attend, which options it may answer with, in which order they are listed.

The recording comes first and the transcript after it, then the question that all prompts share, then the prompt's own
words, then the options: what varies comes last, so that prompts and option orders share as long a prefix as they can.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from dime_hf.errors import AnnotationError

SYSTEM = "You hear a person speak and tell which emotion you perceive."
QUESTION = "Which emotion does the speaker express?"
TRANSCRIPT = 'The speaker says: "{text}"'
ANSWER = "Answer with one of these words and nothing else: {options}."
ANSWER_SHARES = (
    "Of 100 listeners, how many would choose each of these words? Answer with a JSON object that gives every word its "
    "share, from 0 to 1, together 1, and with nothing else: {options}."
)

# Class names that are nouns read badly as an answer about a person; the others are shown as they are.
OPTION_WORDS: Mapping[str, str] = {
    "surprise": "surprised",
    "fear": "fearful",
    "disgust": "disgusted",
    "contempt": "contemptuous",
}


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One way to ask: `attention` says what to listen for, `transcript` whether the words are shown where known."""

    name: str
    attention: str
    transcript: bool = True


PROMPTS = (
    Prompt("tone_and_words", "Weigh the sound of the voice and the words that are said equally."),
    Prompt("tone", "Listen to the voice above all: its pitch, loudness, pace and timbre."),
    Prompt("word_choice", "Go by the words above all: what the speaker chose to say, and how it was put."),
    Prompt("subtle_cues", "Mind the small signs: pauses, breath, a tremble, a sigh, a word that is stressed."),
    Prompt("what_and_how", "First note what is said, then how it is said, and judge by the two together."),
)


def option_words(label_set: Sequence[str], words: Mapping[str, str] = OPTION_WORDS) -> tuple[str, ...]:
    """Word that stands for every class in a prompt, in the order of the classes.

    >>> option_words(("angry", "fear"))
    ('angry', 'fearful')
    """
    options = tuple(words.get(name, name) for name in label_set)
    if len(set(options)) < len(options):
        raise AnnotationError(f"`words` must tell all classes apart, but they read {options} for {tuple(label_set)}")
    return options


def cyclic_orders(size: int, count: int) -> tuple[tuple[int, ...], ...]:
    """Return `count` orders of the classes 0 .. size-1, rotations spread evenly, the identity first.

    >>> cyclic_orders(4, 2)
    ((0, 1, 2, 3), (2, 3, 0, 1))
    """
    if not 1 <= count <= size:
        raise AnnotationError(f"`orders` must lie between 1 and the number of classes, {size}; got {count}")
    starts = [i * size // count for i in range(count)]
    return tuple(tuple((start + i) % size for i in range(size)) for start in starts)


def conversation(
    prompt: Prompt, options: Sequence[str], order: Sequence[int], text: str | None, answer: str = ANSWER
) -> list[dict[str, Any]]:
    """Chat messages that ask `prompt` about one recording, the `options` (C,) listed in `order`.

    The audio is a placeholder: the waveform itself goes to the processor. `text` null or empty shows no transcript.
    `answer` says how to answer, with the options in place of `{options}`.
    """
    lines = [TRANSCRIPT.format(text=text)] if prompt.transcript and text else []
    lines += [QUESTION, prompt.attention, answer.format(options=", ".join(options[c] for c in order))]
    content = [{"type": "audio"}, {"type": "text", "text": "\n".join(lines)}]
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": content}]


def as_text(messages: Sequence[dict[str, Any]]) -> str:
    """A conversation as people read it, with `<recording>` where the audio goes."""
    lines = []
    for message in messages:
        content = message["content"]
        parts = [content] if isinstance(content, str) else [part.get("text", "<recording>") for part in content]
        lines.append(f"[{message['role']}]\n" + "\n".join(parts))
    return "\n".join(lines)
