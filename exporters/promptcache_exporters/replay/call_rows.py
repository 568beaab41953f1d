"""The rows of calls, packed, with the prefixes that their links make."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NamedTuple, final

from promptcache.model import SECTIONS
from promptcache.prefix.link_text import LinkedBlock, parse_levels, parse_links
from promptcache_exporters.replay.recorded_links import LinkTree
from promptcache_exporters.replay.traffic import NO_MISS, Numbering, RecordedMiss

_NO_LINKS: Final = (
    "without the links of its blocks: record with promptcache run, or with "
    "OTEL_PROMPTCACHE_HASH_KEY and OTEL_PROMPTCACHE_HASHES=all"
)


class CallForReplay(NamedTuple):
    """The columns that a replay needs."""

    time: float
    first_chunk: float | None
    duration: float | None
    provider: str
    model: str
    input_tokens: int
    output_tokens: int | None
    read_tokens: int
    write_tokens: int | None
    write_5m_tokens: int | None
    write_30m_tokens: int | None
    write_1h_tokens: int | None
    conversation_id: str | None
    scope_hash: str | None
    prefix_breakpoints: str | None
    prefix_complete: int | None
    prefix_family: str | None
    miss_reason: str | None
    miss_section: str | None
    miss_index: int | None
    missed_tokens: int | None
    code_file: str | None
    code_line: int | None
    prefix_links: str | None
    prefix_chain: str | None
    prefix_chain_start: int | None
    prefix_chain_sizes: str | None
    prefix_section_counts: str | None
    server_address: str | None
    has_usage: int
    """Whether all is known that a replay needs; if not, the row tells blocks of later prompts."""


class CacheOfCall(NamedTuple):
    """What calls must have in common to share a cache. `scope` is a tenant or a hash of a scope."""

    provider: str
    model: str
    server_address: str | None
    scope: str | None


class Chain(NamedTuple):
    """The prefix of a call: its node in the tree of links, and how many blocks it must have.

    `params` has a digest of the parameters up to each section.
    """

    node: int
    depth: int
    cache: CacheOfCall
    params: tuple[str, ...] = ("",) * len(SECTIONS)


class PackedRow(NamedTuple):
    """What a replay needs of one call, as numbers. Times are epoch seconds.

    `cache`, `params`, `breakpoints`, `conversation`, `family` and `miss` number the values of
    `CallRows`. Of the writes, `write_tokens` has those whose TTL is not told too.
    """

    started_at: float
    visible_at: float
    node: int
    depth: int
    cache: int
    params: int
    breakpoints: int
    conversation: int
    family: int
    miss: int
    missed_tokens: int
    input_tokens: int
    output_tokens: int
    read_tokens: int
    write_tokens: int
    write_5m_tokens: int
    write_30m_tokens: int
    write_1h_tokens: int


_PACKING: Final = struct.Struct("<2d16i")


class SkippedCallError(Exception):
    """A call that cannot be replayed. The text completes "calls ..."."""


@final
class CallRows:
    """The calls that can be replayed, and the tree of the links of all calls.

    `skipped` counts the others by their reasons. `keys` are the ids of the keys of recordings.
    """

    def __init__(self) -> None:
        self.links: Final = LinkTree()
        self.skipped: Final[Counter[str]] = Counter()
        self.keys: Final[set[str]] = set()
        self.caches: Final = Numbering[CacheOfCall]()
        self.params: Final = Numbering[tuple[str, ...]]()
        self.breakpoints: Final = Numbering[str]()
        self.conversations: Final = Numbering[str]()
        self.families: Final = Numbering[str | None]()
        self.misses: Final = Numbering[RecordedMiss]()
        self._packed = bytearray()

    def __len__(self) -> int:
        return len(self._packed) // _PACKING.size

    def __iter__(self) -> Iterator[PackedRow]:
        """Yield the calls in the order of their rows."""
        return map(PackedRow._make, _PACKING.iter_unpack(self._packed))

    def add(self, row: CallForReplay, since: float) -> None:
        """Add the blocks of a row, and its call if it is of `since` (epoch seconds) or later."""
        if not row.has_usage or row.time < since:
            with suppress(ValueError):
                self._add_recorded_chain(row)
            return
        try:
            chain = self._add_chain(row)
            if row.prefix_complete == 0:
                raise SkippedCallError("whose earlier part only the server has")
            if not chain.depth:
                raise SkippedCallError("without a prompt")
            self._packed += _PACKING.pack(*self._number_values(row, chain))
        except SkippedCallError as error:
            self.skipped[str(error)] += 1
        except (ValueError, LookupError, TypeError, struct.error):  # by another program
            self.skipped["with values that no call has"] += 1

    def _number_values(self, row: CallForReplay, chain: Chain) -> PackedRow:
        miss = _recorded_miss(row)
        return PackedRow(
            row.time,
            row.time + (row.first_chunk or row.duration or 0.0),
            chain.node,
            chain.depth,
            self.caches.number_of(chain.cache),
            self.params.number_of(chain.params),
            self.breakpoints.number_of(row.prefix_breakpoints or "[]"),
            self.conversations.number_of(row.conversation_id or ""),
            self.families.number_of(row.prefix_family),
            self.misses.number_of(miss),
            row.missed_tokens or 0,
            row.input_tokens,
            row.output_tokens or 0,
            row.read_tokens,
            row.write_tokens or 0,
            row.write_5m_tokens or 0,
            row.write_30m_tokens or 0,
            row.write_1h_tokens or 0,
        )

    def _add_chain(self, row: CallForReplay) -> Chain:
        return self._add_recorded_chain(row) if row.prefix_links else self._add_exported_chain(row)

    def _add_recorded_chain(self, row: CallForReplay) -> Chain:
        links = parse_links(row.prefix_links or "")
        node = self.links.add(links.known_link, links.blocks)
        self.keys.add(links.key_id)
        # A changed parameter ends the sharing at the first block of its level.
        digests, params, of_sections = parse_levels(links.params), "", list[str]()
        for section in SECTIONS:
            params += digests.get(section, "")
            of_sections.append(params)
        cache = CacheOfCall(row.provider, row.model, row.server_address, links.tenant)
        return Chain(node, links.known_depth + len(links.blocks), cache, tuple(of_sections))

    def _add_exported_chain(self, row: CallForReplay) -> Chain:
        """Add the chain that the application exported under a key of the user."""
        if not row.prefix_chain or not row.prefix_section_counts or not row.prefix_chain_sizes:
            raise SkippedCallError(_NO_LINKS)
        if row.prefix_chain_start:
            raise SkippedCallError("with more blocks than the recorded links")
        links: list[str] = json.loads(row.prefix_chain)
        sizes: list[int | None] = json.loads(row.prefix_chain_sizes)
        counts: list[int | None] = json.loads(row.prefix_section_counts)
        sections = [
            name
            for name, count in zip(SECTIONS[:-1], counts, strict=False)
            for _ in range(count or 0)
        ]
        sections += ["messages"] * (len(links) - len(sections))
        blocks = [
            LinkedBlock(link, section, size or 1)
            for link, section, size in zip(links, sections, sizes, strict=True)
        ]
        cache = CacheOfCall(row.provider, row.model, row.server_address, row.scope_hash)
        return Chain(self.links.add("", blocks), len(links), cache)


def _recorded_miss(row: CallForReplay) -> RecordedMiss:
    if row.miss_reason is None:
        return NO_MISS
    site = f"{row.code_file}:{row.code_line}" if row.code_file else ""
    return RecordedMiss(row.miss_reason, row.miss_section or "", row.miss_index or 0, site, 0)
