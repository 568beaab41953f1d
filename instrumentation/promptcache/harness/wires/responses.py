"""OpenAI's Responses.

Source: openai-python 3.57.0 (types/responses/*_param.py) and OpenAI's prompt caching guide, autumn
2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from promptcache.common.coerce import as_mapping
from promptcache.harness.json_guards import is_array, is_object
from promptcache.harness.names import TTL, Block, Message
from promptcache.harness.prompt_error import PromptError
from promptcache.harness.token_estimate import estimate_tokens
from promptcache.harness.wires.head import Head
from promptcache.harness.wires.layers import FrozenLayers
from promptcache.harness.wires.tool_results import ToolResults
from promptcache.harness.wires.wire_layout import NO_ARGUMENTS, WireLayout

_MARKABLE: Final = frozenset({"input_text", "input_image", "input_file"})
_ENDINGS: Final = frozenset({"response.completed", "response.incomplete"})
_RESPONSE_ONLY: Final = frozenset({"parsed", "parsed_arguments"})
_CALLS: Final = frozenset({"function_call", "custom_tool_call"})


class ResponsesLayout(WireLayout):
    """Tools, then a developer message, then input items."""

    wire = "responses"
    tool_form = "responses"
    marker_key = "prompt_cache_breakpoint"
    reserved_arguments = frozenset(
        {"model", "input", "instructions", "tools", "prompt_cache_key", "prompt_cache_options"}
    )

    def render_tool(self, tool: Block) -> Block:
        rendered: Block = {"type": "function", "name": tool["name"]}
        if "description" in tool:
            rendered["description"] = tool["description"]
        rendered["parameters"] = tool.get("schema") or NO_ARGUMENTS
        # This API's default is true, and a schema that does not allow it would be refused.
        rendered["strict"] = tool.get("strict", False)
        return rendered

    def text_block(self, text: str) -> Block:
        return {"type": "input_text", "text": text}

    def marker(self, ttl: TTL) -> Any:
        return {"mode": "explicit"} if ttl == "30m" else {"mode": "explicit", "ttl": ttl}

    def ttl_of_marker(self, marker: Any) -> TTL:
        return "12h" if marker.get("ttl") == "12h" else "30m"

    def can_carry_marker(self, block: Block) -> bool:
        return block.get("type") in _MARKABLE and block.get("text") != ""

    def parts_key(self, message: Message) -> str:
        return "output" if str(message.get("type", "")).endswith("_output") else "content"

    def build_head(self, layers: FrozenLayers) -> Head:
        """Return the head. The system prompt is a message: `instructions` carry no breakpoint."""
        head = Head(tools=self.render_tools(layers.tools))
        head.messages = _developer_messages(self.render_content(layers.system, "system"))
        head.messages += self.example_messages(layers.examples)
        head.tokens = sum(map(estimate_tokens, (*head.tools, *head.messages)))
        head.static_end = self.last_spot("messages", head.messages, head.tokens)
        shared = _developer_messages(self.render_content(layers.shared, "shared"))
        if shared:
            head.messages += shared
            head.tokens += estimate_tokens(shared)
            head.shared_end = self.last_spot("messages", head.messages, head.tokens)
        return head

    def build_turn(self, results: ToolResults, parts: list[Block]) -> list[Message]:
        items: list[Message] = []
        for call_id, content in results.contents.items():
            blocks = self.render_content(content, f"tool_results[{call_id!r}]")
            if len(blocks) == 1 and str(blocks[0].get("type")).endswith("_output"):
                items.append({**blocks[0], "call_id": call_id})
                continue
            items.append({"type": "function_call_output", "call_id": call_id, "output": blocks})
        return [*items, {"role": "user", "content": parts}] if parts else items

    def read_answer(self, answer: Any) -> list[Message]:
        response = _last_response(answer) if is_array(answer) else answer
        output = response.get("output")
        if not is_array(output):
            raise PromptError("answer", "has no output; it is no response of this wire")
        return [_as_sent_back(item) for item in output]

    def is_from_user(self, message: Message) -> bool:
        return message.get("role") == "user" or self.parts_key(message) == "output"

    def text_of(self, message: Message, path: str) -> tuple[str, str]:
        if message.get("type") == "reasoning":
            return "assistant", ""
        if message.get("role") not in ("user", "assistant"):
            raise PromptError(
                path, f"holds {message.get('type')!r}, which another wire cannot take"
            )
        texts: list[str] = []
        for part in self.parts_of(message):
            if part.get("type") not in ("input_text", "output_text"):
                raise PromptError(
                    path, f"holds {part.get('type')!r}, which another wire cannot take"
                )
            texts.append(str(part.get("text")))
        return str(message["role"]), "\n\n".join(texts)

    def text_message(self, role: str, text: str) -> Message:
        if role == "assistant":
            return {"role": role, "content": text}
        return {"role": role, "content": [self.text_block(text)]}

    def open_calls(self, messages: Sequence[Message]) -> dict[str, str]:
        found: list[tuple[str, str]] = []
        for item in reversed(messages):
            if self.is_from_user(item):
                break
            if item.get("type") in _CALLS:
                found.append((str(item.get("call_id")), str(item.get("name"))))
        return dict(reversed(found))

    def arguments(self, head: Head, messages: list[Message], model: str, key: str) -> Message:
        arguments: Message = {"model": model, "input": [*head.messages, *messages]}
        if head.tools:
            arguments["tools"] = [*head.tools]
        if self.style.takes_key:
            arguments["prompt_cache_key"] = key
        if self.style.breakpoints == "exact":
            arguments["prompt_cache_options"] = {"mode": "explicit"}
        return arguments


def _developer_messages(blocks: list[Block]) -> list[Message]:
    return [{"role": "developer", "content": blocks}] if blocks else []


def _last_response(events: Iterable[Any]) -> Mapping[str, Any]:
    for event in map(as_mapping, events):
        if event.get("type") in _ENDINGS:
            return as_mapping(event.get("response"))
    raise PromptError("answer", "is no complete stream of response events")


def _as_sent_back(item: Any) -> Message:
    fields = item if is_object(item) else {}
    kept = {name: value for name, value in fields.items() if value is not None}
    for name in _RESPONSE_ONLY:
        kept.pop(name, None)
    if is_array(parts := kept.get("content")):
        kept["content"] = [
            {name: value for name, value in part.items() if name not in _RESPONSE_ONLY}
            for part in parts
        ]
    return kept
