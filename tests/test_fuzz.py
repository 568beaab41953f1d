"""Odd requests and odd usage raise nothing, log nothing, and give attributes that add up.

This is a short run. `make fuzz` makes at least 100,000 calls of each kind.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan

from promptcache import Settings
from promptcache.common import safely as safety
from promptcache.common.coerce import as_str
from promptcache.model import OUTCOMES, Request
from promptcache.providers.anthropic import wire as anthropic
from promptcache.providers.openai import wire as openai
from promptcache.providers.wire_format import WireFormat
from promptcache.telemetry.handler import TelemetryHandler
from promptcache.telemetry.metrics import MetricsRecorder
from tests.fuzz.calls import CALL_PATHS, CallPath
from tests.fuzz.odd import OddValueMaker, TextSubclass, UntouchableObject
from tests.support.telemetry import Telemetry

INTEGER_LIMIT: Final = 2**63
COST_PARTS: Final = tuple(
    f"promptcache.cost.{part}" for part in ("input", "cache_read", "cache_write", "output")
)


class LogCollector(logging.Handler):
    """Collect all log messages from warnings on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Process:
    """The state that consecutive calls of one kind share, as in a service."""

    def __init__(self) -> None:
        self.telemetry = Telemetry()
        settings = Settings(hash_key="k", hashes="all", provider_diagnostics=True)
        self.handler = TelemetryHandler(
            settings,
            self.telemetry.tracers.get_tracer("t"),
            MetricsRecorder(self.telemetry.meters.get_meter("t")),
            clock=self._tick,
        )
        self.log, self.calls, self._now = LogCollector(), 0, 1_780_000_000.0
        logging.getLogger().addHandler(self.log)

    def _tick(self) -> float:
        self._now += 7.0
        return self._now

    def call(self, road: CallPath, rng: Random) -> Sequence[ReadableSpan]:
        """Make one odd call and return its span, or none if the body has no known field."""
        safety.failure_counts.clear()  # else only the first failure is logged
        request_maker, response_maker, stream = (
            OddValueMaker(rng, plain=road.plain),
            OddValueMaker(rng, plain=True),
            rng.random() < 0.5,
        )
        body = request_maker.tree(road.body)
        events = [
            response_maker.tree(road.event if stream else road.response)
            for _ in range(rng.randrange(5) if stream else 1)
        ]
        road.call(self.handler, rng, body, events, stream)
        assert request_maker.untouched()
        assert not self.log.lines
        spans = self.telemetry.exporter.get_finished_spans()
        self.telemetry.exporter.clear()
        self.calls += len(spans)
        assert len(spans) == 1 or (road.opaque and not spans)
        return spans


def is_exportable(value: Any) -> bool:
    """Tell whether every exporter can carry `value`."""
    entries: Any = value  # narrowed types of containers are unknown to a type checker
    if isinstance(value, tuple):
        kinds: set[object] = {type(entry) for entry in entries}
        return len(kinds) <= 1 and all(map(is_exportable, entries))
    if type(value) is str:
        return value.encode(errors="ignore").decode() == value
    if type(value) is float:
        return math.isfinite(value)
    return type(value) is bool or (type(value) is int and abs(value) < INTEGER_LIMIT)


def assert_invariants(span: ReadableSpan) -> None:
    """Check that the attributes of a span agree with each other."""
    attributes: Any = span.attributes or {}
    assert not {name: value for name, value in attributes.items() if not is_exportable(value)}
    assert attributes["promptcache.outcome"] in OUTCOMES
    assert "error.type" not in attributes or isinstance(attributes["error.type"], str)
    if "promptcache.input_tokens" in attributes:
        counts = [
            attributes.get(f"promptcache.{name}_tokens") or 0
            for name in ("input", "uncached", "read", "write")
        ]
        assert counts[0] == sum(counts[1:])
        assert min(counts) >= 0
        assert 0 <= attributes.get("promptcache.hit_ratio", 0) <= 1
        split = sum(
            attributes.get(f"promptcache.write_tokens.{ttl}", 0)
            for ttl in ("5m", "30m", "1h", "12h")
        )
        assert split <= counts[3]
        assert attributes.get("promptcache.missed_tokens", 0) <= counts[0]
    if attributes.get("promptcache.cost.source") == "local":
        parts = sum(attributes[name] for name in COST_PARTS if name in attributes)
        assert parts <= attributes["promptcache.cost.amount"] * (1 + 1e-9) + 1e-12
        assert attributes.get("promptcache.wasted_usd", 0.0) >= 0


@pytest.fixture(params=CALL_PATHS)
def road(request: pytest.FixtureRequest) -> CallPath:
    return CALL_PATHS[request.param]


@pytest.fixture
def process() -> Iterator[Process]:
    process = Process()
    yield process
    logging.getLogger().removeHandler(process.log)


def test_odd_calls_raise_nothing_and_report_sound_attributes(
    road: CallPath, process: Process
) -> None:
    @given(rng=st.randoms(use_true_random=True))
    def call(rng: Random) -> None:
        for span in process.call(road, rng):
            assert_invariants(span)

    call()
    assert process.telemetry.metric("promptcache.calls") == process.calls
    assert not process.log.lines


CYCLE: Final[dict[str, Any]] = {"type": "tool_result"}
CYCLE["content"] = [CYCLE]
BODIES_THAT_RAISED: Final[Mapping[str, tuple[WireFormat, dict[str, Any]]]] = {
    "a role that is a list": (openai.CHAT, {"messages": [{"role": ["system"], "content": "hi"}]}),
    "a type that raises when compared": (
        openai.CHAT,
        {"tools": [{"type": UntouchableObject()}], "messages": ["hi"]},
    ),
    "a state that raises when compared": (
        openai.RESPONSES,
        {"input": "hi", "conversation": UntouchableObject()},
    ),
    "a cycle": (anthropic.MESSAGES, {"messages": [{"role": "user", "content": [CYCLE]}]}),
    "a marker that raises when compared": (
        anthropic.MESSAGES,
        {"system": [{"text": "hi", "cache_control": UntouchableObject()}]},
    ),
    "a maximum that raises when compared": (
        anthropic.MESSAGES,
        {"system": "hi", "max_tokens": UntouchableObject()},
    ),
}


@pytest.mark.parametrize("name", BODIES_THAT_RAISED)
def test_bodies_that_once_raised_are_parsed(name: str) -> None:
    wire, body = BODIES_THAT_RAISED[name]
    assert (
        wire.parse_prompt(Request(wire.name, "p", "chat", "m", None, None, False, body, b"", 0.0))
        is not None
    )


def test_coerced_text_can_be_encoded_as_utf_8() -> None:
    assert (as_str("a\udfff\u00e9"), as_str("\ud800"), as_str(""), as_str(7)) == (
        "a?\u00e9",
        "?",
        None,
        None,
    )
    assert type(as_str(TextSubclass("sub"))) is str


def test_an_amount_beyond_the_range_of_floats_is_none() -> None:
    facts = openai.CHAT.parse_event({"usage": {"cost_in_usd_ticks": 10**400, "prompt_tokens": 7}})
    assert facts is not None
    assert facts.billed_usd is None
