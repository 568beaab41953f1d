"""The lines of `promptcache run --live`: one for each call, when its row is written."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console

from promptcache_exporters.database import sqlite_file
from promptcache_exporters.database.errors import CallsFileReadError
from promptcache_exporters.database.query import Query
from promptcache_exporters.report.format import (
    format_abbreviated_count,
    format_name,
    format_percent_rounded_down,
    format_usd,
)
from promptcache_exporters.report.query import ratio_or_none


class LiveCall(NamedTuple):
    """What a line shows of a call."""

    id: int
    time: float
    service: str | None
    model: str | None
    outcome: str | None
    input_tokens: int | None
    read_tokens: int | None
    cost_amount: float | None
    miss_reason: str | None


_NEW_CALLS_QUERY: Final = Query(
    LiveCall,
    """
SELECT id, time, service, coalesce(request_model, response_model) AS model, outcome, input_tokens,
    read_tokens, cost_amount, miss_reason
FROM calls WHERE id > ? ORDER BY id LIMIT 1000""",
)


class LiveCalls:
    """Prints the calls that were written to the table at `path` since the last time.

    A table that cannot be read at the moment is read the next time.
    """

    def __init__(self, path: Path, console: Console) -> None:
        self._path, self._console = path, console
        self._last_id = 0
        with suppress(CallsFileReadError), sqlite_file.open_sqlite_read_only(path) as connection:
            (last,) = connection.execute("SELECT max(id) FROM calls").fetchone()
            self._last_id = last or 0

    def print_new(self) -> None:
        """Print one line for each new call."""
        with (
            suppress(CallsFileReadError),
            sqlite_file.open_sqlite_read_only(self._path) as connection,
        ):
            for call in _NEW_CALLS_QUERY.fetch_all(connection, self._last_id):
                self._last_id = call.id
                self._console.print(describe_call(call))


def describe_call(call: LiveCall) -> str:
    """Return the line of a call: when, who, which model, what the cache did, and the cost."""
    share = ratio_or_none(call.read_tokens, call.input_tokens)
    tokens = (
        f"{format_abbreviated_count(call.input_tokens)} tokens,"
        f" {format_percent_rounded_down(share)} read from the cache"
    )
    at = time.strftime("%H:%M:%S", time.localtime(call.time))
    parts = [
        f"{at} {format_name(call.service)}",
        format_name(call.model),
        " ".join(filter(None, (call.outcome, call.miss_reason))),
        tokens,
        format_usd(call.cost_amount),
    ]
    return "  ".join(parts)
