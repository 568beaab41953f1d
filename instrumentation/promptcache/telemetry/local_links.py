"""The way of links from a call to the local table: beside the span, never on it.

Links are made under a key of the user's own computer. An exporter of the application must not get
them, so they are no attributes. The recording takes them when the span ends.
"""

from __future__ import annotations

from typing import Final

from opentelemetry.trace import Span, SpanContext

from promptcache.common.bounded_dict import BoundedDict

_MAX_SPANS: Final = 1024
"""A foreign span may end later than its call, or never."""
_links_by_span: Final[BoundedDict[tuple[int, int], str]] = BoundedDict(_MAX_SPANS)


def hand_over_links(span: Span, links: str) -> None:
    """Keep the links of a call until its `span` ends."""
    context = span.get_span_context()
    _links_by_span[context.trace_id, context.span_id] = links


def take_links(context: SpanContext | None) -> str | None:
    """Return the links of the call whose span has this context, once; None if it has none."""
    if context is None:
        return None
    return _links_by_span.pop((context.trace_id, context.span_id), None)
