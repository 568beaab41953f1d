"""Refuse requests that a web page makes a browser send.

The emulator asks for no password. Any page that a developer visits can make the browser call
loopback, and by DNS rebinding even read the answers. Such a request names a host that is not the
emulator's, or says that it comes from another site.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_OWN_SITES: Final = ("same-origin", "none")
_POLICY_VIOLATION: Final = 1008


def refuse_requests_of_other_sites(inner: ASGIApp, allowed_hosts: Collection[str]) -> ASGIApp:
    """Return an application that calls `inner` for requests of programs and of its own pages.

    `allowed_hosts` are names under which the emulator may be called besides `localhost` and IP
    addresses, such as the name of a container.
    """
    names = frozenset(name.lower() for name in allowed_hosts)

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        reason = _reason_to_refuse(Headers(scope=scope), names)
        if reason is None:
            await inner(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": reason})
        else:
            await JSONResponse({"error": {"message": reason}}, 403)(scope, receive, send)

    return outer


def _reason_to_refuse(headers: Headers, names: Collection[str]) -> str | None:
    host = headers.get("host", "")
    if not _is_allowed_host(host, names):
        return "unknown Host; `promptcache emulate --allow-host NAME` allows a name"
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return "the Origin is another site"
    if headers.get("sec-fetch-site", "none") not in _OWN_SITES:
        return "Sec-Fetch-Site is another site"
    return None


def _is_allowed_host(host: str, names: Collection[str]) -> bool:
    """Return whether a Host header names the emulator. DNS rebinding needs a name, no address."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or name in names or bool(ipaddress.ip_address(name))
    except ValueError:
        return False
