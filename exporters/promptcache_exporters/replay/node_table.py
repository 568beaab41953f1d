"""A table from hashes to nodes that takes a tenth of a dictionary's memory."""

from __future__ import annotations

from array import array
from typing import Final, final

_FIRST_SLOTS: Final = 1 << 10
NO_NODE: Final = -1


@final
class NodeTable:
    """Nodes by the hashes of what they stand for.

    Open addressing over two arrays: a dictionary of numbers would hold an object for each.
    """

    def __init__(self) -> None:
        self._count = 0
        self._resize(_FIRST_SLOTS)

    def find(self, key: int) -> int:
        """Return the node of a hash, `NO_NODE` if it has none."""
        keys, nodes, mask = self._keys, self._nodes, self._mask
        slot = key & mask
        while (node := nodes[slot]) != NO_NODE:
            if keys[slot] == key:
                return node
            slot = (slot + 1) & mask
        return NO_NODE

    def add(self, key: int, node: int) -> None:
        """Add a hash that has no node yet."""
        self._count += 1
        if 3 * self._count > 2 * len(self._keys):
            keys, nodes = self._keys, self._nodes
            self._resize(2 * len(keys))
            for old_key, old_node in zip(keys, nodes, strict=True):
                if old_node != NO_NODE:
                    self._put(old_key, old_node)
        self._put(key, node)

    def _resize(self, slots: int) -> None:
        self._mask = slots - 1
        self._keys = array("q", [0]) * slots
        self._nodes = array("i", [NO_NODE]) * slots

    def _put(self, key: int, node: int) -> None:
        nodes, mask = self._nodes, self._mask
        slot = key & mask
        while nodes[slot] != NO_NODE:
            slot = (slot + 1) & mask
        self._keys[slot], nodes[slot] = key, node
