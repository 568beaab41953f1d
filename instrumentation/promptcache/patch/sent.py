"""Calls whose body is known before they are sent, and who sends them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from promptcache.observe import Record
from promptcache.observer import Asked, Observer
from promptcache.providers.wire import JSON
from promptcache.safety import safely

CREDENTIALS: Final = ("authorization", "api-key", "x-api-key", "x-goog-api-key")
_SIGNED: Final = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/,]+)")


def credential(headers: Mapping[str, str]) -> str:
    """Whose cache a request reads, by its headers; AWS signs each request anew, with a key that stays."""
    given = next((value for name in CREDENTIALS if (value := headers.get(name))), "")
    signed = _SIGNED.match(given)
    return signed[1] if signed else given


def opened(observer: Observer, asked: Asked, body: JSON, tenant: object) -> Record:
    """The record of a call that is about to be sent, opened and settled."""
    record = Record(observer, asked)
    safely(record.sent, asked.request(body, observer.hasher.digest(tenant), record.started), None)
    return record
