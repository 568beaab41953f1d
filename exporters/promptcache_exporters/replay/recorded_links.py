"""Rebuild the chain of a recorded call from the column `prefix_links` (docs/specs/prefix.md).

A row has the blocks that no earlier row had. The blocks before them are in the rows of earlier
calls, which are found by the link of the last known block.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import Final, final

from promptcache.model import SECTIONS
from promptcache.prefix.link_text import LinkedBlock
from promptcache_exporters.replay.node_table import NO_NODE, NodeTable

_LAYER_BY_SECTION: Final[Mapping[str, int]] = {name: number for number, name in enumerate(SECTIONS)}
_NOT_COUNTED: Final = -2


@final
class LinkTree:
    """The blocks of all rows, each once, as a tree of prefixes. A node is a number, 0 the root.

    A row may come before those of its earlier blocks. Until they come, the parent of its first
    block is a node whose own parent is not known.
    """

    def __init__(self) -> None:
        self.parents: Final = array("i", [0])
        self.sizes: Final = array("i", [0])
        self.layers: Final = bytearray(1)
        """Of the last block of each node, as an index of `SECTIONS`."""
        self._nodes = NodeTable()
        self._depths = array("i", [0])

    def __len__(self) -> int:
        return len(self.parents)

    def add(self, known_link: str, blocks: Iterable[LinkedBlock]) -> int:
        """Add the blocks of a row behind a known prefix, and return the node of the last one."""
        parents, find = self.parents, self._nodes.find
        node = self._node_of(known_link) if known_link else 0
        for link, section, size in blocks:
            known = find(hash(link))
            if known == NO_NODE:
                known = self._append(link, node, section, size)
            elif parents[known] == NO_NODE:
                parents[known], self.sizes[known] = node, size
                self.layers[known] = _LAYER_BY_SECTION[section]
            node = known
        return node

    def forget_links(self) -> None:
        """Free the links. No row can be added any more."""
        self._nodes = NodeTable()

    def _node_of(self, link: str) -> int:
        node = self._nodes.find(hash(link))
        return self._append(link, NO_NODE, "tools", 0) if node == NO_NODE else node

    def _append(self, link: str, parent: int, section: str, size: int) -> int:
        node = len(self.parents)
        self._nodes.add(hash(link), node)
        self.parents.append(parent)
        self.sizes.append(size)
        self.layers.append(_LAYER_BY_SECTION[section])
        return node

    def depth_of(self, node: int) -> int:
        """Return the number of blocks of a prefix; `NO_NODE` if the rows of some are missing."""
        depths, parents = self._depths, self.parents
        if len(depths) < len(parents):
            depths.extend([_NOT_COUNTED] * (len(parents) - len(depths)))
        path: list[int] = []
        while depths[node] == _NOT_COUNTED and parents[node] != NO_NODE:
            path.append(node)
            node = parents[node]
        depth = depths[node] if depths[node] != _NOT_COUNTED else NO_NODE
        for one in reversed(path):
            depth = depths[one] = NO_NODE if depth == NO_NODE else depth + 1
        return depth
