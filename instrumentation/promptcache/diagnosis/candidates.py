"""From a new prompt to its relatives: the earlier calls worth comparing with, found by what both have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from promptcache.diagnosis.compare import BlockLookup, Difference, compare
from promptcache.diagnosis.explain import RelatedCall
from promptcache.diagnosis.memory import Memory, Node, PastCall
from promptcache.model import Block
from promptcache.prefix.fingerprint import (
    DetailedFingerprint,
    block_text,
    detailed_fingerprint,
    fingerprint,
)
from promptcache.prefix.hashing import HashChain

_MAX_RELATED_CALLS: Final = 6
_MAX_PROBES: Final = 4
_MAX_CONCURRENT_CALLS: Final = 32
_IMAGE_WEIGHT_BYTES: Final = 4_000
"""What an image weighs beside text: it costs tokens by its area, not by its bytes."""


def new_nodes(
    memory: Memory, chain: HashChain, blocks: Sequence[Block], known: int, root: int
) -> tuple[list[Node], dict[int, DetailedFingerprint]]:
    """The nodes of the blocks behind the `known` ones, and finer fingerprints of those that ought to stay the same."""
    parent = memory.nodes.get(chain.prefix_digests[known - 1]) if known else None
    link, end = (parent.prefix_digest, parent.end_offset) if parent else (root, 0)
    nodes: list[Node] = []
    fine: dict[int, DetailedFingerprint] = {}
    for block, own, here in zip(
        blocks[known:], chain.block_digests[known:], chain.prefix_digests[known:], strict=True
    ):
        twin = _same_block_elsewhere(memory, own)
        text = "" if twin else block_text(block.data)
        prints = twin.fingerprint if twin else fingerprint(text)
        size = _IMAGE_WEIGHT_BYTES if "image" in block.kind else prints.size
        end += size
        nodes.append(
            Node(here, link, own, block.section, block.index, block.kind, size, end, prints)
        )
        if block.section != "messages":
            fine[here] = (
                memory.detailed_fingerprints.get(twin.prefix_digest) if twin else None
            ) or detailed_fingerprint(block.data, text or block_text(block.data))
        link = here
    return nodes, fine


def _same_block_elsewhere(memory: Memory, own: int) -> Node | None:
    link = memory.last_node_of_block.get(own)
    return None if link is None else memory.nodes.get(link)


def find_related_calls(
    memory: Memory,
    trace: PastCall,
    known: int,
    new: Sequence[Node],
    fine: dict[int, DetailedFingerprint],
    blocks: Sequence[Block],
) -> list[RelatedCall]:
    """The earlier calls that shared most with this one; the one that it extends in the same scope suffices alone."""
    if known:
        node = memory.nodes.get(trace.prefix_digests[known - 1])
        for other in filter(None, map(memory.calls.get, node.call_numbers if node else ())):
            if (
                node
                and other.leaf_digest == node.prefix_digest
                and other.cache_params is trace.cache_params
                and _ended_before(other, trace)
            ):
                return [RelatedCall(other, Difference("extends", known), other.input_tokens, 0)]
    whole = [*filter(None, map(memory.nodes.get, trace.prefix_digests[:known])), *new]
    reader = _block_lookup(memory, dict(zip(trace.prefix_digests, blocks, strict=True)), fine)
    found: list[RelatedCall] = []
    for other in _candidate_calls(memory, trace, whole, fine):
        path = memory.nodes_of_call(other)
        if path:
            difference = compare(whole, path, reader)
            found.append(
                _related_call(
                    memory,
                    trace,
                    other,
                    path,
                    difference,
                    max(whole[-1].end_offset, 1) if whole else 1,
                )
            )
    return found


def _block_lookup(
    memory: Memory, places: Mapping[int, Block], fine: Mapping[int, DetailedFingerprint]
) -> BlockLookup:
    def data(link: int) -> object:
        return places[link].data

    def prints(link: int) -> DetailedFingerprint | None:
        return fine.get(link) or memory.detailed_fingerprints.get(link)

    return BlockLookup(data, prints)


def _ended_before(other: PastCall, trace: PastCall) -> bool:
    return other.ended_at is not None and other.ended_at <= trace.started_at


def _candidate_calls(
    memory: Memory, trace: PastCall, whole: Sequence[Node], fine: dict[int, DetailedFingerprint]
) -> Iterator[PastCall]:
    seen: set[int] = set()
    asked: set[tuple[int, ...]] = set()
    for probes in (
        _nodes_on_path(memory, whole),
        _nodes_with_same_blocks(memory, trace, whole),
        _nodes_with_same_sentences(memory, fine),
    ):
        taken = 0
        for node in probes:
            if node.call_numbers in asked:  # as most neighbours on a path
                continue
            asked.add(node.call_numbers)
            for number, other in memory.calls_through(node):
                if (
                    number not in seen
                    and other.root_digest == trace.root_digest
                    and _ended_before(other, trace)
                ):
                    seen.add(number)
                    taken += 1
                    yield other
            if taken >= _MAX_RELATED_CALLS // 2:
                break


def _nodes_on_path(memory: Memory, whole: Sequence[Node]) -> Iterator[Node]:
    """The known part of the path, from its end."""
    return (node for node in reversed(whole) if node.call_numbers)


def _nodes_with_same_blocks(
    memory: Memory, trace: PastCall, whole: Sequence[Node]
) -> Iterator[Node]:
    """Where the present blocks last stood: late messages first, for they lead to the latest call of a conversation."""
    messages = [node for node in whole[trace.static_depth :] if not node.call_numbers]
    probes = (
        *reversed(messages[-_MAX_PROBES - 1 :]),
        *messages[:1],
        *reversed(whole[: trace.static_depth]),
    )
    twins = (
        _same_block_elsewhere(memory, node.block_digest) for node in probes if not node.call_numbers
    )
    return (node for node in twins if node is not None)


def _nodes_with_same_sentences(
    memory: Memory, fine: dict[int, DetailedFingerprint]
) -> Iterator[Node]:
    """The blocks with most sentences in common with the new ones that ought to have stayed the same."""
    if not fine:
        return iter(())
    votes: Counter[int] = Counter()
    for prints in fine.values():
        votes.update(filter(None, map(memory.node_of_sentence.get, prints.sentence_minhash)))
    nodes = (
        memory.nodes.get(link) for link, _ in votes.most_common(_MAX_PROBES) if link not in fine
    )
    return (node for node in nodes if node is not None)


def _related_call(
    memory: Memory,
    trace: PastCall,
    other: PastCall,
    path: Sequence[Node],
    difference: Difference,
    size: int,
) -> RelatedCall:
    shared = difference.shared_blocks
    tokens = _prefix_tokens(path, other, shared)
    lost = round(difference.removed_bytes * other.input_tokens / max(path[-1].end_offset, 1))
    found = RelatedCall(other, difference, tokens, lost, difference.added_bytes / size)
    if (
        shared and other.cache_params is not trace.cache_params
    ):  # only a changed scope can blame the key
        keys = {
            key for _, one in memory.calls_through(path[shared - 1]) for key in _cache_keys(one)
        }
        found.cache_key_count = len(keys.union(_cache_keys(trace)))
    return found


def _cache_keys(trace: PastCall) -> Iterable[int]:
    return (digest for name, digest, _ in trace.cache_params.params if name == "prompt_cache_key")


def _prefix_tokens(path: Sequence[Node], other: PastCall, shared: int) -> int:
    """The size in tokens of the first `shared` blocks: between the nearest places where it is known, by bytes."""
    if not shared:
        return 0
    end = path[shared - 1].end_offset
    low, high = (0, 0), (path[-1].end_offset, other.input_tokens)
    for node in path[:-1]:
        if node.end_tokens is not None:
            point = (node.end_offset, node.end_tokens)
            low, high = (
                (max(low, point), high) if node.end_offset <= end else (low, min(high, point))
            )
    span = max(high[0] - low[0], 1)
    return low[1] + round((high[1] - low[1]) * (end - low[0]) / span)


def find_concurrent_calls(memory: Memory, trace: PastCall) -> list[tuple[PastCall, int]]:
    """Calls that are running with the same beginning, and how many blocks of it."""
    found: list[tuple[PastCall, int]] = []
    for other in list(memory.running_calls.values())[-_MAX_CONCURRENT_CALLS:]:
        if (
            other is not trace
            and other.root_digest == trace.root_digest
            and other.started_at <= trace.started_at
        ):
            shared = 0
            for here, there in zip(trace.prefix_digests, other.prefix_digests, strict=False):
                if here != there:
                    break
                shared += 1
            if shared:
                found.append((other, shared))
    return found
