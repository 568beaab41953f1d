"""An SQL query whose rows have named fields, for SQLite and DuckDB alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

Row = TypeVar("Row", bound=NamedTuple)


class QueryConnection(Protocol):
    """The part of a SQLite or DuckDB connection that queries need."""

    def execute(self, sql: str, parameters: Any = ..., /) -> Any:
        """Run one statement and return its cursor."""
        ...


@dataclass(frozen=True, slots=True)
class Query(Generic[Row]):
    """One SELECT statement and the NamedTuple of its rows.

    The statement names its columns as the fields of `row_type`, in their order. sqlite3.Row would
    give names too, but DuckDB has no counterpart.
    """

    row_type: type[Row]
    sql: str

    def fetch_all(self, connection: QueryConnection, *parameters: object) -> list[Row]:
        """Run the query and return all rows."""
        rows = connection.execute(self.sql, parameters).fetchall()
        return [self.row_type._make(row) for row in rows]

    def fetch_one(self, connection: QueryConnection, *parameters: object) -> Row:
        """Run a query that always has one row, and return the row."""
        return self.row_type._make(connection.execute(self.sql, parameters).fetchone())
