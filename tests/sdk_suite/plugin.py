"""A pytest plugin for an SDK's own test run: instruments it, or sets up no more than a control
needs.

`SDK_SUITE` says which: `promptcache` puts a tracer provider and ourselves into the process,
`provider` the tracer provider alone (an SDK that traces itself behaves another way once there is
one), `plain` nothing. Loaded by `-p`, before the SDK's conftest imports the SDK.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import pytest


class Witness(logging.Handler):
    """Counts our spans and keeps what we say in the log, over all workers of pytest-xdist.

    A run without spans has shown nothing, and one in which a step of ours failed is no success
    either.
    """

    def __init__(self, exporter: Any) -> None:
        super().__init__(logging.WARNING)
        self._exporter = exporter
        self._spans = 0
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self._said.add(record.getMessage())

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        finished = self._exporter.get_finished_spans()
        self._spans += sum(span.instrumentation_scope.name == "promptcache" for span in finished)
        output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["promptcache"] = self._spans, sorted(self._said)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        spans, said = getattr(node, "workeroutput", {}).get("promptcache", (0, ()))
        self._spans += spans
        self._said |= set(said)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.write_line(f"promptcache: {self._spans} spans")
        for line in sorted(self._said):
            terminalreporter.write_line(f"promptcache said: {line}")


def pytest_configure(config: pytest.Config) -> None:
    """Sets up this process, which is the controller or a worker."""
    side = os.environ["SDK_SUITE"]
    if side == "plain":
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
    witness = Witness(exporter)
    logging.getLogger("promptcache").addHandler(witness)
    config.pluginmanager.register(witness, "promptcache-witness")
    if side == "promptcache":
        from promptcache import PromptCacheInstrumentor

        PromptCacheInstrumentor().instrument(meter_provider=MeterProvider([InMemoryMetricReader()]))
