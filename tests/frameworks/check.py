"""Make the calls of one framework in its environment, and compare them with the emulator.

    python -m tests.frameworks.check litellm

Prints one line per case, and exits with 1 if any case is wrong.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from opentelemetry import trace

from promptcache_emulator.engine import Emulator
from promptcache_emulator.server import running_server
from tests.frameworks import MakeCall
from tests.support.telemetry import Telemetry

OUR_SCOPE: Final = "promptcache"
COMPARED_METRICS: Final = (
    "promptcache.calls",
    "promptcache.input.tokens",
    "promptcache.read.tokens",
)
TracedContext = Callable[[Any], AbstractContextManager[None]]


class Harness:
    """An instrumented process that calls an emulator, case by case."""

    def __init__(self, emulator: Emulator, url: str) -> None:
        self.telemetry, self._emulator, self._url = Telemetry(), emulator, url
        self._before: Mapping[str, float] = {}
        # Frameworks keep their clients, and a connection belongs to its loop. So all cases share a
        # loop.
        self._loop = asyncio.Runner()
        # The anthropic SDK traces itself with the global provider.
        trace.set_tracer_provider(self.telemetry.tracers)
        self.telemetry.instrument()

    def find_errors(self, *calls: MakeCall, fault: str = "") -> list[str]:
        """Make calls, and return what is wrong. The first request gets the fault."""
        self._emulator.reset()
        self.telemetry.exporter.clear()
        self._before = self._counters()
        if fault:
            self._emulator.faults.add_fault(fault)
        for call in calls:
            result = call(self._url)
            if inspect.isawaitable(result):
                self._loop.run(_await_result(result))
        return list(self._compare(failed=1 if fault else 0))

    def _counters(self) -> Mapping[str, float]:
        return {name: self.telemetry.metric(name) for name in COMPARED_METRICS}

    def _compare(self, failed: int) -> Iterator[str]:
        true_results = [record.result for record in self._emulator.records]
        read = [
            (span.attributes or {}).get("promptcache.read_tokens") for span in self.telemetry.calls
        ]
        if [count for count in read if count is not None] != [
            outcome.cache_read_tokens for outcome in true_results
        ]:
            yield f"read {read}, in truth {[outcome.cache_read_tokens for outcome in true_results]}"
        if read.count(None) != failed or len(read) != len(true_results) + failed:
            spans = f"{len(read)} calls have a span, of which {read.count(None)} failed"
            yield f"{spans}, not {len(true_results)} and {failed}"
        if not failed and not (true_results and true_results[-1].cache_read_tokens):
            yield "the last call read nothing from the cache"
        sums = (
            len(read),
            sum(outcome.input_tokens for outcome in true_results),
            sum(outcome.cache_read_tokens for outcome in true_results),
        )
        counted = {name: count - self._before[name] for name, count in self._counters().items()}
        if tuple(counted.values()) != sums:
            yield f"counted {counted}, in truth {sums}"

    def has_own_spans(self) -> list[bool]:
        """Return for each call whether its span is ours."""
        return [_scope(span) == OUR_SCOPE for span in self.telemetry.calls]

    def own_spans_are_children(self) -> bool:
        """Return whether each of our spans is a child of a span of the framework."""
        theirs = {
            span.context.span_id
            for span in self.telemetry.spans
            if span.context and _scope(span) != OUR_SCOPE
        }
        ours = [span for span in self.telemetry.calls if _scope(span) == OUR_SCOPE]
        return all(span.parent is not None and span.parent.span_id in theirs for span in ours)


async def _await_result(result: Any) -> Any:
    return await result


def _scope(span: Any) -> str:
    return str(span.instrumentation_scope.name)


def check_cases(harness: Harness, framework: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield each case with its errors."""
    for name, call in framework.CASES.items():
        yield name, harness.find_errors(call, call)
    fallbacks: Mapping[str, MakeCall] = getattr(framework, "FALLBACKS", {})
    for name, call in fallbacks.items():
        yield name, harness.find_errors(call, fault="500")
    if hasattr(framework, "traced"):
        yield from _check_traced_cases(harness, framework, fallbacks)


def _check_traced_cases(
    harness: Harness, framework: Any, fallbacks: Mapping[str, MakeCall]
) -> Iterator[tuple[str, list[str]]]:
    """Yield cases inside spans of the framework. A call uses that span, unless it is `LATE`."""
    is_late: bool = getattr(framework, "LATE", False)
    traced: TracedContext = framework.traced
    with traced(harness.telemetry.tracers):
        name, call = next(iter(framework.CASES.items()))
        wrong = harness.find_errors(call, call)
        has_right_spans = harness.own_spans_are_children() and set(harness.has_own_spans()) == {
            is_late
        }
        yield (
            f"{name}, inside their span",
            [*wrong, *([] if has_right_spans else ["the attributes are on the wrong span"])],
        )
        for name, call in fallbacks.items():
            wrong = harness.find_errors(call, fault="500")
            has_right_spans = harness.own_spans_are_children() and not all(harness.has_own_spans())
            yield (
                f"{name}, inside their span",
                [*wrong, *([] if has_right_spans else ["our span is no child of theirs"])],
            )


def main(name: str) -> int:
    """Check one framework. It is imported before the instrumentation, which is the hardest case.

    A framework without a module has no cases.
    """
    if not Path(__file__).with_name(f"{name.replace('-', '_')}.py").exists():
        return 0
    framework = import_module(f".{name.replace('-', '_')}", __package__)
    is_right, emulator = True, Emulator()
    with running_server(emulator) as url:
        for case, wrong in check_cases(Harness(emulator, url), framework):
            is_right = is_right and not wrong
            print(f"  {case:44} {'; '.join(wrong) or 'ok'}", flush=True)
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
