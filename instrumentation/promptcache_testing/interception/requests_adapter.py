"""requests: google-auth's tokens and older clients."""

from __future__ import annotations

from io import BytesIO
from types import ModuleType
from typing import Any

from promptcache_testing.interception.interceptor import Interceptor
from promptcache_testing.interception.patches import (
    Patches,
    has_own_connections,
    is_defined_in,
    response_headers,
)
from promptcache_testing.sent_request import SentRequest, lower_case_headers


def patch_requests(patches: Patches, library: ModuleType, interceptor: Interceptor) -> None:
    """Patch `requests.Session` and `requests.adapters.HTTPAdapter`.

    Mocks replace the session's adapter, the adapter's method or the connections (VCR).
    """

    def wrap_send(original: Any) -> Any:
        def send(adapter: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            sent = _to_sent_request(request)
            if _is_mocked(library, original, request.url):
                with interceptor.observe(request, lambda: sent):
                    return original(adapter, request, *args, **kwargs)
            if not interceptor.takes(sent):
                return original(adapter, request, *args, **kwargs)
            answer = interceptor.answer(request, sent)
            return adapter.build_response(request, _urllib3_response(answer))

        return send

    def wrap_session_send(original: Any) -> Any:
        def send(session: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            with interceptor.observe(request, lambda: _to_sent_request(request)):
                return original(session, request, *args, **kwargs)

        return send

    patches.wrap(library.adapters.HTTPAdapter, "send", wrap_send)
    patches.wrap(library.Session, "send", wrap_session_send)


def _is_mocked(library: ModuleType, original: Any, url: str) -> bool:
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    pool_class = HTTPSConnectionPool if url.startswith("https:") else HTTPConnectionPool
    return not is_defined_in(original, library) or not has_own_connections(pool_class, "urllib3")


def _to_sent_request(request: Any) -> SentRequest:
    body = request.body or b""
    if isinstance(body, str):
        body = body.encode()
    headers = lower_case_headers(dict(request.headers))
    return SentRequest(
        request.method, request.url, headers, body if isinstance(body, bytes) else b""
    )


def _urllib3_response(answer: Any) -> Any:
    import urllib3

    body = b"".join(answer.chunks())
    return urllib3.HTTPResponse(
        BytesIO(body),
        response_headers(answer.media_type, answer.headers, len(body)),
        answer.status,
        preload_content=False,
    )
