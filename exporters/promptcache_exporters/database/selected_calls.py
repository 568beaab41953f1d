"""A connection whose `calls` are a subquery: those of a condition, or a view of another name."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from promptcache_exporters.database.dialect import SQLDialect
from promptcache_exporters.database.query import QueryConnection


@dataclass(frozen=True, slots=True)
class _SelectedCalls:
    """Puts a subquery with the name `calls` before each statement."""

    connection: QueryConnection
    subquery: str
    parameters: tuple[str | float, ...]

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        return self.connection.execute(
            f"{self.subquery} {sql.strip()}", (*self.parameters, *parameters)
        )


@contextmanager
def open_selected_calls(
    dialect: SQLDialect,
    condition: str,
    parameters: tuple[str | float, ...],
    open_all_calls: Callable[[], AbstractContextManager[QueryConnection]],
) -> Generator[QueryConnection]:
    """Open a connection with the calls of `open_all_calls` that fulfil an SQL condition, or all."""
    where = f" WHERE {condition}" if condition else ""
    subquery = f"WITH calls AS (SELECT * FROM {dialect.calls_view}{where})"  # noqa: S608
    with open_all_calls() as connection:
        if where or not dialect.has_calls_view:
            connection = _SelectedCalls(connection, subquery, parameters)
        yield connection
