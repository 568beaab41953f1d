"""A call claims an LLM span that another instrumentation opened for it but did not make current."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import openai
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, NoOpTracerProvider, Span, use_span

from promptcache import PromptCacheInstrumentor, Settings
from promptcache.telemetry import foreign_spans
from tests.support.call_shapes import MODEL, start_chat
from tests.support.fresh_process import run_after_instrumenting
from tests.support.telemetry import Telemetry


class WrappedSpan(NonRecordingSpan):
    """A span of a proxy, which forwards to the SDK's own span as Logfire's does."""

    def __init__(self, span: Span) -> None:
        super().__init__(span.get_span_context())
        self._wrapped = span

    def is_recording(self) -> bool:
        return self._wrapped.is_recording()

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        self._wrapped.set_attributes(attributes)

    def set_attribute(self, key: str, value: Any) -> None:
        self._wrapped.set_attribute(key, value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


OWN_SPAN_NAME = f"chat {MODEL}"
"""The name of the span that promptcache opens for a call."""
LLM_ATTRIBUTES = {"gen_ai.operation.name": "chat", "gen_ai.request.model": MODEL}


@pytest.fixture
def client(emulator_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{emulator_url}/v1", api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture
def start_span(telemetry: Telemetry) -> Callable[..., Span]:
    """Open a span of another instrumentation without making it current."""

    def start_span(name: str = "theirs", attributes: Mapping[str, str] = LLM_ATTRIBUTES) -> Span:
        return telemetry.tracers.get_tracer("theirs").start_span(name, attributes=attributes)

    return start_span


def send_chat(client: openai.OpenAI) -> None:
    start_chat(client, stream=False)


def names_of_call_spans(telemetry: Telemetry) -> list[str]:
    """Return the names of the spans with the attributes of a call."""
    return [span.name for span in telemetry.calls]


def test_a_detached_llm_span_gets_the_attributes_of_the_call(
    client: openai.OpenAI, telemetry: Telemetry, start_span: Callable[..., Span]
) -> None:
    span = start_span()
    send_chat(client)
    span.end()
    assert names_of_call_spans(telemetry) == ["theirs"] == [span.name for span in telemetry.spans]
    assert telemetry.attributes["promptcache.input_tokens"] > 1000
    assert telemetry.metric("promptcache.calls") == 1


def test_a_span_may_get_its_llm_attributes_after_its_start(
    client: openai.OpenAI, telemetry: Telemetry, start_span: Callable[..., Span]
) -> None:
    span = start_span(attributes={})
    span.set_attributes(
        {"langfuse.observation.type": "generation", "langfuse.observation.model.name": MODEL}
    )
    send_chat(client)
    span.end()
    assert names_of_call_spans(telemetry) == ["theirs"]


def test_a_stream_sets_its_attributes_before_the_foreign_span_ends(
    client: openai.OpenAI, telemetry: Telemetry, start_span: Callable[..., Span]
) -> None:
    span = start_span()
    stream = start_chat(client)
    while next(stream, None) is not None:
        pass
    span.end()
    assert names_of_call_spans(telemetry) == ["theirs"]
    assert telemetry.attributes["promptcache.input_tokens"] > 1000


def test_a_child_of_the_current_span_is_claimed(
    client: openai.OpenAI, telemetry: Telemetry, start_span: Callable[..., Span]
) -> None:
    request = start_span("request", attributes={})
    with use_span(request, end_on_exit=True):
        span = start_span()
        send_chat(client)
        span.end()
    assert names_of_call_spans(telemetry) == ["theirs"]


@pytest.mark.parametrize(
    "attributes",
    [
        {**LLM_ATTRIBUTES, "gen_ai.request.model": "llama-4"},
        {**LLM_ATTRIBUTES, "gen_ai.request.model": "gpt-5"},
        {"gen_ai.operation.name": "execute_tool"},
    ],
)
def test_a_span_of_another_model_or_operation_is_not_claimed(
    attributes: dict[str, str],
    client: openai.OpenAI,
    telemetry: Telemetry,
    start_span: Callable[..., Span],
) -> None:
    span = start_span(attributes=attributes)
    send_chat(client)
    span.end()
    assert names_of_call_spans(telemetry) == [OWN_SPAN_NAME]


def test_a_span_of_another_parent_is_not_claimed(
    client: openai.OpenAI, telemetry: Telemetry, start_span: Callable[..., Span]
) -> None:
    span = start_span()
    with use_span(start_span("request", attributes={}), end_on_exit=True):
        send_chat(client)
    span.end()
    assert names_of_call_spans(telemetry) == [OWN_SPAN_NAME]


def test_neither_of_two_open_spans_is_claimed(
    client: openai.OpenAI, telemetry: Telemetry, start_span: Callable[..., Span]
) -> None:
    spans = start_span(), start_span()
    send_chat(client)
    for span in spans:
        span.end()
    assert names_of_call_spans(telemetry) == [OWN_SPAN_NAME]


def test_a_span_is_claimed_by_one_call_only(
    client: openai.OpenAI, telemetry: Telemetry, start_span: Callable[..., Span]
) -> None:
    span = start_span()
    send_chat(client)
    send_chat(client)
    span.end()
    assert sorted(names_of_call_spans(telemetry)) == [OWN_SPAN_NAME, "theirs"]


def test_the_span_of_an_open_stream_is_not_claimed_by_another_call(
    client: openai.OpenAI, telemetry: Telemetry, start_span: Callable[..., Span]
) -> None:
    first = start_span("first")
    with start_chat(client) as stream:
        second = start_span("second")
        send_chat(client)
        second.end()
        list(stream)
    first.end()
    assert names_of_call_spans(telemetry) == ["second", "first"]


def test_exemplars_point_to_the_claimed_span(
    client: openai.OpenAI, telemetry: Telemetry, start_span: Callable[..., Span]
) -> None:
    span = start_span()
    send_chat(client)
    span.end()
    collected: Any = telemetry.reader.get_metrics_data()
    (scope,) = collected.resource_metrics[0].scope_metrics
    points = [
        point
        for metric in scope.metrics
        for point in metric.data.data_points
        if "duration" in metric.name
    ]
    assert [exemplar.span_id for point in points for exemplar in point.exemplars] == [
        span.get_span_context().span_id
    ]


def test_a_call_during_an_open_stream_has_its_own_span(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    with start_chat(client) as stream:
        next(stream)
        send_chat(client)
        list(stream)
    assert names_of_call_spans(telemetry) == [OWN_SPAN_NAME, OWN_SPAN_NAME]


@pytest.mark.parametrize("resource", ["its own", "ours"])
def test_a_span_of_another_tracer_provider_is_not_claimed(
    resource: str, client: openai.OpenAI, telemetry: Telemetry
) -> None:
    """Its exporter is not ours: what we write there, our user never sees."""
    theirs = InMemorySpanExporter()
    provider = TracerProvider(resource=telemetry.tracers.resource if resource == "ours" else None)
    provider.add_span_processor(SimpleSpanProcessor(theirs))
    tracer = provider.get_tracer("theirs")
    with tracer.start_as_current_span("theirs", attributes=LLM_ATTRIBUTES):
        send_chat(client)
    assert names_of_call_spans(telemetry) == [OWN_SPAN_NAME]
    (their_span,) = theirs.get_finished_spans()
    assert dict(their_span.attributes or {}) == LLM_ATTRIBUTES


def test_without_a_tracer_provider_of_ours_only_metrics_remain(
    client: openai.OpenAI, telemetry: Telemetry, start_span: Callable[..., Span]
) -> None:
    """docs/applications.md switches our spans off in this way."""
    PromptCacheInstrumentor().uninstrument()
    PromptCacheInstrumentor().instrument(
        tracer_provider=NoOpTracerProvider(), meter_provider=telemetry.meters, settings=Settings()
    )
    with use_span(start_span(), end_on_exit=True):
        send_chat(client)
    assert names_of_call_spans(telemetry) == []
    assert telemetry.metric("promptcache.calls") == 1


def test_a_wrapped_span_of_our_tracer_provider_is_claimed(
    client: openai.OpenAI, telemetry: Telemetry, start_span: Callable[..., Span]
) -> None:
    """Logfire makes a wrapper current. The processor sees the span inside."""
    span = start_span()
    with use_span(WrappedSpan(span)):
        send_chat(client)
    span.end()
    assert names_of_call_spans(telemetry) == ["theirs"]


def test_a_span_that_the_previous_tracer_provider_started_is_not_claimed(
    client: openai.OpenAI, telemetry: Telemetry, start_span: Callable[..., Span]
) -> None:
    PromptCacheInstrumentor().uninstrument()
    later = Telemetry()
    later.instrument()
    with use_span(start_span(), end_on_exit=True):
        send_chat(client)
    assert names_of_call_spans(later) == [OWN_SPAN_NAME]
    assert names_of_call_spans(telemetry) == []


def test_reinstrumenting_adds_no_second_span_processor(telemetry: Telemetry) -> None:
    def count_processors() -> int:
        return len(telemetry.tracers._active_span_processor._span_processors)  # pyright: ignore[reportPrivateUsage]  # no public API

    before = count_processors()
    for _ in range(3):
        PromptCacheInstrumentor().uninstrument()
        telemetry.instrument()
    assert count_processors() == before


def test_spans_are_not_tracked_while_uninstrumented(
    telemetry: Telemetry, start_span: Callable[..., Span]
) -> None:
    PromptCacheInstrumentor().uninstrument()
    span = start_span()
    assert list(foreign_spans._open_spans_started_under(INVALID_SPAN)) == []  # pyright: ignore[reportPrivateUsage]  # what a call can claim
    telemetry.instrument()
    later_span = start_span()
    assert list(foreign_spans._open_spans_started_under(INVALID_SPAN)) == [later_span]  # pyright: ignore[reportPrivateUsage]  # see above
    span.end()
    later_span.end()


def test_only_the_latest_open_spans_are_tracked(
    telemetry: Telemetry, start_span: Callable[..., Span]
) -> None:
    spans = [start_span() for _ in range(200)]
    tracked = list(foreign_spans._open_spans_started_under(INVALID_SPAN))  # pyright: ignore[reportPrivateUsage]  # what a call can claim
    assert tracked == spans[-len(tracked) :]
    assert 8 <= len(tracked) <= 33
    for span in spans:
        span.end()
    assert list(foreign_spans._open_spans_started_under(INVALID_SPAN)) == []  # pyright: ignore[reportPrivateUsage]  # see above


def test_an_open_span_is_tracked_after_many_ended_spans(
    telemetry: Telemetry, start_span: Callable[..., Span]
) -> None:
    span, others = start_span(), list[Span]()
    for _ in range(200):
        others.append(start_span())
        others[-1].end()
    assert list(foreign_spans._open_spans_started_under(INVALID_SPAN)) == [span]  # pyright: ignore[reportPrivateUsage]  # see above
    span.end()


def test_a_tracer_provider_that_is_set_later_is_tracked() -> None:
    program = """
import openai
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import get_tracer_provider, set_tracer_provider
set_tracer_provider(TracerProvider())
import anthropic
print(len(get_tracer_provider()._active_span_processor._span_processors))
"""
    assert run_after_instrumenting(program) == "1"


def test_an_unhashable_tracer_provider_is_tracked_once() -> None:
    program = """
from dataclasses import dataclass
from opentelemetry.sdk.trace import TracerProvider
from promptcache.patching.span_tracker import SpanStartTrackers

@dataclass
class Proxy:  # as Logfire's
    provider: TracerProvider
    def add_span_processor(self, processor):
        self.provider.add_span_processor(processor)

proxy, trackers = Proxy(TracerProvider()), SpanStartTrackers()
trackers.track_only(proxy, bool)
trackers.track_only(Proxy(TracerProvider()), bool)
trackers.track_only(proxy, bool)
print(len(proxy.provider._active_span_processor._span_processors))
"""
    assert run_after_instrumenting(program) == "1"


SET_PROVIDER: Final = """
import httpx2, openai
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import get_tracer, set_tracer_provider
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
"""
CHAT_IN_SPAN: Final = """
answer = httpx2.MockTransport(lambda request: httpx2.Response(200, json={"model": "gpt-5.6"}))
with openai.OpenAI(api_key="k", http_client=httpx2.Client(transport=answer)) as client:
    attributes = {"gen_ai.operation.name": "chat"}
    with get_tracer("theirs").start_as_current_span("theirs", attributes=attributes):
        client.chat.completions.create(model="gpt-5.6", messages=[])
print([span.name for span in exporter.get_finished_spans()])
"""


def test_the_first_call_claims_a_span_that_started_before_it_at_a_late_provider() -> None:
    """Nothing of ours runs between `set_tracer_provider` and the first call."""
    program = SET_PROVIDER + "set_tracer_provider(provider)" + CHAT_IN_SPAN
    assert run_after_instrumenting(program) == "['theirs']"


def test_a_recorded_call_claims_a_span_of_the_provider_that_the_application_sets_later(
    tmp_path: Path,
) -> None:
    record = f"import promptcache; promptcache.record({str(tmp_path / 'calls.db')!r})"
    program = SET_PROVIDER + f"{record}; set_tracer_provider(provider)" + CHAT_IN_SPAN
    assert run_after_instrumenting(program) == "['theirs']"


class _Scope(NamedTuple):
    name: str


class _SpanWithoutAttributes(NonRecordingSpan):
    """A span of which only the name and the tracer are known."""

    def __init__(self, tracer: str, name: str) -> None:
        super().__init__(INVALID_SPAN.get_span_context())
        self.instrumentation_scope, self.name = _Scope(tracer), name


@pytest.mark.parametrize(
    ("tracer", "name", "is_llm"),
    [
        ("openlit.instrumentation.anthropic", "chat claude-sonnet-5", True),
        ("openlit.instrumentation.anthropic", "embeddings voyage", False),
        (
            "openinference.instrumentation.bedrock",
            "bedrock.invoke_model_with_response_stream",
            True,
        ),
        ("shop", "chat with a customer", False),
    ],
)
def test_an_llm_span_without_attributes_is_recognized_by_its_name(
    tracer: str, name: str, is_llm: bool
) -> None:
    assert foreign_spans.is_foreign_llm_span(_SpanWithoutAttributes(tracer, name)) is is_llm
