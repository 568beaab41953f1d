"""Find the earlier calls that are worth comparing with a new prompt, by the blocks that both
have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from promptcache.diagnosis.compare import BlockLookup, Difference, compare
from promptcache.diagnosis.evidence import RelatedCall
from promptcache.diagnosis.memory import Memory, Node, PastCall
from promptcache.model import Block
from promptcache.prefix.fingerprint import (
    DetailedFingerprint,
    block_text,
    detailed_fingerprint,
    fingerprint,
)
from promptcache.prefix.hashing import HashChain

_MAX_CALLS_PER_SOURCE: Final = 3
"""Each source of candidates stops after this many calls."""
_MAX_PROBES: Final = 4
_MAX_CONCURRENT_CALLS: Final = 32
_IMAGE_WEIGHT_BYTES: Final = 4_000
"""The weight of an image beside text. An image costs tokens by its area, not by its bytes."""


def new_nodes(
    memory: Memory, chain: HashChain, blocks: Sequence[Block], known: int, root: int
) -> tuple[list[Node], dict[int, DetailedFingerprint]]:
    """Return a node for each block behind the `known` ones.

    The second value holds the detailed fingerprints of those in tools and system, by prefix digest.
    """
    parent = memory.nodes.get(chain.prefix_digests[known - 1]) if known else None
    parent_digest, end = (parent.prefix_digest, parent.end_offset) if parent else (root, 0)
    nodes: list[Node] = []
    detailed: dict[int, DetailedFingerprint] = {}
    for block, block_digest, prefix_digest in zip(
        blocks[known:], chain.block_digests[known:], chain.prefix_digests[known:], strict=True
    ):
        same = _same_block_elsewhere(memory, block_digest)
        text = "" if same else block_text(block.data)
        found = same.fingerprint if same else fingerprint(text)
        size = _IMAGE_WEIGHT_BYTES if "image" in block.kind else found.size
        end += size
        nodes.append(
            Node(
                prefix_digest,
                parent_digest,
                block_digest,
                block.section,
                block.index,
                block.kind,
                size,
                end,
                found,
            )
        )
        if block.section != "messages":
            remembered = memory.detailed_fingerprints.get(same.prefix_digest) if same else None
            detailed[prefix_digest] = remembered or detailed_fingerprint(
                block.data, text or block_text(block.data)
            )
        parent_digest = prefix_digest
    return nodes, detailed


def _same_block_elsewhere(memory: Memory, block_digest: int) -> Node | None:
    prefix_digest = memory.last_node_of_block.get(block_digest)
    return None if prefix_digest is None else memory.nodes.get(prefix_digest)


def find_related_calls(
    memory: Memory,
    call: PastCall,
    known: int,
    nodes: Sequence[Node],
    detailed: dict[int, DetailedFingerprint],
    blocks: Sequence[Block],
) -> list[RelatedCall]:
    """Return the earlier calls that share most with this one, compared with it.

    `known` counts the leading blocks that are known, `nodes` are those of the blocks behind. A call
    that this one extends with the same cache parameters is enough alone.
    """
    if known and (extended := _extended_call(memory, call, known)) is not None:
        return [RelatedCall(extended, Difference("extends", known), extended.input_tokens, 0)]
    path = [*filter(None, map(memory.nodes.get, call.prefix_digests[:known])), *nodes]
    lookup = _block_lookup(memory, dict(zip(call.prefix_digests, blocks, strict=True)), detailed)
    size = max(path[-1].end_offset, 1) if path else 1
    related: list[RelatedCall] = []
    for other in _candidate_calls(memory, call, path, detailed):
        other_path = memory.nodes_of_call(other)
        if other_path:
            difference = compare(path, other_path, lookup)
            related.append(_related_call(memory, call, other, other_path, difference, size))
    return related


def _extended_call(memory: Memory, call: PastCall, known: int) -> PastCall | None:
    """Return the call with the same parameters that ends with the last known block."""
    node = memory.nodes.get(call.prefix_digests[known - 1])
    if node is None:
        return None
    for other in filter(None, map(memory.calls.get, node.call_numbers)):
        if (
            other.leaf_digest == node.prefix_digest
            and other.cache_params is call.cache_params
            and _ended_before(other, call)
        ):
            return other
    return None


def _block_lookup(
    memory: Memory,
    block_at: Mapping[int, Block],
    detailed: Mapping[int, DetailedFingerprint],
) -> BlockLookup:
    def data(prefix_digest: int) -> object:
        return block_at[prefix_digest].data

    def detailed_at(prefix_digest: int) -> DetailedFingerprint | None:
        return detailed.get(prefix_digest) or memory.detailed_fingerprints.get(prefix_digest)

    return BlockLookup(data, detailed_at)


def _ended_before(other: PastCall, call: PastCall) -> bool:
    """Return whether `other` had ended when `call` started."""
    return other.ended_at is not None and other.ended_at <= call.started_at


def _candidate_calls(
    memory: Memory,
    call: PastCall,
    path: Sequence[Node],
    detailed: dict[int, DetailedFingerprint],
) -> Iterator[PastCall]:
    seen: set[int] = set()
    probed: set[tuple[int, ...]] = set()
    for nodes in (
        _nodes_on_path(path),
        _nodes_with_same_blocks(memory, call, path),
        _nodes_with_same_sentences(memory, detailed),
    ):
        taken = 0
        for node in nodes:
            if node.call_numbers in probed:  # most neighbours on a path name the same calls
                continue
            probed.add(node.call_numbers)
            for number, other in memory.calls_through(node):
                if (
                    number not in seen
                    and other.root_digest == call.root_digest
                    and _ended_before(other, call)
                ):
                    seen.add(number)
                    taken += 1
                    yield other
            if taken >= _MAX_CALLS_PER_SOURCE:
                break


def _nodes_on_path(path: Sequence[Node]) -> Iterator[Node]:
    """Return the known nodes of the path, the last one first."""
    return (node for node in reversed(path) if node.call_numbers)


def _nodes_with_same_blocks(memory: Memory, call: PastCall, path: Sequence[Node]) -> Iterator[Node]:
    """Return the last nodes with the blocks that are new here.

    The latest messages come first, because they lead to the latest call of a conversation.
    """
    messages = [node for node in path[call.static_depth :] if not node.call_numbers]
    probes = (
        *reversed(messages[-_MAX_PROBES - 1 :]),
        *messages[:1],
        *reversed(path[: call.static_depth]),
    )
    same = (
        _same_block_elsewhere(memory, node.block_digest) for node in probes if not node.call_numbers
    )
    return (node for node in same if node is not None)


def _nodes_with_same_sentences(
    memory: Memory, detailed: dict[int, DetailedFingerprint]
) -> Iterator[Node]:
    """Return the nodes that share most sentences with the new blocks of tools and system."""
    if not detailed:
        return iter(())
    votes: Counter[int] = Counter()
    for one in detailed.values():
        votes.update(filter(None, map(memory.node_of_sentence.get, one.sentence_minhash)))
    nodes = (
        memory.nodes.get(digest)
        for digest, _ in votes.most_common(_MAX_PROBES)
        if digest not in detailed
    )
    return (node for node in nodes if node is not None)


def _related_call(
    memory: Memory,
    call: PastCall,
    other: PastCall,
    path: Sequence[Node],
    difference: Difference,
    size: int,
) -> RelatedCall:
    """Return `other`, whose nodes are `path`, with sizes in tokens. `size` is the new prompt's in
    bytes."""
    shared = difference.shared_blocks
    removed = difference.removed_bytes * other.input_tokens / max(path[-1].end_offset, 1)
    related = RelatedCall(
        other,
        difference,
        _prefix_tokens(path, other, shared),
        round(removed),
        difference.added_bytes / size,
    )
    # A cache key can only be the reason if the parameters differ.
    if shared and other.cache_params is not call.cache_params:
        keys = {
            key for _, one in memory.calls_through(path[shared - 1]) for key in _cache_keys(one)
        }
        related.cache_key_count = len(keys.union(_cache_keys(call)))
    return related


def _cache_keys(call: PastCall) -> Iterable[int]:
    return (digest for name, digest, _ in call.cache_params.params if name == "prompt_cache_key")


def _prefix_tokens(path: Sequence[Node], call: PastCall, shared: int) -> int:
    """Return the tokens of the first `shared` blocks of a call.

    They are interpolated by bytes between the nearest block ends at which they are known.
    """
    if not shared:
        return 0
    end = path[shared - 1].end_offset
    low, high = (0, 0), (path[-1].end_offset, call.input_tokens)
    for node in path[:-1]:
        if node.end_tokens is not None:
            point = (node.end_offset, node.end_tokens)
            if node.end_offset <= end:
                low = max(low, point)
            else:
                high = min(high, point)
    span = max(high[0] - low[0], 1)
    return low[1] + round((high[1] - low[1]) * (end - low[0]) / span)


def find_concurrent_calls(memory: Memory, call: PastCall) -> list[tuple[PastCall, int]]:
    """Return the running calls with the same beginning, each with its number of common blocks."""
    found: list[tuple[PastCall, int]] = []
    for other in list(memory.running_calls.values())[-_MAX_CONCURRENT_CALLS:]:
        if other.root_digest == call.root_digest and other.started_at <= call.started_at:
            shared = 0
            for here, there in zip(call.prefix_digests, other.prefix_digests, strict=False):
                if here != there:
                    break
                shared += 1
            if shared:
                found.append((other, shared))
    return found
