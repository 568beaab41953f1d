"""The turns of one conversation: they are appended and never changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

from promptcache.harness.names import Message
from promptcache.harness.token_estimate import estimate_tokens
from promptcache.harness.wires.wire_layout import WireLayout


@final
class TurnEnd(NamedTuple):
    """The last message of the user in a history that may carry a breakpoint.

    `message` is its number, `tokens` estimates the history up to its end, and `blocks_after` counts
    the blocks behind it.
    """

    message: int
    tokens: int
    blocks_after: int


@final
class History:
    """Messages in the wire's own form, without breakpoints, and their estimated tokens.

    `turn_end` is the end of the last turn of the user, None without one. `open_calls` are the tool
    calls that wait for results: id to name.
    """

    def __init__(self, layout: WireLayout, messages: Sequence[Message] = ()) -> None:
        self._layout = layout
        self.messages: list[Message] = []
        self.tokens = 0
        self.turn_end: TurnEnd | None = None
        self.append(messages)

    def append(self, messages: Sequence[Message]) -> None:
        """Append messages. Breakpoints on them are dropped."""
        for message in messages:
            bare = self._layout.without_markers(message)
            self.messages.append(bare)
            self.tokens += estimate_tokens(bare)
            self.turn_end = self._find_turn_end(bare)
        self.open_calls = self._layout.open_calls(self.messages)

    def _find_turn_end(self, newest: Message) -> TurnEnd | None:
        blocks = self._layout.count_blocks(newest)
        if self._layout.is_from_user(newest):
            markable = self._layout.find_markable(newest)
            if markable is not None:
                return TurnEnd(len(self.messages) - 1, self.tokens, blocks - markable - 1)
        last = self.turn_end
        return last and last._replace(blocks_after=last.blocks_after + blocks)
