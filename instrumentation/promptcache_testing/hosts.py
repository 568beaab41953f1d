"""Which hosts are this machine."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

_LOCAL_NAMES: Final = frozenset({"", "localhost", "testserver", "test"})
"""Besides addresses: the names under which ASGI and WSGI clients call an application."""


def is_local(host: str) -> bool:
    """Return whether a host is loopback, or a name that never leaves the process."""
    host = host.lower().strip("[]").rstrip(".")
    if host in _LOCAL_NAMES or host.endswith((".localhost", ".test", ".local.test")):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def is_allowed(host: str, allowed: Iterable[str]) -> bool:
    """Return whether `host` is one of the allowed domains, or a subdomain of one."""
    host = host.lower()
    return any(host == domain or host.endswith(f".{domain.lstrip('.')}") for domain in allowed)
