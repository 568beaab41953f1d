"""Read recorded calls from the local table.

The table holds the links of a prompt's blocks if the application ran with a hash key and with
OTEL_PROMPTCACHE_HASHES=all. The end of a block is known exactly where a call ended, or where its
last breakpoint stood. Between such places the tokens are shared equally among the blocks.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from promptcache.model import Request, ResponseFacts, Section, Usage
from promptcache.prices import PriceBook
from promptcache.providers.cache_rules import CacheRule, cache_rule_for
from promptcache_exporters.database.query import Query
from promptcache_exporters.database.sqlite_file import open_sqlite_read_only
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
    prefix_family: str | None
    scope_hash: str | None
    tools_hash: str | None
    prefix_breakpoints: str | None
    prefix_chain: str | None
    prefix_chain_start: int | None
    server_address: str | None
    service: str | None


_CALLS_QUERY: Final = Query(
    CallForReplay,
    """
SELECT time, first_chunk, duration, provider, coalesce(response_model, request_model) AS model,
    input_tokens, output_tokens, read_tokens, write_tokens, write_5m_tokens, write_30m_tokens,
    write_1h_tokens, conversation_id, prefix_family, scope_hash, tools_hash, prefix_breakpoints,
    prefix_chain, prefix_chain_start, server_address, service
FROM calls
WHERE +time >= ? AND batch = 0 AND input_tokens IS NOT NULL AND read_tokens IS NOT NULL
    AND provider IS NOT NULL AND coalesce(response_model, request_model) IS NOT NULL
ORDER BY time, id""",
)
_SAMPLED_QUERY: Final = (
    "SELECT count(*) FROM calls WHERE +time >= ? AND coalesce(sample_ratio, 0) <> 1.0"
)


@dataclass(frozen=True)
class LoadedCalls:
    """The calls of the table that can be replayed, and how many cannot, by reason."""

    calls: list[RecordedCall]
    skipped: Counter[str]


def load_recorded_calls(path: Path, since: float, book: PriceBook) -> LoadedCalls:
    """Return the calls since then (epoch seconds).

    Raises CallsFileReadError if the file cannot be read, and SampledTableError.
    """
    with closing(open_sqlite_read_only(path)) as connection:
        _refuse_sampled_calls(connection, since)
        rows = _CALLS_QUERY.fetch_all(connection, since)
    skipped: Counter[str] = Counter()
    calls = [call for row in rows if (call := _build_call(row, book, skipped)) is not None]
    return LoadedCalls(_with_known_ends(calls), skipped)


def _refuse_sampled_calls(connection: sqlite3.Connection, since: float) -> None:
    (count,) = connection.execute(_SAMPLED_QUERY, (since,)).fetchone()
    if count:
        raise SampledTableError(
            f"{count} calls were sampled, so others are missing; a replay needs every call"
        )


def _build_call(row: CallForReplay, book: PriceBook, skipped: Counter[str]) -> RecordedCall | None:
    if not row.prefix_chain:
        skipped["without the links of its blocks (set OTEL_PROMPTCACHE_HASH_KEY and HASHES=all)"] += 1
        return None
    if row.prefix_chain_start:
        skipped["longer than the recorded links"] += 1
        return None
    prices = _token_prices(row, book)
    if prices is None:
        skipped["without a price"] += 1
        return None
    links = tuple(json.loads(row.prefix_chain))
    rule = cache_rule_for(row.provider, row.model)
    breakpoints, sections = _parse_breakpoints(row.prefix_breakpoints, len(links))
    return RecordedCall(
        started_at=row.time,
        visible_at=row.time + (row.first_chunk or row.duration or 0.0),
        conversation=row.conversation_id or row.prefix_family or links[0],
        cache=(row.provider, row.model, row.server_address, row.scope_hash),
        rule=rule,
        prices=prices,
        links=links,
        ends=_share_equally(row.input_tokens, len(links)),
        tools_depth=0,
        static_depth=max((it.depth for it in breakpoints if sections[it.depth] != "messages"), default=0),
        breakpoints=breakpoints,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens or 0,
        read_tokens=row.read_tokens,
        write_tokens=_write_tokens(row, rule),
    )


def _write_tokens(row: CallForReplay, rule: CacheRule) -> dict[str, int]:
    by_ttl = {"5m": row.write_5m_tokens, "30m": row.write_30m_tokens, "1h": row.write_1h_tokens}
    known = {ttl: tokens for ttl, tokens in by_ttl.items() if tokens}
    if known or not row.write_tokens or not rule.bills_writes:
        return known
    return {"5m": row.write_tokens}
