"""Gemini's generateContent, through google-genai, on the Gemini API and on Vertex AI.

The provider caches by itself. Source: google-genai 3.6.1 (types.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from promptcache.common.coerce import as_list, as_mapping
from promptcache.harness.json_guards import is_array
from promptcache.harness.names import TTL, Block, Content, Message
from promptcache.harness.prompt_error import PromptError
from promptcache.harness.tool import wire_of_tool
from promptcache.harness.wires.binary_data import decode_bytes, encode_bytes
from promptcache.harness.wires.head import Head
from promptcache.harness.wires.layers import FrozenLayers
from promptcache.harness.wires.tool_results import ToolResults
from promptcache.harness.wires.wire_layout import NO_ARGUMENTS, WireLayout

_BINARY_KEYS: Final = frozenset({"data", "thoughtSignature", "thought_signature"})


class GeminiLayout(WireLayout):
    """System instruction, tools, then contents, whose roles alternate."""

    wire = "gemini"
    tool_form = "gemini"
    marker_key = "no_marker"
    reserved_arguments = frozenset(
        {
            "model",
            "contents",
            "tools",
            "system_instruction",
            "systemInstruction",
            "cached_content",
            "cachedContent",
        }
    )
    params_in_named_cache = frozenset({"tool_config", "toolConfig"})
    takes_bytes = True

    def render_tools(self, tools: Sequence[Block]) -> list[Block]:
        """Return the tools: all functions in one tool, as the API wants them."""
        own = [tool for tool in tools if wire_of_tool(tool) is None]
        others = super().render_tools([tool for tool in tools if wire_of_tool(tool) is not None])
        if not own:
            return others
        return [{"function_declarations": [self.render_tool(tool) for tool in own]}, *others]

    def render_tool(self, tool: Block) -> Block:
        declaration: Block = {"name": tool["name"]}
        if "description" in tool:
            declaration["description"] = tool["description"]
        declaration["parameters_json_schema"] = tool.get("schema") or NO_ARGUMENTS
        return declaration

    def text_block(self, text: str) -> Block:
        return {"text": text}

    def marker(self, ttl: TTL) -> Any:
        return None

    def ttl_of_marker(self, marker: Any) -> TTL:
        return "5m"

    def can_carry_marker(self, block: Block) -> bool:
        return False

    def parts_key(self, message: Message) -> str:
        return "parts"

    def build_head(self, layers: FrozenLayers) -> Head:
        return self.build_sectioned_head(layers)

    def build_turn(self, results: ToolResults, parts: list[Block]) -> list[Message]:
        blocks = [
            self._function_response(call_id, content, results)
            for call_id, content in results.contents.items()
        ]
        blocks += parts
        return [{"role": "user", "parts": blocks}] if blocks else []

    def _function_response(self, call_id: str, content: Content, results: ToolResults) -> Block:
        rendered = self.render_content(content, f"tool_results[{call_id!r}]")
        texts = [str(block["text"]) for block in rendered if block.keys() == {"text"}]
        outcome = "error" if call_id in results.failed else "result"
        response: Block = {outcome: "\n\n".join(texts)}
        if not texts and len(rendered) == 1:
            response = rendered[0]
        name = results.names.get(call_id, call_id)
        named = {"name": name, "response": response}
        # Gemini's own API often gives a call no id; its name then stands for it.
        is_own_id = call_id != name and not call_id.startswith(f"{name}#")
        return {"function_response": {"id": call_id, **named} if is_own_id else named}

    def read_answer(self, answer: Any) -> list[Message]:
        chunks = answer if is_array(answer) else [answer]
        parts: list[Block] = []
        for chunk in map(as_mapping, chunks):
            for candidate in as_list(chunk.get("candidates"))[:1]:
                content = as_mapping(as_mapping(candidate).get("content"))
                for part in as_list(content.get("parts")):
                    _append_part(parts, dict(as_mapping(part)))
        if not any(as_mapping(chunk).get("candidates") for chunk in chunks):
            raise PromptError("answer", "has no candidates; it is no response of this wire")
        return [self.from_stored({"role": "model", "parts": parts})] if parts else []

    def is_from_user(self, message: Message) -> bool:
        return message.get("role") != "model"

    def text_of(self, message: Message, path: str) -> tuple[str, str]:
        texts: list[str] = []
        for part in self.parts_of(message):
            if part.get("thought"):
                continue
            if "text" not in part:
                held = next(iter(part), "nothing")
                raise PromptError(path, f"holds {held!r}, which another wire cannot take")
            texts.append(str(part["text"]))
        role = "user" if self.is_from_user(message) else "assistant"
        return role, "\n\n".join(texts)

    def text_message(self, role: str, text: str) -> Message:
        return {"role": "model" if role == "assistant" else "user", "parts": [{"text": text}]}

    def open_calls(self, messages: Sequence[Message]) -> dict[str, str]:
        calls: dict[str, str] = {}
        if not messages or self.is_from_user(messages[-1]):
            return calls
        for part in self.parts_of(messages[-1]):
            call = as_mapping(part.get("functionCall") or part.get("function_call"))
            if call:
                name = str(call.get("name"))
                number = 1 + sum(known == name for known in calls.values())
                calls[str(call.get("id") or (name if number == 1 else f"{name}#{number}"))] = name
        return calls

    def arguments(self, head: Head, messages: list[Message], model: str, key: str) -> Message:
        contents = self.join_same_roles([*head.messages, *messages])
        config: Block = {}
        if head.system:
            config["system_instruction"] = {"role": "user", "parts": [*head.system]}
        if head.tools:
            config["tools"] = [*head.tools]
        return {"model": model, "contents": contents, "config": config}

    def finish(self, arguments: Message, params: Mapping[str, Any]) -> Message:
        return {**arguments, "config": {**arguments["config"], **params}}

    def to_stored(self, message: Message) -> Message:
        return encode_bytes(message, _BINARY_KEYS)

    def from_stored(self, message: Message) -> Message:
        return decode_bytes(message, _BINARY_KEYS)


def _append_part(parts: list[Block], part: Block) -> None:
    """Append a part of a stream. Texts are joined, except those with a signature or of thoughts."""
    if parts and part.keys() == {"text"} and parts[-1].keys() == {"text"}:
        parts[-1] = {"text": parts[-1]["text"] + part["text"]}
    elif part != {"text": ""}:
        parts.append(part)
