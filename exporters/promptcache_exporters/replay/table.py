"""Read recorded calls from the local table, or from another place that has its calls.

The table holds the links of a prompt's blocks if the application ran with a hash key and with
OTEL_PROMPTCACHE_HASHES=all. The end of a block in tokens is known where a call ended, and where the
last breakpoint of a call stood. Between such places tokens are shared by the sizes of the blocks.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from promptcache.model import Request, ResponseFacts
from promptcache.prices import PriceBook
from promptcache.prices.table import latest_period_in_force
from promptcache.providers.cache_rules import CacheRule, cache_rule_for
from promptcache_exporters.database.query import Query, QueryConnection
from promptcache_exporters.database.source import CallsSource
from promptcache_exporters.replay.traffic import Breakpoint, RecordedCall, TokenPrices


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
    prefix_chain_start, prefix_chain_sizes, prefix_section_counts, server_address
FROM calls
WHERE +time >= ? AND batch = 0 AND input_tokens > 0 AND read_tokens IS NOT NULL
    AND provider IS NOT NULL AND coalesce(response_model, request_model) IS NOT NULL
ORDER BY time, span_id""",
)


class SampledCallCount(NamedTuple):
    """How many calls are of sampled traces."""

    calls: int


_SAMPLED_QUERY: Final = Query(
    SampledCallCount,
    "SELECT count(*) AS calls FROM calls WHERE +time >= ? AND coalesce(sample_ratio, 0) <> 1.0",
)
_MAX_READ_ERROR: Final = 0.2
"""How far a place estimated by size may be from a read that ended there, as a share of the read."""
_NO_LINKS: Final = (
    "without the links of its blocks: record with OTEL_PROMPTCACHE_HASH_KEY and "
    "OTEL_PROMPTCACHE_HASHES=all"
)


@dataclass(frozen=True)
class LoadedCalls:
    """The calls of the table that can be replayed, and how many cannot, by reason."""

    calls: list[RecordedCall]
    skipped: Counter[str]


def load_recorded_calls(source: CallsSource, since: float, book: PriceBook) -> LoadedCalls:
    """Return the calls since then (epoch seconds).

    Raises CallsFileReadError if the source cannot be read, and SampledTableError.
    """
    with source.open() as connection:
        _refuse_sampled_calls(connection, since)
        rows = _CALLS_QUERY.fetch_all(connection, since)
    loader = _Loader(book)
    found = [
        (call, sizes) for row in rows if (call := loader.load(row)) for sizes in (_sizes(row),)
    ]
    positions = BlockPositions()
    for call, sizes in found:
        positions.learn(call, sizes)
    calls = [replace(call, ends=positions.locate_ends(call, sizes)) for call, sizes in found]
    return LoadedCalls(calls, loader.skipped)


def _refuse_sampled_calls(connection: QueryConnection, since: float) -> None:
    count = _SAMPLED_QUERY.fetch_one(connection, since).calls
    if count:
        raise SampledTableError(
            f"{count} calls are of sampled traces, so others are missing: a replay needs every call"
        )


def _sizes(row: CallForReplay) -> list[int]:
    return [size or 1 for size in json.loads(row.prefix_chain_sizes or "[]")]


def _static_block_counts(row: CallForReplay) -> tuple[int, int]:
    """Return the number of blocks in the tools and in the system prompt."""
    counts: list[int | None] = json.loads(row.prefix_section_counts or "[]")
    return (counts[0] or 0, counts[1] or 0) if len(counts) > 1 else (0, 0)


class _Loader:
    """Turns rows into calls, without the ends of their blocks."""

    def __init__(self, book: PriceBook) -> None:
        self.skipped: Counter[str] = Counter()
        self._book = book

    def load(self, row: CallForReplay) -> RecordedCall | None:
        """Return the call of a row; None, and count the reason, if it cannot be replayed."""
        if not row.prefix_chain or not row.prefix_section_counts or not row.prefix_chain_sizes:
            self.skipped[_NO_LINKS] += 1
            return None
        if row.prefix_chain_start:
            self.skipped["with more blocks than the recorded links"] += 1
            return None
        prices = _token_prices(row, self._book)
        if prices is None:
            self.skipped["without a price"] += 1
            return None
        try:
            links: list[str] = json.loads(row.prefix_chain)
            if len(_sizes(row)) != len(links):
                raise ValueError
            return self._build(row, prices, links)
        except (ValueError, LookupError, TypeError):  # another program may have written the row
            self.skipped["with values that no call has"] += 1
            return None

    def _build(self, row: CallForReplay, prices: TokenPrices, links: list[str]) -> RecordedCall:
        rule = cache_rule_for(row.provider, row.model)
        tools, system = _static_block_counts(row)
        breakpoints = _parse_breakpoints(row.prefix_breakpoints, tools, tools + system, rule)
        if rule.bills_writes and not breakpoints and (row.write_tokens or row.read_tokens):
            breakpoints = [Breakpoint(len(links), _ttl_of_writes(row))]
        cache = (row.provider, row.model, row.server_address, row.scope_hash)
        # A conversation is known by its first message, if the application names none.
        first = links[min(tools + system, len(links) - 1)]
        return RecordedCall(
            started_at=row.time,
            visible_at=row.time + (row.first_chunk or row.duration or 0.0),
            conversation=row.conversation_id or first,
            provider=row.provider,
            cache=cache,
            rule=rule,
            prices=prices,
            links=tuple(links),
            ends=(),
            tools_depth=tools,
            static_depth=tools + system,
            breakpoints=tuple(breakpoints),
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens or 0,
            read_tokens=row.read_tokens,
            write_tokens=_write_tokens(row, rule),
        )


class BlockPositions:
    """Where blocks end, in tokens.

    A call ends at its input tokens. Its writes end at its last breakpoint, and those of the longest
    TTL at the last breakpoint that asks for it. A read ends where an earlier call had a breakpoint.
    """

    def __init__(self) -> None:
        self._known_ends: dict[Hashable, int] = {}
        self._marked: set[Hashable] = set()

    def learn(self, call: RecordedCall, sizes: Sequence[int]) -> None:
        """Remember what the usage of a call says. Calls come in the order of their starts."""
        keys = [(call.cache, link) for link in call.links]
        self._known_ends.setdefault(keys[-1], call.input_tokens)
        written = sum(call.write_tokens.values())
        if call.breakpoints and written:
            last = keys[call.breakpoints[-1].depth - 1]
            self._known_ends.setdefault(last, call.read_tokens + written)
            ttl = call.breakpoints[0].ttl
            depth = max(mark.depth for mark in call.breakpoints if mark.ttl == ttl)
            if ttl in call.write_tokens:
                end = call.read_tokens + call.write_tokens[ttl]
                self._known_ends.setdefault(keys[depth - 1], end)
        if call.read_tokens and call.rule.bills_writes:
            self._learn_from_read(call, keys, sizes)
        self._marked.update(keys[mark.depth - 1] for mark in call.breakpoints)

    def _learn_from_read(
        self, call: RecordedCall, keys: Sequence[Hashable], sizes: Sequence[int]
    ) -> None:
        ends = self.locate_ends(call, sizes)
        places = [
            (abs(end - call.read_tokens), key)
            for key, end in zip(keys, ends, strict=True)
            if key in self._marked
        ]
        if places:
            distance, key = min(places, key=lambda place: place[0])
            if distance <= _MAX_READ_ERROR * call.read_tokens:
                self._known_ends.setdefault(key, call.read_tokens)

    def locate_ends(self, call: RecordedCall, sizes: Sequence[int]) -> tuple[int, ...]:
        """Return the end of each block in tokens: known, or shared by size between known ends."""
        ends: list[int] = []
        start, waiting = 0, list[int]()
        for link, size in zip(call.links, sizes, strict=True):
            waiting.append(size)
            known = self._known_ends.get((call.cache, link))
            if known is not None:
                ends += _share(start, max(start, known), waiting)
                start, waiting = max(start, known), []
        return tuple(ends)


def _share(start: int, end: int, sizes: Sequence[int]) -> list[int]:
    """Return the ends of blocks between two token positions, in proportion to their sizes."""
    total, position, ends = sum(sizes), 0, list[int]()
    for size in sizes:
        position += size
        ends.append(start + round((end - start) * position / total))
    return ends


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
