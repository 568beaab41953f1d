"""What instrumentation adds to a call of the OpenAI SDK: none, ours, and two others, side by side.

    make bench

Each variant lives in its own process, and the processes take turns in short blocks, so that whatever else the machine
does falls on all of them alike. Nothing leaves the process: `httpx2.MockTransport` answers, spans go to an exporter
that drops them, metrics to a reader that nobody reads. Times are of one whole call, in microseconds; what a variant
adds is the difference of medians to the process without instrumentation.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import platform
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

import httpx2
import openai
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

Sample = tuple[float, float]
"""CPU and wall time of one call, in microseconds."""


class Dropped(SpanExporter):
    """Takes spans and forgets them."""

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def _ours(**settings: Any) -> Callable[[], None]:
    def instrument() -> None:
        from promptcache import PromptCacheInstrumentor, Settings

        PromptCacheInstrumentor().instrument(settings=Settings(**settings))

    return instrument


def _theirs(module: str) -> Callable[[], None]:
    return lambda: import_module(module).OpenAIInstrumentor().instrument()


PEERS: Final = {
    "genai-openai": ("opentelemetry-instrumentation-genai-openai", "opentelemetry.instrumentation.genai.openai"),
    "openinference": ("openinference-instrumentation-openai", "openinference.instrumentation.openai"),
}
VARIANTS: Final[dict[str, Callable[[], None]]] = {
    "none": lambda: None,
    "promptcache": _ours(),
    "promptcache, all hashed": _ours(hashes="all", hash_key="benchmark"),
    **{name: _theirs(module) for name, (_, module) in PEERS.items()},
}

# What is asked and what is answered


def _usage() -> dict[str, Any]:
    details = {"cached_tokens": 1024, "cache_write_tokens": 0}
    return {"prompt_tokens": 1500, "completion_tokens": 9, "total_tokens": 1509, "prompt_tokens_details": details}


def _reply() -> bytes:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "It left today."}}
    return json.dumps(
        {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-5.4", "choices": [choice]}
        | {"usage": _usage()}
    ).encode()


def _events(count: int) -> bytes:
    def event(**more: Any) -> bytes:
        chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5.4", **more}
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"

    def choice(delta: dict[str, str], finish: str | None = None) -> list[dict[str, Any]]:
        return [{"index": 0, "delta": delta, "finish_reason": finish}]

    words = [event(choices=choice({"content": "word "})) for _ in range(count - 2)]
    ends = [event(choices=choice({}, "stop")), event(choices=[], usage=_usage())]
    return b"".join([*words, *ends, b"data: [DONE]\n\n"])


def _messages(count: int, size: int) -> list[dict[str, str]]:
    text = "Orders leave the house within two working days unless the customer asked for another date. " * 100
    roles = ["system", *(["user", "assistant"] * count)]
    return [{"role": role, "content": f"{number} {text[: size // count]}"} for number, role in enumerate(roles[:count])]


@dataclass(frozen=True)
class Scenario:
    """One kind of call. Every call says something new in its last message, as calls do."""

    name: str
    messages: int
    size: int
    stream: bool
    block: int
    """Calls in one turn."""

    def body(self, number: int) -> dict[str, Any]:
        messages = [*_PROMPTS[self.name], {"role": "user", "content": f"Where is order {number}?"}]
        more = {"stream": True, "stream_options": {"include_usage": True}} if self.stream else {}
        return {"model": "gpt-5.4", "messages": messages, **more}


SCENARIOS: Final = (
    Scenario("1 KB", 2, 1_000, stream=False, block=100),
    Scenario("1 MB", 200, 1_000_000, stream=False, block=10),
    Scenario("500 chunks", 2, 1_000, stream=True, block=10),
)
_PROMPTS: Final = {scenario.name: _messages(scenario.messages, scenario.size) for scenario in SCENARIOS}

# One process


def _client(stream: bool) -> openai.OpenAI:
    kind, content = ("text/event-stream", _events(500)) if stream else ("application/json", _reply())

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": kind}, content=content)

    return openai.OpenAI(api_key="none", http_client=httpx2.Client(transport=httpx2.MockTransport(answer)))


def _timed(call: Callable[[Any], Any], body: Any) -> Sample:
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    call(body)
    return (time.process_time_ns() - cpu) / 1e3, (time.perf_counter_ns() - wall) / 1e3


def work(variant: str, wire: Connection) -> None:
    """A process with one instrumentation: runs a block each time it is told a scenario."""
    logging.disable()  # one of them fills the log, and writing it is not what we measure
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(Dropped()))
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
    VARIANTS[variant]()
    clients = {stream: _client(stream) for stream in (False, True)}
    number = 0

    def call(body: dict[str, Any]) -> None:
        stream = "stream" in body
        made: Any = clients[stream].chat.completions.create(**body)
        if stream:
            deque(made, maxlen=0)

    while (index := wire.recv()) is not None:
        scenario = SCENARIOS[index]
        samples: list[Sample] = []
        for _ in range(scenario.block):
            number += 1
            body = scenario.body(number)
            samples.append(_timed(call, body))
        wire.send((samples, _timed(json.dumps, scenario.body(number))))


# All of them


@dataclass(frozen=True)
class Measured:
    """All samples of one variant in one scenario, and of `json.dumps` beside them."""

    calls: list[Sample]
    dumps: list[Sample]

    def at(self, clock: int) -> tuple[float, float]:
        """Median and 99th percentile."""
        times = [sample[clock] for sample in self.calls]
        return median(times), quantiles(times, n=100)[98]


def measure(rounds: int) -> dict[str, dict[str, Measured]]:
    """Lets the variants take turns; gives scenario -> variant -> samples."""
    context = multiprocessing.get_context("spawn")
    wires: dict[str, Connection] = {}
    for variant in VARIANTS:
        wires[variant], theirs = context.Pipe()
        context.Process(target=work, args=(variant, theirs), daemon=True).start()
    found = {scenario.name: {name: Measured([], []) for name in VARIANTS} for scenario in SCENARIOS}
    for turn in range(rounds + 1):
        for index, scenario in enumerate(SCENARIOS):
            for name, wire in wires.items():
                wire.send(index)
                samples, dumps = wire.recv()
                if turn:  # the first round warms up
                    found[scenario.name][name].calls.extend(samples)
                    found[scenario.name][name].dumps.append(dumps)
    for wire in wires.values():
        wire.send(None)
    return found


def _machine() -> Iterable[str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    cores = multiprocessing.cpu_count()
    yield f"{cores} cores, {model}, {platform.system()}, Python {platform.python_version()}"
    names = ["openai", "opentelemetry-sdk", *(distribution for distribution, _ in PEERS.values())]
    yield ", ".join(f"{name} {version(name)}" for name in names)


def _rows(found: dict[str, Measured]) -> Iterable[str]:
    bare = [found["none"].at(clock) for clock in (0, 1)]
    for name, measured in found.items():
        (cpu, cpu99), (wall, wall99) = measured.at(0), measured.at(1)
        yield (
            f"| {name} | {cpu:,.0f} | {cpu99:,.0f} | {wall:,.0f} | {wall99:,.0f} "
            f"| {cpu - bare[0][0]:,.0f} | {wall - bare[1][0]:,.0f} |"
        )


def _goals(found: dict[str, dict[str, Measured]]) -> Iterable[str]:
    def added(scenario: str, variant: str) -> float:
        return found[scenario][variant].at(0)[0] - found[scenario]["none"].at(0)[0]

    for scenario in ("1 KB", "500 chunks"):
        lightest = min(added(scenario, peer) for peer in PEERS)
        yield f"{scenario}: {added(scenario, 'promptcache') / lightest:.2f} of the lightest other (goal 0.8)"
    dumps = median(cpu for measured in found["1 MB"].values() for cpu, _ in measured.dumps)
    for variant in ("promptcache", "promptcache, all hashed"):
        share = added("1 MB", variant) / dumps
        yield f"1 MB: {variant} adds {share:.2f} of one json.dumps of the body, which takes {dumps:,.0f} us (goal 0.3)"


def main(rounds: int) -> None:
    """Prints one table a scenario, and how far the goals are."""
    found = measure(rounds)
    print(*_machine(), sep="\n")
    for scenario in SCENARIOS:
        print(f"\n**{scenario.name}**, {rounds * scenario.block} calls each, microseconds\n")
        print("| variant | CPU median | CPU p99 | wall median | wall p99 | added CPU | added wall |")
        print("|---|--:|--:|--:|--:|--:|--:|")
        print(*_rows(found[scenario.name]), sep="\n")
    print("", *_goals(found), sep="\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
