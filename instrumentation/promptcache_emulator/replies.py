"""Replies of the emulated model: short and deterministic, with a tool call or JSON on request."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from promptcache_emulator.json_util import as_json_object
from promptcache_emulator.schema_examples import example_for_schema
from promptcache_emulator.tokens import count_tokens

_WORDS: Final = re.findall(
    r"\w+",
    "the answer follows from what you sent and nothing else, so it is kept short on purpose",
)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call. `arguments` fits the tool's schema."""

    name: str
    arguments: dict[str, Any]

    @property
    def arguments_json(self) -> str:
        return json.dumps(self.arguments)


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply with either `text` or tool `calls`."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()

    @property
    def chunks(self) -> list[str]:
        """The text word by word, as it is streamed. The chunks join to the whole text."""
        return re.findall(r"\S+\s*|\s+", self.text)

    @property
    def token_count(self) -> int:
        calls = sum(count_tokens(call.name + call.arguments_json) for call in self.calls)
        return count_tokens(self.text) + calls


@dataclass(frozen=True, slots=True)
class ReplyRequest:
    """What determines a reply.

    `last_text` is the newest text of the request. `tools` maps tool names to schemas.
    `tool_choice` is `none`, `auto`, `required` or the name of a tool. `is_tool_result` is true if
    the newest message is the result of a tool. `json_schema` asks for a JSON object.
    """

    last_text: str
    tools: Mapping[str, Any]
    tool_choice: str = "auto"
    is_tool_result: bool = False
    json_schema: Any = None
    word_count: int = 8


_fixed_reply: ContextVar[Reply | None] = ContextVar("fixed_reply", default=None)
_unmet_keywords: ContextVar[list[str] | None] = ContextVar("unmet_keywords", default=None)


@contextmanager
def fixed_reply(reply: Reply | None) -> Generator[None]:
    """Answer every request of this context with `reply`; with an invented one if it is None."""
    token = _fixed_reply.set(reply)
    try:
        yield
    finally:
        _fixed_reply.reset(token)


@contextmanager
def unmet_keywords() -> Generator[list[str]]:
    """Collect the keywords of schemas that the replies of this context may not meet."""
    found: list[str] = []
    token = _unmet_keywords.set(found)
    try:
        yield found
    finally:
        _unmet_keywords.reset(token)


def generate_reply(request: ReplyRequest) -> Reply:
    """Return the reply. With `auto`, it calls a tool whose name is in the newest text."""
    if (fixed := _fixed_reply.get()) is not None:
        return fixed
    if name := _chosen_tool(request):
        schema = request.tools[name]
        example = as_json_object(example_for_schema(schema, schema, _unmet_keywords.get()))
        return Reply(calls=(ToolCall(name, example),))
    if request.json_schema is not None:
        schema = request.json_schema
        return Reply(json.dumps(example_for_schema(schema, schema, _unmet_keywords.get())))
    seed = int.from_bytes(
        blake2b(request.last_text.encode("utf-8", "surrogatepass"), digest_size=2).digest()
    )
    count = max(1, request.word_count - 1)
    words = [_WORDS[(seed + index) % len(_WORDS)] for index in range(count)]
    return Reply(" ".join([*words, f"{seed:04x}."][: max(1, request.word_count)]))


def _chosen_tool(request: ReplyRequest) -> str | None:
    if request.tool_choice in request.tools:
        return request.tool_choice
    if request.tool_choice == "required":
        return next(iter(request.tools), None)
    if request.tool_choice == "none" or request.is_tool_result:
        return None
    mentioned = (
        name for name in request.tools if re.search(rf"\b{re.escape(name)}\b", request.last_text)
    )
    return next(mentioned, None)
