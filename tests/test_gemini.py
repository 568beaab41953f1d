"""Gemini's wires: usage in disjoint classes, prompts in the provider's order, named caches as they are described."""

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

FIXTURES: Final = Path(__file__).parent / "fixtures/gemini"


def fixture(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def facts(wire: WireFormat, *events: Any) -> ResponseFacts:
    return reduce(
        merge_facts,
        [found for event in events if (found := wire.parse_event(event)) is not None],
        ResponseFacts(),
    )


def usage(wire: WireFormat, *events: Any) -> Usage:
    found = wire.parse_usage(facts(wire, *events))
    assert found is not None
    assert (
        found.uncached_tokens + (found.cache_read_tokens or 0) + (found.cache_write_tokens or 0)
        == found.input_tokens
    )
    return found


def asked(wire: WireFormat, body: Mapping[str, Any]) -> Request:
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


def test_every_count_of_a_response_has_its_class() -> None:
    found = usage(GENERATE_CONTENT, fixture("generate_content"))
    assert (
        found.input_tokens,
        found.cache_read_tokens,
        found.cache_write_tokens,
        found.uncached_tokens,
    ) == (5240, 4096, None, 1144)
    assert (found.output_tokens, found.reasoning_tokens) == (172, 130)
    # Pages of documents are billed as images; what was read of a modality is no part of its fresh tokens.
    assert found.modality_tokens == {
        "audio.input": 200,
        "audio.read": 500,
        "image.input": 252,
        "image.read": 258,
    }
    assert not found.inconsistencies


def test_a_stream_counts_cumulatively() -> None:
    events = fixture("stream")
    found = facts(GENERATE_CONTENT, *events)
    assert (found.model, found.id, found.finish_reasons, found.service_tier) == (
        "gemini-2.5-pro",
        "rb1",
        ("STOP",),
        "ON_DEMAND",
    )
    assert found.is_terminal
    assert not facts(GENERATE_CONTENT, events[0]).is_terminal
    assert facts(GENERATE_CONTENT, events[0]).has_content
    assert not GENERATE_CONTENT.can_skip(events[0])
    whole = usage(GENERATE_CONTENT, *events)
    assert (
        whole.input_tokens,
        whole.cache_read_tokens,
        whole.output_tokens,
        whole.reasoning_tokens,
    ) == (2210, 2048, 109, 100)


def test_protobuf_leaves_out_a_zero() -> None:
    found = usage(GENERATE_CONTENT, fixture("blocked"))
    assert (
        found.input_tokens,
        found.cache_read_tokens,
        found.output_tokens,
        found.reasoning_tokens,
    ) == (310, 0, 0, 0)
    assert facts(GENERATE_CONTENT, fixture("blocked")).finish_reasons == ("PROHIBITED_CONTENT",)


def test_an_interaction_reports_its_zeros() -> None:
    found = usage(INTERACTIONS, fixture("interaction"))
    assert (
        found.input_tokens,
        found.cache_read_tokens,
        found.output_tokens,
        found.reasoning_tokens,
    ) == (3015, 2048, 36, 16)
    assert found.modality_tokens == {"audio.input": 200, "audio.read": 500}
    unreported = usage(
        INTERACTIONS, {"id": "v1", "status": "completed", "usage": {"total_input_tokens": 9}}
    )
    assert (
        unreported.cache_read_tokens,
        unreported.output_tokens,
        unreported.reasoning_tokens,
    ) == (None, None, None)


@pytest.mark.parametrize("wire", [GENERATE_CONTENT, INTERACTIONS])
def test_no_usage_is_no_usage(wire: WireFormat) -> None:
    assert wire.parse_usage(facts(wire, {})) is None
    assert (
        wire.parse_usage(
            facts(wire, {"usageMetadata": {"totalTokenCount": 3}, "usage": {"total_tokens": 3}})
        )
        is None
    )


def test_the_tier_that_served_is_the_one_that_the_header_names() -> None:
    assert (
        facts(GENERATE_CONTENT, {**fixture("blocked"), SERVICE_TIER_HEADER: "flex"}).service_tier
        == "flex"
    )
    assert (
        facts(INTERACTIONS, {"id": "v1", SERVICE_TIER_HEADER: "priority"}).service_tier
        == "priority"
    )


def test_events_of_an_interaction() -> None:
    whole = fixture("interaction")
    created = {
        "event_type": "interaction.created",
        "interaction": {**whole, "status": "in_progress", "usage": None},
    }
    delta = {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": "On"}}
    found = facts(INTERACTIONS, created, delta)
    assert (found.id, found.is_terminal, found.has_content, found.finish_reasons) == (
        "v1_a7684a886776",
        False,
        True,
        (),
    )
    assert INTERACTIONS.can_skip(delta)
    assert not INTERACTIONS.can_skip(created)
    found = facts(
        INTERACTIONS, created, delta, {"event_type": "interaction.completed", "interaction": whole}
    )
    assert (found.is_terminal, found.finish_reasons, found.service_tier) == (
        True,
        ("completed",),
        "standard",
    )


@pytest.mark.parametrize(
    ("event", "failed"),
    [
        (
            {"event_type": "error", "error": {"code": "unavailable", "message": "secret"}},
            "unavailable",
        ),
        ({"event_type": "error", "error": {"message": "secret"}}, "error"),
        ({"status": "failed", "errors": [{"code": "internal"}]}, "internal"),
        ({"status": "completed"}, None),
    ],
)
def test_a_failure_is_named_by_its_code_alone(event: Any, failed: str | None) -> None:
    assert facts(INTERACTIONS, event).error_code == failed


COUNT = st.one_of(
    st.integers(-5, 10**13), st.floats(), st.booleans(), st.text(max_size=3), st.none()
)
SPLIT = st.lists(
    st.fixed_dictionaries(
        {"modality": st.sampled_from(["AUDIO", "TEXT", "image", 3]), "tokenCount": COUNT}
    )
)
METADATA = st.fixed_dictionaries(
    {},
    optional={
        "promptTokenCount": COUNT,
        "toolUsePromptTokenCount": COUNT,
        "cachedContentTokenCount": COUNT,
        "candidatesTokenCount": COUNT,
        "thoughtsTokenCount": COUNT,
        "promptTokensDetails": SPLIT,
        "cacheTokensDetails": SPLIT,
    },
)


@given(st.lists(METADATA, max_size=3))
def test_whatever_is_reported_the_classes_are_disjoint(reported: list[Any]) -> None:
    found = GENERATE_CONTENT.parse_usage(
        facts(GENERATE_CONTENT, *({"usageMetadata": one} for one in reported))
    )
    if found is not None:
        assert (
            min(
                found.uncached_tokens,
                found.cache_read_tokens or 0,
                found.output_tokens or 0,
                *found.modality_tokens.values(),
            )
            >= 0
        )
        assert found.uncached_tokens + (found.cache_read_tokens or 0) == found.input_tokens
        assert (
            found.reasoning_tokens is None
            or found.output_tokens is None
            or found.reasoning_tokens <= found.output_tokens
        )


# Requests

TOOL: Final = {"functionDeclarations": [{"name": "stock"}, {"name": "price"}]}


def test_the_order_is_system_tools_contents() -> None:
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
    prompt = GENERATE_CONTENT.parse_prompt(asked(GENERATE_CONTENT, body))
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
def test_an_image_is_told_from_other_data(part: Any, kind: str) -> None:
    prompt = GENERATE_CONTENT.parse_prompt(
        asked(GENERATE_CONTENT, {"contents": [{"parts": [part]}]})
    )
    assert prompt is not None
    assert [block.kind for block in prompt.blocks] == [kind]


def test_a_named_cache_is_state_that_the_server_holds() -> None:
    body = {"contents": [{"parts": [{"text": "Hi."}]}], "cachedContent": "cachedContents/a"}
    prompt = GENERATE_CONTENT.parse_prompt(asked(GENERATE_CONTENT, body))
    assert prompt is not None
    assert (prompt.is_complete, prompt.server_state_id, len(prompt.blocks)) == (
        False,
        "cachedContents/a",
        1,
    )
    assert cached_content_in_body(body) == "cachedContents/a"


@pytest.mark.parametrize("wire", [GENERATE_CONTENT, INTERACTIONS])
def test_nothing_asked_is_no_prompt(wire: WireFormat) -> None:
    assert wire.parse_prompt(asked(wire, {})) is None


@pytest.mark.parametrize(
    ("given", "kinds"),
    [
        ("Hi.", ["text"]),
        ([{"type": "text", "text": "Hi."}, {"type": "image", "data": "eA=="}], ["text", "image"]),
        ([{"type": "user_input", "content": [{"type": "text", "text": "Hi."}]}], ["text"]),
        ({"type": "text", "text": "Hi."}, ["text"]),
    ],
)
def test_the_input_of_an_interaction(given: Any, kinds: list[str]) -> None:
    body = {
        "input": given,
        "system_instruction": "Be brief.",
        "tools": [{"type": "google_search"}],
        "previous_interaction_id": "v1_a",
        "generation_config": {"temperature": 1},
    }
    prompt = INTERACTIONS.parse_prompt(asked(INTERACTIONS, body))
    assert prompt is not None
    assert [block.kind for block in prompt.blocks] == ["text", "google_search", *kinds]
    assert (prompt.is_complete, prompt.server_state_id) == (False, "v1_a")
    assert [param.name for param in prompt.params] == ["generation_config"]


def test_an_interaction_may_only_go_on() -> None:
    prompt = INTERACTIONS.parse_prompt(asked(INTERACTIONS, {"previous_interaction_id": "v1_a"}))
    assert prompt is not None
    assert not prompt.blocks


@pytest.mark.parametrize(
    ("path", "named"),
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
def test_the_model_of_a_path(path: str, named: str | None) -> None:
    assert model_in_path(path) == named


# Named caches


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
def test_what_is_done_to_caches(method: str, path: str, operation: str | None) -> None:
    assert cached_content_operation(method, path) == operation


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("cachedContents/a?updateMask=ttl", "cachedContents/a"),
        ("v1/projects/p/locations/l/cachedContents/a", "projects/p/locations/l/cachedContents/a"),
        ("cachedContents", None),
    ],
)
def test_the_name_of_a_cache(path: str, name: str | None) -> None:
    assert cached_content_in_path(path) == name


def test_a_cache_as_it_is_described() -> None:
    found = parse_cached_content(fixture("cache"))
    assert (found.name, found.model, found.token_count) == (
        "cachedContents/f2bd292389a2",
        "gemini-2.5-flash",
        100_000,
    )
    assert found.created_at is not None
    assert found.expires_at is not None
    assert found.expires_at - found.created_at == 3600
    assert found.expire_time_text == "2026-11-20T11:00:00.123456789Z"


@pytest.mark.parametrize(
    "resource", [{}, {"createTime": "yesterday", "expireTime": 3, "usageMetadata": []}]
)
def test_a_cache_that_says_nothing(resource: Any) -> None:
    assert parse_cached_content(resource) == CachedContentInfo()
