"""Run one process per variant; the processes take turns in blocks, each round in reverse order.

All variants see the same load of the machine. What a variant adds is the median, over the rounds,
of the difference to its baseline in the same round.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from json import dumps
from multiprocessing.connection import Connection
from statistics import median, quantiles
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from benchmarks.overhead.calls import SCENARIOS, SDK, SDKS, Scenario
from benchmarks.overhead.variants import VARIANTS

Sample = tuple[float, float]
"""CPU and wall time of one call, in microseconds."""


class _CountingExporter(SpanExporter):
    """Counts spans and drops them."""

    span_count = 0

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        self.span_count += len(spans)
        return SpanExportResult.SUCCESS


@dataclass
class Measurement:
    """The samples of one variant in one scenario.

    `calls` has every call, `rounds` the medians of each round, `dumps` the microseconds of one
    `json.dumps` of a request body per round. `spans` is the number of spans per call.
    """

    calls: list[Sample] = field(default_factory=list[Sample])
    rounds: list[Sample] = field(default_factory=list[Sample])
    dumps: list[float] = field(default_factory=list[float])
    spans: float = 0.0

    def add_block(self, samples: list[Sample], dumps_microseconds: float, spans: int) -> None:
        cpu, wall = zip(*samples, strict=True)
        self.calls.extend(samples)
        self.rounds.append((median(cpu), median(wall)))
        self.dumps.append(dumps_microseconds)
        self.spans = spans / len(samples)

    def median_and_p99(self, clock: int) -> tuple[float, float]:
        """Return microseconds of CPU (clock 0) or wall (clock 1) time per call."""
        times = [sample[clock] for sample in self.calls]
        return median(times), quantiles(times, n=100)[98]

    def added_cpu(self, baseline: Measurement) -> float:
        """Return the CPU microseconds per call above the baseline."""
        pairs = zip(self.rounds, baseline.rounds, strict=True)
        return median(own[0] - base[0] for own, base in pairs)


Measurements = dict[str, dict[str, Measurement]]
"""Scenario name to variant name to measurement."""


def _time_call(function: Callable[[Any], Any], argument: Any) -> Sample:
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    function(argument)
    return (time.process_time_ns() - cpu) / 1e3, (time.perf_counter_ns() - wall) / 1e3


def run_worker(sdk: SDK, variant_name: str, connection: Connection) -> None:
    """Run a block of calls for each scenario index that the connection sends, until None."""
    logging.disable()  # one instrumentation logs each call; the log is not part of the measurement
    exporter, tracer_provider = _CountingExporter(), TracerProvider()
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(tracer_provider)
    metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
    variant = VARIANTS[sdk.name][variant_name]
    os.environ.update(variant.environment or {})
    variant.instrument()
    callers = {stream: sdk.make_caller(stream=stream) for stream in (False, True)}
    number = 0
    indexes: Iterator[int] = iter(connection.recv, None)
    for index in indexes:
        scenario = SCENARIOS[index]
        before, samples = exporter.span_count, list[Sample]()
        for _ in range(scenario.calls_per_turn):
            number += 1
            body = sdk.request_body(scenario, number)
            samples.append(_time_call(callers[scenario.stream], body))
        dumps_microseconds, _ = _time_call(dumps, sdk.request_body(scenario, number))
        connection.send((samples, dumps_microseconds, exporter.span_count - before))


def _show_progress(done: int, total: int, name: str) -> None:
    if sys.stderr.isatty():
        bar = "#" * (40 * done // total)
        print(f"\r{name:<10} [{bar:<40}] {done}/{total}", end="", file=sys.stderr, flush=True)


def _start_workers(sdk: SDK) -> dict[str, Connection]:
    """Start one process per variant, and return the connection to each."""
    context = multiprocessing.get_context("spawn")
    connections: dict[str, Connection] = {}
    for variant in VARIANTS[sdk.name]:
        connections[variant], worker_end = context.Pipe()
        # The SDK is passed by its index, because its functions cannot be pickled.
        context.Process(
            target=_run_worker_by_index,
            args=(SDKS.index(sdk), variant, worker_end),
            daemon=True,
        ).start()
        # If this process kept the worker's end open, recv would wait forever for a dead worker.
        worker_end.close()
    return connections


def measure(sdk: SDK, scenarios: Sequence[Scenario], rounds: int) -> Measurements:
    """Measure all variants of one SDK in turns. The first round warms up and is not counted."""
    connections = _start_workers(sdk)
    found: Measurements = {
        scenario.name: {name: Measurement() for name in connections} for scenario in scenarios
    }
    for number in range(rounds + 1):
        for scenario in scenarios:
            for name in list(connections)[:: 1 if number % 2 else -1]:
                connections[name].send(SCENARIOS.index(scenario))
                samples, dumps_microseconds, spans = connections[name].recv()
                if number:
                    found[scenario.name][name].add_block(samples, dumps_microseconds, spans)
        _show_progress(number, rounds, sdk.name)
    for connection in connections.values():
        connection.send(None)
    return found


def _run_worker_by_index(sdk_index: int, variant: str, connection: Connection) -> None:
    run_worker(SDKS[sdk_index], variant, connection)
