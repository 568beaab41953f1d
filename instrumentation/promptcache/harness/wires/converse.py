"""Bedrock's Converse.

A breakpoint is a block of its own, behind the block that it ends. Source: botocore 1.43
(bedrock-runtime, `ConverseRequest`) and AWS's page on prompt caching.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from promptcache.common.coerce import as_list, as_mapping
from promptcache.harness.json_guards import is_array
from promptcache.harness.names import TTL, Block, Message
from promptcache.harness.prompt_error import PromptError
from promptcache.harness.wires.binary_data import decode_bytes, encode_bytes
from promptcache.harness.wires.converse_events import fold_converse_events
from promptcache.harness.wires.head import Head
from promptcache.harness.wires.layers import FrozenLayers
from promptcache.harness.wires.tool_results import ToolResults
from promptcache.harness.wires.wire_layout import NO_ARGUMENTS, WireLayout

_BINARY_KEYS: Final = frozenset({"bytes", "redactedContent"})
_UNMARKABLE: Final = frozenset({"cachePoint", "reasoningContent", "guardContent"})
_TOOL_CONFIG: Final = "toolConfig"


class ConverseLayout(WireLayout):
    """Tools, system blocks, then messages, whose roles alternate."""

    wire = "converse"
    tool_form = "converse"
    marker_key = "cachePoint"
    reserved_arguments = frozenset({"modelId", "messages", "system"})
    takes_bytes = True
    names_model = False

    def render_tool(self, tool: Block) -> Block:
        spec: Block = {"name": tool["name"]}
        if "description" in tool:
            spec["description"] = tool["description"]
        spec["inputSchema"] = {"json": tool.get("schema") or NO_ARGUMENTS}
        return {"toolSpec": spec}

    def text_block(self, text: str) -> Block:
        return {"text": text}

    def marker(self, ttl: TTL) -> Any:
        return {"type": "default"} if ttl == "5m" else {"type": "default", "ttl": ttl}

    def ttl_of_marker(self, marker: Any) -> TTL:
        return "1h" if marker.get("ttl") == "1h" else "5m"

    def can_carry_marker(self, block: Block) -> bool:
        if "toolSpec" in block:
            return self.style.takes_marked_tools
        return block.keys().isdisjoint(_UNMARKABLE) and block.get("text") != ""

    def count_blocks(self, message: Message) -> int:
        return max(1, sum(self.marker_key not in part for part in self.parts_of(message)))

    def mark_block(self, blocks: Sequence[Block], index: int, ttl: TTL) -> list[Block]:
        following = blocks[index + 1 : index + 2]
        if following and self.marker_key in following[0]:
            return list(blocks)
        point = {self.marker_key: self.marker(ttl)}
        return [*blocks[: index + 1], point, *blocks[index + 1 :]]

    def without_marked_parts(self, parts: list[Any]) -> list[Any]:
        return [part for part in parts if self.marker_key not in as_mapping(part)]

    def build_head(self, layers: FrozenLayers) -> Head:
        return self.build_sectioned_head(layers)

    def build_turn(self, results: ToolResults, parts: list[Block]) -> list[Message]:
        blocks: list[Block] = []
        for call_id, content in results.contents.items():
            rendered = self.render_content(content, f"tool_results[{call_id!r}]")
            result: Block = {"toolUseId": call_id, "content": rendered}
            status = {"status": "error"} if call_id in results.failed else {}
            blocks.append({"toolResult": {**result, **status}})
        blocks += parts
        return [{"role": "user", "content": blocks}] if blocks else []

    def read_answer(self, answer: Any) -> list[Message]:
        response = fold_converse_events(answer) if is_array(answer) else answer
        message = as_mapping(as_mapping(response.get("output")).get("message"))
        if not message:
            raise PromptError("answer", "has no message; it is no response of this wire")
        content = [part for part in as_list(message.get("content")) if part != {"text": ""}]
        return [{"role": "assistant", "content": content}] if content else []

    def is_from_user(self, message: Message) -> bool:
        return message.get("role") == "user"

    def text_of(self, message: Message, path: str) -> tuple[str, str]:
        texts: list[str] = []
        for part in self.parts_of(message):
            if "text" in part:
                texts.append(str(part["text"]))
            elif "reasoningContent" not in part:
                held = next(iter(part), "nothing")
                raise PromptError(path, f"holds {held!r}, which another wire cannot take")
        return str(message.get("role")), "\n\n".join(texts)

    def text_message(self, role: str, text: str) -> Message:
        return {"role": role, "content": [self.text_block(text)]}

    def open_calls(self, messages: Sequence[Message]) -> dict[str, str]:
        if not messages or self.is_from_user(messages[-1]):
            return {}
        calls = (as_mapping(part.get("toolUse")) for part in self.parts_of(messages[-1]))
        return {str(call["toolUseId"]): str(call.get("name")) for call in calls if call}

    def arguments(self, head: Head, messages: list[Message], model: str, key: str) -> Message:
        joined = self.join_same_roles([*head.messages, *messages])
        arguments: Message = {"modelId": model, "messages": joined}
        if head.system:
            arguments["system"] = [*head.system]
        if head.tools:
            arguments[_TOOL_CONFIG] = {"tools": [*head.tools]}
        return arguments

    def finish(self, arguments: Message, params: Mapping[str, Any]) -> Message:
        config = as_mapping(params.get(_TOOL_CONFIG))
        if "tools" in config:
            raise PromptError(f"params.{_TOOL_CONFIG}.tools", "is set by the harness")
        merged = {**arguments, **params}
        if config:
            merged[_TOOL_CONFIG] = {**as_mapping(arguments.get(_TOOL_CONFIG)), **config}
        return merged

    def to_stored(self, message: Message) -> Message:
        return encode_bytes(message, _BINARY_KEYS)

    def from_stored(self, message: Message) -> Message:
        return decode_bytes(message, _BINARY_KEYS)
