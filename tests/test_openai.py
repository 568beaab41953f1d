"""The OpenAI wire formats: requests and responses. Fixtures are wire JSON with their source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptcache.model import Block, Param, ParsedPrompt, Request, ResponseFacts, Usage
from promptcache.providers.hosts import provider_for_host
from promptcache.providers.openai.wire import CHAT, RESPONSES, ROUTES
from promptcache.providers.response_facts import merge_facts
from promptcache.providers.usage import UsageCounterNames, parse_usage
from promptcache.providers.wire_format import WireFormat, find_route
from tests.support.relevant_events import is_relevant

WIRES: Final = {"chat": CHAT, "responses": RESPONSES}
USAGE_CASES: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "fixtures/openai/usage.json").read_text()
)


def request(body: Mapping[str, Any]) -> Request:
    return Request("w", "openai", "chat", "m", "h", 443, False, body, b"", 0.0)


def prompt(wire_name: str, **body: Any) -> ParsedPrompt:
    prompt = WIRES[wire_name].parse_prompt(request(body))
    assert prompt is not None
    return prompt


@pytest.mark.parametrize("case", USAGE_CASES, ids=lambda case: case["name"])
def test_reported_usage_is_parsed(case: dict[str, Any]) -> None:
    wire = WIRES[case["wire"]]
    facts = wire.parse_event(case["body"])
    assert facts is not None
    expected: dict[str, Any] = {
        "cache_write_by_ttl": {},
        "reasoning_tokens": None,
        **case["usage"],
        "inconsistencies": tuple(case["usage"].get("inconsistencies", ())),
    }
    assert wire.parse_usage(facts) == Usage(**expected)
    assert facts.billed_usd == case.get("billed")
    assert facts.id


REPORTED_VALUES: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 10**13),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.integers()),
    st.just({}),
)
REPORTED_USAGE: Final = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": REPORTED_VALUES,
        "completion_tokens": REPORTED_VALUES,
        "prompt_cache_hit_tokens": REPORTED_VALUES,
        "cached_tokens": REPORTED_VALUES,
        "cost": REPORTED_VALUES,
        "cost_in_usd_ticks": REPORTED_VALUES,
        "input_tokens": REPORTED_VALUES,
        "output_tokens": REPORTED_VALUES,
        "prompt_tokens_details": st.one_of(
            REPORTED_VALUES,
            st.fixed_dictionaries(
                {"cached_tokens": REPORTED_VALUES, "cache_write_tokens": REPORTED_VALUES}
            ),
        ),
        "input_tokens_details": st.one_of(
            REPORTED_VALUES,
            st.fixed_dictionaries(
                {
                    "cached_tokens": REPORTED_VALUES,
                    "cache_write_tokens": REPORTED_VALUES,
                    "cache_write_tokens_details": st.dictionaries(
                        st.sampled_from(["ttl_30m_tokens", "ttl_12h_tokens"]), REPORTED_VALUES
                    ),
                }
            ),
        ),
    },
)


@given(REPORTED_USAGE, st.sampled_from([CHAT, RESPONSES]))
def test_token_classes_are_disjoint_for_any_counts(
    counts: dict[str, Any], wire: WireFormat
) -> None:
    facts = wire.parse_event({"usage": counts, "id": "x"})
    assert facts is not None
    usage = wire.parse_usage(facts)
    if usage is None:
        return
    assert (
        usage.uncached_tokens + (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
        == usage.input_tokens
    )
    assert (
        min(
            usage.uncached_tokens,
            usage.cache_read_tokens or 0,
            usage.cache_write_tokens or 0,
            usage.output_tokens or 0,
        )
        >= 0
    )
    assert sum(usage.cache_write_by_ttl.values()) == (usage.cache_write_tokens or 0)
    assert (
        usage.reasoning_tokens is None
        or usage.output_tokens is None
        or usage.reasoning_tokens <= usage.output_tokens
    )


@given(
    st.recursive(
        REPORTED_VALUES,
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=20,
    )
)
def test_arbitrary_bodies_and_events_raise_nothing(data: Any) -> None:
    for wire in WIRES.values():
        bodies: list[Any] = [
            data if isinstance(data, dict) else {},
            {"messages": data, "input": data, "tools": data},
        ]
        events: list[Any] = [
            {"choices": data},
            {"response": data, "type": "x"},
            {"usage": data},
            {"error": data},
        ]
        for body in bodies:
            wire.parse_prompt(request(body))
        for event in events:
            facts = wire.parse_event(event)
            if facts is not None:
                wire.parse_usage(facts)
            wire.is_last_event(event)


def test_cached_tokens_may_be_counted_apart_from_input_tokens() -> None:
    counters = UsageCounterNames(
        input_tokens=("i",),
        cache_read_tokens=("r",),
        cache_write_tokens=("w",),
        output_tokens=("o",),
        reasoning_tokens=(),
        input_includes_cached=False,
        cache_write_by_ttl={"1h": ("h",)},
        modalities={},
        default_ttl="5m",
    )
    usage = parse_usage(ResponseFacts(usage_counters={"i": 10, "r": 100, "h": 7}), counters)
    assert usage == Usage(117, 10, 100, 7, {"1h": 7})
    usage = parse_usage(ResponseFacts(usage_counters={"i": 10, "r": 100, "w": 9, "h": 7}), counters)
    assert usage == Usage(119, 10, 100, 9, {"1h": 7, "5m": 2}, inconsistencies=("write_split",))


def test_merging_facts_keeps_the_earlier_values() -> None:
    earlier = ResponseFacts(
        model="m",
        id="a",
        usage_counters={"x": 1, "y": 1},
        finish_reasons=("stop",),
        has_content=True,
    )
    later = ResponseFacts(
        id="b", usage_counters={"y": 2}, finish_reasons=("length",), is_terminal=True
    )
    assert merge_facts(earlier, later) == ResponseFacts(
        model="m",
        id="b",
        usage_counters={"x": 1, "y": 2},
        finish_reasons=("stop", "length"),
        has_content=True,
        is_terminal=True,
    )


def test_a_chat_prompt_is_ordered_tools_system_messages() -> None:
    tool, image = (
        {"type": "function", "function": {"name": "f"}},
        {"type": "image_url", "image_url": {"url": "u"}},
    )
    breakpoint_options = {"mode": "explicit", "ttl": "30m"}
    parsed = prompt(
        "chat",
        model="m",
        messages=[
            {
                "role": "developer",
                "content": [
                    {"type": "text", "text": "a", "prompt_cache_breakpoint": breakpoint_options},
                    image,
                ],
            },
            {"role": "user", "content": "hi"},
            {"role": "system", "content": "late"},
        ],
        tools=[tool],
        prompt_cache_key="k",
        prompt_cache_options={"mode": "explicit", "ttl": "30m", "prewarm": True},
        reasoning_effort="high",
    )
    assert tuple(parsed.blocks) == (
        Block("tools", 0, "function", tool),
        Block(
            "system",
            0,
            "text",
            {"role": "developer", "content": {"type": "text", "text": "a"}},
            "30m",
        ),
        Block("system", 1, "image_url", image),
        Block("messages", 0, "text", {"role": "user", "content": "hi"}),
        Block("messages", 1, "text", {"role": "system", "content": "late"}),
    )
    assert parsed.params == (
        Param("prompt_cache_key", "k", "tools"),
        Param("prompt_cache_options.mode", "explicit", "tools"),
        Param("prompt_cache_options.ttl", "30m", "none"),
        Param("reasoning_effort", "high", "tools"),
    )
    assert (parsed.caching_mode, parsed.ttl, parsed.is_prewarm, parsed.is_complete) == (
        "explicit",
        "30m",
        True,
        True,
    )


def test_a_gateways_markers_are_breakpoints_and_no_content() -> None:
    mark: dict[str, Any] = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    tool = {"type": "function", "function": {"name": "f"}}
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    plain: list[dict[str, Any]] = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": parts},
    ]
    marked_part = {"role": "user", "content": [parts[0], {**parts[1], **mark}]}
    marked_message = {"role": "user", "content": parts, **mark}
    bare = prompt("chat", tools=[tool], messages=plain)
    for user in (marked_part, marked_message):
        parsed = prompt("chat", tools=[tool | mark], messages=[plain[0] | mark, user])
        assert [block.data for block in parsed.blocks] == [block.data for block in bare.blocks]
        marks = [block.breakpoint_ttl for block in parsed.blocks]
        assert marks == ["1h", "1h", None, "1h"]


def test_a_marker_inside_a_tools_function_is_a_breakpoint_and_no_content() -> None:
    function = {"name": "f", "parameters": {"type": "object"}}
    marked = {"type": "function", "function": {**function, "cache_control": {"type": "ephemeral"}}}
    messages = [{"role": "user", "content": "x"}]
    parsed = prompt("chat", tools=[marked], messages=messages)
    bare = prompt("chat", tools=[{"type": "function", "function": function}], messages=messages)
    assert [block.data for block in parsed.blocks] == [block.data for block in bare.blocks]
    assert [block.breakpoint_ttl for block in parsed.blocks] == ["", None]
    outer = prompt("chat", tools=[{**marked, "cache_control": {"ttl": "1h"}}], messages=messages)
    assert outer.blocks[0].breakpoint_ttl == "1h"


def test_the_parts_of_a_tool_result_are_blocks_with_their_breakpoints() -> None:
    text = {"type": "input_text", "text": "sent"}
    marked = {**text, "prompt_cache_breakpoint": {"mode": "explicit"}}
    result = {"type": "function_call_output", "call_id": "c"}
    parsed = prompt("responses", input=[{**result, "output": [text, marked]}])
    assert tuple(parsed.blocks) == (
        Block("messages", 0, "input_text", {**result, "content": text}),
        Block("messages", 1, "input_text", text, ""),
    )
    unmarked = prompt("responses", input=[{**result, "output": [text, text]}])
    assert [block.data for block in unmarked.blocks] == [block.data for block in parsed.blocks]


def test_a_responses_prompt_names_its_server_state() -> None:
    parsed = prompt("responses", instructions="be", input="hi", previous_response_id="resp_0")
    assert tuple(parsed.blocks) == (
        Block("system", 0, "text", "be"),
        Block("messages", 0, "text", {"role": "user", "content": "hi"}),
    )
    assert (parsed.is_complete, parsed.server_state_id) == (False, "resp_0")
    assert (
        prompt("responses", input="hi", conversation={"id": "conv_1"}).server_state_id == "conv_1"
    )
    assert prompt("responses", input="hi", prompt={"variables": {}}).server_state_id == "unnamed"


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        (None, "automatic"),
        ({"mode": "implicit"}, "implicit"),
        ({"mode": "explicit"}, "none"),
        ({"ttl": "30m"}, "automatic"),
    ],
)
def test_the_options_decide_the_caching_mode(options: Any, mode: str) -> None:
    assert (
        prompt(
            "chat", messages=[{"role": "user", "content": "x"}], prompt_cache_options=options
        ).caching_mode
        == mode
    )


def test_a_one_shot_iterator_is_not_consumed() -> None:
    messages: Any = iter([{"role": "user", "content": "x"}])
    assert CHAT.parse_prompt(request({"messages": messages})) is None
    first_message: Any = next(messages)
    assert first_message


def test_a_content_part_that_is_a_string_is_a_block() -> None:
    parsed = prompt(
        "chat", messages=[{"role": "user", "content": ["loose", {"type": "text", "text": "x"}]}]
    )
    assert [(block.kind, block.data) for block in parsed.blocks] == [
        ("text", {"role": "user", "content": "loose"}),
        ("text", {"type": "text", "text": "x"}),
    ]


def test_an_empty_responses_body_has_no_prompt() -> None:
    assert RESPONSES.parse_prompt(request({})) is None


RELEVANT_CHUNKS: Final[list[Any]] = [
    ({"choices": [{"delta": {"content": "x"}, "finish_reason": None}], "usage": None}, False),
    ({"choices": [{"delta": {}, "finish_reason": "stop"}]}, True),
    ({"choices": [], "usage": {"prompt_tokens": 1}}, True),
    ({"choices": [{"delta": {}}], "x_groq": {"usage": {"prompt_tokens": 1}}}, True),
    ({"error": {"code": "c"}}, True),
]


@pytest.mark.parametrize(("event", "relevant"), RELEVANT_CHUNKS)
def test_chat_chunks_with_only_content_are_not_parsed(
    event: dict[str, Any], relevant: bool
) -> None:
    assert is_relevant(CHAT, event) is relevant


def test_responses_events_with_only_deltas_are_not_parsed() -> None:
    assert not is_relevant(RESPONSES, {"type": "response.output_text.delta", "delta": "x"})
    assert is_relevant(RESPONSES, {"type": "response.completed", "response": {}})
    assert is_relevant(RESPONSES, {"type": "error"})


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"error": {"code": "server_error", "message": "secret"}}, "server_error"),
        ({"error": {"type": "t"}}, "t"),
        ({"error": "secret words"}, "error"),
        ({"type": "error", "code": "c", "message": "secret"}, "c"),
        (
            {
                "type": "response.failed",
                "response": {"status": "code", "error": {"code": "rate"}},
            },
            "rate",
        ),
        ({"type": "response.created", "response": {"status": "in_progress", "error": None}}, None),
    ],
)
def test_an_error_is_reported_by_its_code_only(event: dict[str, Any], code: str | None) -> None:
    facts = RESPONSES.parse_event(event)
    assert facts is not None
    assert facts.error_code == code


@pytest.mark.parametrize(
    ("method", "url", "wire_format"),
    [
        ("post", "/chat/completions", CHAT),
        ("POST", "/openai/deployments/d/chat/completions?api-version=1", CHAT),
        ("post", "/responses?beta=true", RESPONSES),
        ("post", "https://host/v1/responses/compact", RESPONSES),
        ("get", "/responses/resp_1?stream=true", RESPONSES),
        ("post", "/responses/resp_1/cancel", None),
        ("get", "/models", None),
        ("post", "/responses/input_tokens", None),
        ("post", "/embeddings", None),
    ],
)
def test_method_and_path_give_the_wire_format(
    method: str, url: str, wire_format: WireFormat | None
) -> None:
    row = find_route(ROUTES, method, url)
    assert (row and row.wire_format) is wire_format


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.openai.com", "openai"),
        ("eu.api.openai.com", "openai"),
        ("my.OpenAI.azure.com", "azure.ai.openai"),
        ("api.deepseek.com", "deepseek"),
        ("notx.ai", "openai"),
        ("api.x.ai", "x_ai"),
        ("openrouter.ai", "openrouter"),
        ("gateway.corp", "groq"),
        ("a.gateway.corp", "groq"),
        ("localhost", "openai"),
        (None, "openai"),
    ],
)
def test_the_host_decides_the_provider(host: str | None, provider: str) -> None:
    assert provider_for_host(host, "openai", {"gateway.corp": "groq"}) == provider
