"""What this process remembers of earlier calls: hashes, sizes, times and token counts, never text.

A prompt is a path of nodes from a root, one node a block; the root stands for one cache (provider, host, credential)
under one wire, so that prompts of different caches never share a node while a changed model, key or parameter stays
comparable. A node names the last calls that went through it, at most four, each with another scope. Bounded by least
use; one lock, new in a forked child. See docs/specs/diagnosis.md.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final, NamedTuple, final

from promptcache.generations import Generations
from promptcache.grain import Deep, Grain
from promptcache.model import Level

_SCOPES: Final = 4
"""How many calls of different scopes a node names."""


@final
class Scope(NamedTuple):
    """What decides whether a prefix may be reused without being text; the memory holds one object for equal ones.

    `params` holds name, digest of the value and the level that a change of it invalidates.
    """

    model: str | None
    params: tuple[tuple[str, int, Level], ...]


@final
@dataclass(slots=True, eq=False)
class Trace:
    """One remembered call. Times in epoch seconds; `at` is None while it runs.

    `links` are those of its blocks while it runs; later `leaf`, the last of them, leads to all. `depth` counts its
    blocks, `static` those before the messages. `marks` holds the depths at which it asked for caching, `ttl` the
    lifetime in seconds of what it left there. `input`, `read` and `write` are the tokens that the provider reported,
    `served` the model that it named. `family` is the exported hash of the first relative; `place` and `streak` say
    where the prefix broke and how many times in a row it did so there. `later` is the number of the last call that
    extended this one. `pinned` says that it read no more than the call that it extends although that one had written.
    """

    root: int
    scope: Scope
    leaf: int
    depth: int
    static: int
    started: float
    links: tuple[int, ...]
    marks: tuple[int, ...] = ()
    ttl: float = 0.0
    at: float | None = None
    served: str | None = None
    input: int = 0
    read: int = 0
    write: int | None = None
    family: str | None = None
    place: tuple[str, int] | None = None
    streak: int = 0
    later: int | None = None
    pinned: bool = False


@final
@dataclass(slots=True, eq=False)
class Node:
    """One block at its place: `end` is the size of the prompt up to its end, in bytes; `tokens` in tokens, if known.

    `traces` are keys of `Memory.traces`: the calls that brought the block, departed behind it or ended with it, the
    most recent first; those that went on from them are found through `Trace.later`.
    """

    link: int
    parent: int
    own: int
    section: str
    index: int
    kind: str
    size: int
    end: int
    grain: Grain
    tokens: int | None = None
    traces: tuple[int, ...] = ()


@final
class Memory:
    """Bounded record of prefixes, calls and responses already counted. Use it under `with memory:`.

    `nodes` are the blocks at their places; `deep` the finer fingerprints of those that ought to stay the same; `where`
    and `sketches` lead from a block alone and from a sentence to the last place where it stood; `named` leads from a
    response id or a conversation's head to a call; `rates` counts calls by minute.
    """

    def __init__(self, nodes: int = 65_536, calls: int = 4_096) -> None:
        self.nodes: Generations[int, Node] = Generations(nodes)
        self.where: Generations[int, int] = Generations(nodes)
        self.deep: Generations[int, Deep] = Generations(calls)
        self.sketches: Generations[int, int] = Generations(4 * calls)
        self.traces: Generations[int, Trace] = Generations(calls)
        self.scopes: Generations[object, Scope] = Generations(calls)
        self.named: Generations[object, int] = Generations(2 * calls)
        self.rates: Generations[int, tuple[int, int]] = Generations(calls)
        self.pending: dict[int, Trace] = {}
        self.on_fork: Callable[[], None] | None = None
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
        """A new lock for a forked child; if another thread was at work at the fork, all is forgotten."""
        if self._lock.locked():
            for held in (
                self.nodes,
                self.where,
                self.deep,
                self.sketches,
                self.traces,
                self.named,
                self.rates,
            ):
                held.clear()
        self.pending = {}
        if self.on_fork is not None:
            self.on_fork()
        self._lock = Lock()

    def first_time(self, key: Hashable) -> bool:
        """Whether `key` is seen for the first time, of the most recent ones. Thread-safe; not inside `with`."""
        with self:
            if self._counted.get(key):
                return False
            self._counted[key] = True
            return True

    def start(self, trace: Trace) -> int:
        """Register a running call; the number names it until `stop` and, once learned, for good."""
        self._next += 1
        self.pending[self._next] = trace
        return self._next

    def known(self, links: Sequence[int]) -> int:
        """How many leading blocks are known: the new ones are looked at, and one known."""
        nodes = self.nodes
        for depth in range(len(links), 0, -1):
            if links[depth - 1] in nodes:
                if not nodes.young(links[depth - 1]):
                    self._keep(links[:depth])
                return depth
        return 0

    def _keep(self, links: Iterable[int]) -> None:
        """Make a whole path young, so that no block is forgotten before those that stand on it."""
        for link in links:
            self.nodes.get(link)

    def through(self, node: Node | None) -> Iterator[tuple[int, Trace]]:
        """The calls through `node`, with their numbers: first the last ones that went on from those that it names."""
        named = [
            (n, trace)
            for n in (node.traces if node else ())
            if (trace := self.traces.get(n)) is not None
        ]
        for number, trace in named:
            end, last = number, trace
            while last.later is not None and (later := self.traces.get(last.later)) is not None:
                end, last = last.later, later
            if last is not trace:
                yield end, last
        yield from named

    def path(self, trace: Trace) -> list[Node]:
        """The nodes of a finished call from its first block on; those before a forgotten one are left out."""
        path: list[Node] = []
        link = trace.leaf
        while (node := self.nodes.get(link)) is not None:
            path.append(node)
            link = node.parent
        return path[::-1]

    def learn(
        self, number: int, trace: Trace, new: Sequence[Node], deep: Iterable[tuple[int, Deep]]
    ) -> None:
        """Remember a finished call and the blocks that it brought."""
        self.traces[number] = trace
        turns = self.nodes.turns
        for node in new:
            if self.nodes.get(node.link) is None:
                self.nodes[node.link] = node
                node.traces = (number,)
            self.where[node.own] = node.link
        for link, fingerprints in deep:
            self.deep[link] = fingerprints
            for part in fingerprints.sketch:
                self.sketches[part] = link
        static = trace.links[: trace.static]
        for link in {*trace.links[: trace.depth - len(new)][-1:], *static[-1:]}:
            self._pass(link, number, trace)
        if self.nodes.turns != turns:
            self._keep(trace.links)
        if static and not self.deep.young(static[-1]):
            for link in static:
                self.deep.get(link)

    def _pass(self, link: int, number: int, trace: Trace) -> None:
        """Let the node `link` name the call, and the calls that ended there lead to it."""
        node = self.nodes.get(link)
        if node is None or number in node.traces:
            return
        for other in node.traces:
            earlier = self.traces.get(other)
            if earlier is not None and earlier.leaf == link != trace.leaf:
                earlier.later = number
        node.traces = self._with(node.traces, number, trace.scope)

    def _with(self, traces: tuple[int, ...], number: int, scope: Scope) -> tuple[int, ...]:
        """`traces` with `number` before all, in place of the one of the same scope."""
        others = [
            other
            for other in traces
            if (seen := self.traces.get(other)) and seen.scope is not scope
        ]
        return (number, *others[: _SCOPES - 1])


def _renew_in_children(memory: Memory) -> None:
    if not hasattr(os, "register_at_fork"):
        return
    weak = weakref.ref(memory)

    def renew() -> None:
        alive = weak()
        if alive is not None:
            alive.renew()

    os.register_at_fork(after_in_child=renew)
