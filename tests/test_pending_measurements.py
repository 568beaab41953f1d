"""Counters are told at collection exactly what happened, by every road by which metrics leave."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, cast

import openai
import pytest
from opentelemetry.metrics import Counter, Histogram, NoOpMeterProvider
from opentelemetry.sdk.metrics import (
    AlwaysOnExemplarFilter,
    MeterProvider,
)
from opentelemetry.sdk.metrics import Counter as SDKCounter
from opentelemetry.sdk.metrics import Histogram as SDKHistogram
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import View
from opentelemetry.trace import SpanContext

from promptcache import PromptCacheInstrumentor, Settings
from promptcache.telemetry import pending_measurements
from promptcache.telemetry.pending_measurements import PendingMeasurements, is_collected_by_sdk
from tests.support.call_shapes import CHAT
from tests.support.telemetry import Telemetry

DELTA = {SDKCounter: AggregationTemporality.DELTA}


@pytest.fixture
def send_chat(emulator_url: str) -> Iterator[Callable[[], None]]:
    client = openai.OpenAI(base_url=f"{emulator_url}/v1", api_key="k", max_retries=0)

    def send() -> None:
        create: Any = client.chat.completions.create
        create(**CHAT)

    yield send
    PromptCacheInstrumentor().uninstrument()


def instrument(*readers: Any, **options: Any) -> MeterProvider:
    provider = MeterProvider(readers, **options)
    telemetry = Telemetry()
    PromptCacheInstrumentor().instrument(
        tracer_provider=telemetry.tracers, meter_provider=provider, settings=Settings()
    )
    return provider


def points(reader: InMemoryMetricReader, name: str = "promptcache.calls") -> list[Any]:
    data: Any = reader.get_metrics_data()
    return [
        point
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


def count_calls(reader: InMemoryMetricReader) -> float:
    return float(sum(point.value for point in points(reader)))


def test_readers_of_both_temporalities_see_each_call_once(send_chat: Callable[[], None]) -> None:
    delta = InMemoryMetricReader(preferred_temporality=DELTA)  # type: ignore[arg-type]  # a subset
    cumulative = InMemoryMetricReader()
    instrument(delta, cumulative)
    seen: list[tuple[float, float]] = []
    for calls in (3, 2, 0):
        for _ in range(calls):
            send_chat()
        seen.append((count_calls(delta), count_calls(cumulative)))
    assert seen == [(3, 3), (2, 5), (0, 5)]


def test_a_flush_and_a_shutdown_after_one_call_deliver_it(send_chat: Callable[[], None]) -> None:
    exporter = Exporter()
    provider = instrument(PeriodicExportingMetricReader(exporter, export_interval_millis=1e9))
    send_chat()
    provider.force_flush()
    assert '"promptcache.calls"' in exporter.exported[-1]
    send_chat()
    provider.shutdown()
    assert len(exporter.exported) == 2
    assert '"promptcache.calls"' in exporter.exported[-1]


class Exporter(MetricExporter):
    """An exporter that keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.exported: list[str] = []

    def export(self, metrics_data: Any, *args: Any, **kwargs: Any) -> MetricExportResult:
        self.exported.append(metrics_data.to_json())
        return MetricExportResult.SUCCESS

    def shutdown(self, *args: Any, **kwargs: Any) -> None: ...

    def force_flush(self, *args: Any, **kwargs: Any) -> bool:
        return True


def test_uninstrumenting_tells_the_old_provider_and_never_the_new_one(
    send_chat: Callable[[], None],
) -> None:
    old, new = InMemoryMetricReader(), InMemoryMetricReader()
    instrument(old)
    send_chat()
    PromptCacheInstrumentor().uninstrument()
    instrument(new)
    assert count_calls(old) == 1
    assert count_calls(new) == 0
    send_chat()
    assert (count_calls(old), count_calls(new)) == (1, 1)


def test_a_forked_child_repeats_nothing_of_its_parent(send_chat: Callable[[], None]) -> None:
    reader = InMemoryMetricReader()
    instrument(reader)
    for _ in range(5):
        send_chat()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = int(count_calls(reader))
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert count_calls(reader) == 5


def test_an_exemplar_refers_to_the_last_span_of_its_series(
    send_chat: Callable[[], None],
) -> None:
    reader, telemetry = InMemoryMetricReader(), Telemetry()
    provider = MeterProvider([reader], exemplar_filter=AlwaysOnExemplarFilter())
    PromptCacheInstrumentor().instrument(
        tracer_provider=telemetry.tracers, meter_provider=provider, settings=Settings()
    )
    send_chat()
    send_chat()
    context: Any = telemetry.spans[-1].get_span_context()
    exemplars = [exemplar for point in points(reader) for exemplar in point.exemplars]
    assert context.span_id in {exemplar.span_id for exemplar in exemplars}


def test_a_view_on_a_counter_holds(send_chat: Callable[[], None]) -> None:
    reader = InMemoryMetricReader()
    view = View(instrument_name="promptcache.calls", instrument_type=SDKCounter, name="renamed")
    instrument(reader, views=[view])
    send_chat()
    assert sum(point.value for point in points(reader, "renamed")) == 1


class RecordingCounter(Counter):
    """A counter of another SDK."""

    def __init__(self) -> None:
        self.added: list[tuple[float, Any]] = []

    def add(self, amount: float, attributes: Any = None, context: Any = None) -> None:
        self.added.append((amount, attributes))


def test_each_duration_is_recorded_once_with_its_span_as_exemplar(
    send_chat: Callable[[], None],
) -> None:
    delta = InMemoryMetricReader(preferred_temporality={SDKHistogram: AggregationTemporality.DELTA})
    total = InMemoryMetricReader()
    instrument(delta, total, exemplar_filter=AlwaysOnExemplarFilter())
    counts: list[tuple[int, int]] = []
    for calls in (2, 1):
        for _ in range(calls):
            send_chat()
        found = [points(reader, "promptcache.call.duration") for reader in (delta, total)]
        counts.append((sum(it.count for it in found[0]), sum(it.count for it in found[1])))
        assert all(exemplar.span_id for it in found[0] for exemplar in it.exemplars)
    assert counts == [(2, 2), (1, 3)]


def test_an_instrument_that_raises_loses_no_amount_of_another() -> None:
    told: list[float] = []

    class Instrument:
        def __init__(self, *, fails: bool) -> None:
            self.fails = fails

        def add(self, amount: float, *_: object) -> None:
            if self.fails:
                raise LookupError
            told.append(amount)

    pending = PendingMeasurements()
    for instrument in (Instrument(fails=True), Instrument(fails=False)):
        pending.add({}, [(cast("Counter", instrument), 5, {})], None)
    pending.record_pending()
    assert told == [5]


def test_without_a_reader_a_call_beyond_the_limit_records_its_own_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pending_measurements, "_MAX_RECORDINGS", 3)
    told: list[float] = []

    class Recorder:
        def record(self, value: float, *_: object) -> None:
            told.append(value)

    pending, histogram = PendingMeasurements(), Recorder()
    span_context = SpanContext(1, 1, is_remote=False)
    for value in range(5):
        pending.record({}, [(cast("Histogram", histogram), value, {})], span_context)
    assert told == [3, 4]
    pending.record_pending()
    assert told == [3, 4, 0, 1, 2]


def test_only_the_counters_of_the_sdk_are_told_at_collection() -> None:
    provider = MeterProvider([InMemoryMetricReader()])
    assert is_collected_by_sdk(provider.get_meter("m").create_counter("c")) is True
    assert is_collected_by_sdk(RecordingCounter()) is False
    assert is_collected_by_sdk(NoOpMeterProvider().get_meter("m").create_counter("c")) is False


def test_the_table_stays_bounded_without_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_measurements, "_MAX_ROWS", 10)
    sums, counter = PendingMeasurements(), RecordingCounter()
    bases = [{"model": str(number)} for number in range(100)]
    for base in bases:
        sums.add(base, [(counter, 2, {"outcome": "hit"})], None)
    assert len(sums._rows) <= 10  # pyright: ignore[reportPrivateUsage]  # the bound is the point
    sums.record_pending()
    assert sum(amount for amount, _ in counter.added) == 200
    assert {attributes["model"] for _, attributes in counter.added} == set(map(str, range(100)))


def test_a_series_starts_with_a_zero_that_is_told_once() -> None:
    sums, counter, base = PendingMeasurements(), RecordingCounter(), {"model": "m"}
    context = SpanContext(1, 2, is_remote=False)
    for _ in range(3):
        sums.add(base, [(counter, 0, {})], context)
        sums.record_pending()
    assert counter.added == [(0, {"model": "m"})]
