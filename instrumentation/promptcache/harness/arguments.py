"""The keyword arguments of the SDKs' functions, as a chat returns them.

Messages and blocks are `Any` so that they fit the types of each release of an SDK. A frozen
parameter (`Prompt(params=...)`) is a further key at run time.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class AnthropicArguments(TypedDict):
    """For `client.messages.create` and `client.messages.stream` of anthropic's clients."""

    model: str
    messages: list[Any]
    system: NotRequired[list[Any]]
    tools: NotRequired[list[Any]]


class ChatArguments(TypedDict):
    """For `client.chat.completions.create` of openai's and groq's clients."""

    model: str
    messages: list[Any]
    tools: NotRequired[list[Any]]
    prompt_cache_key: NotRequired[str]
    prompt_cache_options: NotRequired[Any]


class GeminiArguments(TypedDict):
    """For `client.models.generate_content` of google-genai's clients."""

    model: str
    contents: list[Any]
    config: Any


class ConverseArguments(TypedDict):
    """For `client.converse` and `client.converse_stream` of botocore's clients."""

    modelId: str
    messages: list[Any]
    system: NotRequired[list[Any]]
    toolConfig: NotRequired[dict[str, Any]]


class InvokeModelArguments(TypedDict):
    """For `client.invoke_model` of botocore's clients. `body` is JSON text."""

    modelId: str
    contentType: str
    accept: str
    body: str


class LiteLLMArguments(ChatArguments):
    """For `litellm.completion`."""


class ResponsesArguments(TypedDict):
    """For `client.responses.create` of openai's clients."""

    model: str
    input: list[Any]
    tools: NotRequired[list[Any]]
    prompt_cache_key: NotRequired[str]
    prompt_cache_options: NotRequired[Any]
