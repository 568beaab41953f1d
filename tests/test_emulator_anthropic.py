"""The emulated Messages API: breakpoints, lookback, TTLs and the rules of invalidation."""

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
EPHEMERAL = {"type": "ephemeral"}
JSON = dict[str, Any]


def text_block(text: str, ttl: str | None = None, **more: Any) -> JSON:
    cache_control: JSON = (
        {} if ttl is None else {"cache_control": {"type": "ephemeral", "ttl": ttl}}
    )
    return {"type": "text", "text": text} | cache_control | more


def tool(name: str, ttl: str | None = None) -> JSON:
    schema: JSON = {"type": "object", "properties": {}}
    cache_control: JSON = (
        {} if ttl is None else {"cache_control": {"type": "ephemeral", "ttl": ttl}}
    )
    return {"name": name, "description": TEXT, "input_schema": schema} | cache_control


@pytest.fixture
def engine() -> Emulator:
    return Emulator(Clock(NOW))


def send(engine: Emulator, key: str = "a", **body: Any) -> CacheResult:
    base = {"model": MODEL, "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]}
    response = engine.post_json("/v1/messages", base | body, headers={"x-api-key": key})
    assert response["type"] == "message", response
    return engine.records[-1].result


def error_of_request(engine: Emulator, **body: Any) -> tuple[str, str]:
    base = {"model": MODEL, "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]}
    response = engine.post_json("/v1/messages", base | body)
    return response.get("error", {}).get("type"), response.get("error", {}).get("message")


def test_a_request_without_a_breakpoint_is_not_cached(engine: Emulator) -> None:
    assert [
        (send(engine, system=TEXT).cache_read_tokens, send(engine, system=TEXT).cache_write_tokens)
    ] == [(0, 0)]


def test_cache_writes_are_reported_by_ttl(engine: Emulator) -> None:
    body: JSON = {
        "system": [text_block(TEXT, "1h"), text_block(TEXT + "more", "5m")],
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
def test_each_read_renews_the_ttl(engine: Emulator, ttl: str, seconds: float) -> None:
    assert isinstance(engine.clock, Clock)
    send(engine, system=[text_block(TEXT, ttl)])
    for pause, is_hit in ((seconds - 1, True), (seconds - 1, True), (seconds, False)):
        engine.clock.advance(pause)
        assert (send(engine, system=[text_block(TEXT, ttl)]).cache_read_tokens > 0) is is_hit


def test_reading_renews_entries_that_are_not_written_again(engine: Emulator) -> None:
    assert isinstance(engine.clock, Clock)
    send(engine, messages=messages_of_blocks(1, 1))
    for blocks in (2, 3):
        engine.clock.advance(200)
        assert send(engine, messages=messages_of_blocks(blocks, blocks)).cache_read_tokens > 0
    engine.clock.advance(200)
    assert send(engine, messages=messages_of_blocks(1, 1)).cache_read_tokens > 0


@pytest.mark.parametrize(
    ("model", "minimum"),
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
def test_the_minimum_depends_on_the_model(engine: Emulator, model: str, minimum: int) -> None:
    words = "word " * minimum
    short, enough = words[: 5 * (minimum - 6)], words
    assert send(engine, model=model, system=[text_block(short, "5m")]).cache_write_tokens == 0
    assert (
        send(engine, model=model, system=[text_block(enough, "5m")]).cache_write_tokens >= minimum
    )


def test_the_minimum_of_a_model_depends_on_the_date() -> None:
    early = Emulator(Clock(1_770_000_000.0))  # 2026-02-02
    assert (
        send(
            early, model="claude-opus-4-8", system=[text_block("word " * 2000, "5m")]
        ).cache_write_tokens
        == 0
    )


def messages_of_blocks(blocks: int, *breakpoints: int) -> list[JSON]:
    """Return one user message of numbered blocks, the first of which is long.

    `breakpoints` are the numbers, from 1, of the blocks with a cache marker.
    """
    texts = [TEXT, *(f"block {number}" for number in range(2, blocks + 1))]
    content = [
        text_block(text, "5m" if number in breakpoints else None)
        for number, text in enumerate(texts, 1)
    ]
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize(("breakpoint_number", "is_hit"), [(34, True), (35, False)])
def test_lookback_counts_the_breakpoint_as_the_first_of_twenty(
    engine: Emulator, breakpoint_number: int, is_hit: bool
) -> None:
    send(engine, messages=messages_of_blocks(15, 15))
    assert (
        send(
            engine, messages=messages_of_blocks(breakpoint_number, breakpoint_number)
        ).cache_read_tokens
        > 0
    ) is is_hit
    assert (
        send(
            engine, messages=messages_of_blocks(breakpoint_number + 1, 15, breakpoint_number + 1)
        ).cache_read_tokens
        > 0
    ), "a second breakpoint within the lookback finds the entry"


TOOLS = [tool("alpha"), tool("beta", "1h")]
FULL_REQUEST: JSON = {
    "tools": TOOLS,
    "system": [text_block(TEXT, "1h")],
    "messages": [
        {"role": "user", "content": [text_block(TEXT, "1h")]},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "go on"},
    ],
}
TOOL_RESULT = {"type": "tool_result", "tool_use_id": "t", "content": [text_block("ok")]}
SEARCH_TOOL = {"type": "web_search_20250305", "name": "web_search"}
IMAGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}
CITED_DOCUMENT = {
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
        ({"tools": [SEARCH_TOOL, *TOOLS]}, 1),
        (
            {
                "messages": [
                    *FULL_REQUEST["messages"][:2],
                    {"role": "user", "content": [CITED_DOCUMENT]},
                ]
            },
            1,
        ),
        ({"speed": "fast"}, 1),
        ({"system": [text_block("New. " + TEXT, "1h")]}, 1),
        ({"tool_choice": {"type": "any"}}, 2),
        ({"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, 2),
        ({"messages": [*FULL_REQUEST["messages"][:2], {"role": "user", "content": [IMAGE]}]}, 2),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, 2),
        ({"output_config": {"effort": "low"}}, 2),
        ({"messages": [{"role": "user", "content": [text_block("New. " + TEXT, "1h")]}]}, 2),
        ({"messages": [*FULL_REQUEST["messages"][:2], {"role": "user", "content": "other"}]}, 3),
        ({"temperature": 0.5, "metadata": {"user_id": "u"}}, 3),
    ],
    ids=str,
)
def test_a_change_invalidates_its_level_and_all_later_levels(
    engine: Emulator, change: JSON, levels: int
) -> None:
    send(engine, **FULL_REQUEST)
    offsets = [0, *(write.offset for write in engine.records[-1].plan.writes)]
    assert send(engine, **(FULL_REQUEST | change)).cache_read_tokens == offsets[levels]


def thinking_content(text: str) -> list[JSON]:
    return [{"type": "thinking", "thinking": text, "signature": "s"}, text_block("answer")]


@pytest.mark.parametrize(
    ("model", "is_kept"), [("claude-opus-4-8", True), ("claude-haiku-5-5", False)]
)
def test_earlier_thinking_is_kept_or_dropped_by_model(
    engine: Emulator, model: str, is_kept: bool
) -> None:
    history = [
        {"role": "user", "content": TEXT * 3},
        {"role": "assistant", "content": thinking_content("why")},
        {"role": "user", "content": [TOOL_RESULT]},
    ]
    before = send(engine, model=model, messages=history, cache_control=EPHEMERAL)
    after = send(
        engine,
        model=model,
        messages=[*history, {"role": "user", "content": "now what?"}],
        cache_control=EPHEMERAL,
    )
    assert after.cache_read_tokens == (before.input_tokens if is_kept else 0)


def test_api_keys_do_not_share_a_cache(engine: Emulator) -> None:
    send(engine, system=[text_block(TEXT, "5m")])
    assert send(engine, key="b", system=[text_block(TEXT, "5m")]).cache_read_tokens == 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"system": [text_block(str(number), "5m") for number in range(5)]}, "maximum of 4"),
        ({"system": [text_block("a", "5m"), text_block("b", "1h")]}, "must not come after"),
        (
            {
                "system": [text_block(str(number), "5m") for number in range(4)],
                "cache_control": EPHEMERAL,
            },
            "maximum",
        ),
        (
            {
                "messages": [{"role": "user", "content": [text_block("a", "1h")]}],
                "cache_control": EPHEMERAL,
            },
            "another",
        ),
        ({"max_tokens": 0, "stream": True}, "not supported"),
        ({"messages": []}, "required"),
    ],
)
def test_invalid_requests_are_refused(engine: Emulator, body: JSON, message: str) -> None:
    error_type, error_message = error_of_request(engine, **body)
    assert error_type == "invalid_request_error"
    assert message in error_message


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.sets(st.integers(0, 3), max_size=3)), min_size=1, max_size=6
    )
)
def test_token_classes_add_up_to_the_input(calls: list[tuple[int, set[int]]]) -> None:
    engine = Emulator(Clock(NOW))
    for length, marks in calls:
        blocks = [text_block(f"{at} {TEXT}", "5m" if at in marks else None) for at in range(length)]
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
def test_anthropic_diagnostics_name_the_first_change(
    engine: Emulator, change: JSON, reason: str
) -> None:
    base = FULL_REQUEST | {"model": MODEL, "max_tokens": 9}
    parent = engine.post_json("/v1/messages", base | {"diagnostics": {"previous_message_id": None}})
    assert parent["diagnostics"] is None
    request = base | change | {"diagnostics": {"previous_message_id": parent["id"]}}
    miss_reason = engine.post_json("/v1/messages", request)["diagnostics"]["cache_miss_reason"]
    assert miss_reason["type"] == reason
    assert miss_reason.get("cache_missed_input_tokens", 1) > 0
    appended = base | {"messages": [*FULL_REQUEST["messages"], {"role": "user", "content": "and"}]}
    same = engine.post_json(
        "/v1/messages", appended | {"diagnostics": {"previous_message_id": parent["id"]}}
    )
    assert same["diagnostics"] is None
    stranger = engine.post_json(
        "/v1/messages", base | {"diagnostics": {"previous_message_id": "msg_0"}}
    )
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
    with anthropic.Anthropic(base_url=url, api_key="a", max_retries=0) as client:
        yield client


REQUEST: JSON = {
    "model": MODEL,
    "max_tokens": 99,
    "system": [text_block(TEXT, "1h")],
    "messages": [{"role": "user", "content": "hi"}],
}


def test_the_sdk_reads_plain_streamed_and_parsed_responses(client: Any) -> None:
    written = client.messages.create(**REQUEST).usage
    assert (
        written.cache_creation.ephemeral_1h_input_tokens
        == written.cache_creation_input_tokens
        > 1024
    )
    plain = client.messages.create(**REQUEST)
    with client.messages.stream(**REQUEST) as stream:
        assert "".join(stream.text_stream) == plain.content[0].text
        assert stream.get_final_message().usage == plain.usage
    assert plain.usage.cache_read_input_tokens == written.cache_creation_input_tokens
    assert client.messages.parse(**REQUEST, output_format=Weather).parsed_output == Weather(
        city="text"
    )
    total = plain.usage.input_tokens + plain.usage.cache_read_input_tokens
    assert (
        client.messages.count_tokens(
            model=MODEL, messages=REQUEST["messages"], system=REQUEST["system"]
        ).input_tokens
        == total
    )


def test_the_sdk_reads_tool_calls_thinking_and_prewarm_responses(client: Any) -> None:
    assert client.messages.create(**REQUEST | {"max_tokens": 0}).content == []
    called = REQUEST | {
        "tools": [tool("forecast")],
        "messages": [{"role": "user", "content": "call forecast"}],
    }
    with client.messages.stream(**called) as stream:
        assert stream.get_final_message().content[0].name == "forecast"
    thinking = {"type": "enabled", "budget_tokens": 1024}
    kinds = [
        event.type for event in client.messages.create(**REQUEST, thinking=thinking, stream=True)
    ]
    assert kinds.count("content_block_stop") == 2
    assert kinds[-2:] == ["message_delta", "message_stop"]


def test_a_later_turn_of_a_thread_reads_the_earlier_turns(client: Any) -> None:
    opened = client.beta.messages.thread(model=MODEL, max_tokens=99, system=REQUEST["system"])
    first = opened.send({"role": "user", "content": "hello there"})
    second = opened.send({"role": "user", "content": "and now?"})
    assert second.usage.cache_read_input_tokens == first.usage.cache_creation_input_tokens > 1024
    assert second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens / 2


def test_the_sdk_reads_batch_results(client: Any) -> None:
    requests: Any = [
        {"custom_id": "good", "params": REQUEST},
        {"custom_id": "bad", "params": {"model": MODEL}},
    ]
    batch = client.messages.batches.create(requests=requests)
    assert batch.processing_status == "in_progress"
    assert client.messages.batches.retrieve(batch.id).request_counts.succeeded == 1
    results = {row.custom_id: row.result for row in client.messages.batches.results(batch.id)}
    assert results["good"].message.usage.service_tier == "batch"
    assert results["bad"].type == "errored"


def test_faults_raise_the_exceptions_of_the_sdk(client: Any) -> None:
    with pytest.raises(anthropic.APIStatusError, match="529"):
        client.messages.create(**REQUEST, extra_headers={"x-emulator-fault": "529"})
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        list(
            client.messages.create(
                **REQUEST, stream=True, extra_headers={"x-emulator-fault": "error-event=2"}
            )
        )
    with pytest.raises((anthropic.APIError, httpx2.RemoteProtocolError)):
        list(
            client.messages.create(
                **REQUEST, stream=True, extra_headers={"x-emulator-fault": "drop=2"}
            )
        )


def test_the_vertex_client_is_served(url: str) -> None:
    with AnthropicVertex(
        base_url=url + "/v1", region="r", project_id="p", access_token="t"
    ) as sdk_client:
        vertex: Any = sdk_client
        assert (
            vertex.messages.create(
                **REQUEST | {"model": MODEL + "@20260101"}
            ).usage.cache_creation_input_tokens
            > 1024
        )
        assert list(vertex.messages.create(**REQUEST | {"model": MODEL + "@20260101"}, stream=True))
