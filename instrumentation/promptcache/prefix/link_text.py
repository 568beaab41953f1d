"""The text of the column `prefix_links` of the local table (docs/specs/prefix.md).

It has five parts between spaces, each of which may be empty: the key's id and the tenant, the
parameters, the link and number of the known blocks, the blocks behind them, and the links at
breakpoints.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from promptcache.model import SECTIONS

KEY_ID_LENGTH: Final = 2
_LINK_LENGTH: Final = 8
_LEVEL_PATTERN: Final = re.compile(r"([tsm])([\w-]{4})")
_BLOCK_PATTERN: Final = re.compile(r"([tsm])([\w-]{8})(\d+)")
_BLOCKS_PATTERN: Final = re.compile(r"[tsm][\w-]{8}\d+(?:,[tsm][\w-]{8}\d+)*")
_SECTION_BY_LETTER: Final[Mapping[str, str]] = {name[0]: name for name in SECTIONS}


class LinkedBlock(NamedTuple):
    """A block at its place: the link of the prefix that it ends, its section and size in bytes."""

    link: str
    section: str
    size: int


class PrefixLinks(NamedTuple):
    """One value of the column.

    `params` has a digest for each invalidation level that has parameters, as `format_levels` writes
    it. The first `known_depth` blocks end with `known_link` and are in earlier rows; `blocks` are
    those behind. `marked_links` are the links at breakpoints.
    """

    key_id: str
    tenant: str
    params: str
    known_link: str
    known_depth: int
    blocks: tuple[LinkedBlock, ...]
    marked_links: tuple[str, ...]


def format_levels(digest_by_level: Mapping[str, str]) -> str:
    """Return the parameters as text: `tAbCdsEfGhmIjKl`, the first letter of each level first."""
    return "".join([level[0] + digest for level, digest in digest_by_level.items()])


def parse_levels(params: str) -> dict[str, str]:
    """Return the digest of each invalidation level."""
    return {_SECTION_BY_LETTER[letter]: text for letter, text in _LEVEL_PATTERN.findall(params)}


def format_links(links: PrefixLinks) -> str:
    """Return the text of the column."""
    return " ".join(
        (
            links.key_id + links.tenant,
            links.params,
            f"{links.known_link}{links.known_depth}" if links.known_depth else "",
            ",".join([f"{section[0]}{link}{size}" for link, section, size in links.blocks]),
            ",".join(links.marked_links),
        )
    )


def parse_links(text: str) -> PrefixLinks:
    """Return the parts of a value. Raises ValueError if no recording has written it."""
    scope, params, known, blocks, marks = text.split(" ")
    return PrefixLinks(
        scope[:KEY_ID_LENGTH],
        scope[KEY_ID_LENGTH:],
        params,
        known[:_LINK_LENGTH],
        int(known[_LINK_LENGTH:] or 0),
        _parse_blocks(blocks) if blocks else (),
        tuple(marks.split(",")) if marks else (),
    )


def _parse_blocks(text: str) -> tuple[LinkedBlock, ...]:
    if not _BLOCKS_PATTERN.fullmatch(text):
        raise ValueError(text)
    return tuple(
        [
            LinkedBlock(link, _SECTION_BY_LETTER[letter], max(1, int(size)))
            for letter, link, size in _BLOCK_PATTERN.findall(text)
        ]
    )
