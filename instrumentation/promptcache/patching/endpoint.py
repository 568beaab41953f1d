"""The server of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, final

_DEFAULT_PORTS: Final[Mapping[str, int]] = {"https": 443, "http": 80}


@final
class ProviderEndpoint(NamedTuple):
    """The provider that serves a request, and the address of its server."""

    provider: str
    host: str | None
    port: int | None


def port_or_scheme_default(url: Any) -> int | None:
    """Return the port of a URL of `urllib` or httpx, by default that of its scheme."""
    port = getattr(url, "port", None) or _DEFAULT_PORTS.get(getattr(url, "scheme", ""))
    return port if isinstance(port, int) else None
