"""A finalizer runs wherever the garbage collector happens to: it must not wait for a lock that its own thread holds."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from promptcache import PromptCacheInstrumentor
from promptcache.diagnosis.memory import Memory
from promptcache.patching.byte_stream import invocation_of
from promptcache.telemetry.handler import TelemetryHandler
from tests.calls import CHAT, USAGE
from tests.conftest import Telemetry


@pytest.fixture
def client(emulator_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{emulator_url}/v1", api_key="k", max_retries=0) as made:
        yield made


def abandon(client: openai.OpenAI) -> TelemetryHandler:
    """Leaves a stream that has begun to the collector: its generator refers to itself."""
    create: Any = client.chat.completions.create
    stream = create(**CHAT, stream=True, stream_options=USAGE)
    next(iter(stream))
    record = invocation_of(stream.response)
    assert record is not None
    return record.handler


def test_a_stream_collected_inside_our_own_lock_ends_later(
    client: openai.OpenAI, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    create: Any = client.chat.completions.create
    gc.collect()
    gc.disable()
    try:
        observer = abandon(client)
        start = Memory.register_call

        def collecting(*args: Any) -> Any:
            gc.collect()
            return start(*args)

        monkeypatch.setattr(Memory, "register_call", collecting)
        create(**CHAT)
        monkeypatch.undo()
        assert observer.deferred
        assert len(telemetry.spans) == 1
        create(**CHAT)
    finally:
        gc.enable()
    assert len(telemetry.spans) == 3
    assert not observer.deferred


def test_one_that_waits_for_the_next_call_ends_when_there_is_none(
    client: openai.OpenAI, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(frame: object) -> bool:
        return True

    monkeypatch.setattr("promptcache.telemetry.finalizer.lock_may_be_held", busy)
    gc.collect()
    observer = abandon(client)
    gc.collect()
    assert observer.deferred
    assert not telemetry.spans
    PromptCacheInstrumentor().uninstrument()
    assert len(telemetry.spans) == 1


def test_a_forked_child_ends_nothing_of_its_parents(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    create: Any = client.chat.completions.create
    stream = create(**CHAT, stream=True, stream_options=USAGE)
    record = invocation_of(stream.response)
    assert record is not None
    child = os.fork()
    if child == 0:
        record.finish()
        os._exit(len(telemetry.spans))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    list(stream)
    assert len(telemetry.spans) == 1
