"""What the servers of `check` serve: a page that makes one call, another that says who made it, all in workers.

The instrumentation is on before the server forks, the exporter is the local table, as `opentelemetry-instrument` with
`--preload` would have it. The addresses of emulator and table come from the environment.
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
    """One call to a model; the process that made it."""
    with openai.OpenAI(base_url=os.environ["EMULATOR"], api_key="k", max_retries=0) as client:
        create: Any = client.chat.completions.create
        create(**CHAT)
    return str(os.getpid())


if "WARM" in os.environ:
    make_call()  # before the fork, as an application that warms up makes it: locks, memory and table are in use


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
