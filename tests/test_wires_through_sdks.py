"""The answers of tests/fixtures/wires.json, read by the real SDKs of an instrumented process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import anthropic
import openai
import pytest
from google import genai
from google.genai import _api_client  # pyright: ignore[reportPrivateUsage]  # its HTTP library

from promptcache import Settings
from promptcache.providers.registry import PROVIDERS_BY_NAME
from promptcache.semconv import COST_AMOUNT, COST_UNKNOWN, OUTPUT_TOKENS
from tests.support.call_shapes import HTTP as OPENAI_HTTP
from tests.support.call_shapes_anthropic import HTTP as ANTHROPIC_HTTP
from tests.support.telemetry import Telemetry

CASES: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "fixtures/wires.json").read_text()
)
QUESTION: Final = [{"role": "user", "content": "Where is order 12?"}]
HOSTS: Final[Mapping[str, str]] = {
    "azure.ai.openai": "house.openai.azure.com",
    "azure.ai.inference": "house.models.ai.azure.com",
    "gcp.vertex_ai": "aiplatform.googleapis.com",
}
"""Hosts of providers whose rows have patterns, or domains of whose subdomains one is called."""
GOOGLE_HTTP: Final[Any] = import_module(
    "httpx2" if getattr(_api_client, "httpx2", None) else "httpx"
)


def host_of(case: dict[str, Any]) -> str:
    provider: str = case["provider"]
    found = case.get("host") or HOSTS.get(provider)
    return found or PROVIDERS_BY_NAME[provider].hosts[0]


def is_stream(case: dict[str, Any]) -> bool:
    event = case["events"][0]
    return len(case["events"]) > 1 or str(event.get("type", "")).startswith("response.")


def answer(http: Any, case: dict[str, Any]) -> Callable[[Any], Any]:
    """Return a handler of HTTP requests that answers with the events of a case."""
    if not is_stream(case):
        return lambda request: http.Response(200, json=case["events"][0])
    # Each event comes in a piece of its own, as from a server.
    pieces = [sse_bytes(event) for event in case["events"]]
    if case["wire"].startswith("openai."):
        pieces.append(b"data: [DONE]\n\n")
    headers = {"content-type": "text/event-stream"}
    return lambda request: http.Response(200, content=iter(pieces), headers=headers)


def sse_bytes(event: dict[str, Any]) -> bytes:
    name = event.get("type") or event.get("event_type")
    lines = [f"event: {name}"] if name else []
    return ("\n".join([*lines, f"data: {json.dumps(event)}"]) + "\n\n").encode()


def drain(response: Any, stream: bool) -> None:
    if stream:
        for _ in response:
            pass


def call_openai(case: dict[str, Any]) -> None:
    transport = OPENAI_HTTP.MockTransport(answer(OPENAI_HTTP, case))
    client: Any = openai.OpenAI(
        api_key="k",
        base_url=f"https://{host_of(case)}/v1",
        http_client=OPENAI_HTTP.Client(transport=transport),
    )
    stream = is_stream(case)
    body: dict[str, Any] = {"model": case["model"], "stream": stream}
    creates: dict[str, Callable[[], Any]] = {
        "openai.chat": lambda: client.chat.completions.create(messages=QUESTION, **body),
        "openai.responses": lambda: client.responses.create(input=QUESTION, **body),
        "openai.completions": lambda: client.completions.create(prompt="Hi.", **body),
    }
    drain(creates[case["wire"]](), stream)


def call_anthropic(case: dict[str, Any]) -> None:
    transport = ANTHROPIC_HTTP.MockTransport(answer(ANTHROPIC_HTTP, case))
    client: Any = anthropic.Anthropic(
        api_key="k",
        base_url=f"https://{host_of(case)}",
        http_client=ANTHROPIC_HTTP.Client(transport=transport),
    )
    stream = is_stream(case)
    body = {"max_tokens": 9, "messages": QUESTION, "stream": stream, **case.get("body", {})}
    drain(client.beta.messages.create(model=case["model"], **body), stream)


def call_google(case: dict[str, Any]) -> None:
    transport = GOOGLE_HTTP.MockTransport(answer(GOOGLE_HTTP, case))
    is_vertex = case["provider"] == "gcp.vertex_ai"
    options: Any = {
        "base_url": f"https://{host_of(case)}",
        "httpx_client": GOOGLE_HTTP.Client(transport=transport),
    }
    client: Any = genai.Client(vertexai=is_vertex, api_key="k", http_options=options)
    call: dict[str, Any] = {"model": case["model"], "contents": "Hi.", "config": case.get("body")}
    if case["wire"] == "gemini.interaction":
        drain(
            client.interactions.create(model=case["model"], input="Hi.", stream=is_stream(case)),
            is_stream(case),
        )
    elif is_stream(case):
        drain(client.models.generate_content_stream(**call), True)
    else:
        client.models.generate_content(**call)


CALLS: Final[Mapping[str, Callable[[dict[str, Any]], None]]] = {
    "openai.chat": call_openai,
    "openai.responses": call_openai,
    "openai.completions": call_openai,
    "anthropic.messages": call_anthropic,
    "gemini.content": call_google,
    "gemini.interaction": call_google,
}


def cases_of_clients() -> Iterator[dict[str, Any]]:
    """Yield the cases that a client at a plain URL can receive."""
    for case in CASES:
        host = host_of(case)
        if case["wire"] in CALLS and "*" not in host:
            yield case


@pytest.mark.parametrize(
    "case", list(cases_of_clients()), ids=lambda case: f"{case['kind']}: {case['name']}"
)
def test_the_span_has_usage_and_amount_of_an_answer(
    instrumented: Callable[..., Telemetry], case: dict[str, Any]
) -> None:
    host = host_of(case)
    gateways = {host: case["provider"]} if host.endswith(".example") else {}
    telemetry = instrumented(Settings(providers=gateways))
    CALLS[case["wire"]](case)
    attributes = telemetry.attributes
    assert attributes["gen_ai.provider.name"] == case["provider"]
    if "output_tokens" in case["usage"]:
        assert attributes[OUTPUT_TOKENS] == case["usage"]["output_tokens"]
    if "amount" in case:
        expected = case["amount"]
        amount = None if expected is None else pytest.approx(expected, rel=1e-12)
        assert attributes.get(COST_AMOUNT) == amount
    if "unknown" in case:
        assert attributes[COST_UNKNOWN] == case["unknown"]
