"""Start the invocation of a request whose body is known before it is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from promptcache.common.coerce import JSONObject
from promptcache.common.safely import safely
from promptcache.telemetry.handler import TelemetryHandler
from promptcache.telemetry.invocation import Invocation
from promptcache.telemetry.request_info import RequestInfo

CREDENTIAL_HEADERS: Final = ("authorization", "api-key", "x-api-key", "x-goog-api-key")
_AWS_SIGNATURE: Final = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/,]+)")


def credential_from_headers(headers: Mapping[str, str]) -> str:
    """Return the credential in the headers, by which providers separate caches; else "".

    AWS signs each request anew, so that only the access key id in the signature stays the same.
    """
    for name in CREDENTIAL_HEADERS:
        if credential := headers.get(name):
            signature = _AWS_SIGNATURE.match(credential)
            return signature[1] if signature else credential
    return ""


def start_invocation(
    handler: TelemetryHandler, request_info: RequestInfo, body: JSONObject, cache_scope: object
) -> Invocation:
    """Start the invocation of a call that is about to be sent, and record its request."""
    invocation = Invocation(handler, request_info)
    scope_digest = handler.hasher.keyed_digest(cache_scope)
    request = request_info.to_request(body, scope_digest, invocation.started_at)
    safely(invocation.on_request_built, request)
    return invocation
