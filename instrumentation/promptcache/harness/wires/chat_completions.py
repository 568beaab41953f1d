"""OpenAI's Chat Completions, also as Azure, Groq and compatible servers speak them.

Source: openai-python 3.57.0 (types/chat/*_param.py) and OpenAI's prompt caching guide, autumn 2026.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from promptcache.common.coerce import JSONObject, as_list, as_mapping
from promptcache.harness.json_guards import is_array, is_object
from promptcache.harness.names import TTL, Block, Message, Wire
from promptcache.harness.prompt_error import PromptError
from promptcache.harness.token_estimate import estimate_tokens
from promptcache.harness.tool import name_of_tool
from promptcache.harness.wires.chat_chunks import fold_chunks
from promptcache.harness.wires.head import Head
from promptcache.harness.wires.layers import FrozenLayers
from promptcache.harness.wires.tool_results import ToolResults
from promptcache.harness.wires.wire_layout import NO_ARGUMENTS, WireLayout

_MARKABLE: Final = frozenset({"text", "image_url", "input_audio", "file"})
_FROM_USER: Final = frozenset({"user", "tool", "function"})
_SENT_BACK: Final = (
    "role",
    "content",
    "refusal",
    "tool_calls",
    "function_call",
    "reasoning_details",
)
"""Fields of an answer that requests know. `reasoning_details` is OpenRouter's."""


class ChatCompletionsLayout(WireLayout):
    """Tools, then one system message, then messages."""

    wire: ClassVar[Wire] = "chat"
    tool_form = "chat"
    marker_key = "prompt_cache_breakpoint"
    reserved_arguments = frozenset(
        {"model", "messages", "tools", "prompt_cache_key", "prompt_cache_options"}
    )

    def render_tool(self, tool: Block) -> Block:
        function: Block = {"name": tool["name"]}
        if "description" in tool:
            function["description"] = tool["description"]
        function["parameters"] = tool.get("schema") or NO_ARGUMENTS
        if "strict" in tool:
            function["strict"] = tool["strict"]
        return {"type": "function", "function": function}

    def text_block(self, text: str) -> Block:
        return {"type": "text", "text": text}

    def marker(self, ttl: TTL) -> Any:
        return {"mode": "explicit"} if ttl == "30m" else {"mode": "explicit", "ttl": ttl}

    def ttl_of_marker(self, marker: Any) -> TTL:
        return "12h" if marker.get("ttl") == "12h" else "30m"

    def can_carry_marker(self, block: Block) -> bool:
        return block.get("type") in _MARKABLE and block.get("text") != ""

    def content(self, blocks: list[Block]) -> str | list[Block]:
        """Return the content of a message: blocks, or one text where no block is ever marked.

        Compatible servers of other vendors often take texts only.
        """
        if self.style.breakpoints == "automatic" and all(
            block.keys() == {"type", "text"} for block in blocks
        ):
            return "\n\n".join(str(block["text"]) for block in blocks)
        return blocks

    def build_head(self, layers: FrozenLayers) -> Head:
        """Return the head. Tools carry no breakpoint here, so one after them covers them."""
        head = Head(tools=self.render_tools(layers.tools))
        head.messages = self._system_messages(self.render_content(layers.system, "system"))
        head.messages += self.example_messages(layers.examples)
        head.tokens = sum(map(estimate_tokens, (*head.tools, *head.messages)))
        head.static_end = self.last_spot("messages", head.messages, head.tokens)
        shared = self._system_messages(self.render_content(layers.shared, "shared"))
        if shared:
            head.messages += shared
            head.tokens += estimate_tokens(shared)
            head.shared_end = self.last_spot("messages", head.messages, head.tokens)
        return head

    def _system_messages(self, blocks: list[Block]) -> list[Message]:
        return [{"role": "system", "content": self.content(blocks)}] if blocks else []

    def build_turn(self, results: ToolResults, parts: list[Block]) -> list[Message]:
        messages: list[Message] = []
        for call_id, content in results.contents.items():
            blocks = self.render_content(content, f"tool_results[{call_id!r}]")
            text = self.content(blocks)
            messages.append({"role": "tool", "tool_call_id": call_id, "content": text or ""})
        return [*messages, {"role": "user", "content": self.content(parts)}] if parts else messages

    def read_answer(self, answer: Any) -> list[Message]:
        completion: JSONObject = fold_chunks(answer) if is_array(answer) else answer
        choices = as_list(completion.get("choices"))
        fields = as_mapping(as_mapping(choices[0]).get("message")) if choices else completion
        if fields.get("role") != "assistant":
            raise PromptError("answer", "has no message of the assistant")
        kept = {name: fields[name] for name in _SENT_BACK if fields.get(name) is not None}
        if is_object(audio := fields.get("audio")):
            kept["audio"] = {"id": audio["id"]}
        if kept.get("tool_calls") and fields.get("reasoning_content"):
            # DeepSeek wants its reasoning back between the calls of tools, and nowhere else.
            kept["reasoning_content"] = fields["reasoning_content"]
        return [kept] if kept.keys() - {"role"} else []

    def is_from_user(self, message: Message) -> bool:
        return message.get("role") in _FROM_USER

    def text_of(self, message: Message, path: str) -> tuple[str, str]:
        role = str(message.get("role"))
        if role not in ("user", "assistant") or message.get("tool_calls"):
            held = "tool_calls" if message.get("tool_calls") else f"the role {role!r}"
            raise PromptError(path, f"holds {held}, which another wire cannot take")
        parts = self.parts_of(message)
        for part in parts:
            if part.get("type") != "text":
                raise PromptError(
                    path, f"holds {part.get('type')!r}, which another wire cannot take"
                )
        return role, "\n\n".join(str(part["text"]) for part in parts)

    def text_message(self, role: str, text: str) -> Message:
        blocks = [self.text_block(text)]
        return {"role": role, "content": text if role == "assistant" else self.content(blocks)}

    def open_calls(self, messages: Sequence[Message]) -> dict[str, str]:
        if not messages or self.is_from_user(messages[-1]):
            return {}
        calls = [as_mapping(call) for call in as_list(messages[-1].get("tool_calls"))]
        return {str(call.get("id")): name_of_tool(dict(call)) or "" for call in calls}

    def arguments(self, head: Head, messages: list[Message], model: str, key: str) -> Message:
        arguments: Message = {"model": model, "messages": [*head.messages, *messages]}
        if head.tools:
            arguments["tools"] = [*head.tools]
        if self.style.takes_key:
            arguments["prompt_cache_key"] = key
        if self.style.breakpoints == "exact":
            arguments["prompt_cache_options"] = {"mode": "explicit"}
        return arguments
