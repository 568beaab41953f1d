"""Find the earlier calls that are worth comparing with a new prompt, by the blocks that both
have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from promptcache.diagnosis.compare import BlockLookup, PromptDifference, compare_prompts
from promptcache.diagnosis.evidence import RelatedCall
from promptcache.diagnosis.memory import PastCall, PastCallMemory, PrefixNode
from promptcache.diagnosis.prefix_tokens import estimate_prefix_tokens
from promptcache.model import Block, PromptBlocks, Section
from promptcache.prefix.examined_bytes import ExaminedBytes, describe_unexamined_block
from promptcache.prefix.fingerprint import (
    BlockDetails,
    BlockFingerprint,
    block_text_or_json,
    describe_message,
    describe_static_block,
    fingerprint_block_text,
)
from promptcache.prefix.hashing import PromptDigests
from promptcache.prefix.message_groups import GROUP_KIND, GroupedBlocks, describe_group

_MAX_CALLS_PER_SOURCE: Final = 3
"""Each source of candidates stops after this many calls."""
_MAX_PROBES: Final = 4
_MAX_CONCURRENT_CALLS: Final = 32
_IMAGE_WEIGHT_BYTES: Final = 4_000
"""The weight of an image beside text. An image costs tokens by its area, not by its bytes."""


def build_nodes_of_new_blocks(
    memory: PastCallMemory,
    chain: PromptDigests,
    blocks: Sequence[Block],
    known_depth: int,
    root_digest: int,
    examined: ExaminedBytes,
) -> tuple[list[PrefixNode], dict[int, BlockDetails]]:
    """Return a node for each block behind the `known_depth` ones.

    The second value holds the details of these blocks, by block digest. Blocks beyond what may be
    `examined` have none but the coarsest.
    """
    parent = memory.nodes.get(chain.prefix_digests[known_depth - 1]) if known_depth else None
    parent_digest, end = (parent.prefix_digest, parent.end_offset) if parent else (root_digest, 0)
    nodes: list[PrefixNode] = []
    details: dict[int, BlockDetails] = {}
    all_nodes, last_places = memory.nodes, memory.last_prefix_digest_by_block
    for at in range(known_depth, len(blocks)):
        block_digest, prefix_digest = chain.block_digests[at], chain.prefix_digests[at]
        place = last_places.get(block_digest)
        same = all_nodes.get(place) if place is not None else None
        known = memory.block_details.get(block_digest)
        if same and known:
            kind, size, found = same.kind, same.size, same.fingerprint
        else:
            block = blocks[at]
            found, known = _describe_block(block, block_digest, known, examined)
            kind = block.kind
            size = _IMAGE_WEIGHT_BYTES if "image" in kind else found.size
        end += size
        digests = prefix_digest, parent_digest, block_digest
        nodes.append(PrefixNode(*digests, *_place_of(blocks, at), kind, size, end, found))
        details[block_digest] = known
        parent_digest = prefix_digest
    return nodes, details


def _place_of(blocks: Sequence[Block], at: int) -> tuple[Section, int]:
    """Return section and index of a block."""
    if isinstance(blocks, PromptBlocks | GroupedBlocks):
        return blocks.place_of(at)  # does not make the block
    block = blocks[at]
    return block.section, block.index


def _describe_block(
    block: Block, digest: int, known: BlockDetails | None, examined: ExaminedBytes
) -> tuple[BlockFingerprint, BlockDetails]:
    """Return the fingerprint of a block and its details, if they are not `known`."""
    if block.kind == GROUP_KIND:
        return describe_group(block, digest)
    if not examined.take(block.data):
        return describe_unexamined_block(block, examined)
    text = block_text_or_json(block.data)
    fingerprint = fingerprint_block_text(text)
    if known is not None:
        return fingerprint, known
    if block.section == "messages":
        return fingerprint, describe_message(text)
    return fingerprint, describe_static_block(block.data, text)


def find_related_calls(
    memory: PastCallMemory,
    call: PastCall,
    known_depth: int,
    new_nodes: Sequence[PrefixNode],
    details: dict[int, BlockDetails],
    blocks: Sequence[Block],
) -> list[RelatedCall]:
    """Return the earlier calls that share most with this one, compared with it.

    `known_depth` counts the leading blocks that are known, `new_nodes` are those of the blocks
    behind. A call that this one extends with the same cache parameters is enough alone.
    """
    if known_depth and (extended := _find_extended_call(memory, call, known_depth)) is not None:
        return [
            RelatedCall(extended, PromptDifference("extends", known_depth), extended.input_tokens)
        ]
    path = [*filter(None, map(memory.nodes.get, call.prefix_digests[:known_depth])), *new_nodes]
    lookup = _build_block_lookup(memory, call.prefix_digests, blocks, details)
    related: list[RelatedCall] = []
    for other in _candidate_calls(memory, call, path, details):
        other_path = memory.nodes_of_call(other)
        if other_path:
            difference = compare_prompts(path, other_path, lookup)
            related.append(_build_related_call(memory, call, other, path, other_path, difference))
    return related


def _find_extended_call(
    memory: PastCallMemory, call: PastCall, known_depth: int
) -> PastCall | None:
    """Return the call with the same parameters that ends with the last known block."""
    node = memory.nodes.get(call.prefix_digests[known_depth - 1])
    if node is None:
        return None
    for other in filter(None, map(memory.calls.get, node.call_numbers)):
        if (
            other.last_prefix_digest == node.prefix_digest
            and other.cache_params is call.cache_params
            and _ended_before(other, call)
        ):
            return other
    return None


def _build_block_lookup(
    memory: PastCallMemory,
    prefix_digests: tuple[int, ...],
    blocks: Sequence[Block],
    details: Mapping[int, BlockDetails],
) -> BlockLookup:
    def data(prefix_digest: int) -> object:
        return blocks[prefix_digests.index(prefix_digest)].data

    def details_of(block_digest: int) -> BlockDetails | None:
        return details.get(block_digest) or memory.block_details.get(block_digest)

    return BlockLookup(data, details_of)


def _ended_before(other: PastCall, call: PastCall) -> bool:
    """Return whether `other` had ended when `call` started."""
    return other.ended_at is not None and other.ended_at <= call.started_at


def _candidate_calls(
    memory: PastCallMemory,
    call: PastCall,
    path: Sequence[PrefixNode],
    details: dict[int, BlockDetails],
) -> Iterator[PastCall]:
    seen: set[int] = set()
    probed: set[tuple[int, ...]] = set()
    for nodes in (
        _known_nodes_latest_first(path),
        _nodes_elsewhere_with_new_blocks(memory, call, path),
        _nodes_sharing_most_sentences(memory, path, details),
    ):
        taken = 0
        for node in nodes:
            if node.call_numbers in probed:  # most neighbours on a path name the same calls
                continue
            probed.add(node.call_numbers)
            for number, other in memory.numbered_calls_through_node(node):
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


def _known_nodes_latest_first(path: Sequence[PrefixNode]) -> Iterator[PrefixNode]:
    """Return the known nodes of the path, the last one first."""
    return (node for node in reversed(path) if node.call_numbers)


def _nodes_elsewhere_with_new_blocks(
    memory: PastCallMemory, call: PastCall, path: Sequence[PrefixNode]
) -> Iterator[PrefixNode]:
    """Return the last nodes with the blocks that are new here.

    The latest messages come first, because they lead to the latest call of a conversation.
    """
    messages = [node for node in path[call.static_depth :] if not node.call_numbers]
    probes = (
        *reversed(messages[-_MAX_PROBES - 1 :]),
        *messages[:1],
        *reversed(path[: call.static_depth]),
    )
    for probe in probes:
        if not probe.call_numbers:
            place = memory.last_prefix_digest_by_block.get(probe.block_digest)
            node = memory.nodes.get(place) if place is not None else None
            if node is not None:
                yield node


def _nodes_sharing_most_sentences(
    memory: PastCallMemory, path: Sequence[PrefixNode], details: dict[int, BlockDetails]
) -> Iterator[PrefixNode]:
    """Return the nodes that share most sentences with the new blocks of tools and system."""
    votes: Counter[int] = Counter()
    for one in details.values():
        if one.sentence_minhash:
            votes.update(
                filter(None, map(memory.last_prefix_digest_by_sentence.get, one.sentence_minhash))
            )
    if not votes:
        return iter(())
    own = {node.prefix_digest for node in path}
    nodes = (
        memory.nodes.get(digest)
        for digest, _ in votes.most_common(_MAX_PROBES)
        if digest not in own
    )
    return (node for node in nodes if node is not None)


def _build_related_call(
    memory: PastCallMemory,
    call: PastCall,
    other: PastCall,
    path: Sequence[PrefixNode],
    other_nodes: Sequence[PrefixNode],
    difference: PromptDifference,
) -> RelatedCall:
    """Return `other`, whose nodes are `other_nodes`, and its relation to the prompt `path`."""
    shared = difference.shared_blocks
    tail_bytes = sum([node.size for node in path[shared:]])
    related = RelatedCall(
        other,
        difference,
        estimate_prefix_tokens(other_nodes, other.input_tokens, shared),
        other_nodes if difference.kind == "break" else (),
        difference.added_bytes / max(tail_bytes, 1),
    )
    # A cache key can only be the reason if the parameters differ.
    if shared and other.cache_params is not call.cache_params:
        keys = {
            key
            for _, one in memory.numbered_calls_through_node(other_nodes[shared - 1])
            for key in _prompt_cache_key_digests(one)
        }
        related.cache_key_count = len(keys.union(_prompt_cache_key_digests(call)))
    return related


def _prompt_cache_key_digests(call: PastCall) -> Iterable[int]:
    return (digest for name, digest, _ in call.cache_params.params if name == "prompt_cache_key")


def find_concurrent_calls_sharing_prefix(
    memory: PastCallMemory, call: PastCall
) -> list[tuple[PastCall, int]]:
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
