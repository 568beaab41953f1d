"""Who may read the page: only the browser that opened it.

Another user of the machine, and every web site that the browser shows, can reach a port of
loopback. So each request needs a cookie, which the browser gets once for the token in the address
that was printed. The Host header reveals a site that binds its
own name to 127.0.0.1 (DNS rebinding).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from http.cookies import CookieError, SimpleCookie
from threading import Lock
from typing import Final
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE: Final = "promptcache_page"
TOKEN_PARAMETER: Final = "token"  # noqa: S105  # the name of a parameter
_OWN_SITES: Final = ("same-origin", "none")
_SAFE_HEADERS: Final = (
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
)
_NOTHING: Final = "default-src 'none'; frame-ancestors 'none'"
_ASK_AGAIN: Final = "Open the address that promptcache open printed. It works once.\n"


class PageGuard:
    """Refuses requests of others, and adds the headers that keep the page private.

    `token` (128 bits) is exchanged once for a cookie, whose value is another secret.
    """

    def __init__(self, inner: ASGIApp, port: int, token: str) -> None:
        self._inner, self._token = inner, token
        self._hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
        self._session = secrets.token_hex(16)
        self._lock = Lock()
        self._is_token_used = False
        self._cookie = f"{COOKIE}_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it to the page."""
        if scope["type"] != "http":
            return  # no WebSocket, no lifespan
        response = self._refuse(scope) or self._exchange_token(scope)
        if response is None and not self._has_session(Headers(scope=scope)):
            response = PlainTextResponse(_ASK_AGAIN, 403)

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _add_safe_headers(message.get("headers", ()))
            await send(message)

        await (response or self._inner)(scope, receive, send_safely)

    def _refuse(self, scope: Scope) -> Response | None:
        """Return the answer to a request of another site, or with another method than GET."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return PlainTextResponse("unknown Host\n", 403)
        origins = headers.getlist("origin")
        if any(origin.lower() != f"http://{hosts[0].lower()}" for origin in origins):
            return PlainTextResponse("foreign Origin\n", 403)
        if headers.get("sec-fetch-site", "none") not in _OWN_SITES:
            return PlainTextResponse("foreign site\n", 403)
        if scope["method"] != "GET":
            return PlainTextResponse("only GET\n", 405, {"allow": "GET"})
        return None

    def _exchange_token(self, scope: Scope) -> Response | None:
        """Return the redirect that sets the cookie and takes the token out of the address."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == TOKEN_PARAMETER]
        if not given or scope["path"] != "/":
            return None
        if not self._use_token(given[0]):
            return PlainTextResponse(_ASK_AGAIN, 403)
        rest = urlencode([pair for pair in query if pair[0] != TOKEN_PARAMETER])
        response = RedirectResponse(f"/?{rest}" if rest else "/", 303)
        response.set_cookie(self._cookie, self._session, httponly=True, samesite="strict")
        return response

    def _use_token(self, given: str) -> bool:
        with self._lock:
            is_right = secrets.compare_digest(given.encode(), self._token.encode())
            if not is_right or self._is_token_used:
                return False
            self._is_token_used = True
            return True

    def _has_session(self, headers: Headers) -> bool:
        try:
            cookie = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return False
        found = cookie.get(self._cookie)
        return found is not None and secrets.compare_digest(
            found.value.encode(), self._session.encode()
        )


def _add_safe_headers(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    names = {name.lower() for name, _ in headers}
    added = [(name.encode(), value.encode()) for name, value in _SAFE_HEADERS]
    if b"content-security-policy" not in names:
        added.append((b"content-security-policy", _NOTHING.encode()))
    return [*headers, *added]
