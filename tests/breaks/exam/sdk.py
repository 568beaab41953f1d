"""The path through the real SDKs: an instrumented application whose calls overlap."""

from __future__ import annotations

import json
import queue
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from promptcache import PromptCacheInstrumentor, semconv
from promptcache_emulator.response import ProviderResponse
from tests.breaks.exam import sdk_calls
from tests.breaks.exam.driver import Observed, write_request
from tests.breaks.exam.gate import PATIENCE, Exchange, Gate
from tests.breaks.exam.scenario import Step
from tests.breaks.exam.sent_request import SentRequest
from tests.breaks.exam.simulate import failed_response
from tests.breaks.exam.surfaces import Surface
from tests.support.telemetry import Telemetry

_STREAM_BEGINS = 0.3
"""The part of a stream's time after which its first event arrives."""
_MOST_THREADS = 32


@dataclass(frozen=True)
class _Call:
    """One call in a thread of its own, so that it can wait for its answer."""

    done: Future[None]
    exchange: Exchange

    def wait(self) -> BaseException | None:
        """Return what the SDK raised."""
        return self.done.exception(PATIENCE)


class SdkDriver:
    """Makes each call with the SDK's own client. Answers come from a gate.

    `stream` tells whether the calls are streams.
    """

    def __init__(self, surface: Surface, gate: Gate, telemetry: Telemetry, stream: bool) -> None:
        self._surface, self._gate, self._telemetry = surface, gate, telemetry
        self._stream = stream
        self.first_byte = _STREAM_BEGINS if stream else 1.0
        self._threads = ThreadPoolExecutor(_MOST_THREADS)
        self._clients: dict[str, Any] = {}
        self._bodies: dict[str, SentRequest] = {}

    def _client(self, key: str) -> Any:
        if key not in self._clients:
            self._clients[key] = sdk_calls.make_client(self._surface, self._gate.url, key)
        return self._clients[key]

    def _start(self, step: Step) -> _Call:
        arguments = self._surface, self._client(step.key), step.prompt, self._stream
        done = self._threads.submit(sdk_calls.call, *arguments)
        try:
            return _Call(done, self._gate.arrived.get(timeout=PATIENCE))
        except queue.Empty:
            raise TimeoutError(f"no request arrived: {done}") from (
                done.exception(0) if done.done() else None
            )

    def learn_bodies(self, steps: Iterable[Step]) -> None:
        """Send the steps' requests and twins before the process is instrumented.

        The truth needs the bytes that this SDK sends.
        """
        if self._surface.sdk != "gemini":
            return
        for step in steps:
            prompts = (step.prompt, step.twin or step.prompt, *(step.better_past or ()))
            for prompt in prompts:
                for key in {step.key, step.twin_key or step.key}:
                    self._learn(Step(prompt, key=key))

    def _learn(self, step: Step) -> None:
        name = _body_key(step)
        if name not in self._bodies:
            call = self._start(step)
            self._bodies[name] = call.exchange.sent
            call.exchange.begin(failed_response(400))
            call.exchange.finish()
            call.wait()

    def close(self) -> None:
        self._threads.shutdown(wait=False)

    def body(self, step: Step) -> SentRequest:
        """Return the request as this SDK sends it. Only Google's SDK rewrites what it is given."""
        if self._surface.sdk == "gemini":
            return self._bodies[_body_key(step)]
        return write_request(self._surface, step)

    def send(self, step: Step) -> tuple[_Call, SentRequest]:
        call = self._start(step)
        return call, call.exchange.sent

    def begin(self, call: _Call, response: ProviderResponse) -> None:
        call.exchange.begin(response)

    def end(self, call: _Call, response: ProviderResponse) -> Observed:
        call.exchange.finish()
        error = call.wait()
        if error is not None and response.status == 200:
            raise error
        (span,) = self._telemetry.calls
        self._telemetry.exporter.clear()
        return _observe(span)


def _body_key(step: Step) -> str:
    return json.dumps([step.key, repr(step.prompt)])


def _observe(span: ReadableSpan) -> Observed:
    attributes: Any = span.attributes or {}
    return Observed(
        attributes.get(semconv.OUTCOME),
        attributes.get(semconv.MISS_REASON),
        attributes.get(semconv.MISS_SECTION),
        attributes.get(semconv.MISS_INDEX),
        attributes.get(semconv.MISS_OFFSET),
        attributes.get(semconv.MISS_HINT),
        attributes.get(semconv.MISSED_TOKENS),
        attributes.get(semconv.WASTED_USD),
        attributes.get(semconv.READ_TOKENS),
        attributes.get(semconv.WRITE_TOKENS),
        attributes.get(semconv.INPUT_TOKENS),
    )


@contextmanager
def instrumented(telemetry: Telemetry, clock: Callable[[], float]) -> Generator[None]:
    """Instrument the process with an empty memory, and with the exam's clock."""
    telemetry.instrument(clock=clock)
    try:
        yield
    finally:
        PromptCacheInstrumentor().uninstrument()
