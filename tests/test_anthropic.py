"""The Anthropic wire: what a request asks, what a response reports. Fixtures are wire JSON with their source."""

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

REPORTED: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "fixtures/anthropic/usage.json").read_text()
)
MARK: Final[dict[str, Any]] = {"type": "ephemeral"}
HOUR: Final[dict[str, Any]] = {"type": "ephemeral", "ttl": "1h"}
HI: Final[dict[str, Any]] = {"role": "user", "content": "hi"}


def asked(body: dict[str, Any]) -> ParsedPrompt | None:
    return MESSAGES.parse_prompt(
        Request("w", "anthropic", "chat", "m", "h", 443, False, body, b"", 0.0)
    )


def prompt(**body: Any) -> ParsedPrompt:
    made = asked({"messages": [HI], "max_tokens": 9, **body})
    assert made is not None
    return made


def marks(made: ParsedPrompt) -> list[str]:
    return [
        f"{block.section}[{block.index}] {block.breakpoint_ttl}".strip()
        for block in made.blocks
        if block.breakpoint_ttl is not None
    ]


def told(events: list[dict[str, Any]]) -> ResponseFacts:
    found = [facts for event in events if (facts := MESSAGES.parse_event(event)) is not None]
    return reduce(merge_facts, found)


@pytest.mark.parametrize("case", REPORTED, ids=lambda case: case["name"])
def test_reported_usage(case: dict[str, Any]) -> None:
    facts = told(case["events"])
    expected: dict[str, Any] = {
        "cache_write_by_ttl": {},
        **case["usage"],
        "inconsistencies": tuple(case["usage"].get("inconsistencies", ())),
    }
    assert MESSAGES.parse_usage(facts) == Usage(**expected)
    assert facts.id == "msg_01"
    assert {name: getattr(facts, name) for name in case["facts"]} == case["facts"]
    assert len(facts.finish_reasons) == 1


COUNT: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 10**13),
    st.floats(),
    st.text(max_size=2),
    st.lists(st.integers()),
)
SPENT: Final = st.fixed_dictionaries(
    {},
    optional={
        "input_tokens": COUNT,
        "output_tokens": COUNT,
        "cache_read_input_tokens": COUNT,
        "cache_creation_input_tokens": COUNT,
        "cache_creation": st.one_of(
            COUNT,
            st.fixed_dictionaries(
                {},
                optional={"ephemeral_5m_input_tokens": COUNT, "ephemeral_1h_input_tokens": COUNT},
            ),
        ),
        "iterations": st.lists(
            st.fixed_dictionaries(
                {"type": st.sampled_from(["compaction", "message"])},
                optional={"input_tokens": COUNT, "output_tokens": COUNT},
            )
        ),
        "server_tool_use": st.fixed_dictionaries({}, optional={"web_search_requests": COUNT}),
    },
)


@given(SPENT)
def test_the_classes_are_disjoint_whatever_is_reported(spent: dict[str, Any]) -> None:
    facts = MESSAGES.parse_event({"type": "message", "usage": spent})
    assert facts is not None
    found = MESSAGES.parse_usage(facts)
    if found is None:
        assert (
            as_number(spent.get("input_tokens")) is None
            or not float(spent["input_tokens"]).is_integer()
        )
        return
    assert (
        found.uncached_tokens + (found.cache_read_tokens or 0) + (found.cache_write_tokens or 0)
        == found.input_tokens
    )
    assert (
        min(
            found.uncached_tokens,
            found.cache_read_tokens or 0,
            found.cache_write_tokens or 0,
            found.output_tokens or 0,
        )
        >= 0
    )
    assert sum(found.cache_write_by_ttl.values()) == (found.cache_write_tokens or 0)


def test_order_is_tools_system_messages_and_marks_keep_their_place() -> None:
    made = prompt(
        system=[
            {"type": "text", "text": "s", "cache_control": HOUR},
            {"type": "text", "text": "t"},
        ],
        tools=[
            {"name": "a", "input_schema": {}},
            {"name": "b", "input_schema": {}, "cache_control": MARK},
        ],
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "x"},
                    {"type": "text", "text": "y", "cache_control": MARK},
                ],
            }
        ],
    )
    assert [block.section for block in made.blocks] == [
        "tools",
        "tools",
        "system",
        "system",
        "messages",
        "messages",
    ]
    assert marks(made) == ["tools[1]", "system[0] 1h", "messages[1]"]
    assert made.caching_mode == "explicit"
    assert made.blocks[0].kind == "custom"
    assert made.blocks[1].data == {"name": "b", "input_schema": {}}
    assert made.blocks[4].data == {"role": "user", "content": {"type": "text", "text": "x"}}
    assert made.blocks[5].data == {"type": "text", "text": "y"}


def test_a_text_is_short_for_a_block() -> None:
    long = prompt(
        system=[{"type": "text", "text": "s"}],
        messages=[{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    )
    assert prompt(system="s") == long


def test_marks_inside_a_result_of_a_tool_count_and_leave_its_bytes() -> None:
    def told_by(**mark: Any) -> ParsedPrompt:
        result = {
            "type": "tool_result",
            "tool_use_id": "t",
            "content": [{"type": "text", "text": "x", **mark}],
        }
        return prompt(messages=[{"role": "user", "content": [result]}])

    plain, marked = told_by(), told_by(cache_control=HOUR)
    assert plain.blocks[0].data == marked.blocks[0].data
    assert (marks(plain), marks(marked)) == ([], ["messages[0] 1h"])


def test_web_search_stands_behind_the_tools() -> None:
    made = prompt(
        tools=[{"type": "web_search_20250305"}, {"name": "a", "input_schema": {}}], system="s"
    )
    assert [(block.section, block.kind) for block in made.blocks][:3] == [
        ("tools", "custom"),
        ("system", "web_search_20250305"),
        ("system", "text"),
    ]


@pytest.mark.parametrize(
    ("body", "mode", "lifetime"),
    [
        ({}, "none", None),
        ({"cache_control": MARK}, "implicit", None),
        ({"cache_control": HOUR}, "implicit", "1h"),
        ({"system": [{"type": "text", "text": "s", "cache_control": MARK}]}, "explicit", None),
        ({"thread": {"type": "create"}}, "none", None),
        ({"thread": {"type": "continue", "previous_message_id": "msg_1"}}, "explicit", None),
    ],
)
def test_how_caching_is_asked_for(body: dict[str, Any], mode: str, lifetime: str | None) -> None:
    made = prompt(**body)
    assert (made.caching_mode, made.ttl) == (mode, lifetime)
    assert made.is_complete is (made.server_state_id is None) is ("continue" not in str(body))


def test_no_output_asked_for_is_a_prewarm() -> None:
    assert prompt(max_tokens=0).is_prewarm
    assert not prompt().is_prewarm


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"tool_choice": {"type": "any"}}, Param("tool_choice", {"type": "any"}, "messages")),
        ({"thinking": {"type": "adaptive"}}, Param("thinking", {"type": "adaptive"}, "messages")),
        ({"output_config": {"effort": "low"}}, Param("output_config.effort", "low", "messages")),
        ({"speed": "fast"}, Param("speed", "fast", "system")),
        ({"anthropic_beta": ["a"]}, Param("anthropic_beta", ["a"], "none")),
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
def test_what_invalidates_without_being_text(body: dict[str, Any], expected: Param) -> None:
    assert prompt(**body).params == (expected,)


def test_what_is_no_prompt() -> None:
    assert asked({}) is None
    assert asked({"messages": iter([HI])}) is None


def test_odd_messages_are_read_as_far_as_they_can_be() -> None:
    made = prompt(tools=["t"], messages=["m", {"role": "user", "content": ["x"]}])
    assert [block.data for block in made.blocks] == ["t", {"role": "user", "content": "x"}]


def test_events_that_say_nothing() -> None:
    assert MESSAGES.parse_event({"type": "ping"}) is None
    assert MESSAGES.parse_event({}) is None
    assert MESSAGES.can_skip({"type": "content_block_delta"})
    assert not MESSAGES.can_skip({"type": "message_delta"})


@pytest.mark.parametrize(
    ("error", "failed"), [({"type": "overloaded_error"}, "overloaded_error"), (None, "error")]
)
def test_an_error_in_mid_stream(error: object, failed: str) -> None:
    facts = MESSAGES.parse_event({"type": "error", "error": error})
    assert facts is not None
    assert (facts.error_code, facts.is_terminal) == (failed, False)


def test_the_providers_own_diagnosis_is_kept() -> None:
    said = {"cache_miss_reason": {"type": "system_changed", "cache_missed_input_tokens": 9}}
    assert told([{"type": "message", "diagnostics": said}]).provider_diagnostics == said
    assert told([{"type": "message", "diagnostics": None}]).provider_diagnostics is None


def test_results_of_a_batch() -> None:
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
    ("method", "url", "found"),
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
            "/model/anthropic.claude-sonnet-4-5-v1:0/invoke-with-response-stream",
            "anthropic.messages",
        ),
        ("POST", "/model/anthropic.claude-sonnet-4-5-v1:0/invoke", "anthropic.messages"),
        (
            "POST",
            "/projects/p/publishers/anthropic/models/opus:streamRawPredict",
            "anthropic.messages",
        ),
        ("POST", "/projects/p/publishers/anthropic/models/opus:rawPredict", "anthropic.messages"),
        ("POST", "/projects/p/publishers/anthropic/models/count-tokens:rawPredict", None),
    ],
)
def test_routes(method: str, url: str, found: str | None) -> None:
    route = find_route(ROUTES, method, url)
    assert (route and route.wire_format.name) == found
