"""Anthropic's Messages, also as Vertex AI, Bedrock and Foundry serve them.

Source: anthropic-python 2.14.0 (types/message_create_params.py, types/*_param.py) and Anthropic's
prompt caching page, autumn 2026.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from promptcache.harness.json_guards import is_array, is_object
from promptcache.harness.names import TTL, Block, Message, Wire
from promptcache.harness.prompt_error import PromptError
from promptcache.harness.wires.anthropic_events import fold_message_events
from promptcache.harness.wires.head import Head
from promptcache.harness.wires.layers import FrozenLayers
from promptcache.harness.wires.tool_results import ToolResults
from promptcache.harness.wires.wire_layout import NO_ARGUMENTS, WireLayout

_UNMARKABLE: Final = frozenset({"thinking", "redacted_thinking", "mid_conv_system", "fallback"})
"""Blocks that may not carry `cache_control` (prompt caching page; no such key in their types)."""
_OPAQUE: Final = frozenset({"thinking", "redacted_thinking"})
_RESPONSE_ONLY: Final = frozenset({"parsed_output"})
"""Fields that the SDK's helpers add to a block and the API does not take back."""


class AnthropicLayout(WireLayout):
    """Tools, then system blocks, then messages. A turn of the user is one message."""

    wire: ClassVar[Wire] = "anthropic"
    tool_form = "anthropic"
    marker_key = "cache_control"
    reserved_arguments = frozenset({"model", "messages", "system", "tools", "cache_control"})

    def render_tool(self, tool: Block) -> Block:
        rendered: Block = {"name": tool["name"]}
        rendered["input_schema"] = tool.get("schema") or NO_ARGUMENTS
        if "description" in tool:
            rendered["description"] = tool["description"]
        if "strict" in tool:
            rendered["strict"] = tool["strict"]
        return rendered

    def text_block(self, text: str) -> Block:
        return {"type": "text", "text": text}

    def marker(self, ttl: TTL) -> Any:
        return anthropic_marker(ttl)

    def ttl_of_marker(self, marker: Any) -> TTL:
        return ttl_of_anthropic_marker(marker)

    def can_carry_marker(self, block: Block) -> bool:
        if block.get("type") == "text":
            return bool(str(block.get("text", "")).strip())
        return block.get("type") not in _UNMARKABLE and not block.get("defer_loading")

    def build_head(self, layers: FrozenLayers) -> Head:
        return self.build_sectioned_head(layers)

    def build_turn(self, results: ToolResults, parts: list[Block]) -> list[Message]:
        blocks: list[Block] = []
        for call_id, content in results.contents.items():
            rendered = self.render_content(content, f"tool_results[{call_id!r}]")
            if len(rendered) == 1 and rendered[0].get("type") == "tool_result":
                blocks.append({**rendered[0], "tool_use_id": call_id})
                continue
            result: Block = {"type": "tool_result", "tool_use_id": call_id, "content": rendered}
            blocks.append({**result, "is_error": True} if call_id in results.failed else result)
        blocks += parts
        return [{"role": "user", "content": blocks}] if blocks else []

    def read_answer(self, answer: Any) -> list[Message]:
        message = fold_message_events(answer) if is_array(answer) else answer
        content = message.get("content")
        if not is_array(content):
            raise PromptError("answer", "has no content; it is no message of this wire")
        kept = [_as_sent_back(block) for block in content]
        kept = [block for block in kept if block.get("type") != "text" or block.get("text")]
        return [{"role": "assistant", "content": kept}] if kept else []

    def is_from_user(self, message: Message) -> bool:
        return message.get("role") == "user"

    def text_of(self, message: Message, path: str) -> tuple[str, str]:
        texts: list[str] = []
        for part in self.parts_of(message):
            kind = part.get("type")
            if kind == "text":
                texts.append(str(part.get("text")))
            elif kind not in _OPAQUE:
                raise PromptError(path, f"holds {kind!r}, which another wire cannot take")
        return str(message.get("role")), "\n\n".join(texts)

    def text_message(self, role: str, text: str) -> Message:
        return {"role": role, "content": [self.text_block(text)]}

    def open_calls(self, messages: Sequence[Message]) -> dict[str, str]:
        if not messages or self.is_from_user(messages[-1]):
            return {}
        calls = (part for part in self.parts_of(messages[-1]) if part.get("type") == "tool_use")
        return {str(call.get("id")): str(call.get("name")) for call in calls}

    def arguments(self, head: Head, messages: list[Message], model: str, key: str) -> Message:
        arguments: Message = {"model": model, "messages": [*head.messages, *messages]}
        if head.system:
            arguments["system"] = [*head.system]
        if head.tools:
            arguments["tools"] = [*head.tools]
        return arguments


def anthropic_marker(ttl: TTL) -> dict[str, str]:
    """Return Anthropic's `cache_control`."""
    return {"type": "ephemeral"} if ttl == "5m" else {"type": "ephemeral", "ttl": ttl}


def ttl_of_anthropic_marker(marker: Any) -> TTL:
    """Return the TTL that a `cache_control` asks for."""
    return "1h" if marker.get("ttl") == "1h" else "5m"


def _as_sent_back(block: Any) -> Block:
    fields = block if is_object(block) else {}
    return {
        name: value
        for name, value in fields.items()
        if value is not None and name not in _RESPONSE_ONLY
    }
