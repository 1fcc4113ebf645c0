"""One request to an endpoint: how many at a time, how long each may take, which failures pass and are tried again."""

from __future__ import annotations

import asyncio
import dataclasses
import email.utils
import json
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

from dime_hf.annotate.annotator import FailureKind
from dime_hf.annotate.remote.budget import Budget, Ledger
from dime_hf.errors import AnnotationError

logger = logging.getLogger(__name__)

PASSING = {408, 409, 425, 429}  # and 5xx
STOPPING = {401, 402, 403, 407}  # no other request would fare better
NO_CREDIT = "insufficient_quota"  # said with status 429 by those that mean 402
EXCERPT = 200  # letters of what a server says

Send = Callable[[Mapping[str, Any]], Awaitable[tuple[Any, tuple[int, int] | None]]]  # body -> reply, tokens in and out


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long an endpoint is waited for. Seconds.

    A request may take `timeout`. What can pass is tried again, `retries` times, after a random wait up to `first_wait`
    doubled each time, at most `longest_wait`; or after what `Retry-After` says, unless that is longer than
    `longest_wait`. After `give_up_after` failed questions in a row the run stops.
    """

    timeout: float = 120.0
    retries: int = 5
    first_wait: float = 1.0
    longest_wait: float = 60.0
    give_up_after: int = 20

    def __post_init__(self) -> None:
        if not (self.timeout > 0 and self.retries >= 0 and self.give_up_after >= 1):
            raise AnnotationError(
                f"`patience` needs a positive `timeout`, no negative `retries` and a positive `give_up_after`: {self}"
            )
        if not 0 <= self.first_wait <= self.longest_wait:
            raise AnnotationError(f"`patience` needs 0 <= `first_wait` <= `longest_wait`: {self}")


class NoAnswerError(Exception):
    """Why a question has no answer: the `kind` of failure, whether it `passes`, whether it `stops` the run.

    `wait` is how many seconds the server asks to wait.
    """

    def __init__(
        self, kind: FailureKind, text: str, *, passes: bool = False, stops: bool = False, wait: float | None = None
    ):
        super().__init__(text)
        self.kind, self.passes, self.stops, self.wait = kind, passes, stops, wait


class Line:
    """The line to an endpoint while a batch is asked. `secret` is taken out of whatever the server says."""

    def __init__(
        self, send: Send, ledger: Ledger, budget: Budget, patience: Patience, concurrency: int, secret: str | None
    ):
        self.send, self.ledger, self.budget, self.patience, self.secret = send, ledger, budget, patience, secret
        self.concurrency = concurrency
        self.measured = not budget.counts_tokens or ledger.dearest is not None
        self.slots = asyncio.Semaphore(concurrency if self.measured else 1)  # the first request tells what one costs
        self.not_before = 0.0  # `time.monotonic`: a rate limit holds for all requests
        self.chance = random.Random()

    async def ask(self, body: Mapping[str, Any]) -> Any:
        """Return the reply to a request, or raise `NoAnswerError`."""
        attempt = 0
        while True:
            try:
                return await self._once(body)
            except NoAnswerError as fault:
                if fault.stops:
                    self.ledger.stop(str(fault))
                too_long = fault.wait is not None and fault.wait > self.patience.longest_wait
                if not fault.passes or too_long or attempt >= self.patience.retries:
                    raise
                pause = self._pause(fault, attempt)
            logger.debug("trying again in %.2f s", pause)
            await asyncio.sleep(pause)
            attempt += 1

    def _pause(self, fault: NoAnswerError, attempt: int) -> float:
        """Seconds to wait before the next attempt: what the server says, and a random part that grows."""
        if fault.wait is not None:
            self.not_before = max(self.not_before, time.monotonic() + fault.wait)
        spread = min(self.patience.longest_wait, self.patience.first_wait * 2**attempt)
        return (fault.wait or 0.0) + self.chance.uniform(0, spread)

    async def _once(self, body: Mapping[str, Any]) -> Any:
        async with self.slots:
            while (left := self.not_before - time.monotonic()) > 0:
                await asyncio.sleep(left)
            if self.ledger.stopped:
                raise NoAnswerError("request", f"not asked, since the run stopped: {self.ledger.stopped}")
            if not self.ledger.admits(self.budget):
                raise NoAnswerError("budget", f"not asked: the next request could exceed {self.budget}")
            reply, usage = await self._send(body)
            self._count(usage)
            return reply

    async def _send(self, body: Mapping[str, Any]) -> tuple[Any, tuple[int, int] | None]:
        """Send, with a limit on the whole time: a server that sends byte by byte keeps within any limit a read."""
        self.ledger.requests += 1
        self.ledger.under_way += 1
        try:
            async with asyncio.timeout(self.patience.timeout):
                return await self.send(body)
        except (HTTPError, OSError, ValueError, RecursionError) as error:
            fault = fault_of(error, self.patience.timeout)
            billed = not isinstance(error, (HTTPError, OSError)) or isinstance(error, TimeoutError)
        except NoAnswerError as error:
            fault, billed = error, True
        finally:
            self.ledger.under_way -= 1
        if billed:  # the model may have worked, whatever came of it
            self.ledger.count_unknown()
        # Raised here and not above: the error of the client holds the request, and with it the key.
        raise NoAnswerError(
            fault.kind, self._without_secret(str(fault)), passes=fault.passes, stops=fault.stops, wait=fault.wait
        )

    def _count(self, usage: tuple[int, int] | None) -> None:
        if usage is not None:
            self.ledger.count(*usage)
        elif self.budget.counts_tokens:
            self.ledger.stop(
                f"`budget` caps tokens or money, but the endpoint reports no usage: cap `requests` instead of "
                f"{self.budget}"
            )
        if not self.measured:
            self.measured = True
            for _ in range(self.concurrency - 1):
                self.slots.release()

    def _without_secret(self, text: str) -> str:
        return text.replace(self.secret, "***") if self.secret else text


def fault_of(error: Exception, timeout: float) -> NoAnswerError:
    """What an error of the client means."""
    if isinstance(error, HfHubHTTPError):
        return _fault_of_status(error.response)
    if isinstance(error, TimeoutError):
        return NoAnswerError("timeout", f"no whole answer within {timeout:g} s", passes=True)
    if isinstance(error, OfflineModeIsEnabled):
        return NoAnswerError("request", "HF_HUB_OFFLINE forbids any request: unset it to ask an endpoint", stops=True)
    if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)):
        return NoAnswerError("server", f"the answer is no JSON: {error}", passes=True)
    if isinstance(error, RecursionError):  # the client's types never come to an end with a number unequal to itself
        return NoAnswerError("server", "the answer holds NaN")
    if isinstance(error, ValueError):
        return NoAnswerError("server", f"the client cannot send this, or read what came: {_excerpt(str(error))}")
    return NoAnswerError("server", f"no connection, or a broken one: {type(error).__name__} {error}", passes=True)


def _fault_of_status(response: Any) -> NoAnswerError:
    status, said = response.status_code, _excerpt(response.text)
    text = f"status {status}: {said}"
    if status in STOPPING or (status == 429 and NO_CREDIT in response.text):
        return NoAnswerError("request", f"the endpoint refuses the key or the account, {text}", stops=True)
    passes = status in PASSING or (status >= 500 and status != 501)
    kinds: dict[int, FailureKind] = {429: "rate_limit", 408: "timeout"}
    kind = kinds.get(status, "server" if passes else "request")
    return NoAnswerError(kind, text, passes=passes, wait=retry_after(response.headers) if passes else None)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait, given as a number or as a date; None if it does not say.

    >>> retry_after({"retry-after": "Thu, 01 Jan 2026 00:00:09 GMT", "date": "Thu, 01 Jan 2026 00:00:02 GMT"})
    7.0
    """
    said = headers.get("retry-after")
    if said is None:
        return None
    try:
        seconds = float(said)
    except ValueError:
        until = _time(said)
        seconds = math.nan if until is None else until - (_time(headers.get("date")) or time.time())
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _time(date: str | None) -> float | None:
    """Seconds since 1970 of an HTTP date; None if it is none."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        return None


def _excerpt(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= EXCERPT else text[: EXCERPT - 3] + "..."
