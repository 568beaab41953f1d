"""Beside another LLM instrumentation: one LLM span a call, ours where theirs is missing, theirs left untouched.

    python -m tests.coexistence.check [OTHER ...]

Runs in an environment where the others are installed (`make coexistence` makes them). Each case runs with theirs alone
and with both, in either order. Prints a line a case and exits with 1 where any fails.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from typing import Any, Final, NamedTuple

from promptcache.attributes import OUTCOME, READ_TOKENS
from promptcache.emulator.engine import Emulator
from promptcache.emulator.server import running
from tests.conftest import Telemetry
from tests.kits import KITS

from .others import OTHERS

CASES: Final[Mapping[str, tuple[str, ...]]] = {
    "openai": ("chat", "chat_stream", "responses", "responses_stream", "chat_raw"),
    "anthropic": ("create", "stream", "helper_final", "raw"),
    "bedrock": ("converse", "converse_stream", "invoke_claude", "invoke_claude_stream"),
}
CLIENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "openai": ("sync", "async"), "anthropic": ("sync", "async"), "bedrock": ("sync",),
}  # fmt: skip

ORDERS: Final = ("ours theirs", "theirs ours")
LATER: Final = "it opens its span of a response when the response is there, so both have one"
EARLY: Final = "its span ends where the stream begins, and one for the stream comes after it"
ASIDE: Final = "its span is current nowhere, so both have one"
REREAD: Final = "it takes the raw stream out of the body that we watch, and the application reads a body of its own"
TWO: Final = " LLM spans for "
UNREACHABLE: Final[Mapping[str, tuple[tuple[str, str, str], ...]]] = {
    "openllmetry-openai": (("responses", TWO, LATER),),
    "logfire-openai": (("stream", TWO, EARLY),),
    "logfire-anthropic": (("stream|helper", TWO, EARLY),),
    "langfuse-openai": (("", TWO, ASIDE),),
    "openllmetry-anthropic": (("", TWO, ASIDE),),
    "openllmetry-bedrock": (("stream", TWO, ASIDE), ("invoke_claude$", "read tokens", REREAD)),
}
"""What one call cannot be, with theirs not there while it runs: a pattern of its name, what is wrong then, and why."""

Span = Mapping[str, Any]
LLM: Final = (OUTCOME, "gen_ai.request.model", "llm.model_name", "langfuse.observation.model.name")
"""What only the span of an LLM call carries, ours or theirs."""


class Seen(NamedTuple):
    """What one case left: the attributes of the spans of LLM calls, and our count of calls."""

    spans: tuple[Span, ...]
    counted: float
    reads: tuple[int | None, ...]
    """Tokens that the emulator read from its cache, a call each."""


def observe(name: str, order: str) -> Mapping[tuple[str, str], Seen]:
    """Runs all cases. In a process of its own: not every instrumentation can be taken off again."""
    other, emulator, telemetry = OTHERS[name], Emulator(), Telemetry()
    kit = next(kit for kit in KITS if kit.name == other.sdk)
    uses = {shape.name: shape.use for shape in kit.shapes}
    steps: Mapping[str, Callable[[], object]] = {"ours": telemetry.instrument, "theirs": lambda: other.on(telemetry)}

    async def run(case: str, kind: str) -> None:
        untraced = {"sync": "untraced", "async": "async-untraced"}[kind]
        make = kit.clients[kind] if other.native else kit.clients.get(untraced, kit.clients[kind])
        async with make(url) as client:
            await uses[case](client)

    def seen(case: str, kind: str) -> Seen:
        telemetry.exporter.clear()
        emulator.ledger.clear()
        before = telemetry.metric("promptcache.calls")
        asyncio.run(run(case, kind))
        spans = [dict(span.attributes or {}) for span in telemetry.spans]
        return Seen(
            tuple(span for span in spans if any(mark in span for mark in LLM)),
            telemetry.metric("promptcache.calls") - before,
            tuple(record.outcome.read for record in emulator.ledger),
        )

    cases = list(product(CASES[other.sdk], CLIENTS[other.sdk]))
    with running(emulator) as url:
        asyncio.run(run(*cases[0]))
        for step in order.split():
            steps[step]()
        return {case: seen(*case) for case in cases}


PASSING: Final = re.compile(
    r"\bid$|_id$|port|url|address|api_base|logfire\.|completion|output|response_data|completed_at"
)


def lasting(span: Span) -> Span:
    """What is the same in every run: no time, no random name, no address."""
    return {name: value for name, value in span.items() if not isinstance(value, float) and not PASSING.search(name)}


def wrong(alone: Seen, both: Seen) -> list[str]:
    """What is not as it should be."""
    found: list[str] = []
    marked = [span for span in both.spans if OUTCOME in span]
    wanted = max(len(both.reads), len(alone.spans))
    if len(both.spans) != wanted:
        found.append(f"{len(both.spans)}{TWO}{len(both.reads)} calls; theirs alone {len(alone.spans)}")
    reads = tuple(span.get(READ_TOKENS) for span in marked)
    if reads != both.reads:
        found.append(f"read tokens {reads}, not {both.reads}")
    if both.counted != len(both.reads):
        found.append(f"{both.counted:g} calls counted, not {len(both.reads)}")
    moved = [span for span in map(lasting, alone.spans) if not any(span.items() <= it.items() for it in both.spans)]
    return found + [f"theirs is not as it was: {changed(span, both.spans)}" for span in moved]


def changed(span: Span, others: Sequence[Span]) -> str:
    """The names under which the most similar of the others holds something else."""
    return min(
        (sorted(name for name, value in span.items() if other.get(name) != value) for other in others),
        key=len,
        default=["missing"],
    ).__repr__()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("others", choices=OTHERS, nargs="+")
    others: list[str] = parser.parse_args().others
    fine = True
    for name in others:
        alone, *both = (apart(name, order) for order in ("theirs", *ORDERS))
        for (order, found), case in product(zip(ORDERS, both, strict=True), alone):
            problems = wrong(alone[case], found[case])
            rows = UNREACHABLE.get(name, ())
            known = [
                why
                for calls, what, why in rows
                if re.search(calls, case[0]) and [what in it for it in problems] == [True]
            ]
            fine = fine and bool(known or not problems)
            said = f"known: {known[0]}" if known else "; ".join(problems) or "ok"
            print(f"{name:24} {order:12} {' '.join(case):26} {said}", flush=True)
    return 0 if fine else 1


def apart(name: str, order: str) -> Mapping[tuple[str, str], Seen]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(observe, name, order).result()


if __name__ == "__main__":
    sys.exit(main())
