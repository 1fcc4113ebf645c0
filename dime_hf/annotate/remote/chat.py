"""Chat models that hear, behind an OpenAI-compatible endpoint: vLLM, hosted APIs, Inference Endpoints."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from dime_hf.annotate import replies
from dime_hf.annotate.annotator import Answer
from dime_hf.annotate.remote import reading
from dime_hf.annotate.remote.annotator import Remote, Utterance, too_long
from dime_hf.annotate.remote.endpoint import Line, NoAnswerError, Send
from dime_hf.annotate.strategies import Ask, Options, Strategy
from dime_hf.columns import OK
from dime_hf.errors import AnnotationError

NO_KEY = {"authorization": None}  # the client would send the user's Hugging Face token to whatever endpoint it is
SEEDS = 2**31


@dataclasses.dataclass(frozen=True)
class RemoteAnnotator(Remote):
    """Annotator that asks `model` at `base_url` (or at a `provider` of Hugging Face's Inference Providers).

    `key_from` names the environment variable that holds the key, `allow_upload` the corpora that may leave this
    machine. Answers are kept by model and `revision`, whatever the address. `Options` reads the `top_logprobs`
    likeliest tokens, or with `token_ids` (one a class, vLLM) exactly the options', on average over windows of
    `max_seconds`. `constrain` holds draws to the options; a `base_url` takes `response_format` as TGI words it.
    `extra_body` goes over every request: {"n": 1} suits an endpoint that gives one draw at a time.
    """

    _: dataclasses.KW_ONLY
    provider: str | None = None
    strategy: Strategy = dataclasses.field(default_factory=Options)
    audio_as: Literal["input_audio", "audio_url"] = "input_audio"
    constrain: Literal["structured_outputs", "response_format"] = "structured_outputs"
    top_logprobs: int = 20
    token_ids: tuple[int, ...] | None = None
    extra_body: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.token_ids is not None:
            object.__setattr__(self, "token_ids", tuple(self.token_ids))
            if len(self.token_ids) != len(self.label_set) or len(set(self.token_ids)) < len(self.token_ids):
                raise AnnotationError(
                    f"`token_ids` must be one token for each of {self.label_set}; got {self.token_ids}"
                )
        for argument, allowed in (("audio_as", _AUDIO_PARTS), ("constrain", _CONSTRAINTS)):
            if getattr(self, argument) not in allowed:
                raise AnnotationError(f"`{argument}` must be one of {tuple(allowed)}; got {getattr(self, argument)!r}")

    @property
    def _asks(self) -> tuple[Ask, ...]:
        return self.strategy.asks(self.prompts, len(self.label_set))

    def _key_parts(self, ask: Ask) -> list[Any]:
        by_form = {"probabilities": [self.top_logprobs, self.token_ids], "choices": [self.constrain]}
        return [self.provider, self.audio_as, dict(self.extra_body), by_form.get(ask.form)]

    async def _connect(self, stack: contextlib.AsyncExitStack, key: str | None) -> Send:
        from huggingface_hub import AsyncInferenceClient

        headers: Any = NO_KEY if key is None and self.base_url else None
        client = AsyncInferenceClient(
            provider=self.provider,  # type: ignore[arg-type]
            base_url=self.base_url,
            api_key=key,
            headers=headers,
        )
        await stack.enter_async_context(client)

        async def send(body: Mapping[str, Any]) -> tuple[Any, tuple[int, int] | None]:
            reply = await client.chat_completion(model=self.model, **body)
            reading.check_choices(reply)
            return reply, reading.token_counts(reading.field(reply, "usage"))

        return send

    async def _elicit(self, line: Line, ask: Ask, row: Utterance) -> Answer:
        if ask.form == "probabilities":
            return await self._probabilities(line, ask, row)
        if len(row.windows) > 1:
            raise too_long(self.max_seconds)
        choices = await self._draws(line, ask, row)
        if all(map(reading.is_refusal, choices)):
            raise NoAnswerError("refusal", reading.refusal_in(choices[0]))
        said = ["" if reading.is_refusal(choice) else reading.words_of(choice) for choice in choices]
        if ask.form == "shares":
            answer = replies.verbalised(self._proxy(ask), ask.order, said, self.options)
            if answer["status"] != OK and reading.field(choices[0], "finish_reason") == "length":
                answer["error"] = f"{answer['error']} (cut at {ask.max_tokens} tokens)"
            return answer
        if ask.form == "choices" and self.constrain == "response_format":
            said = [reading.option_in_json(text) for text in said]
        return replies.drawn(self._proxy(ask), ask.order, said, self.options)

    async def _probabilities(self, line: Line, ask: Ask, row: Utterance) -> Answer:
        """Probabilities of the options, of a recording's windows on average."""
        extra = dict(self.extra_body)
        if self.token_ids is not None:
            extra |= {"logprob_token_ids": list(self.token_ids), "return_tokens_as_token_ids": True}
        # At temperature 1 it does not matter whether a server gives log-probabilities before or after temperature.
        how = {"logprobs": True, "top_logprobs": self.top_logprobs, "temperature": 1.0, "top_p": 1.0}
        found = await asyncio.gather(
            *(line.ask(self._body(ask, row, n, extra, **how)) for n in range(len(row.windows)))
        )
        choices = [reading.choices_of(reply, 1)[0] for reply in found]
        if refused := [choice for choice in choices if reading.is_refusal(choice)]:
            raise NoAnswerError("refusal", reading.refusal_in(refused[0]))
        shown = [reading.first_token(choice) for choice in choices]
        if self.token_ids is None:
            for seen in shown:
                reading.check_whole(seen, self.options)
        windows = [reading.option_scores(seen, self._tokens) for seen in shown]
        answer = replies.from_log_probabilities(self._proxy(ask), ask.order, reading.averaged(windows))
        answer["error"] = reading.unseen_note(windows, self.options, min(map(len, shown)))
        return answer

    @property
    def _tokens(self) -> list[str]:
        """The options' tokens as the endpoint spells them."""
        if self.token_ids is None:
            return list(self.options)
        return [f"token_id:{token}" for token in self.token_ids]

    async def _draws(self, line: Line, ask: Ask, row: Utterance) -> list[Any]:
        """`ask.draws` choices: in one request where all have one temperature, and more where it returns fewer."""
        low, high = ask.temperatures
        if low < high:
            temperatures = ask.draw_temperatures(row.id)
            single = [self._draw(line, ask, row, 1, float(t), str(n)) for n, t in enumerate(temperatures)]
            return [choice for choices in await asyncio.gather(*single) for choice in choices]
        drawn = await self._draw(line, ask, row, ask.draws, low, "0")
        each = len(drawn)  # what the endpoint gives at a time
        while missing := ask.draws - len(drawn):
            sizes = [min(each, missing - start) for start in range(0, missing, each)]
            more = [self._draw(line, ask, row, size, low, str(len(drawn) + n)) for n, size in enumerate(sizes)]
            drawn += [choice for choices in await asyncio.gather(*more) for choice in choices]
        return drawn

    async def _draw(
        self, line: Line, ask: Ask, row: Utterance, count: int, temperature: float, turn: str
    ) -> list[Any]:
        """At least one and at most `count` choices of one request; its seed depends on the `turn`."""
        extra = dict(self.extra_body)
        how: dict[str, Any] = {
            "temperature": temperature,
            "seed": int(ask.generator(row.id, "seed", turn).integers(SEEDS)),
        }
        if count > 1:
            how["n"] = count
        if ask.form == "choices":
            constraint = _CONSTRAINTS[self.constrain](self.options)
            if self.constrain == "structured_outputs":
                extra[self.constrain] = constraint
            else:
                how[self.constrain] = constraint
        return reading.choices_of(await line.ask(self._body(ask, row, 0, extra, **how)), count)

    def _body(self, ask: Ask, row: Utterance, window: int, extra: Mapping[str, Any], **how: Any) -> dict[str, Any]:
        """Arguments of `chat_completion`."""
        messages = ask.messages(self.options, row.text)
        sound = _AUDIO_PARTS[self.audio_as](row.windows[window])
        messages[1]["content"] = [sound if part["type"] == "audio" else part for part in messages[1]["content"]]
        return {"messages": messages, "max_tokens": ask.max_tokens, "extra_body": dict(extra) or None, **how}


def _input_audio(wav: str) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": wav, "format": "wav"}}


def _audio_url(wav: str) -> dict[str, Any]:
    return {"type": "audio_url", "audio_url": {"url": f"data:audio/wav;base64,{wav}"}}


def _choice(options: Sequence[str]) -> dict[str, Any]:
    return {"choice": list(options)}


def _schema(options: Sequence[str]) -> dict[str, Any]:
    """A JSON object with one option in it: strict schemas must be objects."""
    schema = {
        "type": "object",
        "properties": {reading.ANSWER_KEY: {"type": "string", "enum": list(options)}},
        "required": [reading.ANSWER_KEY],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "emotion", "strict": True, "schema": schema}}


_AUDIO_PARTS = {"input_audio": _input_audio, "audio_url": _audio_url}
_CONSTRAINTS = {"structured_outputs": _choice, "response_format": _schema}
