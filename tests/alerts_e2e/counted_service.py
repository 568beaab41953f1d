"""Services whose calls reach a table and whose counters become samples for Prometheus."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import anthropic
import openai
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from promptcache import PromptCacheInstrumentor, Settings
from promptcache_exporters.alerts.promql import prometheus_label_name, prometheus_series_name
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from tests.support.call_shapes import HTTP
from tests.support.mock_calls import REPLY

LONG_TEXT: Final = "A rule that every clerk must know by heart. " * 300
CACHED: Final[dict[str, Any]] = {"prompt_tokens_details": {"cached_tokens": 3072}}
UNCACHED: Final[dict[str, Any]] = {"prompt_tokens_details": {"cached_tokens": 0}}


class Sample(NamedTuple):
    """One value of a counter."""

    series: str
    labels: Mapping[str, str]
    value: float


class Service:
    """A service whose calls reach the table only after `begin_window`; its counters know all."""

    def __init__(self, name: str, table: Path, emulator_url: str) -> None:
        self.name, self._table, self._emulator_url = name, table, emulator_url
        self._spans, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        resource = Resource({"service.name": name})
        self._tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self._meters = MeterProvider([self._reader], resource, shutdown_on_exit=False)
        self._response: Any = None
        transport = HTTP.MockTransport(self._answer)
        self._client = openai.OpenAI(api_key="k", http_client=HTTP.Client(transport=transport))

    def __enter__(self) -> Service:
        PromptCacheInstrumentor().instrument(
            tracer_provider=self._tracers, meter_provider=self._meters, settings=Settings()
        )
        return self

    def __exit__(self, *error: object) -> None:
        PromptCacheInstrumentor().uninstrument()

    def begin_window(self) -> list[Sample]:
        """Forget the spans, and return the counters."""
        self._spans.clear()
        return self.read_counters()

    def end_window(self) -> list[Sample]:
        """Write the spans into the table, and return the counters."""
        SQLiteSpanExporter(self._table).export(self._spans.get_finished_spans())
        return self.read_counters()

    def read_counters(self) -> list[Sample]:
        data: Any = self._reader.get_metrics_data()
        return [
            Sample(
                prometheus_series_name(metric.name.removeprefix("promptcache.")),
                {"job": self.name}
                | {
                    prometheus_label_name(key): json.dumps(value)
                    if value in (True, False)
                    else value
                    for key, value in point.attributes.items()
                },
                point.value,
            )
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name.startswith("promptcache.")
            for point in metric.data.data_points
            if hasattr(point, "value")
        ]

    def call(self, model: str, usage: dict[str, Any] | None, text: str = LONG_TEXT) -> None:
        """Make one call of OpenAI that reports `usage`; without usage it fails."""
        reply = {**REPLY, "model": model, "usage": {**REPLY["usage"], **(usage or {})}}
        self._response = HTTP.Response(200, json=reply)
        if usage is None:
            error = {"error": {"message": "no", "type": "invalid_request_error"}}
            self._response = HTTP.Response(400, json=error)
        messages: Any = [{"role": "user", "content": text}]
        try:
            self._client.chat.completions.create(model=model, messages=messages)
        except openai.BadRequestError:
            assert usage is None

    def _answer(self, _: Any) -> Any:
        return self._response

    def read_batch(self) -> None:
        """Read the results of a batch of Anthropic, whose prompt was not written before."""
        prompt = f"{self.name} {len(self._spans.get_finished_spans())} {LONG_TEXT}"
        client = anthropic.Anthropic(api_key="k", base_url=self._emulator_url)
        params: Any = {
            "model": "claude-sonnet-4-6",
            "max_tokens": 9,
            "system": [{"type": "text", "text": prompt, "cache_control": {"type": "ephemeral"}}],
            "messages": [{"role": "user", "content": "Hello"}],
        }
        requests: Any = [{"custom_id": f"c{number}", "params": params} for number in range(2)]
        batch = client.messages.batches.create(requests=requests)
        assert len([*client.messages.batches.results(batch.id)]) == 2

    def work(self) -> None:
        """Make hits, misses, unreported, failed, unpriced and batch calls."""
        for usage in (UNCACHED, CACHED, UNCACHED, CACHED):
            self.call("gpt-5.4", usage)
        self.call("gpt-5.4-mini", CACHED, "other " * 4000)
        self.call("gpt-5.4", {})
        self.call("gpt-5.4", None)
        self.call("model-of-the-house", CACHED)
        self.read_batch()


def render_openmetrics(times_and_samples: Iterable[tuple[int, list[Sample]]]) -> str:
    """Return the counters at each time (epoch seconds) as OpenMetrics text.

    The samples of a series are together and in the order of time, or promtool would drop some.
    """
    rows: dict[str, list[str]] = {}
    for at, samples in times_and_samples:
        for series, labels, value in samples:
            text = ",".join(f"{key}={json.dumps(label)}" for key, label in labels.items())
            rows.setdefault(f"{series}{{{text}}}", []).append(f"{value!r} {at}")
    lines: list[str] = []
    for name in sorted(rows):
        family = f"# TYPE {name.partition('{')[0].removesuffix('_total')} counter"
        lines += [] if family in lines else [family]
        lines += [f"{name} {row}" for row in rows[name]]
    return "\n".join([*lines, "# EOF"]) + "\n"
