"""Bound the number of blocks of one prompt: many neighbouring messages are compared as one block.

A group has the digest of all its messages, so equal groups are found equal and changed ones
changed. Which message changed inside a group is not known.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, cast, final, overload

from promptcache.common.json_sanitize import marshal_or_sanitize
from promptcache.model import Block, ParsedPrompt, PlainBlock, PromptBlocks, Section
from promptcache.prefix.fingerprint import (
    UNEXAMINED,
    BlockDetails,
    BlockFingerprint,
    plain_text,
)
from promptcache.prefix.hashing import PromptDigests

MAX_SINGLE_BLOCKS: Final = 2_048
"""A prompt of more blocks has groups. A call stores a node for each block, which takes as long as
`json.dumps` of 2 KB (measured in November 2026)."""
GROUP_KIND: Final = "group"
"""The kind of a block that is a group."""
_GROUPS_PER_DOUBLING: Final = 512
_SINGLE_BLOCKS_AT_END: Final = 256


@final
class GroupedBlocks(Sequence[Block]):
    """The blocks of a prompt, of which those between two of `ends` are one block.

    `ends` holds the number of single blocks up to the end of each block.
    """

    __slots__ = ("_blocks", "_ends")

    def __init__(self, blocks: PromptBlocks, ends: Sequence[int]) -> None:
        self._blocks, self._ends = blocks, ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Block: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Block, ...]: ...
    def __getitem__(self, index: int | slice) -> Block | tuple[Block, ...]:
        places = range(len(self._ends))[index]
        if isinstance(places, int):
            return self._block_at(places)
        return tuple(map(self._block_at, places))

    def place_of(self, at: int) -> tuple[Section, int]:
        """Return section and index of a block, without making it."""
        return self._blocks.place_of(self._ends[at - 1] if at else 0)

    def _block_at(self, at: int) -> Block:
        start, end = self._ends[at - 1] if at else 0, self._ends[at]
        if end - start == 1:
            return self._blocks[start]
        entries = self._blocks.entries[start:end]
        data = [entry if isinstance(entry, tuple) else entry.data for entry in entries]
        ttls = [one.breakpoint_ttl for one in entries if not isinstance(one, tuple)]
        ttl = next((ttl for ttl in reversed(ttls) if ttl is not None), None)
        return Block("messages", start - self._blocks.static_depth, GROUP_KIND, data, ttl)


def group_messages(
    prompt: ParsedPrompt, digests: PromptDigests, known_depth: int, known_starts: Sequence[int]
) -> tuple[ParsedPrompt, PromptDigests, int]:
    """Return prompt, digests and `known_depth` with groups instead of most messages.

    `known_depth` counts the leading blocks that an earlier call had, and `known_starts` holds the
    indexes of the messages at which the blocks of that call begin: the groups of a known beginning
    stay as they are. A breakpoint inside a group counts at its end.
    """
    blocks = PromptBlocks.from_blocks(prompt.blocks)
    ends = _choose_ends(len(blocks), digests.static_depth, known_depth, known_starts)
    each, block_digests = digests.block_digests, list[int]()
    start = 0
    for end in ends:
        block_digests.append(each[start] if end - start == 1 else hash(each[start:end]))
        start = end
    grouped = PromptDigests(
        tuple(block_digests),
        tuple([digests.prefix_digests[end - 1] for end in ends]),
        digests.static_depth,
        tuple([bisect_left(ends, depth) + 1 for depth in digests.breakpoint_depths]),
        digests.params_digest,
    )
    known = bisect_left(ends, known_depth) + 1 if known_depth else 0
    return prompt._replace(blocks=GroupedBlocks(blocks, ends)), grouped, known


def _choose_ends(
    count: int, static_depth: int, known_depth: int, known_starts: Sequence[int]
) -> list[int]:
    """Return the depths at which the blocks of a prompt of `count` single blocks end.

    Where groups end does not depend on what stands in them, nor on what follows: so two prompts
    with equal messages at equal places have equal groups. The last messages stay single, because
    the next call may continue behind any of them.
    """
    first_known = static_depth + min(known_starts, default=0)
    single_from = max(count - _SINGLE_BLOCKS_AT_END, static_depth)
    if count - known_depth <= MAX_SINGLE_BLOCKS:
        single_from = known_depth
    ends = {*range(1, static_depth + 1), *(static_depth + start for start in known_starts)}
    ends.update((known_depth, *range(single_from, count + 1)))
    start = 0
    while (depth := static_depth + start) < single_from:
        if depth < first_known or depth >= known_depth:
            ends.add(depth)
        start += 1 << max(0, start.bit_length() - _GROUPS_PER_DOUBLING.bit_length())
    return sorted(ends - {0})


def describe_group(group: Block, digest: int) -> tuple[BlockFingerprint, BlockDetails]:
    """Return fingerprint and details of a group. They say nothing of its words and its form."""
    sizes = map(_size_of_data, group.data)
    fingerprint = BlockFingerprint(sum(sizes), digest & 0xFFFFFFFF)
    return fingerprint, BlockDetails(UNEXAMINED, 0, digest)


def _size_of_data(data: object) -> int:
    """Return the size of the only text of a block, or else that of its data."""
    text = cast("PlainBlock", data)[-1] if type(data) is tuple else plain_text(data)
    return len(marshal_or_sanitize(data) if text is None else text)
