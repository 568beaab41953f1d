"""The emulated Messages API: breakpoints, lookback, lifetimes and the table of what invalidates what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.lib.vertex import AnthropicVertex
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from promptcache_emulator.cache import CacheResult
from promptcache_emulator.clock import Clock
from promptcache_emulator.engine import Emulator
from promptcache_emulator.server import running_server

NOW = 1_795_132_800.0  # 2026-11-20
TEXT = " ".join(f"Rule {number}: answer in {number % 7} words." for number in range(400))
MODEL = "claude-sonnet-5"
AUTO = {"type": "ephemeral"}
JSON = dict[str, Any]


def block(text: str, ttl: str | None = None, **more: Any) -> JSON:
    mark: JSON = {} if ttl is None else {"cache_control": {"type": "ephemeral", "ttl": ttl}}
    return {"type": "text", "text": text} | mark | more


def tool(name: str, ttl: str | None = None) -> JSON:
    schema: JSON = {"type": "object", "properties": {}}
    mark: JSON = {} if ttl is None else {"cache_control": {"type": "ephemeral", "ttl": ttl}}
    return {"name": name, "description": TEXT, "input_schema": schema} | mark


@pytest.fixture
def engine() -> Emulator:
    return Emulator(Clock(NOW))


def send(engine: Emulator, key: str = "a", **body: Any) -> CacheResult:
    base = {"model": MODEL, "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]}
    answer = engine.post("/v1/messages", base | body, headers={"x-api-key": key})
    assert answer["type"] == "message", answer
    return engine.records[-1].result


def status(engine: Emulator, **body: Any) -> tuple[str, str]:
    base = {"model": MODEL, "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]}
    answer = engine.post("/v1/messages", base | body)
    return answer.get("error", {}).get("type"), answer.get("error", {}).get("message")


def test_without_a_breakpoint_nothing_is_cached(engine: Emulator) -> None:
    assert [
        (send(engine, system=TEXT).cache_read_tokens, send(engine, system=TEXT).cache_write_tokens)
    ] == [(0, 0)]


def test_mixed_lifetimes_split_the_write(engine: Emulator) -> None:
    body: JSON = {
        "system": [block(TEXT, "1h"), block(TEXT + "more", "5m")],
        "cache_control": {"type": "ephemeral"},
    }
    first = send(engine, **body)
    assert set(first.cache_write_by_ttl) == {"1h", "5m"}
    assert (first.uncached_tokens, first.cache_write_by_ttl["1h"]) == (
        0,
        first.input_tokens - first.cache_write_by_ttl["5m"],
    )
    assert isinstance(engine.clock, Clock)
    engine.clock.advance(301)
    later = send(engine, **body)
    assert (later.cache_read_tokens, later.cache_write_by_ttl["5m"]) == (
        first.cache_write_by_ttl["1h"],
        first.cache_write_by_ttl["5m"],
    )


@pytest.mark.parametrize(("ttl", "seconds"), [("5m", 300), ("1h", 3600)])
def test_each_use_renews_the_lifetime(engine: Emulator, ttl: str, seconds: float) -> None:
    assert isinstance(engine.clock, Clock)
    send(engine, system=[block(TEXT, ttl)])
    for pause, hit in ((seconds - 1, True), (seconds - 1, True), (seconds, False)):
        engine.clock.advance(pause)
        assert (send(engine, system=[block(TEXT, ttl)]).cache_read_tokens > 0) is hit


def test_reading_renews_what_is_not_written_again(engine: Emulator) -> None:
    assert isinstance(engine.clock, Clock)
    send(engine, messages=conversation(1, 1))
    for blocks in (2, 3):
        engine.clock.advance(200)
        assert send(engine, messages=conversation(blocks, blocks)).cache_read_tokens > 0
    engine.clock.advance(200)
    assert send(engine, messages=conversation(1, 1)).cache_read_tokens > 0


@pytest.mark.parametrize(
    ("model", "least"),
    [
        ("claude-opus-5-5", 512),
        (MODEL, 1024),
        ("claude-opus-4-8", 1024),
        ("claude-opus-4-7", 2048),
        ("claude-opus-4-6", 4096),
        ("claude-haiku-4-5", 4096),
        ("claude-3-5-haiku-latest", 2048),
    ],
)
def test_minimum_by_model(engine: Emulator, model: str, least: int) -> None:
    words = "word " * least
    short, enough = words[: 5 * (least - 6)], words
    assert send(engine, model=model, system=[block(short, "5m")]).cache_write_tokens == 0
    assert send(engine, model=model, system=[block(enough, "5m")]).cache_write_tokens >= least


def test_minimum_has_a_history() -> None:
    early = Emulator(Clock(1_770_000_000.0))  # 2026-02-02
    assert (
        send(
            early, model="claude-opus-4-8", system=[block("word " * 2000, "5m")]
        ).cache_write_tokens
        == 0
    )


def conversation(blocks: int, *marks: int) -> list[JSON]:
    """One user message of numbered blocks, the first of which is long; `marks` are their numbers, from 1."""
    texts = [TEXT, *(f"block {number}" for number in range(2, blocks + 1))]
    content = [block(text, "5m" if at in marks else None) for at, text in enumerate(texts, 1)]
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize(("mark", "hit"), [(34, True), (35, False)])
def test_lookback_counts_the_breakpoint_as_the_first_of_twenty(
    engine: Emulator, mark: int, hit: bool
) -> None:
    send(engine, messages=conversation(15, 15))
    assert (send(engine, messages=conversation(mark, mark)).cache_read_tokens > 0) is hit
    assert send(engine, messages=conversation(mark + 1, 15, mark + 1)).cache_read_tokens > 0, (
        "a second breakpoint finds it"
    )


TOOLS = [tool("alpha"), tool("beta", "1h")]
FULL: JSON = {
    "tools": TOOLS,
    "system": [block(TEXT, "1h")],
    "messages": [
        {"role": "user", "content": [block(TEXT, "1h")]},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "go on"},
    ],
}
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": [block("ok")]}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
IMAGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}
CITED = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "x"},
    "citations": {"enabled": True},
}


@pytest.mark.parametrize(
    ("change", "levels"),
    [
        ({"model": "claude-sonnet-5-1"}, 0),
        ({"tools": [tool("gamma"), *TOOLS]}, 0),
        ({"tools": [{**TOOLS[0], "description": "new"}, TOOLS[1]]}, 0),
        ({"tools": [SEARCH, *TOOLS]}, 1),
        ({"messages": [*FULL["messages"][:2], {"role": "user", "content": [CITED]}]}, 1),
        ({"speed": "fast"}, 1),
        ({"system": [block("New. " + TEXT, "1h")]}, 1),
        ({"tool_choice": {"type": "any"}}, 2),
        ({"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, 2),
        ({"messages": [*FULL["messages"][:2], {"role": "user", "content": [IMAGE]}]}, 2),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, 2),
        ({"output_config": {"effort": "low"}}, 2),
        ({"messages": [{"role": "user", "content": [block("New. " + TEXT, "1h")]}]}, 2),
        ({"messages": [*FULL["messages"][:2], {"role": "user", "content": "other"}]}, 3),
        ({"temperature": 0.5, "metadata": {"user_id": "u"}}, 3),
    ],
    ids=str,
)
def test_invalidation_cascades(engine: Emulator, change: JSON, levels: int) -> None:
    send(engine, **FULL)
    offsets = [0, *(write.offset for write in engine.records[-1].plan.writes)]
    assert send(engine, **(FULL | change)).cache_read_tokens == offsets[levels]


def thought(text: str) -> list[JSON]:
    return [{"type": "thinking", "thinking": text, "signature": "s"}, block("answer")]


@pytest.mark.parametrize(
    ("model", "kept"), [("claude-opus-4-8", True), ("claude-haiku-5-5", False)]
)
def test_thinking_before_the_user_s_next_words(engine: Emulator, model: str, kept: bool) -> None:
    history = [
        {"role": "user", "content": TEXT * 3},
        {"role": "assistant", "content": thought("why")},
        {"role": "user", "content": [RESULT]},
    ]
    before = send(engine, model=model, messages=history, cache_control=AUTO)
    after = send(
        engine,
        model=model,
        messages=[*history, {"role": "user", "content": "now what?"}],
        cache_control=AUTO,
    )
    assert after.cache_read_tokens == (before.input_tokens if kept else 0)


def test_keys_are_isolated(engine: Emulator) -> None:
    send(engine, system=[block(TEXT, "5m")])
    assert send(engine, key="b", system=[block(TEXT, "5m")]).cache_read_tokens == 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"system": [block(str(number), "5m") for number in range(5)]}, "maximum of 4"),
        ({"system": [block("a", "5m"), block("b", "1h")]}, "must not come after"),
        (
            {"system": [block(str(number), "5m") for number in range(4)], "cache_control": AUTO},
            "maximum",
        ),
        (
            {"messages": [{"role": "user", "content": [block("a", "1h")]}], "cache_control": AUTO},
            "another",
        ),
        ({"max_tokens": 0, "stream": True}, "not supported"),
        ({"messages": []}, "required"),
    ],
)
def test_refusals(engine: Emulator, body: JSON, message: str) -> None:
    kind, said = status(engine, **body)
    assert kind == "invalid_request_error"
    assert message in said


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.sets(st.integers(0, 3), max_size=3)), min_size=1, max_size=6
    )
)
def test_every_call_adds_up(calls: list[tuple[int, set[int]]]) -> None:
    engine = Emulator(Clock(NOW))
    for length, marks in calls:
        blocks = [block(f"{at} {TEXT}", "5m" if at in marks else None) for at in range(length)]
        outcome = send(engine, messages=[{"role": "user", "content": blocks}])
        assert (
            outcome.uncached_tokens + outcome.cache_read_tokens + outcome.cache_write_tokens
            == outcome.input_tokens
        )
        assert (
            min(outcome.uncached_tokens, outcome.cache_read_tokens, outcome.cache_write_tokens) >= 0
        )
        assert outcome.reusable_tokens >= outcome.cache_read_tokens


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "claude-opus-5"}, "model_changed"),
        ({"speed": "fast"}, "model_changed"),
        ({"tools": []}, "tools_changed"),
        ({"system": "other"}, "system_changed"),
        ({"messages": [{"role": "user", "content": "other"}]}, "messages_changed"),
        ({"tool_choice": {"type": "any"}}, "unavailable"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_anthropic_diagnoses(engine: Emulator, change: JSON, reason: str) -> None:
    base = FULL | {"model": MODEL, "max_tokens": 9}
    parent = engine.post("/v1/messages", base | {"diagnostics": {"previous_message_id": None}})
    assert parent["diagnostics"] is None
    asked = base | change | {"diagnostics": {"previous_message_id": parent["id"]}}
    found = engine.post("/v1/messages", asked)["diagnostics"]["cache_miss_reason"]
    assert found["type"] == reason
    assert found.get("cache_missed_input_tokens", 1) > 0
    appended = base | {"messages": [*FULL["messages"], {"role": "user", "content": "and"}]}
    same = engine.post(
        "/v1/messages", appended | {"diagnostics": {"previous_message_id": parent["id"]}}
    )
    assert same["diagnostics"] is None
    stranger = engine.post("/v1/messages", base | {"diagnostics": {"previous_message_id": "msg_0"}})
    assert stranger["diagnostics"]["cache_miss_reason"]["type"] == "previous_message_not_found"


class Weather(BaseModel):
    city: str


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_server(Emulator()) as base:
        yield base


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    httpx2.post(url + "/_emulator/reset")
    with anthropic.Anthropic(base_url=url, api_key="a", max_retries=0) as made:
        yield made


ASK: JSON = {
    "model": MODEL,
    "max_tokens": 99,
    "system": [block(TEXT, "1h")],
    "messages": [{"role": "user", "content": "hi"}],
}


def test_sdk_plain_streamed_and_parsed(client: Any) -> None:
    written = client.messages.create(**ASK).usage
    assert (
        written.cache_creation.ephemeral_1h_input_tokens
        == written.cache_creation_input_tokens
        > 1024
    )
    plain = client.messages.create(**ASK)
    with client.messages.stream(**ASK) as stream:
        assert "".join(stream.text_stream) == plain.content[0].text
        assert stream.get_final_message().usage == plain.usage
    assert plain.usage.cache_read_input_tokens == written.cache_creation_input_tokens
    assert client.messages.parse(**ASK, output_format=Weather).parsed_output == Weather(city="text")
    total = plain.usage.input_tokens + plain.usage.cache_read_input_tokens
    assert (
        client.messages.count_tokens(
            model=MODEL, messages=ASK["messages"], system=ASK["system"]
        ).input_tokens
        == total
    )


def test_sdk_tools_thinking_and_prewarm(client: Any) -> None:
    assert client.messages.create(**ASK | {"max_tokens": 0}).content == []
    called = ASK | {
        "tools": [tool("forecast")],
        "messages": [{"role": "user", "content": "call forecast"}],
    }
    with client.messages.stream(**called) as stream:
        assert stream.get_final_message().content[0].name == "forecast"
    thinking = {"type": "enabled", "budget_tokens": 1024}
    kinds = [event.type for event in client.messages.create(**ASK, thinking=thinking, stream=True)]
    assert kinds.count("content_block_stop") == 2
    assert kinds[-2:] == ["message_delta", "message_stop"]


def test_sdk_threads_hold_what_was_said(client: Any) -> None:
    opened = client.beta.messages.thread(model=MODEL, max_tokens=99, system=ASK["system"])
    first = opened.send({"role": "user", "content": "hello there"})
    second = opened.send({"role": "user", "content": "and now?"})
    assert second.usage.cache_read_input_tokens == first.usage.cache_creation_input_tokens > 1024
    assert second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens / 2


def test_sdk_batches(client: Any) -> None:
    asked: Any = [
        {"custom_id": "good", "params": ASK},
        {"custom_id": "bad", "params": {"model": MODEL}},
    ]
    batch = client.messages.batches.create(requests=asked)
    assert batch.processing_status == "in_progress"
    assert client.messages.batches.retrieve(batch.id).request_counts.succeeded == 1
    results = {row.custom_id: row.result for row in client.messages.batches.results(batch.id)}
    assert results["good"].message.usage.service_tier == "batch"
    assert results["bad"].type == "errored"


def test_sdk_faults(client: Any) -> None:
    with pytest.raises(anthropic.APIStatusError, match="529"):
        client.messages.create(**ASK, extra_headers={"x-emulator-fault": "529"})
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        list(
            client.messages.create(
                **ASK, stream=True, extra_headers={"x-emulator-fault": "error-event=2"}
            )
        )
    with pytest.raises((anthropic.APIError, httpx2.RemoteProtocolError)):
        list(
            client.messages.create(**ASK, stream=True, extra_headers={"x-emulator-fault": "drop=2"})
        )


def test_vertex_paths(url: str) -> None:
    with AnthropicVertex(
        base_url=url + "/v1", region="r", project_id="p", access_token="t"
    ) as made:
        vertex: Any = made
        assert (
            vertex.messages.create(
                **ASK | {"model": MODEL + "@20260101"}
            ).usage.cache_creation_input_tokens
            > 1024
        )
        assert list(vertex.messages.create(**ASK | {"model": MODEL + "@20260101"}, stream=True))
