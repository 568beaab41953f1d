"""What this process remembers of earlier calls: hashes, sizes, times and token counts, never text.

A prompt is a path of nodes from a root, one node a block; the root stands for one cache (provider, host, credential),
so that prompts of different caches never share a node while a changed model, key or parameter stays comparable. A node
names the last calls that went through it, at most four, each with another scope. Bounded by least use; one lock, new
in a forked child. See docs/specs/diagnosis.md.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final, final

from .generations import Generations
from .model import Block, Level
from .prefix import Chain

_SCOPES: Final = 4
"""How many calls of different scopes a node names."""


@final
@dataclass(frozen=True, slots=True)
class Scope:
    """What decides whether a prefix may be reused without being text: `digest` over all of it, then each part.

    `params` holds name, digest of the value and the level that a change of it invalidates.
    """

    digest: int
    model: str | None
    params: tuple[tuple[str, int, Level], ...]


@final
@dataclass(slots=True, eq=False)
class Trace:
    """One remembered call. Times in epoch seconds; `at` is None while it runs.

    `leaf` is the link of its last block, `depth` the number of its blocks, `static` of those before the messages.
    `marks` holds the depths at which it asked for caching, each with the TTL. `input`, `read` and `write` are the
    tokens that the provider reported. `family` is the exported hash of the first relative.
    """

    root: int
    scope: Scope
    leaf: int
    depth: int
    static: int
    started: float
    links: tuple[int, ...] | None
    marks: tuple[tuple[int, str], ...] = ()
    at: float | None = None
    model: str | None = None
    input: int = 0
    read: int | None = None
    write: int | None = None
    family: str | None = None


@final
@dataclass(slots=True, eq=False)
class Node:
    """One block at its place. `end` is the prompt's size in bytes up to its end; `tokens` in tokens, where known.

    `traces` are keys of `Memory.traces`, the most recent first.
    """

    parent: int
    own: int
    section: str
    index: int
    kind: str
    end: int
    tokens: int | None = None
    traces: tuple[int, ...] = ()


@final
class Memory:
    """Bounded record of prefixes, calls and responses already counted. Use it under `with memory:`."""

    def __init__(self, nodes: int = 65_536, calls: int = 4_096) -> None:
        self.nodes: Generations[int, Node] = Generations(nodes)
        self.traces: Generations[int, Trace] = Generations(calls)
        self.scopes: Generations[int, Scope] = Generations(calls)
        self.pending: dict[int, Trace] = {}
        self._counted: Generations[Hashable, bool] = Generations(2 * calls)
        self._next = 0
        self._lock = Lock()
        _renew_in_children(self)

    def __enter__(self) -> Memory:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def renew(self) -> None:
        """A new lock for a forked child; what another thread was changing at the fork is forgotten."""
        if self._lock.locked():
            self.nodes.clear()
            self.traces.clear()
        self.pending = {}
        self._lock = Lock()

    def first_time(self, key: Hashable) -> bool:
        """Whether `key` is seen for the first time, of the most recent ones. Thread-safe; not inside `with`."""
        with self:
            if self._counted.get(key):
                return False
            self._counted[key] = True
            return True

    def start(self, trace: Trace) -> int:
        """Register a running call; the number names it until `stop`."""
        self._next += 1
        self.pending[self._next] = trace
        return self._next

    def known(self, links: Sequence[int]) -> int:
        """How many leading blocks are known: the new ones are looked at, and one known."""
        for depth in range(len(links), 0, -1):
            if self.nodes.get(links[depth - 1]) is not None:
                return depth
        return 0

    def at(self, link: int) -> Iterator[Trace]:
        """The calls that went through the block `link`, the most recent first."""
        node = self.nodes.get(link)
        for number in node.traces if node else ():
            if (trace := self.traces.get(number)) is not None:
                yield trace

    def learn(self, number: int, trace: Trace, blocks: Sequence[Block], chain: Chain) -> None:
        """Remember a finished call and every block that it went through."""
        self.traces[number] = trace
        parent = trace.root
        for block, own, link, end in zip(blocks, chain.own, chain.links, chain.ends, strict=True):
            node = self.nodes.get(link)
            if node is None:
                node = Node(parent, own, block.section, block.index, block.kind, end)
                self.nodes[link] = node
            node.traces = self._through(node.traces, number, trace.scope)
            parent = link

    def _through(self, traces: tuple[int, ...], number: int, scope: Scope) -> tuple[int, ...]:
        """`traces` with `number` before all, which replaces the one of the same scope."""
        others = [other for other in traces if (seen := self.traces.get(other)) and seen.scope is not scope]
        return (number, *others[: _SCOPES - 1])


def _renew_in_children(memory: Memory) -> None:
    if hasattr(os, "register_at_fork"):
        weak = weakref.ref(memory)

        def renew() -> None:
            alive = weak()
            if alive is not None:
                alive.renew()

        os.register_at_fork(after_in_child=renew)
