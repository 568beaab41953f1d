"""AWS's binary framing of a stream: length of the message, length of its headers, checksum, headers, payload, checksum.

Source: the event stream encoding in the Smithy specification (Amazon event stream, copy of 2026). The bytes are those
that somebody else reads too and checks, so the checksums are not looked at.
"""

from __future__ import annotations

import json
import struct
from base64 import b64decode
from typing import Final

from promptcache.common.coerce import JSONObject, as_mapping

MEDIA_TYPE: Final = "application/vnd.amazon.eventstream"
_PRELUDE: Final = struct.Struct("!II")
_STRING_HEADER: Final = 7
_MIN_MESSAGE_BYTES: Final = 16


def decode_events(data: bytes) -> tuple[list[JSONObject], bytes]:
    """The events in `data` as `{name: payload}`, and what is left of one that is not complete.

    What Bedrock wraps as a `chunk` is unwrapped: an event as the model's maker wrote it. An exception is told as
    Anthropic tells an error.
    """
    found: list[JSONObject] = []
    while len(data) >= _MIN_MESSAGE_BYTES:
        total, headed = _PRELUDE.unpack_from(data)
        if not headed + _MIN_MESSAGE_BYTES <= total <= len(data):
            break
        try:
            found.append(
                _parse_message(
                    _parse_headers(data[12 : 12 + headed]), data[12 + headed : total - 4]
                )
            )
        except (ValueError, TypeError, IndexError, RecursionError):
            found.append({})
        data = data[total:]
    return found, data


def _parse_headers(data: bytes) -> dict[str, str]:
    """The headers up to the first that is no string; Bedrock's all are."""
    found: dict[str, str] = {}
    while data and data[1 + data[0]] == _STRING_HEADER:
        value = 4 + data[0]
        end = value + int.from_bytes(data[value - 2 : value])
        found[data[1 : value - 3].decode()] = data[value:end].decode()
        data = data[end:]
    return found


def _parse_message(headers: dict[str, str], payload: bytes) -> JSONObject:
    failed = headers.get(":exception-type") or headers.get(":error-code")
    if failed:
        return {"type": "error", "error": {"type": failed}}
    name, said = headers.get(":event-type", ""), as_mapping(json.loads(payload))
    return (
        as_mapping(json.loads(b64decode(said["bytes"])))
        if name == "chunk" and "bytes" in said
        else {name: said}
    )
