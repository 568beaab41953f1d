"""Measure what stays in memory after a million calls with different prompts.

    make leaks
    python benchmarks/leaks.py [--flows 1000000] [--unique 200000] [--sdk 100000]

There are three runs, each in its own process. `flows` calls our flows around a stub of the SDK that
does nothing else. `unique` does the same, and every value of a call is unique: host, credential,
model, tools, parameters, baggage, ids, finish reason and tier; every third call fails. `sdk` calls
the real openai SDK on a stub transport. All begin with enough calls to fill the bounded memory.
After that, resident memory (Linux) may grow by less than 10 MB, every mapping stays within its
capacity, and the metrics name 100 models. Exit with 1 if one of these conditions fails.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context
from types import SimpleNamespace
from typing import Any, Final

import httpx2
import openai
from opentelemetry import baggage
from opentelemetry import context as otel
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from promptcache import Settings
from promptcache.common.generational_cache import GenerationalCache
from promptcache.patching.patcher import ModulePatcher
from promptcache.patching.registry import import_hooks
from promptcache.telemetry.handler import TelemetryHandler
from promptcache.telemetry.metrics import MetricsRecorder

FILL_CALLS: Final = 40_000
"""Calls that fill the memory. Each adds two blocks, and the memory keeps 65,536."""
SETTINGS: Final = Settings(baggage_keys=("tenant",), metric_keys=("tenant",))
MAX_GROWTH_MB: Final = 10.0
MODEL_COUNT: Final = 300
MAX_NAMED_MODELS: Final = 100
SDK_MODULE: Final = "openai._base_client"
SENTENCE: Final = (
    "The customer asks whether the parcel may be left with a neighbour, "
    "and the carrier confirms it. "
)
USAGE: Final = {
    "prompt_tokens": 1500,
    "completion_tokens": 9,
    "total_tokens": 1509,
    "prompt_tokens_details": {"cached_tokens": 0},
}


def request_body(number: int) -> dict[str, Any]:
    """Return a request whose prompt is unique."""
    system = {"role": "system", "content": f"You are agent {number}. {SENTENCE * 2}"}
    return {
        "model": f"gpt-{number % MODEL_COUNT}",
        "messages": [system, {"role": "user", "content": f"Where is order {number}?"}],
    }


def response_body(number: int) -> dict[str, Any]:
    message = {"role": "assistant", "content": "It left today."}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1,
        "model": f"gpt-{number % MODEL_COUNT}",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": USAGE,
    }


class SyncAPIClient:
    """A stub with the methods that our hooks wrap in the SDK. The hooks name it and its methods."""

    base_url: Final = httpx2.URL("https://api.openai.com/v1/")
    sent: Final = SimpleNamespace(
        url=base_url, headers={"authorization": "Bearer none"}, content=b""
    )

    def request(self, cast_to: Any, options: Any, *, stream: bool = False) -> Any:
        """Make one logical call."""
        response = SimpleNamespace(
            request=self.sent,
            headers={"content-type": "application/json"},
            content=options.content,
            is_closed=True,
            extensions={},
            elapsed=timedelta(milliseconds=1),
        )
        return self._process_response(
            options=options, response=response, stream=stream, retries_taken=0
        )

    def _process_response(
        self, *, options: Any, response: Any, stream: bool, retries_taken: int
    ) -> Any:
        return json.loads(response.content)


def make_flow_caller(handler: TelemetryHandler) -> Callable[[int], object]:
    """Return a function that makes a call through our flows alone."""
    patcher = ModulePatcher()
    patcher.module = sys.modules[__name__]
    hooks = import_hooks(SDK_MODULE)
    here = tuple(hook for hook in hooks if hook.class_name in globals() and not hook.is_optional)
    patcher.install_or_reenable(here, handler)
    client = SyncAPIClient()

    def call(number: int) -> object:
        options = SimpleNamespace(
            method="POST",
            url="/chat/completions",
            json_data=request_body(number),
            extra_json=None,
            content=json.dumps(response_body(number)).encode(),
        )
        return client.request(object, options)

    return call


def unique_request_body(number: int) -> dict[str, Any]:
    """Return a request in which no value occurs in another request."""
    function = {"name": f"tool_{number}", "parameters": {"type": "object", "title": str(number)}}
    return {
        **request_body(number),
        "model": f"model-{number}",
        "tools": [{"type": "function", "function": function}],
        "prompt_cache_key": f"key-{number}",
        "user": f"user-{number}",
        "response_format": {"type": "json_schema", "json_schema": {"name": f"schema_{number}"}},
        "reasoning_effort": f"effort-{number}",
    }


def unique_response_body(number: int) -> dict[str, Any]:
    body = response_body(number)
    body["choices"][0]["finish_reason"] = f"reason-{number}"
    return {**body, "model": f"served-{number}", "service_tier": f"tier-{number}"}


class UniqueError(Exception):
    """The error of a failed call."""


def make_unique_caller(handler: TelemetryHandler) -> Callable[[int], object]:
    """Return a function that makes a call with unique values only. Every third call fails."""
    make_flow_caller(handler)

    class Client(SyncAPIClient):
        def __init__(self, number: int) -> None:
            self.base_url = httpx2.URL(f"https://host-{number}.example/v1/")  # type: ignore[misc]
            headers = {"authorization": f"Bearer {number}"}
            self.sent = SimpleNamespace(url=self.base_url, headers=headers, content=b"")  # type: ignore[misc]

        def _process_response(self, **arguments: Any) -> Any:
            number = json.loads(arguments["response"].content)["id"].removeprefix("chatcmpl-")
            if not int(number) % 3:
                raise UniqueError(number)
            return super()._process_response(**arguments)

    def call(number: int) -> object:
        options = SimpleNamespace(
            method="POST",
            url="/chat/completions",
            json_data=unique_request_body(number),
            extra_json=None,
            content=json.dumps(unique_response_body(number)).encode(),
        )
        token = otel.attach(baggage.set_baggage("tenant", f"tenant-{number}"))
        try:
            return Client(number).request(object, options)
        except UniqueError as error:
            return error
        finally:
            otel.detach(token)

    return call


def make_sdk_caller(handler: TelemetryHandler) -> Callable[[int], object]:
    """Return a function that makes a call through the real SDK, answered in this process."""
    patcher = ModulePatcher()
    patcher.module = sys.modules[SDK_MODULE]
    patcher.install_or_reenable(import_hooks(SDK_MODULE), handler)
    count = iter(range(sys.maxsize))
    transport = httpx2.MockTransport(
        lambda request: httpx2.Response(200, json=response_body(next(count)))
    )
    client = openai.OpenAI(api_key="none", http_client=httpx2.Client(transport=transport))
    create: Any = client.chat.completions.create
    return lambda number: create(**request_body(number))


CALLER_FACTORIES: Final[Mapping[str, Callable[[TelemetryHandler], Callable[[int], object]]]] = {
    "flows": make_flow_caller,
    "unique": make_unique_caller,
    "sdk": make_sdk_caller,
}


@dataclass(frozen=True)
class LeakReport:
    """Memory when filled and its growth, objects before and after, and what is out of bounds."""

    caller: str
    calls: int
    filled_mb: float
    growth_mb: float
    object_counts: tuple[int, int]
    named_models: int
    exceeded_bounds: tuple[str, ...]
    microseconds: float

    @property
    def is_within_limits(self) -> bool:
        return (
            self.growth_mb < MAX_GROWTH_MB
            and not self.exceeded_bounds
            and self.named_models <= MAX_NAMED_MODELS + 1
        )

    def __str__(self) -> str:
        before, after = self.object_counts
        return (
            f"{self.caller:6} {self.calls:>9,} calls: {self.filled_mb:.1f} MB when filled, "
            f"growth {self.growth_mb:+.1f} MB; objects {before:,} -> {after:,}; "
            f"{self.named_models} models; {self.microseconds:.0f} us of CPU per call; "
            f"{'; '.join(self.exceeded_bounds) or 'all mappings within bounds'}"
        )


def resident_mb() -> float:
    """Return the resident memory in MB, after a garbage collection."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def find_exceeded_bounds(handler: TelemetryHandler) -> tuple[str, ...]:
    """Return the bounded mappings that are too large, and the number of calls that never ended."""
    memory = handler.diagnosis.memory
    owners: tuple[object, ...] = (
        memory,
        handler,
        handler.counted_batch_results,
        handler.cache_storage,
    )
    attributes = [(name, value) for owner in owners for name, value in vars(owner).items()]
    caches: dict[str, Any] = {
        name: value for name, value in attributes if isinstance(value, GenerationalCache)
    }
    too_large = [
        f"{name} holds {len(cache)}"
        for name, cache in caches.items()
        if len(cache) > 2 * cache._generation_size
    ]
    running = len(memory.running_calls)
    return (*too_large, *([f"{running} running calls"] if running else ()))


def count_named_models(reader: InMemoryMetricReader) -> int:
    """Return the number of models in the attributes of the counter of calls."""
    data: Any = reader.get_metrics_data()
    metrics = [
        metric
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]
    points = [
        point
        for metric in metrics
        if metric.name == "promptcache.calls"
        for point in metric.data.data_points
    ]
    return len({point.attributes["gen_ai.request.model"] for point in points})


def measure_leaks(
    caller: str, count: int, fill: int = FILL_CALLS, settings: Settings = SETTINGS
) -> LeakReport:
    """Fill the memory with `fill` calls, then make `count` more calls."""
    reader = InMemoryMetricReader()
    metrics = MetricsRecorder(MeterProvider([reader]).get_meter("promptcache"))
    tracer = TracerProvider().get_tracer("promptcache")
    handler = TelemetryHandler(settings, tracer, metrics)
    call, empty_mb = CALLER_FACTORIES[caller](handler), resident_mb()
    for number in range(fill):
        call(number)
    filled_mb, objects = resident_mb(), len(gc.get_objects())
    start = time.process_time()
    for number in range(fill, fill + count):
        call(number)
    seconds = time.process_time() - start
    return LeakReport(
        caller,
        count,
        filled_mb - empty_mb,
        resident_mb() - filled_mb,
        (objects, len(gc.get_objects())),
        count_named_models(reader),
        find_exceeded_bounds(handler),
        seconds / count * 1e6,
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--flows", type=int, default=1_000_000, help="calls through our flows alone"
    )
    parser.add_argument("--unique", type=int, default=200_000, help="calls with unique values only")
    parser.add_argument("--sdk", type=int, default=100_000, help="calls through the SDK")
    counts = vars(parser.parse_args())
    reports: list[LeakReport] = []
    for caller in CALLER_FACTORIES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            report = process.submit(measure_leaks, caller, counts[caller]).result()
        print(report, flush=True)
        reports.append(report)
    return 0 if all(report.is_within_limits for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
