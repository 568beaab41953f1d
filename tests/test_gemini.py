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

from promptcache.model import Facts, NamedCache, Request, Usage
from promptcache.providers.gemini import CONTENT, INTERACTION, SERVICE_TIER, model, named_cache_of
from promptcache.providers.gemini_caches import cache_name, cache_operation, named_cache
from promptcache.providers.wire import Wire, merge

FIXTURES: Final = Path(__file__).parent / "fixtures/gemini"


def fixture(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def facts(wire: Wire, *events: Any) -> Facts:
    return reduce(
        merge, [found for event in events if (found := wire.read(event)) is not None], Facts()
    )


def usage(wire: Wire, *events: Any) -> Usage:
    found = wire.usage(facts(wire, *events))
    assert found is not None
    assert found.uncached + (found.read or 0) + (found.write or 0) == found.input
    return found


def asked(wire: Wire, body: Mapping[str, Any]) -> Request:
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
    found = usage(CONTENT, fixture("generate_content"))
    assert (found.input, found.read, found.write, found.uncached) == (5240, 4096, None, 1144)
    assert (found.output, found.reasoning) == (172, 130)
    # Pages of documents are billed as images; what was read of a modality is no part of its fresh tokens.
    assert found.modalities == {
        "audio.input": 200,
        "audio.read": 500,
        "image.input": 252,
        "image.read": 258,
    }
    assert not found.issues


def test_a_stream_counts_cumulatively() -> None:
    events = fixture("stream")
    found = facts(CONTENT, *events)
    assert (found.model, found.id, found.finish, found.tier) == (
        "gemini-2.5-pro",
        "rb1",
        ("STOP",),
        "ON_DEMAND",
    )
    assert found.terminal
    assert not facts(CONTENT, events[0]).terminal
    assert facts(CONTENT, events[0]).content
    assert not CONTENT.dull(events[0])
    whole = usage(CONTENT, *events)
    assert (whole.input, whole.read, whole.output, whole.reasoning) == (2210, 2048, 109, 100)


def test_protobuf_leaves_out_a_zero() -> None:
    found = usage(CONTENT, fixture("blocked"))
    assert (found.input, found.read, found.output, found.reasoning) == (310, 0, 0, 0)
    assert facts(CONTENT, fixture("blocked")).finish == ("PROHIBITED_CONTENT",)


def test_an_interaction_reports_its_zeros() -> None:
    found = usage(INTERACTION, fixture("interaction"))
    assert (found.input, found.read, found.output, found.reasoning) == (3015, 2048, 36, 16)
    assert found.modalities == {"audio.input": 200, "audio.read": 500}
    unreported = usage(
        INTERACTION, {"id": "v1", "status": "completed", "usage": {"total_input_tokens": 9}}
    )
    assert (unreported.read, unreported.output, unreported.reasoning) == (None, None, None)


@pytest.mark.parametrize("wire", [CONTENT, INTERACTION])
def test_no_usage_is_no_usage(wire: Wire) -> None:
    assert wire.usage(facts(wire, {})) is None
    assert (
        wire.usage(
            facts(wire, {"usageMetadata": {"totalTokenCount": 3}, "usage": {"total_tokens": 3}})
        )
        is None
    )


def test_the_tier_that_served_is_the_one_that_the_header_names() -> None:
    assert facts(CONTENT, {**fixture("blocked"), SERVICE_TIER: "flex"}).tier == "flex"
    assert facts(INTERACTION, {"id": "v1", SERVICE_TIER: "priority"}).tier == "priority"


def test_events_of_an_interaction() -> None:
    whole = fixture("interaction")
    created = {
        "event_type": "interaction.created",
        "interaction": {**whole, "status": "in_progress", "usage": None},
    }
    delta = {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": "On"}}
    found = facts(INTERACTION, created, delta)
    assert (found.id, found.terminal, found.content, found.finish) == (
        "v1_a7684a886776",
        False,
        True,
        (),
    )
    assert INTERACTION.dull(delta)
    assert not INTERACTION.dull(created)
    found = facts(
        INTERACTION, created, delta, {"event_type": "interaction.completed", "interaction": whole}
    )
    assert (found.terminal, found.finish, found.tier) == (True, ("completed",), "standard")


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
    assert facts(INTERACTION, event).failed == failed


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
    found = CONTENT.usage(facts(CONTENT, *({"usageMetadata": one} for one in reported)))
    if found is not None:
        assert (
            min(found.uncached, found.read or 0, found.output or 0, *found.modalities.values()) >= 0
        )
        assert found.uncached + (found.read or 0) == found.input
        assert found.reasoning is None or found.output is None or found.reasoning <= found.output


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
    prompt = CONTENT.prompt(asked(CONTENT, body))
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
    assert {(param.name, param.level) for param in prompt.params} == {
        ("generationConfig.mediaResolution", "messages"),
        ("toolConfig", "none"),
    }
    assert prompt.complete
    assert prompt.mode == "automatic"


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
    prompt = CONTENT.prompt(asked(CONTENT, {"contents": [{"parts": [part]}]}))
    assert prompt is not None
    assert [block.kind for block in prompt.blocks] == [kind]


def test_a_named_cache_is_state_that_the_server_holds() -> None:
    body = {"contents": [{"parts": [{"text": "Hi."}]}], "cachedContent": "cachedContents/a"}
    prompt = CONTENT.prompt(asked(CONTENT, body))
    assert prompt is not None
    assert (prompt.complete, prompt.state, len(prompt.blocks)) == (False, "cachedContents/a", 1)
    assert named_cache_of(body) == "cachedContents/a"


@pytest.mark.parametrize("wire", [CONTENT, INTERACTION])
def test_nothing_asked_is_no_prompt(wire: Wire) -> None:
    assert wire.prompt(asked(wire, {})) is None


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
    prompt = INTERACTION.prompt(asked(INTERACTION, body))
    assert prompt is not None
    assert [block.kind for block in prompt.blocks] == ["text", "google_search", *kinds]
    assert (prompt.complete, prompt.state) == (False, "v1_a")
    assert [param.name for param in prompt.params] == ["generation_config"]


def test_an_interaction_may_only_go_on() -> None:
    prompt = INTERACTION.prompt(asked(INTERACTION, {"previous_interaction_id": "v1_a"}))
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
    assert model(path) == named


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
    assert cache_operation(method, path) == operation


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("cachedContents/a?updateMask=ttl", "cachedContents/a"),
        ("v1/projects/p/locations/l/cachedContents/a", "projects/p/locations/l/cachedContents/a"),
        ("cachedContents", None),
    ],
)
def test_the_name_of_a_cache(path: str, name: str | None) -> None:
    assert cache_name(path) == name


def test_a_cache_as_it_is_described() -> None:
    found = named_cache(fixture("cache"))
    assert (found.name, found.model, found.tokens) == (
        "cachedContents/f2bd292389a2",
        "gemini-2.5-flash",
        100_000,
    )
    assert found.created is not None
    assert found.expires is not None
    assert found.expires - found.created == 3600
    assert found.expire_time == "2026-11-20T11:00:00.123456789Z"


@pytest.mark.parametrize(
    "resource", [{}, {"createTime": "yesterday", "expireTime": 3, "usageMetadata": []}]
)
def test_a_cache_that_says_nothing(resource: Any) -> None:
    assert named_cache(resource) == NamedCache()
