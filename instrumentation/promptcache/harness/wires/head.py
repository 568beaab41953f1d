"""The beginning of a request, which all turns of a chat share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, final

from promptcache.harness.names import Block, Message

SectionName = Literal["tools", "system", "messages"]


@final
class Spot(NamedTuple):
    """The item of a head that ends a layer, and the estimated tokens up to its end."""

    section: SectionName
    item: int
    tokens: int


@final
@dataclass(slots=True)
class Head:
    """The rendered static and shared layers. `system` is empty on wires that have it in messages.

    `static_end` and `shared_end` are the spots at which the layers end; None where no block of the
    layer may carry a breakpoint. `tokens` estimates the whole head.
    """

    tools: list[Block] = field(default_factory=list[Block])
    system: list[Block] = field(default_factory=list[Block])
    messages: list[Message] = field(default_factory=list[Message])
    static_end: Spot | None = None
    shared_end: Spot | None = None
    tokens: int = 0
