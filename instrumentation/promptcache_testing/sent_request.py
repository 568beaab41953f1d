"""A request as an HTTP library is about to send it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit


@dataclass(frozen=True)
class SentRequest:
    """One HTTP request. Header names are lower case; `body` holds the bytes on the wire."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""

    @cached_property
    def _parts(self) -> SplitResult:
        return urlsplit(self.url)

    @property
    def host(self) -> str:
        return (self._parts.hostname or "").lower()

    @property
    def port(self) -> int:
        return self._parts.port or (443 if self._parts.scheme == "https" else 80)

    @property
    def path(self) -> str:
        """The decoded path without the query."""
        return unquote(self._parts.path) or "/"

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self._parts.query, keep_blank_values=True))

    @property
    def name(self) -> str:
        """Method, host and path, for messages. It holds no query: that may contain a key."""
        return f"{self.method} {self._parts.scheme}://{self.host}{self.path}"


def lower_case_headers(headers: Mapping[str, object]) -> dict[str, str]:
    """Return the headers with lower-case names. Values that are bytes are decoded."""
    return {
        str(name).lower(): value.decode("latin-1") if isinstance(value, bytes) else str(value)
        for name, value in headers.items()
    }
