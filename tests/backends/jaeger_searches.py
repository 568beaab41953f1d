"""A real Jaeger finds for every search of docs/jaeger.md exactly the calls that have the tags.

Run by `make jaeger`, or by hand: python -m tests.backends.jaeger_searches .jaeger/jaeger

The emulator answers the calls. Their spans go to Jaeger over OTLP and into memory, and the results
of Jaeger are compared with memory. The hashes of the page are examples; the hashes of the last call
replace them.
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


def make_configuration(query: int, otlp: int) -> dict[str, Any]:
    """Return the configuration of a Jaeger with OTLP receiver, memory storage and query API."""
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
    """Make one call. The page searches for the name of this function."""
    messages: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": system},
        {"role": "user", "content": "Where is my tent?"},
    ]
    list(
        client.chat.completions.create(
            model=MODEL,
            messages=messages,
            tools=TOOLS,
            stream=True,
            stream_options={"include_usage": True} if reported else omit,
        )
    )


def make_calls(model: str) -> None:
    """Make a cold call, hits, misses by a clock, a partial read, and a stream without usage."""
    with OpenAI(base_url=f"{model}/v1", api_key="none") as client:
        for clock in (False, False, False, True, True, True):
            answer(client, system_prompt(clock=clock))
        for season in ("summer", "winter"):
            answer(client, f"{HANDBOOK}\nThe shop sells for the {season}.\n{HANDBOOK}")
        answer(client, system_prompt(clock=False), reported=False)
        answer(client, system_prompt(clock=False))


def run_calls(endpoint: str) -> list[dict[str, Any]]:
    """Send the calls to Jaeger, and return the attributes and the trace id of each call."""
    memory_exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": SERVICE}))
    for exporter in (memory_exporter, OTLPSpanExporter(f"{endpoint}/v1/traces")):
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = PromptCacheInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    with running_server() as model:
        make_calls(model)
    instrumentor.uninstrument()
    provider.shutdown()
    return [
        {**(span.attributes or {}), "trace": format(span.context.trace_id, "032x")}
        for span in memory_exporter.get_finished_spans()
        if span.context
    ]


def list_searches(last: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the tags of each row of the table, with the hashes of the last call."""
    rows = re.findall(r"^\| `([^`]+=[^`]+)` \|", PAGE, re.MULTILINE)
    searches = [dict(pair.split("=", 1) for pair in row.split()) for row in rows]
    return [
        {key: str(last[key]) if value.startswith("p1:") else value for key, value in tags.items()}
        for tags in searches
    ]


def run_printed_command(query: int) -> str:
    """Run the command of the page against the running Jaeger, and return its output."""
    (command,) = re.findall(r"^```sh\n(.*?)\n```", PAGE, re.MULTILINE | re.DOTALL)
    process = subprocess.run(
        ["bash", "-c", command.replace(":16686", f":{query}")],
        check=True,
        capture_output=True,
        text=True,
    )
    return process.stdout


def trace_ids(result: Any) -> set[str]:
    return {str(trace["traceID"]).zfill(32) for trace in result["data"]}


def compare_searches(query: int, spans: list[dict[str, Any]]) -> bool:
    """Compare and print each search, and return whether all of them are right."""
    is_right = True
    for tags in list_searches(spans[-1]):
        expected = {
            span["trace"] for span in spans if all(str(span.get(key)) == tags[key] for key in tags)
        }
        parameters = urllib.parse.urlencode(
            {"service": SERVICE, "limit": 100, "tags": json.dumps(tags)}
        )
        matches = trace_ids(get_json(f"http://127.0.0.1:{query}/api/traces?{parameters}"))
        is_right &= bool(expected) and matches == expected
        search = " ".join(f"{key}={value}" for key, value in tags.items())
        status = "ok   " if matches == expected else "WRONG"
        print(f"{status} {len(matches):2} of {len(spans)} calls: {search}")
    misses = {span["trace"] for span in spans if span["promptcache.outcome"] == "miss"}
    return is_right and trace_ids(json.loads(run_printed_command(query))) == misses


def main(program: str) -> None:
    """Run everything with the Jaeger at the path `program`."""
    query, otlp = free_port(), free_port()
    url = f"http://127.0.0.1:{query}"
    with TemporaryDirectory() as folder:
        configuration_path = Path(folder) / "jaeger.yaml"
        configuration_path.write_text(json.dumps(make_configuration(query, otlp)))  # JSON is YAML
        with running_program(Path(folder) / "log", program, "--config", configuration_path):
            seconds = wait_until(
                "Jaeger answers", lambda: get_json(f"{url}/api/services")["errors"] is None, 60
            )
            print(f"Jaeger is ready after {seconds:.1f} s", flush=True)
            spans = run_calls(f"http://127.0.0.1:{otlp}")
            all_traces_url = f"{url}/api/traces?service={SERVICE}&limit=100"
            wait_until(
                "all calls are there",
                lambda: len(trace_ids(get_json(all_traces_url))) == len(spans),
                20,
            )
            if not compare_searches(query, spans):
                sys.exit("Jaeger does not find what the page says.")


if __name__ == "__main__":
    main(sys.argv[1])
