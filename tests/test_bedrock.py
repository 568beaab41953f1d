"""Parse requests and responses of Bedrock's wire formats."""

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
from promptcache.providers.bedrock.wire import (
    CONVERSE,
    is_nova_model,
    unwrap_stream_event,
    wire_format_of_operation,
)
from promptcache.providers.response_facts import merge_facts

FIXTURES: Final = Path(__file__).parent / "fixtures/bedrock"
CLAUDE: Final = "us.anthropic.claude-sonnet-4-6"


def load_fixture(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def merge_events(*events: Any) -> ResponseFacts:
    return reduce(
        merge_facts,
        [facts for event in events if (facts := CONVERSE.parse_event(event)) is not None],
        ResponseFacts(),
    )


def parse_usage(*events: Any) -> Usage:
    usage = CONVERSE.parse_usage(merge_events(*events))
    assert usage is not None
    assert (
        usage.uncached_tokens + (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
        == usage.input_tokens
    )
    return usage


def build_request(body: Mapping[str, Any], model: str = CLAUDE) -> Request:
    return Request(
        "bedrock.converse", "aws.bedrock", "chat", model, None, None, False, body, b"", 0.0
    )


def test_input_tokens_include_cache_reads_and_writes() -> None:
    usage = parse_usage(load_fixture("converse"))
    assert (
        usage.input_tokens,
        usage.uncached_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
    ) == (
        5112,
        12,
        4100,
        1000,
        40,
    )
    assert usage.cache_write_by_ttl == {"1h": 600, "5m": 400}
    assert not usage.inconsistencies
    facts = merge_events(load_fixture("converse"))
    assert (facts.finish_reasons, facts.service_tier, facts.speed, facts.is_terminal) == (
        ("end_turn",),
        "default",
        "standard",
        True,
    )
    assert facts.model == CLAUDE  # the model that the router chose


def test_a_stream_reports_usage_in_its_last_event() -> None:
    *events, last = load_fixture("stream")
    assert CONVERSE.parse_usage(merge_events(*events)) is None
    assert merge_events(*events).has_content
    assert not merge_events(*events).is_terminal
    assert [CONVERSE.is_last_event(event) for event in (*events, last)] == [False] * 4 + [True]
    usage = parse_usage(*events, last)
    assert (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_by_ttl) == (
        1012,
        0,
        {"5m": 1000},
    )
    facts = merge_events(*events, last)
    assert (facts.finish_reasons, facts.service_tier, facts.speed, facts.is_terminal) == (
        ("end_turn",),
        "flex",
        "optimized",
        True,
    )


def test_the_counter_names_of_nova_are_parsed() -> None:
    usage = parse_usage(load_fixture("nova"))
    assert (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens) == (
        4112,
        4100,
        0,
    )


def test_a_model_without_caching_has_no_cache_counts() -> None:
    usage = parse_usage({"usage": {"inputTokens": 9, "outputTokens": 1}, "output": {}})
    assert (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens) == (
        9,
        None,
        None,
    )


ODD_COUNTS = st.one_of(
    st.integers(-5, 10**13), st.floats(), st.booleans(), st.none(), st.text(max_size=2)
)
ODD_USAGES = st.fixed_dictionaries(
    {},
    optional={
        "inputTokens": ODD_COUNTS,
        "outputTokens": ODD_COUNTS,
        "cacheReadInputTokens": ODD_COUNTS,
        "cacheWriteInputTokens": ODD_COUNTS,
        "cacheDetails": st.lists(
            st.fixed_dictionaries(
                {"ttl": st.sampled_from(["5m", "1h", None]), "inputTokens": ODD_COUNTS}
            )
        ),
    },
)


@given(ODD_USAGES)
def test_token_classes_are_disjoint_for_any_reported_usage(reported: Any) -> None:
    usage = CONVERSE.parse_usage(merge_events({"usage": reported}))
    if usage is not None:
        assert (
            min(usage.uncached_tokens, usage.cache_read_tokens or 0, usage.cache_write_tokens or 0)
            >= 0
        )
        assert (
            usage.uncached_tokens + (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
            == usage.input_tokens
        )
        assert sum(usage.cache_write_by_ttl.values()) == (usage.cache_write_tokens or 0)


CACHE_POINT: Final = {"cachePoint": {"type": "default"}}
CONVERSE_BODY: Final[Mapping[str, Any]] = {
    "toolConfig": {
        "tools": [
            {"toolSpec": {"name": "stock"}},
            {"cachePoint": {"type": "default", "ttl": "1h"}},
        ],
        "toolChoice": {"auto": {}},
    },
    "system": [{"text": "Be brief."}, CACHE_POINT],
    "messages": [
        {"role": "user", "content": [{"text": "What is this?"}, {"image": {"format": "png"}}]},
        {"role": "assistant", "content": [CACHE_POINT, {"text": "A tent."}]},
    ],
    "inferenceConfig": {"temperature": 1},
}


def test_a_cache_point_is_a_breakpoint_on_the_block_before_it() -> None:
    prompt = CONVERSE.parse_prompt(build_request(CONVERSE_BODY))
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
    levels = [(param.name, param.invalidation_level) for param in prompt.params]
    assert levels == [("toolConfig.toolChoice", "messages"), ("images", "messages")]


@pytest.mark.parametrize(
    ("part", "model", "is_parameter"),
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
def test_images_are_a_parameter_of_claude_and_not_of_nova(
    part: Any, model: str, is_parameter: bool
) -> None:
    prompt = CONVERSE.parse_prompt(
        build_request({"messages": [{"role": "user", "content": [part]}]}, model)
    )
    assert prompt is not None
    assert bool(prompt.params) is is_parameter


def test_cache_points_are_not_part_of_the_block_content() -> None:
    body_without_points = {
        **CONVERSE_BODY,
        "system": [{"text": "Be brief."}],
        "messages": [
            *CONVERSE_BODY["messages"][:1],
            {"role": "assistant", "content": [{"text": "A tent."}]},
        ],
    }
    with_points, without_points = (
        CONVERSE.parse_prompt(build_request(CONVERSE_BODY)),
        CONVERSE.parse_prompt(build_request(body_without_points)),
    )
    assert with_points is not None
    assert without_points is not None
    assert [block.data for block in with_points.blocks] == [
        block.data for block in without_points.blocks
    ]


@pytest.mark.parametrize(
    ("model", "mode"),
    [
        (CLAUDE, "none"),
        ("amazon.nova-pro-v1:0", "automatic"),
        ("meta.llama3-70b-instruct-v1:0", "none"),
    ],
)
def test_caching_mode_without_cache_points_depends_on_the_model(model: str, mode: str) -> None:
    prompt = CONVERSE.parse_prompt(
        build_request({"messages": [{"role": "user", "content": [{"text": "Hi."}]}]}, model)
    )
    assert prompt is not None
    assert prompt.caching_mode == mode


@pytest.mark.parametrize("body", [{}, {"system": [CACHE_POINT]}, {"messages": "Hi."}])
def test_a_body_without_messages_is_no_prompt(body: Any) -> None:
    assert CONVERSE.parse_prompt(build_request(body)) is None


@pytest.mark.parametrize(
    ("operation", "model", "body", "wire_format"),
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
def test_operation_model_and_body_determine_the_wire_format(
    operation: str, model: str | None, body: Any, wire_format: Any
) -> None:
    assert wire_format_of_operation(operation, model, body) is wire_format
    assert is_nova_model(model) is ("nova" in (model or ""))


@pytest.mark.parametrize(
    ("operation", "event", "unwrapped"),
    [
        ("ConverseStream", {"messageStop": {}}, {"messageStop": {}}),
        ("InvokeModelWithResponseStream", {"chunk": {"bytes": b"{}"}}, b"{}"),
        ("InvokeModelWithResponseStream", {"internalServerException": {}}, b""),
    ],
)
def test_events_are_unwrapped_by_operation(operation: str, event: Any, unwrapped: Any) -> None:
    assert unwrap_stream_event(operation, event) == unwrapped
