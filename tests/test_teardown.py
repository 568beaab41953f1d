"""A call that ends while the interpreter shuts down leaves its row, and nothing on stderr."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from tests.support.forked_programs import run_forked

START: Final = """
import atexit, gc, os, sys, threading, time
import openai
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from promptcache import PromptCacheInstrumentor
from promptcache_exporters.sqlite import SQLiteSpanExporter

url, path = sys.argv[1:]
PromptCacheInstrumentor().instrument()
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(SQLiteSpanExporter(path)))
trace.set_tracer_provider(provider)
client = openai.OpenAI(base_url=url + "/v1", api_key="k", max_retries=0)
MESSAGES = [{"role": "user", "content": "Where is order 7?"}]

def call(stream=False):
    return client.chat.completions.create(model="gpt-5.6", messages=MESSAGES, stream=stream)

def open_stream():
    stream = call(stream=True)
    next(iter(stream))
    return stream
"""
PROGRAMS: Final = {
    "an exit function that calls": ("call()\natexit.register(call)", 2),
    "an exit function that makes the first call": ("atexit.register(call)", 0),
    "an exit function that reads a stream": (
        "stream = open_stream()\natexit.register(lambda: list(stream))",
        1,
    ),
    "an object that dies with its module": ("kept = open_stream()", 1),
    "a cycle that dies with its module": ("kept = [open_stream()]\nkept.append(kept)", 1),
    "a stream that the last collection takes": (
        "gc.disable()\nkept = [open_stream()]\nkept.append(kept)\ndel kept",
        1,
    ),
    "a destructor that calls": (
        (
            "class Service:\n    def __del__(self):\n        call()\nopen_stream().close()\n"
            "service = Service()"
        ),
        1,
    ),
    "a daemon thread with an open stream": (
        (
            "started = threading.Event()\n"
            "def work():\n    for item in call(stream=True):\n        started.set()\n"
            "        time.sleep(60)\n"
            "threading.Thread(target=work, daemon=True).start()\nstarted.wait(20)"
        ),
        1,
    ),
    "a daemon thread that calls until the end": (
        (
            "started = threading.Event()\n"
            "def work():\n    while True:\n        call()\n        started.set()\n"
            "threading.Thread(target=work, daemon=True).start()\nstarted.wait(20)"
        ),
        1,
    ),
    "a thread that outlives the main thread": (
        "def work():\n    time.sleep(0.3)\n    call()\nthreading.Thread(target=work).start()",
        1,
    ),
}
"""The end of a program, and how many of its calls leave a row at least.

Nothing is promised for a call that begins after the tracer provider has shut down.
"""
PLAIN: Final = "PromptCacheInstrumentor().instrument()\n"


def run_program(program: str, url: str, path: Path) -> tuple[int, str, str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    process = run_forked(program, url, str(path), environ=environ, timeout=90)
    return process.returncode, process.stdout, process.stderr


@pytest.mark.parametrize("ending", PROGRAMS)
def test_a_call_at_the_end_of_the_interpreter(
    ending: str, emulator_url: str, tmp_path: Path
) -> None:
    end, promised_rows = PROGRAMS[ending]
    path = tmp_path / "calls.db"
    with_us = run_program(START + end, emulator_url, path)
    without_us = run_program(START.replace(PLAIN, "") + end, emulator_url, tmp_path / "none.db")
    assert with_us[:2] == without_us[:2]
    assert "promptcache" not in with_us[2], with_us[2]
    assert bool(with_us[2]) is bool(without_us[2]), with_us[2]
    if path.exists():
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            ((rows,),) = connection.execute("SELECT count(*) FROM llm_calls").fetchall()
        assert rows >= promised_rows
    else:
        assert not promised_rows
