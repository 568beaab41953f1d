"""Encode server-sent events."""

from __future__ import annotations

from typing import Any, Final

from promptcache_emulator.json_util import JSONObject, to_json_bytes

MEDIA_TYPE: Final = "text/event-stream"


def encode_sse(event: Any) -> bytes:
    """Return an event without a name. A string such as `[DONE]` is sent unchanged."""
    data = event.encode() if isinstance(event, str) else to_json_bytes(event)
    return b"data: " + data + b"\n\n"


def encode_named_sse(event: JSONObject) -> bytes:
    """Return an event whose name is the `type` of its data."""
    return b"event: " + str(event["type"]).encode() + b"\n" + encode_sse(event)
