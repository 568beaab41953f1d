"""Lay out one request of a chat: head, history, turn, and the breakpoints between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final, NamedTuple, final

from promptcache.harness.breakpoints import (
    LAYER_OF_PLACE,
    Breakpoint,
    Candidate,
    Place,
    check_own_breakpoints,
    choose_places,
    order_ttls,
)
from promptcache.harness.history import History, TurnEnd
from promptcache.harness.names import TTL, Block, Layer, Message
from promptcache.harness.token_estimate import estimate_tokens
from promptcache.harness.wires.head import Head, Spot
from promptcache.harness.wires.layers import FrozenLayers
from promptcache.harness.wires.wire_layout import WireLayout

_TOOLS, _SYSTEM, _HEAD_MESSAGES, _HISTORY, _TURN = range(5)
"""The sections of a request in the provider's order: first number of a breakpoint's position."""
_SECTIONS: Final = {"tools": _TOOLS, "system": _SYSTEM, "messages": _HEAD_MESSAGES}
_LAST: Final = 1 << 30
"""Behind every block of an item."""


@final
class Turn(NamedTuple):
    """A turn of the user: its messages, and the blocks that stand behind the last breakpoint."""

    messages: list[Message]
    now: list[Block]


@final
class RequestLayout:
    """Lays out the requests of one chat. The head is rendered once.

    `head` is without breakpoints. `breakpoints` and `notes` describe the last request.
    """

    def __init__(self, layout: WireLayout, layers: FrozenLayers, ttls: Mapping[Layer, TTL]) -> None:
        self._layout = layout
        self.head = layout.build_head(layers)
        self._ttls = ttls
        self._spots: dict[Place, Spot] = {}
        if self.head.static_end:
            self._spots["static"] = self.head.static_end
        if self.head.shared_end:
            self._spots["shared"] = self.head.shared_end
        self._own_in_head = tuple(self._own_breakpoints_in_head())
        self._marked_heads: dict[tuple[tuple[Place, TTL], ...], Head] = {}
        self.breakpoints: Mapping[Place, TTL] = {}
        self.notes: tuple[str, ...] = ()

    def lay_out(
        self,
        history: History,
        turn: Turn,
        model: str,
        key: str,
        *,
        has_cached_head: bool = False,
    ) -> Message:
        """Return the keyword arguments of a request; without the head if a named cache has it."""
        previous: TurnEnd | None = None
        ttls: dict[Place, TTL] = {}
        if self._layout.style.breakpoints != "automatic":
            previous = history.turn_end
            ttls = self._choose_breakpoints(history, turn, previous)
        self.breakpoints = ttls
        messages = list(history.messages)
        if previous and "previous" in ttls:
            marked = self._layout.with_marked_message(messages[previous.message], ttls["previous"])
            messages[previous.message] = marked
        tail = [*turn.messages]
        if "latest" in ttls:
            tail[-1] = self._layout.with_marked_message(tail[-1], ttls["latest"])
        if turn.now:
            tail = self._layout.with_now(tail, turn.now)
        head = Head() if has_cached_head else self._marked_head(ttls)
        return self._layout.arguments(head, [*messages, *tail], model, key)

    def _choose_breakpoints(
        self, history: History, turn: Turn, previous: TurnEnd | None
    ) -> dict[Place, TTL]:
        own = [*self._own_in_head, *self._own_breakpoints(_TURN, turn.messages)]
        style = self._layout.style
        check_own_breakpoints(own, style)
        candidates = [
            one
            for one in self._candidates(history, turn, previous)
            if LAYER_OF_PLACE[one.place] in self._ttls
        ]
        free = style.max_breakpoints - len(own)
        places, self.notes = choose_places(candidates, style, free)
        ours = [self._breakpoint(place, previous) for place in places]
        return order_ttls([*own, *ours])

    def _candidates(
        self, history: History, turn: Turn, previous: TurnEnd | None
    ) -> Iterator[Candidate]:
        """Yield the places at which a breakpoint would be read later.

        The first question may stay the only one, and what is written for it would never be read. So
        it gets no breakpoint; in a conversation the latest turn has one. See docs/harness.md.
        """
        head = self.head
        for place, spot in self._spots.items():
            yield Candidate(place, spot.tokens)
        if not history.messages or not turn.messages:
            return
        if previous and self._needs_previous(turn, previous):
            yield Candidate("previous", head.tokens + previous.tokens)
        if self._layout.find_markable(turn.messages[-1]) is not None:
            tokens = sum(map(estimate_tokens, turn.messages))
            yield Candidate("latest", head.tokens + history.tokens + tokens)

    def _needs_previous(self, turn: Turn, previous: TurnEnd) -> bool:
        """Return whether the latest breakpoint alone would not find the previous turn's entry."""
        if self._layout.style.breakpoints == "exact":
            return True
        added = previous.blocks_after + sum(map(self._layout.count_blocks, turn.messages))
        return added > self._layout.style.lookback - 2

    def _breakpoint(self, place: Place, previous: TurnEnd | None) -> Breakpoint:
        ttl = self._ttls[LAYER_OF_PLACE[place]]
        spot = self._spots.get(place)
        if spot is not None:
            return Breakpoint((_SECTIONS[spot.section], spot.item, _LAST), ttl, place)
        if place == "previous" and previous is not None:
            return Breakpoint((_HISTORY, previous.message, _LAST), ttl, place)
        return Breakpoint((_TURN, _LAST), ttl, place)

    def _own_breakpoints_in_head(self) -> Iterator[Breakpoint]:
        yield from self._own_breakpoints(_TOOLS, self.head.tools)
        yield from self._own_breakpoints(_SYSTEM, self.head.system)
        yield from self._own_breakpoints(_HEAD_MESSAGES, self.head.messages)

    def _own_breakpoints(self, section: int, items: list[Block]) -> Iterator[Breakpoint]:
        for position, ttl in self._layout.markers_in(items):
            yield Breakpoint((section, *position), ttl)

    def _marked_head(self, ttls: Mapping[Place, TTL]) -> Head:
        wanted: tuple[tuple[Place, TTL], ...] = tuple(
            (place, ttls[place]) for place in self._spots if place in ttls
        )
        if wanted not in self._marked_heads:
            self._marked_heads[wanted] = self._mark_head(wanted)
        return self._marked_heads[wanted]

    def _mark_head(self, wanted: tuple[tuple[Place, TTL], ...]) -> Head:
        head = replace(
            self.head,
            tools=[*self.head.tools],
            system=[*self.head.system],
            messages=[*self.head.messages],
        )
        # From the end on: where a breakpoint is a block of its own, it moves all blocks behind it.
        for place, ttl in reversed(wanted):
            spot = self._spots[place]
            if spot.section == "tools":
                head.tools = self._layout.mark_block(head.tools, spot.item, ttl)
            elif spot.section == "system":
                head.system = self._layout.mark_block(head.system, spot.item, ttl)
            else:
                message = head.messages[spot.item]
                head.messages[spot.item] = self._layout.with_marked_message(message, ttl)
        return head
