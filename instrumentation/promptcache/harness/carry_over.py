"""Take the history of a conversation into a new chat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from promptcache.common.coerce import as_mapping
from promptcache.harness.frozen_json import freeze_json
from promptcache.harness.json_guards import is_array
from promptcache.harness.names import Message
from promptcache.harness.plain_data import to_plain_data
from promptcache.harness.prompt_error import PromptError

if TYPE_CHECKING:
    from promptcache.harness.chat import Chat
    from promptcache.harness.wires.wire_layout import WireLayout

_OPAQUE: Final = frozenset({"thinking", "redacted_thinking", "reasoning"})
"""What a model wrote for itself, encrypted or signed: another model cannot read it."""


def carry_over(
    history: Sequence[Mapping[str, Any]] | Chat[Any], layout: WireLayout, model: str
) -> list[Message]:
    """Return the messages for a chat with `layout` and `model`.

    A list is taken as the wire's own. From a chat of another model the reasoning is left out, from
    one of another wire all but the texts. Raise PromptError for a message that holds more.
    """
    from promptcache.harness.chat import Chat

    if not isinstance(history, Chat):
        plain = to_plain_data(list(history), "history")
        messages = cast("list[Message]", freeze_json(plain, "history", sort_keys=False))
        for index, message in enumerate(messages):
            if message.get("role") in ("system", "developer"):
                problem = "is a system message; give it to Prompt(system=...) or chat(shared=...)"
                raise PromptError(f"history[{index}]", problem)
        return [layout.from_stored(message) for message in messages]
    if history.wire == layout.wire:
        if history.model == model:
            return [layout.from_stored(message) for message in history.history]
        kept = (_without_reasoning(message) for message in history.history)
        return [layout.from_stored(message) for message in kept if message]
    carried: list[Message] = []
    for index, message in enumerate(history.history):
        role, text = history.text_of(message, f"history[{index}]")
        if text:
            carried.append(layout.text_message(role, text))
    return carried


def _without_reasoning(message: Message) -> Message | None:
    if message.get("type") in _OPAQUE:
        return None
    for key in ("content", "parts"):
        if is_array(parts := message.get(key)):
            kept = [part for part in parts if not _is_reasoning(as_mapping(part))]
            return {**message, key: kept} if kept else None
    return message


def _is_reasoning(part: Mapping[str, Any]) -> bool:
    return part.get("type") in _OPAQUE or "reasoningContent" in part or part.get("thought") is True
