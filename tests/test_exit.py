"""A stream that is still open when the program ends leaves its row, and nothing on stderr."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from tests.support.forked_programs import run_forked

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

if order != "provider last":
    set_provider()
PromptCacheInstrumentor().instrument()
AWS = {"endpoint_url": url, "region_name": "us-east-1",
       "aws_access_key_id": "k", "aws_secret_access_key": "s"}
CONVERSE = {"modelId": "anthropic.claude-sonnet-5",
            "messages": [{"role": "user", "content": [{"text": "Where is order 7?"}]}]}
MESSAGES = [{"role": "user", "content": "Where is order 7?"}]
if sdk.startswith("openai"):
    import openai
elif sdk.startswith("anthropic"):
    import anthropic
elif sdk == "bedrock":
    import boto3
elif sdk == "bedrock async":
    from aiobotocore.session import get_session
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
    if sdk == "bedrock":
        client = boto3.client("bedrock-runtime", **AWS)
        return client.converse_stream(**CONVERSE)["stream"]
    client = genai.Client(api_key="k", http_options={"base_url": url})
    clients.append(client)  # else it closes its connection
    return client.models.generate_content_stream(model="gemini-3-flash", contents="Where is 7?")

async def start_async():
    if sdk == "openai async":
        client = openai.AsyncOpenAI(base_url=url + "/v1", api_key="k")
        return await client.chat.completions.create(
            model="gpt-5.6", messages=MESSAGES, stream=True)
    if sdk == "anthropic async":
        client = anthropic.AsyncAnthropic(base_url=url, api_key="k", open_telemetry=False)
        return await client.messages.create(
            model="claude-sonnet-5", max_tokens=9, messages=MESSAGES, stream=True)
    if sdk == "bedrock async":
        context = get_session().create_client("bedrock-runtime", **AWS)
        clients.append(context)
        client = await context.__aenter__()
        return (await client.converse_stream(**CONVERSE))["stream"]
    client = genai.Client(api_key="k", http_options={"base_url": url})
    clients.append(client)
    return await client.aio.models.generate_content_stream(
        model="gemini-3-flash", contents="Where is 7?")

def end():
    if ending == "sys.exit":
        sys.exit(3)
    if ending == "exception":
        raise SystemError("the application's own")
    if ending == "interrupt":
        signal.raise_signal(signal.SIGINT)
    if ending == "terminated":
        os.kill(os.getpid(), signal.SIGTERM)
    if ending == "os._exit":
        os._exit(4)

async def run_async():
    stream = await start_async()
    await anext(aiter(stream))
    end()
    return stream

def run():
    if sdk.endswith("async"):
        return asyncio.run(run_async())
    stream = start()
    items = iter(stream)
    next(items)
    if ending == "broken off":
        for item in items:
            break
    end()
    return stream, items

if order == "in a forked child":
    import multiprocessing
    child = multiprocessing.get_context("fork").Process(target=lambda: globals().update(kept=run()))
    child.start()
    child.join()
    os._exit(child.exitcode)  # the parent has no call of its own
else:
    kept = run()
"""
EXIT_CODES: Final = {
    "sys.exit": 3,
    "exception": 1,
    "interrupt": -signal.SIGINT,
    "terminated": -signal.SIGTERM,
    "os._exit": 4,
}
SDKS: Final = ("openai", "anthropic", "google", "bedrock")


def run_program(url: str, path: Path, sdk: str, ending: str, order: str) -> tuple[int, str]:
    """Run the program, and return its exit code and what it wrote on standard error."""
    if sdk == "bedrock async":
        pytest.importorskip("aiobotocore")
    process = run_forked(PROGRAM, url, str(path), sdk, ending, order)
    assert "promptcache failed" not in process.stderr
    return process.returncode, process.stderr


def read_rows(path: Path) -> list[tuple[bool | None]]:
    """Return a row for each call in the table, which has to be whole."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return connection.execute("SELECT stream_completed FROM llm_calls").fetchall()


@pytest.mark.parametrize("order", ["provider first", "provider last"])
@pytest.mark.parametrize("ending", ["broken off", "sys.exit", "exception", "interrupt"])
@pytest.mark.parametrize("sdk", [*SDKS, *(f"{sdk} async" for sdk in SDKS)])
def test_an_open_stream_leaves_its_row_at_exit(
    sdk: str, ending: str, order: str, emulator_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "calls.db"
    exit_code, errors = run_program(emulator_url, path, sdk, ending, order)
    assert exit_code == EXIT_CODES.get(ending, 0), errors
    # asyncio itself reports the connection of an async stream, also without instrumentation.
    if ending in {"broken off", "sys.exit"} and not sdk.endswith("async"):
        assert not errors
    assert len(read_rows(path)) == 1


@pytest.mark.parametrize("ending", ["terminated", "os._exit"])
@pytest.mark.parametrize("sdk", [*SDKS, *(f"{sdk} async" for sdk in SDKS)])
def test_a_process_that_dies_leaves_a_whole_table_and_nothing_on_stderr(
    sdk: str, ending: str, emulator_url: str, tmp_path: Path
) -> None:
    """No row is promised: Python runs nothing of ours."""
    path = tmp_path / "calls.db"
    exit_code, errors = run_program(emulator_url, path, sdk, ending, "provider first")
    assert (exit_code, errors) == (EXIT_CODES[ending], "")
    if path.exists():
        assert len(read_rows(path)) <= 1


@pytest.mark.parametrize("ending", ["broken off", "sys.exit", "exception"])
@pytest.mark.parametrize("sdk", SDKS)
def test_an_open_stream_of_a_forked_child_leaves_its_row(
    sdk: str, ending: str, emulator_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "calls.db"
    exit_code, errors = run_program(emulator_url, path, sdk, ending, "in a forked child")
    assert exit_code == EXIT_CODES.get(ending, 0), errors
    assert bool(errors) is (ending == "exception")
    assert len(read_rows(path)) == 1
