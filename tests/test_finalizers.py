"""A finalizer can run at any point and never waits for a lock that its own thread holds."""

from __future__ import annotations

import ast
import gc
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import openai
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from promptcache import PromptCacheInstrumentor
from promptcache.diagnosis.memory import PastCallMemory
from promptcache.telemetry.finalizer import LOCK_HOLDING_MODULES
from promptcache.telemetry.handler import TelemetryHandler
from tests.support.call_shapes import CHAT, INCLUDE_USAGE
from tests.support.telemetry import Telemetry


@pytest.fixture
def client(emulator_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{emulator_url}/v1", api_key="k", max_retries=0) as client:
        yield client


def abandon_stream(client: openai.OpenAI) -> TelemetryHandler:
    """Drop an open stream, which waits for the garbage collector since it refers to itself."""
    create: Any = client.chat.completions.create
    stream = create(**CHAT, stream=True, stream_options=INCLUDE_USAGE)
    next(iter(stream))
    handler: TelemetryHandler = stream.response.stream.invocation.handler
    return handler


def test_a_stream_collected_under_our_own_lock_ends_later(
    client: openai.OpenAI, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    create: Any = client.chat.completions.create
    gc.collect()
    gc.disable()
    try:
        handler = abandon_stream(client)
        register_call = PastCallMemory.register_running_call

        def collect_and_register(*args: Any) -> Any:
            gc.collect()
            return register_call(*args)

        monkeypatch.setattr(PastCallMemory, "register_running_call", collect_and_register)
        create(**CHAT)
        monkeypatch.undo()
        assert handler.finalizer.queue
        assert len(telemetry.spans) == 1
        create(**CHAT)
    finally:
        gc.enable()
    assert len(telemetry.spans) == 3
    assert not handler.finalizer.queue


def test_a_flush_ends_deferred_invocations_and_exports_them(
    client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    def always_held(frame: object) -> bool:
        return True

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))  # before ours, as in an application
    PromptCacheInstrumentor().instrument(tracer_provider=provider)
    try:
        monkeypatch.setattr("promptcache.telemetry.finalizer.lock_may_be_held", always_held)
        gc.collect()
        handler = abandon_stream(client)
        gc.collect()
        assert handler.finalizer.queue
        assert provider.force_flush()
        assert len(exporter.get_finished_spans()) == 1
        assert not handler.finalizer.queue
    finally:
        PromptCacheInstrumentor().uninstrument()
        provider.shutdown()


def test_uninstrumenting_ends_deferred_invocations(
    client: openai.OpenAI, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def always_held(frame: object) -> bool:
        return True

    monkeypatch.setattr("promptcache.telemetry.finalizer.lock_may_be_held", always_held)
    gc.collect()
    handler = abandon_stream(client)
    gc.collect()
    assert handler.finalizer.queue
    assert not telemetry.spans
    PromptCacheInstrumentor().uninstrument()
    assert len(telemetry.spans) == 1


def test_a_forked_child_ends_no_invocation_of_its_parent(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    create: Any = client.chat.completions.create
    stream = create(**CHAT, stream=True, stream_options=INCLUDE_USAGE)
    invocation = stream.response.stream.invocation
    child = os.fork()
    if child == 0:
        invocation.finish()
        os._exit(len(telemetry.spans))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    list(stream)
    assert len(telemetry.spans) == 1


ROOT = Path(__file__).parent.parent
LOCKS = {"Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Event", "Barrier"}
NEVER_WAITS = {"promptcache.telemetry.invocation", "promptcache.telemetry.queue_readers"}
"""Modules that only try to acquire their lock, and go on if another holds it, or that only name the
locks of others."""


def modules_with_locks() -> Iterator[str]:
    """Yield the modules of our packages that use a lock of `threading`."""
    for root in (ROOT / "instrumentation", ROOT / "exporters"):
        for package in ("promptcache", "promptcache_exporters"):
            for path in sorted((root / package).rglob("*.py")):
                names = {
                    node.id if isinstance(node, ast.Name) else node.attr
                    for node in ast.walk(ast.parse(path.read_text()))
                    if isinstance(node, ast.Name | ast.Attribute)
                }
                if names & LOCKS:
                    yield ".".join(path.relative_to(root).with_suffix("").parts)


@pytest.mark.parametrize("module", LOCK_HOLDING_MODULES)
def test_a_module_that_may_hold_a_lock_exists(module: str) -> None:
    assert find_spec(module) is not None


def test_every_module_that_waits_for_a_lock_is_listed() -> None:
    modules = set(modules_with_locks())
    assert {"promptcache.diagnosis.memory", "promptcache.telemetry.cache_storage"} <= modules
    # No end of a call takes a lock of the harness, which the application calls by itself.
    unlisted = {
        module
        for module in modules
        if not module.startswith((*LOCK_HOLDING_MODULES, "promptcache.harness"))
    }
    assert unlisted == NEVER_WAITS
