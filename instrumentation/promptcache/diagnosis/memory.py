"""What this process remembers of earlier calls: hashes, sizes, times and token counts, never text.

A prompt is a path of nodes from a root, one node for each block. The root identifies one cache
(provider, host, credential) under one wire format. So prompts of different caches share no node,
while calls with another model, key or parameter stay comparable. See docs/specs/diagnosis.md.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final, NamedTuple, final

from promptcache.common.fork import register_after_fork_in_child
from promptcache.common.generational_cache import GenerationalCache
from promptcache.diagnosis.cache_params import CacheParams
from promptcache.model import Section
from promptcache.prefix.fingerprint import BlockDetails, BlockFingerprint

_MAX_DETAIL_BYTES: Final = 16_000_000
"""The details of blocks take at most about so much memory."""
_MAX_CALLS_PER_NODE: Final = 4
"""A node names at most this many calls, each with other cache parameters."""


@final
@dataclass(slots=True, eq=False)
class PastCall:
    """One remembered call. Times are in epoch seconds.

    While the call runs, `ended_at` is None and `prefix_digests` holds the digests of all its
    blocks. Afterwards they are found from `last_prefix_digest`, the last of them. `depth` counts
    its blocks, `static_depth` those before the messages. `breakpoint_depths` holds the depths of
    its breakpoints, and `has_implicit_breakpoint` says that the provider sets one itself.
    `ttl_seconds` is the lifetime of what it left in the cache. The token counts
    and `response_model` are those that the provider reported; a missing cache read counts as 0.

    `family_hash` is the exported prefix hash of the first call of its family. The family broke at
    `break_location` in `break_count` calls in a row. `continued_by` is the number of the last call
    that extended this one. `is_read_stuck` says that it read as much as the call that it extends,
    although that call had written more.
    """

    root_digest: int
    cache_params: CacheParams
    last_prefix_digest: int
    depth: int
    static_depth: int
    started_at: float
    prefix_digests: tuple[int, ...]
    breakpoint_depths: tuple[int, ...] = ()
    has_implicit_breakpoint: bool = False
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
class PrefixLink(NamedTuple):
    """The link of a prefix of `depth` blocks, which the local table has.

    `chain_began_at` is the start (epoch seconds) of the oldest call whose row the chain needs.
    """

    text: str
    depth: int
    chain_began_at: float


@final
@dataclass(slots=True, eq=False)
class PrefixNode:
    """One block at its place in a prompt.

    `size` is in bytes. `end_offset` is the size of the prompt up to the block's end in bytes,
    `end_tokens` the same in tokens, if known. `call_numbers` are keys of `Memory.calls`, the most
    recent first: the calls that brought the block, left the common path after it, or ended with it.
    The calls that continued them are found through `PastCall.continued_by`. Only a recording sets
    `link`.
    """

    prefix_digest: int
    parent_digest: int
    block_digest: int
    section: Section
    index: int
    kind: str
    size: int
    end_offset: int
    fingerprint: BlockFingerprint
    end_tokens: int | None = None
    call_numbers: tuple[int, ...] = ()
    link: PrefixLink | None = None


@final
class PastCallMemory:
    """Bounded mappings of prefixes, calls and counted responses. Use it under `with memory:`.

    `nodes` holds each block at its place by its prefix digest. `block_details` holds more
    about a block, by its block digest. `last_prefix_digest_by_block` and
    `last_prefix_digest_by_sentence` lead from a block digest and from a sentence hash to the last
    node with it. `calls` holds the calls by number. `call_number_by_id` leads from a response id or
    a conversation to a call number. `calls_per_minute` holds the last minute and its number of
    calls by static prefix.
    """

    def __init__(self, max_nodes: int = 65_536, max_calls: int = 4_096) -> None:
        self.nodes = GenerationalCache[int, PrefixNode](max_nodes)
        self.last_prefix_digest_by_block = GenerationalCache[int, int](max_nodes)
        self.block_details = GenerationalCache[int, BlockDetails](4 * max_calls)
        self._recent_detail_bytes = 0
        self.last_prefix_digest_by_sentence = GenerationalCache[int, int](4 * max_calls)
        self.calls = GenerationalCache[int, PastCall](max_calls)
        self.interned_params = GenerationalCache[object, CacheParams](max_calls)
        self.call_number_by_id = GenerationalCache[object, int](2 * max_calls)
        self.calls_per_minute = GenerationalCache[int, tuple[int, int]](max_calls)
        self.running_calls: dict[int, PastCall] = {}
        self.on_fork: Callable[[], None] | None = None
        self._seen_keys = GenerationalCache[Hashable, bool](2 * max_calls)
        self._root_digests: set[int] = set()
        self._last_number = 0
        self._lock = Lock()
        register_after_fork_in_child(self.reset_after_fork)

    def __enter__(self) -> PastCallMemory:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def reset_after_fork(self) -> None:
        """Create a new lock in a forked child, and forget all that another thread was changing."""
        if self._lock.locked():
            for mapping in (
                self.nodes,
                self.last_prefix_digest_by_block,
                self.block_details,
                self.last_prefix_digest_by_sentence,
                self.calls,
                self.call_number_by_id,
                self.calls_per_minute,
            ):
                mapping.clear()
        self.running_calls = {}
        if self.on_fork is not None:
            self.on_fork()
        self._lock = Lock()

    def has_calls_to_other_cache(self, root_digest: int) -> bool:
        """Return whether calls to another cache were remembered."""
        return not self._root_digests <= {root_digest}

    def is_first_time(self, key: Hashable) -> bool:
        """Return whether `key` is new among the last keys. Takes the lock, so not for use inside
        `with`."""
        with self:
            if self._seen_keys.get(key):
                return False
            self._seen_keys[key] = True
            return True

    def register_running_call(self, call: PastCall) -> int:
        """Register a running call, and return the number that names it from now on."""
        self._last_number += 1
        self.running_calls[self._last_number] = call
        return self._last_number

    def count_known_leading_blocks(self, prefix_digests: Sequence[int]) -> int:
        """Return how many leading blocks are known. It looks up the new blocks and one known
        block."""
        nodes = self.nodes
        for depth in range(len(prefix_digests), 0, -1):
            if prefix_digests[depth - 1] in nodes:
                if not nodes.is_recent(prefix_digests[depth - 1]):
                    self._mark_path_recently_used(prefix_digests[:depth])
                return depth
        return 0

    def _mark_path_recently_used(self, prefix_digests: Iterable[int]) -> None:
        """Mark each node of a path as recently used, so that no parent is evicted before its
        children."""
        for digest in prefix_digests:
            self.nodes.get(digest)

    def numbered_calls_through_node(
        self, node: PrefixNode | None
    ) -> Iterator[tuple[int, PastCall]]:
        """Yield the calls through `node` with their numbers, the latest continuations first."""
        named = [
            (number, call)
            for number in (node.call_numbers if node else ())
            if (call := self.calls.get(number)) is not None
        ]
        for number, call in named:
            last_number, last = number, call
            while (
                last.continued_by is not None
                and (later := self.calls.get(last.continued_by)) is not None
            ):
                last_number, last = last.continued_by, later
            if last is not call:
                yield last_number, last
        yield from named

    def list_message_starts(self, known_digests: Sequence[int]) -> list[int]:
        """Return the indexes of the messages at which the blocks of a known beginning begin."""
        starts: list[int] = []
        digest = known_digests[-1] if known_digests else 0
        while (node := self.nodes.get(digest)) and node.section == "messages":
            starts.append(node.index)
            digest = node.parent_digest
        return starts

    def nodes_of_call(self, call: PastCall) -> list[PrefixNode]:
        """Return the nodes of a finished call from its first block on.

        If a node was evicted, the nodes before it are missing.
        """
        path: list[PrefixNode] = []
        digest = call.last_prefix_digest
        while (node := self.nodes.get(digest)) is not None:
            path.append(node)
            digest = node.parent_digest
        return path[::-1]

    def store_call(
        self,
        call_number: int,
        call: PastCall,
        new_nodes: Sequence[PrefixNode],
        block_details: Mapping[int, BlockDetails],
    ) -> None:
        """Remember a finished call and the blocks that it brought."""
        self.calls[call_number] = call
        if len(self._root_digests) < 2:  # more need not be told apart
            self._root_digests.add(call.root_digest)
        nodes, rotations = self.nodes, self.nodes.rotations
        for node in new_nodes:
            prefix_digest, block_digest = node.prefix_digest, node.block_digest
            if nodes.get(prefix_digest) is None:
                nodes[prefix_digest] = node
                node.call_numbers = (call_number,)
            self.last_prefix_digest_by_block[block_digest] = prefix_digest
            details = block_details[block_digest]
            if not self.block_details.is_recent(block_digest):
                self.store_details(block_digest, details)
            for sentence in details.sentence_minhash:
                self.last_prefix_digest_by_sentence[sentence] = prefix_digest
        self._link_call(call_number, call, call.depth - len(new_nodes))
        if nodes.rotations != rotations:
            self._mark_path_recently_used(call.prefix_digests)

    def _link_call(self, call_number: int, call: PastCall, known_depth: int) -> None:
        """Name the call at the last known block and at the end of the static prefix."""
        digests, static_depth = call.prefix_digests, call.static_depth
        if known_depth and known_depth != static_depth:
            self._link_call_to_node(digests[known_depth - 1], call_number, call)
        if not static_depth:
            return
        last_static = self._link_call_to_node(digests[static_depth - 1], call_number, call)
        if last_static and not self.block_details.is_recent(last_static.block_digest):
            self._mark_details_recently_used(digests[:static_depth])

    def store_details(self, block_digest: int, details: BlockDetails) -> None:
        """Remember details, at most `_MAX_DETAIL_BYTES` of them in all."""
        self._recent_detail_bytes += details.memory_bytes
        if self._recent_detail_bytes > _MAX_DETAIL_BYTES // 2:
            self.block_details.rotate()
            self._recent_detail_bytes = details.memory_bytes
        self.block_details[block_digest] = details

    def _mark_details_recently_used(self, prefix_digests: Iterable[int]) -> None:
        for node in filter(None, map(self.nodes.get, prefix_digests)):
            self.block_details.get(node.block_digest)

    def _link_call_to_node(
        self, prefix_digest: int, call_number: int, call: PastCall
    ) -> PrefixNode | None:
        """Name the call at a node, and as the continuation of the calls that ended there."""
        node = self.nodes.get(prefix_digest)
        if node is None or call_number in node.call_numbers:
            return node
        others: list[int] = []
        for other in node.call_numbers:
            earlier = self.calls.get(other)
            if earlier is None:
                continue
            if earlier.last_prefix_digest == prefix_digest != call.last_prefix_digest:
                earlier.continued_by = call_number
            if earlier.cache_params is not call.cache_params:
                others.append(other)
        node.call_numbers = (call_number, *others[: _MAX_CALLS_PER_NODE - 1])
        return node
