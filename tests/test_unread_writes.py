"""An unread cache write is counted once after it expires, with its surcharge."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import pytest

from promptcache import Settings
from promptcache.diagnosis.diagnosis import Diagnosis
from promptcache.diagnosis.unread_writes import UnreadWrite, compute_write_surcharge_usd
from promptcache.model import Block, Cost, ParsedPrompt, Request, ResponseFacts, Usage
from promptcache.semconv import OTHER_VALUE
from promptcache.telemetry.handler import TelemetryHandler
from promptcache.telemetry.metrics import MAX_DISTINCT_VALUES, MetricsRecorder
from tests.support.telemetry import Telemetry

COST = Cost(1.0, input_price=2.0, cache_read_price=0.2, cache_write_prices={"5m": 2.5, "1h": 4.0})
SYSTEM = "The agent reads the order, checks the policy and answers in plain words. " * 60


@dataclass
class Application:
    """An application with the cache of Anthropic, and the unread writes that are reported."""

    now: float = 1e9
    unread_writes: list[UnreadWrite] = field(default_factory=list[UnreadWrite])
    calls: int = 4096

    def __post_init__(self) -> None:
        self.diagnosis = Diagnosis(
            Settings(memory_calls=self.calls), on_unread_write=self.unread_writes.append
        )

    def call(
        self, *messages: str, read: int = 0, write: int = 0, wait: float = 5.0, **more: Any
    ) -> None:
        self.now += wait
        message_blocks = [
            Block("messages", at, "text", {"role": "user", "content": text})
            for at, text in enumerate(messages)
        ]
        prompt = ParsedPrompt(
            (Block("system", 0, "text", more.get("system", SYSTEM)), *message_blocks)
        )
        request = Request(
            "w", "anthropic", "chat", "claude-sonnet-4-6", "h", 443, False, {}, b"k", self.now
        )
        usage = Usage(
            read + write + 10, 10, read, write, {more.get("ttl", "5m"): write} if write else {}
        )
        pending_call = self.diagnosis.start(request, prompt)
        cost = more.get("cost", COST)
        self.diagnosis.finish(
            pending_call,
            facts=ResponseFacts(),
            usage=usage,
            cost=cost,
            has_failed=False,
            ended_at=self.now + 1,
        )


def test_an_unread_write_is_reported_once_after_it_expires() -> None:
    application = Application()
    application.call("one", write=2000)
    application.call("other", system="elsewhere", wait=200)
    assert application.unread_writes == []
    application.call("other", system="elsewhere", wait=200)
    assert [
        (unread.provider, unread.model, unread.wasted_usd) for unread in application.unread_writes
    ] == [("anthropic", "claude-sonnet-4-6", 2000 * 0.5)]
    application.call("other", system="elsewhere", wait=2000)
    assert len(application.unread_writes) == 1


def test_a_write_of_one_hour_is_not_reported_before_it_expires() -> None:
    application = Application()
    application.call("one", write=2000, ttl="1h")
    application.call("other", system="elsewhere", wait=3000)
    assert application.unread_writes == []
    application.call("other", system="elsewhere", wait=3000)
    assert [unread.wasted_usd for unread in application.unread_writes] == [2000 * 2.0]


def test_a_write_that_a_later_call_read_is_not_reported() -> None:
    application = Application()
    application.call("one", write=2000)
    application.call("one", "two", read=2000, write=100)
    application.call("one", "two", "three", read=2100)
    application.call("other", system="elsewhere", wait=9999)
    assert application.unread_writes == []


def test_the_last_write_of_a_conversation_is_reported() -> None:
    application = Application()
    application.call("one", write=2000)
    application.call("one", "two", read=2000, write=100)
    application.call("other", system="elsewhere", wait=9999)
    assert [unread.wasted_usd for unread in application.unread_writes] == [100 * 0.5]


def test_tokens_already_counted_as_missed_are_not_counted_again() -> None:
    usage = Usage(3000, 0, 0, 3000, {"5m": 1000, "1h": 2000})
    assert compute_write_surcharge_usd(usage, COST, 0) == 1000 * 0.5 + 2000 * 2.0
    assert compute_write_surcharge_usd(usage, COST, 1500) == 1500 * 2.0
    assert compute_write_surcharge_usd(usage, COST, 5000) == 0.0
    application = Application()
    application.call("one", write=2000)
    application.call("one", "two", write=2050)
    application.call("other", system="elsewhere", wait=9999)
    assert sorted(unread.wasted_usd for unread in application.unread_writes) == [
        50 * 0.5,
        2000 * 0.5,
    ]


@pytest.mark.parametrize("cost", [None, Cost(None, unknown_reason="model")])
def test_an_unread_write_without_a_price_is_not_reported(cost: Cost | None) -> None:
    application = Application()
    application.call("one", write=2000, cost=cost)
    application.call("other", system="elsewhere", wait=9999)
    assert application.unread_writes == []


def test_the_number_of_remembered_writes_is_bounded() -> None:
    application = Application(calls=8)
    for number in range(50):
        # No text is like another, or the write would count as the waste of a miss.
        system = " ".join(f"w{number}x{word}" for word in range(300))
        application.call(str(number), system=system, write=2000)
    application.call("other", system="elsewhere", wait=9999)
    assert len(application.unread_writes) == 8


# The test forks beside threads on purpose.
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_reports_no_write_of_its_parent() -> None:
    application = Application()
    application.call("one", write=2000)
    child = os.fork()
    if child == 0:
        application.call("other", system="elsewhere", wait=9999)
        os._exit(len(application.unread_writes))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    application.call("other", system="elsewhere", wait=9999)
    assert len(application.unread_writes) == 1


def test_an_unread_write_counts_as_waste_with_its_own_reason() -> None:
    telemetry = Telemetry()
    metrics = MetricsRecorder(telemetry.meters.get_meter("t"))
    for number in range(MAX_DISTINCT_VALUES + 2):
        metrics.record_unread_write(UnreadWrite("anthropic", f"m{number}", 0.5, 0.0))
    attributes = {
        "promptcache.miss.reason": "write_never_read",
        "gen_ai.provider.name": "anthropic",
    }
    assert telemetry.metric("promptcache.wasted.usd", **attributes) == 0.5 * (
        MAX_DISTINCT_VALUES + 2
    )
    assert (
        telemetry.metric(
            "promptcache.wasted.usd", **attributes, **{"gen_ai.request.model": OTHER_VALUE}
        )
        == 0.5 * 2
    )


def test_the_handler_counts_an_unread_write_as_waste() -> None:
    telemetry = Telemetry()
    handler = TelemetryHandler(
        Settings(),
        telemetry.tracers.get_tracer("t"),
        MetricsRecorder(telemetry.meters.get_meter("t")),
    )
    application = Application()
    application.diagnosis = handler.diagnosis
    application.call("one", write=2000)
    application.call("other", system="elsewhere", wait=9999)
    assert telemetry.metric("promptcache.wasted.usd") == 1000.0
