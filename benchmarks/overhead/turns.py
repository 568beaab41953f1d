"""Processes that take turns: one a variant, in blocks whose order is reversed each round.

Whatever else the machine does falls on all of them alike, and what a variant adds is the median over the rounds of the
difference to its neighbour in the same round.
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
    """Takes spans and forgets all but their number."""

    spans = 0

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


@dataclass
class Measurement:
    """What one variant took in one scenario: all calls, the median of each round, and `json.dumps` of a body."""

    calls: list[Sample] = field(default_factory=list[Sample])
    rounds: list[Sample] = field(default_factory=list[Sample])
    dumps: list[float] = field(default_factory=list[float])
    spans: float = 0.0

    def add_block(self, samples: list[Sample], dumped: float, spans: int) -> None:
        cpu, wall = zip(*samples, strict=True)
        self.calls.extend(samples)
        self.rounds.append((median(cpu), median(wall)))
        self.dumps.append(dumped)
        self.spans = spans / len(samples)

    def median_and_p99(self, clock: int) -> tuple[float, float]:
        """Median and 99th percentile of the CPU (0) or wall (1) time of a call, in microseconds."""
        times = [sample[clock] for sample in self.calls]
        return median(times), quantiles(times, n=100)[98]

    def added_cpu(self, baseline: Measurement) -> float:
        """CPU time of a call above that of the neighbours, in microseconds."""
        return median(
            mine[0] - theirs[0] for mine, theirs in zip(self.rounds, baseline.rounds, strict=True)
        )


Measurements = dict[str, dict[str, Measurement]]
"""By scenario and variant."""


def _time_call(call: Callable[[Any], Any], body: Any) -> Sample:
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    call(body)
    return (time.process_time_ns() - cpu) / 1e3, (time.perf_counter_ns() - wall) / 1e3


def run_worker(sdk: SDK, variant: str, connection: Connection) -> None:
    """A process with one instrumentation: runs a block each time it is told a scenario."""
    logging.disable()  # one of them fills the log, and writing it is not what we measure
    counted, tracers = _CountingExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(counted))
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
    switched = VARIANTS[sdk.name][variant]
    os.environ.update(switched.environment or {})
    switched.instrument()
    callers = {stream: sdk.make_caller(stream=stream) for stream in (False, True)}
    number = 0
    told: Iterator[int] = iter(connection.recv, None)
    for index in told:
        scenario = SCENARIOS[index]
        before, samples = counted.spans, list[Sample]()
        for _ in range(scenario.calls_per_turn):
            number += 1
            samples.append(_time_call(callers[scenario.stream], sdk.request_body(scenario, number)))
        connection.send(
            (
                samples,
                _time_call(dumps, sdk.request_body(scenario, number))[0],
                counted.spans - before,
            )
        )


def _show_progress(done: int, of: int, name: str) -> None:
    if sys.stderr.isatty():
        print(
            f"\r{name:<10} [{'#' * (40 * done // of):<40}] {done}/{of}",
            end="",
            file=sys.stderr,
            flush=True,
        )


def measure(sdk: SDK, scenarios: Sequence[Scenario], rounds: int) -> Measurements:
    """Lets the variants of one SDK take turns. The first round warms up."""
    context = multiprocessing.get_context("spawn")
    wires: dict[str, Connection] = {}
    for variant in VARIANTS[sdk.name]:
        wires[variant], theirs = context.Pipe()
        # By its number in the table: a table of functions cannot travel.
        context.Process(
            target=_run_worker_by_index, args=(SDKS.index(sdk), variant, theirs), daemon=True
        ).start()
        theirs.close()  # so that the end of a process that failed is heard of
    found: Measurements = {
        scenario.name: {name: Measurement() for name in wires} for scenario in scenarios
    }
    for turn in range(rounds + 1):
        for scenario in scenarios:
            for name in list(wires)[:: 1 if turn % 2 else -1]:
                wires[name].send(SCENARIOS.index(scenario))
                answered = wires[name].recv()
                if turn:
                    found[scenario.name][name].add_block(*answered)
        _show_progress(turn, rounds, sdk.name)
    for wire in wires.values():
        wire.send(None)
    return found


def _run_worker_by_index(sdk: int, variant: str, connection: Connection) -> None:
    run_worker(SDKS[sdk], variant, connection)
