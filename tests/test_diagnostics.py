"""The providers' own diagnosis: asked for where the user wants it, and in no other case."""

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

ASK: Final = Settings(provider_diagnostics=True)


def claude(client: anthropic.Anthropic, rules: str = SYSTEM) -> Any:
    system: Any = [{"type": "text", "text": rules, "cache_control": {"type": "ephemeral"}}]
    return client.messages.create(
        model="claude-sonnet-5",
        max_tokens=9,
        system=system,
        messages=[{"role": "user", "content": "hi"}],
    )


def gpt(client: openai.OpenAI, rules: str = SYSTEM) -> Any:
    return client.responses.create(
        model="gpt-6-sol", instructions=rules, input=[{"role": "user", "content": "hi"}]
    )


@pytest.fixture
def clients(emulator_url: str) -> Iterator[dict[str, tuple[Any, Callable[..., Any]]]]:
    with (
        anthropic.Anthropic(base_url=emulator_url, api_key="k", open_telemetry=False) as theirs,
        openai.OpenAI(base_url=f"{emulator_url}/v1", api_key="k") as other,
    ):
        yield {"anthropic": (theirs, claude), "openai": (other, gpt)}


@pytest.mark.parametrize("name", ["anthropic", "openai"])
def test_the_provider_says_why(
    name: str,
    clients: dict[str, tuple[Any, Callable[..., Any]]],
    instrumented: Callable[..., Telemetry],
) -> None:
    telemetry = instrumented(ASK)
    client, ask = clients[name]
    ask(client)
    ask(client, "Today is Monday. " + SYSTEM)
    attributes: Any = telemetry.spans[-1].attributes
    assert attributes["promptcache.miss.provider_reason"] in {"system_changed", "input_changed"}


@pytest.mark.parametrize("name", ["anthropic", "openai"])
def test_nobody_is_asked_by_default(
    name: str, clients: dict[str, tuple[Any, Callable[..., Any]]], telemetry: Telemetry
) -> None:
    client, ask = clients[name]
    ask(client)
    said: dict[str, Any] = ask(client).model_dump()
    assert not said.get("diagnostics")
    options: dict[str, Any] = said.get("prompt_cache_options") or {}
    assert not options.get("comparison_response_id")
    assert "promptcache.miss.provider_reason" not in (telemetry.spans[-1].attributes or {})


def test_arguments_stay_as_they_are(
    clients: dict[str, tuple[Any, Callable[..., Any]]], instrumented: Callable[..., Telemetry]
) -> None:
    instrumented(ASK)
    client, _ = clients["anthropic"]
    body = {
        "model": "claude-sonnet-5",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
    }
    client.post("/v1/messages", cast_to=object, body=body)
    assert sorted(body) == ["max_tokens", "messages", "model"]


HI: Final[dict[str, Any]] = {"messages": [{"role": "user", "content": "hi"}]}
NEW: Final[dict[str, Any]] = {"model": "gpt-6-sol"}


@pytest.mark.parametrize(
    ("provider", "body", "previous", "question"),
    [
        ("anthropic", HI, "m", {"previous_message_id": "m"}),
        ("anthropic", HI, None, {"previous_message_id": None}),
        ("aws.bedrock", HI, "m", None),
        ("anthropic", {**HI, "diagnostics": {}}, "m", None),
    ],
)
def test_what_anthropic_is_asked(
    provider: str, body: dict[str, Any], previous: str | None, question: Any
) -> None:
    asking = MESSAGES.with_diagnostics(provider, body, previous)
    assert (asking and asking["diagnostics"]) == question


@pytest.mark.parametrize(
    ("provider", "body", "previous", "question"),
    [
        ("openai", NEW, "r", {"comparison_response_id": "r"}),
        (
            "openai",
            {**NEW, "prompt_cache_options": {"ttl": "12h"}},
            "r",
            {"ttl": "12h", "comparison_response_id": "r"},
        ),
        ("openai", NEW, None, None),
        ("openai", {"model": "gpt-5.4"}, "r", None),
        ("azure.ai.openai", NEW, "r", None),
        ("openai", {**NEW, "prompt_cache_options": {"comparison_response_id": "x"}}, "r", None),
    ],
)
def test_what_openai_is_asked(
    provider: str, body: dict[str, Any], previous: str | None, question: Any
) -> None:
    asking = RESPONSES.with_diagnostics(provider, body, previous)
    assert (asking and asking["prompt_cache_options"]) == question


def test_how_a_conversation_is_known_again() -> None:
    mark = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}
    assert MESSAGES.conversation_key(HI) == MESSAGES.conversation_key(
        {"messages": [{"role": "user", "content": [mark]}, *HI["messages"]]}
    )
    assert MESSAGES.conversation_key({**HI, "thread": {"type": "create"}}) is None
    assert MESSAGES.conversation_key({}) is None
    assert RESPONSES.conversation_key({"input": ["a", "b"]}) == "a"
    assert RESPONSES.conversation_key({"input": "hi"}) is None
    assert RESPONSES.conversation_key({"input": ["a"], "previous_response_id": "r"}) is None
