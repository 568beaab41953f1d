"""The lines of docs/applications.md do in a real server what the page says."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from promptcache_exporters.report.stream_usage import SETTINGS_OF_FRAMEWORKS

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = (ROOT / "docs" / "applications.md").read_text(encoding="utf-8")
LIFESPAN, SIGNAL_HANDLER = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
RECORDER: Final = """
import openai
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from promptcache import PromptCacheInstrumentor
from promptcache_exporters.sqlite import SQLiteSpanExporter

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(SQLiteSpanExporter()))
trace.set_tracer_provider(provider)
PromptCacheInstrumentor().instrument()


def call():
    with openai.OpenAI(api_key="k", max_retries=0) as client:
        client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "hi"}]
        )
"""
SERVER: Final = """
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route


def answer(request):
    call()
    return PlainTextResponse("done")


class Announcing(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)


app = Starlette(routes=[Route("/", answer)], lifespan=globals().get("lifespan"))
Announcing(uvicorn.Config(app, port=0, log_level="critical")).run()
"""
SCRIPT: Final = """
import time

call()
print("done", flush=True)
time.sleep(60)
"""


@contextmanager
def running(folder: Path, emulator_url: str, program: str) -> Generator[subprocess.Popen[str]]:
    environ = os.environ | {
        "OPENAI_BASE_URL": f"{emulator_url}/v1",
        "OTEL_PROMPTCACHE_DB": str(folder / "calls.db"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environ
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def recorded_calls(folder: Path) -> int:
    path = folder / "calls.db"
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM llm_calls").fetchone()
    return int(count)


@pytest.mark.parametrize(("lifespan", "calls"), [("", 0), (LIFESPAN, 1)])
def test_a_server_that_flushes_loses_no_call_on_sigterm(
    tmp_path: Path, emulator_url: str, lifespan: str, calls: int
) -> None:
    with running(tmp_path, emulator_url, RECORDER + lifespan + SERVER) as process:
        url = f"http://127.0.0.1:{int(read_line(process))}/"
        with urllib.request.urlopen(url) as response:
            assert response.read() == b"done"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM, "uvicorn raises the signal again"
    assert recorded_calls(tmp_path) == calls


@pytest.mark.parametrize(("handler", "calls"), [("", 0), (SIGNAL_HANDLER, 1)])
def test_a_program_that_exits_in_order_loses_no_call_on_sigterm(
    tmp_path: Path, emulator_url: str, handler: str, calls: int
) -> None:
    with running(tmp_path, emulator_url, handler + RECORDER + SCRIPT) as process:
        assert read_line(process) == "done"
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    assert recorded_calls(tmp_path) == calls


def test_the_page_names_the_settings_that_the_report_names() -> None:
    text = PAGE.replace('"', "'")
    for framework, setting in SETTINGS_OF_FRAMEWORKS.items():
        assert f"| {framework} |" in PAGE
        key = setting.partition("=")[0].partition(":")[0].partition(" ")[0].partition("(")[0]
        assert key in text


def test_the_recorder_imports_neither_typer_nor_rich(tmp_path: Path, emulator_url: str) -> None:
    program = (
        "import sys; sys.modules['typer'] = sys.modules['rich'] = None\n"
        + RECORDER
        + "call(); provider.shutdown(); print('done')"
    )
    with running(tmp_path, emulator_url, program) as process:
        assert read_line(process) == "done"
    assert recorded_calls(tmp_path) == 1
