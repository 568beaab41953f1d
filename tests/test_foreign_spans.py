"""A span that somebody opened for a call and made current nowhere is the call's too, where it can be no other's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import openai
import pytest
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, Span, use_span

from promptcache import PromptCacheInstrumentor
from promptcache.telemetry import foreign_spans
from tests.support.call_shapes import MODEL, start_chat
from tests.support.telemetry import Telemetry
from tests.test_imports import run

OWN = f"chat {MODEL}"
"""What our own span is called."""
LLM = {"gen_ai.operation.name": "chat", "gen_ai.request.model": MODEL}


@pytest.fixture
def client(emulator_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{emulator_url}/v1", api_key="k", max_retries=0) as made:
        yield made


@pytest.fixture
def opened(telemetry: Telemetry) -> Callable[..., Span]:
    """Opens a span of another instrumentation's, current nowhere."""

    def opened(name: str = "theirs", attributes: Mapping[str, str] = LLM) -> Span:
        return telemetry.tracers.get_tracer("theirs").start_span(name, attributes=attributes)

    return opened


def call(client: openai.OpenAI) -> None:
    start_chat(client, stream=False)


def ours(telemetry: Telemetry) -> list[str]:
    """The names of the spans that carry what we know of a call."""
    return [span.name for span in telemetry.calls]


def test_it_is_written_on(
    client: openai.OpenAI, telemetry: Telemetry, opened: Callable[..., Span]
) -> None:
    span = opened()
    call(client)
    span.end()
    assert ours(telemetry) == ["theirs"] == [span.name for span in telemetry.spans]
    assert telemetry.attributes["promptcache.input_tokens"] > 1000
    assert telemetry.metric("promptcache.calls") == 1


def test_the_marks_may_come_after_the_start(
    client: openai.OpenAI, telemetry: Telemetry, opened: Callable[..., Span]
) -> None:
    span = opened(attributes={})
    span.set_attributes(
        {"langfuse.observation.type": "generation", "langfuse.observation.model.name": MODEL}
    )
    call(client)
    span.end()
    assert ours(telemetry) == ["theirs"]


def test_a_stream_is_written_on_before_theirs_ends(
    client: openai.OpenAI, telemetry: Telemetry, opened: Callable[..., Span]
) -> None:
    span = opened()
    for chunk in start_chat(client):
        if chunk.usage is not None:
            span.end()
    assert ours(telemetry) == ["theirs"]
    assert telemetry.attributes["promptcache.input_tokens"] > 1000


def test_one_under_the_current_span_is_it(
    client: openai.OpenAI, telemetry: Telemetry, opened: Callable[..., Span]
) -> None:
    request = opened("request", attributes={})
    with use_span(request, end_on_exit=True):
        span = opened()
        call(client)
        span.end()
    assert ours(telemetry) == ["theirs"]


@pytest.mark.parametrize(
    "attributes",
    [
        {**LLM, "gen_ai.request.model": "llama-4"},
        {**LLM, "gen_ai.request.model": "gpt-5"},
        {"gen_ai.operation.name": "execute_tool"},
    ],
)
def test_one_of_another_model_or_kind_is_not_it(
    attributes: dict[str, str],
    client: openai.OpenAI,
    telemetry: Telemetry,
    opened: Callable[..., Span],
) -> None:
    span = opened(attributes=attributes)
    call(client)
    span.end()
    assert ours(telemetry) == [OWN]


def test_one_of_another_parent_is_not_it(
    client: openai.OpenAI, telemetry: Telemetry, opened: Callable[..., Span]
) -> None:
    elsewhere = opened()
    with use_span(opened("request", attributes={}), end_on_exit=True):
        call(client)
    elsewhere.end()
    assert ours(telemetry) == [OWN]


def test_of_two_that_are_open_neither_is_it(
    client: openai.OpenAI, telemetry: Telemetry, opened: Callable[..., Span]
) -> None:
    both = opened(), opened()
    call(client)
    for span in both:
        span.end()
    assert ours(telemetry) == [OWN]


def test_it_is_one_call_s_alone(
    client: openai.OpenAI, telemetry: Telemetry, opened: Callable[..., Span]
) -> None:
    span = opened()
    call(client)
    call(client)
    span.end()
    assert sorted(ours(telemetry)) == [OWN, "theirs"]


def test_one_that_is_a_stream_s_is_not_another_call_s(
    client: openai.OpenAI, telemetry: Telemetry, opened: Callable[..., Span]
) -> None:
    first = opened("first")
    with start_chat(client) as stream:
        second = opened("second")
        call(client)
        second.end()
        list(stream)
    first.end()
    assert ours(telemetry) == ["second", "first"]


def test_metrics_lead_to_it(
    client: openai.OpenAI, telemetry: Telemetry, opened: Callable[..., Span]
) -> None:
    span = opened()
    call(client)
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


def test_a_call_while_a_stream_of_ours_is_open_has_its_own(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    with start_chat(client) as stream:
        next(stream)
        call(client)
        list(stream)
    assert ours(telemetry) == [OWN, OWN]


def test_a_provider_hears_of_us_once(telemetry: Telemetry) -> None:
    def heard() -> int:
        return len(telemetry.tracers._active_span_processor._span_processors)  # pyright: ignore[reportPrivateUsage]  # what else tells

    before = heard()
    for _ in range(3):
        PromptCacheInstrumentor().uninstrument()
        telemetry.instrument()
    assert heard() == before


def test_switched_off_nothing_is_remembered(
    telemetry: Telemetry, opened: Callable[..., Span]
) -> None:
    PromptCacheInstrumentor().uninstrument()
    span = opened()
    assert list(foreign_spans._detached_spans(INVALID_SPAN)) == []  # pyright: ignore[reportPrivateUsage]  # what a call would find
    telemetry.instrument()
    again = opened()
    assert list(foreign_spans._detached_spans(INVALID_SPAN)) == [again]  # pyright: ignore[reportPrivateUsage]  # as above
    span.end()
    again.end()


def test_only_the_last_few_are_remembered(
    telemetry: Telemetry, opened: Callable[..., Span]
) -> None:
    several = [opened() for _ in range(200)]
    found = list(foreign_spans._detached_spans(INVALID_SPAN))  # pyright: ignore[reportPrivateUsage]  # what a call would find
    assert found == several[-len(found) :]
    assert 8 <= len(found) <= 33
    for span in several:
        span.end()
    assert list(foreign_spans._detached_spans(INVALID_SPAN)) == []  # pyright: ignore[reportPrivateUsage]  # as above


def test_one_that_stays_open_is_remembered_among_many_that_ended(
    telemetry: Telemetry, opened: Callable[..., Span]
) -> None:
    span, others = opened(), list[Span]()
    for _ in range(200):
        others.append(opened())
        others[-1].end()
    assert list(foreign_spans._detached_spans(INVALID_SPAN)) == [span]  # pyright: ignore[reportPrivateUsage]  # as above
    span.end()


def test_a_provider_that_comes_after_us_is_heard_too() -> None:
    program = """
import openai
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import get_tracer_provider, set_tracer_provider
set_tracer_provider(TracerProvider())
import anthropic
print(len(get_tracer_provider()._active_span_processor._span_processors))
"""
    assert run(program) == "1"


def test_a_provider_that_cannot_be_hashed_is_heard_once() -> None:
    program = """
from dataclasses import dataclass
from opentelemetry.sdk.trace import TracerProvider
from promptcache.patching.span_tracker import SpanStartTracker

@dataclass
class Proxy:  # as Logfire's
    provider: TracerProvider
    def add_span_processor(self, processor):
        self.provider.add_span_processor(processor)

proxy, tracker = Proxy(TracerProvider()), SpanStartTracker()
tracker.track(proxy)
tracker.track(proxy)
print(len(proxy.provider._active_span_processor._span_processors))
"""
    assert run(program) == "1"


class _Scope(NamedTuple):
    name: str


class _Named(NonRecordingSpan):
    """A span that says nothing yet but how it and its tracer are called."""

    def __init__(self, tracer: str, name: str) -> None:
        super().__init__(INVALID_SPAN.get_span_context())
        self.instrumentation_scope, self.name = _Scope(tracer), name


@pytest.mark.parametrize(
    ("tracer", "name", "llm"),
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
def test_a_span_whose_marks_come_late_is_known_by_its_name(
    tracer: str, name: str, llm: bool
) -> None:
    assert foreign_spans.is_llm_span(_Named(tracer, name)) is llm
