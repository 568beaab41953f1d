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

from promptcache.common.generational_cache import GenerationalCache
from promptcache.model import InvalidationLevel
from promptcache.prefix.fingerprint import BlockFingerprint, DetailedFingerprint

_MAX_CALLS_PER_NODE: Final = 4
"""How many calls of different scopes a node names."""


@final
class CacheParams(NamedTuple):
    """What decides whether a prefix may be reused without being text; the memory holds one object for equal ones.

    `params` holds name, digest of the value and the level that a change of it invalidates.
    """

    model: str | None
    params: tuple[tuple[str, int, InvalidationLevel], ...]


@final
@dataclass(slots=True, eq=False)
class PastCall:
    """One remembered call. Times in epoch seconds; `ended_at` is None while it runs.

    `prefix_digests` are those of its blocks while it runs; later `leaf_digest`, the last of them, leads to all. `depth` counts its
    blocks, `static_depth` those before the messages. `breakpoint_depths` holds the depths at which it asked for caching, `ttl_seconds` the
    lifetime in seconds of what it left there. `input_tokens`, `cache_read_tokens` and `cache_write_tokens` are the tokens that the provider reported,
    `response_model` the model that it named. `family_hash` is the exported hash of the first relative; `break_location` and `break_count` say
    where the prefix broke and how many times in a row it did so there. `continued_by` is the number of the last call that
    extended this one. `is_read_stuck` says that it read no more than the call that it extends although that one had written.
    """

    root_digest: int
    cache_params: CacheParams
    leaf_digest: int
    depth: int
    static_depth: int
    started_at: float
    prefix_digests: tuple[int, ...]
    breakpoint_depths: tuple[int, ...] = ()
    ttl_seconds: float = 0.0
    ended_at: float | None = None
    response_model: str | None = None
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int | None = None
    family_hash: str | None = None
    break_location: tuple[str, int] | None = None
    break_count: int = 0
    continued_by: int | None = None
    is_read_stuck: bool = False


@final
@dataclass(slots=True, eq=False)
class Node:
    """One block at its place: `end_offset` is the size of the prompt up to its end, in bytes; `end_tokens` in tokens, if known.

    `call_numbers` are keys of `Memory.calls`: the calls that brought the block, departed behind it or ended with it, the
    most recent first; those that went on from them are found through `Trace.continued_by`.
    """

    prefix_digest: int
    parent_digest: int
    block_digest: int
    section: str
    index: int
    kind: str
    size: int
    end_offset: int
    fingerprint: BlockFingerprint
    end_tokens: int | None = None
    call_numbers: tuple[int, ...] = ()


@final
class Memory:
    """Bounded record of prefixes, calls and responses already counted. Use it under `with memory:`.

    `max_nodes` are the blocks at their places; `detailed_fingerprints` the finer fingerprints of those that ought to stay the same; `last_node_of_block`
    and `node_of_sentence` lead from a block alone and from a sentence to the last place where it stood; `call_by_id` leads from a
    response id or a conversation's head to a call; `calls_per_minute` counts calls by minute.
    """

    def __init__(self, max_nodes: int = 65_536, max_calls: int = 4_096) -> None:
        self.nodes: GenerationalCache[int, Node] = GenerationalCache(max_nodes)
        self.last_node_of_block: GenerationalCache[int, int] = GenerationalCache(max_nodes)
        self.detailed_fingerprints: GenerationalCache[int, DetailedFingerprint] = GenerationalCache(
            max_calls
        )
        self.node_of_sentence: GenerationalCache[int, int] = GenerationalCache(4 * max_calls)
        self.calls: GenerationalCache[int, PastCall] = GenerationalCache(max_calls)
        self.interned_params: GenerationalCache[object, CacheParams] = GenerationalCache(max_calls)
        self.call_by_id: GenerationalCache[object, int] = GenerationalCache(2 * max_calls)
        self.calls_per_minute: GenerationalCache[int, tuple[int, int]] = GenerationalCache(
            max_calls
        )
        self.running_calls: dict[int, PastCall] = {}
        self.on_fork: Callable[[], None] | None = None
        self._seen_keys: GenerationalCache[Hashable, bool] = GenerationalCache(2 * max_calls)
        self._last_number = 0
        self._lock = Lock()
        _reset_in_child_processes(self)

    def __enter__(self) -> Memory:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def reset_after_fork(self) -> None:
        """A new lock for a forked child; if another thread was at work at the fork, all is forgotten."""
        if self._lock.locked():
            for held in (
                self.nodes,
                self.last_node_of_block,
                self.detailed_fingerprints,
                self.node_of_sentence,
                self.calls,
                self.call_by_id,
                self.calls_per_minute,
            ):
                held.clear()
        self.running_calls = {}
        if self.on_fork is not None:
            self.on_fork()
        self._lock = Lock()

    def is_first_time(self, key: Hashable) -> bool:
        """Whether `key` is seen for the first time, of the most recent ones. Thread-safe; not inside `with`."""
        with self:
            if self._seen_keys.get(key):
                return False
            self._seen_keys[key] = True
            return True

    def register_call(self, trace: PastCall) -> int:
        """Register a running call; the number names it until `stop` and, once learned, for good."""
        self._last_number += 1
        self.running_calls[self._last_number] = trace
        return self._last_number

    def known_depth(self, links: Sequence[int]) -> int:
        """How many leading blocks are known: the new ones are looked at, and one known."""
        nodes = self.nodes
        for depth in range(len(links), 0, -1):
            if links[depth - 1] in nodes:
                if not nodes.is_recent(links[depth - 1]):
                    self._touch_path(links[:depth])
                return depth
        return 0

    def _touch_path(self, links: Iterable[int]) -> None:
        """Make a whole path young, so that no block is forgotten before those that stand on it."""
        for link in links:
            self.nodes.get(link)

    def calls_through(self, node: Node | None) -> Iterator[tuple[int, PastCall]]:
        """The calls through `node`, with their numbers: first the last ones that went on from those that it names."""
        named = [
            (n, trace)
            for n in (node.call_numbers if node else ())
            if (trace := self.calls.get(n)) is not None
        ]
        for number, trace in named:
            end, last = number, trace
            while (
                last.continued_by is not None
                and (later := self.calls.get(last.continued_by)) is not None
            ):
                end, last = last.continued_by, later
            if last is not trace:
                yield end, last
        yield from named

    def nodes_of_call(self, trace: PastCall) -> list[Node]:
        """The nodes of a finished call from its first block on; those before a forgotten one are left out."""
        path: list[Node] = []
        link = trace.leaf_digest
        while (node := self.nodes.get(link)) is not None:
            path.append(node)
            link = node.parent_digest
        return path[::-1]

    def store_call(
        self,
        number: int,
        trace: PastCall,
        new: Sequence[Node],
        deep: Iterable[tuple[int, DetailedFingerprint]],
    ) -> None:
        """Remember a finished call and the blocks that it brought."""
        self.calls[number] = trace
        turns = self.nodes.rotations
        for node in new:
            if self.nodes.get(node.prefix_digest) is None:
                self.nodes[node.prefix_digest] = node
                node.call_numbers = (number,)
            self.last_node_of_block[node.block_digest] = node.prefix_digest
        for link, fingerprints in deep:
            self.detailed_fingerprints[link] = fingerprints
            for part in fingerprints.sentence_minhash:
                self.node_of_sentence[part] = link
        static = trace.prefix_digests[: trace.static_depth]
        for link in {*trace.prefix_digests[: trace.depth - len(new)][-1:], *static[-1:]}:
            self._link_call(link, number, trace)
        if self.nodes.rotations != turns:
            self._touch_path(trace.prefix_digests)
        if static and not self.detailed_fingerprints.is_recent(static[-1]):
            for link in static:
                self.detailed_fingerprints.get(link)

    def _link_call(self, link: int, number: int, trace: PastCall) -> None:
        """Let the node `prefix_digest` name the call, and the calls that ended there lead to it."""
        node = self.nodes.get(link)
        if node is None or number in node.call_numbers:
            return
        for other in node.call_numbers:
            earlier = self.calls.get(other)
            if earlier is not None and earlier.leaf_digest == link != trace.leaf_digest:
                earlier.continued_by = number
        node.call_numbers = self._prepend_call(node.call_numbers, number, trace.cache_params)

    def _prepend_call(
        self, traces: tuple[int, ...], number: int, scope: CacheParams
    ) -> tuple[int, ...]:
        """`call_numbers` with `number` before all, in place of the one of the same scope."""
        others = [
            other
            for other in traces
            if (seen := self.calls.get(other)) and seen.cache_params is not scope
        ]
        return (number, *others[: _MAX_CALLS_PER_NODE - 1])


def _reset_in_child_processes(memory: Memory) -> None:
    if not hasattr(os, "register_at_fork"):
        return
    weak = weakref.ref(memory)

    def renew() -> None:
        alive = weak()
        if alive is not None:
            alive.reset_after_fork()

    os.register_at_fork(after_in_child=renew)
