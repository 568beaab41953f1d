"""The tree of all prefixes of recorded calls."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final, final

ROOT: Final = 0
"""The node of the empty prefix."""


@final
class PrefixTree:
    """All prefixes of all calls, each once. A node is a number; a prefix comes before longer ones.

    `parents`, `tokens`, `depths` and `sizes` have one entry a node: the prefix that is one block
    shorter, the prefix in tokens and in blocks, and the bytes of its last block.
    """

    def __init__(self) -> None:
        self.parents: Final = array("i", [ROOT])
        self.tokens: Final = array("i", [0])
        self.depths: Final = array("i", [0])
        self.sizes: Final = array("i", [0])

    def __len__(self) -> int:
        return len(self.parents)

    def add_block(self, parent: int, tokens: int, size: int) -> int:
        """Add the prefix that is one block longer than `parent`, and return its node."""
        self.parents.append(parent)
        self.tokens.append(tokens)
        self.depths.append(self.depths[parent] + 1)
        self.sizes.append(size)
        return len(self.parents) - 1

    def ancestor_at(self, node: int, depth: int) -> int:
        """Return the first `depth` blocks of the prefix `node`."""
        parents = self.parents
        for _ in range(self.depths[node] - depth):
            node = parents[node]
        return node

    def iterate_to_root(self, node: int) -> Iterator[int]:
        """Yield the prefix and all shorter ones, the longest first."""
        parents = self.parents
        while node != ROOT:
            yield node
            node = parents[node]

    def copy(self) -> PrefixTree:
        """Return an independent copy."""
        other = PrefixTree()
        for name in ("parents", "tokens", "depths", "sizes"):
            getattr(other, name)[:] = getattr(self, name)
        return other
