"""What a process with one other instrumentation leaves behind, call by call, and the emulator's
truth of it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from opentelemetry.sdk.trace import ReadableSpan

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
"""Names of shapes in `tests/calls*.py`."""
CLIENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "openai": ("sync", "async"),
    "anthropic": ("sync", "async"),
    "bedrock": ("sync",),
}
NOON: Final = 1_800_000_000.0
"""When everything happens, so that runs differ in nothing but random names and real time."""

Case = tuple[str, str]
"""A call and a kind of client."""
Amounts = Mapping[str, float]
_LLM: Final = (OUTCOME, "gen_ai.request.model", "llm.model_name", "langfuse.observation.model.name")
"""What only the span of an LLM call carries, ours or theirs."""

_ELAPSED: Final = re.compile(r"\b\d+\.\d+s\b")


class Written(NamedTuple):
    """One span as it was exported, without times and without the emulator's port."""

    tracer: str
    said: tuple[str, ...]
    """Its name, kind, status and the names of its events."""
    attributes: Mapping[str, str]
    tokens: Mapping[str, Any]
    """Ours alone, as they are."""

    @property
    def ours(self) -> bool:
        return self.tracer == SCOPE_NAME

    @property
    def llm(self) -> bool:
        return any(mark in self.attributes for mark in _LLM)


class Seen(NamedTuple):
    """What one call left. `truth` is in tokens, from the emulator's ledger; `metrics` is what each
    series grew by."""

    spans: tuple[Written, ...]
    metrics: Amounts
    truth: tuple[Amounts, ...]
    notes: str
    """What the application saw."""

    @property
    def llm(self) -> tuple[Written, ...]:
        return tuple(span for span in self.spans if span.llm)

    @property
    def theirs(self) -> tuple[Written, ...]:
        return tuple(span for span in self.spans if not span.ours)


def _written(span: ReadableSpan, port: str) -> Written:
    given = dict(span.attributes or {})
    scope = span.instrumentation_scope
    return Written(
        scope.name if scope is not None else "",
        (
            span.name,
            span.kind.name,
            span.status.status_code.name,
            *(event.name for event in span.events),
        ),
        {
            name: _ELAPSED.sub("TIME", repr(value).replace(port, "PORT"))
            for name, value in given.items()
        },
        {
            name: given[name]
            for name in (INPUT_TOKENS, READ_TOKENS, WRITE_TOKENS, OUTPUT_TOKENS)
            if name in given
        },
    )


def _truth(record: RequestRecord) -> Amounts:
    outcome = record.result
    return {
        INPUT_TOKENS: outcome.input_tokens,
        READ_TOKENS: outcome.cache_read_tokens,
        WRITE_TOKENS: outcome.cache_write_tokens,
        OUTPUT_TOKENS: record.output_tokens,
    }


def _amounts(telemetry: Telemetry) -> Amounts:
    """Sums of counters, and counts of histograms with their sums, unless those are of time."""
    found: dict[str, float] = {}
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
                    found[metric.name + part] = found.get(metric.name + part, 0) + value
    return found


class _Process:
    """The emulator, one SDK's clients, and telemetry in memory."""

    def __init__(self, name: str, url: str, emulator: Emulator) -> None:
        self.other, self.url, self.emulator, self.telemetry = (
            OTHERS[name],
            url,
            emulator,
            Telemetry(),
        )
        self._kit = next(kit for kit in KITS if kit.name == self.other.sdk)
        self._uses = {shape.name: shape.use for shape in self._kit.shapes}

    def made(self, case: Case) -> str:
        """Makes a call as an application does; says what that saw of it."""
        return asyncio.run(self._make(*case))

    async def _make(self, call: str, kind: str) -> str:
        clients, untraced = self._kit.clients, {"sync": "untraced", "async": "async-untraced"}[kind]
        make = clients[kind] if self.other.native else clients.get(untraced, clients[kind])
        async with make(self.url) as client:
            return repr(await self._uses[call](client))

    def seen(self, case: Case) -> Seen:
        self.telemetry.exporter.clear()
        self.emulator.records.clear()
        before = _amounts(self.telemetry)
        notes = self.made(case)
        port = str(urlsplit(self.url).port)
        return Seen(
            tuple(_written(span, port) for span in self.telemetry.spans),
            {name: value - before.get(name, 0) for name, value in _amounts(self.telemetry).items()},
            tuple(map(_truth, self.emulator.records)),
            notes,
        )


def observe(name: str, order: str) -> Mapping[Case, tuple[Seen, ...]]:
    """Makes all calls; theirs alone twice. In a process of its own: not every instrumentation comes
    off again.

    Every call was made once before, so that there is something in the cache to read.
    """
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger(SCOPE_NAME).addHandler(logging.StreamHandler())  # ours alone is of interest
    emulator = Emulator(Clock(NOON))
    with running_server(emulator) as url:
        process = _Process(name, url, emulator)
        steps: Mapping[str, Callable[[], object]] = {
            "ours": process.telemetry.instrument,
            "theirs": lambda: process.other.on(process.telemetry),
        }
        cases = list(product(CALLS[process.other.sdk], CLIENTS[process.other.sdk]))
        for case in cases:
            process.made(case)
        for step in order.split():
            steps[step]()
        rounds = 2 if order == "theirs" else 1
        return {case: tuple(process.seen(case) for _ in range(rounds)) for case in cases}
