"""Recorded calls, and the tree of their prefixes."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, final

from promptcache.providers.cache_rules import CacheRule

ROOT: Final = 0
"""The node of the empty prefix."""


class TokenPrices(NamedTuple):
    """Prices in USD per token. `writes` maps a TTL to its price."""

    input: float
    read: float
    writes: Mapping[str, float]
    output: float


class Breakpoint(NamedTuple):
    """A request to cache the first `depth` blocks for `ttl` (`5m`, `1h`)."""

    depth: int
    ttl: str


class RecordedMiss(NamedTuple):
    """What the diagnosis said of a call: why and where its prefix broke. Empty if not known.

    `call_site` reads `app.py:41`. `tokens` are the missed ones.
    """

    reason: str
    section: str
    block_index: int
    call_site: str
    tokens: int

    @property
    def place(self) -> str:
        """The place as `system[0]`, empty if it is not known."""
        return f"{self.section}[{self.block_index}]" if self.section else ""


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One call of the past. Times are epoch seconds.

    `links` identifies the prefix up to the end of each block, `ends` counts its tokens. The first
    `tools_depth` blocks are tools, those up to `static_depth` the system prompt. Calls with equal
    `cache` could read from each other. The cache holds a prefix from `visible_at` on. The recorded
    usage is `read_tokens` and `write_tokens`. `sizes` has the bytes of each block. Calls of one
    `family` descend from one prompt; `miss` is what the diagnosis found.
    """

    started_at: float
    visible_at: float
    conversation: Hashable
    provider: str
    cache: Hashable
    rule: CacheRule
    prices: TokenPrices
    links: tuple[Hashable, ...]
    ends: tuple[int, ...]
    tools_depth: int
    static_depth: int
    breakpoints: tuple[Breakpoint, ...]
    input_tokens: int
    output_tokens: int
    read_tokens: int
    write_tokens: Mapping[str, int]
    sizes: tuple[int, ...] = ()
    family: str | None = None
    miss: RecordedMiss | None = None

    def depth_of_block(self, section: str, index: int) -> int:
        """Return the number of blocks up to the end of this one."""
        starts = {"tools": 0, "system": self.tools_depth, "messages": self.static_depth}
        return starts.get(section, 0) + index + 1

    def layer_at(self, depth: int) -> str:
        """Return the layer of the block that ends at `depth`: tools, system or messages."""
        if depth <= self.tools_depth:
            return "tools"
        return "system" if depth <= self.static_depth else "messages"


@final
@dataclass(slots=True)
class PrefixTree:
    """All prefixes of all calls, each once. A node is a number.

    `parents`, `tokens` and `depths` have one entry a node: the prefix that is one block shorter,
    and the size in tokens and in blocks.
    """

    parents: list[int] = field(default_factory=lambda: [ROOT])
    tokens: list[int] = field(default_factory=lambda: [0])
    depths: list[int] = field(default_factory=lambda: [0])
    _nodes: dict[Hashable, int] = field(default_factory=dict[Hashable, int])

    def add_path(self, call: RecordedCall) -> int:
        """Add the prefixes of a call, and return the node of its whole prompt."""
        node = ROOT
        for link, end in zip(call.links, call.ends, strict=True):
            key = (call.cache, link)
            known = self._nodes.get(key)
            if known is None:
                known = self._nodes[key] = len(self.parents)
                self.parents.append(node)
                self.tokens.append(end)
                self.depths.append(self.depths[node] + 1)
            node = known
        return node

    def ancestor_at(self, node: int, depth: int) -> int:
        """Return the first `depth` blocks of the prefix `node`."""
        while self.depths[node] > depth:
            node = self.parents[node]
        return node


@final
class Traffic:
    """Recorded calls in the order of their starts."""

    def __init__(self, calls: Iterable[RecordedCall]) -> None:
        self.calls: Final = sorted(calls, key=lambda call: call.started_at)
        self.tree: Final = PrefixTree()
        self.end_nodes: Final = [self.tree.add_path(call) for call in self.calls]

    @property
    def seconds(self) -> float:
        """The time from the first start to the last one."""
        return self.calls[-1].started_at - self.calls[0].started_at if self.calls else 0.0
