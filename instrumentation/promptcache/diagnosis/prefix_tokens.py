"""Estimate how many tokens the beginning of a prompt has.

The tokens at the end of a block are known where a call ended. Elsewhere they are interpolated by
bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, final

from promptcache.diagnosis.memory import PrefixNode


def estimate_prefix_tokens(
    nodes: Sequence[PrefixNode], input_tokens: int, shared_blocks: int
) -> int:
    """Return the tokens of the first `shared_blocks` blocks of a call of `input_tokens`.

    They are interpolated by bytes between the nearest block ends at which they are known.
    """
    if not shared_blocks:
        return 0
    end = nodes[shared_blocks - 1].end_offset
    low, high = (0, 0), (nodes[-1].end_offset, input_tokens)
    for node in nodes[:-1]:
        if node.end_tokens is not None:
            point = (node.end_offset, node.end_tokens)
            if node.end_offset <= end:
                low = max(low, point)
            else:
                high = min(high, point)
    span = max(high[0] - low[0], 1)
    return low[1] + round((high[1] - low[1]) * (end - low[0]) / span)


@final
class TokenEnds(NamedTuple):
    """The tokens at each depth of a prompt, from 0 on, and by how many they may be wrong."""

    tokens: list[float]
    doubts: list[float]


def estimate_token_ends(
    nodes: Sequence[PrefixNode], input_tokens: int, known: Mapping[int, int]
) -> TokenEnds:
    """Return the tokens at each depth. `known` holds further depths with their tokens.

    The doubt is the distance to the nearest depth with known tokens.
    """
    points = {depth: node.end_tokens for depth, node in enumerate(nodes, 1)}
    certain = {depth: tokens for depth, tokens in points.items() if tokens is not None}
    certain |= {0: 0, **known, len(nodes): input_tokens}
    offsets = [0, *(node.end_offset for node in nodes)]
    tokens, doubts = [0.0] * len(offsets), [0.0] * len(offsets)
    for low, high in pairwise(sorted(certain)):
        first, last = certain[low], max(certain[low], certain[high])
        size = max(offsets[high] - offsets[low], 1)
        for depth in range(low, high + 1):
            tokens[depth] = first + (last - first) * (offsets[depth] - offsets[low]) / size
            doubts[depth] = min(tokens[depth] - first, last - tokens[depth])
    return TokenEnds(tokens, doubts)


def estimate_removed_tokens(
    ends: TokenEnds, removed: Iterable[tuple[int, float]], depth_limit: int
) -> tuple[float, float]:
    """Return the tokens of removed blocks up to a depth, and how many of them are uncertain.

    `removed` holds depths with the share of the block that is gone, in order. Neighbours that are
    gone as a whole are counted together, so that only the ends of the gap are uncertain.
    """
    total = uncertain = 0.0
    end_of_gap = -1
    for depth, share in removed:
        if depth > depth_limit:
            break
        tokens = share * (ends.tokens[depth] - ends.tokens[depth - 1])
        total += tokens
        is_in_gap = end_of_gap == depth - 1 and share == 1
        doubt = ends.doubts[depth] - ends.doubts[depth - 1] * (1 if is_in_gap else -1)
        uncertain += doubt if is_in_gap else min(doubt, tokens)
        end_of_gap = depth if share == 1 else -1
    return total, max(0.0, min(uncertain, total))
