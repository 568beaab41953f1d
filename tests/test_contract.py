"""The telemetry contract: exact names and types, on our own span, on somebody's, and in the metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import openai
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, TraceIdRatioBased
from opentelemetry.trace import SpanKind

import promptcache
from promptcache import Settings
from tests.support.call_shapes import CHAT, INCLUDE_USAGE, MODEL, SYSTEM
from tests.support.telemetry import Telemetry

OWN_SPAN: Mapping[str, type] = {
    "gen_ai.operation.name": str,
    "gen_ai.provider.name": str,
    "gen_ai.request.model": str,
    "gen_ai.response.model": str,
    "gen_ai.response.id": str,
    "gen_ai.response.finish_reasons": tuple,
    "gen_ai.usage.input_tokens": int,
    "gen_ai.usage.output_tokens": int,
    "gen_ai.usage.cache_read.input_tokens": int,
    "gen_ai.usage.cache_write.input_tokens": int,
    "gen_ai.usage.cache_creation.input_tokens": int,
    "gen_ai.usage.reasoning.output_tokens": int,
    "openai.response.service_tier": str,
    "server.address": str,
    "server.port": int,
    "code.function.name": str,
    "code.file.path": str,
    "code.line.number": int,
    "promptcache.outcome": str,
    "promptcache.input_tokens": int,
    "promptcache.read_tokens": int,
    "promptcache.write_tokens": int,
    "promptcache.write_tokens.30m": int,
    "promptcache.uncached_tokens": int,
    "promptcache.output_tokens": int,
    "promptcache.hit_ratio": float,
    "promptcache.hit_percent": int,
    "promptcache.shortfall_tokens": float,
    "promptcache.prefix.hash": str,
    "promptcache.prefix.family": str,
    "promptcache.prefix.system_hash": str,
    "promptcache.prefix.scope_hash": str,
    "promptcache.prefix.blocks": int,
    "promptcache.prefix.breakpoints": tuple,
    "promptcache.prefix.complete": bool,
    "promptcache.cost.amount": float,
    "promptcache.cost.currency": str,
    "promptcache.cost.source": str,
    "promptcache.cost.price_date": str,
    "promptcache.cost.input": float,
    "promptcache.cost.cache_read": float,
    "promptcache.cost.cache_write": float,
    "promptcache.cost.output": float,
    "promptcache.cost.without_cache": float,
    "promptcache.cost.saved": float,
}
MAY_BE_THERE = {"promptcache.miss.", "promptcache.missed_tokens", "promptcache.wasted_usd"}
"""What a first call may or may not have: the diagnosis has tests of its own."""


@pytest.fixture
def client(emulator_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{emulator_url}/v1", api_key="secret-key", max_retries=0) as made:
        yield made


def ask(client: openai.OpenAI, **more: Any) -> Any:
    create: Any = client.chat.completions.create
    return create(**{**CHAT, **more})


def test_names_and_types_of_our_own_span(client: openai.OpenAI, telemetry: Telemetry) -> None:
    marked = {"type": "text", "text": SYSTEM, "prompt_cache_breakpoint": {"mode": "explicit"}}
    ask(
        client,
        model="gpt-6-sol",
        messages=[{"role": "system", "content": [marked]}, {"role": "user", "content": "Hi"}],
    )
    span = telemetry.span
    found: dict[str, type] = {
        name: type(value)
        for name, value in telemetry.attributes.items()
        if not any(name.startswith(start) for start in MAY_BE_THERE)
    }
    assert found == dict(OWN_SPAN)
    assert span.name == "chat gpt-6-sol"
    assert span.kind is SpanKind.CLIENT
    assert telemetry.attributes["gen_ai.provider.name"] == "openai"
    assert telemetry.attributes["promptcache.prefix.breakpoints"] == ("system[0]",)
    assert telemetry.attributes["promptcache.prefix.hash"].startswith("p1:")
    assert telemetry.attributes["code.function.name"].endswith("test_contract.ask")


def test_zeros_are_written_and_what_is_not_reported_is_not(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    ask(client, messages=[{"role": "user", "content": "short"}])
    assert telemetry.attributes["promptcache.read_tokens"] == 0
    assert "promptcache.write_tokens" not in telemetry.attributes
    assert "gen_ai.usage.cache_write.input_tokens" not in telemetry.attributes
    assert telemetry.attributes["promptcache.outcome"] == "below_minimum"


def test_an_unknown_model_costs_nothing_known(client: openai.OpenAI, telemetry: Telemetry) -> None:
    ask(client, model="nobodys-model-7")
    assert telemetry.attributes["promptcache.cost.unknown"] == "model"
    assert not [
        name
        for name in telemetry.attributes
        if name.startswith("promptcache.cost.") and "unknown" not in name
    ]
    assert telemetry.metric("promptcache.unpriced.calls", promptcache__cost__unknown="model") == 1
    assert telemetry.metric("promptcache.cost.usd") == 0


@pytest.mark.parametrize(
    ("attributes", "scope"),
    [
        ({"gen_ai.operation.name": "chat"}, "opentelemetry.util.genai"),
        ({"openinference.span.kind": "LLM"}, "openinference.instrumentation.openai"),
        ({"llm.request.type": "chat"}, "opentelemetry.instrumentation.openai"),
        ({"gen_ai.operation.name": "chat"}, "com.anthropic.sdk.python"),
    ],
)
def test_a_foreign_llm_span_is_enriched_once(
    attributes: dict[str, str], scope: str, client: openai.OpenAI, telemetry: Telemetry
) -> None:
    counted = {"gen_ai.usage.input_tokens": 7, "gen_ai.usage.cache_creation.input_tokens": 0}
    theirs: dict[str, Any] = {**attributes, **counted}
    with telemetry.tracers.get_tracer(scope).start_as_current_span("theirs", attributes=theirs):
        ask(client, model="gpt-6-sol")
        ask(client, model="gpt-6-sol")
    ours, foreign = telemetry.spans
    assert foreign.name == "theirs"
    found = foreign.attributes or {}
    assert found["gen_ai.usage.input_tokens"] == 7, "theirs are left untouched"
    assert "gen_ai.usage.cache_write.input_tokens" not in found, (
        "a second name of what they wrote would count twice"
    )
    assert found["promptcache.input_tokens"] == (ours.attributes or {})["promptcache.input_tokens"]
    assert ours.parent is not None
    assert foreign.context is not None
    assert ours.parent.span_id == foreign.context.span_id, (
        "the second call inside is a child of ours"
    )
    assert telemetry.metric("promptcache.calls") == 2


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.operation.name": "invoke_agent"},
        {"gen_ai.operation.name": "execute_tool"},
        {"http.request.method": "POST"},
        {},
    ],
)
def test_any_other_span_is_a_parent(
    attributes: dict[str, str], client: openai.OpenAI, telemetry: Telemetry
) -> None:
    with telemetry.tracers.get_tracer("app").start_as_current_span("around", attributes=attributes):
        ask(client)
    ours, around = telemetry.spans
    assert ours.parent is not None
    assert "promptcache.outcome" in (ours.attributes or {})
    assert dict(around.attributes or {}) == attributes


def test_a_foreign_streams_span_is_enriched_before_it_ends(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    span = telemetry.tracers.get_tracer("theirs").start_span(
        "theirs", attributes={"gen_ai.operation.name": "chat"}
    )
    with trace.use_span(span, end_on_exit=False):
        stream = ask(client, stream=True, stream_options={"include_usage": True})
    for chunk in stream:
        if chunk.usage:
            span.end()  # as an instrumentation does that sees the last chunk outside of us
    assert telemetry.attributes["promptcache.input_tokens"] > 1024
    assert telemetry.attributes["promptcache.outcome"] == "cold"
    assert "promptcache.cost.unknown" not in telemetry.attributes
    assert telemetry.metric("promptcache.calls") == 1


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, TraceIdRatioBased(0.01)], ids=["never", "1 %"])
def test_metrics_are_complete_without_spans(
    sampler: Any, client: openai.OpenAI, instrumented: Callable[..., Telemetry]
) -> None:
    telemetry = instrumented(sampler=sampler)
    for _ in range(10):
        ask(client)
    assert len(telemetry.spans) < 5
    assert telemetry.metric("promptcache.calls") == 10
    assert telemetry.metric("promptcache.read.tokens") > 0
    assert telemetry.metric("promptcache.call.duration") == 10


def test_suppressed_calls_are_not_seen(client: openai.OpenAI, telemetry: Telemetry) -> None:
    with suppress_instrumentation():
        ask(client)
    assert not telemetry.spans
    assert telemetry.metric("promptcache.calls") == 0


def test_all_outcomes_of_a_model_start_together(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    ask(client)
    collected: Any = telemetry.reader.get_metrics_data()
    (points,) = [
        {point.attributes["promptcache.outcome"]: point.value for point in metric.data.data_points}
        for metric in collected.resource_metrics[0].scope_metrics[0].metrics
        if metric.name == "promptcache.read.tokens"
    ]
    assert points == dict.fromkeys(
        (
            "error",
            "unreported",
            "prewarm",
            "partial",
            "hit",
            "not_requested",
            "below_minimum",
            "miss",
            "cold",
        ),
        0,
    )


def test_metrics_carry_no_hash_and_know_the_call(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    ask(client)
    collected: Any = telemetry.reader.get_metrics_data()
    for metric in collected.resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            assert not [name for name in point.attributes if "hash" in name or "prefix" in name]
            assert point.attributes["gen_ai.request.model"] == MODEL
    exemplar = next(
        exemplar
        for metric in collected.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
        for exemplar in point.exemplars
    )
    assert telemetry.span.context is not None
    assert exemplar.trace_id == telemetry.span.context.trace_id


def test_models_are_bounded_in_metrics(client: openai.OpenAI, telemetry: Telemetry) -> None:
    for number in range(103):
        ask(client, model=f"model-{number}", messages=[{"role": "user", "content": "hi"}])
    assert telemetry.metric("promptcache.calls", gen_ai__request__model="model-99") == 1
    assert telemetry.metric("promptcache.calls", gen_ai__request__model="model-100") == 0
    assert telemetry.metric("promptcache.calls", gen_ai__request__model="_OTHER") == 3


def test_settings_reach_the_span(
    client: openai.OpenAI, instrumented: Callable[..., Telemetry]
) -> None:
    telemetry = instrumented(
        Settings(
            hash_key="k",
            hashes="all",
            callsite=False,
            legacy_names=False,
            target=0.8,
            providers={"127.0.0.1": "groq"},
            baggage_keys=("tenant",),
            metric_keys=("team",),
        )
    )
    token = context.attach(baggage.set_baggage("tenant", "blue"))
    with promptcache.attributes({"gen_ai.agent.name": "planner"}, team="search"):
        ask(client, model="gpt-6-sol")
    context.detach(token)
    found = telemetry.attributes
    assert found["gen_ai.provider.name"] == "groq"
    assert found["promptcache.prefix.hash"].startswith("k1:")
    assert len(found["promptcache.prefix.chain"]) == 2
    assert found["promptcache.shortfall_tokens"] == pytest.approx(
        0.8 * found["promptcache.input_tokens"]
    )
    assert (found["tenant"], found["team"], found["gen_ai.agent.name"]) == (
        "blue",
        "search",
        "planner",
    )
    assert "code.function.name" not in found
    assert "gen_ai.usage.cache_creation.input_tokens" not in found
    assert telemetry.metric("promptcache.calls", team="search") == 1
    assert telemetry.metric("promptcache.calls", tenant="blue") == 0


def test_an_agents_span_gives_its_name(client: openai.OpenAI, telemetry: Telemetry) -> None:
    agent = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "planner",
        "gen_ai.conversation.id": "c1",
    }
    with telemetry.tracers.get_tracer("app").start_as_current_span("agent", attributes=agent):
        client.chat.completions.create(**CHAT)
    ours = telemetry.spans[0].attributes or {}
    assert (ours["gen_ai.agent.name"], ours["gen_ai.conversation.id"]) == ("planner", "c1")


@pytest.mark.parametrize(
    "shape", ["null", "missing", "negative", "string", "text", "list", "nan", "huge", "float"]
)
def test_malformed_usage_is_unreported_and_harmless(
    shape: str, client: openai.OpenAI, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    raw: Any = client.chat.completions.with_raw_response
    raw.create(**CHAT, extra_headers={"x-emulator-fault": f"malformed-usage={shape}"})
    assert telemetry.attributes["promptcache.outcome"] == "unreported"
    assert "promptcache.input_tokens" not in telemetry.attributes
    assert telemetry.metric("promptcache.calls", promptcache__outcome="unreported") == 1
    assert not caplog.records


def test_a_span_that_suppresses_others_for_its_own_call_is_enriched(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    """Logfire does so, by default."""
    mine = telemetry.tracers.get_tracer("theirs")
    asked = {"gen_ai.operation.name": "chat", "gen_ai.request.model": CHAT["model"]}
    create: Any = client.chat.completions.create
    with mine.start_as_current_span("chat", attributes=asked), suppress_instrumentation():
        create(**CHAT)
    assert telemetry.attributes["promptcache.outcome"] == "cold"
    assert telemetry.metric("promptcache.calls") == 1


def test_a_span_that_ends_where_a_stream_begins_is_not_claimed(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    mine = telemetry.tracers.get_tracer("theirs")
    asked = {"gen_ai.operation.name": "chat", "logfire.span_type": "span"}
    create: Any = client.chat.completions.create
    with mine.start_as_current_span("chat", attributes=asked), suppress_instrumentation():
        stream = create(**CHAT, stream=True, stream_options=INCLUDE_USAGE)
    list(stream)
    theirs, ours = telemetry.spans
    assert "promptcache.outcome" not in (theirs.attributes or {})
    assert (ours.attributes or {})["promptcache.input_tokens"] == 4017
