"""A call of an AWS client, which ends in the request of an HTTP library that is patched too."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final

from promptcache_testing.interception.interceptor import Interceptor
from promptcache_testing.sent_request import SentRequest, lower_case_headers


class ApiCall:
    """One call of a client. `request` is set once its parameters are serialised."""

    request: Any = None

    def read_request(self) -> SentRequest | None:
        return None if self.request is None else _from_dict(self.request)


_current: Final[ContextVar[ApiCall | None]] = ContextVar("api_call", default=None)


@contextmanager
def observed_api_call(interceptor: Interceptor) -> Generator[None]:
    """Observe a call of a client, from its parameters on."""
    call = ApiCall()
    token = _current.set(call)
    try:
        with interceptor.observe(call, call.read_request):
            yield
    finally:
        with suppress(ValueError):  # a coroutine that was abandoned ends in another context
            _current.reset(token)


def set_api_request(request: Any) -> None:
    """Keep the serialised request of the current call."""
    if (call := _current.get()) is not None:
        call.request = request


def key_of(request: object) -> object:
    """Return what identifies a request: the call of a client around it, else the request."""
    return _current.get() or request


def body_bytes(body: Any) -> bytes:
    """Return the body of a request; nothing for a stream, which only the SDK may read."""
    if isinstance(body, str):
        return body.encode()
    return bytes(body) if isinstance(body, (bytes, bytearray)) else b""


def _from_dict(request: Any) -> SentRequest:
    headers = lower_case_headers(dict(request["headers"]))
    return SentRequest(request["method"], request["url"], headers, body_bytes(request["body"]))
