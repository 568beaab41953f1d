"""An SQL query whose rows have named fields, for all engines alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

Row = TypeVar("Row", bound=NamedTuple)
_ROWS_AT_ONCE: Final = 1000


class QueryConnection(Protocol):
    """The part of a connection to an engine that queries need."""

    def execute(self, sql: str, parameters: Any = ..., /) -> Any:
        """Run one statement. The cursor has `fetchall`, `fetchmany` and `description`."""
        ...


def fetch_rows_by_name(
    connection: QueryConnection, sql: str, *parameters: object
) -> list[dict[str, Any]]:
    """Run one SELECT statement, and return its rows with the values by the names of columns.

    sqlite3.Row would give names too, but the other engines have no counterpart.
    """
    names, rows = _fetch(connection, sql, parameters)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _fetch(
    connection: QueryConnection, sql: str, parameters: tuple[object, ...]
) -> tuple[list[str], list[Any]]:
    """Return the names of the columns, and the rows."""
    cursor = connection.execute(sql, parameters)
    rows = cursor.fetchall()
    return [column[0] for column in cursor.description], rows


@dataclass(frozen=True, slots=True)
class Query(Generic[Row]):
    """One SELECT statement and the NamedTuple of its rows.

    The statement names its columns as the fields of `row_type`, in any order. An aggregate must not
    have the name of a column that it reads: ClickHouse would take the name for the aggregate.
    """

    row_type: type[Row]
    sql: str

    def fetch_all(self, connection: QueryConnection, *parameters: object) -> list[Row]:
        """Run the query and return all rows."""
        return list(self.iterate_rows(connection, *parameters))

    def iterate_rows(self, connection: QueryConnection, *parameters: object) -> Iterator[Row]:
        """Run the query and yield its rows, of which few are in memory at once."""
        cursor = connection.execute(self.sql, parameters)
        names = [column[0] for column in cursor.description]
        positions = [names.index(field) for field in self.row_type._fields]
        is_in_order = positions == list(range(len(names)))
        while rows := cursor.fetchmany(_ROWS_AT_ONCE):
            for row in rows:
                yield self.row_type._make(row if is_in_order else [row[at] for at in positions])

    def fetch_one(self, connection: QueryConnection, *parameters: object) -> Row:
        """Run a query that always has one row, and return the row."""
        (row,) = self.fetch_all(connection, *parameters)
        return row
