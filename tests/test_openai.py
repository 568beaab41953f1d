"""The OpenAI wires: what a request asks, what a response reports. Fixtures are wire JSON with their source."""

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
from promptcache.providers.usage import UsageCounters, parse_usage
from promptcache.providers.wire_format import WireFormat, find_route

WIRES: Final = {"chat": CHAT, "responses": RESPONSES}
REPORTED: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "fixtures/openai/usage.json").read_text()
)


def request(body: Mapping[str, Any]) -> Request:
    return Request("w", "openai", "chat", "m", "h", 443, False, body, b"", 0.0)


def prompt(wire_name: str, **body: Any) -> ParsedPrompt:
    made = WIRES[wire_name].parse_prompt(request(body))
    assert made is not None
    return made


@pytest.mark.parametrize("case", REPORTED, ids=lambda case: case["name"])
def test_reported_usage(case: dict[str, Any]) -> None:
    spoken = WIRES[case["wire"]]
    facts = spoken.parse_event(case["body"])
    assert facts is not None
    expected: dict[str, Any] = {
        "cache_write_by_ttl": {},
        "reasoning_tokens": None,
        **case["usage"],
        "inconsistencies": tuple(case["usage"].get("inconsistencies", ())),
    }
    assert spoken.parse_usage(facts) == Usage(**expected)
    assert facts.billed_usd == case.get("billed")
    assert facts.id


NUMBERS: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 10**13),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.integers()),
    st.just({}),
)
COUNTS: Final = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": NUMBERS,
        "completion_tokens": NUMBERS,
        "prompt_cache_hit_tokens": NUMBERS,
        "cached_tokens": NUMBERS,
        "cost": NUMBERS,
        "cost_in_usd_ticks": NUMBERS,
        "input_tokens": NUMBERS,
        "output_tokens": NUMBERS,
        "prompt_tokens_details": st.one_of(
            NUMBERS,
            st.fixed_dictionaries({"cached_tokens": NUMBERS, "cache_write_tokens": NUMBERS}),
        ),
        "input_tokens_details": st.one_of(
            NUMBERS,
            st.fixed_dictionaries(
                {
                    "cached_tokens": NUMBERS,
                    "cache_write_tokens": NUMBERS,
                    "cache_write_tokens_details": st.dictionaries(
                        st.sampled_from(["ttl_30m_tokens", "ttl_12h_tokens"]), NUMBERS
                    ),
                }
            ),
        ),
    },
)


@given(COUNTS, st.sampled_from([CHAT, RESPONSES]))
def test_whatever_is_reported_the_classes_are_disjoint(
    counts: dict[str, Any], spoken: WireFormat
) -> None:
    facts = spoken.parse_event({"usage": counts, "id": "x"})
    assert facts is not None
    usage = spoken.parse_usage(facts)
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
        NUMBERS,
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=20,
    )
)
def test_no_body_and_no_event_is_too_odd(data: Any) -> None:
    for spoken in WIRES.values():
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
            spoken.parse_prompt(request(body))
        for event in events:
            facts = spoken.parse_event(event)
            if facts is not None:
                spoken.parse_usage(facts)
            spoken.can_skip(event)


def test_counters_may_stand_beside_the_input() -> None:
    beside = UsageCounters(
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
    made = parse_usage(ResponseFacts(usage_counters={"i": 10, "r": 100, "h": 7}), beside)
    assert made == Usage(117, 10, 100, 7, {"1h": 7})
    made = parse_usage(ResponseFacts(usage_counters={"i": 10, "r": 100, "w": 9, "h": 7}), beside)
    assert made == Usage(119, 10, 100, 9, {"1h": 7, "5m": 2}, inconsistencies=("write_split",))


def test_merging_keeps_what_was_known() -> None:
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


def test_a_chat_prompt_reads_tools_then_the_head_then_the_rest() -> None:
    tool, image = (
        {"type": "function", "function": {"name": "f"}},
        {"type": "image_url", "image_url": {"url": "u"}},
    )
    mark = {"mode": "explicit", "ttl": "30m"}
    made = prompt(
        "chat",
        model="m",
        messages=[
            {
                "role": "developer",
                "content": [{"type": "text", "text": "a", "prompt_cache_breakpoint": mark}, image],
            },
            {"role": "user", "content": "hi"},
            {"role": "system", "content": "late"},
        ],
        tools=[tool],
        prompt_cache_key="k",
        prompt_cache_options={"mode": "explicit", "ttl": "30m", "prewarm": True},
        reasoning_effort="high",
    )
    assert made.blocks == (
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
    assert made.params == (
        Param("prompt_cache_key", "k", "tools"),
        Param("prompt_cache_options.mode", "explicit", "tools"),
        Param("prompt_cache_options.ttl", "30m", "none"),
        Param("reasoning_effort", "high", "tools"),
    )
    assert (made.caching_mode, made.ttl, made.is_prewarm, made.is_complete) == (
        "explicit",
        "30m",
        True,
        True,
    )


def test_a_responses_prompt_knows_what_the_server_holds() -> None:
    made = prompt("responses", instructions="be", input="hi", previous_response_id="resp_0")
    assert made.blocks == (
        Block("system", 0, "text", "be"),
        Block("messages", 0, "text", {"role": "user", "content": "hi"}),
    )
    assert (made.is_complete, made.server_state_id) == (False, "resp_0")
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
def test_how_caching_is_asked_for(options: Any, mode: str) -> None:
    assert (
        prompt(
            "chat", messages=[{"role": "user", "content": "x"}], prompt_cache_options=options
        ).caching_mode
        == mode
    )


def test_a_one_shot_iterator_is_never_touched() -> None:
    messages: Any = iter([{"role": "user", "content": "x"}])
    assert CHAT.parse_prompt(request({"messages": messages})) is None
    left: Any = next(messages)
    assert left


def test_a_part_that_is_no_object_is_still_a_part() -> None:
    mixed = prompt(
        "chat", messages=[{"role": "user", "content": ["loose", {"type": "text", "text": "x"}]}]
    )
    assert [(block.kind, block.data) for block in mixed.blocks] == [
        ("text", {"role": "user", "content": "loose"}),
        ("text", {"type": "text", "text": "x"}),
    ]


def test_an_empty_responses_body_has_no_prompt() -> None:
    assert RESPONSES.parse_prompt(request({})) is None


DULL: Final[list[Any]] = [
    ({"choices": [{"delta": {"content": "x"}}]}, True),
    ({"choices": [{"delta": {}, "finish_reason": "stop"}]}, False),
    ({"choices": [], "usage": {"prompt_tokens": 1}}, False),
    ({"choices": [{"delta": {}}], "x_groq": {}}, False),
    ({"error": {"code": "c"}}, False),
]


@pytest.mark.parametrize(("event", "dull"), DULL)
def test_dull_chat_chunks(event: dict[str, Any], dull: bool) -> None:
    assert CHAT.can_skip(event) is dull


def test_dull_responses_events() -> None:
    assert RESPONSES.can_skip({"type": "response.output_text.delta", "delta": "x"})
    assert not RESPONSES.can_skip({"type": "response.completed", "response": {}})
    assert not RESPONSES.can_skip({"type": "error"})


@pytest.mark.parametrize(
    ("event", "failed"),
    [
        ({"error": {"code": "server_error", "message": "secret"}}, "server_error"),
        ({"error": {"type": "t"}}, "t"),
        ({"error": "secret words"}, "error"),
        ({"type": "error", "code": "c", "message": "secret"}, "c"),
        (
            {
                "type": "response.failed",
                "response": {"status": "failed", "error": {"code": "rate"}},
            },
            "rate",
        ),
        ({"type": "response.created", "response": {"status": "in_progress", "error": None}}, None),
    ],
)
def test_failures_name_codes_only(event: dict[str, Any], failed: str | None) -> None:
    facts = RESPONSES.parse_event(event)
    assert facts is not None
    assert facts.error_code == failed


@pytest.mark.parametrize(
    ("method", "url", "found"),
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
def test_routes(method: str, url: str, found: WireFormat | None) -> None:
    row = find_route(ROUTES, method, url)
    assert (row and row.wire_format) is found


@pytest.mark.parametrize(
    ("host", "name"),
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
def test_hosts(host: str | None, name: str) -> None:
    assert provider_for_host(host, "openai", {"gateway.corp": "groq"}) == name
