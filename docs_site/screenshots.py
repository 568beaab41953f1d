"""Take the pictures of the page for the documentation: `make screenshots` (needs Chromium).

The page shows a day of calls to the emulator, so the pictures show what the page really draws.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import gettempdir
from typing import Final, NamedTuple

import uvicorn
from PIL import Image

from docs_site.example_traffic import record_day
from promptcache_exporters.page.views import build_page
from tests.support.chromium import take_picture

IMAGES: Final = Path(__file__).parent.parent / "docs" / "images"
MAX_BYTES: Final = 150_000
WIDTH: Final = 1000
FOLDER: Final = Path(gettempdir()) / "shop"
"""The page shows the path of its table, which shall be the same in each picture."""
_WORST_CALL: Final = """
SELECT '/call/' || trace_id || '/' || span_id FROM llm_calls
WHERE miss_reason = 'volatile_token' ORDER BY wasted_usd DESC, time LIMIT 1"""


class Picture(NamedTuple):
    """A picture of a view: its file without the ending, its address, and its height in pixels."""

    name: str
    address: str
    height: int
    is_dark: bool = False


def list_pictures(table: Path) -> list[Picture]:
    """Return the pictures of the page of the table."""
    with closing(sqlite3.connect(table)) as connection:
        (call,) = connection.execute(_WORST_CALL).fetchone()
    return [
        Picture("overview", "/", 1010),
        Picture("overview-dark", "/", 1010, is_dark=True),
        Picture("causes", "/causes", 900),
        Picture("call", call, 1080),
        Picture("prefixes", "/prefixes", 960),
    ]


@contextmanager
def serve_page(table: Path) -> Generator[str]:
    """Serve the page without its guard, to this process only, and yield its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(build_page(table), log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


def make_small(file: Path) -> None:
    """Write the picture again with a palette: it has few colours."""
    with Image.open(file) as picture:
        few_colours = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few_colours.save(file, optimize=True)


def main() -> None:
    """Write all pictures, and fail if one is too large."""
    os.environ["TZ"] = "UTC"
    time.tzset()
    IMAGES.mkdir(exist_ok=True)
    rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    table = FOLDER / "promptcache.db"
    record_day(table)
    with serve_page(table) as url:
        for picture in list_pictures(table):
            file = IMAGES / f"{picture.name}.png"
            take_picture(
                url + picture.address, file, WIDTH, picture.height, is_dark=picture.is_dark
            )
            make_small(file)
            print(f"{file.stat().st_size:>7,} bytes  docs/images/{file.name}", flush=True)
    rmtree(FOLDER)
    large = [file.name for file in IMAGES.glob("*.png") if file.stat().st_size > MAX_BYTES]
    if large:
        sys.exit(f"larger than {MAX_BYTES:,} bytes: {', '.join(large)}")


if __name__ == "__main__":
    main()
