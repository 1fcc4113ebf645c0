"""What an endpoint may cost, and what it has cost so far."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from dime_hf.errors import AnnotationError

MILLION = 1e6


@dataclasses.dataclass(frozen=True)
class Budget:
    """Caps on what an annotator uses in its life, in this process; None is no cap.

    `tokens` are those sent and received as the endpoint counts them, `money` what they cost at `price_in` and
    `price_out` for a million. A request is made only if the dearest so far would still fit, beside those under way.
    """

    requests: int | None = None
    tokens: int | None = None
    money: float | None = None
    price_in: float | None = None
    price_out: float | None = None

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value is not None and not value >= 0:
                raise AnnotationError(f"`{name}` of a budget must not be negative; got {value}")
        if self.money is not None and (self.price_in is None or self.price_out is None):
            raise AnnotationError("`money` caps nothing without `price_in` and `price_out`, per million tokens")

    @property
    def counts_tokens(self) -> bool:
        """Whether a cap depends on what the endpoint reports."""
        return self.tokens is not None or self.money is not None

    def price(self, sent: float, received: float) -> float:
        """What tokens cost; 0 where no price is known."""
        return (sent * (self.price_in or 0) + received * (self.price_out or 0)) / MILLION


class Spent(NamedTuple):
    """What has been used: requests, tokens sent and received, and their price."""

    requests: int
    tokens_in: int
    tokens_out: int
    money: float


@dataclasses.dataclass
class Ledger:
    """All that changes about a remote annotator: what it used, and how its endpoint fares. Plain numbers and words."""

    requests: int = 0
    sent: int = 0
    received: int = 0
    dearest: tuple[int, int] | None = None  # most tokens sent, and received, by one request; None before the first
    under_way: int = 0
    failures: int = 0  # in a row
    stopped: str | None = None  # why nothing more is asked
    cleared: bool = False  # whether the dataset may be sent

    def admits(self, budget: Budget) -> bool:
        """Whether one more request fits, if those under way and this one cost as much as the dearest so far."""
        ahead = self.under_way + 1
        sent, received = (
            used + ahead * most for used, most in zip((self.sent, self.received), self.dearest or (0, 0), strict=True)
        )
        return (
            (budget.requests is None or self.requests < budget.requests)
            and (budget.tokens is None or sent + received <= budget.tokens)
            and (budget.money is None or budget.price(sent, received) <= budget.money)
        )

    def count(self, sent: int, received: int) -> None:
        """Enter the tokens of one request."""
        self.sent += sent
        self.received += received
        before = self.dearest or (0, 0)
        self.dearest = (max(before[0], sent), max(before[1], received))

    def count_unknown(self) -> None:
        """Enter a request that may be billed although no answer came: as the dearest so far."""
        if self.dearest is not None:
            self.count(*self.dearest)

    def new_run(self) -> None:
        """Forget how the endpoint fared, not what was used."""
        self.failures, self.stopped, self.under_way = 0, None, 0

    def stop(self, reason: str) -> None:
        """Ask nothing more in this run; the first reason counts."""
        self.stopped = self.stopped or reason

    def raise_if_stopped(self) -> None:
        """Raise `AnnotationError` with the reason, once: who asks again tries again."""
        if self.stopped:
            reason = self.stopped
            self.new_run()
            raise AnnotationError(f"{reason} (what was answered before is kept: run again to ask the rest)")
