"""The applications that the servers of `check` serve: each request makes one call to a model.

The response is the id of the worker process. Instrumentation is on before the server forks, and
the exporter writes the local table, as with `opentelemetry-instrument` and `--preload`. The
addresses of the emulator and of the table come from the environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, Final

import openai
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from promptcache import PromptCacheInstrumentor
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from tests.support.call_shapes import CHAT

TRACERS: Final = TracerProvider(shutdown_on_exit=False)
TRACERS.add_span_processor(SimpleSpanProcessor(SQLiteSpanExporter()))
PromptCacheInstrumentor().instrument(tracer_provider=TRACERS)


def make_call() -> str:
    """Make one call to a model and return the id of this process."""
    with openai.OpenAI(base_url=os.environ["EMULATOR"], api_key="k", max_retries=0) as client:
        create: Any = client.chat.completions.create
        create(**CHAT)
    return str(os.getpid())


if "WARM" in os.environ:
    make_call()  # locks, memory and table are in use before the server forks


def wsgi(environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
    process_id = make_call().encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [process_id]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    process_id = make_call().encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": process_id})
