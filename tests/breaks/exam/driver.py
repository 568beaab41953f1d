"""How the exam reaches the diagnosis: through pure functions or through a real SDK."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

from promptcache_emulator.response import ProviderResponse
from tests.breaks.exam.scenario import Step
from tests.breaks.exam.sent_request import SentRequest
from tests.breaks.exam.surfaces import Surface


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


def write_request(surface: Surface, step: Step) -> SentRequest:
    """Return the request of a step as the surface writes it."""
    headers = {"authorization": f"Bearer {step.key}", **step.prompt.headers}
    body = json.dumps(surface.body(step.prompt)).encode()
    return SentRequest(surface.url(step.prompt), body, headers)


class Driver(Protocol):
    """One application under test. It makes the calls of one conversation.

    `first_byte` is the part of a call's time after which its answer begins: 1 without streams.
    """

    first_byte: float

    def send(self, step: Step) -> tuple[Any, SentRequest]:
        """Send a request. Return the running call, and the request as it left the process."""
        ...

    def begin(self, call: Any, response: ProviderResponse) -> None:
        """Begin to answer a call."""
        ...

    def end(self, call: Any, response: ProviderResponse) -> Observed:
        """End the answer to a call. Return what promptcache said of it."""
        ...

    def body(self, step: Step) -> SentRequest:
        """Return the request of a step without sending it."""
        ...
