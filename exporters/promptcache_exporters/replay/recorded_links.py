"""Rebuild the chain of a recorded call from the column `prefix_links` (docs/specs/prefix.md).

A row has the blocks that no earlier row had. The blocks before them are in the rows of earlier
calls, which are found by the link of the last known block.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from promptcache.model import SECTIONS

_BLOCK_PATTERN: Final = re.compile(r"([tsm])([\w-]{8})(\d+)")
_PARAMS_PATTERN: Final = re.compile(r"([tsm])([\w-]{4})")
_SECTION_BY_LETTER: Final[Mapping[str, str]] = {name[0]: name for name in SECTIONS}
_KEY_ID_LENGTH: Final = 2
_LINK_LENGTH: Final = 8


class LinkedBlock(NamedTuple):
    """A block at its place: the link of the prefix that it ends, its section and size in bytes."""

    link: str
    section: str
    size: int


class RecordedLinks(NamedTuple):
    """One value of the column.

    `params` has a digest for each invalidation level that has parameters. The first `known_depth`
    blocks end with `known_link` and are in earlier rows; `blocks` are those behind. `marked_links`
    are the links at breakpoints.
    """

    key_id: str
    tenant: str
    params: Mapping[str, str]
    known_depth: int
    known_link: str
    blocks: tuple[LinkedBlock, ...]
    marked_links: tuple[str, ...]

    @property
    def last_link(self) -> str:
        """The link of the whole prompt."""
        return self.blocks[-1].link if self.blocks else self.known_link


def parse_links(text: str) -> RecordedLinks:
    """Return the parts of a value. Raises ValueError if no recording has written it."""
    scope, params, known, blocks, marks = text.split(" ")
    return RecordedLinks(
        scope[:_KEY_ID_LENGTH],
        scope[_KEY_ID_LENGTH:],
        {_SECTION_BY_LETTER[letter]: digest for letter, digest in _PARAMS_PATTERN.findall(params)},
        int(known[_LINK_LENGTH:] or 0),
        known[:_LINK_LENGTH],
        tuple(map(_parse_block, blocks.split(","))) if blocks else (),
        tuple(marks.split(",")) if marks else (),
    )


def _parse_block(text: str) -> LinkedBlock:
    match = _BLOCK_PATTERN.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return LinkedBlock(match[2], _SECTION_BY_LETTER[match[1]], max(1, int(match[3])))


class ChainReader:
    """The blocks of all rows, each once, and the chains that they make."""

    def __init__(self) -> None:
        self._blocks: dict[str, tuple[str, LinkedBlock]] = {}
        """Link -> the link before it, and the block."""

    def add(self, links: RecordedLinks) -> None:
        """Remember the blocks of a row."""
        previous = links.known_link
        for block in links.blocks:
            self._blocks.setdefault(block.link, (previous, block))
            previous = block.link

    def rebuild_chain(self, links: RecordedLinks) -> tuple[LinkedBlock, ...] | None:
        """Return all blocks of a call's prompt; None if the rows of some are missing."""
        behind: list[LinkedBlock] = []
        link = links.known_link
        while link:
            found = self._blocks.get(link)
            if found is None:
                return None
            link, block = found
            behind.append(block)
        if len(behind) != links.known_depth:
            return None
        return (*reversed(behind), *links.blocks)
