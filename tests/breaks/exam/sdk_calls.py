"""Make a call through the real SDK of a surface."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

from tests.breaks.exam.prompts import Prompt
from tests.breaks.exam.surfaces import Surface

Client = Any
_STREAM_FIELDS: Final = {"converse": "stream", "invoke": "body"}
"""Where botocore puts the stream of a response."""


def make_client(surface: Surface, url: str, key: str) -> Client:
    """Return a client of the surface's SDK for this address and credential, without retries."""
    if surface.sdk in {"chat", "responses"}:
        openai = import_module("openai")
        return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
    if surface.sdk == "messages":
        return import_module("anthropic").Anthropic(base_url=url, api_key=key, max_retries=0)
    if surface.sdk == "gemini":
        options = {"base_url": url, "retry_options": {"attempts": 1}}
        return import_module("google.genai").Client(api_key=key, http_options=options)
    config = import_module("botocore.config").Config(retries={"max_attempts": 0})
    return import_module("boto3").client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="eu-central-1",
        aws_access_key_id=key,
        aws_secret_access_key="secret",
        config=config,
    )


def call(surface: Surface, client: Client, prompt: Prompt, stream: bool) -> None:
    """Make a call and read its answer to the end. Raise what the SDK raises."""
    for _ in open_call(surface, client, prompt, stream):
        pass


def open_call(surface: Surface, client: Client, prompt: Prompt, stream: bool) -> Any:
    """Make a call. Return the events of a stream, or nothing to iterate over."""
    result = _CALLS[surface.sdk](surface, client, prompt, stream)
    if not stream:
        return ()
    field = _STREAM_FIELDS.get(surface.sdk)
    return result[field] if field else result


def _headers(prompt: Prompt) -> dict[str, Any]:
    return {"extra_headers": dict(prompt.headers)} if prompt.headers else {}


def _call_chat(surface: Surface, client: Client, prompt: Prompt, stream: bool) -> Any:
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    body = surface.body(prompt)
    return client.chat.completions.create(**body, **options, **_headers(prompt))


def _call_responses(surface: Surface, client: Client, prompt: Prompt, stream: bool) -> Any:
    options = {"stream": True} if stream else {}
    return client.responses.create(**surface.body(prompt), **options, **_headers(prompt))


def _call_messages(surface: Surface, client: Client, prompt: Prompt, stream: bool) -> Any:
    options = {"stream": True} if stream else {}
    return client.messages.create(**surface.body(prompt), **options, **_headers(prompt))


def _call_gemini(surface: Surface, client: Client, prompt: Prompt, stream: bool) -> Any:
    """Call with dicts, as applications do that do not import the SDK's types."""
    body = surface.body(prompt)
    tools = [{"function_declarations": _parameters_json(tool)} for tool in body.get("tools", ())]
    config: dict[str, Any] = {
        "system_instruction": body["systemInstruction"],
        "tools": tools,
        "automatic_function_calling": {"disable": True},
    }
    level = body.get("generationConfig", {}).get("thinkingConfig", {}).get("thinkingLevel")
    if level:
        config["thinking_config"] = {"thinking_level": level.upper()}
    method = client.models.generate_content_stream if stream else client.models.generate_content
    contents = body["contents"]
    if surface.name == "gemini dict":
        contents = _in_snake_case(contents)
    return method(model=surface.models[prompt.model], contents=contents, config=config)


def _in_snake_case(contents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Spell the fields of images as the SDK's own documentation does, with the bytes as bytes."""
    return [
        {"role": content["role"], "parts": [_snake_part(part) for part in content["parts"]]}
        for content in contents
    ]


def _snake_part(part: dict[str, Any]) -> dict[str, Any]:
    if "inlineData" in part:
        image = part["inlineData"]
        data = base64.b64decode(image["data"])
        return {"inline_data": {"mime_type": image["mime_type"], "data": data}}
    if "fileData" in part:
        image = part["fileData"]
        return {"file_data": {"mime_type": image["mimeType"], "file_uri": image["fileUri"]}}
    return part


def _parameters_json(tool: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give a schema as JSON schema, since the SDK's own type has no `$defs`."""
    return [
        {
            "parameters_json_schema" if name == "parameters" else name: value
            for name, value in declaration.items()
        }
        for declaration in tool["functionDeclarations"]
    ]


def _call_converse(surface: Surface, client: Client, prompt: Prompt, stream: bool) -> Any:
    body = surface.body(prompt)
    for message in body["messages"]:
        for part in message["content"]:
            if "image" in part:
                data = base64.b64decode(part["image"]["source"]["bytes"])
                part["image"]["source"] = {"bytes": data}
    method = client.converse_stream if stream else client.converse
    return method(modelId=surface.models[prompt.model], **body)


def _call_invoke(surface: Surface, client: Client, prompt: Prompt, stream: bool) -> Any:
    body = json.dumps(surface.body(prompt))
    model = surface.models[prompt.model]
    if stream:
        return client.invoke_model_with_response_stream(modelId=model, body=body)
    response = client.invoke_model(modelId=model, body=body)
    response["body"].read()
    return response


_CALLS: Final[Mapping[str, Callable[[Surface, Client, Prompt, bool], Any]]] = {
    "chat": _call_chat,
    "responses": _call_responses,
    "messages": _call_messages,
    "gemini": _call_gemini,
    "converse": _call_converse,
    "invoke": _call_invoke,
}
