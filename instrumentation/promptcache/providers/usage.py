"""Turn a provider's usage counters into token counts in disjoint classes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from promptcache.common.coerce import JSONObject, as_count
from promptcache.model import ResponseFacts, Usage

_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


class UsageCounterNames(NamedTuple):
    """The names of a wire format's counters, dotted. Of several names, the first that is reported
    counts.

    `input_includes_cached` is True if the input counter includes cache reads and cache writes
    (OpenAI, Gemini), False if those are counted beside it (Anthropic, Bedrock).
    `cache_write_by_ttl`, `modalities` and `server_tools` map our names to the wire format's.
    `default_ttl` is the TTL of a write that the response does not split by TTL. `total_tokens` is
    the sum of input and output, which tells what the other counters include.
    """

    input_tokens: tuple[str, ...]
    cache_read_tokens: tuple[str, ...]
    cache_write_tokens: tuple[str, ...]
    output_tokens: tuple[str, ...]
    reasoning_tokens: tuple[str, ...]
    input_includes_cached: bool
    cache_write_by_ttl: Mapping[str, tuple[str, ...]]
    modalities: Mapping[str, tuple[str, ...]]
    default_ttl: str = "unknown"
    server_tools: Mapping[str, tuple[str, ...]] = _EMPTY
    total_tokens: tuple[str, ...] = ()


def parse_usage(facts: ResponseFacts, counters: UsageCounterNames) -> Usage | None:
    """Return the usage in disjoint classes; None if the input was not reported.

    Counters that contradict each other are clamped and named in `Usage.inconsistencies`.
    """
    reader = _CounterReader(facts.usage_counters)
    total = reader.first_reported_count(counters.input_tokens)
    read = reader.first_reported_count(counters.cache_read_tokens)
    split = reader.nonzero_counts(counters.cache_write_by_ttl)
    write = reader.first_reported_count(counters.cache_write_tokens)
    write = sum(split.values()) if write is None and split else write
    output = reader.first_reported_count(counters.output_tokens)
    reasoning = reader.first_reported_count(counters.reasoning_tokens)
    if total is None:
        return None
    if counters.total_tokens and output is not None:
        extra = (read or 0) + (write or 0), reasoning or 0
        total, output = _fit_sum(reader, counters.total_tokens, total, output, *extra)
    if counters.input_includes_cached:
        read = reader.clamp_and_note_inconsistency(read, total, "read>input")
        write = reader.clamp_and_note_inconsistency(write, total - (read or 0), "read+write>input")
    else:
        total += (read or 0) + (write or 0)
    uncached = total - (read or 0) - (write or 0)
    ttl = facts.cache_write_ttl or counters.default_ttl
    if output is not None:
        reasoning = reader.clamp_and_note_inconsistency(reasoning, output, "reasoning>output")
    return Usage(
        input_tokens=total,
        uncached_tokens=uncached,
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_by_ttl=_cache_write_tokens_by_ttl(reader, write, split, ttl),
        output_tokens=output,
        reasoning_tokens=reasoning,
        modality_tokens=_tokens_by_modality(reader, counters, uncached),
        server_tool_calls=reader.nonzero_counts(counters.server_tools),
        inconsistencies=tuple(reader.inconsistencies),
    )


def _fit_sum(
    reader: _CounterReader,
    names: tuple[str, ...],
    total: int,
    output: int,
    cached: int,
    thought: int,
) -> tuple[int, int]:
    """Return input and output such that they add up to the sum that the provider reports.

    Servers of one wire format disagree on whether output includes reasoning (xAI counts it beside
    the output), and gateways on whether input includes cached tokens (Portkey counts them beside
    the input). Only the sum tells. If no reading or more than one fits, nothing is certain.
    """
    sum_tokens = reader.first_reported_count(names)
    if not thought and (sum_tokens is None or sum_tokens == total + output):
        return total, output
    readings = {
        (whole_input, whole_output)
        for whole_input in (total, total + cached)
        for whole_output in (output, output + thought)
        if whole_input + whole_output == sum_tokens
        and cached <= whole_input
        and thought <= whole_output
    }
    if len(readings) == 1:
        return readings.pop()
    reader.inconsistencies.append("total!=input+output")
    return total, output


class _CounterReader:
    """Reads counters and collects the inconsistencies among them."""

    def __init__(self, counts: JSONObject) -> None:
        self.counts = counts
        self.inconsistencies: list[str] = []

    def first_reported_count(self, names: tuple[str, ...]) -> int | None:
        counts = self.counts
        for name in names:
            if name in counts:
                value = as_count(counts[name])
                if value is not None:
                    return value
                self.inconsistencies.append(f"malformed:{name}")
        return None

    def nonzero_counts(self, names: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
        """Return our names and the counts that are reported and not 0."""
        found: dict[str, int] = {}
        for ours, theirs in names.items():
            if count := self.first_reported_count(theirs):
                found[ours] = count
        return found

    def clamp_and_note_inconsistency(
        self, count: int | None, limit: int, inconsistency: str
    ) -> int | None:
        if count is None or count <= limit:
            return count
        self.inconsistencies.append(inconsistency)
        return limit


def _tokens_by_modality(
    reader: _CounterReader, counters: UsageCounterNames, uncached: int
) -> dict[str, int]:
    """Return the tokens of each modality. Our `.input` is the uncached part; providers report all
    input."""
    found = reader.nonzero_counts(counters.modalities)
    if not found:
        return found
    for name in [name for name in found if name.endswith(".input")]:
        cached = 0
        if counters.input_includes_cached:
            cached = found.get(f"{name.removesuffix('.input')}.read", 0)
        found[name] = max(0, min(found[name] - cached, uncached))
    return {name: count for name, count in found.items() if count}


def _cache_write_tokens_by_ttl(
    reader: _CounterReader,
    written_tokens: int | None,
    reported_split: Mapping[str, int],
    fallback_ttl: str,
) -> dict[str, int]:
    """Return the written tokens by TTL; they sum to `written_tokens`.

    Tokens that the reported split does not cover are put under `fallback_ttl`. Tokens that it
    reports in excess are cut.
    """
    if not written_tokens and not reported_split:
        return {}
    rest, found = written_tokens or 0, dict[str, int]()
    for name, count in reported_split.items():
        found[name] = min(count, rest)
        rest -= found[name]
    if reported_split and sum(reported_split.values()) != written_tokens:
        reader.inconsistencies.append("write_split")
    if rest:
        found[fallback_ttl] = found.get(fallback_ttl, 0) + rest
    return {name: count for name, count in found.items() if count}
