"""A pytest plugin for the tests of an SDK. It instruments the SDK, or only prepares a control run.

`SDK_SUITE` selects the mode: `promptcache` sets a tracer provider and instruments, `provider` only
sets the tracer provider (which changes an SDK that traces itself), and `plain` does nothing. The
option `-p` loads the plugin before the conftest of the SDK imports the SDK.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import pytest


class SpanAndLogCounter(logging.Handler):
    """Count our spans and collect our log messages from all workers of pytest-xdist.

    A run without spans tested nothing, and a log message means that our code failed.
    """

    def __init__(self, exporter: Any) -> None:
        super().__init__(logging.WARNING)
        self._exporter = exporter
        self._spans = 0
        self._log_messages: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self._log_messages.add(record.getMessage())

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        finished = self._exporter.get_finished_spans()
        self._spans += sum(span.instrumentation_scope.name == "promptcache" for span in finished)
        output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["promptcache"] = self._spans, sorted(self._log_messages)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        spans, messages = getattr(node, "workeroutput", {}).get("promptcache", (0, ()))
        self._spans += spans
        self._log_messages |= set(messages)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.write_line(f"promptcache: {self._spans} spans")
        for line in sorted(self._log_messages):
            terminalreporter.write_line(f"promptcache logged: {line}")


def pytest_configure(config: pytest.Config) -> None:
    """Prepare this process, which is the controller or a worker."""
    mode = os.environ["SDK_SUITE"]
    if mode == "plain":
        return
    from opentelemetry import trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(tracers)
    counter = SpanAndLogCounter(exporter)
    logging.getLogger("promptcache").addHandler(counter)
    config.pluginmanager.register(counter, "promptcache-counter")
    if mode == "promptcache":
        from promptcache import PromptCacheInstrumentor

        PromptCacheInstrumentor().instrument(meter_provider=MeterProvider([InMemoryMetricReader()]))
