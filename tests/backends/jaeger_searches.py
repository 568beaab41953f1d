"""A real Jaeger answers every search of docs/jaeger.md: with those calls, and no others, that have
the tags.

Run by `make jaeger`, or by hand: python -m tests.backends.jaeger_searches .jaeger/jaeger

The calls go to the emulator, their spans to Jaeger over OTLP and into memory as well; what Jaeger
finds is compared with what memory says. The hashes that the page shows are examples and stand for
those of the last call.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from openai import OpenAI, omit
from openai.types.chat import ChatCompletionMessageParam
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from examples.support_agent import HANDBOOK, MODEL, TOOLS, system_prompt
from promptcache import PromptCacheInstrumentor
from promptcache_emulator.server import running_server
from tests.alerts_e2e.local_services import free_port, get_json, running_program, wait_until

PAGE = (Path(__file__).parents[2] / "docs" / "jaeger.md").read_text()
SERVICE = "my-service"


def config(query: int, otlp: int) -> dict[str, Any]:
    """Jaeger's all-in-one on ports of our own: OTLP in, memory, the query API."""
    return {
        "service": {
            "extensions": ["jaeger_storage", "jaeger_query"],
            "pipelines": {
                "traces": {"receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"]}
            },
            "telemetry": {"metrics": {"level": "none"}},
        },
        "extensions": {
            "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": 1000}}}},
            "jaeger_query": {
                "storage": {"traces": "memory"},
                "http": {"endpoint": f"127.0.0.1:{query}"},
                "grpc": {"endpoint": f"127.0.0.1:{free_port()}"},
            },
        },
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{otlp}"}}}},
        "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
    }


def answer(client: OpenAI, system: str, *, reported: bool = True) -> None:
    """One call, from a function of the name that the page searches for."""
    asked: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": system},
        {"role": "user", "content": "Where is my tent?"},
    ]
    list(
        client.chat.completions.create(
            model=MODEL,
            messages=asked,
            tools=TOOLS,
            stream=True,
            stream_options={"include_usage": True} if reported else omit,
        )
    )


def calls(model: str) -> None:
    """A cold call, hits, misses by a clock, a part of a prefix read, and a stream that reports
    nothing."""
    with OpenAI(base_url=f"{model}/v1", api_key="none") as client:
        for clock in (False, False, False, True, True, True):
            answer(client, system_prompt(clock=clock))
        for season in ("summer", "winter"):
            answer(client, f"{HANDBOOK}\nThe shop sells for the {season}.\n{HANDBOOK}")
        answer(client, system_prompt(clock=False), reported=False)
        answer(client, system_prompt(clock=False))


def work(endpoint: str) -> list[dict[str, Any]]:
    """Makes the calls and sends them to Jaeger; gives the attributes of each, and the id of its
    trace."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": SERVICE}))
    for exporter in (kept, OTLPSpanExporter(f"{endpoint}/v1/traces")):
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    ours = PromptCacheInstrumentor()
    ours.instrument(tracer_provider=provider)
    with running_server() as model:
        calls(model)
    ours.uninstrument()
    provider.shutdown()
    return [
        {**(span.attributes or {}), "trace": format(span.context.trace_id, "032x")}
        for span in kept.get_finished_spans()
        if span.context
    ]


def searches(last: Mapping[str, Any]) -> list[dict[str, str]]:
    """The tags of each row of the page's table, its example hashes replaced by those of a call."""
    rows = re.findall(r"^\| `([^`]+=[^`]+)` \|", PAGE, re.MULTILINE)
    found = [dict(pair.split("=", 1) for pair in row.split()) for row in rows]
    return [
        {key: str(last[key]) if value.startswith("p1:") else value for key, value in tags.items()}
        for tags in found
    ]


def printed(query: int) -> str:
    """The page's own command, asked of the Jaeger that is running."""
    (command,) = re.findall(r"^```sh\n(.*?)\n```", PAGE, re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        ["bash", "-c", command.replace(":16686", f":{query}")],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def traces(found: Any) -> set[str]:
    return {str(trace["traceID"]).zfill(32) for trace in found["data"]}


def check(query: int, spans: list[dict[str, Any]]) -> bool:
    """Compares each search with what was sent, and prints it."""
    right = True
    for tags in searches(spans[-1]):
        expected = {
            span["trace"] for span in spans if all(str(span.get(key)) == tags[key] for key in tags)
        }
        asked = urllib.parse.urlencode({"service": SERVICE, "limit": 100, "tags": json.dumps(tags)})
        found = traces(get_json(f"http://127.0.0.1:{query}/api/traces?{asked}"))
        right &= bool(expected) and found == expected
        shown = " ".join(f"{key}={value}" for key, value in tags.items())
        print(
            f"{'ok   ' if found == expected else 'WRONG'} {len(found):2} of {len(spans)} calls: {shown}"
        )
    misses = {span["trace"] for span in spans if span["promptcache.outcome"] == "miss"}
    return right and traces(json.loads(printed(query))) == misses


def main(program: str) -> None:
    """All of it, with the Jaeger that is built as `program`."""
    query, otlp = free_port(), free_port()
    url = f"http://127.0.0.1:{query}"
    with TemporaryDirectory() as folder:
        place = Path(folder) / "jaeger.yaml"
        place.write_text(json.dumps(config(query, otlp)))  # JSON is YAML
        with running_program(Path(folder) / "log", program, "--config", place):
            took = wait_until(
                "Jaeger answers", lambda: get_json(f"{url}/api/services")["errors"] is None, 60
            )
            print(f"Jaeger is ready after {took:.1f} s", flush=True)
            spans = work(f"http://127.0.0.1:{otlp}")
            every = f"{url}/api/traces?service={SERVICE}&limit=100"
            wait_until(
                "all calls are there", lambda: len(traces(get_json(every))) == len(spans), 20
            )
            if not check(query, spans):
                sys.exit("Jaeger does not find what the page says.")


if __name__ == "__main__":
    main(sys.argv[1])
