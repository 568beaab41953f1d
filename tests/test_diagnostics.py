"""The diagnosis of a provider is requested only if the user enables it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import anthropic
import openai
import pytest

from promptcache import Settings
from promptcache.providers.anthropic.wire import MESSAGES
from promptcache.providers.openai.wire import RESPONSES
from tests.support.call_shapes import SYSTEM
from tests.support.telemetry import Telemetry

WITH_PROVIDER_DIAGNOSTICS: Final = Settings(provider_diagnostics=True)


def create_message(client: anthropic.Anthropic, rules: str = SYSTEM) -> Any:
    system: Any = [{"type": "text", "text": rules, "cache_control": {"type": "ephemeral"}}]
    return client.messages.create(
        model="claude-sonnet-5",
        max_tokens=9,
        system=system,
        messages=[{"role": "user", "content": "hi"}],
    )


def create_response(client: openai.OpenAI, rules: str = SYSTEM) -> Any:
    return client.responses.create(
        model="gpt-6-sol", instructions=rules, input=[{"role": "user", "content": "hi"}]
    )


@pytest.fixture
def clients(emulator_url: str) -> Iterator[dict[str, tuple[Any, Callable[..., Any]]]]:
    with (
        anthropic.Anthropic(
            base_url=emulator_url, api_key="k", open_telemetry=False
        ) as anthropic_client,
        openai.OpenAI(base_url=f"{emulator_url}/v1", api_key="k") as openai_client,
    ):
        yield {
            "anthropic": (anthropic_client, create_message),
            "openai": (openai_client, create_response),
        }


@pytest.mark.parametrize("name", ["anthropic", "openai"])
def test_the_reason_of_the_provider_is_recorded(
    name: str,
    clients: dict[str, tuple[Any, Callable[..., Any]]],
    instrumented: Callable[..., Telemetry],
) -> None:
    telemetry = instrumented(WITH_PROVIDER_DIAGNOSTICS)
    client, send_call = clients[name]
    send_call(client)
    send_call(client, "Today is Monday. " + SYSTEM)
    attributes: Any = telemetry.spans[-1].attributes
    assert attributes["promptcache.miss.provider_reason"] in {"system_changed", "input_changed"}


@pytest.mark.parametrize("name", ["anthropic", "openai"])
def test_no_provider_diagnosis_is_requested_by_default(
    name: str, clients: dict[str, tuple[Any, Callable[..., Any]]], telemetry: Telemetry
) -> None:
    client, send_call = clients[name]
    send_call(client)
    response: dict[str, Any] = send_call(client).model_dump()
    assert not response.get("diagnostics")
    options: dict[str, Any] = response.get("prompt_cache_options") or {}
    assert not options.get("comparison_response_id")
    assert "promptcache.miss.provider_reason" not in (telemetry.spans[-1].attributes or {})


def test_the_arguments_of_the_application_are_not_changed(
    clients: dict[str, tuple[Any, Callable[..., Any]]], instrumented: Callable[..., Telemetry]
) -> None:
    instrumented(WITH_PROVIDER_DIAGNOSTICS)
    client, _ = clients["anthropic"]
    body = {
        "model": "claude-sonnet-5",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
    }
    client.post("/v1/messages", cast_to=object, body=body)
    assert sorted(body) == ["max_tokens", "messages", "model"]


MESSAGES_BODY: Final[dict[str, Any]] = {"messages": [{"role": "user", "content": "hi"}]}
RESPONSES_BODY: Final[dict[str, Any]] = {"model": "gpt-6-sol"}


@pytest.mark.parametrize(
    ("provider", "body", "previous_id", "expected"),
    [
        ("anthropic", MESSAGES_BODY, "m", {"previous_message_id": "m"}),
        ("anthropic", MESSAGES_BODY, None, {"previous_message_id": None}),
        ("aws.bedrock", MESSAGES_BODY, "m", None),
        ("anthropic", {**MESSAGES_BODY, "diagnostics": {}}, "m", None),
    ],
)
def test_the_diagnostics_request_to_anthropic(
    provider: str, body: dict[str, Any], previous_id: str | None, expected: Any
) -> None:
    request_body = MESSAGES.with_diagnostics(provider, body, previous_id)
    assert (request_body and request_body["diagnostics"]) == expected


@pytest.mark.parametrize(
    ("provider", "body", "previous_id", "expected"),
    [
        ("openai", RESPONSES_BODY, "r", {"comparison_response_id": "r"}),
        (
            "openai",
            {**RESPONSES_BODY, "prompt_cache_options": {"ttl": "12h"}},
            "r",
            {"ttl": "12h", "comparison_response_id": "r"},
        ),
        ("openai", RESPONSES_BODY, None, None),
        ("openai", {"model": "gpt-5.4"}, "r", None),
        ("azure.ai.openai", RESPONSES_BODY, "r", None),
        (
            "openai",
            {**RESPONSES_BODY, "prompt_cache_options": {"comparison_response_id": "x"}},
            "r",
            None,
        ),
    ],
)
def test_the_diagnostics_request_to_openai(
    provider: str, body: dict[str, Any], previous_id: str | None, expected: Any
) -> None:
    request_body = RESPONSES.with_diagnostics(provider, body, previous_id)
    assert (request_body and request_body["prompt_cache_options"]) == expected


def test_the_conversation_key_ignores_breakpoints_and_later_messages() -> None:
    text_with_breakpoint = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}
    assert MESSAGES.conversation_key(MESSAGES_BODY) == MESSAGES.conversation_key(
        {
            "messages": [
                {"role": "user", "content": [text_with_breakpoint]},
                *MESSAGES_BODY["messages"],
            ]
        }
    )
    assert MESSAGES.conversation_key({**MESSAGES_BODY, "thread": {"type": "create"}}) is None
    assert MESSAGES.conversation_key({}) is None
    assert RESPONSES.conversation_key({"input": ["a", "b"]}) == "a"
    assert RESPONSES.conversation_key({"input": "hi"}) is None
    assert RESPONSES.conversation_key({"input": ["a"], "previous_response_id": "r"}) is None
