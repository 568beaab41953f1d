"""AWS's binary framing of a stream: length of the message, length of its headers, checksum, headers, payload, checksum.

Source: the event stream encoding in the Smithy specification (Amazon event stream, copy of 2026). The bytes are those
that somebody else reads too and checks, so the checksums are not looked at.
"""

from __future__ import annotations

import json
import struct
from base64 import b64decode
from typing import Final

from promptcache.providers.wire import JSON, mapping

MEDIA: Final = "application/vnd.amazon.eventstream"
_PRELUDE: Final = struct.Struct("!II")
_STRING: Final = 7
_LEAST: Final = 16


def events(data: bytes) -> tuple[list[JSON], bytes]:
    """The events in `data` as `{name: payload}`, and what is left of one that is not complete.

    What Bedrock wraps as a `chunk` is unwrapped: an event as the model's maker wrote it. An exception is told as
    Anthropic tells an error.
    """
    found: list[JSON] = []
    while len(data) >= _LEAST:
        total, headed = _PRELUDE.unpack_from(data)
        if not headed + _LEAST <= total <= len(data):
            break
        try:
            found.append(_event(_headers(data[12 : 12 + headed]), data[12 + headed : total - 4]))
        except (ValueError, TypeError, IndexError, RecursionError):
            found.append({})
        data = data[total:]
    return found, data


def _headers(data: bytes) -> dict[str, str]:
    """The headers up to the first that is no string; Bedrock's all are."""
    found: dict[str, str] = {}
    while data and data[1 + data[0]] == _STRING:
        value = 4 + data[0]
        end = value + int.from_bytes(data[value - 2 : value])
        found[data[1 : value - 3].decode()] = data[value:end].decode()
        data = data[end:]
    return found


def _event(headers: dict[str, str], payload: bytes) -> JSON:
    failed = headers.get(":exception-type") or headers.get(":error-code")
    if failed:
        return {"type": "error", "error": {"type": failed}}
    name, said = headers.get(":event-type", ""), mapping(json.loads(payload))
    return (
        mapping(json.loads(b64decode(said["bytes"])))
        if name == "chunk" and "bytes" in said
        else {name: said}
    )
