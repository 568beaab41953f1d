"""google-genai and boto3 take what the harness returns, and the harness takes back the answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from promptcache import Chat, PromptError
from promptcache.harness.names import Wire
from promptcache_emulator.engine import Emulator
from tests.support.harness_world import BEDROCK_CLAUDE, GEMINI, NOVA, wire_prompt

genai: Any = pytest.importorskip("google.genai")
boto3: Any = pytest.importorskip("boto3")

FORCED: dict[str, Any] = {
    "gemini": {"tool_config": {"function_calling_config": {"mode": "ANY"}}},
    "converse": {"toolConfig": {"toolChoice": {"any": {}}}},
    "invoke_model": {"tool_choice": {"type": "any"}},
}
"""Parameters that make a model call a tool."""


@pytest.fixture
def gemini(emulator_url: str) -> Iterator[Any]:
    options = genai.types.HttpOptions(base_url=emulator_url)
    client = genai.Client(api_key="k", http_options=options)
    yield client
    client.close()


@pytest.fixture
def bedrock(emulator_url: str) -> Any:
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=emulator_url,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )


def call(wire: Wire, client: Any, arguments: Any, *, streamed: bool) -> Any:
    if wire == "gemini":
        models = client.models
        if streamed:
            return list(models.generate_content_stream(**arguments))
        return models.generate_content(**arguments)
    if wire == "converse":
        if streamed:
            return list(client.converse_stream(**arguments)["stream"])
        return client.converse(**arguments)
    if streamed:
        events = client.invoke_model_with_response_stream(**arguments)["body"]
        return [json.loads(event["chunk"]["bytes"]) for event in events]
    return json.loads(client.invoke_model(**arguments)["body"].read())


def call_ids(wire: Wire, message: Any) -> list[str]:
    if wire == "gemini":
        calls = [part["functionCall"] for part in message["parts"] if "functionCall" in part]
        return [found.get("id") or found["name"] for found in calls]
    if wire == "converse":
        return [part["toolUse"]["toolUseId"] for part in message["content"] if "toolUse" in part]
    return [part["id"] for part in message["content"] if part["type"] == "tool_use"]


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize(
    ("wire", "model"),
    [
        ("gemini", GEMINI),
        ("converse", BEDROCK_CLAUDE),
        ("converse", NOVA),
        ("invoke_model", BEDROCK_CLAUDE),
    ],
)
def test_a_conversation_with_a_tool_goes_on(
    wire: Wire, model: str, streamed: bool, gemini: Any, bedrock: Any, emulator: Emulator
) -> None:
    client = gemini if wire == "gemini" else bedrock
    chat: Chat[Any] = wire_prompt(wire).chat(wire=wire, model=model)
    arguments = chat.ask("Where is order 1?", now="NOW", params=FORCED[wire])
    chat.add(call(wire, client, arguments, streamed=streamed))
    ids = call_ids(wire, chat.history[-1])
    assert ids
    chat.tool_results(dict.fromkeys(ids, "It is on its way."))
    chat.add(call(wire, client, chat.ask(now="NOW"), streamed=streamed))
    rebuilt: Chat[Any] = wire_prompt(wire).chat(
        wire=wire, model=model, history=json.loads(json.dumps(chat.history))
    )
    arguments = chat.ask("Thanks. And order 2?", now="NOW")
    assert rebuilt.ask("Thanks. And order 2?", now="NOW") == arguments
    chat.add(call(wire, client, arguments, streamed=streamed))
    assert "NOW" not in str(chat.history)
    assert chat.stats.calls == 3
    assert chat.stats.input_tokens == emulator.totals["input"]
    assert chat.stats.read_tokens == emulator.totals["read"] > 4000
    assert chat.stats.saved_usd is not None


def test_the_signature_of_a_thought_survives_the_stored_history(gemini: Any) -> None:
    signature = bytes(range(250, 256)) + b"\x00\xff"
    part = genai.types.Part(text="Hello", thought_signature=signature)
    content = genai.types.Content(role="model", parts=[part])
    candidate = genai.types.Candidate(content=content)
    chat: Chat[Any] = wire_prompt("gemini").chat(wire="gemini", model=GEMINI)
    chat.ask("Hi")
    chat.add(genai.types.GenerateContentResponse(candidates=[candidate]))
    stored = json.loads(json.dumps(chat.history))
    rebuilt: Chat[Any] = wire_prompt("gemini").chat(wire="gemini", model=GEMINI, history=stored)
    for one in (chat, rebuilt):
        sent = genai.types.Content.model_validate(one.ask("Next")["contents"][1])
        assert sent.parts[0].thought_signature == signature


def test_a_body_that_was_not_read_is_refused(bedrock: Any) -> None:
    chat: Chat[Any] = wire_prompt("invoke_model").chat(wire="invoke_model", model=BEDROCK_CLAUDE)
    answer = bedrock.invoke_model(**chat.ask("Hi"))
    with pytest.raises(PromptError, match="has no content"):
        chat.add(answer)
    chat.add(json.loads(answer["body"].read()))


def test_invoke_model_needs_max_tokens() -> None:
    chat = wire_prompt("anthropic").chat(wire="invoke_model", model=BEDROCK_CLAUDE)
    with pytest.raises(PromptError, match=r"params\.max_tokens: is missing"):
        chat.ask("Hi")


def test_converse_takes_the_tool_choice_but_no_tools_of_the_caller() -> None:
    chat = wire_prompt("converse").chat(wire="converse", model=BEDROCK_CLAUDE)
    config = chat.ask("Hi", params=FORCED["converse"]).get("toolConfig", {})
    assert config["toolChoice"] == {"any": {}}
    assert len(config["tools"]) == 3
    with pytest.raises(PromptError, match=r"params\.toolConfig\.tools: is set by the harness"):
        chat.ask("Hi", params={"toolConfig": {"tools": []}})


def test_an_image_as_bytes_is_content_and_can_be_stored() -> None:
    image = {"image": {"format": "png", "source": {"bytes": b"\x89PNG\xff"}}}
    chat = wire_prompt("converse").chat(wire="converse", model=BEDROCK_CLAUDE)
    assert chat.ask(["Look:", image])["messages"][0]["content"][1] == image
    message = {"role": "assistant", "content": [{"text": "Nice."}]}
    chat.add({"output": {"message": message}})
    stored = json.loads(json.dumps(chat.history))
    again = wire_prompt("converse").chat(wire="converse", model=BEDROCK_CLAUDE, history=stored)
    assert again.ask("More?")["messages"][0]["content"][1] == image
