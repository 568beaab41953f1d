"""Write the spans of LLM calls into local tables, soon after the calls end.

This module loads the OpenTelemetry SDK, so it is imported with the first call.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final, cast

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from promptcache.common.safely import safely
from promptcache.telemetry.local_links import take_links
from promptcache_exporters.database.columns import (
    is_llm_call_with_outcome,
    is_successful_named_cache_operation,
)
from promptcache_exporters.database.recorded_span import LinkedSpan, RecordedSpan
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter

WRITE_INTERVAL_MILLIS: Final = 500
"""How long a row waits at most. OpenTelemetry's own interval of 5 s loses more in a kill."""


class TableWriter:
    """One table and the thread that writes it."""

    def __init__(self, path: Path) -> None:
        is_set = os.environ.get("OTEL_BSP_SCHEDULE_DELAY", "").strip()
        self._batch = BatchSpanProcessor(
            SQLiteSpanExporter(path),
            schedule_delay_millis=None if is_set else WRITE_INTERVAL_MILLIS,
        )

    def write(self, span: RecordedSpan) -> None:
        """Hand the span over to the thread."""
        self._batch.on_end(cast("ReadableSpan", span))

    def flush(self, seconds: float) -> None:
        """Wait until all rows are written, at most `seconds`."""
        self._batch.force_flush(int(seconds * 1000))

    def shutdown(self) -> None:
        """Write the last rows, end the thread and close the table."""
        self._batch.shutdown()  # type: ignore[no-untyped-call]


class RecordingProcessor(SpanProcessor):
    """A span processor that hands the spans of LLM calls to all writers, and ignores others.

    `writers` returns the writers at the moment, `flush` writes all their rows. A shutdown of the
    application's tracer provider ends no recording: the application may have another one next.
    """

    def __init__(
        self, writers: Callable[[], Collection[TableWriter]], flush: Callable[[], None]
    ) -> None:
        self._writers, self._flush = writers, flush
        self._process_id = os.getpid()

    def on_end(self, span: ReadableSpan) -> None:
        """Write `span` if it is an LLM call or an operation on a named cache."""
        safely(self._write, span)

    def shutdown(self) -> None:
        """Write what is there."""
        safely(self._flush)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Write what is there, and return True."""
        safely(self._flush)
        return True

    def _write(self, span: ReadableSpan) -> None:
        links = take_links(span.context)
        if is_llm_call_with_outcome(span) or is_successful_named_cache_operation(span):
            if self._process_id != os.getpid():
                self._process_id = os.getpid()
                self._flush_at_exit_of_child()
            for writer in self._writers():
                writer.write(span if links is None else LinkedSpan(span, links))

    def _flush_at_exit_of_child(self) -> None:
        """Flush when a child of `multiprocessing` ends: it skips Python's own exit functions."""
        util: Any = sys.modules.get("multiprocessing.util")
        if util is not None and sys.modules["multiprocessing"].parent_process() is not None:
            # After the open calls end, whose priority is 0 (TelemetryHandler.end_calls_at_exit).
            util.Finalize(None, safely, (self._flush,), exitpriority=-1)
