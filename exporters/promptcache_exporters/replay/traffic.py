"""Recorded calls: one by one, and many of them in columns."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar, final

from promptcache.providers.cache_rules import CacheRule
from promptcache_exporters.replay.early_eviction import EarlyEviction
from promptcache_exporters.replay.prefix_tree import ROOT, PrefixTree

Value = TypeVar("Value", bound=Hashable)


class TokenPrices(NamedTuple):
    """Prices in USD per token. `writes` maps a TTL to its price."""

    input: float
    read: float
    writes: Mapping[str, float]
    output: float

    def key(self) -> Hashable:
        """Return what equal prices have in common."""
        return self.input, self.read, *self.writes.items(), self.output


class Breakpoint(NamedTuple):
    """A request to cache the first `depth` blocks for `ttl` (`5m`, `1h`)."""

    depth: int
    ttl: str


class LayerMark(NamedTuple):
    """A breakpoint without its place: the layer of its block (tools, system, messages), its TTL."""

    layer: str
    ttl: str


class CallKind(NamedTuple):
    """What many calls have in common.

    `marks` are the breakpoints by depth. `static_layer` is the last one before the messages, empty
    if there is none; `end_layer` is the one of the last block.
    """

    provider: str
    rule: CacheRule
    prices: TokenPrices
    marks: tuple[LayerMark, ...]
    static_layer: str
    end_layer: str

    @property
    def last_ttl(self) -> str:
        """The TTL of the last breakpoint, empty if there is none."""
        return self.marks[-1].ttl if self.marks else ""


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


def layer_at(depth: int, tools_depth: int, static_depth: int) -> str:
    """Return the layer of the block that ends at `depth`: tools, system or messages."""
    if depth <= tools_depth:
        return "tools"
    return "system" if depth <= static_depth else "messages"


@final
class Numbering(Generic[Value]):
    """Distinct values, and the number of each."""

    def __init__(self) -> None:
        self.values: Final[list[Value]] = []
        self._numbers: Final[dict[Value, int]] = {}

    def number_of(self, value: Value) -> int:
        """Return the number of a value. A new value gets the next one."""
        number = self._numbers.get(value)
        if number is None:
            number = self._numbers[value] = len(self.values)
            self.values.append(value)
        return number


class CallNodes(NamedTuple):
    """The places of a call in the tree: its end, the end of its static part, its breakpoints.

    The static part may be empty. `tools_depth` is the number of its blocks that are tools.
    """

    end: int
    static: int
    tools_depth: int
    marks: Sequence[int]


class CallUsage(NamedTuple):
    """The recorded usage of a call in tokens. Writes are by TTL."""

    input: int
    output: int
    read: int
    writes: Mapping[str, int]


NO_MISS: Final = RecordedMiss("", "", 0, "", 0)


@final
class Traffic:
    """Recorded calls in the order of their starts, as columns: a million calls fit in memory.

    `kinds` has the values of the column `kind`, `families` those of `family`, and `misses` those
    of `miss`, without their tokens. The breakpoints of call `n` are at the nodes
    `mark_nodes[mark_starts[n] : mark_starts[n + 1]]`.
    """

    def __init__(self, calls: Iterable[RecordedCall] = (), tree: PrefixTree | None = None) -> None:
        self.tree = PrefixTree() if tree is None else tree
        self.kinds: list[CallKind] = []
        self.early_eviction = EarlyEviction(0, 0)
        self.families: Final = Numbering[tuple[Hashable, str | None]]()
        self.misses: Final = Numbering[RecordedMiss]()
        self.conversations: Final = Numbering[Hashable]()
        self.started_at: Final = array("d")
        self.visible_at: Final = array("d")
        self.recorded_usd: Final = array("d")
        self.conversation: Final = array("i")
        self.family: Final = array("i")
        self.miss: Final = array("i")
        self.missed_tokens: Final = array("i")
        self.input_tokens: Final = array("i")
        self.output_tokens: Final = array("i")
        self.read_tokens: Final = array("i")
        self.tools_depth = array("i")
        self.kind = array("i")
        self.end_nodes = array("i")
        self.static_nodes = array("i")
        self.mark_starts = array("i", [0])
        self.mark_nodes = array("i")
        self._kind_numbers: dict[Hashable, int] = {}
        self._add_calls(sorted(calls, key=lambda call: call.started_at))

    def __len__(self) -> int:
        return len(self.started_at)

    @property
    def seconds(self) -> float:
        """The time from the first start to the last one."""
        return self.started_at[-1] - self.started_at[0] if self.started_at else 0.0

    def add_times(self, started_at: float, visible_at: float, conversation: Hashable) -> None:
        """Begin the next call. Each of the methods `add_...` below adds its part."""
        self.started_at.append(started_at)
        self.visible_at.append(visible_at)
        self.conversation.append(self.conversations.number_of(conversation))

    def add_family(self, cache: Hashable, family: str | None) -> None:
        """Add of which prompt the call descends."""
        self.family.append(self.families.number_of((cache, family)))

    def add_miss(self, miss: RecordedMiss, tokens: int) -> None:
        """Add what the diagnosis said of the call. `miss` has no tokens itself."""
        self.miss.append(self.misses.number_of(miss))
        self.missed_tokens.append(tokens)

    def add_nodes(self, kind: int, nodes: CallNodes) -> None:
        """Add the kind of the call and its places in the tree."""
        self.kind.append(kind)
        self.end_nodes.append(nodes.end)
        self.static_nodes.append(nodes.static)
        self.tools_depth.append(nodes.tools_depth)
        self.mark_nodes.extend(nodes.marks)
        self.mark_starts.append(len(self.mark_nodes))

    def add_usage(self, usage: CallUsage, prices: TokenPrices) -> None:
        """Add the recorded usage of the call."""
        self.input_tokens.append(usage.input)
        self.output_tokens.append(usage.output)
        self.read_tokens.append(usage.read)
        self.recorded_usd.append(_usd_of_usage(usage, prices))

    def copy_without_nodes(self, tree: PrefixTree) -> Traffic:
        """Return the calls without their places in the tree, which `add_nodes` gives them anew."""
        other = copy(self)
        other.tree, other.kinds, other._kind_numbers = tree, [*self.kinds], dict(self._kind_numbers)
        other.kind, other.end_nodes, other.static_nodes = array("i"), array("i"), array("i")
        other.mark_starts, other.mark_nodes = array("i", [0]), array("i")
        other.tools_depth = array("i")
        return other

    def with_kinds(self, change: Callable[[CallKind], CallKind]) -> Traffic:
        """Return the traffic with other kinds in place of its own."""
        other = copy(self)
        other.kinds = [change(kind) for kind in self.kinds]
        return other

    def with_early_eviction(self, early_eviction: EarlyEviction) -> Traffic:
        """Return the traffic with what is known of the lifetimes of entries."""
        other = copy(self)
        other.early_eviction = early_eviction
        return other

    def nodes_of(self, number: int) -> CallNodes:
        """Return the places of a call in the tree."""
        first, behind = self.mark_starts[number], self.mark_starts[number + 1]
        return CallNodes(
            self.end_nodes[number],
            self.static_nodes[number],
            self.tools_depth[number],
            self.mark_nodes[first:behind],
        )

    def number_of_kind(self, kind: CallKind) -> int:
        """Return the number of a kind. A new one gets the next number."""
        key = (kind.provider, id(kind.rule), kind.prices.key(), *kind[3:])
        number = self._kind_numbers.get(key)
        if number is None:
            number = self._kind_numbers[key] = len(self.kinds)
            self.kinds.append(kind)
        return number

    def _add_calls(self, calls: Sequence[RecordedCall]) -> None:
        known: dict[Hashable, int] = {}
        for call in calls:
            path = self._add_path(call, known)
            self.add_times(call.started_at, call.visible_at, call.conversation)
            self.add_family(call.cache, call.family)
            miss = call.miss or NO_MISS
            self.add_miss(miss._replace(tokens=0), miss.tokens)
            marks = [path[min(it.depth, len(path) - 1)] for it in call.breakpoints]
            nodes = CallNodes(path[-1], path[call.static_depth], call.tools_depth, marks)
            self.add_nodes(self.number_of_kind(_kind_of(call)), nodes)
            usage = (call.input_tokens, call.output_tokens, call.read_tokens, call.write_tokens)
            self.add_usage(CallUsage(*usage), call.prices)

    def _add_path(self, call: RecordedCall, known: dict[Hashable, int]) -> list[int]:
        """Add the prefixes of a call, and return their nodes, the root first."""
        path = [ROOT]
        sizes = call.sizes or (1,) * len(call.links)
        for link, end, size in zip(call.links, call.ends, sizes, strict=True):
            key = (call.cache, link)
            if key not in known:
                known[key] = self.tree.add_block(path[-1], end, size)
            path.append(known[key])
        return path


def _kind_of(call: RecordedCall) -> CallKind:
    def layer_of(depth: int) -> str:
        return layer_at(depth, call.tools_depth, call.static_depth)

    return CallKind(
        call.provider,
        call.rule,
        call.prices,
        tuple([LayerMark(layer_of(it.depth), it.ttl) for it in call.breakpoints]),
        layer_of(call.static_depth) if call.static_depth else "",
        layer_of(len(call.links)),
    )


def _usd_of_usage(usage: CallUsage, prices: TokenPrices) -> float:
    plain = usage.input - usage.read - sum(usage.writes.values())
    return (
        plain * prices.input
        + usage.read * prices.read
        + sum(prices.writes.get(ttl, 0.0) * tokens for ttl, tokens in usage.writes.items())
        + usage.output * prices.output
    )
