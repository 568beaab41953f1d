"""requests: google-auth's tokens and older clients."""

from __future__ import annotations

from io import BytesIO
from types import ModuleType
from typing import Any

from promptcache_testing.interception.interceptor import Interceptor
from promptcache_testing.interception.patches import Patches, is_defined_in, response_headers
from promptcache_testing.sent_request import SentRequest, lower_case_headers


def patch_requests(patches: Patches, library: ModuleType, interceptor: Interceptor) -> None:
    """Patch `requests.adapters.HTTPAdapter`."""

    def wrap_send(original: Any) -> Any:
        def send(adapter: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            sent = _to_sent_request(request)
            if not is_defined_in(original, library):
                with interceptor.observe(request, lambda: sent):
                    return original(adapter, request, *args, **kwargs)
            if not interceptor.takes(sent):
                return original(adapter, request, *args, **kwargs)
            answer = interceptor.answer(request, sent)
            return adapter.build_response(request, _urllib3_response(answer))

        return send

    patches.wrap(library.adapters.HTTPAdapter, "send", wrap_send)


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
