"""Observe the telemetry of each call in a process with one other instrumentation."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from opentelemetry.sdk.trace import ReadableSpan

from promptcache import PromptCacheInstrumentor, Settings
from promptcache.semconv import (
    INPUT_TOKENS,
    OUTCOME,
    OUTPUT_TOKENS,
    READ_TOKENS,
    SCOPE_NAME,
    WRITE_TOKENS,
)
from promptcache_emulator.clock import Clock
from promptcache_emulator.engine import Emulator
from promptcache_emulator.request_record import RequestRecord
from promptcache_emulator.server import running_server
from tests.coexistence.others import OTHERS
from tests.support.sdks import KITS
from tests.support.telemetry import Telemetry

CALLS: Final[Mapping[str, tuple[str, ...]]] = {
    "openai": ("chat", "chat_stream", "responses", "responses_stream", "chat_raw"),
    "anthropic": ("create", "stream", "helper_final", "raw"),
    "bedrock": ("converse", "converse_stream", "invoke_claude", "invoke_claude_stream"),
}
"""Names of shapes in `tests/support/call_shapes*.py`."""
CLIENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "openai": ("sync", "async"),
    "anthropic": ("sync", "async"),
    "bedrock": ("sync",),
}
NOON: Final = 1_800_000_000.0
"""The time of all calls, so that runs differ only in random names and elapsed time."""

Case = tuple[str, str]
"""A call and a kind of client."""
Amounts = Mapping[str, float]
_LLM: Final = (OUTCOME, "gen_ai.request.model", "llm.model_name", "langfuse.observation.model.name")
"""Attributes that only the spans of LLM calls have."""

_ELAPSED: Final = re.compile(r"\b\d+\.\d+s\b")


class ExportedSpan(NamedTuple):
    """One exported span, without times and without the port of the emulator."""

    tracer: str
    identity: tuple[str, ...]
    """Its name, kind, status and the names of its events."""
    attributes: Mapping[str, str]
    tokens: Mapping[str, Any]
    """Token counts of promptcache."""

    @property
    def ours(self) -> bool:
        return self.tracer == SCOPE_NAME

    @property
    def llm(self) -> bool:
        return any(mark in self.attributes for mark in _LLM)


class Observation(NamedTuple):
    """The telemetry of one call.

    `truth` has the token counts of the emulator. `metrics` has the increase of each series.
    """

    spans: tuple[ExportedSpan, ...]
    metrics: Amounts
    truth: tuple[Amounts, ...]
    notes: str
    """The result that the application received."""

    @property
    def llm(self) -> tuple[ExportedSpan, ...]:
        return tuple(span for span in self.spans if span.llm)

    @property
    def theirs(self) -> tuple[ExportedSpan, ...]:
        return tuple(span for span in self.spans if not span.ours)


def _read_span(span: ReadableSpan, port: str) -> ExportedSpan:
    attributes = dict(span.attributes or {})
    scope = span.instrumentation_scope
    return ExportedSpan(
        scope.name if scope is not None else "",
        (
            span.name,
            span.kind.name,
            span.status.status_code.name,
            *(event.name for event in span.events),
        ),
        {
            name: _ELAPSED.sub("TIME", repr(value).replace(port, "PORT"))
            for name, value in attributes.items()
        },
        {
            name: attributes[name]
            for name in (INPUT_TOKENS, READ_TOKENS, WRITE_TOKENS, OUTPUT_TOKENS)
            if name in attributes
        },
    )


def _true_tokens(record: RequestRecord) -> Amounts:
    outcome = record.result
    return {
        INPUT_TOKENS: outcome.input_tokens,
        READ_TOKENS: outcome.cache_read_tokens,
        WRITE_TOKENS: outcome.cache_write_tokens,
        OUTPUT_TOKENS: record.output_tokens,
    }


def _sum_metrics(telemetry: Telemetry) -> Amounts:
    """Return sums of counters, and counts and sums of histograms. Sums of seconds are left out."""
    sums: dict[str, float] = {}
    collected: Any = telemetry.reader.get_metrics_data()
    metrics = (
        metric
        for resource in (collected.resource_metrics if collected is not None else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )
    for metric in metrics:
        for point in metric.data.data_points:
            parts = (
                {"": point.value}
                if hasattr(point, "value")
                else {" count": point.count, " sum": point.sum}
            )
            for part, value in parts.items():
                if not (part == " sum" and metric.unit == "s"):
                    sums[metric.name + part] = sums.get(metric.name + part, 0) + value
    return sums


class Process:
    """The emulator, the clients of one SDK, and telemetry in memory."""

    def __init__(self, name: str, url: str, emulator: Emulator) -> None:
        self.other, self.url, self.emulator, self.telemetry = (
            OTHERS[name],
            url,
            emulator,
            Telemetry(),
        )
        self._kit = next(kit for kit in KITS if kit.name == self.other.sdk)
        self._uses = {shape.name: shape.use for shape in self._kit.shapes}

    def instrument(self) -> None:
        """Instrument with the tracer provider that theirs uses too."""
        PromptCacheInstrumentor().instrument(
            tracer_provider=None if self.other.has_own_provider else self.telemetry.tracers,
            meter_provider=self.telemetry.meters,
            settings=Settings(),
        )

    def call(self, case: Case) -> str:
        """Make a call as an application does, and return the result as text."""
        return asyncio.run(self._call_async(*case))

    async def _call_async(self, call: str, kind: str) -> str:
        clients, untraced = self._kit.clients, {"sync": "untraced", "async": "async-untraced"}[kind]
        make = clients[kind] if self.other.is_native else clients.get(untraced, clients[kind])
        async with make(self.url) as client:
            return repr(await self._uses[call](client))

    def observe_call(self, case: Case) -> Observation:
        self.telemetry.exporter.clear()
        self.emulator.records.clear()
        before = _sum_metrics(self.telemetry)
        notes = self.call(case)
        port = str(urlsplit(self.url).port)
        return Observation(
            tuple(_read_span(span, port) for span in self.telemetry.spans),
            {
                name: value - before.get(name, 0)
                for name, value in _sum_metrics(self.telemetry).items()
            },
            tuple(map(_true_tokens, self.emulator.records)),
            notes,
        )


def observe(name: str, order: str) -> Mapping[Case, tuple[Observation, ...]]:
    """Make all calls and return their observations. Without promptcache make each call twice.

    Run it in a separate process, since some instrumentations cannot be removed. Each call is first
    made once without instrumentation, so that the cache contains its prefix.
    """
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger(SCOPE_NAME).addHandler(logging.StreamHandler())  # only our log matters
    emulator = Emulator(Clock(NOON))
    with running_server(emulator) as url:
        process = Process(name, url, emulator)
        steps: Mapping[str, Callable[[], object]] = {
            "ours": process.instrument,
            "theirs": lambda: process.other.instrument(process.telemetry),
        }
        cases = list(product(CALLS[process.other.sdk], CLIENTS[process.other.sdk]))
        for case in cases:
            process.call(case)
        for step in order.split():
            steps[step]()
        rounds = 2 if order == "theirs" else 1
        return {case: tuple(process.observe_call(case) for _ in range(rounds)) for case in cases}
