"""ClickHouse's own engine behind as much of its HTTP interface as the Collector's exporter speaks.

    python clickhouse_server.py PORT FOLDER

No package index that pip knows has a ClickHouse server; it has chDB, the same engine without one.
This file runs in an environment with chDB and nothing of ours.

The exporter inserts Native blocks, as they are in a file. What it reads it expects with what the
protocol adds since revision 54454: a head for the block, and a byte for each column that says it is
serialised as usual.
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

CHDB: Any = import_module("chdb.session")  # not here, hence without types

HEAD = b"\x01\x00\x02" + struct.pack("<i", -1) + b"\x00"


def number(value: int) -> bytes:
    """An unsigned LEB128."""
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + number(value >> 7)


def text(value: str) -> bytes:
    return number(len(value.encode())) + value.encode()


def native(names: Sequence[dict[str, str]], rows: Sequence[Sequence[Any]]) -> bytes:
    """A block of strings and 32-bit numbers: all that the exporter ever asks for."""
    block = HEAD + number(len(names)) + number(len(rows))
    for at, column in enumerate(names):
        block += text(column["name"]) + text(column["type"]) + b"\x00"
        for row in rows:
            block += struct.pack("<I", row[at]) if column["type"] == "UInt32" else text(row[at])
    return block


class Engine:
    """One chDB, one query at a time."""

    def __init__(self, folder: Path) -> None:
        self._session = CHDB.Session(str(folder / "data"))
        self._block = folder / "block.native"
        self._turn = threading.Lock()

    def run(self, asked: dict[str, str], body: bytes) -> bytes:
        """The answer to a request: a block for the exporter, JSON for a query that says so."""
        with self._turn:
            if "query" in asked:
                self._block.write_bytes(body)
                insert = re.sub(r"FORMAT Native\s*$", "", asked["query"], flags=re.IGNORECASE)
                return self._ask(f"{insert} SELECT * FROM file('{self._block}', Native)")
            found = self._ask(body.decode())
            if not found or asked.get("default_format") != "Native":
                return found
            answer = json.loads(found)
            return native(answer["meta"], answer["data"])

    def _ask(self, sql: str) -> bytes:
        return bytes(self._session.query(sql, "JSONCompact").bytes() or b"")


def body(request: BaseHTTPRequestHandler) -> bytes:
    """What was sent, chunked or not."""
    if request.headers.get("transfer-encoding") != "chunked":
        return request.rfile.read(int(request.headers.get("content-length", 0)))
    found = b""
    while size := int(request.rfile.readline(), 16):
        found += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return found


def main(port: int, folder: Path) -> None:
    """Answers until the process is ended."""
    engine = Engine(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
            sent = body(self)
            try:
                status, said = 200, engine.run(asked, sent)
            except RuntimeError as refused:  # what chDB raises where ClickHouse refuses a query
                status, said = 500, str(refused).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's name
            print(args, flush=True)

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
