"""Decode AWS's binary event stream.

A message consists of its length, the length of its headers, a checksum, the headers, the payload
and a checksum. The checksums are ignored, because the SDK reads the same bytes and checks them.

Source: the event stream encoding in the Smithy specification (Amazon event stream, copy of 2026).
"""

from __future__ import annotations

import json
import struct
from base64 import b64decode
from typing import Final

from promptcache.common.coerce import JSONObject, as_mapping

MEDIA_TYPE: Final = "application/vnd.amazon.eventstream"
_PRELUDE: Final = struct.Struct("!II")
_HEADERS_START: Final = 12
_CHECKSUM_BYTES: Final = 4
_MIN_MESSAGE_BYTES: Final = 16
_STRING_HEADER: Final = 7
"""The type of a header whose value is a string."""


def decode_events(data: bytes) -> tuple[list[JSONObject], bytes]:
    """Return the complete events in `data` as `{name: payload}`, and the rest of the bytes.

    The content of a `chunk` is unwrapped: it is an event in the format of the model's maker. An
    exception becomes an `error` event like Anthropic's. A malformed message becomes `{}`.
    """
    found: list[JSONObject] = []
    while len(data) >= _MIN_MESSAGE_BYTES:
        message_size, headers_size = _PRELUDE.unpack_from(data)
        if not headers_size + _MIN_MESSAGE_BYTES <= message_size <= len(data):
            break
        payload_start = _HEADERS_START + headers_size
        headers = data[_HEADERS_START:payload_start]
        payload = data[payload_start : message_size - _CHECKSUM_BYTES]
        try:
            found.append(_parse_event_message(_parse_event_headers(headers), payload))
        except (ValueError, TypeError, IndexError, RecursionError):
            found.append({})
        data = data[message_size:]
    return found, data


def _parse_event_headers(data: bytes) -> dict[str, str]:
    """Return the headers up to the first that is no string. All of Bedrock's are strings.

    A header consists of one byte with the length of the name, the name, one byte with the type of
    the value, two bytes with the length of the value, and the value.
    """
    found: dict[str, str] = {}
    while data and data[1 + data[0]] == _STRING_HEADER:
        start = 4 + data[0]
        end = start + int.from_bytes(data[start - 2 : start])
        found[data[1 : start - 3].decode()] = data[start:end].decode()
        data = data[end:]
    return found


def _parse_event_message(headers: dict[str, str], payload: bytes) -> JSONObject:
    error_type = headers.get(":exception-type") or headers.get(":error-code")
    if error_type:
        return {"type": "error", "error": {"type": error_type}}
    name = headers.get(":event-type", "")
    content = as_mapping(json.loads(payload))
    if name == "chunk" and "bytes" in content:
        return as_mapping(json.loads(b64decode(content["bytes"])))
    return {name: content}
