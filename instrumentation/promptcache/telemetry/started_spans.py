"""The spans that one tracer provider has started: those that our exporter will see."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final
from weakref import WeakValueDictionary

from opentelemetry.trace import Span

_MAX_ANCESTORS: Final = 32


class StartedSpans:
    """The living spans of one tracer provider, by the id of the span.

    By id, because a proxy such as Logfire's makes a wrapper current: it has the context of the span
    inside, but is another object.
    """

    def __init__(self, resource: object = None) -> None:
        """Remember no span yet. `resource` is the one of the tracer provider."""
        self._resource = resource
        self._spans: Final = WeakValueDictionary[int, Span]()
        self._watched_since = 0

    def watch_from_now(self) -> None:
        """Note that every span that starts from now on will be remembered."""
        self._watched_since = time.time_ns()

    def remember(self, span: Span) -> None:
        """Remember that the tracer provider has started `span`, as long as somebody holds it."""
        self._spans[span.get_span_context().span_id] = span

    def lineage(self, span: Any) -> Iterator[Any]:
        """Yield `span` and its open ancestors in this process, the nearest first."""
        for _ in range(_MAX_ANCESTORS):
            yield span
            parent = getattr(span, "parent", None)
            span = self._spans.get(parent.span_id) if parent is not None else None
            if span is None:
                return

    def __contains__(self, span: Any) -> bool:
        """Return whether the tracer provider has started `span`.

        A span that is older than the watch belongs to the tracer provider if both have the same
        resource: the first call may run inside a span that no processor of ours could see.
        """
        if span.get_span_context().span_id in self._spans:
            return True
        started_at = getattr(span, "start_time", None) or 0
        if self._resource is None or started_at >= self._watched_since:
            return False
        return getattr(span, "resource", None) is self._resource
