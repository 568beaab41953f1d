"""Canaries everywhere the application's words are: none in any byte that leaves the process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from promptcache import PromptCacheInstrumentor, Settings
from promptcache_exporters.figures import By, collect
from promptcache_exporters.report import as_json
from promptcache_exporters.sqlite import SQLiteSpanExporter

from .conftest import Telemetry

CANARY = "canary-7f3a"


@pytest.fixture(params=[None, "secret"], ids=["public hashes", "keyed, everything"])
def telemetry(request: pytest.FixtureRequest) -> Iterator[Telemetry]:
    made = Telemetry()
    key: str | None = request.param
    made.instrument(Settings(hash_key=key and f"{CANARY}-{key}", hashes="all" if key else "static"))
    yield made
    PromptCacheInstrumentor().uninstrument()


def say(client: openai.OpenAI) -> None:
    """One call of each kind with a canary in every place that is not ours to tell."""
    nothing: dict[str, Any] = {"type": "object", "properties": {}}
    tool: dict[str, Any] = {"name": f"{CANARY}_tool", "description": CANARY, "parameters": nothing}
    asked: dict[str, Any] = {
        "model": "gpt-6-sol",
        "messages": [
            {"role": "system", "content": f"{CANARY} " * 1500},
            {"role": "user", "name": CANARY, "content": [{"type": "text", "text": CANARY}]},
        ],
        "tools": [{"type": "function", "function": tool}],
        "user": CANARY,
        "prompt_cache_key": CANARY,
        "metadata": {CANARY: CANARY},
        "extra_headers": {"x-canary": CANARY},
        "extra_query": {"canary": CANARY},
    }
    create: Any = client.chat.completions.create
    create(**asked)
    for _ in create(**asked, stream=True, stream_options={"include_usage": True}):
        pass
    changed = {
        **asked,
        "messages": [{"role": "system", "content": f"{CANARY} changed " * 1500}, *asked["messages"][1:]],
    }
    create(**changed)
    respond: Any = client.responses.create
    respond(
        model="gpt-6-sol",
        instructions=CANARY,
        input=CANARY,
        text={"format": {"type": "text"}},
        safety_identifier=CANARY,
    )
    file = {"type": "input_file", "filename": f"{CANARY}.pdf", "file_data": CANARY}
    respond(
        model="gpt-6-sol", input=[{"role": "user", "content": [file, {"type": "input_image", "image_url": CANARY}]}]
    )
    for fault in ("500", "429", "reset"):
        with pytest.raises(openai.APIError):
            create(**{**asked, "extra_headers": {"x-emulator-fault": fault, "x-canary": CANARY}})
    with pytest.raises(openai.APIError):
        for _ in create(**{**asked, "extra_headers": {"x-emulator-fault": "drop=2"}}, stream=True):
            pass


def test_no_canary_leaves(
    telemetry: Telemetry, emulator_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "promptcache")
    address = emulator_url.replace("http://", f"http://{CANARY}:{CANARY}@")
    with openai.OpenAI(base_url=f"{address}/v1", api_key=f"{CANARY}-key", organization=CANARY, max_retries=0) as client:
        say(client)
    assert len(telemetry.spans) == 9
    table = tmp_path / "calls.db"
    exporter = SQLiteSpanExporter(str(table))
    exporter.export(telemetry.spans)
    exporter.shutdown()
    collected: Any = telemetry.reader.get_metrics_data()
    reports = "".join(as_json(collect(table, by=by)) for by in By)
    left = [
        encode_spans(telemetry.spans).SerializeToString(),
        encode_metrics(collected).SerializeToString(),
        b"".join(path.read_bytes() for path in tmp_path.iterdir()),
        reports.encode(),
        "".join(record.getMessage() for record in caplog.records if record.name.startswith("promptcache")).encode(),
    ]
    assert all(left[:4])
    assert not [number for number, sent in enumerate(left) if CANARY.encode() in sent]
