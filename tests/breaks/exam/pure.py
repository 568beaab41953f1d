"""The pure path: the functions of the diagnosis, called as the hooks of the SDKs call them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from promptcache import Settings
from promptcache.diagnosis.diagnosis import Diagnosis
from promptcache.model import Cost, Request, ResponseFacts, Usage, Verdict
from promptcache.prices import PriceBook
from promptcache_emulator.response import ProviderResponse
from tests.breaks.exam.driver import Observed, Prices, write_request
from tests.breaks.exam.scenario import Step
from tests.breaks.exam.sent_request import SentRequest
from tests.breaks.exam.surfaces import Surface

_PRICES = PriceBook.load_with_user_prices(None)


class PureDriver:
    """Calls the diagnosis when a request is sent and when its answer is complete."""

    first_byte = 1.0

    def __init__(self, surface: Surface, clock: Callable[[], float]) -> None:
        self._surface, self._clock = surface, clock
        self._diagnosis = Diagnosis(Settings())

    def body(self, step: Step) -> SentRequest:
        return write_request(self._surface, step)

    def send(self, step: Step) -> tuple[Any, SentRequest]:
        surface = self._surface
        request = Request(
            surface.wire.name,
            surface.provider,
            surface.wire.operation,
            surface.models[step.prompt.model],
            surface.host,
            443,
            False,
            surface.body(step.prompt),
            step.key.encode(),
            self._clock(),
        )
        pending = self._diagnosis.start(request, surface.wire.parse_prompt(request))
        return (request, pending), self.body(step)

    def begin(self, call: Any, response: ProviderResponse) -> None:
        """Do nothing: the diagnosis sees complete answers only."""

    def end(self, call: Any, response: ProviderResponse) -> Observed:
        request, pending = call
        facts, usage, cost = ResponseFacts(), None, Cost(None)
        failed = response.status != 200
        if not failed:
            facts, usage = self._read_usage(response)
            cost = _PRICES.compute_cost(request, facts, usage)
        verdict = self._diagnosis.finish(
            pending, facts=facts, usage=usage, cost=cost, has_failed=failed, ended_at=self._clock()
        )
        return _observe(verdict, usage, cost)

    def _read_usage(self, response: ProviderResponse) -> tuple[ResponseFacts, Usage]:
        facts = self._surface.wire.parse_event(response.body)
        assert facts is not None, response.body
        usage = self._surface.wire.parse_usage(facts)
        assert usage is not None, response.body
        return facts, usage


def _observe(verdict: Verdict, usage: Usage | None, cost: Cost) -> Observed:
    return Observed(
        verdict.outcome,
        verdict.reason,
        verdict.section,
        verdict.index,
        verdict.offset,
        verdict.hint,
        verdict.missed_tokens,
        verdict.wasted_usd,
        usage.cache_read_tokens if usage else None,
        usage.cache_write_tokens if usage else None,
        usage.input_tokens if usage else None,
        _prices(cost, usage),
    )


def _prices(cost: Cost, usage: Usage | None) -> Prices | None:
    """Return the prices of a call, or None if the price book does not know one that counts."""
    plain, read = cost.input_price, cost.cache_read_price
    write = next(iter(cost.cache_write_prices.values()), None)
    if usage is None or plain is None or read is None:
        return None
    if usage.cache_write_tokens and write is None:
        return None
    return Prices(plain, read, plain if write is None else write)
