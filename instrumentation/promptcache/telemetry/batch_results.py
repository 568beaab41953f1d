"""The results of a batch, as the application reads them: a call each for the metrics, one span for all of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from promptcache.common.coerce import JSONObject
from promptcache.common.safely import safely
from promptcache.model import Call, Cost, Request, ResponseFacts, Usage
from promptcache.semconv import (
    BATCH_RESULT_FIELDS,
    BATCH_RESULTS,
    COST_AMOUNT,
    COST_CACHE_READ,
    COST_CACHE_WRITE,
    COST_INPUT,
    COST_OUTPUT,
    COST_UNKNOWN,
    COST_WITHOUT_CACHE,
    GEN_AI_RESPONSE_MODEL,
    INPUT_TOKENS,
    OUTCOME,
    OUTPUT_TOKENS,
    PROMPTCACHE_ATTRIBUTES,
    READ_TOKENS,
    STANDARD_ATTRIBUTES,
    UNCACHED_TOKENS,
    WRITE_TOKENS,
    WRITE_TOKENS_BY_TTL,
    read_attributes,
)
from promptcache.telemetry.handler import RequestInfo, TelemetryHandler
from promptcache.telemetry.invocation import Invocation

MAX_ENTRIES: Final = 4096
"""Results that the span tells one by one, some 600 KB; those beyond stand in one last entry, as a sum without id."""
_COST_PART_ATTRIBUTES: Final = {
    "input": COST_INPUT,
    "cache_read": COST_CACHE_READ,
    "cache_write": COST_CACHE_WRITE,
    "output": COST_OUTPUT,
}
_RESULT_ATTRIBUTES: Final = tuple(
    row
    for row in (*STANDARD_ATTRIBUTES, *PROMPTCACHE_ATTRIBUTES)
    if row.name in BATCH_RESULT_FIELDS
)


def _format_entry(said: Mapping[str, Any]) -> str:
    return json.dumps([said.get(name) for name in BATCH_RESULT_FIELDS], separators=(",", ":"))


class BatchTotals:
    """What many results come to."""

    def __init__(self) -> None:
        self.response_models: set[Any] = set()
        self._entries: list[str] = []
        self._unknown_cost_reason: Any = None
        self._sums: Counter[str] = Counter()
        self._overflow_sums: Counter[str] = Counter()

    def add(self, call: Call) -> None:
        said = read_attributes(_RESULT_ATTRIBUTES, call)
        self.response_models.add(said.get(GEN_AI_RESPONSE_MODEL))
        self._unknown_cost_reason = self._unknown_cost_reason or said.get(COST_UNKNOWN)
        numbers: Any = {
            name: value for name, value in said.items() if isinstance(value, int | float)
        }
        self._sums.update(numbers)
        if len(self._entries) < MAX_ENTRIES:
            self._entries.append(_format_entry(said))
        else:
            self._overflow_sums.update(numbers)

    def entries(self) -> list[str]:
        """The results one by one, and those that were too many."""
        rest = {
            **self._overflow_sums,
            OUTCOME: "hit" if self._overflow_sums[READ_TOKENS] else "cold",
        }
        return [*self._entries, _format_entry(rest)] if self._overflow_sums else self._entries

    def total_usage(self) -> Usage:
        sums = self._sums
        return Usage(
            input_tokens=sums[INPUT_TOKENS],
            uncached_tokens=sums[UNCACHED_TOKENS],
            cache_read_tokens=sums[READ_TOKENS],
            cache_write_tokens=sums[WRITE_TOKENS],
            cache_write_by_ttl={
                ttl: sums[name] for ttl, name in WRITE_TOKENS_BY_TTL.items() if sums[name]
            },
            output_tokens=sums[OUTPUT_TOKENS],
        )

    def total_cost(self) -> Cost:
        if self._unknown_cost_reason is not None:
            return Cost(None, unknown_reason=self._unknown_cost_reason)
        sums: Mapping[str, float] = self._sums
        return Cost(
            sums[COST_AMOUNT],
            {part: sums[name] for part, name in _COST_PART_ATTRIBUTES.items()},
            sums[COST_WITHOUT_CACHE],
        )


class BatchResultsInvocation(Invocation):
    """One reading of a batch's results. A result that was read before adds nothing."""

    __slots__ = ("_totals",)

    def __init__(self, handler: TelemetryHandler, request_info: RequestInfo) -> None:
        # Nothing is known of it before it is read, so no span is opened, as for a response that is fetched again.
        super().__init__(handler, request_info._replace(is_retrieval=True))
        self._totals = BatchTotals()

    def on_request_sent(self, request: Request, retries: int | None) -> None:
        """The results begin to come in."""
        self.request, self.retries = request, retries

    def on_event(self, event: JSONObject) -> None:
        """One line."""
        asked, observer = self.request_info, self.handler
        facts = asked.wire_format.parse_event(event)
        if facts is None or not observer.counted_batch_results.mark_counted(
            asked.provider, asked.batch_results_url or "", facts.id or ""
        ):
            return
        self.facts = facts
        call = self._call_of_result(facts, asked.wire_format.parse_usage(facts))
        safely(observer.metrics.record_call, call, self.context)
        self._totals.add(call)

    def _call_of_result(self, facts: ResponseFacts, usage: Usage | None) -> Call:
        cost = safely(self.handler.price_book.compute_cost, self._request_so_far(), facts, usage)
        return self._build_call(usage, cost, self._verdict_from_usage(usage))

    def finish(self) -> None:
        """Whoever read them is done: the span of what was new."""
        if not self._finished_lock.acquire(blocking=False) or not self._totals.response_models:
            return
        self.facts = ResponseFacts(
            model=self._totals.response_models.pop()
            if len(self._totals.response_models) == 1
            else None,
            is_batch=True,
        )
        usage = self._totals.total_usage()
        self._start_own_span()
        assert self.span is not None, "opened above"
        try:
            self._set_attributes(
                self._build_call(usage, self._totals.total_cost(), self._verdict_from_usage(usage))
            )
            self.span.set_attribute(BATCH_RESULTS, self._totals.entries())
        finally:
            self.span.end()
