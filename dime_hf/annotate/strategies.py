"""How an answer is elicited: which asks a strategy makes of a prompt, and in which form the answer is wanted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np

from dime_hf.annotate.prompts import ANSWER, ANSWER_SHARES, Prompt, conversation, cyclic_orders
from dime_hf.errors import AnnotationError

# probabilities of the options; draws among the options; draws in free text; a distribution in JSON
Form = Literal["probabilities", "choices", "words", "shares"]
PAPER_BANDS = ((0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 0.93))  # temperatures; arXiv 2601.14620
MAX_TOKENS: dict[Form, int] = {"probabilities": 1, "choices": 16, "words": 16, "shares": 160}


@dataclasses.dataclass(frozen=True)
class Ask:
    """One thing that is asked about every utterance; one answer comes of it.

    `draws` independent replies are sampled, each at its own temperature from `temperatures` (uniform between low and
    high). `seed` tells apart asks that are otherwise alike. `label` ends the name of the proxy.
    """

    prompt: Prompt
    order: tuple[int, ...]
    form: Form = "probabilities"
    draws: int = 1
    temperatures: tuple[float, float] = (0.0, 0.0)
    seed: int = 0
    label: str = ""

    @property
    def max_tokens(self) -> int:
        """Tokens that a reply may have."""
        return MAX_TOKENS[self.form]

    def messages(self, options: Sequence[str], text: str | None) -> list[dict[str, Any]]:
        """Chat messages about one recording; see `prompts.conversation`."""
        wanted = ANSWER_SHARES if self.form == "shares" else ANSWER
        return conversation(self.prompt, options, self.order, text, wanted)

    def describe(self) -> dict[str, str]:
        """What a card tells of it."""
        forms = {
            "probabilities": "probabilities of the options",
            "choices": "draws among the options",
            "words": "draws in free text",
            "shares": "a distribution in words",
        }
        low, high = self.temperatures
        heat = f"{low:g}" if low == high else f"{low:g}-{high:g}"
        drawn = "" if self.form == "probabilities" else f", {self.draws} at temperature {heat}"
        return {"prompt": self.prompt.attention, "strategy": forms[self.form] + drawn}

    def draw_temperatures(self, utterance: str) -> np.ndarray:
        """Temperatures (draws,) for one utterance: the same whatever else is asked, and in which order."""
        return self.generator(utterance, "temperatures").uniform(*self.temperatures, self.draws)

    def generator(self, utterance: str, *purpose: str) -> np.random.Generator:
        """Random numbers of this ask about one utterance, by the `purpose` that they serve."""
        key = "\0".join([*purpose, self.prompt.name, self.form, repr(self.order), utterance])
        return np.random.default_rng([self.seed, *key.encode()])

    @property
    def key(self) -> list[Any]:
        """What changes the answer, beside the messages."""
        if self.form == "probabilities":
            return [self.form]
        return [self.form, self.draws, self.temperatures, self.seed, self.max_tokens]


class Strategy(Protocol):
    """A way to elicit answers: `asks` returns what is asked about every utterance, over `size` classes."""

    def asks(self, prompts: Sequence[Prompt], size: int) -> tuple[Ask, ...]: ...


@dataclasses.dataclass(frozen=True)
class Options:
    """Probabilities of the answer options, exactly, from one prefill; in `orders` cyclic option orders a prompt."""

    orders: int = 1

    def asks(self, prompts: Sequence[Prompt], size: int) -> tuple[Ask, ...]:
        """Every prompt in every option order."""
        return tuple(Ask(prompt, order) for prompt in prompts for order in cyclic_orders(size, self.orders))


@dataclasses.dataclass(frozen=True)
class Sample:
    """`draws` votes a prompt and option order, sampled at `temperature`.

    With `constrained`, only options can be drawn; otherwise the model answers in words, and what names no option is
    counted as off-option mass. Same `seed`, same votes.
    """

    draws: int = 10
    temperature: float = 1.0
    orders: int = 1
    constrained: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        _check_draws(self.draws)
        if not 0 <= self.temperature <= 2:
            raise AnnotationError(f"`temperature` must lie between 0 and 2; got {self.temperature}")

    def asks(self, prompts: Sequence[Prompt], size: int) -> tuple[Ask, ...]:
        """Every prompt in every option order."""
        form: Form = "choices" if self.constrained else "words"
        band = (self.temperature, self.temperature)
        return tuple(
            Ask(prompt, order, form, self.draws, band, self.seed, f"-{form}")
            for prompt in prompts
            for order in cyclic_orders(size, self.orders)
        )


@dataclasses.dataclass(frozen=True)
class Verbalised:
    """The model writes down the distribution itself, in JSON (greedily, or sampled at `temperature`).

    Such answers often break their contract (a fifth of published ones moved the most probable class): compare with
    `Options` before use. arXiv 2305.14975 and `dime_hf.annotate.replies.verbalised`.
    """

    temperature: float = 0.0
    orders: int = 1
    seed: int = 0

    def asks(self, prompts: Sequence[Prompt], size: int) -> tuple[Ask, ...]:
        """Every prompt in every option order."""
        band = (self.temperature, self.temperature)
        return tuple(
            Ask(prompt, order, "shares", 1, band, self.seed, "-verbalised")
            for prompt in prompts
            for order in cyclic_orders(size, self.orders)
        )


@dataclasses.dataclass(frozen=True)
class Paper:
    """The reference recipe: `draws` simulated annotators, each with a prompt and a temperature band, one word each.

    The i-th annotator has prompt i mod 5 and band i mod 5, so that prompt and temperature are confounded;
    `coupled=False` gives it band i // 5 mod 5 instead. arXiv 2601.14620.
    """

    draws: int = 8
    coupled: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        _check_draws(self.draws)

    def asks(self, prompts: Sequence[Prompt], size: int) -> tuple[Ask, ...]:
        """One ask an annotator; the options are listed in the order of the classes."""
        identity = tuple(range(size))
        asks = []
        for i in range(self.draws):
            band = PAPER_BANDS[(i if self.coupled else i // len(prompts)) % len(PAPER_BANDS)]
            label = f"@{band[0]:g}-{band[1]:g}"
            asks.append(Ask(prompts[i % len(prompts)], identity, "words", 1, band, self.seed * 10_000 + i, label))
        return tuple(asks)


def _check_draws(draws: int) -> None:
    if draws < 1:
        raise AnnotationError(f"`draws` must be at least 1; got {draws}")
