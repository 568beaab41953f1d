"""Parse request bodies that are no JSON: forms with a file, and plain files."""

from __future__ import annotations

from collections.abc import Mapping
from email import policy
from email.parser import BytesParser

from promptcache_emulator.json_util import JSONObject


def parse_multipart_body(raw: bytes, headers: Mapping[str, str]) -> JSONObject:
    """Return the fields of a `multipart/form-data` body as text."""
    content_type = headers.get("content-type", "").encode()
    message = BytesParser(policy=policy.HTTP).parsebytes(
        b"Content-Type: " + content_type + b"\r\n\r\n" + raw
    )
    fields: JSONObject = {}
    for part in message.walk():
        content = part.get_payload(decode=True)
        name = part.get_param("name", header="content-disposition")
        if name is not None and isinstance(content, bytes):
            fields[str(name)] = content.decode()
    return fields


def parse_file_body(raw: bytes, headers: Mapping[str, str]) -> JSONObject:
    """Return a plain file as the text of the field `content`."""
    return {"content": raw.decode()}
