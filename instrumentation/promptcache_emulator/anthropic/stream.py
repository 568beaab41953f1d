"""The events of a streamed message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from promptcache_emulator.json_util import JSONObject, to_compact_json
from promptcache_emulator.replies import Reply

_FINAL_USAGE_FIELDS: Final = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "output_tokens_details",
)
_EMPTY_BLOCKS: Final[dict[str, JSONObject]] = {
    "text": {"text": ""},
    "tool_use": {"input": {}},
    "thinking": {"thinking": "", "signature": ""},
}


def stream_events(message: JSONObject) -> Iterator[JSONObject]:
    """Yield the stream of a message. Usage is in the first event and, cumulative, near the end."""
    usage: JSONObject = message["usage"]
    start: JSONObject = {
        "content": [],
        "stop_reason": None,
        "usage": usage | {"output_tokens": min(1, usage["output_tokens"])},
    }
    yield {"type": "message_start", "message": message | start}
    yield {"type": "ping"}
    for index, block in enumerate(message["content"]):
        empty = block | _EMPTY_BLOCKS[block["type"]]
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in _content_deltas(block):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    final_usage = {name: usage[name] for name in _FINAL_USAGE_FIELDS}
    yield {"type": "message_delta", "delta": delta, "usage": final_usage}
    yield {"type": "message_stop"}


def _content_deltas(block: JSONObject) -> Iterator[JSONObject]:
    if block["type"] == "text":
        for chunk in Reply(block["text"]).chunks:
            yield {"type": "text_delta", "text": chunk}
    elif block["type"] == "tool_use":
        yield {"type": "input_json_delta", "partial_json": to_compact_json(block["input"])}
    else:
        yield {"type": "thinking_delta", "thinking": block["thinking"]}
        yield {"type": "signature_delta", "signature": block["signature"]}
