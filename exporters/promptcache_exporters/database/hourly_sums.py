"""Sums of the calls of each hour, by service, provider, model and outcome. They survive pruning.

A trigger keeps them, so that a row and its part of the sums are written in one transaction, and a
span that is exported twice counts once. Amounts are whole pico-USD: sums of floats depend on the
order of their rows, and a rebuilt sum shall equal the kept one.
"""

from __future__ import annotations

from typing import Any, Final

from promptcache_exporters.database.lost_rows import has_table

HOURLY_SUMS_TABLE_NAME: Final = "llm_hours"
_CALLS_TABLE_NAME: Final = "llm_calls"

KEY_EXPRESSIONS: Final = {
    "hour": "CAST({row}time / 3600 AS INTEGER)",  # hours since the epoch
    "service": "coalesce({row}service, '')",
    "provider": "coalesce({row}provider, '')",
    "model": "coalesce({row}request_model, {row}response_model, '')",
    "outcome": "coalesce({row}outcome, '')",
}
"""The key of a sum, where an empty text stands for a missing name."""


def _is_count(column: str) -> str:
    return f"CASE WHEN typeof({{row}}{column}) = 'integer' THEN {{row}}{column} END"


def _pico_usd(column: str) -> str:
    amount = f"{{row}}{column}"
    return (
        f"CASE WHEN typeof({amount}) IN ('integer', 'real')"
        f" THEN CAST(round({amount} * 1e12) AS INTEGER) END"
    )


SUM_EXPRESSIONS: Final = {
    "calls": "1",
    **{
        name: _is_count(name)
        for name in (
            "input_tokens",
            "read_tokens",
            "write_tokens",
            "uncached_tokens",
            "output_tokens",
        )
    },
    "cost_pico_usd": _pico_usd("cost_amount"),
    "without_cache_pico_usd": _pico_usd("without_cache"),
    "wasted_pico_usd": _pico_usd("wasted_usd"),
}
"""What a call adds to each sum. NULL adds nothing, and a sum without any part is NULL."""
HOURLY_SUM_COLUMNS: Final = (*KEY_EXPRESSIONS, *SUM_EXPRESSIONS)


def _select_expressions(row: str) -> dict[str, str]:
    """Return the expression of each column, over the columns of `row` (`new.`, or nothing)."""
    expressions = KEY_EXPRESSIONS | SUM_EXPRESSIONS
    return {name: text.format(row=row) for name, text in expressions.items()}


def _upsert_statement() -> str:
    values = ", ".join(_select_expressions("new.").values())
    sums = ", ".join(
        f"{name} = CASE WHEN excluded.{name} IS NULL THEN {name}"
        f" ELSE coalesce({name}, 0) + excluded.{name} END"
        for name in SUM_EXPRESSIONS
    )
    return (
        f"INSERT INTO {HOURLY_SUMS_TABLE_NAME} ({', '.join(HOURLY_SUM_COLUMNS)})"  # noqa: S608
        f" VALUES ({values}) ON CONFLICT ({', '.join(KEY_EXPRESSIONS)}) DO UPDATE SET {sums}"
    )


def rebuild_query() -> str:
    """Return the query that computes all sums from the calls, in the order of the columns."""
    expressions = _select_expressions("")
    columns = [
        f"sum({text})" if name in SUM_EXPRESSIONS else text for name, text in expressions.items()
    ]
    return (
        f"SELECT {', '.join(columns)} FROM {_CALLS_TABLE_NAME}"  # noqa: S608  # our own names
        f" WHERE typeof(time) IN ('integer', 'real') GROUP BY 1, 2, 3, 4, 5"
    )


CREATE_STATEMENTS: Final = (
    f"CREATE TABLE IF NOT EXISTS {HOURLY_SUMS_TABLE_NAME} (hour INTEGER NOT NULL,"
    + "".join(f" {name} TEXT NOT NULL," for name in list(KEY_EXPRESSIONS)[1:])
    + "".join(f" {name} INTEGER," for name in SUM_EXPRESSIONS)
    + f" PRIMARY KEY ({', '.join(KEY_EXPRESSIONS)})) WITHOUT ROWID",
    f"INSERT OR IGNORE INTO {HOURLY_SUMS_TABLE_NAME} {rebuild_query()}",
    (
        f"CREATE TRIGGER IF NOT EXISTS {HOURLY_SUMS_TABLE_NAME}_add"
        f" AFTER INSERT ON {_CALLS_TABLE_NAME} WHEN typeof(new.time) IN ('integer', 'real')"
        f" BEGIN {_upsert_statement()}; END"
    ),
)
"""The statements that make the table, fill it from older rows, and keep it from then on."""


def count_pruned(connection: Any) -> int:
    """Return how many calls the sums have that the table has no more; 0 in an older file."""
    if not has_table(connection, HOURLY_SUMS_TABLE_NAME):
        return 0
    (summed,) = connection.execute(
        f"SELECT coalesce(sum(calls), 0) FROM {HOURLY_SUMS_TABLE_NAME}"  # noqa: S608
    ).fetchone()
    (present,) = connection.execute(
        f"SELECT count(*) FROM main.{_CALLS_TABLE_NAME}"  # noqa: S608  # our own name
    ).fetchone()
    return max(0, int(summed) - int(present))
