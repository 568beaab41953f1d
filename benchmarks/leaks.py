"""What stays behind in memory after a million calls whose prompts are all different.

    make leaks
    python benchmarks/leaks.py [--flows 1000000] [--sdk 100000]

Two runs, a process each: through the flows alone, around a stand-in for the SDK that does nothing else, and through the
real openai SDK on a stub transport. Both begin with enough calls to fill the bounded memory; from then on resident
memory (Linux) may grow by less than 10 MB, every mapping keeps within its capacity, and of 300 models the metrics name
100. Exits with 1 where one of these fails.
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
from multiprocessing import get_context
from types import SimpleNamespace
from typing import Any, Final

import httpx2
import openai
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from promptcache import Settings
from promptcache.common.generational_cache import GenerationalCache
from promptcache.patching.registry import load_hooks
from promptcache.patching.wrapping import ModulePatcher
from promptcache.telemetry.handler import TelemetryHandler
from promptcache.telemetry.metrics import MetricsRecorder

FILL_CALLS: Final = 40_000
"""Calls that fill the memory: each brings two new blocks, and 65,536 are remembered."""
MAX_GROWTH_MB: Final = 10.0
"""Megabytes that it may grow by after that."""
MODEL_COUNT, MAX_NAMED_MODELS = 300, 100
SDK_MODULE: Final = "openai._base_client"
SENTENCE: Final = "The customer asks whether the parcel may be left with a neighbour, and the carrier confirms it. "
USAGE: Final = {
    "prompt_tokens": 1500,
    "completion_tokens": 9,
    "total_tokens": 1509,
    "prompt_tokens_details": {"cached_tokens": 0},
}


def request_body(number: int) -> dict[str, Any]:
    """A prompt that nobody sent before."""
    system = {"role": "system", "content": f"You are agent {number}. {SENTENCE * 2}"}
    return {
        "model": f"gpt-{number % MODEL_COUNT}",
        "messages": [system, {"role": "user", "content": f"Where is order {number}?"}],
    }


def response_body(number: int) -> dict[str, Any]:
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": "It left today."},
    }
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1,
        "model": f"gpt-{number % MODEL_COUNT}",
        "choices": [choice],
        "usage": USAGE,
    }


# Two ways to call


class SyncAPIClient:
    """The choke point of the SDK and nothing of the SDK: the flows stand where they stand in the real one."""

    base_url: Final = httpx2.URL("https://api.openai.com/v1/")
    sent: Final = SimpleNamespace(
        url=base_url, headers={"authorization": "Bearer none"}, content=b""
    )

    def request(self, cast_to: Any, options: Any, *, stream: bool = False) -> Any:
        """One logical call."""
        response = SimpleNamespace(
            request=self.sent,
            headers={"content-type": "application/json"},
            content=options.content,
            is_closed=True,
            extensions={},
        )
        return self._process_response(
            options=options, response=response, stream=stream, retries_taken=0
        )

    def _process_response(
        self, *, options: Any, response: Any, stream: bool, retries_taken: int
    ) -> Any:
        return json.loads(response.content)


def make_flow_caller(observer: TelemetryHandler) -> Callable[[int], object]:
    """Calls through our flows alone."""
    patches = ModulePatcher()
    patches.module = sys.modules[__name__]
    patches.install(
        tuple(
            it for it in load_hooks(SDK_MODULE) if it.class_name in globals() and not it.is_optional
        ),
        observer,
    )
    client = SyncAPIClient()

    def call(number: int) -> object:
        content = json.dumps(response_body(number)).encode()
        options = SimpleNamespace(
            method="POST",
            url="/chat/completions",
            json_data=request_body(number),
            extra_json=None,
            content=content,
        )
        return client.request(object, options)

    return call


def make_sdk_caller(observer: TelemetryHandler) -> Callable[[int], object]:
    """Calls through the real SDK, answered in this process."""
    patches = ModulePatcher()
    patches.module = sys.modules[SDK_MODULE]
    patches.install(load_hooks(SDK_MODULE), observer)
    count = iter(range(sys.maxsize))
    transport = httpx2.MockTransport(
        lambda request: httpx2.Response(200, json=response_body(next(count)))
    )
    client = openai.OpenAI(api_key="none", http_client=httpx2.Client(transport=transport))
    create: Any = client.chat.completions.create
    return lambda number: create(**request_body(number))


CALLER_FACTORIES: Final[Mapping[str, Callable[[TelemetryHandler], Callable[[int], object]]]] = {
    "flows": make_flow_caller,
    "sdk": make_sdk_caller,
}


# What is left of them


@dataclass(frozen=True)
class LeakReport:
    """Resident memory in MB when filled and its growth after, objects then and after, and what is out of bounds."""

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


def resident_mb() -> float:
    """Resident memory in MB, of what can still be reached."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def find_exceeded_bounds(observer: TelemetryHandler) -> tuple[str, ...]:
    """The bounded mappings that hold more than they may, and calls that never ended."""
    memory = observer.diagnosis.memory
    owners: tuple[object, ...] = (
        memory,
        observer,
        observer.counted_batch_results,
        observer.cache_storage,
    )
    held = [(name, it) for owner in owners for name, it in vars(owner).items()]
    bounded: dict[str, Any] = {name: it for name, it in held if isinstance(it, GenerationalCache)}
    full = [f"{name} holds {len(it)}" for name, it in bounded.items() if len(it) > 2 * it._half]
    return (*full, *([f"{len(memory.running_calls)} pending"] if memory.running_calls else ()))


def count_named_models(reader: InMemoryMetricReader) -> int:
    """How many models the counter of calls names."""
    data: Any = reader.get_metrics_data()
    metrics = [
        it
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for it in scope.metrics
    ]
    points = [
        point
        for metric in metrics
        if metric.name == "promptcache.calls"
        for point in metric.data.data_points
    ]
    return len({point.attributes["gen_ai.request.model"] for point in points})


def measure_leaks(way: str, count: int) -> LeakReport:
    """Fills the memory, then makes `count` calls more."""
    reader = InMemoryMetricReader()
    meters = MetricsRecorder(MeterProvider([reader]).get_meter("promptcache"))
    observer = TelemetryHandler(Settings(), TracerProvider().get_tracer("promptcache"), meters)
    call, empty = CALLER_FACTORIES[way](observer), resident_mb()
    for number in range(FILL_CALLS):
        call(number)
    filled, objects, begun = resident_mb(), len(gc.get_objects()), time.process_time()
    for number in range(FILL_CALLS, FILL_CALLS + count):
        call(number)
    spent, growth, after = (
        time.process_time() - begun,
        resident_mb() - filled,
        len(gc.get_objects()),
    )
    cost = spent / count * 1e6
    return LeakReport(
        way,
        count,
        filled - empty,
        growth,
        (objects, after),
        count_named_models(reader),
        find_exceeded_bounds(observer),
        cost,
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--flows", type=int, default=1_000_000, help="calls through the flows alone"
    )
    parser.add_argument("--sdk", type=int, default=100_000, help="calls through the SDK")
    asked = vars(parser.parse_args())
    fine = True
    for way in CALLER_FACTORIES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            left = process.submit(measure_leaks, way, asked[way]).result()
        print(
            f"{way:6} {left.calls:>9,} calls: {left.filled_mb:.1f} MB when filled, {left.growth_mb:+.1f} MB after;"
            f" objects {left.object_counts[0]:,} -> {left.object_counts[1]:,}; {left.named_models} models;"
            f" {left.microseconds:.0f} us of CPU a call; {'; '.join(left.exceeded_bounds) or 'all within bounds'}",
            flush=True,
        )
        fine = fine and left.is_within_limits
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
