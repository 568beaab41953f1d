"""Test the telemetry contract: names and types on own spans, foreign spans and metrics."""

from __future__ import annotations

import sys
import types
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

OWN_SPAN_TYPES: Mapping[str, type] = {
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
OPTIONAL_PREFIXES = {"promptcache.miss.", "promptcache.missed_tokens", "promptcache.wasted_usd"}
"""Attributes that a first call may have. The tests of the diagnosis cover them."""


@pytest.fixture
def client(emulator_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{emulator_url}/v1", api_key="secret-key", max_retries=0
    ) as openai_client:
        yield openai_client


def create_completion(client: openai.OpenAI, **more: Any) -> Any:
    create: Any = client.chat.completions.create
    return create(**{**CHAT, **more})


def test_an_own_span_has_exactly_the_documented_names_and_types(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    system_block = {"type": "text", "text": SYSTEM, "prompt_cache_breakpoint": {"mode": "explicit"}}
    create_completion(
        client,
        model="gpt-6-sol",
        messages=[{"role": "system", "content": [system_block]}, {"role": "user", "content": "Hi"}],
    )
    span = telemetry.span
    types: dict[str, type] = {
        name: type(value)
        for name, value in telemetry.attributes.items()
        if not any(name.startswith(start) for start in OPTIONAL_PREFIXES)
    }
    assert types == dict(OWN_SPAN_TYPES)
    assert span.name == "chat gpt-6-sol"
    assert span.kind is SpanKind.CLIENT
    assert telemetry.attributes["gen_ai.provider.name"] == "openai"
    assert telemetry.attributes["promptcache.prefix.breakpoints"] == ("system[0]",)
    assert telemetry.attributes["promptcache.prefix.hash"].startswith("p1:")
    assert telemetry.attributes["code.function.name"].endswith("test_contract.create_completion")


def test_reported_zeros_are_written_and_unreported_counts_are_not(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    create_completion(client, messages=[{"role": "user", "content": "short"}])
    assert telemetry.attributes["promptcache.read_tokens"] == 0
    assert "promptcache.write_tokens" not in telemetry.attributes
    assert "gen_ai.usage.cache_write.input_tokens" not in telemetry.attributes
    assert telemetry.attributes["promptcache.outcome"] == "below_minimum"


def test_a_call_to_an_unknown_model_has_no_cost_and_a_reason(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    create_completion(client, model="nobodys-model-7")
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
    usage = {"gen_ai.usage.input_tokens": 7, "gen_ai.usage.cache_creation.input_tokens": 0}
    foreign_attributes: dict[str, Any] = {**attributes, **usage}
    with telemetry.tracers.get_tracer(scope).start_as_current_span(
        "theirs", attributes=foreign_attributes
    ):
        create_completion(client, model="gpt-6-sol")
        create_completion(client, model="gpt-6-sol")
    ours, foreign = telemetry.spans
    assert foreign.name == "theirs"
    enriched = foreign.attributes or {}
    assert enriched["gen_ai.usage.input_tokens"] == 7, (
        "an attribute of the other instrumentation was changed"
    )
    assert "gen_ai.usage.cache_write.input_tokens" not in enriched, (
        "a second name for the same count would count twice"
    )
    assert (
        enriched["promptcache.input_tokens"] == (ours.attributes or {})["promptcache.input_tokens"]
    )
    assert ours.parent is not None
    assert foreign.context is not None
    assert ours.parent.span_id == foreign.context.span_id, (
        "the second call must be a child of the foreign span"
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
def test_a_span_that_is_no_llm_span_becomes_the_parent(
    attributes: dict[str, str], client: openai.OpenAI, telemetry: Telemetry
) -> None:
    with telemetry.tracers.get_tracer("app").start_as_current_span("around", attributes=attributes):
        create_completion(client)
    ours, parent = telemetry.spans
    assert ours.parent is not None
    assert "promptcache.outcome" in (ours.attributes or {})
    assert dict(parent.attributes or {}) == attributes


def test_the_foreign_span_of_a_stream_is_enriched_before_it_ends(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    span = telemetry.tracers.get_tracer("theirs").start_span(
        "theirs", attributes={"gen_ai.operation.name": "chat"}
    )
    with trace.use_span(span, end_on_exit=False):
        stream = create_completion(client, stream=True, stream_options={"include_usage": True})
    for _ in stream:
        pass
    span.end()  # other instrumentations end their span with the stream
    assert telemetry.attributes["promptcache.input_tokens"] > 1024
    assert telemetry.attributes["promptcache.outcome"] == "cold"
    assert "promptcache.cost.unknown" not in telemetry.attributes
    assert telemetry.metric("promptcache.calls") == 1


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, TraceIdRatioBased(0.01)], ids=["never", "1 %"])
def test_metrics_count_calls_without_sampled_spans(
    sampler: Any, client: openai.OpenAI, instrumented: Callable[..., Telemetry]
) -> None:
    telemetry = instrumented(sampler=sampler)
    for _ in range(10):
        create_completion(client)
    assert len(telemetry.spans) < 5
    assert telemetry.metric("promptcache.calls") == 10
    assert telemetry.metric("promptcache.read.tokens") > 0
    assert telemetry.metric("promptcache.call.duration") == 10


def test_suppressed_calls_have_no_telemetry(client: openai.OpenAI, telemetry: Telemetry) -> None:
    with suppress_instrumentation():
        create_completion(client)
    assert not telemetry.spans
    assert telemetry.metric("promptcache.calls") == 0


def test_the_first_call_creates_a_series_for_each_outcome(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    create_completion(client)
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


def test_metrics_have_no_hashes_and_exemplars_link_to_the_span(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    create_completion(client)
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


def test_metrics_use_other_beyond_a_hundred_models(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    for number in range(103):
        create_completion(
            client, model=f"model-{number}", messages=[{"role": "user", "content": "hi"}]
        )
    assert telemetry.metric("promptcache.calls", gen_ai__request__model="model-99") == 1
    assert telemetry.metric("promptcache.calls", gen_ai__request__model="model-100") == 0
    assert telemetry.metric("promptcache.calls", gen_ai__request__model="_OTHER") == 3


def test_junk_from_outside_hides_no_listed_value_of_a_metric_key(
    client: openai.OpenAI, instrumented: Callable[..., Telemetry]
) -> None:
    telemetry = instrumented(
        Settings.load({"OTEL_PROMPTCACHE_METRIC_KEYS": "tenant=acme|globex, team"})
    )
    for tenant in (*(f"junk-{number}" for number in range(60)), "acme", "globex", "acme"):
        token = context.attach(baggage.set_baggage("tenant", tenant))
        with promptcache.attributes(team="search"):
            create_completion(client, model="gpt-6-sol")
        context.detach(token)
    counts = {
        tenant: telemetry.metric("promptcache.calls", tenant=tenant, team="search")
        for tenant in ("acme", "globex", "_OTHER", "junk-0")
    }
    assert counts == {"acme": 2, "globex": 1, "_OTHER": 60, "junk-0": 0}
    last_attributes = telemetry.spans[-1].attributes or {}
    assert last_attributes["tenant"] == "acme", "the span keeps every value"


def histogram_points(telemetry: Telemetry, name: str) -> list[Any]:
    data: Any = telemetry.reader.get_metrics_data()
    return [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
        if metric.name == name
    ]


@pytest.mark.parametrize("is_wanted", [False, True])
def test_genai_metrics_are_emitted_only_on_request(
    client: openai.OpenAI, instrumented: Callable[..., Telemetry], is_wanted: bool
) -> None:
    telemetry = instrumented(Settings.load({"OTEL_PROMPTCACHE_GENAI_METRICS": str(is_wanted)}))
    create_completion(client, model="gpt-6-sol")
    tokens = histogram_points(telemetry, "gen_ai.client.token.usage")
    durations = histogram_points(telemetry, "gen_ai.client.operation.duration")
    assert [point.count for point in durations] == [1] * is_wanted
    attributes = telemetry.attributes
    expected = {kind: attributes[f"promptcache.{kind}_tokens"] for kind in ("input", "output")}
    sums = {point.attributes["gen_ai.token.type"]: point.sum for point in tokens}
    assert sums == (expected if is_wanted else {})
    # semantic-conventions, docs/gen-ai/gen-ai-metrics.md
    bounds = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144]
    bounds += [1048576, 4194304, 16777216, 67108864]
    assert all(list(point.explicit_bounds) == bounds for point in tokens)
    assert all(point.attributes["gen_ai.provider.name"] == "openai" for point in tokens)


def test_genai_metrics_warn_once_beside_another_emitter(
    client: openai.OpenAI,
    instrumented: Callable[..., Telemetry],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(sys.modules, "openlit", types.ModuleType("openlit"))
    instrumented(Settings(genai_metrics=True))
    for _ in range(2):
        create_completion(client, model="gpt-6-sol")
    (message,) = [text for text in caplog.messages if "counts twice" in text]
    assert "openlit" in message


def test_settings_change_span_attributes_and_metrics(
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
        create_completion(client, model="gpt-6-sol")
    context.detach(token)
    attributes = telemetry.attributes
    assert attributes["gen_ai.provider.name"] == "groq"
    assert attributes["promptcache.prefix.hash"].startswith("k1:")
    assert len(attributes["promptcache.prefix.chain"]) == 2
    assert attributes["promptcache.shortfall_tokens"] == pytest.approx(
        0.8 * attributes["promptcache.input_tokens"]
    )
    assert (attributes["tenant"], attributes["team"], attributes["gen_ai.agent.name"]) == (
        "blue",
        "search",
        "planner",
    )
    assert "code.function.name" not in attributes
    assert "gen_ai.usage.cache_creation.input_tokens" not in attributes
    assert telemetry.metric("promptcache.calls", team="search") == 1
    assert telemetry.metric("promptcache.calls", tenant="blue") == 0


def test_a_call_inherits_agent_and_conversation_of_the_agent_span(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
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
    "agent",
    [
        {"gen_ai.agent.name": "planner"},
        {"openinference.span.kind": "AGENT", "agent.name": "planner"},
        {"traceloop.span.kind": "agent", "traceloop.entity.name": "planner"},
    ],
)
def test_a_call_inherits_the_agent_of_the_nearest_span_that_tells_it(
    agent: dict[str, str], client: openai.OpenAI, telemetry: Telemetry
) -> None:
    tracer = telemetry.tracers.get_tracer("app")
    crew = {"gen_ai.agent.name": "crew", "gen_ai.conversation.id": "c1", "gen_ai.prompt.name": "p"}
    with (
        tracer.start_as_current_span("crew", attributes=crew),
        tracer.start_as_current_span("agent", attributes=agent),
        tracer.start_as_current_span("step"),
        tracer.start_as_current_span("retry"),
    ):
        client.chat.completions.create(**CHAT)
    ours = telemetry.spans[0].attributes or {}
    assert (ours["gen_ai.agent.name"], ours["gen_ai.conversation.id"]) == ("planner", "c1")
    assert "gen_ai.prompt.name" not in ours


@pytest.mark.parametrize(
    "shape", ["null", "missing", "negative", "string", "text", "list", "nan", "huge", "float"]
)
def test_malformed_usage_is_unreported_and_logs_nothing(
    shape: str, client: openai.OpenAI, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    raw_client: Any = client.chat.completions.with_raw_response
    raw_client.create(**CHAT, extra_headers={"x-emulator-fault": f"malformed-usage={shape}"})
    assert telemetry.attributes["promptcache.outcome"] == "unreported"
    assert "promptcache.input_tokens" not in telemetry.attributes
    assert telemetry.metric("promptcache.calls", promptcache__outcome="unreported") == 1
    assert not caplog.records


def test_a_foreign_span_that_suppresses_instrumentation_is_enriched(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    """Logfire suppresses other instrumentations by default."""
    tracer = telemetry.tracers.get_tracer("theirs")
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": CHAT["model"]}
    create: Any = client.chat.completions.create
    with tracer.start_as_current_span("chat", attributes=attributes), suppress_instrumentation():
        create(**CHAT)
    assert telemetry.attributes["promptcache.outcome"] == "cold"
    assert telemetry.metric("promptcache.calls") == 1


def test_a_span_that_ends_before_its_stream_is_not_claimed(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    tracer = telemetry.tracers.get_tracer("theirs")
    attributes = {"gen_ai.operation.name": "chat", "logfire.span_type": "span"}
    create: Any = client.chat.completions.create
    with tracer.start_as_current_span("chat", attributes=attributes), suppress_instrumentation():
        stream = create(**CHAT, stream=True, stream_options=INCLUDE_USAGE)
    list(stream)
    theirs, ours = telemetry.spans
    assert "promptcache.outcome" not in (theirs.attributes or {})
    assert (ours.attributes or {})["promptcache.input_tokens"] == 4017
