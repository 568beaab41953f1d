"""What the table says, as plain figures. No rendering.

Everything is a sum over calls, so the table is read in ranges of rows which are added up afterwards: each range fits
SQLite's sorter, several are read at once (SQLite lets go of the interpreter meanwhile), and as rows are never changed,
a fixed last row makes one consistent picture although other processes go on writing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from promptcache.exits import Exit

from . import parquet, store
from .table import LARGEST


class By(StrEnum):
    """What calls can be grouped by."""

    SERVICE = "service"
    MODEL = "model"
    PREFIX = "prefix"
    FAMILY = "family"
    CALLSITE = "callsite"
    OUTCOME = "outcome"
    REASON = "reason"
    PROVIDER = "provider"


_KEYS: Final = {
    By.SERVICE: "service",
    By.MODEL: "coalesce(request_model, response_model)",
    By.PREFIX: "prefix_hash",
    By.FAMILY: "prefix_family",
    By.CALLSITE: "code_file || coalesce(':' || code_line, '') || coalesce(' ' || code_function, '')",
    By.OUTCOME: "outcome",
    By.REASON: "miss_reason",
    By.PROVIDER: "provider",
}

# The hit rate speaks of calls whose cached tokens were reported, and of no batch results (DESIGN section 6).
_JUDGED: Final = "FILTER (WHERE coalesce(outcome, '') <> 'unreported' AND batch = 0)"
# Calls in which nothing reusable can have been missed: their waste is 0 without anybody saying so.
_BLAMELESS: Final = "outcome IN ('hit', 'cold', 'prewarm')"
# Calls of which nothing is known: they neither waste anything nor leave the waste of the others open.
_IDLE: Final = "outcome IN ('error', 'unreported') AND coalesce(input_tokens, 0) = 0"

# A call that failed without usage costs nothing that anybody could name; it has neither an amount nor a reason.
_NO_PRICE: Final = "cost_amount IS NULL AND (cost_unknown IS NOT NULL OR input_tokens > 0)"

_SUMS: Final[dict[str, str]] = {
    "calls": "count(*)",
    "input_tokens": "sum(input_tokens)",
    "read_tokens": "sum(read_tokens)",
    "write_tokens": "sum(write_tokens)",
    "uncached_tokens": "sum(uncached_tokens)",
    "output_tokens": "sum(output_tokens)",
    "judged_input": f"sum(input_tokens) {_JUDGED}",
    "judged_read": f"sum(read_tokens) {_JUDGED}",
    "cost_usd": "sum(cost_amount)",
    "without_cache_usd": "sum(without_cache) FILTER (WHERE cost_amount IS NOT NULL)",
    "saved_usd": "sum(without_cache - cost_amount)",
    "wasted_usd": "sum(wasted_usd)",
    "unpriced_calls": f"count(*) FILTER (WHERE {_NO_PRICE})",
    "waste_known": f"count(*) FILTER (WHERE wasted_usd IS NOT NULL OR ({_BLAMELESS} AND cost_amount IS NOT NULL))",
    "idle": f"count(*) FILTER (WHERE wasted_usd IS NULL AND {_IDLE})",
    "failed": "count(*) FILTER (WHERE outcome = 'error')",
    "unreported": "count(*) FILTER (WHERE outcome = 'unreported')",
}

RANGE: Final = 500_000
"""Rows read at a time."""
RECENT: Final = 100_000
"""Rows in which changes of a prefix are looked for."""

Sums = tuple[Any, ...]
"""What `_SUMS` names, in its order; of no calls at all, nothing."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The stable interface of `promptcache report --json`: tokens, a rate in 0..1, and USD. None is unknown."""

    calls: int
    input_tokens: int | None
    read_tokens: int | None
    write_tokens: int | None
    uncached_tokens: int | None
    output_tokens: int | None
    hit_rate: float | None
    cost_usd: float | None
    without_cache_usd: float | None
    saved_usd: float | None
    wasted_usd: float | None
    unpriced_calls: int


@dataclass(frozen=True, slots=True)
class Group:
    """The calls that share `key`, which is None where they do not say."""

    key: str | None
    figures: Figures
    waste_unknown: int = 0
    """Calls that may have wasted something nobody can name: the waste is at least that of the others."""


@dataclass(frozen=True, slots=True)
class Unpriced:
    """Calls of one model without a cost, and why (`promptcache.cost.unknown`)."""

    model: str | None
    reason: str | None
    calls: int


@dataclass(frozen=True, slots=True)
class Change:
    """A static prefix that took the place of another at `time` (epoch seconds), and the hit rates of both."""

    service: str | None
    old: str
    new: str
    time: float
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """All that a report shows. `judged_tokens` is what the hit rate is a share of.

    `sampled` counts calls from sampled traces; `ratio` is the smallest share that was kept, None where not known.
    `first` and `last` are the starts of the first and last call in epoch seconds. `failed` counts calls that failed,
    `silent` chat streams that would have reported their tokens on request, and `waste_unknown` as a `Group` does.
    """

    by: By
    totals: Figures
    groups: tuple[Group, ...]
    judged_tokens: int
    unpriced: tuple[Unpriced, ...]
    sampled: int
    ratio: float | None
    changes: tuple[Change, ...]
    first: float | None
    last: float | None
    path: Path | None = field(default=None, compare=False)
    failed: int = 0
    silent: int = 0
    waste_unknown: int = 0


_BOUNDS: Final = "SELECT min(time), max(time), min(id), max(id) FROM calls WHERE time >= ?"
_SAMPLED: Final = """
SELECT count(*), count(*) FILTER (WHERE sample_ratio IS NULL), min(sample_ratio) FROM calls
WHERE coalesce(sample_ratio, 0) <> 1.0 AND +time >= ?"""
_UNPRICED: Final = f"""
SELECT {_KEYS[By.MODEL]}, cost_unknown, count(*) FROM calls WHERE {_NO_PRICE} AND +time >= ?
GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"""  # noqa: S608  # SQL of our own
# Providers with an API of their own send the usage of a stream unasked.
_SILENT: Final = """
SELECT count(*) FROM calls WHERE outcome = 'unreported' AND +time >= ? AND input_tokens IS NULL AND stream = 1
AND operation = 'chat' AND coalesce(stream_completed, 1) = 1
AND coalesce(provider, '') NOT IN ('anthropic', 'aws.bedrock', 'gcp.gemini', 'gcp.vertex_ai', 'gcp.gen_ai')"""
_PREFIXES: Final = f"""
SELECT service, prefix_family, prefix_hash, min(time), max(time), {_SUMS["judged_input"]}, {_SUMS["judged_read"]}
FROM calls WHERE id >= ? AND +time >= ? AND prefix_family IS NOT NULL AND prefix_hash IS NOT NULL
GROUP BY 1, 2, 3 HAVING count(*) > 1 ORDER BY 1, 2, 4"""  # noqa: S608  # SQL of our own


def collect(path: Path, by: By = By.SERVICE, since: float = -math.inf) -> Report:
    """The report on the table at `path`, calls begun at `since` (epoch seconds) or later. Raises `UnusableError`."""
    with _opened(path) as connection:
        first, last, low, high = connection.execute(_BOUNDS, (since,)).fetchone()
        groups = {} if first is None else _groups(path, by, since, low, high)
        _check(path, groups, first, last)
        totals = _added(list(groups.values()))
        named = dict(zip(_SUMS, totals, strict=False))
        silent = connection.execute(_SILENT, (since,)).fetchone()[0] if named.get("unreported") else 0
        sampled, unknown, ratio = connection.execute(_SAMPLED, (since,)).fetchone()
        unpriced = connection.execute(_UNPRICED, (since,)).fetchall()
        prefixes = connection.execute(_PREFIXES, ((high or 0) - RECENT, since)).fetchall()
    return Report(
        by=by,
        totals=_figures(totals),
        groups=_ordered(groups),
        judged_tokens=named.get("judged_input") or 0,
        unpriced=tuple(Unpriced(*found) for found in unpriced),
        sampled=sampled,
        ratio=None if unknown else ratio,
        changes=_changes(prefixes),
        first=first,
        last=last,
        path=path,
        failed=named.get("failed") or 0,
        silent=silent,
        waste_unknown=_waste_unknown(named),
    )


def nothing(path: Path, by: By) -> Report:
    """The report on a file without a table."""
    return Report(by, _figures(()), (), 0, (), 0, None, (), None, None, path)


def _check(path: Path, groups: dict[Any, Sums], *times: Any) -> None:
    """Raises `UnusableError` where the rows hold what no exporter writes: a sum over text is no whole number."""
    sound = all(it is None or (isinstance(it, (int, float)) and abs(it) <= LARGEST) for it in times)
    for key, sums in groups.items():
        named = dict(zip(_SUMS, sums, strict=True))
        sound &= isinstance(key, str | None)
        sound &= all(name.endswith("_usd") or isinstance(it, int | None) for name, it in named.items())
    if not sound:
        raise store.UnusableError(Exit.NOT_A_TABLE, store.EDITED.format(path=path))


def _opened(path: Path) -> AbstractContextManager[store.Readable]:
    """The view `calls` of the file, a table or an export of one. The queries here are of the SQL that both speak."""
    return parquet.open_to_read(path) if parquet.is_one(path) else store.open_to_read(path)


def _groups(path: Path, by: By, since: float, low: int, high: int) -> dict[str | None, Sums]:
    sums = ", ".join(_SUMS.values())
    query = f"SELECT {_KEYS[by]}, {sums} FROM calls WHERE id BETWEEN ? AND ? AND +time >= ? GROUP BY 1"  # noqa: S608  # SQL of our own
    step = high - low + 1 if parquet.is_one(path) else RANGE  # DuckDB divides the work by itself

    def read(first: int) -> list[tuple[Any, ...]]:
        with _opened(path) as connection:
            return list(connection.execute(query, (first, min(first + step - 1, high), since)).fetchall())

    found: dict[str | None, list[tuple[Any, ...]]] = {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for rows in pool.map(read, range(low, high + 1, step)):
            for key, *sums_of_key in rows:
                found.setdefault(key, []).append(tuple(sums_of_key))
    return {key: _added(parts) for key, parts in found.items()}


def _added(parts: list[tuple[Any, ...]]) -> Sums:
    """The sum of sums in the order of `_SUMS`, None where no part knows."""
    if len(parts) == 1:
        return parts[0]
    return tuple(
        sum(values) if (values := [value for value in column if value is not None]) else None
        for column in zip(*parts, strict=True)
    )


def rate(read: int | None, whole: int | None) -> float | None:
    """read / whole, the ratio of sums; None where there is nothing to divide by."""
    return (read or 0) / whole if whole else None


def _figures(sums: Sums) -> Figures:
    named: dict[str, Any] = dict.fromkeys(_SUMS) | {"calls": 0, "unpriced_calls": 0}
    named |= dict(zip(_SUMS, sums, strict=False))
    if named["waste_known"] and not _waste_unknown(named):
        named["wasted_usd"] = named["wasted_usd"] or 0.0
    money = {name: _rounded(named[name]) for name in named if name.endswith("_usd")}
    known: dict[str, Any] = {it.name: named.get(it.name) for it in fields(Figures)}
    known |= money | {"hit_rate": rate(named["judged_read"], named["judged_input"])}
    return Figures(**known)


def _waste_unknown(named: dict[str, Any]) -> int:
    return (named.get("calls") or 0) - (named.get("waste_known") or 0) - (named.get("idle") or 0)


def _rounded(amount: float | None) -> float | None:
    """To 12 digits, so that the order in which the same calls were added up does not show."""
    return None if amount is None else float(f"{amount:.12g}")


def _ordered(groups: dict[str | None, Sums]) -> tuple[Group, ...]:
    """The groups, most input first, so that the first lines matter most; then by name, the nameless last."""
    found = [Group(key, _figures(it), _waste_unknown(dict(zip(_SUMS, it, strict=True)))) for key, it in groups.items()]
    return tuple(sorted(found, key=lambda it: (-(it.figures.input_tokens or 0), it.key is None, it.key or "")))


def _changes(prefixes: list[Sequence[Any]]) -> tuple[Change, ...]:
    """The last three times that a family's prefix was replaced by another for good, newest first."""
    found = [
        Change(new[0], old[2], new[2], new[3], rate(old[6], old[5]), rate(new[6], new[5]))
        for old, new in pairwise(prefixes)
        if old[:2] == new[:2] and old[4] <= new[3]
    ]
    return tuple(sorted(found, key=lambda change: -change.time)[:3])
