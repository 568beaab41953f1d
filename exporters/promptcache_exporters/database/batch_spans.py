"""The results of a batch: one span carries them all, and each becomes a row of the local table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from opentelemetry.trace import SpanContext

from promptcache.common.coerce import as_list
from promptcache.semconv import BATCH_RESULT_FIELDS, BATCH_RESULTS
from promptcache_exporters.database.recorded_span import PlainSpan, RecordedSpan
from promptcache_exporters.database.sampling import default_sample_ratio

_SPAN_ID_COUNT: Final = 2**64


def expand_batch_result_spans(span: RecordedSpan) -> Iterator[RecordedSpan]:
    """Yield `span` itself, or one child span for every batch result among its attributes.

    A result that cannot be parsed is skipped.
    """
    attributes = span.attributes or {}
    entries = as_list(attributes.get(BATCH_RESULTS))
    if not entries or span.context is None:
        yield span
        return
    common = {
        name: value
        for name, value in attributes.items()
        if name not in {BATCH_RESULTS, *BATCH_RESULT_FIELDS}
    }
    for number, entry in enumerate(entries, 1):
        result = _parse_batch_result(entry)
        if result:
            yield _build_batch_result_span(span, span.context, number, common | result)


def _parse_batch_result(result_json: Any) -> dict[str, Any]:
    try:
        values = as_list(json.loads(result_json))
    except (ValueError, TypeError, RecursionError):
        return {}
    return {
        name: value
        for name, value in zip(BATCH_RESULT_FIELDS, values, strict=False)
        if value is not None
    }


def _build_batch_result_span(
    span: RecordedSpan, context: SpanContext, result_number: int, attributes: Any
) -> RecordedSpan:
    """Return a child span for result `result_number`.

    Its id follows from the id of `span`, so that a span that is exported twice still counts once.
    """
    span_id = (context.span_id + result_number) % _SPAN_ID_COUNT
    child = SpanContext(context.trace_id, span_id, False, context.trace_flags, context.trace_state)
    times = (span.start_time, span.end_time)
    return PlainSpan(attributes, span.resource, child, context, *times, default_sample_ratio(span))
