"""Measure pairs of calls: of each two, one runs with the instrumentation swapped out.

Each variant has its own process, and the processes take turns. What a variant adds is the median,
over all pairs, of the difference in CPU time of the thread. A process in which nothing is swapped
is the control: its median says how much of a figure may be noise.
"""

from __future__ import annotations

import logging
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from json import dumps
from multiprocessing.connection import Connection
from statistics import median, quantiles
from typing import Any, Final

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from benchmarks.overhead.calls import SCENARIOS, SDK, SDKS, Conversation, Scenario
from benchmarks.overhead.variants import VARIANTS

_SDK_PACKAGES: Final = ("openai", "anthropic", "httpx", "httpx2", "google")


class _LastSpanExporter(SpanExporter):
    """Counts spans and drops them, except the last one."""

    span_count = 0
    last_span: ReadableSpan | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.span_count += len(spans)
        self.last_span = spans[-1]
        return SpanExportResult.SUCCESS


class PatchSwitch:
    """The functions of the SDKs that an instrumentation replaced."""

    def __init__(self, instrument: Callable[[], None]) -> None:
        owners = _classes_and_modules_of_sdks()
        before = _functions_of(owners)
        instrument()
        # A subclass may get a function that it inherited before: the original is None then.
        self._replaced = [
            (owner, name, before.get((owner, name)), function)
            for (owner, name), function in _functions_of(owners).items()
            if before.get((owner, name)) is not function
        ]

    def set_patched(self, is_patched: bool) -> None:
        """Swap the functions of the instrumentation in or out."""
        for owner, name, original, replacement in self._replaced:
            if is_patched or original is not None:
                setattr(owner, name, replacement if is_patched else original)
            elif name in vars(owner):
                delattr(owner, name)


def _is_of_sdk(module_name: str) -> bool:
    return module_name.partition(".")[0] in _SDK_PACKAGES


def _classes_and_modules_of_sdks() -> set[Any]:
    owners: set[Any] = {module for name, module in sys.modules.items() if _is_of_sdk(name)}
    # The lists are copies: a lazy module changes while its items are looked at.
    classes: set[Any] = set()
    for module in owners:
        for item in _attributes_of(module).values():
            if isinstance(item, type):
                classes.add(item)
    return owners | {owner for owner in classes if _is_of_sdk(owner.__module__)}


def _functions_of(owners: set[Any]) -> dict[tuple[Any, str], object]:
    return {
        (owner, name): item
        for owner in owners
        for name, item in _attributes_of(owner).items()
        if callable(item)
    }


def _attributes_of(owner: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = owner.__dict__
    return dict(attributes)


@dataclass
class Measurement:
    """The pairs of one variant in one scenario, in microseconds of CPU time.

    `dumps` has one `json.dumps` of a request body per turn. `spans` is the number of spans per
    instrumented call, `attributes` the names on the last span.
    """

    without: list[float] = field(default_factory=list[float])
    added: list[float] = field(default_factory=list[float])
    dumps: list[float] = field(default_factory=list[float])
    spans: float = 0.0
    attributes: frozenset[str] = frozenset()

    def quartiles(self) -> tuple[float, float, float]:
        """Return the quartiles of what the variant adds."""
        first, middle, third = quantiles(self.added, n=4)
        return first, middle, third

    def standard_error(self) -> float:
        """Return the standard error of the median, from the spread of the middle half."""
        first, _, third = self.quartiles()
        return 0.93 * (third - first) / float(len(self.added) ** 0.5)


Measurements = dict[str, dict[str, Measurement]]
"""Scenario name to variant name to measurement."""
Turn = tuple[list[tuple[float, float]], float, float, frozenset[str]]
"""Pairs of (without, with), one `json.dumps`, spans per call, names of attributes."""


def _cpu_microseconds(function: Callable[[Any], Any], argument: Any) -> float:
    start = time.thread_time_ns()
    function(argument)
    return (time.thread_time_ns() - start) / 1e3


class _Worker:
    """One variant in its process."""

    def __init__(self, sdk: SDK, variant_name: str) -> None:
        logging.disable()  # one instrumentation logs each call, which is not measured
        self._exporter, provider = _LastSpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        trace.set_tracer_provider(provider)
        metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
        variant = VARIANTS[sdk.name][variant_name]
        self._callers = {stream: sdk.make_caller(stream=stream) for stream in (False, True)}
        self._conversations = {it.name: Conversation(sdk, it) for it in SCENARIOS}
        for scenario in SCENARIOS:  # so that the SDK's lazy modules are imported
            if not scenario.grows:
                self._callers[scenario.stream](self._conversations[scenario.name].next_request())
        self._switch = PatchSwitch(variant.instrument)

    def run_turn(self, scenario: Scenario) -> Turn:
        """Run pairs of calls. The order inside a pair alternates."""
        call = self._callers[scenario.stream]
        conversation, pairs = self._conversations[scenario.name], list[tuple[float, float]]()
        spans, body, last_span = 0, dict[str, Any](), self._exporter.last_span
        for number in range(scenario.pairs_per_turn):
            times: dict[bool, float] = {}
            body = conversation.next_request()
            for is_patched in (True, False) if number % 2 else (False, True):
                self._switch.set_patched(is_patched)
                before = self._exporter.span_count
                times[is_patched] = _cpu_microseconds(call, dict(body))
                if is_patched:
                    spans += self._exporter.span_count - before
                    last_span = self._exporter.last_span
            pairs.append((times[False], times[True]))
        names = frozenset(last_span.attributes or ()) if last_span is not None else frozenset[str]()
        return pairs, _cpu_microseconds(dumps, body), spans / len(pairs), names


def _run_worker(sdk_index: int, variant: str, connection: Connection) -> None:
    # The SDK is passed by its index, because its functions cannot be pickled.
    worker = _Worker(SDKS[sdk_index], variant)
    indexes: Iterator[int] = iter(connection.recv, None)
    for index in indexes:
        connection.send(worker.run_turn(SCENARIOS[index]))


def _start_workers(sdk: SDK, variants: Sequence[str]) -> dict[str, Connection]:
    """Start one process per variant, and return the connection to each."""
    context = multiprocessing.get_context("spawn")
    connections: dict[str, Connection] = {}
    for variant in variants:
        connections[variant], worker_end = context.Pipe()
        context.Process(
            target=_run_worker, args=(SDKS.index(sdk), variant, worker_end), daemon=True
        ).start()
        # If this process kept the worker's end open, recv would wait forever for a dead worker.
        worker_end.close()
    return connections


def measure(
    sdk: SDK, scenarios: Sequence[Scenario], variants: Sequence[str], rounds: int
) -> Measurements:
    """Measure the variants of one SDK in turns. The first round warms up and is not counted."""
    connections = _start_workers(sdk, variants)
    found: Measurements = {
        scenario.name: {name: Measurement() for name in variants} for scenario in scenarios
    }
    for number in range(rounds + 1):
        for scenario in scenarios:
            for name in list(variants)[:: 1 if number % 2 else -1]:
                connections[name].send(SCENARIOS.index(scenario))
                turn: Turn = connections[name].recv()
                if number:
                    _add_turn(found[scenario.name][name], turn)
        _show_progress(number, rounds, sdk.name)
    for connection in connections.values():
        connection.send(None)
    return found


def _add_turn(measurement: Measurement, turn: Turn) -> None:
    pairs, dumps_microseconds, spans, attributes = turn
    measurement.without += [without for without, _ in pairs]
    measurement.added += [with_patches - without for without, with_patches in pairs]
    measurement.dumps.append(dumps_microseconds)
    measurement.spans, measurement.attributes = spans, attributes


def _show_progress(done: int, total: int, name: str) -> None:
    if sys.stderr.isatty():
        bar = "#" * (40 * done // total)
        print(f"\r{name:<10} [{bar:<40}] {done}/{total}", end="", file=sys.stderr, flush=True)


def median_of(measurements: Mapping[str, Measurement], values: str) -> float:
    """Return the median of the `without` or `dumps` values of all variants."""
    found: list[float] = []
    for measurement in measurements.values():
        found += getattr(measurement, values)
    return median(found)
