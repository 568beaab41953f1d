"""Read the view `promptcache_calls` of a ClickHouse server over its HTTP interface.

Only the standard library is used. A reader sends `readonly=2`: the server refuses everything that
changes data. The password comes from `CLICKHOUSE_PASSWORD`, the variable of ClickHouse's own
client, since other users of the machine can see a command line. TLS certificates are verified, and
no redirect is followed, so that the password reaches no other host.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from itertools import count
from typing import Any, Final
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit

from promptcache_exporters.database.clickhouse_view import VIEW_NAME
from promptcache_exporters.database.errors import EngineError

PASSWORD_VARIABLE: Final = "CLICKHOUSE_PASSWORD"  # noqa: S105  # the name of a variable
TIMEOUT_SECONDS: Final = 300.0
_CONNECTIONS: Final = {"clickhouse": HTTPConnection, "clickhouses": HTTPSConnection}
_PORTS: Final = {"clickhouse": 8123, "clickhouses": 8443}
_READ_ONLY: Final = {"readonly": "2"}
_SETTINGS: Final = {
    "default_format": "JSONCompact",
    "output_format_json_quote_64bit_integers": "1",
    "output_format_json_quote_denormals": "1",
    "precise_float_parsing": "1",
}
"""JSON has no whole numbers beyond 53 bits, so they come as text."""
_TYPES: Final = {float: "Float64", int: "Int64", str: "String"}
"""Of the parameters of a query."""
_CREATE_VIEW: Final = "Create it: promptcache engine clickhouse | clickhouse client --multiquery"
_ADVICE: Final = {
    "47": f"The view {VIEW_NAME} is of an older promptcache. {_CREATE_VIEW}",
    "60": f"There is no view {VIEW_NAME}. {_CREATE_VIEW}",
    "81": "There is no such database. The path of the URL names it: clickhouse://host/otel",
    "164": "The user's profile allows no settings (readonly = 1). It needs readonly = 2 or 0.",
    "497": f"The user may not read it: GRANT SELECT ON {VIEW_NAME} and on the table of spans.",
    "516": f"The user or the password is wrong. The password is read from {PASSWORD_VARIABLE}.",
}
"""By ClickHouse's numbers of errors (src/Common/ErrorCodes.cpp)."""


def is_clickhouse_url(text: str) -> bool:
    """Return whether `text` is the URL of a ClickHouse server, with or without TLS."""
    return urlsplit(text).scheme in _CONNECTIONS


@dataclass(slots=True)
class _Result:
    """The result of one statement, as a cursor has it."""

    description: list[tuple[str]]
    rows: list[list[Any]]

    def fetchall(self) -> list[list[Any]]:
        return self.rows

    def fetchmany(self, _size: int) -> list[list[Any]]:
        """Return all rows that are left, since all are in memory."""
        rows, self.rows = self.rows, []
        return rows


@dataclass(frozen=True)
class ClickHouseServer:
    """One server, user and database. It is a `QueryConnection` itself."""

    url: str
    parts: SplitResult

    @classmethod
    def from_url(cls, url: str) -> ClickHouseServer:
        """Return the server of `clickhouse://user@host:port/database`.

        Raises `EngineError` for a URL without a host or with a password.
        """
        parts = urlsplit(url)
        try:
            has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            has_host = False
        if not has_host or parts.query:
            raise EngineError("The URL has the form clickhouse://user@host:8123/database.")
        if parts.password is not None:
            raise EngineError(f"Put the password into {PASSWORD_VARIABLE}, not into the URL.")
        return cls(url, parts)

    @contextmanager
    def connect(self) -> Generator[ClickHouseServer]:
        """Open a connection, which is this object: each statement is a request of its own."""
        yield self

    def execute(self, sql: str, parameters: Any = (), /) -> _Result:
        """Run one SELECT statement with a `?` for each parameter. Raises `EngineError`.

        `parameters` are texts and numbers.
        """
        numbers = count()
        statement = re.sub(
            r"\?", lambda _: f"{{p{(at := next(numbers))}:{_TYPES[type(parameters[at])]}}}", sql
        )
        values = {f"param_p{at}": _encode(value) for at, value in enumerate(parameters)}
        return self.select(statement, values)

    def select(self, statement: str, parameters: Mapping[str, str] | None = None) -> _Result:
        """Run one SELECT statement; the server refuses any other. Raises `EngineError`."""
        body = self._run(statement, {**_READ_ONLY, **(parameters or {})})
        try:
            document = json.loads(body)
            columns = [(one["name"], one["type"]) for one in document["meta"]]
            rows = [
                [_convert(value, kind) for value, (_, kind) in zip(row, columns, strict=True)]
                for row in document["data"]
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise EngineError(f"{self.url} did not answer as ClickHouse does.") from error
        return _Result([(name,) for name, _ in columns], rows)

    def change(self, statement: str) -> None:
        """Run one statement that changes the table. Raises `EngineError`."""
        self._run(statement, {})

    def _run(self, statement: str, settings: dict[str, str]) -> bytes:
        status, body = self._post(statement, _SETTINGS | settings)
        if status != 200:
            raise self._describe_refusal(status, body)
        return body

    def _post(self, statement: str, settings: dict[str, str]) -> tuple[int, bytes]:
        if database := unquote(self.parts.path.strip("/")):
            settings["database"] = database
        port = self.parts.port or _PORTS[self.parts.scheme]
        connect = _CONNECTIONS[self.parts.scheme]
        try:
            with closing(
                connect(self.parts.hostname or "", port, timeout=TIMEOUT_SECONDS)
            ) as connection:
                path = "/?" + urlencode(settings, quote_via=quote)
                connection.request("POST", path, statement.encode(), self._headers())
                response = connection.getresponse()
                return response.status, response.read()
        except TimeoutError as error:
            raise EngineError(
                f"{self.url} did not answer within {TIMEOUT_SECONDS:g} s. Ask for fewer calls"
                " (--since), or add typed columns: promptcache engine clickhouse --attributes typed"
            ) from error
        except (OSError, HTTPException) as error:
            raise EngineError(f"{self.url} cannot be reached: {error}.") from error

    def _headers(self) -> dict[str, str]:
        headers = {"X-ClickHouse-User": unquote(self.parts.username or "default")}
        if password := os.environ.get(PASSWORD_VARIABLE):
            headers["X-ClickHouse-Key"] = password
        return headers

    def _describe_refusal(self, status: int, body: bytes) -> EngineError:
        text = body.decode(errors="replace")
        match = re.match(r"Code: (\d+)\.", text)
        if match is None:
            return EngineError(f"{self.url} did not answer as ClickHouse does (HTTP {status}).")
        detail = _ADVICE.get(match[1]) or text.splitlines()[0][:300]
        return EngineError(f"{self.url} refused the query: {detail}")


def _encode(value: str | float) -> str:
    """Return a parameter as ClickHouse reads it: a text with escaped control characters."""
    if not isinstance(value, str):
        return repr(value)
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def _convert(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if re.search(r"\bU?Int\d+\b", kind):
        return int(value)
    return float(value) if "Float" in kind else value
