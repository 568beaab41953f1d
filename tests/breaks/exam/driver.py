"""How the exam reaches the diagnosis: through pure functions or through a real SDK."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from promptcache_emulator.response import ProviderResponse
from tests.breaks.exam.scenario import Step


@dataclass(frozen=True)
class SentRequest:
    """A request on the wire."""

    path: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Observed:
    """What promptcache said of a call. A field is None where it said nothing."""

    outcome: str | None = None
    reason: str | None = None
    section: str | None = None
    index: int | None = None
    offset: int | None = None
    hint: str | None = None
    missed_tokens: int | None = None
    wasted_usd: float | None = None
    read_tokens: int | None = None
    write_tokens: int | None = None
    input_tokens: int | None = None
    prices: Prices | None = None


@dataclass(frozen=True)
class Prices:
    """What a token costs in USD: plain, read from the cache, written to it."""

    plain: float
    read: float
    write: float


class Driver(Protocol):
    """One application under test. It makes the calls of one conversation."""

    def send(self, step: Step) -> tuple[Any, SentRequest]:
        """Send a request. Return the running call, and the request as it left the process."""
        ...

    def end(self, call: Any, response: ProviderResponse | None) -> Observed:
        """End a call with a response, or cancel it."""
        ...

    def body(self, step: Step) -> SentRequest:
        """Return the request of a step without sending it."""
        ...
