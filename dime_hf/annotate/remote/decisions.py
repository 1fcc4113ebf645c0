"""Option probabilities as a service: one small JSON protocol, for models that decide and do not chat."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dime_hf.annotate import replies
from dime_hf.annotate.annotator import Answer
from dime_hf.annotate.remote.annotator import Remote, Utterance
from dime_hf.annotate.remote.endpoint import Line, NoAnswerError, Send
from dime_hf.annotate.remote.reading import ROUNDING, averaged, token_counts
from dime_hf.annotate.strategies import Ask, Options
from dime_hf.errors import AnnotationError


@dataclasses.dataclass(frozen=True)
class DecisionAnnotator(Remote):
    """Annotator that POSTs every question to `base_url` and gets log-probabilities of the options.

    Request: {"model", "audio": WAV in base64, "messages": [...], "options": [...]}; the messages are those of
    `prompts.conversation`, with {"type": "audio"} in place of the sound. Response: {"log_probabilities": [nats, one an
    option, null for none], "usage": {"prompt_tokens", "completion_tokens"} or nothing}; what they lack of
    probability 1 is off the options. The other arguments are those of `RemoteAnnotator`.
    """

    _: dataclasses.KW_ONLY
    orders: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base_url is None:
            raise AnnotationError("`base_url` is needed: the address of the decision endpoint")

    @property
    def _asks(self) -> tuple[Ask, ...]:
        return Options(self.orders).asks(self.prompts, len(self.label_set))

    def _key_parts(self, ask: Ask) -> list[Any]:
        return ["decisions"]

    async def _connect(self, stack: contextlib.AsyncExitStack, key: str | None) -> Send:
        from huggingface_hub import get_async_session
        from huggingface_hub.utils import hf_raise_for_status

        session = await stack.enter_async_context(get_async_session())
        headers = {"authorization": f"Bearer {key}"} if key else {}

        async def send(body: Mapping[str, Any]) -> tuple[Any, tuple[int, int] | None]:
            response = await session.post(str(self.base_url), json=body, headers=headers)
            hf_raise_for_status(response)
            reply = response.json()
            return reply, token_counts(reply.get("usage")) if isinstance(reply, dict) else None

        return send

    async def _elicit(self, line: Line, ask: Ask, row: Utterance) -> Answer:
        body = {
            "model": self.model,
            "messages": ask.messages(self.options, row.text),
            "options": list(self.options),
        }
        found = await asyncio.gather(*(line.ask({**body, "audio": window}) for window in row.windows))
        windows = [_scores(reply, len(self.options)) for reply in found]
        return replies.from_log_probabilities(self._proxy(ask), ask.order, averaged(windows))


def _scores(reply: Any, size: int) -> NDArray[np.float64]:
    """Log-probabilities (C,) in a reply, or `NoAnswerError`."""
    said = reply.get("log_probabilities") if isinstance(reply, dict) else None
    if not isinstance(said, list) or len(said) != size:
        raise NoAnswerError("server", f"no {size} `log_probabilities` in the reply")
    if any(isinstance(value, (bool, str, list, dict)) for value in said):
        raise NoAnswerError("server", f"`log_probabilities` that are no numbers: {said}")
    scores = np.array([-math.inf if value is None else value for value in said], dtype=float)
    total = float(np.exp(scores).sum())
    if not 0 < total <= 1 + ROUNDING:  # false for NaN, too
        raise NoAnswerError("server", f"`log_probabilities` whose probabilities sum to {total:g}: {said}")
    return scores
