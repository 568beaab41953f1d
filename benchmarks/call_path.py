"""Count the functions of ours that one call passes.

    python -m benchmarks.call_path [--sdk openai] [--list] [--json]

Each kind of call runs until everything is warm. `sys.setprofile` then records one more call: how
many functions of ours it enters, how often, in how many files, and how often it goes from one of
our files to another. Use Python 3.12 or newer: before, a comprehension counts as a function.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

import promptcache
from benchmarks.overhead.calls import SCENARIOS, SDKS, Conversation
from promptcache.instrumentor import PromptCacheInstrumentor

_ROOT: Final = f"{Path(promptcache.__file__).parent}/"
_WARM_UP_CALLS: Final = 20


class CallPath(NamedTuple):
    """The functions that one call entered, with how often, and the changes of the file."""

    entries: Counter[tuple[str, str]]
    switches: int

    def figures(self) -> dict[str, int]:
        """Return the figures by name."""
        return {
            "functions": len(self.entries),
            "entries": self.entries.total(),
            "files": len({file for file, _ in self.entries}),
            "switches": self.switches,
        }


def record_call_path(call: Callable[[], object]) -> CallPath:
    """Run `call`, and record the functions of ours that it enters in this thread."""
    entries: Counter[tuple[str, str]] = Counter()
    files: list[str] = []

    def on_event(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        # A generator that goes on is entered again: it is counted once more, as one function.
        if event == "call" and code.co_filename.startswith(_ROOT):
            file = code.co_filename.removeprefix(_ROOT)
            entries[file, code.co_qualname] += 1
            if not files or files[-1] != file:
                files.append(file)

    gc.collect()
    gc.disable()
    sys.setprofile(on_event)
    try:
        call()
    finally:
        sys.setprofile(None)
        gc.enable()
    return CallPath(entries, max(0, len(files) - 1))


def measure(sdk_names: set[str]) -> dict[str, CallPath]:
    """Return the path of each kind of call."""
    trace.set_tracer_provider(TracerProvider())
    metrics.set_meter_provider(MeterProvider())
    PromptCacheInstrumentor().instrument()
    paths: dict[str, CallPath] = {}
    for sdk in SDKS:
        if sdk.name not in sdk_names:
            continue
        for scenario in SCENARIOS:
            if scenario.characters > 1_000:
                continue
            call = sdk.make_caller(stream=scenario.stream)
            conversation = Conversation(sdk, scenario)
            for _ in range(_WARM_UP_CALLS):
                call(conversation.next_request())
            body = conversation.next_request()
            kind = "streamed" if scenario.stream else "plain"
            paths[f"{sdk.name} {kind}"] = record_call_path(lambda: call(body))  # noqa: B023
    return paths


def main(arguments: list[str]) -> None:
    """Measure, and print one line a kind of call."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.call_path")
    names = [sdk.name for sdk in SDKS]
    parser.add_argument("--sdk", choices=names, help="record the calls of this SDK only")
    parser.add_argument("--list", action="store_true", help="list the functions")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    paths = measure({options.sdk} if options.sdk else set(names))
    if options.json:
        print(json.dumps({name: path.figures() for name, path in paths.items()}, indent=2))
        return
    for name, path in paths.items():
        print(f"{name:20}", *(f"{value:5} {figure}" for figure, value in path.figures().items()))
        if options.list:
            print(
                *(f"    {n:5} {file}:{function}" for (file, function), n in path.entries.items()),
                sep="\n",
            )


if __name__ == "__main__":
    main(sys.argv[1:])
