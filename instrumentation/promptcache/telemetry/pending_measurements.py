"""Measurements that are told to OpenTelemetry's SDK when it collects metrics.

A synchronous `Counter.add` costs about as much as starting a span, and a call makes six of them.
So the sums grow in a table of our own, one row a series, and the values of histograms wait in a
list. The callback of an observable instrument, which the SDK calls before it collects, tells them
to the instruments. Names, kinds, temporality and views stay those of the instruments.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping
from threading import Lock
from typing import Any, Final, final

from opentelemetry.context import Context
from opentelemetry.metrics import Counter, Histogram
from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context

from promptcache.common.fork import register_after_fork_in_child
from promptcache.common.safely import safely

_MAX_ROWS: Final = 4096
"""At most this many series wait for a collection. Beyond it all are recorded at once, because
without a metric reader no collection comes."""
_MAX_RECORDINGS: Final = 1024
"""Values of histograms that wait. Each value beyond them is recorded by the call that has it."""


@final
class _Row:
    """One series: what its counter was not told yet, and the last span that added to it."""

    __slots__ = ("amount", "base", "counter", "extra", "has_unrecorded_amount", "span_context")

    def __init__(self, counter: Counter, base: Mapping[str, Any], extra: Mapping[str, Any]) -> None:
        self.counter, self.base, self.extra = counter, base, extra
        self.amount: float = 0
        self.has_unrecorded_amount = True
        self.span_context: SpanContext | None = None


_Recording = tuple[Histogram, float, Mapping[str, Any], Mapping[str, Any], SpanContext]
"""The histogram, the value, its own attributes, those of the call, and the span of the call."""


@final
class PendingMeasurements:
    """What the instruments were not told yet. Thread-safe and fork-safe.

    A child that was forked tells only what it added itself: its parent tells the rest.
    """

    def __init__(self) -> None:
        self._rows: dict[Hashable, _Row] = {}
        self._recordings: list[_Recording] = []
        self._reset()
        register_after_fork_in_child(self._reset)

    def _reset(self) -> None:
        self._process_id = os.getpid()
        self._lock = Lock()
        for row in self._rows.values():
            row.amount, row.has_unrecorded_amount = 0, False
        self._recordings = []

    def add(
        self,
        base: Mapping[str, Any],
        sums: Iterable[tuple[Counter, float, Mapping[str, Any]]],
        span_context: SpanContext | None,
    ) -> None:
        """Add amounts to series: the counter, the amount, the attributes besides those of `base`.

        A new series is told even if its sum is 0. The caller keeps one object for equal `base`.
        """
        with self._lock:
            for counter, amount, extra in sums:
                key = (id(counter), id(base), *extra.values())
                row = self._rows.get(key)
                if row is None:
                    row = self._rows[key] = _Row(counter, base, extra)
                elif not amount:
                    continue
                row.amount += amount
                row.has_unrecorded_amount = True
                row.span_context = span_context
            is_full = len(self._rows) > _MAX_ROWS
        if is_full:
            self.record_pending(forget_series=True)

    def record(
        self,
        base: Mapping[str, Any],
        values: Iterable[tuple[Histogram, float, Mapping[str, Any]]],
        span_context: SpanContext,
    ) -> None:
        """Record values of histograms, with attributes as in `add`, now or at the collection."""
        recordings = [(*value, base, span_context) for value in values]
        with self._lock:
            if has_room := len(self._recordings) < _MAX_RECORDINGS:
                self._recordings += recordings
        if not has_room:
            for recording in recordings:
                _record(recording)

    def record_pending(self, *, forget_series: bool = False) -> None:
        """Tell the instruments what they were not told yet."""
        # A reader may begin to collect in a forked child before our own fork hook ran.
        if os.getpid() != self._process_id:
            self._reset()
        news: list[tuple[_Row, float]] = []
        with self._lock:
            for row in self._rows.values():
                if row.has_unrecorded_amount:
                    news.append((row, row.amount))
                    row.amount, row.has_unrecorded_amount = 0, False
            recordings, self._recordings = self._recordings, []
            if forget_series:
                self._rows.clear()
        for row, amount in news:
            # One instrument that raises must not lose the amounts of the others.
            context = _context_of(row.span_context)
            safely(row.counter.add, amount, {**row.base, **row.extra}, context)
        for recording in recordings:
            safely(_record, recording)


def _record(recording: _Recording) -> None:
    histogram, value, extra, base, span_context = recording
    histogram.record(value, {**base, **extra}, _context_of(span_context))


def _context_of(span_context: SpanContext | None) -> Context:
    """Return a context for the exemplar. The application's own is not kept."""
    if span_context is None:
        return Context()
    return set_span_in_context(NonRecordingSpan(span_context), Context())


def is_collected_by_sdk(counter: Counter) -> bool | None:
    """Return whether OpenTelemetry's SDK calls back before it collects this counter.

    None for a counter of the API's proxy, as long as the application has set no meter provider.
    """
    real = getattr(counter, "_real_instrument", counter)
    return None if real is None else type(real).__module__.startswith("opentelemetry.sdk.")
