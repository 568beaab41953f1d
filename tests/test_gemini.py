"""Gemini's wire formats: usage, prompts in the order of the provider, and cached content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptcache.model import CachedContentInfo, Request, ResponseFacts, Usage
from promptcache.providers.google.cached_contents import (
    cached_content_in_path,
    cached_content_operation,
    parse_cached_content,
)
from promptcache.providers.google.wire import (
    GENERATE_CONTENT,
    INTERACTIONS,
    SERVICE_TIER_HEADER,
    cached_content_in_body,
    model_in_path,
)
from promptcache.providers.response_facts import merge_facts
from promptcache.providers.wire_format import WireFormat
from tests.support.relevant_events import is_relevant

FIXTURES: Final = Path(__file__).parent / "fixtures/gemini"


def load_fixture(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def merged_facts(wire: WireFormat, *events: Any) -> ResponseFacts:
    return reduce(
        merge_facts,
        [facts for event in events if (facts := wire.parse_event(event)) is not None],
        ResponseFacts(),
    )


def parsed_usage(wire: WireFormat, *events: Any) -> Usage:
    usage = wire.parse_usage(merged_facts(wire, *events))
    assert usage is not None
    assert (
        usage.uncached_tokens + (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
        == usage.input_tokens
    )
    return usage


def make_request(wire: WireFormat, body: Mapping[str, Any]) -> Request:
    return Request(
        wire.name,
        "gcp.gemini",
        wire.operation,
        "gemini-2.5-flash",
        None,
        None,
        False,
        body,
        b"",
        0.0,
    )


# Usage


def test_response_counts_are_sorted_into_token_classes() -> None:
    usage = parsed_usage(GENERATE_CONTENT, load_fixture("generate_content"))
    assert (
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.uncached_tokens,
    ) == (5240, 4096, None, 1144)
    assert (usage.output_tokens, usage.reasoning_tokens) == (172, 130)
    # Pages of documents are billed as images. Cached tokens of a modality are not in its input.
    assert usage.modality_tokens == {
        "audio.input": 200,
        "audio.read": 500,
        "image.input": 252,
        "image.read": 258,
    }
    assert not usage.inconsistencies


def test_the_counts_of_a_stream_are_cumulative() -> None:
    events = load_fixture("stream")
    facts = merged_facts(GENERATE_CONTENT, *events)
    assert (facts.model, facts.id, facts.finish_reasons, facts.service_tier) == (
        "gemini-2.5-pro",
        "rb1",
        ("STOP",),
        "ON_DEMAND",
    )
    assert facts.is_terminal
    assert not merged_facts(GENERATE_CONTENT, events[0]).is_terminal
    assert merged_facts(GENERATE_CONTENT, events[0]).has_content
    assert is_relevant(GENERATE_CONTENT, events[0])
    usage = parsed_usage(GENERATE_CONTENT, *events)
    assert (
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    ) == (2210, 2048, 109, 100)


def test_a_count_that_is_left_out_is_zero() -> None:
    usage = parsed_usage(GENERATE_CONTENT, load_fixture("blocked"))
    assert (
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    ) == (310, 0, 0, 0)
    assert merged_facts(GENERATE_CONTENT, load_fixture("blocked")).finish_reasons == (
        "PROHIBITED_CONTENT",
    )


def test_an_interaction_reports_zeros_and_a_missing_count_is_none() -> None:
    usage = parsed_usage(INTERACTIONS, load_fixture("interaction"))
    assert (
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    ) == (3015, 2048, 36, 16)
    assert usage.modality_tokens == {"audio.input": 200, "audio.read": 500}
    unreported = parsed_usage(
        INTERACTIONS, {"id": "v1", "status": "completed", "usage": {"total_input_tokens": 9}}
    )
    assert (
        unreported.cache_read_tokens,
        unreported.output_tokens,
        unreported.reasoning_tokens,
    ) == (None, None, None)


@pytest.mark.parametrize("wire", [GENERATE_CONTENT, INTERACTIONS])
def test_a_response_without_token_counts_has_no_usage(wire: WireFormat) -> None:
    assert wire.parse_usage(merged_facts(wire, {})) is None
    assert (
        wire.parse_usage(
            merged_facts(
                wire, {"usageMetadata": {"totalTokenCount": 3}, "usage": {"total_tokens": 3}}
            )
        )
        is None
    )


def test_the_service_tier_comes_from_the_header() -> None:
    assert (
        merged_facts(
            GENERATE_CONTENT, {**load_fixture("blocked"), SERVICE_TIER_HEADER: "flex"}
        ).service_tier
        == "flex"
    )
    assert (
        merged_facts(INTERACTIONS, {"id": "v1", SERVICE_TIER_HEADER: "priority"}).service_tier
        == "priority"
    )


def test_interaction_events_give_id_content_and_end() -> None:
    interaction = load_fixture("interaction")
    created = {
        "event_type": "interaction.created",
        "interaction": {**interaction, "status": "in_progress", "usage": None},
    }
    delta = {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": "On"}}
    facts = merged_facts(INTERACTIONS, created, delta)
    assert (facts.id, facts.is_terminal, facts.has_content, facts.finish_reasons) == (
        "v1_a7684a886776",
        False,
        True,
        (),
    )
    assert not is_relevant(INTERACTIONS, delta)
    assert is_relevant(INTERACTIONS, created)
    facts = merged_facts(
        INTERACTIONS,
        created,
        delta,
        {"event_type": "interaction.completed", "interaction": interaction},
    )
    assert (facts.is_terminal, facts.finish_reasons, facts.service_tier) == (
        True,
        ("completed",),
        "standard",
    )


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (
            {"event_type": "error", "error": {"code": "unavailable", "message": "secret"}},
            "unavailable",
        ),
        ({"event_type": "error", "error": {"message": "secret"}}, "error"),
        ({"status": "code", "errors": [{"code": "internal"}]}, "internal"),
        ({"status": "completed"}, None),
    ],
)
def test_an_error_is_reported_by_its_code_only(event: Any, code: str | None) -> None:
    assert merged_facts(INTERACTIONS, event).error_code == code


REPORTED_VALUES = st.one_of(
    st.integers(-5, 10**13), st.floats(), st.booleans(), st.text(max_size=3), st.none()
)
MODALITY_DETAILS = st.lists(
    st.fixed_dictionaries(
        {"modality": st.sampled_from(["AUDIO", "TEXT", "image", 3]), "tokenCount": REPORTED_VALUES}
    )
)
USAGE_METADATA = st.fixed_dictionaries(
    {},
    optional={
        "promptTokenCount": REPORTED_VALUES,
        "toolUsePromptTokenCount": REPORTED_VALUES,
        "cachedContentTokenCount": REPORTED_VALUES,
        "candidatesTokenCount": REPORTED_VALUES,
        "thoughtsTokenCount": REPORTED_VALUES,
        "promptTokensDetails": MODALITY_DETAILS,
        "cacheTokensDetails": MODALITY_DETAILS,
    },
)


@given(st.lists(USAGE_METADATA, max_size=3))
def test_token_classes_are_disjoint_for_any_counts(reported: list[Any]) -> None:
    usage = GENERATE_CONTENT.parse_usage(
        merged_facts(GENERATE_CONTENT, *({"usageMetadata": metadata} for metadata in reported))
    )
    if usage is not None:
        assert (
            min(
                usage.uncached_tokens,
                usage.cache_read_tokens or 0,
                usage.output_tokens or 0,
                *usage.modality_tokens.values(),
            )
            >= 0
        )
        assert usage.uncached_tokens + (usage.cache_read_tokens or 0) == usage.input_tokens
        assert (
            usage.reasoning_tokens is None
            or usage.output_tokens is None
            or usage.reasoning_tokens <= usage.output_tokens
        )


# Requests

TOOL: Final = {"functionDeclarations": [{"name": "stock"}, {"name": "price"}]}


def test_blocks_are_ordered_system_tools_contents() -> None:
    body: dict[str, Any] = {
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "What is this?"},
                    {"inlineData": {"mimeType": "image/png", "data": "eA=="}},
                ],
            },
            {"role": "model", "parts": []},
        ],
        "tools": [TOOL, {"googleSearch": {}}],
        "systemInstruction": {"role": "user", "parts": [{"text": "Be brief."}]},
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
        "generationConfig": {"mediaResolution": "LOW", "temperature": 1},
    }
    prompt = GENERATE_CONTENT.parse_prompt(make_request(GENERATE_CONTENT, body))
    assert prompt is not None
    assert [(block.section, block.index, block.kind) for block in prompt.blocks] == [
        ("system", 0, "text"),
        ("tools", 0, "function"),
        ("tools", 1, "function"),
        ("tools", 2, "googleSearch"),
        ("messages", 0, "text"),
        ("messages", 1, "image"),
        ("messages", 2, "text"),
    ]
    assert prompt.blocks[4].data == {"role": "user", "parts": {"text": "What is this?"}}
    assert prompt.blocks[5].data == {"inlineData": {"mimeType": "image/png", "data": "eA=="}}
    assert {(param.name, param.invalidation_level) for param in prompt.params} == {
        ("generationConfig.mediaResolution", "messages"),
        ("toolConfig", "none"),
    }
    assert prompt.is_complete
    assert prompt.caching_mode == "automatic"


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ({"inlineData": {"mimeType": "image/png", "data": "eA=="}}, "image"),
        ({"fileData": {"mimeType": "image/jpeg", "fileUri": "u"}}, "image"),
        ({"inlineData": {"mimeType": "audio/wav", "data": "eA=="}}, "inlineData"),
        ({"fileData": {"fileUri": "u"}}, "fileData"),
    ],
)
def test_an_image_part_is_distinguished_from_other_data(part: Any, kind: str) -> None:
    prompt = GENERATE_CONTENT.parse_prompt(
        make_request(GENERATE_CONTENT, {"contents": [{"parts": [part]}]})
    )
    assert prompt is not None
    assert [block.kind for block in prompt.blocks] == [kind]


def test_cached_content_is_server_state() -> None:
    body = {"contents": [{"parts": [{"text": "Hi."}]}], "cachedContent": "cachedContents/a"}
    prompt = GENERATE_CONTENT.parse_prompt(make_request(GENERATE_CONTENT, body))
    assert prompt is not None
    assert (prompt.is_complete, prompt.server_state_id, len(prompt.blocks)) == (
        False,
        "cachedContents/a",
        1,
    )
    assert cached_content_in_body(body) == "cachedContents/a"


@pytest.mark.parametrize("wire", [GENERATE_CONTENT, INTERACTIONS])
def test_an_empty_body_has_no_prompt(wire: WireFormat) -> None:
    assert wire.parse_prompt(make_request(wire, {})) is None


@pytest.mark.parametrize(
    ("input_value", "kinds"),
    [
        ("Hi.", ["text"]),
        ([{"type": "text", "text": "Hi."}, {"type": "image", "data": "eA=="}], ["text", "image"]),
        ([{"type": "user_input", "content": [{"type": "text", "text": "Hi."}]}], ["text"]),
        ({"type": "text", "text": "Hi."}, ["text"]),
    ],
)
def test_the_input_of_an_interaction_is_split_into_blocks(
    input_value: Any, kinds: list[str]
) -> None:
    body = {
        "input": input_value,
        "system_instruction": "Be brief.",
        "tools": [{"type": "google_search"}],
        "previous_interaction_id": "v1_a",
        "generation_config": {"temperature": 1},
    }
    prompt = INTERACTIONS.parse_prompt(make_request(INTERACTIONS, body))
    assert prompt is not None
    assert [block.kind for block in prompt.blocks] == ["text", "google_search", *kinds]
    assert (prompt.is_complete, prompt.server_state_id) == (False, "v1_a")
    assert [param.name for param in prompt.params] == ["generation_config"]


def test_an_interaction_without_input_has_no_blocks() -> None:
    prompt = INTERACTIONS.parse_prompt(
        make_request(INTERACTIONS, {"previous_interaction_id": "v1_a"})
    )
    assert prompt is not None
    assert not prompt.blocks


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("models/gemini-2.5-flash:generateContent", "gemini-2.5-flash"),
        ("publishers/google/models/gemini-2.5-pro:streamGenerateContent?alt=sse", "gemini-2.5-pro"),
        ("projects/p/locations/l/publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("tunedModels/mine:generateContent", "tunedModels/mine"),
        ("projects/p/locations/l/endpoints/12:generateContent", "endpoints/12"),
        ("gemini-2.5-pro", "gemini-2.5-pro"),
        ("", None),
    ],
)
def test_the_model_is_read_from_the_path(path: str, model: str | None) -> None:
    assert model_in_path(path) == model


# Cached content


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("post", "cachedContents", "create_cache"),
        ("get", "cachedContents?pageSize=2", "list_caches"),
        ("get", "cachedContents/a", "get_cache"),
        ("PATCH", "cachedContents/a?updateMask=ttl", "update_cache"),
        ("delete", "projects/p/locations/l/cachedContents/a", "delete_cache"),
        ("post", "cachedContents/a", None),
        ("post", "models/gemini-2.5-flash:generateContent", None),
    ],
)
def test_method_and_path_give_the_cached_content_operation(
    method: str, path: str, operation: str | None
) -> None:
    assert cached_content_operation(method, path) == operation


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("cachedContents/a?updateMask=ttl", "cachedContents/a"),
        ("v1/projects/p/locations/l/cachedContents/a", "projects/p/locations/l/cachedContents/a"),
        ("cachedContents", None),
    ],
)
def test_the_name_of_cached_content_is_read_from_the_path(path: str, name: str | None) -> None:
    assert cached_content_in_path(path) == name


def test_the_description_of_cached_content_is_parsed() -> None:
    content = parse_cached_content(load_fixture("cache"))
    assert (content.name, content.model, content.token_count) == (
        "cachedContents/f2bd292389a2",
        "gemini-2.5-flash",
        100_000,
    )
    assert content.created_at is not None
    assert content.expires_at is not None
    assert content.expires_at - content.created_at == 3600
    assert content.expire_time_text == "2026-11-20T11:00:00.123456789Z"


@pytest.mark.parametrize(
    "resource", [{}, {"createTime": "yesterday", "expireTime": 3, "usageMetadata": []}]
)
def test_an_empty_or_malformed_description_gives_no_facts(resource: Any) -> None:
    assert parse_cached_content(resource) == CachedContentInfo()
