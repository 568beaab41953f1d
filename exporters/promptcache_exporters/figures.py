"""What the table says, as plain figures. No rendering.

Everything is a sum over calls, so the table is read in ranges of rows which are added up afterwards: each range fits
SQLite's sorter, several are read at once (SQLite lets go of the interpreter meanwhile), and as rows are never changed,
a fixed last row makes one consistent picture although other processes go on writing.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from promptcache.exits import Exit
from promptcache_exporters import parquet, rent, store, unread
from promptcache_exporters.rent import Rent
from promptcache_exporters.sums import BOUNDS, NO_PRICE, PREFIXES, SAMPLED, SILENT, SUMS
from promptcache_exporters.table import LARGEST
from promptcache_exporters.unread import Unread


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

RANGE: Final = 500_000
"""Rows read at a time."""
RECENT: Final = 100_000
"""Rows in which changes of a prefix are looked for."""

Sums = tuple[Any, ...]
"""What `SUMS` names, in its order; of no calls at all, nothing."""


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
    `unread` speaks of the last `RECENT` calls, and of none where sampling may have dropped who read; `rent` of caches.
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
    unread: Unread | None = None
    rent: Rent | None = None


_UNPRICED: Final = f"""
SELECT {_KEYS[By.MODEL]}, cost_unknown, count(*) FROM calls WHERE {NO_PRICE} AND +time >= ?
GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"""  # noqa: S608  # SQL of our own


def collect(path: Path, by: By = By.SERVICE, since: float = -math.inf) -> Report:
    """The report on the table at `path`, calls begun at `since` (epoch seconds) or later. Raises `UnusableError`."""
    with _opened(path) as connection:
        first, last, low, high = connection.execute(BOUNDS, (since,)).fetchone()
        groups = {} if first is None else _groups(path, by, since, low, high)
        _check(path, groups, first, last)
        totals = _added(list(groups.values()))
        named = dict(zip(SUMS, totals, strict=False))
        silent = (
            connection.execute(SILENT, (since,)).fetchone()[0] if named.get("unreported") else 0
        )
        sampled, unknown, ratio = connection.execute(SAMPLED, (since,)).fetchone()
        unpriced = connection.execute(_UNPRICED, (since,)).fetchall()
        recent = ((high or 0) - RECENT, since)
        prefixes = connection.execute(PREFIXES, recent).fetchall()
        known = named.get("write_tokens") is not None and not sampled
        written = _unread(path, connection, recent, last) if known else None
        rents = (
            None if parquet.is_one(path) else connection.execute(rent.QUERY, (since,)).fetchall()
        )
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
        unread=written,
        rent=rent.total(rents or (), time.time()),
    )


def _unread(
    path: Path, connection: store.Readable, recent: tuple[float, float], last: float
) -> Unread:
    try:
        return unread.find(connection.execute(unread.QUERY, recent).fetchall(), last)
    except TypeError as error:
        raise store.UnusableError(Exit.NOT_A_TABLE, store.EDITED.format(path=path)) from error


def nothing(path: Path, by: By) -> Report:
    """The report on a file without a table."""
    return Report(by, _figures(()), (), 0, (), 0, None, (), None, None, path)


def _check(path: Path, groups: dict[Any, Sums], *times: Any) -> None:
    """Raises `UnusableError` where the rows hold what no exporter writes: a sum over text is no whole number."""
    sound = all(it is None or (isinstance(it, (int, float)) and abs(it) <= LARGEST) for it in times)
    for key, sums in groups.items():
        named = dict(zip(SUMS, sums, strict=True))
        sound &= isinstance(key, str | None)
        sound &= all(
            name.endswith("_usd") or isinstance(it, int | None) for name, it in named.items()
        )
        sound &= not named["unreadable"]
    if not sound:
        raise store.UnusableError(Exit.NOT_A_TABLE, store.EDITED.format(path=path))


def _opened(path: Path) -> AbstractContextManager[store.Readable]:
    """The view `calls` of the file, a table or an export of one. The queries here are of the SQL that both speak."""
    return parquet.open_to_read(path) if parquet.is_one(path) else store.open_to_read(path)


def _groups(path: Path, by: By, since: float, low: int, high: int) -> dict[str | None, Sums]:
    sums = ", ".join(SUMS.values())
    query = (
        f"SELECT {_KEYS[by]}, {sums} FROM calls WHERE id BETWEEN ? AND ? AND +time >= ? GROUP BY 1"  # noqa: S608  # SQL of our own
    )
    step = high - low + 1 if parquet.is_one(path) else RANGE  # DuckDB divides the work by itself

    def read(first: int) -> list[tuple[Any, ...]]:
        with _opened(path) as connection:
            return list(
                connection.execute(query, (first, min(first + step - 1, high), since)).fetchall()
            )

    found: dict[str | None, list[tuple[Any, ...]]] = {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for rows in pool.map(read, range(low, high + 1, step)):
            for key, *sums_of_key in rows:
                found.setdefault(key, []).append(tuple(sums_of_key))
    return {key: _added(parts) for key, parts in found.items()}


def _added(parts: list[tuple[Any, ...]]) -> Sums:
    """The sum of sums in the order of `SUMS`, None where no part knows."""
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
    named: dict[str, Any] = dict.fromkeys(SUMS) | {"calls": 0, "unpriced_calls": 0}
    named |= dict(zip(SUMS, sums, strict=False))
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
    found = [
        Group(key, _figures(it), _waste_unknown(dict(zip(SUMS, it, strict=True))))
        for key, it in groups.items()
    ]
    return tuple(
        sorted(
            found, key=lambda it: (-(it.figures.input_tokens or 0), it.key is None, it.key or "")
        )
    )


def _changes(prefixes: list[Sequence[Any]]) -> tuple[Change, ...]:
    """The last three times that a family's prefix was replaced by another for good, newest first."""
    found = [
        Change(new[0], old[2], new[2], new[3], rate(old[6], old[5]), rate(new[6], new[5]))
        for old, new in pairwise(prefixes)
        if old[:2] == new[:2] and old[4] <= new[3]
    ]
    return tuple(sorted(found, key=lambda change: -change.time)[:3])
