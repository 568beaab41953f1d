"""Read recorded calls from the local table, or from another place that has its calls.

A recording holds the links of a prompt's blocks (`recorded_links.py`). A table that the exporter
alone has written holds those of the last 64 blocks, if the application ran with a hash key and with
OTEL_PROMPTCACHE_HASHES=all. The end of a block in tokens is known where a call ended, and where the
last breakpoint of a call stood. Between such places tokens are shared by the sizes of the blocks.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from promptcache.model import SECTIONS, Request, ResponseFacts
from promptcache.prices import PriceBook
from promptcache.prices.table import latest_period_in_force
from promptcache.providers.cache_rules import CacheRule, cache_rule_for
from promptcache_exporters.database.query import Query, QueryConnection
from promptcache_exporters.database.source import CallsSource
from promptcache_exporters.replay.block_positions import BlockPositions
from promptcache_exporters.replay.recorded_links import ChainReader, parse_links
from promptcache_exporters.replay.traffic import (
    Breakpoint,
    RecordedCall,
    RecordedMiss,
    TokenPrices,
)


class SampledTableError(Exception):
    """Calls are missing because the spans were sampled."""


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


_CALLS_QUERY: Final = Query(
    CallForReplay,
    """
SELECT time, first_chunk, duration, provider, coalesce(response_model, request_model) AS model,
    input_tokens, output_tokens, read_tokens, write_tokens, write_5m_tokens, write_30m_tokens,
    write_1h_tokens, conversation_id, scope_hash, prefix_breakpoints, prefix_chain,
    prefix_chain_start, prefix_chain_sizes, prefix_section_counts, server_address,
    prefix_complete, prefix_links, prefix_family, miss_reason, miss_section, miss_index,
    missed_tokens, code_file, code_line
FROM calls
WHERE +time >= ? AND batch = 0 AND input_tokens > 0 AND read_tokens IS NOT NULL
    AND provider IS NOT NULL AND coalesce(response_model, request_model) IS NOT NULL
ORDER BY time, span_id""",
)


class RowOfLinks(NamedTuple):
    """The links of a call. Calls that failed have some too."""

    prefix_links: str


_LINKS_QUERY: Final = Query(
    RowOfLinks,
    "SELECT prefix_links FROM calls WHERE +time >= ? AND prefix_links IS NOT NULL",
)
_SECONDS_OF_A_CHAIN: Final = 2 * 3600.0
"""The rows that a chain needs are at most an hour older than its call (docs/specs/prefix.md)."""


class SampledCallCount(NamedTuple):
    """How many calls are of sampled traces."""

    calls: int


_SAMPLED_QUERY: Final = Query(
    SampledCallCount,
    "SELECT count(*) AS calls FROM calls WHERE +time >= ? AND coalesce(sample_ratio, 0) <> 1.0",
)
_NO_LINKS: Final = (
    "without the links of its blocks: record with promptcache run, or with "
    "OTEL_PROMPTCACHE_HASH_KEY and OTEL_PROMPTCACHE_HASHES=all"
)


@dataclass(frozen=True)
class LoadedCalls:
    """The calls of the table that can be replayed, and how many cannot, by reason.

    `key_count` is the number of keys under which they were recorded.
    """

    calls: list[RecordedCall]
    skipped: Counter[str]
    key_count: int = 0


def load_recorded_calls(source: CallsSource, since: float, book: PriceBook) -> LoadedCalls:
    """Return the calls since then (epoch seconds).

    Raises CallsFileReadError if the source cannot be read, and SampledTableError.
    """
    with source.open() as connection:
        _refuse_sampled_calls(connection, since)
        rows = _CALLS_QUERY.fetch_all(connection, since)
        of_chains = _LINKS_QUERY.fetch_all(connection, since - _SECONDS_OF_A_CHAIN)
    loader = _Loader(book, [row.prefix_links for row in of_chains])
    found = [item for row in rows if (item := loader.load(row))]
    positions = BlockPositions()
    for call, sizes in found:
        positions.learn(call, sizes)
    calls = [replace(call, ends=positions.locate_ends(call, sizes)) for call, sizes in found]
    return LoadedCalls(calls, loader.skipped, len(loader.keys))


def _refuse_sampled_calls(connection: QueryConnection, since: float) -> None:
    count = _SAMPLED_QUERY.fetch_one(connection, since).calls
    if count:
        raise SampledTableError(
            f"{count} calls are of sampled traces, so others are missing: a replay needs every call"
        )


class _Chain(NamedTuple):
    """The blocks of a prompt: links and sizes, and how many are tools and static.

    `cache` tells apart calls that can never share a block.
    """

    links: tuple[str, ...]
    sizes: Sequence[int]
    tools_depth: int
    static_depth: int
    cache: Hashable


class _SkippedCallError(Exception):
    """A call that cannot be replayed. The text completes "calls ..."."""


class _Loader:
    """Turns rows into calls without the ends of their blocks, and the sizes of the blocks."""

    def __init__(self, book: PriceBook, rows_of_links: Sequence[str]) -> None:
        self.skipped: Counter[str] = Counter()
        self.keys: set[str] = set()
        self._book = book
        self._reader = ChainReader()
        for text in rows_of_links:
            with suppress(ValueError):
                self._reader.add(parse_links(text))

    def load(self, row: CallForReplay) -> tuple[RecordedCall, Sequence[int]] | None:
        """Return the call of a row; None, and count the reason, if it cannot be replayed."""
        try:
            chain = self._chain_of(row)
            prices = _token_prices(row, self._book)
            if prices is None:
                raise _SkippedCallError("without a price")
            return self._build(row, prices, chain), chain.sizes
        except _SkippedCallError as error:
            self.skipped[str(error)] += 1
        except (ValueError, LookupError, TypeError):  # another program may have written the row
            self.skipped["with values that no call has"] += 1
        return None

    def _chain_of(self, row: CallForReplay) -> _Chain:
        if row.prefix_complete == 0:
            raise _SkippedCallError("whose earlier part only the server has")
        chain = self._recorded_chain(row) if row.prefix_links else _exported_chain(row)
        if not chain.links:
            raise _SkippedCallError("without a prompt")
        return chain

    def _recorded_chain(self, row: CallForReplay) -> _Chain:
        links = parse_links(row.prefix_links or "")
        blocks = self._reader.rebuild_chain(links)
        if blocks is None:
            raise _SkippedCallError("whose earlier blocks are in rows that are missing")
        self.keys.add(links.key_id)
        sections = [block.section for block in blocks]
        tools, system = sections.count("tools"), sections.count("system")
        # A changed parameter ends the sharing at the first block of its level.
        params, scopes = "", dict[str, str]()
        for section in SECTIONS:
            scopes[section] = params = params + links.params.get(section, "")
        return _Chain(
            tuple([block.link + scopes[block.section] for block in blocks]),
            [block.size for block in blocks],
            tools,
            tools + system,
            (row.provider, row.model, row.server_address, links.tenant),
        )

    def _build(self, row: CallForReplay, prices: TokenPrices, chain: _Chain) -> RecordedCall:
        rule = cache_rule_for(row.provider, row.model)
        links, static_depth = chain.links, chain.static_depth
        breakpoints = _parse_breakpoints(
            row.prefix_breakpoints, chain.tools_depth, static_depth, rule
        )
        if rule.bills_writes and not breakpoints and (row.write_tokens or row.read_tokens):
            breakpoints = [Breakpoint(len(links), _ttl_of_writes(row))]
        # A conversation is known by its first message, if the application names none.
        first = links[min(static_depth, len(links) - 1)]
        return RecordedCall(
            started_at=row.time,
            visible_at=row.time + (row.first_chunk or row.duration or 0.0),
            conversation=row.conversation_id or first,
            provider=row.provider,
            cache=chain.cache,
            rule=rule,
            prices=prices,
            links=links,
            ends=(),
            tools_depth=chain.tools_depth,
            static_depth=static_depth,
            breakpoints=tuple(breakpoints),
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens or 0,
            read_tokens=row.read_tokens,
            write_tokens=_write_tokens(row, rule),
            sizes=tuple(chain.sizes),
            family=row.prefix_family,
            miss=_recorded_miss(row),
        )


def _recorded_miss(row: CallForReplay) -> RecordedMiss | None:
    if row.miss_reason is None:
        return None
    site = f"{row.code_file}:{row.code_line}" if row.code_file else ""
    place = (row.miss_section or "", row.miss_index or 0)
    return RecordedMiss(row.miss_reason, *place, site, row.missed_tokens or 0)


def _exported_chain(row: CallForReplay) -> _Chain:
    """Return the chain that the application exported under a key of the user."""
    if not row.prefix_chain or not row.prefix_section_counts or not row.prefix_chain_sizes:
        raise _SkippedCallError(_NO_LINKS)
    if row.prefix_chain_start:
        raise _SkippedCallError("with more blocks than the recorded links")
    links: list[str] = json.loads(row.prefix_chain)
    sizes: list[int | None] = json.loads(row.prefix_chain_sizes)
    counts: list[int | None] = json.loads(row.prefix_section_counts)
    if len(sizes) != len(links):
        raise ValueError
    tools, system = (counts[0] or 0, counts[1] or 0) if len(counts) > 1 else (0, 0)
    cache = (row.provider, row.model, row.server_address, row.scope_hash)
    return _Chain(tuple(links), [size or 1 for size in sizes], tools, tools + system, cache)


def _parse_breakpoints(
    text: str | None, tools_depth: int, static_depth: int, rule: CacheRule
) -> list[Breakpoint]:
    """Return the breakpoints of `["system[0] 1h", "messages[3]"]`, by depth."""
    starts = {"tools": 0, "system": tools_depth, "messages": static_depth}
    found: list[Breakpoint] = []
    for mark in json.loads(text or "[]"):
        place, _, ttl = str(mark).partition(" ")
        section, _, index = place.rstrip("]").partition("[")
        found.append(Breakpoint(starts[section] + int(index) + 1, ttl or "5m"))
    return sorted(found)[-rule.max_breakpoints :]


def _ttl_of_writes(row: CallForReplay) -> str:
    by_ttl = {"1h": row.write_1h_tokens, "30m": row.write_30m_tokens, "5m": row.write_5m_tokens}
    return next((ttl for ttl, tokens in by_ttl.items() if tokens), "5m")


def _write_tokens(row: CallForReplay, rule: CacheRule) -> dict[str, int]:
    by_ttl = {"5m": row.write_5m_tokens, "30m": row.write_30m_tokens, "1h": row.write_1h_tokens}
    known = {ttl: tokens for ttl, tokens in by_ttl.items() if tokens}
    if known or not row.write_tokens or not rule.bills_writes:
        return known
    return {"5m": row.write_tokens}


def _token_prices(row: CallForReplay, book: PriceBook) -> TokenPrices | None:
    """Return the prices of the call's own day and context band; None if one is not known."""
    return find_token_prices(book, row.provider, row.model, row.time, row.input_tokens)


def find_token_prices(
    book: PriceBook, provider: str, model: str, at: float, input_tokens: int
) -> TokenPrices | None:
    """Return the list prices per token at a time (epoch seconds), None if one is not known."""
    request = Request("", provider, "chat", model, None, None, False, {}, b"", at)
    plan = book.find_plan(request, ResponseFacts(model=model))
    period = latest_period_in_force(plan.periods, at)
    if period is None:
        return None
    rates = period.rates_for_input(input_tokens)
    if rates.input_price is None or rates.output_price is None:
        return None
    read = rates.cache_read_price
    return TokenPrices(
        rates.input_price,
        rates.input_price if read is None else read,
        rates.cache_write_prices,
        rates.output_price,
    )
