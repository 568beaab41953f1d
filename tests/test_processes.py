"""Calls in forked processes and in consecutive event loops: each is a row or a span, and nothing is
logged.

`make processes` forks a hundred times and runs real servers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, Final

import openai
import pytest

from tests.support.call_shapes import CHAT, INCLUDE_USAGE
from tests.support.span_builders import read_rows
from tests.support.telemetry import Telemetry

ROOT: Final = Path(__file__).parent.parent
FORKS: Final = int(os.environ.get("PROMPTCACHE_FORKS", "10"))
FORK_PROGRAM: Final = """
import os, sys, threading
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from promptcache import PromptCacheInstrumentor
from promptcache_exporters.sqlite import SQLiteSpanExporter
from tests.support.mock_calls import make_mock_call
tracers = TracerProvider(shutdown_on_exit=False)
tracers.add_span_processor(SimpleSpanProcessor(SQLiteSpanExporter(sys.argv[1])))
PromptCacheInstrumentor().instrument(tracer_provider=tracers)
make_mock_call()("warm")  # a child would inherit the locks of the first call
stop, call_counts = threading.Event(), [1]
def call_until_stopped(number):
    client, count = make_mock_call(), 0
    while not stop.is_set():
        client(f"parent {number} {count}")
        count += 1
    call_counts.append(count)
threads = [threading.Thread(target=call_until_stopped, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
children = []
for number in range(int(sys.argv[2])):
    child = os.fork()
    if not child:
        client = make_mock_call()
        for count in range(3):
            client(f"child {number} {count}")
        os._exit(0)
    children.append(child)
exit_codes = {os.waitpid(child, 0)[1] for child in children}
stop.set()
for thread in threads:
    thread.join()
print(exit_codes, sum(call_counts))
"""


def test_every_call_is_recorded_when_a_process_forks_during_calls(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    process = subprocess.run(
        [sys.executable, "-c", FORK_PROGRAM, path, str(FORKS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=50 + 3 * FORKS,
    )
    exit_codes, _, parent_calls = process.stdout.strip().rpartition(" ")
    assert exit_codes == "{0}"
    rows = read_rows(path)
    # A child that is forked while a batch is being written does not write
    # (tests/test_sqlite_failures.py).
    skipped = process.stderr.count("was forked while another batch was being written")
    assert len(rows) == int(parent_calls) + 3 * (FORKS - skipped)
    assert {row["outcome"] for row in rows} == {"unreported"}
    assert len({row["span_id"] for row in rows}) == len(rows)


def test_calls_in_consecutive_event_loops_are_recorded(
    emulator_url: str, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask() -> None:
        async with openai.AsyncOpenAI(base_url=f"{emulator_url}/v1", api_key="k") as client:
            create: Any = client.chat.completions.create
            await create(**CHAT)
            async for _ in await create(**CHAT, stream=True, stream_options=INCLUDE_USAGE):
                pass

    for _ in range(10):
        asyncio.run(ask())
    assert len(telemetry.spans) == telemetry.metric("promptcache.calls") == 20
    assert not caplog.records


async def leave_stream_open(url: str, references: list[object]) -> None:
    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k")
    create: Any = client.chat.completions.create
    stream = await create(**CHAT, stream=True, stream_options=INCLUDE_USAGE)
    references.append((client, stream, await anext(aiter(stream))))


def module_that_raised(record: logging.LogRecord) -> str:
    """Return the module whose code raised the logged exception."""
    frames = (
        [frame for frame, _ in traceback.walk_tb(record.exc_info[2])] if record.exc_info else []
    )
    return str(frames[-1].f_globals["__name__"]) if frames else ""


def test_a_loop_that_ends_before_its_stream_logs_no_error_of_promptcache(
    emulator_url: str, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    """The ending loop closes all generators at once, those of the SDK and ours.

    Without promptcache the generators of the SDK disturb each other 19 times out of 20, so the test
    ignores errors that the SDK raised.
    """
    for count in range(1, 21):
        references: list[object] = []
        asyncio.run(leave_stream_open(emulator_url, references))
        references.clear()
        assert len(telemetry.spans) == count
    assert not [
        record for record in caplog.records if module_that_raised(record).startswith("promptcache")
    ]
