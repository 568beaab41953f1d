"""Encode AWS event streams: lengths, headers, payload, two CRCs."""

from __future__ import annotations

import struct
from typing import Final
from zlib import crc32

from promptcache_emulator.json_util import JSONObject, to_json_bytes

MEDIA_TYPE: Final = "application/vnd.amazon.eventstream"
_STRING_TYPE: Final = 7
_FRAMING_BYTES: Final = 16
"""Two lengths and two CRCs of four bytes each."""


def encode_message(event: JSONObject) -> bytes:
    """Return one message for the event `{name: payload}`.

    If the name ends in `Exception`, the message is an exception.
    """
    ((name, payload),) = event.items()
    message_type = "exception" if name.endswith("Exception") else "event"
    header_values = {
        f":{message_type}-type": name,
        ":content-type": "application/json",
        ":message-type": message_type,
    }
    headers = b"".join(_encode_header(key, value) for key, value in header_values.items())
    body = to_json_bytes(payload)
    prelude = struct.pack("!II", len(headers) + len(body) + _FRAMING_BYTES, len(headers))
    message = prelude + struct.pack("!I", crc32(prelude)) + headers + body
    return message + struct.pack("!I", crc32(message))


def _encode_header(name: str, value: str) -> bytes:
    return (
        struct.pack("!B", len(name))
        + name.encode()
        + struct.pack("!BH", _STRING_TYPE, len(value))
        + value.encode()
    )
