"""The tables of the file, calls and rents: how each is made, brought up to date, written and read."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from promptcache_exporters import rent, table

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan


@dataclass(frozen=True, slots=True)
class Table:
    """One table and the view under which it is read."""

    name: str
    view: str
    columns: tuple[table.Column, ...]
    indexes: tuple[str, ...]

    @property
    def create(self) -> str:
        return f"CREATE TABLE IF NOT EXISTS {self.name} ({', '.join(f'{it.name} {it.type}' for it in self.columns)})"

    @property
    def insert(self) -> str:
        names = ", ".join(it.name for it in self.columns)
        return f"INSERT OR IGNORE INTO {self.name} ({names}) VALUES ({', '.join('?' * len(self.columns))})"  # noqa: S608  # names of our own

    def reading(self, present: Collection[str]) -> str:
        """The view over a file whose table has the columns `present`, an empty one where there is no such table."""
        columns = ", ".join(
            it.name if it.name in present else f"NULL AS {it.name}" for it in self.columns
        )
        source = (
            f"rowid AS id, {columns} FROM main.{self.name}"
            if present
            else f"NULL AS id, {columns} WHERE 0"
        )
        return f"CREATE TEMP VIEW {self.view} AS SELECT {source}"

    def row(self, span: ReadableSpan) -> tuple[table.Value, ...]:
        """The span's row, in the order of the columns."""
        return tuple(column.read(span) for column in self.columns)


CALLS: Final = Table(table.NAME, "calls", table.COLUMNS, table.INDEXES)
RENTS: Final = Table(rent.NAME, "rents", rent.COLUMNS, rent.INDEXES)
TABLES: Final = (CALLS, RENTS)
VERSION: Final = sum(len(one.columns) for one in TABLES)
"""The schema's version. Columns are only ever added, so their number orders the versions."""
