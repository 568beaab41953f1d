"""Calls of each provider with a canary in every field that belongs to the application."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b, blake2s, md5, sha1, sha256
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Final

import anthropic
import openai
from google import genai

from promptcache import Settings
from promptcache.patching.patcher import ModulePatcher
from promptcache.providers.litellm import hooks as litellm
from promptcache.telemetry.handler import TelemetryHandler
from promptcache.telemetry.metrics import MetricsRecorder
from tests.support.call_shapes import HTTP
from tests.support.call_shapes_bedrock import CLAUDE, NOVA, boto3
from tests.support.litellm_handlers import HANDLER_MODULE, AsyncHTTPHandler, HTTPHandler
from tests.support.telemetry import Telemetry

CANARY: Final = "canary-7f3a"
SYSTEM: Final = f"{CANARY} " * 1500
SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "description": CANARY,
    "properties": {f"{CANARY}_field": {"type": "string", "enum": [CANARY]}},
}
HEADERS: Final = {"x-canary": CANARY, CANARY: "a name"}
PDF: Final = b64encode(CANARY.encode()).decode()


class AppError(Exception):
    """An error of the application with a canary in its message."""


def canary_encodings() -> Iterator[bytes]:
    """Yield the canary in plain and encoded forms.

    Base64 has three forms, which depend on the offset of the text.
    """
    raw = CANARY.encode()
    yield from (raw, raw[::-1], raw.upper(), raw.hex().encode(), CANARY.encode("utf-16-le"))
    yield "".join(f"%{byte:02X}" for byte in raw).encode()
    yield "".join(f"\\u{byte:04x}" for byte in raw).encode()
    for offset in range(3):
        yield b64encode(b"\0" * offset + raw)[4 if offset else 0 : -4]


def canary_hashes() -> Iterator[bytes]:
    """Yield hashes of the canaries without a key, as 8 bytes and as 16 hex digits."""
    block = {"role": "system", "content": SYSTEM}
    texts = [
        CANARY,
        SYSTEM,
        SYSTEM.strip(),
        *(json.dumps(value, separators=(",", ":")) for value in (SYSTEM, block, SCHEMA)),
    ]
    for text in texts:
        for kind in (md5, sha1, sha256, blake2b, blake2s):
            digest = kind(text.encode()).digest()
            yield from (digest[:8], digest[:8].hex().encode())
        yield from (
            blake2b(text.encode(), digest_size=size).digest().hex()[:16].encode()
            for size in (8, 16, 32)
        )


def add_userinfo(url: str) -> str:
    return url.replace("http://", f"http://{CANARY}:{CANARY}@")


def raise_app_error(*_: Any, **__: Any) -> Any:
    raise AppError(CANARY)


def fail_in_stream(stream: Any) -> None:
    """Raise an error of the application in the middle of a stream."""
    with suppress(AppError):
        for _ in stream:
            raise_app_error()


def call_openai(url: str, telemetry: Telemetry) -> None:
    tool = {"name": f"{CANARY}_tool", "description": CANARY, "parameters": SCHEMA}
    called = {
        "id": CANARY,
        "type": "function",
        "function": {"name": f"{CANARY}_tool", "arguments": CANARY},
    }
    user = {"role": "user", "name": CANARY, "content": [{"type": "text", "text": CANARY}]}
    request_args: dict[str, Any] = {
        "model": "gpt-6-sol",
        "messages": [
            {"role": "system", "content": SYSTEM},
            user,
            {"role": "assistant", "tool_calls": [called]},
            {"role": "tool", "tool_call_id": CANARY, "content": CANARY},
        ],
        "tools": [{"type": "function", "function": tool}],
        "user": CANARY,
        "prompt_cache_key": CANARY,
        "metadata": {CANARY: CANARY},
        "extra_headers": HEADERS,
        "extra_query": {"canary": CANARY},
        "extra_body": {CANARY: CANARY},
    }
    changed_args = {
        **request_args,
        "messages": [
            {"role": "system", "content": f"{CANARY} {SYSTEM}"},
            *request_args["messages"][1:],
        ],
    }
    file = {"type": "input_file", "filename": f"{CANARY}.pdf", "file_data": PDF}
    image = {"type": "input_image", "image_url": f"https://{CANARY}/{CANARY}"}
    response: dict[str, Any] = {
        "model": "gpt-6-sol",
        "instructions": SYSTEM,
        "safety_identifier": CANARY,
        "extra_headers": HEADERS,
        "input": [{"role": "user", "content": [file, image]}],
        "tools": [{"type": "function", **tool, "strict": False}],
    }
    address = f"{add_userinfo(url)}/v1"
    with openai.OpenAI(
        base_url=address, api_key=CANARY, organization=CANARY, max_retries=0
    ) as client:
        create: Any = client.chat.completions.create
        respond: Any = client.responses.create
        for ask, body in ((create, request_args), (create, changed_args), (respond, response)):
            ask(**body)
            fail_in_stream(ask(**body, stream=True))
            list(ask(**body, stream=True))
        for fault in ("500", "429", "reset"):
            with suppress(openai.APIError, AppError):
                create(**{**request_args, "extra_headers": {"x-emulator-fault": fault, **HEADERS}})
        with suppress(openai.APIError, AppError):
            list(
                create(
                    **{**request_args, "extra_headers": {"x-emulator-fault": "drop=2"}}, stream=True
                )
            )
    with openai.OpenAI(
        base_url=address, api_key=CANARY, max_retries=0, http_client=failing_client()
    ) as client:
        create = client.chat.completions.create
        with suppress(openai.APIError, AppError):
            create(**request_args)


def failing_client() -> Any:
    """Return an HTTP client whose requests all fail with a canary in the message."""
    return HTTP.Client(transport=HTTP.MockTransport(raise_app_error))


def call_anthropic(url: str, telemetry: Telemetry) -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    document = {"type": "document", "source": source, "title": f"{CANARY}.pdf", "context": CANARY}
    used = {"type": "tool_use", "id": CANARY, "name": f"{CANARY}_tool", "input": {CANARY: CANARY}}
    result = {"type": "tool_result", "tool_use_id": CANARY, "content": CANARY}
    request_args: dict[str, Any] = {
        "model": "claude-sonnet-5",
        "max_tokens": 50,
        "system": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [document, {"type": "text", "text": CANARY}]},
            {"role": "assistant", "content": [used]},
            {"role": "user", "content": [result]},
        ],
        "tools": [{"name": f"{CANARY}_tool", "description": CANARY, "input_schema": SCHEMA}],
        "metadata": {"user_id": CANARY},
        "stop_sequences": [CANARY],
        "extra_headers": HEADERS,
        "extra_query": {"canary": CANARY},
    }
    changed_args = {
        **request_args,
        "system": [{**request_args["system"][0], "text": f"{CANARY} {SYSTEM}"}],
    }
    with anthropic.Anthropic(base_url=add_userinfo(url), api_key=CANARY, max_retries=0) as client:
        create: Any = client.messages.create
        for body in (request_args, changed_args):
            create(**body)
            fail_in_stream(create(**body, stream=True))
            list(create(**body, stream=True))
        for fault in ("529", "reset"):
            with suppress(anthropic.APIError, AppError):
                create(**{**request_args, "extra_headers": {"x-emulator-fault": fault, **HEADERS}})
    with anthropic.Anthropic(
        base_url=url, api_key=CANARY, max_retries=0, http_client=failing_client()
    ) as client:
        create = client.messages.create
        with suppress(anthropic.APIError, AppError):
            create(**request_args)


def call_gemini(url: str, telemetry: Telemetry) -> None:
    options: Any = {
        "base_url": add_userinfo(url),
        "headers": HEADERS,
        "retry_options": {"attempts": 1},
    }
    file = {
        "file_data": {
            "file_uri": f"https://{CANARY}",
            "display_name": CANARY,
            "mime_type": "text/plain",
        }
    }
    inline = {"inline_data": {"data": CANARY.encode(), "mime_type": "application/pdf"}}
    contents: Any = [{"role": "user", "parts": [{"text": CANARY}, inline]}]
    tools = [
        {
            "function_declarations": [
                {"name": f"{CANARY}_t", "description": CANARY, "parameters": None}
            ]
        }
    ]
    with genai.Client(api_key=CANARY, http_options=options) as client:
        models: Any = client.models
        for system in (SYSTEM * 3, f"{CANARY} {SYSTEM * 3}"):
            config: Any = {"system_instruction": system, "tools": tools, "stop_sequences": [CANARY]}
            request_args: dict[str, Any] = {
                "model": "gemini-2.5-flash",
                "contents": contents,
                "config": config,
            }
            models.generate_content(**request_args)
            fail_in_stream(models.generate_content_stream(**request_args))
            list(models.generate_content_stream(**request_args))
        with suppress(genai.errors.APIError):
            models.generate_content(
                model="gemini-2.5-flash", contents=[{"role": "user", "parts": [file]}]
            )
        cache = client.caches.create(
            model="gemini-2.5-flash",
            config={"display_name": CANARY, "system_instruction": SYSTEM * 3, "contents": contents},
        )
        models.generate_content(
            model="gemini-2.5-flash", contents=CANARY, config={"cached_content": cache.name}
        )
        with suppress(genai.errors.APIError):
            client.caches.get(name=f"cachedContents/none?key={CANARY}")
        client.caches.delete(name=str(cache.name))


def call_bedrock(url: str, telemetry: Telemetry) -> None:
    no_retries = import_module("botocore.config").Config(retries={"max_attempts": 0})
    keys = {
        "aws_access_key_id": CANARY,
        "aws_secret_access_key": CANARY,
        "aws_session_token": CANARY,
    }
    client = boto3.Session(region_name="us-east-1", **keys).client(
        "bedrock-runtime", endpoint_url=url, config=no_retries
    )
    tool = {"name": "canary_tool", "description": CANARY, "inputSchema": {"json": SCHEMA}}
    document = {"document": {"format": "pdf", "name": CANARY, "source": {"bytes": CANARY.encode()}}}
    body: dict[str, Any] = {
        "system": [{"text": SYSTEM}, {"cachePoint": {"type": "default"}}],
        "messages": [{"role": "user", "content": [{"text": CANARY}, document]}],
    }
    call = {
        **body,
        "modelId": CLAUDE,
        "toolConfig": {"tools": [{"toolSpec": tool}]},
        "requestMetadata": {"a": CANARY},
    }
    changed_args = {**call, "system": [{"text": f"{CANARY} {SYSTEM}"}, *body["system"][1:]]}
    nova = {
        "schemaVersion": "messages-v1",
        "system": body["system"],
        "messages": [{"role": "user", "content": [{"text": CANARY}]}],
    }
    claude = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": CANARY}],
        "system": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}],
    }
    for request_args in (call, changed_args):
        client.converse(**request_args)
        fail_in_stream(client.converse_stream(**request_args)["stream"])
        list(client.converse_stream(**request_args)["stream"])
    for model, model_body in ((NOVA, nova), (CLAUDE, claude)):
        client.invoke_model(modelId=model, body=json.dumps(model_body))["body"].read()
        list(
            client.invoke_model_with_response_stream(modelId=model, body=json.dumps(model_body))[
                "body"
            ]
        )
    client.meta.events.register("before-send", raise_app_error)
    with suppress(AppError, import_module("botocore.exceptions").HTTPClientError):
        client.converse(**call)
    client.close()


def call_litellm(url: str, telemetry: Telemetry) -> None:
    """Call the stand-ins of `litellm_handlers`: LiteLLM cannot be installed beside openai 3."""
    patches = ModulePatcher()
    patches.module = SimpleNamespace(HTTPHandler=HTTPHandler, AsyncHTTPHandler=AsyncHTTPHandler)
    meters = MetricsRecorder(telemetry.meters.get_meter("promptcache"))
    settings = telemetry_settings(telemetry)
    patches.install_or_reenable(
        litellm.HOOKS[HANDLER_MODULE],
        TelemetryHandler(settings, telemetry.tracers.get_tracer("promptcache"), meters),
    )
    handler = HTTPHandler()
    headers = {"x-api-key": CANARY, "authorization": f"Bearer {CANARY}", **HEADERS}
    address, user = add_userinfo(url), {"role": "user", "content": CANARY}
    log = SimpleNamespace(
        model_call_details={
            "custom_llm_provider": "deepseek",
            "api_key": CANARY,
            "messages": [user],
        }
    )
    chat = {
        "model": "deepseek-chat",
        "messages": [{"role": "system", "content": SYSTEM}, user],
        "user": CANARY,
    }
    gemini = {"contents": [{"role": "user", "parts": [{"text": SYSTEM}]}], "labels": {"a": CANARY}}
    with handler.client:
        for body in (chat, {**chat, "stream": True}):
            handler.post(
                f"{address}/v1/chat/completions?{CANARY}",
                json=body,
                headers=headers,
                logging_obj=log,
            )
        path = f"v1beta/models/gemini-2.5-flash:generateContent?key={CANARY}"
        handler.post(f"{address}/{path}", json=gemini, headers=headers)
        handler.client.event_hooks["request"].append(raise_app_error)
        with suppress(AppError):
            handler.post(f"{address}/{path}", json=gemini, headers=headers)
    patches.remove_or_disable()


def telemetry_settings(telemetry: Telemetry) -> Settings:
    """Return the settings of the instrumented process."""
    return getattr(telemetry, "settings", None) or Settings()


CALLS_WITH_CANARIES: Final[Mapping[str, Callable[[str, Telemetry], None]]] = {
    "openai": call_openai,
    "anthropic": call_anthropic,
    "gemini": call_gemini,
    "bedrock": call_bedrock,
    "litellm": call_litellm,
}
