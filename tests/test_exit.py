"""A stream that is still open when the program ends leaves its row, and nothing on stderr."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

PROGRAM: Final = """
import asyncio, os, signal, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from promptcache import PromptCacheInstrumentor
from promptcache_exporters.sqlite import SQLiteSpanExporter

url, path, sdk, ending, order = sys.argv[1:]

def set_provider():
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(SQLiteSpanExporter(path)))
    trace.set_tracer_provider(provider)

if order == "provider first":
    set_provider()
PromptCacheInstrumentor().instrument()
MESSAGES = [{"role": "user", "content": "Where is order 7?"}]
if sdk.startswith("openai"):
    import openai
elif sdk.startswith("anthropic"):
    import anthropic
else:
    from google import genai
if order == "provider last":
    set_provider()

clients = []

def start():
    if sdk == "openai":
        client = openai.OpenAI(base_url=url + "/v1", api_key="k")
        usage = {"include_usage": True}
        return client.chat.completions.create(
            model="gpt-5.6", messages=MESSAGES, stream=True, stream_options=usage)
    if sdk == "anthropic":
        client = anthropic.Anthropic(base_url=url, api_key="k", open_telemetry=False)
        return client.messages.create(
            model="claude-sonnet-5", max_tokens=9, messages=MESSAGES, stream=True)
    client = genai.Client(api_key="k", http_options={"base_url": url})
    clients.append(client)  # else it closes its connection
    return client.models.generate_content_stream(model="gemini-3-flash", contents="Where is 7?")

def end():
    if ending == "sys.exit":
        sys.exit(3)
    if ending == "exception":
        raise SystemError("the application's own")
    if ending == "interrupt":
        signal.raise_signal(signal.SIGINT)

async def run_async():
    client = openai.AsyncOpenAI(base_url=url + "/v1", api_key="k")
    stream = await client.chat.completions.create(model="gpt-5.6", messages=MESSAGES, stream=True)
    await anext(aiter(stream))
    end()
    return client, stream

if sdk == "openai async":
    kept = asyncio.run(run_async())
else:
    stream = start()
    items = iter(stream)
    next(items)
    if ending == "broken off":
        for item in items:
            break
    end()
"""
EXIT_CODES: Final = {"sys.exit": 3, "exception": 1, "interrupt": -signal.SIGINT}


@pytest.mark.parametrize("order", ["provider first", "provider last"])
@pytest.mark.parametrize("ending", ["broken off", "sys.exit", "exception", "interrupt"])
@pytest.mark.parametrize("sdk", ["openai", "openai async", "anthropic", "google"])
def test_an_open_stream_leaves_its_row_at_exit(
    sdk: str, ending: str, order: str, emulator_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "calls.db"
    arguments = [emulator_url, str(path), sdk, ending, order]
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == EXIT_CODES.get(ending, 0), process.stderr
    assert "promptcache failed" not in process.stderr
    # asyncio itself reports the connection of an async stream, also without instrumentation.
    if ending in {"broken off", "sys.exit"} and sdk != "openai async":
        assert not process.stderr
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT stream_completed FROM llm_calls").fetchall()
    assert len(rows) == 1
