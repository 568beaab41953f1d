"""The results of a batch, as the application reads them.

Each result counts as a call in the metrics. One span stands for all results of one reading.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from promptcache import semconv
from promptcache.common.coerce import JSONObject, as_str
from promptcache.common.safely import safely
from promptcache.model import Call, Cost, ResponseFacts, Usage
from promptcache.telemetry.handler import TelemetryHandler
from promptcache.telemetry.invocation import Invocation
from promptcache.telemetry.request_info import RequestInfo

MAX_ENTRIES: Final = 4096
"""Results that the span lists one by one, some 600 KB.

One last entry, without an id, holds the sums of the results beyond.
"""
_COST_PART_ATTRIBUTES: Final = {
    "input": semconv.COST_INPUT,
    "cache_read": semconv.COST_CACHE_READ,
    "cache_write": semconv.COST_CACHE_WRITE,
    "output": semconv.COST_OUTPUT,
}
_read_result: Final = semconv.make_attribute_reader(
    row
    for row in (*semconv.STANDARD_ATTRIBUTES, *semconv.PROMPTCACHE_ATTRIBUTES)
    if row.name in semconv.BATCH_RESULT_FIELDS
)


class BatchResultsInvocation(Invocation):
    """One reading of a batch's results. A result that was read before adds nothing."""

    __slots__ = ("_is_complete", "_position", "_totals")

    def __init__(self, handler: TelemetryHandler, request_info: RequestInfo) -> None:
        # The handler knows the invocation as soon as `super().__init__` ran, and may end it then.
        self._totals = BatchResultTotals()
        self._is_complete = False
        self._position = 0
        # Until the results are read, nothing is known of them. So no span is started here, as for
        # the retrieval of an earlier response.
        super().__init__(handler, request_info._replace(is_retrieval=True))

    @property
    def has_output(self) -> bool:
        """True, because every event is a whole response."""
        return True

    def on_event(self, event: JSONObject) -> None:
        """Count one result, which is one line of the response."""
        info, handler = self.request_info, self.handler
        self._position += 1
        facts = info.wire_format.parse_event(event)
        if facts is None:
            return
        # The application's id is unique in a batch. Some servers repeat the ids of responses.
        result_id = as_str(event.get("custom_id")) or facts.id or str(self._position)
        if not handler.counted_batch_results.mark_counted_if_new(
            info.provider, info.batch_results_url or "", result_id
        ):
            return
        self.facts = facts
        usage = self.parse_usage()
        call = self.build_call(usage, self.compute_cost(usage), self.verdict_from_usage(usage))
        safely(handler.metrics.record_call, call, self.context)
        self._totals.add(call)

    def on_last_byte(self) -> None:
        """Note that all results were read."""
        self._is_complete = True

    def has_to_be_recorded(self) -> bool:
        """Return whether a result was counted."""
        return bool(self._totals.response_models)

    def evaluate(self, ended: float | None) -> Call:
        """Return the sums of all results as one call. Each result was recorded on its own."""
        models = self._totals.response_models
        self.facts = ResponseFacts(
            model=models.pop() if len(models) == 1 else None,
            is_terminal=self._is_complete,
            is_batch=True,
        )
        usage = self._totals.total_usage()
        verdict, cost = self.verdict_from_usage(usage), self._totals.total_cost()
        call = self.build_call(usage, cost, verdict, ended)
        return call._replace(batch_results=self._totals.results_as_json_lists())

    def record_metrics(self, call: Call) -> None:
        """Record nothing: the metrics have each result already."""


class BatchResultTotals:
    """The results of a batch one by one, up to a limit, and their sums."""

    def __init__(self) -> None:
        self.response_models: set[Any] = set()
        self._entries: list[str] = []
        self._unknown_cost_reason: Any = None
        self._sums: Counter[str] = Counter()
        self._overflow_sums: Counter[str] = Counter()

    def add(self, call: Call) -> None:
        """Add one result."""
        values = _read_result(call)
        self.response_models.add(values.get(semconv.GEN_AI_RESPONSE_MODEL))
        self._unknown_cost_reason = self._unknown_cost_reason or values.get(semconv.COST_UNKNOWN)
        numbers: Any = {
            name: value for name, value in values.items() if isinstance(value, int | float)
        }
        self._sums.update(numbers)
        if len(self._entries) < MAX_ENTRIES:
            self._entries.append(_batch_result_as_json_list(values))
        else:
            self._overflow_sums.update(numbers)

    def results_as_json_lists(self) -> list[str]:
        """Return one JSON list a result, and one for the sums of the results beyond the limit."""
        if not self._overflow_sums:
            return self._entries
        outcome = "hit" if self._overflow_sums[semconv.READ_TOKENS] else "cold"
        return [
            *self._entries,
            _batch_result_as_json_list({**self._overflow_sums, semconv.OUTCOME: outcome}),
        ]

    def total_usage(self) -> Usage:
        """Return the sum of all usages."""
        sums = self._sums
        return Usage(
            input_tokens=sums[semconv.INPUT_TOKENS],
            uncached_tokens=sums[semconv.UNCACHED_TOKENS],
            cache_read_tokens=sums[semconv.READ_TOKENS],
            cache_write_tokens=sums[semconv.WRITE_TOKENS],
            cache_write_by_ttl={
                ttl: sums[name] for ttl, name in semconv.WRITE_TOKENS_BY_TTL.items() if sums[name]
            },
            output_tokens=sums[semconv.OUTPUT_TOKENS],
        )

    def total_cost(self) -> Cost:
        """Return the sum of all costs; an unknown cost if one of them is unknown."""
        if self._unknown_cost_reason is not None:
            return Cost(None, unknown_reason=self._unknown_cost_reason)
        sums: Mapping[str, float] = self._sums
        return Cost(
            sums[semconv.COST_AMOUNT],
            {part: sums[name] for part, name in _COST_PART_ATTRIBUTES.items()},
            sums[semconv.COST_WITHOUT_CACHE],
        )


def _batch_result_as_json_list(values: Mapping[str, Any]) -> str:
    fields = [values.get(name) for name in semconv.BATCH_RESULT_FIELDS]
    return json.dumps(fields, separators=(",", ":"))
