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
    """Messages in the wire's own form, without breakpoints, and their estimated tokens."""

    def __init__(self, layout: WireLayout, messages: Sequence[Message] = ()) -> None:
        self._layout = layout
        self.messages: list[Message] = []
        self._sizes: list[int] = []
        self.tokens = 0
        self.append(messages)

    def append(self, messages: Sequence[Message]) -> None:
        """Append messages. Breakpoints on them are dropped."""
        for message in messages:
            bare = self._layout.without_markers(message)
            self.messages.append(bare)
            self._sizes.append(estimate_tokens(bare))
            self.tokens += self._sizes[-1]

    def find_turn_end(self) -> TurnEnd | None:
        """Return the end of the last turn of the user; None without one."""
        blocks_after, tokens = 0, self.tokens
        for index in reversed(range(len(self.messages))):
            message = self.messages[index]
            if self._layout.is_from_user(message):
                markable = self._layout.find_markable(message)
                if markable is not None:
                    blocks_after += self._layout.count_blocks(message) - markable - 1
                    return TurnEnd(index, tokens, blocks_after)
            blocks_after += self._layout.count_blocks(message)
            tokens -= self._sizes[index]
        return None
