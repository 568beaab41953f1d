"""What the wires have in common: content blocks, breakpoints on them, and the head of a request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from operator import eq
from typing import Any, ClassVar, Final, cast

from promptcache.harness.caching_style import CachingStyle
from promptcache.harness.frozen_json import check_text, freeze_json
from promptcache.harness.json_guards import is_array, is_object
from promptcache.harness.names import TTL, Block, Content, Message, Wire
from promptcache.harness.prompt_error import PromptError
from promptcache.harness.token_estimate import estimate_tokens
from promptcache.harness.tool import wire_of_tool
from promptcache.harness.wires.head import Head, SectionName, Spot
from promptcache.harness.wires.layers import FrozenLayers
from promptcache.harness.wires.tool_results import ToolResults

NO_ARGUMENTS: Final[Block] = {"type": "object", "properties": {}}
"""The schema of a tool without arguments."""


class WireLayout(ABC):
    """Renders the layers of a prompt for one API. Has no state but the caching style."""

    wire: ClassVar[Wire]
    marker_key: str
    """The key of a content block that makes it a breakpoint."""
    reserved_arguments: ClassVar[frozenset[str]]
    """The keyword arguments that the harness itself sets."""
    tool_form: ClassVar[str]
    """The wire in whose own form a caller may write tools."""
    takes_bytes: ClassVar[bool] = False
    """Whether the SDK takes binary data as bytes and encodes it itself."""
    params_in_named_cache: ClassVar[frozenset[str]] = frozenset()
    """The parameters that belong into a named cache, and not beside it."""
    names_model: ClassVar[bool] = True
    """Whether an answer names the model that gave it."""

    def __init__(self, style: CachingStyle) -> None:
        self.style = style

    # What a wire defines

    @abstractmethod
    def render_tool(self, tool: Block) -> Block:
        """Return the wire's form of a tool in the harness's form."""

    @abstractmethod
    def text_block(self, text: str) -> Block:
        """Return a text of the user or of the system prompt as a content block."""

    @abstractmethod
    def marker(self, ttl: TTL) -> Any:
        """Return the value of `marker_key` for a breakpoint."""

    @abstractmethod
    def ttl_of_marker(self, marker: Any) -> TTL:
        """Return the TTL that a caller's own marker asks for."""

    @abstractmethod
    def can_carry_marker(self, block: Block) -> bool:
        """Return whether the provider accepts a breakpoint on a block."""

    @abstractmethod
    def build_head(self, layers: FrozenLayers) -> Head:
        """Return the rendered static and shared layers."""

    @abstractmethod
    def build_turn(self, results: ToolResults, parts: list[Block]) -> list[Message]:
        """Return the messages of a user's turn: first the results of tools, then the parts."""

    @abstractmethod
    def read_answer(self, answer: Any) -> list[Message]:
        """Return a plain response, or a list of plain events, as the history's messages."""

    @abstractmethod
    def is_from_user(self, message: Message) -> bool:
        """Return whether a message belongs to a user's turn; results of tools do."""

    @abstractmethod
    def text_of(self, message: Message, path: str) -> tuple[str, str]:
        """Return role (`user` or `assistant`) and text of a message, to carry it to another wire.

        Raise PromptError if it holds more than text.
        """

    @abstractmethod
    def text_message(self, role: str, text: str) -> Message:
        """Return a message that consists of text. `role` is `user` or `assistant`."""

    @abstractmethod
    def open_calls(self, messages: Sequence[Message]) -> dict[str, str]:
        """Return the tool calls at the end of a history that wait for results: id to name."""

    @abstractmethod
    def arguments(self, head: Head, messages: list[Message], model: str, key: str) -> Message:
        """Return the keyword arguments of the SDK's function."""

    # What most wires share

    def finish(self, arguments: Message, params: Mapping[str, Any]) -> Message:
        """Return the keyword arguments with the parameters of a call."""
        return {**arguments, **params}

    def to_stored(self, message: Message) -> Message:
        """Return a message as JSON data."""
        return message

    def from_stored(self, message: Message) -> Message:
        """Return a message that `to_stored` made JSON data of."""
        return message

    def render_tools(self, tools: Sequence[Block]) -> list[Block]:
        """Return the tools in the wire's form. Raise PromptError for another wire's own form."""
        rendered: list[Block] = []
        for index, tool in enumerate(tools):
            source = wire_of_tool(tool)
            if source is None:
                rendered.append(self.render_tool(tool))
            elif source == self.tool_form:
                rendered.append(dict(tool))
            else:
                problem = f"is in the form of the wire {source!r}, and this chat is {self.wire!r}"
                raise PromptError(f"tools[{index}]", problem)
        return rendered

    def render_content(self, content: Content | None, path: str) -> list[Block]:
        """Return content as the wire's blocks: a text becomes one, an empty text none."""
        if content is None:
            return []
        given = [content] if isinstance(content, (str, Mapping)) else list(content)
        return [
            block
            for index, part in enumerate(given)
            if (block := self._render_part(part, f"{path}[{index}]"))
        ]

    def _render_part(self, part: object, path: str) -> Block | None:
        if isinstance(part, str):
            return self.text_block(check_text(part, path)) if part else None
        block = freeze_json(part, path, sort_keys=False, takes_bytes=self.takes_bytes)
        if not is_object(block):
            raise PromptError(path, f"is neither a text nor a block, but {type(part).__name__}")
        fields = block
        if fields.keys() == {"type", "text"} and isinstance(fields["text"], str):
            return self.text_block(fields["text"]) if fields["text"] else None
        return fields

    def content(self, blocks: list[Block]) -> Any:
        """Return the content of a message that consists of `blocks`."""
        return blocks

    def with_now(self, messages: list[Message], now: list[Block]) -> list[Message]:
        """Return a turn with `now` as its last blocks. They belong to a message of the user."""
        last = messages[-1]
        if last.get("role") != "user":
            return [*messages, {"role": "user", self.parts_key({}): self.content(now)}]
        parts = [*self.parts_of(last), *now]
        return [*messages[:-1], {**last, self.parts_key(last): self.content(parts)}]

    def parts_key(self, message: Message) -> str:
        """Return the key under which a message has its blocks."""
        return "content"

    def parts_of(self, message: Message) -> list[Block]:
        """Return the blocks of a message. A text is one block."""
        content = message.get(self.parts_key(message))
        if isinstance(content, str):
            return [self.text_block(content)] if content else []
        return content if is_array(content) else []

    def count_blocks(self, message: Message) -> int:
        """Return how many blocks the provider counts in a message."""
        return max(1, len(self.parts_of(message)))

    def find_markable(self, message: Message) -> int | None:
        """Return the last block of a message that may carry a breakpoint; None if none may."""
        parts = self.parts_of(message)
        indexes = reversed(range(len(parts)))
        return next((index for index in indexes if self.can_carry_marker(parts[index])), None)

    def with_marker(self, block: Block, ttl: TTL) -> Block:
        """Return a copy of a block that is a breakpoint. A marker of the caller stays."""
        return block if self.marker_key in block else {**block, self.marker_key: self.marker(ttl)}

    def mark_block(self, blocks: Sequence[Block], index: int, ttl: TTL) -> list[Block]:
        """Return a copy of blocks with a breakpoint at the end of one."""
        marked = list(blocks)
        marked[index] = self.with_marker(marked[index], ttl)
        return marked

    def with_marked_message(self, message: Message, ttl: TTL) -> Message:
        """Return a copy of a message with a breakpoint on its last block that may carry one."""
        index = self.find_markable(message)
        if index is None:
            return message
        parts = self.mark_block(self.parts_of(message), index, ttl)
        return {**message, self.parts_key(message): parts}

    def without_markers(self, message: Message) -> Message:
        """Return a message without breakpoints: those of an earlier turn would add up to a 400."""
        key = self.parts_key(message)
        parts = message.get(key)
        if not is_array(parts) or not any(self.markers_in([message])):
            return message
        return {**message, key: self.without_marked_parts(parts)}

    def without_marked_parts(self, parts: list[Any]) -> list[Any]:
        """Return the parts of a message without breakpoints."""
        return [self._without_marker(part) for part in parts]

    def _without_marker(self, block: Any) -> Any:
        if not is_object(block):
            return block
        fields = block
        bare = {name: value for name, value in fields.items() if name != self.marker_key}
        if is_array(inner := bare.get("content")):
            bare["content"] = [self._without_marker(part) for part in inner]
        return bare

    def markers_in(self, items: Sequence[Block]) -> Iterator[tuple[tuple[int, ...], TTL]]:
        """Yield position and TTL of each breakpoint in tools, blocks or messages."""
        for index, item in enumerate(items):
            if is_object(marker := item.get(self.marker_key)):
                yield (index,), self.ttl_of_marker(cast("Any", marker))
            inner = item.get(self.parts_key(item))
            if not is_array(inner):
                continue
            blocks: list[Block] = [part for part in inner if is_object(part)]
            for position, ttl in self.markers_in(blocks):
                yield (index, *position), ttl

    def last_spot(self, section: SectionName, items: Sequence[Block], tokens: int) -> Spot | None:
        """Return the last item that may carry a breakpoint. `tokens` end at the last item."""
        for index in reversed(range(len(items))):
            item = items[index]
            is_found = (
                self.find_markable(item) is not None
                if section == "messages"
                else self.can_carry_marker(item)
            )
            if is_found:
                return Spot(section, index, tokens)
            tokens -= estimate_tokens(item)
        return None

    def build_sectioned_head(self, layers: FrozenLayers) -> Head:
        """Return the head of a wire whose system blocks are not among its messages.

        Beside examples the shared layer is a message of the user: the examples are messages, and a
        system block before them would separate them by tenant.
        """
        head = Head(tools=self.render_tools(layers.tools))
        head.system = self.render_content(layers.system, "system")
        head.messages = self.example_messages(layers.examples)
        head.tokens = self.estimate_all((*head.tools, *head.system, *head.messages))
        head.static_end = (
            self.last_spot("messages", head.messages, head.tokens)
            or self.last_spot("system", head.system, head.tokens)
            or self.last_spot("tools", head.tools, head.tokens)
        )
        shared = self.render_content(layers.shared, "shared")
        if not shared:
            return head
        head.tokens += self.estimate_all(shared)
        if head.messages:
            head.messages.append({"role": "user", self.parts_key({}): shared})
            head.shared_end = self.last_spot("messages", head.messages, head.tokens)
        else:
            head.system += shared
            head.shared_end = self.last_spot("system", head.system, head.tokens)
        return head

    def estimate_all(self, items: Sequence[Block]) -> int:
        """Return an upper estimate of the tokens of tools, blocks or messages."""
        return sum(map(estimate_tokens, items))

    def join_same_roles(self, messages: list[Message]) -> list[Message]:
        """Return messages whose roles alternate: neighbours of one role become one message."""
        roles = [message.get("role") for message in messages]
        if not any(map(eq, roles, roles[1:])):  # nearly always: a long history costs no copy
            return messages
        joined: list[Message] = []
        for message in messages:
            if joined and joined[-1].get("role") == message.get("role"):
                key = self.parts_key(message)
                joined[-1] = {**message, key: [*joined[-1][key], *message[key]]}
            else:
                joined.append(message)
        return joined

    def example_messages(self, examples: Sequence[tuple[str, str]]) -> list[Message]:
        """Return examples as turns of user and assistant."""
        return [
            self.text_message(role, text)
            for pair in examples
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
