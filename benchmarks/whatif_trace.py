"""Replay a public request trace, and print the cost relative to a provider without a cache.

    python -m benchmarks.whatif_trace mooncake_conversation_trace.jsonl

The trace is Mooncake's (FAST'25, Apache-2.0): one JSON object a line with `timestamp` (ms),
`input_length` (tokens) and `hash_ids` (ids of prefix blocks of 512 tokens).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

from promptcache.cli.whatif_output import find_recommended
from promptcache.cli.whatif_policies import list_usual_policies
from promptcache.model import TTL, TTL_SECONDS
from promptcache.providers.cache_rules import DEFAULT_CACHE_RULE, CacheRule
from promptcache_exporters.replay.policy import Policy
from promptcache_exporters.replay.replay import Outcome, replay
from promptcache_exporters.replay.reuse import find_reused_nodes
from promptcache_exporters.replay.traffic import Breakpoint, RecordedCall, TokenPrices, Traffic

_BLOCK_TOKENS: Final = 512
_WINDOWS: Final = 10
_EXACT: Final = DEFAULT_CACHE_RULE._replace(minimum_tokens=0, granularity=1)
_WRITE_PRICES: Final = {"5m": 1.25, "30m": 1.25, "1h": 2.0, "12h": 2.5}


def read_calls(path: Path, rule: CacheRule, ttl: str | None) -> list[RecordedCall]:
    """Return the calls of a trace. With a TTL, each block is a breakpoint."""
    rows: list[Mapping[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    prices = TokenPrices(1.0, 0.1, _WRITE_PRICES, 0.0)
    calls: list[RecordedCall] = []
    for number, row in enumerate(rows):
        links, tokens = tuple(row["hash_ids"]), row["input_length"]
        depths = range(1, len(links) + 1)
        calls.append(
            RecordedCall(
                started_at=row["timestamp"] / 1000,
                visible_at=row["timestamp"] / 1000,
                conversation=number,
                provider="",
                cache="",
                rule=rule,
                prices=prices,
                links=links,
                ends=tuple(min(_BLOCK_TOKENS * depth, tokens) for depth in depths),
                tools_depth=0,
                static_depth=0,
                breakpoints=tuple(Breakpoint(depth, ttl) for depth in depths) if ttl else (),
                input_tokens=tokens,
                output_tokens=0,
                read_tokens=0,
                write_tokens={},
            )
        )
    return calls


def mark_what_is_reused(calls: list[RecordedCall], ttl: str) -> Traffic:
    """Return traffic with breakpoints only up to the end of what another call shares."""
    traffic = Traffic(calls)
    seconds = float(TTL_SECONDS[cast("TTL", ttl)])
    nodes = find_reused_nodes(traffic, [seconds] * len(traffic.kinds))
    depths = [traffic.tree.depths[node] for node in nodes]
    return Traffic(
        replace(call, breakpoints=call.breakpoints[:depth])
        for call, depth in zip(calls, depths, strict=True)
    )


def main(path: Path) -> None:
    """Print one line a policy."""
    for ttl in _WRITE_PRICES:
        rule = _EXACT._replace(bills_writes=True, caches_on_request=True)
        calls = read_calls(path, rule, ttl)
        everything = _relative(replay(Traffic(calls), Policy()))
        reused = _relative(replay(mark_what_is_reused(calls, ttl), Policy()))
        print(f"writes of {ttl}: {everything:.3f}, of what is reused {reused:.3f}")
    for minutes in (10, 1440):
        rule = _EXACT._replace(ttl_seconds=60.0 * minutes)
        outcome = replay(Traffic(read_calls(path, rule, None)), Policy())
        print(f"free writes, {minutes} minutes: {_relative(outcome):.3f}")
    unlimited, calls = Policy(caching="unlimited"), read_calls(path, _EXACT, None)
    whole = replay(Traffic(calls), unlimited)
    first = replay(Traffic(calls[: len(calls) // 2]), unlimited)
    later = (whole.read_tokens - first.read_tokens) / (whole.input_tokens - first.input_tokens)
    print(f"a cache without limits reads {whole.hit_rate:.1%} of the tokens")
    print(f"filled by the first half of the calls, {later:.1%} of those of the second")
    recommend_in_windows(path)


def recommend_in_windows(path: Path) -> None:
    """Recommend a policy on the first half of each window, and try it on the second one.

    The record has one breakpoint with the 1h TTL, at the end of each prompt.
    """
    rule = _EXACT._replace(bills_writes=True, caches_on_request=True, lookback=20)
    calls = [
        replace(call, breakpoints=call.breakpoints[-1:]) for call in read_calls(path, rule, "1h")
    ]
    length = len(calls) // _WINDOWS
    savings: list[float] = []
    for first in range(0, length * _WINDOWS, length):
        middle = first + length // 2
        seen, later = Traffic(calls[first:middle]), Traffic(calls[middle : first + length])
        policies = [Policy(), *list_usual_policies(seen)]
        recommended = find_recommended([replay(seen, policy) for policy in policies])
        if recommended is not None:
            other = replay(later, recommended.policy)
            savings.append(1 - other.usd / replay(later, Policy()).usd)
    least = min(savings, default=0.0)
    print(
        f"recommended in {len(savings)} of {_WINDOWS} windows; they save {least:.1%} or more later"
    )


def _relative(outcome: Outcome) -> float:
    return outcome.usd / outcome.input_tokens


if __name__ == "__main__":
    main(Path(sys.argv[1]))
