"""The calls of one framework, in the environment where it is installed, each held against what the
emulator knows.

    python -m tests.frameworks.check litellm

Prints a line a case; exits with 1 where any is wrong.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, Final

from opentelemetry import trace

from promptcache_emulator.engine import Emulator
from promptcache_emulator.server import running_server
from tests.frameworks import Ask
from tests.support.telemetry import Telemetry

OURS: Final = "promptcache"
COUNTED: Final = ("promptcache.calls", "promptcache.input.tokens", "promptcache.read.tokens")
Traced = Callable[[Any], AbstractContextManager[None]]


class Harness:
    """An instrumented process before an emulator, case by case."""

    def __init__(self, emulator: Emulator, url: str) -> None:
        self.telemetry, self._emulator, self._url = Telemetry(), emulator, url
        self._before: Mapping[str, float] = {}
        # One loop for all: clients are kept by frameworks, and connections belong to their loop.
        self._loop = asyncio.Runner()
        # The anthropic SDK traces itself by the global provider.
        trace.set_tracer_provider(self.telemetry.tracers)
        self.telemetry.instrument()

    def ask(self, *asks: Ask, fault: str = "") -> list[str]:
        """What is wrong after these calls, of which the first request meets `fault`."""
        self._emulator.reset()
        self.telemetry.exporter.clear()
        self._before = self._counters()
        if fault:
            self._emulator.faults.add(fault)
        for ask in asks:
            made = ask(self._url)
            if inspect.isawaitable(made):
                self._loop.run(_awaited(made))
        return list(self._wrong(failed=1 if fault else 0))

    def _counters(self) -> Mapping[str, float]:
        return {name: self.telemetry.metric(name) for name in COUNTED}

    def _wrong(self, failed: int) -> Iterator[str]:
        truth = [record.result for record in self._emulator.records]
        read = [
            (span.attributes or {}).get("promptcache.read_tokens") for span in self.telemetry.calls
        ]
        if [count for count in read if count is not None] != [
            outcome.cache_read_tokens for outcome in truth
        ]:
            yield f"read {read}, in truth {[outcome.cache_read_tokens for outcome in truth]}"
        if read.count(None) != failed or len(read) != len(truth) + failed:
            yield f"{len(read)} calls have a span, of which {read.count(None)} failed, not {len(truth)} and {failed}"
        if not failed and not (truth and truth[-1].cache_read_tokens):
            yield "the last call read nothing from the cache"
        sums = (
            len(read),
            sum(outcome.input_tokens for outcome in truth),
            sum(outcome.cache_read_tokens for outcome in truth),
        )
        counted = {name: count - self._before[name] for name, count in self._counters().items()}
        if tuple(counted.values()) != sums:
            yield f"counted {counted}, in truth {sums}"

    def owned(self) -> list[bool]:
        """Of each call, whether its span is ours."""
        return [_scope(span) == OURS for span in self.telemetry.calls]

    def inside(self) -> bool:
        """Whether each span of ours lies in one of somebody else's."""
        theirs = {
            span.context.span_id
            for span in self.telemetry.spans
            if span.context and _scope(span) != OURS
        }
        ours = [span for span in self.telemetry.calls if _scope(span) == OURS]
        return all(span.parent is not None and span.parent.span_id in theirs for span in ours)


async def _awaited(made: Any) -> Any:
    return await made


def _scope(span: Any) -> str:
    return str(span.instrumentation_scope.name)


def checked(harness: Harness, framework: Any) -> Iterator[tuple[str, list[str]]]:
    """Each case and what is wrong with it."""
    for name, ask in framework.CASES.items():
        yield name, harness.ask(ask, ask)
    fallbacks: Mapping[str, Ask] = getattr(framework, "FALLBACKS", {})
    for name, ask in fallbacks.items():
        yield name, harness.ask(ask, fault="500")
    if hasattr(framework, "traced"):
        yield from _traced(harness, framework, fallbacks)


def _traced(
    harness: Harness, framework: Any, fallbacks: Mapping[str, Ask]
) -> Iterator[tuple[str, list[str]]]:
    """Inside its own spans: a call has one of them, unless they say `LATE` what they are; a second
    call has ours."""
    late: bool = getattr(framework, "LATE", False)
    traced: Traced = framework.traced
    with traced(harness.telemetry.tracers):
        name, ask = next(iter(framework.CASES.items()))
        wrong = harness.ask(ask, ask)
        fits = harness.inside() and set(harness.owned()) == {late}
        yield (
            f"{name}, inside their span",
            [*wrong, *([] if fits else ["not on the span that it should be on"])],
        )
        for name, ask in fallbacks.items():
            wrong = harness.ask(ask, fault="500")
            fits = harness.inside() and not all(harness.owned())
            yield (
                f"{name}, inside their span",
                [*wrong, *([] if fits else ["a span of ours is no child of theirs"])],
            )


def main(name: str) -> int:
    """Checks one framework. Its names are taken before we stand anywhere, as the worst of
    applications does."""
    framework = import_module(f".{name.replace('-', '_')}", __package__)
    fine, emulator = True, Emulator()
    with running_server(emulator) as url:
        for case, wrong in checked(Harness(emulator, url), framework):
            fine = fine and not wrong
            print(f"  {case:44} {'; '.join(wrong) or 'ok'}", flush=True)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
