"""The results of a batch, as the application reads them: a call each for the metrics, one span for all of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from promptcache.attributes import (
    BATCH_RESULTS,
    COST_AMOUNT,
    COST_INPUT,
    COST_OUTPUT,
    COST_READ,
    COST_UNKNOWN,
    COST_WITHOUT_CACHE,
    COST_WRITE,
    INPUT_TOKENS,
    OUTCOME,
    OUTPUT_TOKENS,
    OWN,
    READ_TOKENS,
    RESPONSE_MODEL,
    RESULT,
    STANDARD,
    UNCACHED_TOKENS,
    WRITE_TOKENS,
    WRITE_TOKENS_BY_TTL,
    read,
)
from promptcache.model import Call, Cost, Facts, Request, Usage
from promptcache.observe import Record
from promptcache.observer import Asked, Observer
from promptcache.providers.wire import JSON
from promptcache.safety import safely

MOST: Final = 4096
"""Results that the span tells one by one, some 600 KB; those beyond stand in one last entry, as a sum without id."""
_PARTS: Final = {
    "input": COST_INPUT,
    "cache_read": COST_READ,
    "cache_write": COST_WRITE,
    "output": COST_OUTPUT,
}
_ROWS: Final = tuple(row for row in (*STANDARD, *OWN) if row.name in RESULT)


def _entry(said: Mapping[str, Any]) -> str:
    return json.dumps([said.get(name) for name in RESULT], separators=(",", ":"))


class _Tally:
    """What many results come to."""

    def __init__(self) -> None:
        self.models: set[Any] = set()
        self._entries: list[str] = []
        self._unknown: Any = None
        self._sums: Counter[str] = Counter()
        self._rest: Counter[str] = Counter()

    def add(self, call: Call) -> None:
        said = read(_ROWS, call)
        self.models.add(said.get(RESPONSE_MODEL))
        self._unknown = self._unknown or said.get(COST_UNKNOWN)
        numbers: Any = {
            name: value for name, value in said.items() if isinstance(value, int | float)
        }
        self._sums.update(numbers)
        if len(self._entries) < MOST:
            self._entries.append(_entry(said))
        else:
            self._rest.update(numbers)

    def entries(self) -> list[str]:
        """The results one by one, and those that were too many."""
        rest = {**self._rest, OUTCOME: "hit" if self._rest[READ_TOKENS] else "cold"}
        return [*self._entries, _entry(rest)] if self._rest else self._entries

    def usage(self) -> Usage:
        sums = self._sums
        return Usage(
            input=sums[INPUT_TOKENS],
            uncached=sums[UNCACHED_TOKENS],
            read=sums[READ_TOKENS],
            write=sums[WRITE_TOKENS],
            write_by_ttl={
                ttl: sums[name] for ttl, name in WRITE_TOKENS_BY_TTL.items() if sums[name]
            },
            output=sums[OUTPUT_TOKENS],
        )

    def cost(self) -> Cost:
        if self._unknown is not None:
            return Cost(None, unknown=self._unknown)
        sums: Mapping[str, float] = self._sums
        return Cost(
            sums[COST_AMOUNT],
            {part: sums[name] for part, name in _PARTS.items()},
            sums[COST_WITHOUT_CACHE],
        )


class Results(Record):
    """One reading of a batch's results. A result that was read before adds nothing."""

    __slots__ = ("_tally",)

    def __init__(self, observer: Observer, asked: Asked) -> None:
        # Nothing is known of it before it is read, so no span is opened, as for a response that is fetched again.
        super().__init__(observer, asked._replace(fetch=True))
        self._tally = _Tally()

    def sent(self, request: Request, retries: int | None) -> None:
        """The results begin to come in."""
        self.request, self.retries = request, retries

    def saw(self, event: JSON) -> None:
        """One line."""
        asked, observer = self.asked, self.observer
        facts = asked.wire.read(event)
        if facts is None or not observer.batches.first_time(
            asked.provider, asked.results or "", facts.id or ""
        ):
            return
        self.facts = facts
        call = self._judged(facts, asked.wire.usage(facts))
        safely(observer.meters.record, call, self.context)
        self._tally.add(call)

    def _judged(self, facts: Facts, usage: Usage | None) -> Call:
        cost = safely(self.observer.book.cost, self._asked_for(), facts, usage)
        return self._call(usage, cost, self._plainly(usage))

    def end(self) -> None:
        """Whoever read them is done: the span of what was new."""
        if not self._once.acquire(blocking=False) or not self._tally.models:
            return
        self.facts = Facts(
            model=self._tally.models.pop() if len(self._tally.models) == 1 else None, batch=True
        )
        usage = self._tally.usage()
        self._open()
        assert self.span is not None, "opened above"
        try:
            self._publish(self._call(usage, self._tally.cost(), self._plainly(usage)))
            self.span.set_attribute(BATCH_RESULTS, self._tally.entries())
        finally:
            self.span.end()
