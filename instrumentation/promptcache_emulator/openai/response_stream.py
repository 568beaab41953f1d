"""The events of a streamed response."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from promptcache_emulator.json_util import JSONObject
from promptcache_emulator.replies import Reply

UNFINISHED_FIELDS: Final[JSONObject] = {
    "output": [],
    "usage": None,
    "completed_at": None,
    "error": None,
}
"""Fields of a response that is not finished."""


def stream_events(response: JSONObject, is_background: bool) -> Iterator[JSONObject]:
    """Yield the numbered events of a response."""
    for number, event in enumerate(_events_without_sequence_numbers(response, is_background)):
        yield event | {"sequence_number": number}


def _events_without_sequence_numbers(
    response: JSONObject, is_background: bool
) -> Iterator[JSONObject]:
    unfinished = UNFINISHED_FIELDS | {"status": "in_progress", "incomplete_details": None}
    in_progress = response | unfinished
    queued = in_progress | {"status": "queued"}
    yield {"type": "response.created", "response": queued if is_background else in_progress}
    if is_background:
        yield {"type": "response.queued", "response": queued}
    yield {"type": "response.in_progress", "response": in_progress}
    for index, item in enumerate(response["output"]):
        yield from _item_events(index, item)
    yield {"type": f"response.{response['status']}", "response": response}


def _item_events(index: int, item: JSONObject) -> Iterator[JSONObject]:
    position: JSONObject = {"output_index": index}
    is_call = item["type"] == "function_call"
    start: JSONObject = {"arguments": ""} if is_call else {"content": []}
    yield {
        "type": "response.output_item.added",
        "item": item | {"status": "in_progress"} | start,
        **position,
    }
    item_position = position | {"item_id": item["id"]}
    if is_call:
        yield from _argument_events(item, item_position)
    for number, part in enumerate(item.get("content", [])):
        yield from _part_events(part, item_position | {"content_index": number})
    yield {"type": "response.output_item.done", "item": item, **position}


def _argument_events(item: JSONObject, position: JSONObject) -> Iterator[JSONObject]:
    arguments, name = item["arguments"], item["name"]
    event = "response.function_call_arguments"
    yield {"type": f"{event}.delta", "delta": arguments, **position}
    yield {"type": f"{event}.done", "arguments": arguments, "name": name, **position}


def _part_events(part: JSONObject, position: JSONObject) -> Iterator[JSONObject]:
    text = part["text"]
    yield {"type": "response.content_part.added", "part": part | {"text": ""}, **position}
    for chunk in Reply(text).chunks:
        yield {"type": "response.output_text.delta", "delta": chunk, "logprobs": [], **position}
    yield {"type": "response.output_text.done", "text": text, "logprobs": [], **position}
    yield {"type": "response.content_part.done", "part": part, **position}
