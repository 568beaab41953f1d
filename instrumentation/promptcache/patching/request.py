"""Calls whose body is known before they are sent, and who sends them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from promptcache.common.coerce import JSONObject
from promptcache.common.safely import safely
from promptcache.telemetry.handler import RequestInfo, TelemetryHandler
from promptcache.telemetry.invocation import Invocation

CREDENTIAL_HEADERS: Final = ("authorization", "api-key", "x-api-key", "x-goog-api-key")
_AWS_SIGNATURE: Final = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/,]+)")


def cache_scope_key(headers: Mapping[str, str]) -> str:
    """Whose cache a request reads, by its headers; AWS signs each request anew, with a key that stays."""
    given = next((value for name in CREDENTIAL_HEADERS if (value := headers.get(name))), "")
    signed = _AWS_SIGNATURE.match(given)
    return signed[1] if signed else given


def start_invocation(
    handler: TelemetryHandler, request_info: RequestInfo, body: JSONObject, cache_scope: object
) -> Invocation:
    """The record of a call that is about to be sent, opened and settled."""
    record = Invocation(handler, request_info)
    safely(
        record.on_request_sent,
        request_info.to_request(body, handler.hasher.keyed_digest(cache_scope), record.started_at),
        None,
    )
    return record
