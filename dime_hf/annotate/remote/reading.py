"""What a chat endpoint's reply says: choices, their words, and the log-probabilities of their first token."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dime_hf.annotate.remote.endpoint import NoAnswerError

AMBIGUOUS = 0.01  # probability of a token that only begins an unseen option: beyond, the option's own cannot be told
ROUNDING = 1e-3  # by which a server's probabilities may exceed 1
FILTERED = "content_filter"
ANSWER_KEY = "answer"  # of the JSON object in which `response_format` wants an option


def check_choices(reply: Any) -> None:
    """Raise `NoAnswerError` for a reply without choices; some servers tell of an error so."""
    found = field(reply, "choices")
    if not isinstance(found, list) or not found:
        raise NoAnswerError("server", f"a reply without choices; its error: {field(reply, 'error')}", passes=True)


def choices_of(reply: Any, limit: int) -> list[Any]:
    """At most `limit` choices of a reply in the order of their index; of those that share an index the first."""
    by_index: dict[int, Any] = {}
    for place, choice in enumerate(reply.choices):
        index = field(choice, "index")
        by_index.setdefault(index if isinstance(index, int) else place, choice)
    return [by_index[index] for index in sorted(by_index)][:limit]


def token_counts(usage: Any) -> tuple[int, int] | None:
    """Tokens sent and received, as the endpoint counts them; None if it does not say."""
    if not isinstance(usage, dict):
        return None
    sent, received = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(sent, int) or not isinstance(received, int) or min(sent, received) < 0:
        return None
    return sent, received


def is_refusal(choice: Any) -> bool:
    """Whether the model, or a filter before it, refused to answer."""
    return bool(field(field(choice, "message"), "refusal")) or field(choice, "finish_reason") == FILTERED


def refusal_in(choice: Any) -> str:
    """The words of a refusal."""
    return str(field(field(choice, "message"), "refusal") or "the content filter of the endpoint")


def words_of(choice: Any) -> str:
    """What a choice says; nothing is an empty text."""
    content = field(field(choice, "message"), "content")
    return content if isinstance(content, str) else ""


def option_in_json(text: str) -> str:
    """The option in the JSON object that `response_format` asked for; other text as it is."""
    try:
        answer = json.loads(text)[ANSWER_KEY]
    except (ValueError, TypeError, KeyError):
        return text
    return answer if isinstance(answer, str) else text


def first_token(choice: Any) -> dict[str, float]:
    """Log-probabilities, nats, of the tokens that the answer may begin with, as far as the endpoint shows them."""
    content = field(field(choice, "logprobs"), "content")
    if not isinstance(content, list) or not content:
        raise NoAnswerError(
            "request", "the reply has no log-probabilities; ask this endpoint with `strategy=Sample()`"
        )
    shown = [*(field(content[0], "top_logprobs") or []), content[0]]
    found: dict[str, float] = {}
    for entry in shown:
        token, value = field(entry, "token"), field(entry, "logprob")
        if not isinstance(token, str) or isinstance(value, bool) or not isinstance(value, (int, float)):
            raise NoAnswerError("server", f"a token without a log-probability: {entry}")
        if math.isnan(value) or value > ROUNDING:
            raise NoAnswerError("server", f"the log-probability of {token!r} is {value}")
        found.setdefault(token, value)
    return found


def option_scores(seen: Mapping[str, float], tokens: Sequence[str]) -> NDArray[np.float64]:
    """Log-probabilities (C,), nats, of the options' `tokens`; -inf for one that is not `seen`."""
    scores = np.array([seen.get(token, -math.inf) for token in tokens])
    if not np.isfinite(scores.max()):
        likely = sorted(seen, key=lambda token: -seen[token])[:3]
        raise NoAnswerError(
            "reply", f"no option among the {len(seen)} likely first tokens, which are {likely} and so on"
        )
    if (total := float(np.exp(scores).sum())) > 1 + ROUNDING:
        raise NoAnswerError("server", f"the option probabilities sum to {total:g}")
    return scores


def check_whole(seen: Mapping[str, float], options: Sequence[str]) -> None:
    """Raise `NoAnswerError` where an unseen option begins with a likely token: it seems to need several tokens.

    That token's probability is that of all words that begin so, and how much of it is the option's nobody tells.
    """
    for option in (option for option in options if option not in seen):
        begun = {start: value for start, value in seen.items() if start and option.startswith(start)}
        if (share := sum(map(math.exp, begun.values()))) > AMBIGUOUS:
            raise NoAnswerError(
                "request",
                f"the option {option!r} seems to need several tokens: {', '.join(map(repr, begun))} has {share:.2g}, "
                "not all of it its own; choose a word of one token with `words`, or ask with `strategy=Sample()`",
            )


def averaged(windows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Log-probabilities (C,) of windows of one recording, as the mean of their probabilities."""
    return np.logaddexp.reduce(windows, axis=0) - math.log(len(windows))


def unseen_note(windows: Sequence[NDArray[np.float64]], options: Sequence[str], shown: int) -> str | None:
    """Say which options some window did not show: they have no probability there, it is off-option mass."""
    hidden = [place for place in range(len(options)) if any(np.isneginf(scores[place]) for scores in windows)]
    if not hidden:
        return None
    named = ", ".join(options[place] for place in hidden)
    return f"unseen: {named} not among the {shown} tokens shown"


def field(thing: Any, name: str) -> Any:
    """A field of a part of a reply, or None: servers leave out what they like, and put anything in its place."""
    return getattr(thing, name, None) if isinstance(thing, dict) else None
