"""Bedrock's wires, and who else may stand around its calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptcache.model import Request, ResponseFacts, Usage
from promptcache.providers.anthropic import wire as anthropic
from promptcache.providers.bedrock.wire import CONVERSE, is_nova, unwrap_event, wire_format_of
from promptcache.providers.response_facts import merge_facts

FIXTURES: Final = Path(__file__).parent / "fixtures/bedrock"
CLAUDE: Final = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"


def fixture(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def facts(*events: Any) -> ResponseFacts:
    return reduce(
        merge_facts,
        [found for event in events if (found := CONVERSE.parse_event(event)) is not None],
        ResponseFacts(),
    )


def usage(*events: Any) -> Usage:
    found = CONVERSE.parse_usage(facts(*events))
    assert found is not None
    assert (
        found.uncached_tokens + (found.cache_read_tokens or 0) + (found.cache_write_tokens or 0)
        == found.input_tokens
    )
    return found


def asked(body: Mapping[str, Any], model: str = CLAUDE) -> Request:
    return Request(
        "bedrock.converse", "aws.bedrock", "chat", model, None, None, False, body, b"", 0.0
    )


def test_input_includes_what_was_read_and_written() -> None:
    found = usage(fixture("converse"))
    assert (
        found.input_tokens,
        found.uncached_tokens,
        found.cache_read_tokens,
        found.cache_write_tokens,
        found.output_tokens,
    ) == (
        5112,
        12,
        4100,
        1000,
        40,
    )
    assert found.cache_write_by_ttl == {"1h": 600, "5m": 400}
    assert not found.inconsistencies
    told = facts(fixture("converse"))
    assert (told.finish_reasons, told.service_tier, told.speed, told.is_terminal) == (
        ("end_turn",),
        "default",
        "standard",
        True,
    )
    assert told.model == CLAUDE  # what the router chose


def test_a_stream_tells_its_usage_last() -> None:
    *events, last = fixture("stream")
    assert CONVERSE.parse_usage(facts(*events)) is None
    assert facts(*events).has_content
    assert not facts(*events).is_terminal
    assert [CONVERSE.can_skip(event) for event in (*events, last)] == [
        False,
        True,
        True,
        False,
        False,
    ]
    found = usage(*events, last)
    assert (found.input_tokens, found.cache_read_tokens, found.cache_write_by_ttl) == (
        1012,
        0,
        {"5m": 1000},
    )
    told = facts(*events, last)
    assert (told.finish_reasons, told.service_tier, told.speed, told.is_terminal) == (
        ("end_turn",),
        "flex",
        "optimized",
        True,
    )


def test_nova_spells_its_counters_otherwise() -> None:
    found = usage(fixture("nova"))
    assert (found.input_tokens, found.cache_read_tokens, found.cache_write_tokens) == (
        4112,
        4100,
        0,
    )


def test_a_model_that_does_not_cache_reports_nothing() -> None:
    found = usage({"usage": {"inputTokens": 9, "outputTokens": 1}, "output": {}})
    assert (found.input_tokens, found.cache_read_tokens, found.cache_write_tokens) == (
        9,
        None,
        None,
    )


COUNT = st.one_of(
    st.integers(-5, 10**13), st.floats(), st.booleans(), st.none(), st.text(max_size=2)
)
USAGE = st.fixed_dictionaries(
    {},
    optional={
        "inputTokens": COUNT,
        "outputTokens": COUNT,
        "cacheReadInputTokens": COUNT,
        "cacheWriteInputTokens": COUNT,
        "cacheDetails": st.lists(
            st.fixed_dictionaries(
                {"ttl": st.sampled_from(["5m", "1h", None]), "inputTokens": COUNT}
            )
        ),
    },
)


@given(USAGE)
def test_whatever_is_reported_the_classes_are_disjoint(reported: Any) -> None:
    found = CONVERSE.parse_usage(facts({"usage": reported}))
    if found is not None:
        assert (
            min(found.uncached_tokens, found.cache_read_tokens or 0, found.cache_write_tokens or 0)
            >= 0
        )
        assert (
            found.uncached_tokens + (found.cache_read_tokens or 0) + (found.cache_write_tokens or 0)
            == found.input_tokens
        )
        assert sum(found.cache_write_by_ttl.values()) == (found.cache_write_tokens or 0)


POINT: Final = {"cachePoint": {"type": "default"}}
BODY: Final[Mapping[str, Any]] = {
    "toolConfig": {
        "tools": [
            {"toolSpec": {"name": "stock"}},
            {"cachePoint": {"type": "default", "ttl": "1h"}},
        ],
        "toolChoice": {"auto": {}},
    },
    "system": [{"text": "Be brief."}, POINT],
    "messages": [
        {"role": "user", "content": [{"text": "What is this?"}, {"image": {"format": "png"}}]},
        {"role": "assistant", "content": [POINT, {"text": "A tent."}]},
    ],
    "inferenceConfig": {"temperature": 1},
}


def test_a_cache_point_marks_what_stands_before_it() -> None:
    prompt = CONVERSE.parse_prompt(asked(BODY))
    assert prompt is not None
    assert [
        (block.section, block.index, block.kind, block.breakpoint_ttl) for block in prompt.blocks
    ] == [
        ("tools", 0, "toolSpec", "1h"),
        ("system", 0, "text", ""),
        ("messages", 0, "text", None),
        ("messages", 1, "image", ""),
        ("messages", 2, "text", None),
    ]
    assert [block.data for block in prompt.blocks][2:] == [
        {"role": "user", "text": "What is this?"},
        {"image": {"format": "png"}},
        {"role": "assistant", "text": "A tent."},
    ]
    assert prompt.caching_mode == "explicit"
    shown = [(param.name, param.invalidation_level) for param in prompt.params]
    assert shown == [("toolConfig.toolChoice", "messages"), ("images", "messages")]


@pytest.mark.parametrize(
    ("part", "model", "shown"),
    [
        ({"image": {"format": "png"}}, CLAUDE, True),
        (
            {
                "toolResult": {
                    "toolUseId": "t",
                    "content": [{"text": "See:"}, {"image": {"format": "png"}}],
                }
            },
            CLAUDE,
            True,
        ),
        ({"toolResult": {"toolUseId": "t", "content": [{"text": "None."}]}}, CLAUDE, False),
        ({"image": {"format": "png"}}, "amazon.nova-pro-v1:0", False),
    ],
)
def test_an_image_anywhere_switches_what_claude_keeps_of_the_messages(
    part: Any, model: str, shown: bool
) -> None:
    prompt = CONVERSE.parse_prompt(
        asked({"messages": [{"role": "user", "content": [part]}]}, model)
    )
    assert prompt is not None
    assert bool(prompt.params) is shown


def test_where_the_point_stands_is_no_part_of_the_content() -> None:
    moved = {
        **BODY,
        "system": [{"text": "Be brief."}],
        "messages": [
            *BODY["messages"][:1],
            {"role": "assistant", "content": [{"text": "A tent."}]},
        ],
    }
    here, there = CONVERSE.parse_prompt(asked(BODY)), CONVERSE.parse_prompt(asked(moved))
    assert here is not None
    assert there is not None
    assert [block.data for block in here.blocks] == [block.data for block in there.blocks]


@pytest.mark.parametrize(
    ("model", "mode"),
    [
        (CLAUDE, "none"),
        ("amazon.nova-pro-v1:0", "automatic"),
        ("meta.llama3-70b-instruct-v1:0", "none"),
    ],
)
def test_how_caching_is_asked_for_without_points(model: str, mode: str) -> None:
    prompt = CONVERSE.parse_prompt(
        asked({"messages": [{"role": "user", "content": [{"text": "Hi."}]}]}, model)
    )
    assert prompt is not None
    assert prompt.caching_mode == mode


@pytest.mark.parametrize("body", [{}, {"system": [POINT]}, {"messages": "Hi."}])
def test_nothing_asked_is_no_prompt(body: Any) -> None:
    assert CONVERSE.parse_prompt(asked(body)) is None


@pytest.mark.parametrize(
    ("operation", "model", "body", "found"),
    [
        ("Converse", "meta.llama3-70b-instruct-v1:0", {}, CONVERSE),
        ("InvokeModel", CLAUDE, {}, anthropic.MESSAGES),
        (
            "InvokeModel",
            "arn:aws:bedrock:us-east-1:1:inference-profile/eu.amazon.nova-pro-v1:0",
            {},
            CONVERSE,
        ),
        (
            "InvokeModel",
            "arn:aws:bedrock:us-east-1:1:application-inference-profile/x",
            {"anthropic_version": "b"},
            anthropic.MESSAGES,
        ),
        ("InvokeModelWithResponseStream", None, {"schemaVersion": "messages-v1"}, CONVERSE),
        ("InvokeModel", "meta.llama3-70b-instruct-v1:0", {"prompt": "Hi."}, None),
    ],
)
def test_whose_wire_a_request_speaks(
    operation: str, model: str | None, body: Any, found: Any
) -> None:
    assert wire_format_of(operation, model, body) is found
    assert is_nova(model) is ("nova" in (model or ""))


@pytest.mark.parametrize(
    ("operation", "event", "said"),
    [
        ("ConverseStream", {"messageStop": {}}, {"messageStop": {}}),
        ("InvokeModelWithResponseStream", {"chunk": {"bytes": b"{}"}}, b"{}"),
        ("InvokeModelWithResponseStream", {"internalServerException": {}}, b""),
    ],
)
def test_an_event_of_a_maker_comes_as_bytes(operation: str, event: Any, said: Any) -> None:
    assert unwrap_event(operation, event) == said
