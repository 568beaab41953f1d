"""What a wire format has to offer, and the arithmetic that all of them share.

The next provider is one file: a `Wire` of four functions, a `Counters` table that says where its counters stand, and
rows of `Route`. Nothing here knows an SDK or OpenTelemetry.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

from promptcache.model import CHOICES, Block, Facts, Param, Prompt, Request, Section, Usage

JSON = Mapping[str, Any]
_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})

PLAUSIBLE: Final = 10**12
"""No call has more tokens than this; what claims more is malformed."""

LONGEST: Final = 1024
"""Characters of the longest name or id that is believed. Those of gateways that pack an address into an id have 300."""
WHOLE: Final = sys.maxsize
"""The bound of a text that is a whole body."""


class Wire(NamedTuple):
    """One wire format.

    `prompt` reads the body of a request (None where it cannot); `read` one response or stream event (None where it
    says nothing); `usage` the merged facts; `dull` tells cheaply that an event in mid-stream says nothing; an event of
    type `last` ends a stream. `fetched` says that a response can be asked for again later by its id.

    For the provider's own diagnosis: `opening` is what a conversation begins with and keeps (None where that cannot be
    told), `asking` adds to a body the question why the response with the given id was not reused (None: do not ask).
    """

    name: str
    operation: str
    prompt: Callable[[Request], Prompt | None]
    read: Callable[[JSON], Facts | None]
    usage: Callable[[Facts], Usage | None]
    dull: Callable[[JSON], bool]
    last: str = ""
    fetched: bool = False
    opening: Callable[[JSON], object] = lambda body: None
    asking: Callable[[str, JSON, str | None], JSON | None] = lambda provider, body, previous: None


class Route(NamedTuple):
    """Which endpoint speaks which wire: an HTTP method and the end of a path.

    `fetch` marks an endpoint that returns an earlier call's response again, `results` one that returns those of many
    calls, one JSON object a line.
    """

    method: str
    path: re.Pattern[str]
    wire: Wire
    fetch: bool = False
    results: bool = False


def route(
    method: str, path: str, wire: Wire, *, fetch: bool = False, results: bool = False
) -> Route:
    """A row of routes; `path` is a regular expression for the last segments, without the query."""
    return Route(method, re.compile(rf"(?:^|/){path}/?(?:\?.*)?$"), wire, fetch, results)


def find(routes: Iterable[Route], method: str, url: str) -> Route | None:
    """The route that serves `method` and `url` (relative or absolute), if any."""
    method = method.upper()
    return next((row for row in routes if row.method == method and row.path.search(url)), None)


NOTHING: Final = Facts()
"""What is known before the first event."""


def merge(earlier: Facts, later: Facts) -> Facts:
    """Both, where the later non-null value wins; counters are cumulative, finish reasons add up."""
    if earlier is NOTHING:
        return later
    values: dict[str, Any] = {}
    for name in _FACTS:
        before, after = getattr(earlier, name), getattr(later, name)
        values[name] = (
            _JOIN[name](before, after) if name in _JOIN else before if after is None else after
        )
    return Facts(**values)


def _either(before: bool, after: bool) -> bool:
    return before or after


_FACTS: Final = Facts._fields
_JOIN: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "finish": lambda before, after: (before + after)[:CHOICES],
    "counts": lambda before, after: {**before, **after} if before and after else before or after,
    "content": _either,
    "terminal": _either,
    "batch": _either,
}


def mapping(value: object) -> JSON:
    """`value` if it is a mapping, else an empty one."""
    # Nearly all are plain dicts, which are recognised ten times as fast.
    return cast("JSON", value) if type(value) is dict or isinstance(value, Mapping) else {}


def items(value: object) -> list[Any]:
    """`value` as a list if it is a list or a tuple, else an empty one: a one-shot iterator is never touched."""
    return list(cast("Iterable[Any]", value)) if isinstance(value, (list, tuple)) else []


def text(value: object, longest: int = LONGEST) -> str | None:
    """`value` if it is a string that says something; a lone surrogate in it, which no exporter takes, becomes `?`.

    A longer one than `longest` is None and not cut: the first part of an id or of a model's name would be another's.
    """
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        return None
    return (
        value
        if type(value) is str and value.isascii()
        else str.encode(value, errors="replace").decode()
    )


def number(value: object) -> float | None:
    """`value` as a finite, non-negative number, None where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < PLAUSIBLE:
        return None
    return float(value)


def whole(value: object) -> int | None:
    """`value` as a count, None where it is none: half a token was never reported by anyone."""
    if type(value) is int:  # nearly all are
        return value if 0 <= value < PLAUSIBLE else None
    found = number(value)
    return int(found) if found is not None and found.is_integer() else None


def flatten(usage: object, prefix: str = "", depth: int = 4) -> Iterator[tuple[str, Any]]:
    """The leaves of a usage object by their dotted names, nulls left out."""
    for name, value in mapping(usage).items():
        if depth and (inner := mapping(value)):
            yield from flatten(inner, f"{prefix}{name}.", depth - 1)
        elif value is not None:
            yield f"{prefix}{name}", value


class Counters(NamedTuple):
    """Where a wire's counters stand: dotted names, the first that is reported counts.

    `inside` says whether `input` already holds what was read and written (OpenAI, Gemini) or stands beside it
    (Anthropic, Bedrock). `write_by_ttl`, `modalities` and `tools` map our names to theirs.
    """

    input: tuple[str, ...]
    read: tuple[str, ...]
    write: tuple[str, ...]
    output: tuple[str, ...]
    reasoning: tuple[str, ...]
    inside: bool
    write_by_ttl: Mapping[str, tuple[str, ...]]
    modalities: Mapping[str, tuple[str, ...]]
    ttl: str = "unknown"
    tools: Mapping[str, tuple[str, ...]] = _EMPTY


class _Reader:
    """Reads counters and remembers what did not add up."""

    def __init__(self, counts: JSON) -> None:
        self.counts = counts
        self.issues: list[str] = []

    def first(self, names: tuple[str, ...]) -> int | None:
        for name in names:
            if name not in self.counts:
                continue
            value = whole(self.counts[name])
            if value is not None:
                return value
            self.issues.append(f"malformed:{name}")
        return None

    def table(self, names: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
        found = {ours: self.first(theirs) for ours, theirs in names.items()}
        return {ours: count for ours, count in found.items() if count}

    def at_most(self, count: int | None, limit: int, issue: str) -> int | None:
        if count is None or count <= limit:
            return count
        self.issues.append(issue)
        return limit


def usage(facts: Facts, counters: Counters) -> Usage | None:
    """The usage in disjoint classes; None where the input was not reported. Clamps and flags what does not add up."""
    reader = _Reader(facts.counts)
    total, read = reader.first(counters.input), reader.first(counters.read)
    split = reader.table(counters.write_by_ttl)
    write, output = reader.first(counters.write), reader.first(counters.output)
    reasoning = reader.first(counters.reasoning)
    if total is None:
        return None
    if write is None and split:
        write = sum(split.values())
    if counters.inside:
        read = reader.at_most(read, total, "read>input")
        write = reader.at_most(write, total - (read or 0), "read+write>input")
    else:
        total += (read or 0) + (write or 0)
    uncached = total - (read or 0) - (write or 0)
    return Usage(
        input=total,
        uncached=uncached,
        read=read,
        write=write,
        write_by_ttl=_by_ttl(reader, write, split, facts.ttl or counters.ttl),
        output=output,
        reasoning=reader.at_most(reasoning, output, "reasoning>output")
        if output is not None
        else reasoning,
        modalities=_modalities(reader, counters, uncached),
        tools=reader.table(counters.tools),
        issues=tuple(reader.issues),
    )


def _modalities(reader: _Reader, counters: Counters, uncached: int) -> dict[str, int]:
    """What is known of the modalities within the classes: `.input` is the uncached part alone, where theirs is all."""
    found = reader.table(counters.modalities)
    for name in [name for name in found if name.endswith(".input")]:
        cached = found.get(f"{name.removesuffix('.input')}.read", 0) if counters.inside else 0
        found[name] = max(0, min(found[name] - cached, uncached))
    return {name: count for name, count in found.items() if count}


def _by_ttl(
    reader: _Reader, write: int | None, split: Mapping[str, int], ttl: str
) -> dict[str, int]:
    """The split of `write`, made to sum to it: what no TTL claims goes to `ttl`, what is claimed too much is cut."""
    rest, found = write or 0, dict[str, int]()
    for name, count in split.items():
        found[name] = min(count, rest)
        rest -= found[name]
    if split and sum(split.values()) != write:
        reader.issues.append("write_split")
    if rest:
        found[ttl] = found.get(ttl, 0) + rest
    return {name: count for name, count in found.items() if count}


def unmarked(part: JSON, marker: str) -> tuple[JSON, str | None]:
    """A content part less its cache marker, and the TTL that the marker asks for (None where there is no marker)."""
    if marker not in part:
        return part, None
    asked = mapping(part[marker])
    mark = (text(asked.get("ttl")) or "") if asked or part[marker] is True else None
    return {name: value for name, value in part.items() if name != marker}, mark


class Blocks:
    """Collects blocks and numbers them within their sections."""

    def __init__(self) -> None:
        self._found: list[Block] = []
        self._count: dict[str, int] = {}

    def add(self, section: Section, kind: object, data: object, mark: str | None = None) -> None:
        index = self._count.get(section, 0)
        self._count[section] = index + 1
        self._found.append(
            Block(section, index, kind if isinstance(kind, str) else "unknown", data, mark)
        )

    def __iter__(self) -> Iterator[Block]:
        return iter(self._found)

    @property
    def marked(self) -> bool:
        return any(block.mark is not None for block in self._found)


@lru_cache(maxsize=256)
def _steps(name: str) -> tuple[str, ...]:
    return tuple(name.split("."))


def params(body: JSON, rows: Iterable[tuple[str, Any]]) -> tuple[Param, ...]:
    """The parameters of `rows` (dotted name, level) that the body sets."""
    found: list[Param] = []
    for name, level in rows:
        head, *steps = _steps(name)
        value = body.get(head)
        for step in steps:
            value = mapping(value).get(step)
        if value is not None:
            found.append(Param(name, value, level))
    return tuple(found)
