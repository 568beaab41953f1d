"""The tables of the database file: their SQL statements, and a span's row in each."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from promptcache_exporters.database import columns, hourly_sums, lost_rows
from promptcache_exporters.database.batch_spans import expand_batch_result_spans
from promptcache_exporters.database.column import ColumnValue, TableColumn
from promptcache_exporters.database.recorded_span import RecordedSpan


@dataclass(frozen=True, slots=True)
class TableSchema:
    """One table, and the temporary view through which reports read it."""

    name: str
    view_name: str
    columns: tuple[TableColumn, ...]
    indexes: tuple[str, ...]

    @property
    def create_statement(self) -> str:
        """The CREATE TABLE statement."""
        definitions = ", ".join(f"{column.name} {column.type}" for column in self.columns)
        return f"CREATE TABLE IF NOT EXISTS {self.name} ({definitions})"

    @property
    def insert_or_ignore_statement(self) -> str:
        """The INSERT statement for a row of `row_from_span`. It ignores a duplicate span."""
        names = ", ".join(column.name for column in self.columns)
        values = ", ".join("?" * len(self.columns))
        table = f"{self.name} ({names})"
        return f"INSERT OR IGNORE INTO {table} VALUES ({values})"  # noqa: S608  # our own names

    def create_view_statement(
        self, existing_columns: Collection[str], condition: str = "1", prefix: str = ""
    ) -> str:
        """Return the statement for a view with all columns of this release over an older file.

        A column that is not in `existing_columns` is NULL. Without any column there is no such
        table, and the view has no rows. It has the rows that fulfil `condition`, and its name
        begins with `prefix`.
        """
        names = ", ".join(
            f"{column.view_expression or column.name} AS {column.name}"
            if column.name in existing_columns
            else f"NULL AS {column.name}"
            for column in self.columns
        )
        source = (
            f"rowid AS id, {names} FROM main.{self.name} WHERE {condition}"
            if existing_columns
            else f"NULL AS id, {names} WHERE 0"
        )
        return f"CREATE TEMP VIEW {prefix}{self.view_name} AS SELECT {source}"

    def row_from_span(self, span: RecordedSpan) -> tuple[ColumnValue, ...]:
        """Return the span's values in the order of the columns."""
        return tuple(column.read_from_span(span) for column in self.columns)


CALLS_TABLE: Final = TableSchema(
    columns.CALLS_TABLE_NAME, "calls", columns.CALL_COLUMNS, columns.CALL_INDEXES
)
STORAGE_COSTS_TABLE: Final = TableSchema(
    columns.STORAGE_COSTS_TABLE_NAME,
    "storage_costs",
    columns.STORAGE_COST_COLUMNS,
    columns.STORAGE_COST_INDEXES,
)
TABLES: Final = (CALLS_TABLE, STORAGE_COSTS_TABLE)
SCHEMA_VERSION: Final = sum(
    (
        *(len(table.columns) for table in TABLES),
        len(hourly_sums.HOURLY_SUM_COLUMNS),
        len(lost_rows.LOST_ROWS_COLUMNS),
    )
)
"""Columns are only ever added, so that their number orders the versions."""
OTHER_STATEMENTS: Final = (*hourly_sums.CREATE_STATEMENTS, lost_rows.CREATE_STATEMENT)
"""What makes the tables that no span is a row of. They come after `TABLES`."""


class TableRows(NamedTuple):
    """New rows of each of `TABLES`."""

    calls: list[tuple[ColumnValue, ...]]
    storage_costs: list[tuple[ColumnValue, ...]]


def rows_from_spans(spans: Iterable[RecordedSpan]) -> TableRows:
    """Return the rows of the LLM calls and of the operations on named caches among `spans`."""
    rows = TableRows([], [])
    for span in spans:
        if columns.is_llm_call_with_outcome(span):
            rows.calls.extend(map(CALLS_TABLE.row_from_span, expand_batch_result_spans(span)))
        if columns.is_successful_named_cache_operation(span):
            rows.storage_costs.append(STORAGE_COSTS_TABLE.row_from_span(span))
    return rows
