"""An instrumented process whose spans and metrics stay in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from promptcache import PromptCacheInstrumentor, Settings
from promptcache.semconv import OUTCOME


@dataclass
class Telemetry:
    """An instrumented process. Spans and metrics are read back as an exporter would see them."""

    sampler: Sampler = ALWAYS_ON
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)

    settings: Settings | None = None
    """What it was instrumented with, where that was noted."""

    latest: ClassVar[Telemetry | None] = None
    """The one that was made last."""

    def __post_init__(self) -> None:
        Telemetry.latest = self
        self.tracers = TracerProvider(sampler=self.sampler)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader])

    def instrument(self, settings: Settings | None = None, **more: Any) -> None:
        PromptCacheInstrumentor().instrument(
            tracer_provider=self.tracers,
            meter_provider=self.meters,
            settings=settings or Settings(),
            **more,
        )

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    @property
    def span(self) -> ReadableSpan:
        """The only span there is."""
        (only,) = self.spans
        return only

    @property
    def calls(self) -> tuple[ReadableSpan, ...]:
        """Those that stand for a call to a model."""
        return tuple(span for span in self.spans if OUTCOME in (span.attributes or {}))

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Those of the only span."""
        return self.span.attributes or {}

    def _collected(self) -> Any:
        return self.reader.get_metrics_data()

    def metric(self, name: str, **where: Any) -> float:
        """The sum of a counter's points (the count of a histogram's) whose attributes are as `where` says."""
        collected = self._collected()
        if collected is None:
            return 0
        wanted = {key.replace("__", "."): value for key, value in where.items()}
        total: float = sum(
            point.value if hasattr(point, "value") else point.count
            for resource in collected.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
            if metric.name == name and wanted.items() <= dict(point.attributes or {}).items()
        )
        return total
