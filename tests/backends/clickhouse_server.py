"""Serve the engine of ClickHouse over the part of its HTTP interface that the Collector uses.

    python clickhouse_server.py PORT FOLDER

pip can install no ClickHouse server, but chDB, which is the same engine without a server. This file
runs in an environment with chDB and without promptcache.

The exporter inserts Native blocks as a file contains them. It expects query results with the
additions of protocol revision 54454: a head for the block, and for each column a byte that says
that its serialisation is the default.
"""

from __future__ import annotations

import json
import re
import struct
import sys
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

CHDB: Any = import_module("chdb.session")  # not installed here, so it has no types

HEAD = b"\x01\x00\x02" + struct.pack("<i", -1) + b"\x00"


def encode_leb128(value: int) -> bytes:
    """Encode a number as unsigned LEB128."""
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + encode_leb128(value >> 7)


def encode_text(value: str) -> bytes:
    return encode_leb128(len(value.encode())) + value.encode()


def encode_native_block(names: Sequence[dict[str, str]], rows: Sequence[Sequence[Any]]) -> bytes:
    """Encode a block of strings and 32-bit numbers. The exporter reads no other types."""
    block = HEAD + encode_leb128(len(names)) + encode_leb128(len(rows))
    for at, column in enumerate(names):
        block += encode_text(column["name"]) + encode_text(column["type"]) + b"\x00"
        for row in rows:
            block += (
                struct.pack("<I", row[at]) if column["type"] == "UInt32" else encode_text(row[at])
            )
    return block


def complete_statement(parameters: dict[str, str], sql: str) -> tuple[str, dict[str, str]]:
    """Return the statement of a report with its settings, which chDB takes as text.

    Also return the parameters of the query. chDB has no users, so it cannot refuse to write: the
    request must have asked for that.
    """
    if parameters.pop("readonly", None) != "2" and not sql.startswith("ALTER"):
        raise RuntimeError("a report must not be able to write")
    names = [name for name in parameters if name.startswith("param_")]
    values = {name.removeprefix("param_"): parameters.pop(name) for name in names}
    del parameters["default_format"]
    settings = ", ".join(f"{name} = {value}" for name, value in parameters.items())
    return f"{sql} SETTINGS {settings}", values


class Engine:
    """A chDB session that runs one query at a time."""

    def __init__(self, folder: Path) -> None:
        self._session = CHDB.Session(str(folder / "data"))
        self._block = folder / "block.native"
        self._lock = threading.Lock()

    def run(self, parameters: dict[str, str], body: bytes) -> bytes:
        """Return the result of a request, as a Native block if it asks for one, else as JSON."""
        with self._lock:
            if "query" in parameters:
                self._block.write_bytes(body)
                insert = re.sub(r"FORMAT Native\s*$", "", parameters["query"], flags=re.IGNORECASE)
                return self._query(f"{insert} SELECT * FROM file('{self._block}', Native)")
            sql, values = body.decode(), dict[str, str]()
            if parameters.get("default_format") == "JSONCompact":  # promptcache, not the exporter
                self._session.query(f"USE {parameters.pop('database')}")
                sql, values = complete_statement(parameters, sql)
            result = self._query(sql, values)
            if not result or parameters.get("default_format") != "Native":
                return result
            answer = json.loads(result)
            return encode_native_block(answer["meta"], answer["data"])

    def _query(self, sql: str, parameters: dict[str, str] | None = None) -> bytes:
        result = self._session.query(sql, "JSONCompact", params=parameters or {})
        return bytes(result.bytes() or b"")


def read_body(request: BaseHTTPRequestHandler) -> bytes:
    """Read the body of a request, chunked or not."""
    if request.headers.get("transfer-encoding") != "chunked":
        return request.rfile.read(int(request.headers.get("content-length", 0)))
    body = b""
    while size := int(request.rfile.readline(), 16):
        body += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return body


def main(port: int, folder: Path) -> None:
    """Serve until the process ends."""
    engine = Engine(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            parameters = {
                key: values[0]
                for key, values in parse_qs(
                    urlsplit(self.path).query, keep_blank_values=True
                ).items()
            }
            request_body = read_body(self)
            try:
                status, response = 200, engine.run(parameters, request_body)
            except RuntimeError as error:  # chDB raises it for a query that ClickHouse refuses
                status, response = 500, str(error).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(response)))
            self.end_headers()
            self.wfile.write(response)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # name of the base
            print(args, flush=True)

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
