"""botocore: Amazon Bedrock. moto and the stubber answer before a request comes here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from io import BytesIO
from types import ModuleType
from typing import Any

from promptcache_testing.interception.interceptor import Interceptor
from promptcache_testing.interception.patches import Patches, is_defined_in
from promptcache_testing.sent_request import SentRequest, lower_case_headers


def patch_botocore(patches: Patches, library: ModuleType, interceptor: Interceptor) -> None:
    """Patch `botocore.httpsession.URLLib3Session`."""

    def wrap_send(original: Any) -> Any:
        def send(session: Any, request: Any) -> Any:
            sent = _to_sent_request(request)
            if not is_defined_in(original, library):
                with interceptor.observe(request, lambda: sent):
                    return original(session, request)
            if not interceptor.takes(sent):
                return original(session, request)
            return _aws_response(request.url, interceptor.answer(request, sent))

        return send

    patches.wrap(sys.modules["botocore.httpsession"].URLLib3Session, "send", wrap_send)


def _to_sent_request(request: Any) -> SentRequest:
    body = request.body or b""
    if isinstance(body, str):
        body = body.encode()
    elif not isinstance(body, (bytes, bytearray)):
        body = b""
    return SentRequest(
        request.method, request.url, lower_case_headers(dict(request.headers)), bytes(body)
    )


class _RawBody(BytesIO):
    """The body as botocore reads it: whole, in pieces, or as an event stream."""

    def stream(self, amt: int = 1 << 16, decode_content: bool | None = None) -> Iterator[bytes]:
        while chunk := self.read(amt):
            yield chunk

    def read_chunked(self, amt: int = 1 << 16) -> Iterator[bytes]:
        return self.stream(amt)


def _aws_response(url: str, answer: Any) -> Any:
    response_class: Any = sys.modules["botocore.awsrequest"].AWSResponse
    headers = {"content-type": answer.media_type, **answer.headers}
    if answer.events is not None:
        headers.setdefault("transfer-encoding", "chunked")
    return response_class(url, answer.status, headers, _RawBody(b"".join(answer.chunks())))
