"""The tables of the file, calls and rents: how each is made, brought up to date, written and read."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from promptcache_exporters.database import columns as table
from promptcache_exporters.report import storage_costs as rent

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan


@dataclass(frozen=True, slots=True)
class TableSchema:
    """One table and the view under which it is read."""

    name: str
    view: str
    columns: tuple[table.Column, ...]
    indexes: tuple[str, ...]

    @property
    def create_statement(self) -> str:
        return f"CREATE TABLE IF NOT EXISTS {self.name} ({', '.join(f'{it.name} {it.type}' for it in self.columns)})"

    @property
    def insert_statement(self) -> str:
        names = ", ".join(it.name for it in self.columns)
        return f"INSERT OR IGNORE INTO {self.name} ({names}) VALUES ({', '.join('?' * len(self.columns))})"  # noqa: S608  # names of our own

    def view_statement(self, existing_columns: Collection[str]) -> str:
        """The view over a file whose table has the columns `existing_columns`, an empty one where there is no such table."""
        columns = ", ".join(
            it.name if it.name in existing_columns else f"NULL AS {it.name}" for it in self.columns
        )
        source = (
            f"rowid AS id, {columns} FROM main.{self.name}"
            if existing_columns
            else f"NULL AS id, {columns} WHERE 0"
        )
        return f"CREATE TEMP VIEW {self.view} AS SELECT {source}"

    def row_from_span(self, span: ReadableSpan) -> tuple[table.ColumnValue, ...]:
        """The span's row, in the order of the columns."""
        return tuple(column.read_from_span(span) for column in self.columns)


CALLS_TABLE: Final = TableSchema(
    table.CALLS_TABLE_NAME, "calls", table.CALL_COLUMNS, table.CALL_INDEXES
)
STORAGE_COSTS_TABLE: Final = TableSchema(
    rent.STORAGE_COSTS_TABLE_NAME, "rents", rent.STORAGE_COST_COLUMNS, rent.STORAGE_COST_INDEXES
)
TABLES: Final = (CALLS_TABLE, STORAGE_COSTS_TABLE)
SCHEMA_VERSION: Final = sum(len(one.columns) for one in TABLES)
"""The schema's version. Columns are only ever added, so their number orders the versions."""
