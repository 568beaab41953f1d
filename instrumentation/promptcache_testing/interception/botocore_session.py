"""botocore and aiobotocore: Amazon Bedrock.

A call is observed in the client and answered in the HTTP session. Mocks answer in between: the
stubber and moto by events, VCR by connections of its own. So they win, and their bodies are seen.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from io import BytesIO
from types import ModuleType
from typing import Any

from promptcache_testing.interception.api_call import (
    body_bytes,
    key_of,
    observed_api_call,
    set_api_request,
)
from promptcache_testing.interception.interceptor import Interceptor
from promptcache_testing.interception.patches import (
    Patches,
    has_own_connections,
    is_defined_in,
    loaded_module,
)
from promptcache_testing.sent_request import SentRequest, lower_case_headers


def patch_botocore(patches: Patches, library: ModuleType, interceptor: Interceptor) -> None:
    """Patch `botocore.httpsession.URLLib3Session` and, where it is loaded, `BaseClient`."""

    def wrap_send(original: Any) -> Any:
        def send(session: Any, request: Any) -> Any:
            sent = _to_sent_request(request)
            key = key_of(request)
            if _is_mocked(library, original, request.url):
                with interceptor.observe(key, lambda: sent):
                    return original(session, request)
            if not interceptor.takes(sent):
                return original(session, request)
            return _aws_response(request.url, interceptor.answer(key, sent))

        return send

    patches.wrap(sys.modules["botocore.httpsession"].URLLib3Session, "send", wrap_send)
    if (module := loaded_module("botocore.client")) is not None:
        _patch_client(patches, module.BaseClient, interceptor)


def _patch_client(patches: Patches, base_client: Any, interceptor: Interceptor) -> None:
    def wrap_make_api_call(original: Any) -> Any:
        def make_api_call(client: Any, *args: Any, **kwargs: Any) -> Any:
            with observed_api_call(interceptor):
                return original(client, *args, **kwargs)

        return make_api_call

    def wrap_convert_to_request_dict(original: Any) -> Any:
        def convert_to_request_dict(client: Any, *args: Any, **kwargs: Any) -> Any:
            request = original(client, *args, **kwargs)
            set_api_request(request)
            return request

        return convert_to_request_dict

    patches.wrap(base_client, "_make_api_call", wrap_make_api_call)
    patches.wrap(base_client, "_convert_to_request_dict", wrap_convert_to_request_dict)


def patch_aiobotocore(patches: Patches, library: ModuleType, interceptor: Interceptor) -> None:
    """Patch `aiobotocore.client.AioBaseClient`; its requests are answered in aiohttp."""

    def wrap_make_api_call(original: Any) -> Any:
        async def make_api_call(client: Any, *args: Any, **kwargs: Any) -> Any:
            with observed_api_call(interceptor):
                return await original(client, *args, **kwargs)

        return make_api_call

    def wrap_convert_to_request_dict(original: Any) -> Any:
        async def convert_to_request_dict(client: Any, *args: Any, **kwargs: Any) -> Any:
            request = await original(client, *args, **kwargs)
            set_api_request(request)
            return request

        return convert_to_request_dict

    base_client = sys.modules["aiobotocore.client"].AioBaseClient
    patches.wrap(base_client, "_make_api_call", wrap_make_api_call)
    patches.wrap(base_client, "_convert_to_request_dict", wrap_convert_to_request_dict)


def _is_mocked(library: ModuleType, original: Any, url: str) -> bool:
    pools = sys.modules["botocore.awsrequest"]
    is_secure = url.startswith("https:")
    pool_class = pools.AWSHTTPSConnectionPool if is_secure else pools.AWSHTTPConnectionPool
    return not is_defined_in(original, library) or not has_own_connections(pool_class, "botocore")


def _to_sent_request(request: Any) -> SentRequest:
    headers = lower_case_headers(dict(request.headers))
    return SentRequest(request.method, request.url, headers, body_bytes(request.body))


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
