"""What a wire format has to offer, and the arithmetic that all of them share.

The next provider is one file: a `WireFormat` of four functions, a `UsageCounters` table that says where its counters stand, and
rows of `Route`. Nothing here knows an SDK or OpenTelemetry.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

from promptcache.model import (
    MAX_CHOICES,
    Block,
    Param,
    ParsedPrompt,
    Request,
    ResponseFacts,
    Section,
    Usage,
)

JSONObject = Mapping[str, Any]
_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})

MAX_PLAUSIBLE_COUNT: Final = 10**12
"""No call has more tokens than this; what claims more is malformed."""

MAX_NAME_CHARS: Final = 1024
"""Characters of the longest name or id that is believed. Those of gateways that pack an address into an id have 300."""
UNLIMITED_CHARS: Final = sys.maxsize
"""The bound of a text that is a whole body."""


class WireFormat(NamedTuple):
    """One wire format.

    `parse_prompt` reads the body of a request (None where it cannot); `parse_event` one response or stream event (None where it
    says nothing); `parse_usage` the merged facts; `can_skip` tells cheaply that an event in mid-stream says nothing; an event of
    type `terminal_event` ends a stream. `is_retrievable` says that a response can be asked for again later by its id.

    For the provider's own diagnosis: `conversation_key` is what a conversation begins with and keeps (None where that cannot be
    told), `with_diagnostics` adds to a body the question why the response with the given id was not reused (None: do not ask).
    """

    name: str
    operation: str
    parse_prompt: Callable[[Request], ParsedPrompt | None]
    parse_event: Callable[[JSONObject], ResponseFacts | None]
    parse_usage: Callable[[ResponseFacts], Usage | None]
    can_skip: Callable[[JSONObject], bool]
    terminal_event: str = ""
    is_retrievable: bool = False
    conversation_key: Callable[[JSONObject], object] = lambda body: None
    with_diagnostics: Callable[[str, JSONObject, str | None], JSONObject | None] = (
        lambda provider, body, previous: None
    )


class Route(NamedTuple):
    """Which endpoint speaks which wire: an HTTP method and the end of a path.

    `is_retrieval` marks an endpoint that returns an earlier call's response again, `is_batch_results` one that returns those of many
    calls, one JSON object a line.
    """

    method: str
    path: re.Pattern[str]
    wire_format: WireFormat
    is_retrieval: bool = False
    is_batch_results: bool = False


def make_route(
    method: str,
    path: str,
    wire_format: WireFormat,
    *,
    is_retrieval: bool = False,
    is_batch_results: bool = False,
) -> Route:
    """A row of routes; `path` is a regular expression for the last segments, without the query."""
    return Route(
        method,
        re.compile(rf"(?:^|/){path}/?(?:\?.*)?$"),
        wire_format,
        is_retrieval,
        is_batch_results,
    )


def find_route(routes: Iterable[Route], method: str, url: str) -> Route | None:
    """The route that serves `method` and `url` (relative or absolute), if any."""
    method = method.upper()
    return next((row for row in routes if row.method == method and row.path.search(url)), None)


NO_FACTS: Final = ResponseFacts()
"""What is known before the first event."""


def merge_facts(earlier: ResponseFacts, later: ResponseFacts) -> ResponseFacts:
    """Both, where the later non-null value wins; counters are cumulative, finish reasons add up."""
    if earlier is NO_FACTS:
        return later
    values: dict[str, Any] = {}
    for name in _FACT_FIELDS:
        before, after = getattr(earlier, name), getattr(later, name)
        values[name] = (
            _MERGE_FUNCTIONS[name](before, after)
            if name in _MERGE_FUNCTIONS
            else before
            if after is None
            else after
        )
    return ResponseFacts(**values)


def _any_of(before: bool, after: bool) -> bool:
    return before or after


_FACT_FIELDS: Final = ResponseFacts._fields
_MERGE_FUNCTIONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "finish_reasons": lambda before, after: (before + after)[:MAX_CHOICES],
    "usage_counters": lambda before, after: (
        {**before, **after} if before and after else before or after
    ),
    "has_content": _any_of,
    "is_terminal": _any_of,
    "is_batch": _any_of,
}


def as_mapping(value: object) -> JSONObject:
    """`value` if it is a mapping, else an empty one."""
    # Nearly all are plain dicts, which are recognised ten times as fast.
    return cast("JSONObject", value) if type(value) is dict or isinstance(value, Mapping) else {}


def as_list(value: object) -> list[Any]:
    """`value` as a list if it is a list or a tuple, else an empty one: a one-shot iterator is never touched."""
    return list(cast("Iterable[Any]", value)) if isinstance(value, (list, tuple)) else []


def as_str(value: object, max_chars: int = MAX_NAME_CHARS) -> str | None:
    """`value` if it is a string that says something; a lone surrogate in it, which no exporter takes, becomes `?`.

    A longer one than `max_chars` is None and not cut: the first part of an id or of a model's name would be another's.
    """
    if not isinstance(value, str) or not 0 < len(value) <= max_chars:
        return None
    return (
        value
        if type(value) is str and value.isascii()
        else str.encode(value, errors="replace").decode()
    )


def as_number(value: object) -> float | None:
    """`value` as a finite, non-negative number, None where it is none."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not 0 <= value < MAX_PLAUSIBLE_COUNT
    ):
        return None
    return float(value)


def as_count(value: object) -> int | None:
    """`value` as a count, None where it is none: half a token was never reported by anyone."""
    if type(value) is int:  # nearly all are
        return value if 0 <= value < MAX_PLAUSIBLE_COUNT else None
    found = as_number(value)
    return int(found) if found is not None and found.is_integer() else None


def flatten(usage: object, prefix: str = "", max_depth: int = 4) -> Iterator[tuple[str, Any]]:
    """The leaves of a usage object by their dotted names, nulls left out."""
    for name, value in as_mapping(usage).items():
        if max_depth and (inner := as_mapping(value)):
            yield from flatten(inner, f"{prefix}{name}.", max_depth - 1)
        elif value is not None:
            yield f"{prefix}{name}", value


class UsageCounters(NamedTuple):
    """Where a wire's counters stand: dotted names, the first that is reported counts.

    `input_includes_cached` says whether `input_tokens` already holds what was read and written (OpenAI, Gemini) or stands beside it
    (Anthropic, Bedrock). `cache_write_by_ttl`, `modalities` and `server_tools` map our names to theirs.
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


class _CounterReader:
    """Reads counters and remembers what did not add up."""

    def __init__(self, counts: JSONObject) -> None:
        self.counts = counts
        self.issues: list[str] = []

    def first_reported(self, names: tuple[str, ...]) -> int | None:
        for name in names:
            if name not in self.counts:
                continue
            value = as_count(self.counts[name])
            if value is not None:
                return value
            self.issues.append(f"malformed:{name}")
        return None

    def nonzero_counts(self, names: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
        found = {ours: self.first_reported(theirs) for ours, theirs in names.items()}
        return {ours: count for ours, count in found.items() if count}

    def clamp(self, count: int | None, limit: int, issue: str) -> int | None:
        if count is None or count <= limit:
            return count
        self.issues.append(issue)
        return limit


def parse_usage(facts: ResponseFacts, counters: UsageCounters) -> Usage | None:
    """The usage in disjoint classes; None where the input was not reported. Clamps and flags what does not add up."""
    reader = _CounterReader(facts.usage_counters)
    total, read = (
        reader.first_reported(counters.input_tokens),
        reader.first_reported(counters.cache_read_tokens),
    )
    split = reader.nonzero_counts(counters.cache_write_by_ttl)
    write, output = (
        reader.first_reported(counters.cache_write_tokens),
        reader.first_reported(counters.output_tokens),
    )
    reasoning = reader.first_reported(counters.reasoning_tokens)
    if total is None:
        return None
    if write is None and split:
        write = sum(split.values())
    if counters.input_includes_cached:
        read = reader.clamp(read, total, "read>input")
        write = reader.clamp(write, total - (read or 0), "read+write>input")
    else:
        total += (read or 0) + (write or 0)
    uncached = total - (read or 0) - (write or 0)
    return Usage(
        input_tokens=total,
        uncached_tokens=uncached,
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_by_ttl=_split_cache_write(
            reader, write, split, facts.cache_write_ttl or counters.default_ttl
        ),
        output_tokens=output,
        reasoning_tokens=reader.clamp(reasoning, output, "reasoning>output")
        if output is not None
        else reasoning,
        modality_tokens=_tokens_by_modality(reader, counters, uncached),
        server_tool_calls=reader.nonzero_counts(counters.server_tools),
        inconsistencies=tuple(reader.issues),
    )


def _tokens_by_modality(
    reader: _CounterReader, counters: UsageCounters, uncached: int
) -> dict[str, int]:
    """What is known of the modalities within the classes: `.input` is the uncached part alone, where theirs is all."""
    found = reader.nonzero_counts(counters.modalities)
    for name in [name for name in found if name.endswith(".input")]:
        cached = (
            found.get(f"{name.removesuffix('.input')}.read", 0)
            if counters.input_includes_cached
            else 0
        )
        found[name] = max(0, min(found[name] - cached, uncached))
    return {name: count for name, count in found.items() if count}


def _split_cache_write(
    reader: _CounterReader, write: int | None, split: Mapping[str, int], ttl: str
) -> dict[str, int]:
    """The split of `cache_write_tokens`, made to sum to it: what no TTL claims goes to `default_ttl`, what is claimed too much is cut."""
    rest, found = write or 0, dict[str, int]()
    for name, count in split.items():
        found[name] = min(count, rest)
        rest -= found[name]
    if split and sum(split.values()) != write:
        reader.issues.append("write_split")
    if rest:
        found[ttl] = found.get(ttl, 0) + rest
    return {name: count for name, count in found.items() if count}


def split_cache_marker(part: JSONObject, marker: str) -> tuple[JSONObject, str | None]:
    """A content part less its cache marker, and the TTL that the marker asks for (None where there is no marker)."""
    if marker not in part:
        return part, None
    asked = as_mapping(part[marker])
    mark = (as_str(asked.get("ttl")) or "") if asked or part[marker] is True else None
    return {name: value for name, value in part.items() if name != marker}, mark


class BlockCollector:
    """Collects blocks and numbers them within their sections."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._next_index: dict[str, int] = {}

    def add(
        self, section: Section, kind: object, data: object, breakpoint_ttl: str | None = None
    ) -> None:
        index = self._next_index.get(section, 0)
        self._next_index[section] = index + 1
        self._blocks.append(
            Block(
                section, index, kind if isinstance(kind, str) else "unknown", data, breakpoint_ttl
            )
        )

    def __iter__(self) -> Iterator[Block]:
        return iter(self._blocks)

    @property
    def has_breakpoints(self) -> bool:
        return any(block.breakpoint_ttl is not None for block in self._blocks)


@lru_cache(maxsize=256)
def _path_steps(name: str) -> tuple[str, ...]:
    return tuple(name.split("."))


def select_params(body: JSONObject, rows: Iterable[tuple[str, Any]]) -> tuple[Param, ...]:
    """The parameters of `rows` (dotted name, level) that the body sets."""
    found: list[Param] = []
    for name, level in rows:
        head, *steps = _path_steps(name)
        value = body.get(head)
        for step in steps:
            value = as_mapping(value).get(step)
        if value is not None:
            found.append(Param(name, value, level))
    return tuple(found)
