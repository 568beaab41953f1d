"""An SQL query whose rows have named fields, for all engines alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

Row = TypeVar("Row", bound=NamedTuple)


class QueryConnection(Protocol):
    """The part of a connection to an engine that queries need."""

    def execute(self, sql: str, parameters: Any = ..., /) -> Any:
        """Run one statement and return its cursor, with `fetchall` and `description`."""
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
        names, rows = _fetch(connection, self.sql, parameters)
        if (fields := self.row_type._fields) != tuple(names):
            positions = [names.index(field) for field in fields]
            rows = [[row[at] for at in positions] for row in rows]
        return [self.row_type._make(row) for row in rows]

    def fetch_one(self, connection: QueryConnection, *parameters: object) -> Row:
        """Run a query that always has one row, and return the row."""
        (row,) = self.fetch_all(connection, *parameters)
        return row
