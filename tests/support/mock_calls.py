"""Calls that an HTTP transport answers inside this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import openai

from tests.support.call_shapes import HTTP

REPLY: Final[dict[str, Any]] = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-5.4",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}
    ],
    "usage": {"prompt_tokens": 4000, "completion_tokens": 1, "total_tokens": 4001},
}


def make_mock_call(reply: dict[str, Any] = REPLY) -> Callable[[str], object]:
    """Return a function that sends a user message and receives `reply`."""

    def handle_request(_: Any) -> Any:
        return HTTP.Response(200, json=reply)

    client = openai.OpenAI(
        api_key="k", http_client=HTTP.Client(transport=HTTP.MockTransport(handle_request))
    )
    create: Any = client.chat.completions.create

    def call(text: str) -> object:
        return create(model="gpt-5.4", messages=[{"role": "user", "content": text}])

    return call
