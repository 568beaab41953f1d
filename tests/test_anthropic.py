"""Parse requests and responses of Anthropic's Messages API.

The fixtures are wire JSON; each one names its source.
"""

from __future__ import annotations

import json
from functools import reduce
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptcache.common.coerce import as_number
from promptcache.model import Param, ParsedPrompt, Request, ResponseFacts, Usage
from promptcache.providers.anthropic.wire import BATCH_RESULTS, MESSAGES, ROUTES
from promptcache.providers.response_facts import merge_facts
from promptcache.providers.wire_format import find_route
from tests.support.relevant_events import is_relevant

USAGE_CASES: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "fixtures/anthropic/usage.json").read_text()
)
BREAKPOINT: Final[dict[str, Any]] = {"type": "ephemeral"}
HOUR_BREAKPOINT: Final[dict[str, Any]] = {"type": "ephemeral", "ttl": "1h"}
HI_MESSAGE: Final[dict[str, Any]] = {"role": "user", "content": "hi"}


def parse_body(body: dict[str, Any]) -> ParsedPrompt | None:
    return MESSAGES.parse_prompt(
        Request("w", "anthropic", "chat", "m", "h", 443, False, body, b"", 0.0)
    )


def parse_prompt(**body: Any) -> ParsedPrompt:
    parsed_prompt = parse_body({"messages": [HI_MESSAGE], "max_tokens": 9, **body})
    assert parsed_prompt is not None
    return parsed_prompt


def describe_breakpoints(parsed_prompt: ParsedPrompt) -> list[str]:
    return [
        f"{block.section}[{block.index}] {block.breakpoint_ttl}".strip()
        for block in parsed_prompt.blocks
        if block.breakpoint_ttl is not None
    ]


def merge_events(events: list[dict[str, Any]]) -> ResponseFacts:
    all_facts = [facts for event in events if (facts := MESSAGES.parse_event(event)) is not None]
    return reduce(merge_facts, all_facts)


@pytest.mark.parametrize("case", USAGE_CASES, ids=lambda case: case["name"])
def test_usage_and_facts_of_each_reported_case(case: dict[str, Any]) -> None:
    facts = merge_events(case["events"])
    expected: dict[str, Any] = {
        "cache_write_by_ttl": {},
        **case["usage"],
        "inconsistencies": tuple(case["usage"].get("inconsistencies", ())),
    }
    usage = MESSAGES.parse_usage(facts)
    assert usage is not None
    assert usage._replace(other_attempts=()) == Usage(**expected)
    assert facts.id == "msg_01"
    assert {name: getattr(facts, name) for name in case["facts"]} == case["facts"]
    assert len(facts.finish_reasons) == 1


ODD_COUNTS: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 10**13),
    st.floats(),
    st.text(max_size=2),
    st.lists(st.integers()),
)
ODD_USAGES: Final = st.fixed_dictionaries(
    {},
    optional={
        "input_tokens": ODD_COUNTS,
        "output_tokens": ODD_COUNTS,
        "cache_read_input_tokens": ODD_COUNTS,
        "cache_creation_input_tokens": ODD_COUNTS,
        "cache_creation": st.one_of(
            ODD_COUNTS,
            st.fixed_dictionaries(
                {},
                optional={
                    "ephemeral_5m_input_tokens": ODD_COUNTS,
                    "ephemeral_1h_input_tokens": ODD_COUNTS,
                },
            ),
        ),
        "iterations": st.lists(
            st.fixed_dictionaries(
                {"type": st.sampled_from(["compaction", "message"])},
                optional={"input_tokens": ODD_COUNTS, "output_tokens": ODD_COUNTS},
            )
        ),
        "server_tool_use": st.fixed_dictionaries({}, optional={"web_search_requests": ODD_COUNTS}),
    },
)


@given(ODD_USAGES)
def test_token_classes_are_disjoint_for_any_reported_usage(reported: dict[str, Any]) -> None:
    facts = MESSAGES.parse_event({"type": "message", "usage": reported})
    assert facts is not None
    usage = MESSAGES.parse_usage(facts)
    if usage is None:
        assert (
            as_number(reported.get("input_tokens")) is None
            or not float(reported["input_tokens"]).is_integer()
        )
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


def test_blocks_are_ordered_and_breakpoints_keep_their_place() -> None:
    parsed_prompt = parse_prompt(
        system=[
            {"type": "text", "text": "s", "cache_control": HOUR_BREAKPOINT},
            {"type": "text", "text": "t"},
        ],
        tools=[
            {"name": "a", "input_schema": {}},
            {"name": "b", "input_schema": {}, "cache_control": BREAKPOINT},
        ],
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "x"},
                    {"type": "text", "text": "y", "cache_control": BREAKPOINT},
                ],
            }
        ],
    )
    assert [block.section for block in parsed_prompt.blocks] == [
        "tools",
        "tools",
        "system",
        "system",
        "messages",
        "messages",
    ]
    assert describe_breakpoints(parsed_prompt) == ["tools[1]", "system[0] 1h", "messages[1]"]
    assert parsed_prompt.caching_mode == "explicit"
    assert parsed_prompt.blocks[0].kind == "custom"
    assert parsed_prompt.blocks[1].data == {"name": "b", "input_schema": {}}
    assert parsed_prompt.blocks[4].data == {
        "role": "user",
        "content": {"type": "text", "text": "x"},
    }
    assert parsed_prompt.blocks[5].data == {"type": "text", "text": "y"}


def test_a_string_equals_one_text_block() -> None:
    long = parse_prompt(
        system=[{"type": "text", "text": "s"}],
        messages=[{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    )
    assert parse_prompt(system="s") == long


def test_a_breakpoint_inside_a_tool_result_is_not_part_of_its_content() -> None:
    def parse_tool_result(**more: Any) -> ParsedPrompt:
        result = {
            "type": "tool_result",
            "tool_use_id": "t",
            "content": [{"type": "text", "text": "x", **more}],
        }
        return parse_prompt(messages=[{"role": "user", "content": [result]}])

    plain, marked = parse_tool_result(), parse_tool_result(cache_control=HOUR_BREAKPOINT)
    assert plain.blocks[0].data == marked.blocks[0].data
    assert (describe_breakpoints(plain), describe_breakpoints(marked)) == ([], ["messages[0] 1h"])


def test_web_search_is_placed_after_the_tools() -> None:
    parsed_prompt = parse_prompt(
        tools=[{"type": "web_search_20250305"}, {"name": "a", "input_schema": {}}], system="s"
    )
    assert [(block.section, block.kind) for block in parsed_prompt.blocks][:3] == [
        ("tools", "custom"),
        ("system", "web_search_20250305"),
        ("system", "text"),
    ]


@pytest.mark.parametrize(
    ("body", "mode", "ttl"),
    [
        ({}, "none", None),
        ({"cache_control": BREAKPOINT}, "implicit", None),
        ({"cache_control": HOUR_BREAKPOINT}, "implicit", "1h"),
        (
            {"system": [{"type": "text", "text": "s", "cache_control": BREAKPOINT}]},
            "explicit",
            None,
        ),
        ({"thread": {"type": "create"}}, "none", None),
        ({"thread": {"type": "continue", "previous_message_id": "msg_1"}}, "explicit", None),
    ],
)
def test_caching_mode_and_ttl_of_a_request(
    body: dict[str, Any], mode: str, ttl: str | None
) -> None:
    parsed_prompt = parse_prompt(**body)
    assert (parsed_prompt.caching_mode, parsed_prompt.ttl) == (mode, ttl)
    assert (
        parsed_prompt.is_complete
        is (parsed_prompt.server_state_id is None)
        is ("continue" not in str(body))
    )


def test_a_request_for_zero_output_tokens_is_a_prewarm() -> None:
    assert parse_prompt(max_tokens=0).is_prewarm
    assert not parse_prompt().is_prewarm


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"tool_choice": {"type": "any"}}, Param("tool_choice", {"type": "any"}, "messages")),
        ({"thinking": {"type": "adaptive"}}, Param("thinking", {"type": "adaptive"}, "messages")),
        ({"output_config": {"effort": "low"}}, Param("output_config.effort", "low", "messages")),
        ({"speed": "fast"}, Param("speed", "fast", "system")),
        ({"anthropic_beta": ["a"]}, Param("anthropic_beta", ["a"], "tools")),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            Param("images", True, "messages"),
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "tool_result", "content": [{"type": "image"}]}],
                    }
                ]
            },
            Param("images", True, "messages"),
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "document", "citations": {"enabled": True}}],
                    }
                ]
            },
            Param("citations", True, "system"),
        ),
    ],
)
def test_parameters_that_invalidate_the_cache_are_parsed(
    body: dict[str, Any], expected: Param
) -> None:
    assert parse_prompt(**body).params == (expected,)


def test_a_body_without_a_list_of_messages_is_no_prompt() -> None:
    assert parse_body({}) is None
    assert parse_body({"messages": iter([HI_MESSAGE])}) is None


def test_malformed_tools_and_messages_become_blocks() -> None:
    parsed_prompt = parse_prompt(tools=["t"], messages=["m", {"role": "user", "content": ["x"]}])
    assert [block.data for block in parsed_prompt.blocks] == ["t", {"role": "user", "content": "x"}]


def test_events_without_facts_are_ignored_or_skipped() -> None:
    assert MESSAGES.parse_event({"type": "ping"}) is None
    assert MESSAGES.parse_event({}) is None
    assert not is_relevant(MESSAGES, {"type": "content_block_delta"})
    assert is_relevant(MESSAGES, {"type": "message_delta"})


@pytest.mark.parametrize(
    ("error", "error_code"), [({"type": "overloaded_error"}, "overloaded_error"), (None, "error")]
)
def test_an_error_event_gives_an_error_code_and_is_not_terminal(
    error: object, error_code: str
) -> None:
    facts = MESSAGES.parse_event({"type": "error", "error": error})
    assert facts is not None
    assert (facts.error_code, facts.is_terminal) == (error_code, False)


def test_the_diagnostics_of_the_provider_are_kept() -> None:
    diagnostics = {"cache_miss_reason": {"type": "system_changed", "cache_missed_input_tokens": 9}}
    assert (
        merge_events([{"type": "message", "diagnostics": diagnostics}]).provider_diagnostics
        == diagnostics
    )
    assert merge_events([{"type": "message", "diagnostics": None}]).provider_diagnostics is None


def test_only_a_succeeded_batch_result_gives_facts() -> None:
    message = {
        "id": "msg_1",
        "type": "message",
        "usage": {"input_tokens": 1, "output_tokens": 2, "service_tier": "batch"},
    }
    facts = BATCH_RESULTS.parse_event(
        {"custom_id": "a", "result": {"type": "succeeded", "message": message}}
    )
    assert facts is not None
    assert (facts.id, facts.is_batch, facts.service_tier) == ("msg_1", True, "batch")
    assert (
        BATCH_RESULTS.parse_event({"custom_id": "b", "result": {"type": "errored", "error": {}}})
        is None
    )


@pytest.mark.parametrize(
    ("method", "url", "wire_format"),
    [
        ("POST", "/v1/messages", "anthropic.messages"),
        ("post", "/v1/messages?beta=true", "anthropic.messages"),
        ("POST", "/v1/messages/count_tokens", None),
        ("POST", "/v1/messages/batches", None),
        (
            "GET",
            "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results",
            "anthropic.results",
        ),
        ("GET", "/v1/messages/batches/msgbatch_1", None),
        (
            "POST",
            "/model/anthropic.claude-sonnet-4-6/invoke-with-response-stream",
            "anthropic.messages",
        ),
        ("POST", "/model/anthropic.claude-sonnet-4-6/invoke", "anthropic.messages"),
        (
            "POST",
            "/projects/p/publishers/anthropic/models/opus:streamRawPredict",
            "anthropic.messages",
        ),
        ("POST", "/projects/p/publishers/anthropic/models/opus:rawPredict", "anthropic.messages"),
        ("POST", "/projects/p/publishers/anthropic/models/count-tokens:rawPredict", None),
    ],
)
def test_a_route_determines_the_wire_format(method: str, url: str, wire_format: str | None) -> None:
    route = find_route(ROUTES, method, url)
    assert (route and route.wire_format.name) == wire_format
