"""The binary framing of AWS event streams (application/vnd.amazon.eventstream): lengths, headers, payload, two CRCs."""

from __future__ import annotations

import struct
from typing import Final
from zlib import crc32

from promptcache_emulator.json_util import JSONObject, to_json_bytes

MEDIA_TYPE: Final = "application/vnd.amazon.eventstream"
_STRING_TYPE: Final = 7


def encode_message(event: JSONObject) -> bytes:
    """One message of the event `{name: payload}`; a name that ends in `Exception` makes an exception of it."""
    ((name, payload),) = event.items()
    kind = "exception" if name.endswith("Exception") else "event"
    headers = {f":{kind}-type": name, ":content-type": "application/json", ":message-type": kind}
    packed = b"".join(_encode_header(key, value) for key, value in headers.items())
    body = to_json_bytes(payload)
    prelude = struct.pack("!II", len(packed) + len(body) + 16, len(packed))
    message = prelude + struct.pack("!I", crc32(prelude)) + packed + body
    return message + struct.pack("!I", crc32(message))


def _encode_header(name: str, value: str) -> bytes:
    return (
        struct.pack("!B", len(name))
        + name.encode()
        + struct.pack("!BH", _STRING_TYPE, len(value))
        + value.encode()
    )
