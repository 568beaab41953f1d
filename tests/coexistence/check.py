"""Beside another LLM instrumentation: one LLM span a call, ours where theirs is missing, theirs left untouched.

    python -m tests.coexistence.check [official] [openinference] [openllmetry]

Runs in an environment where the others are installed (`make coexistence` makes it). Prints a line a case and exits
with 1 where any fails.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from itertools import product
from multiprocessing import get_context
from typing import Any, Final

import openai

from promptcache import PromptCacheInstrumentor
from promptcache.emulator.engine import Emulator
from promptcache.emulator.server import running
from tests.calls import CHAT, RESPONSES, USAGE
from tests.conftest import Telemetry

OTHERS: Final[Mapping[str, tuple[str, str]]] = {
    "official": ("opentelemetry.instrumentation.genai.openai", "OpenAIInstrumentor"),
    "openllmetry": ("opentelemetry.instrumentation.openai", "OpenAIInstrumentor"),
    "openinference": ("openinference.instrumentation.openai", "OpenAIInstrumentor"),
}


def plain(client: openai.OpenAI) -> None:
    create: Any = client.chat.completions.create
    create(**CHAT)


def streamed(client: openai.OpenAI) -> None:
    create: Any = client.chat.completions.create
    for _ in create(**CHAT, stream=True, stream_options=USAGE):
        pass


def responses(client: openai.OpenAI) -> None:
    create: Any = client.responses.create
    create(**RESPONSES)


def responses_streamed(client: openai.OpenAI) -> None:
    create: Any = client.responses.create
    for _ in create(**RESPONSES, stream=True):
        pass


def parsed(client: openai.OpenAI) -> None:
    create: Any = client.chat.completions.with_raw_response.create
    create(**CHAT).parse()


def awaited(client: openai.OpenAI) -> None:
    async def ask() -> None:
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key="k") as other:
            create: Any = other.chat.completions.create
            await create(**CHAT)
            async for _ in await create(**CHAT, stream=True, stream_options=USAGE):
                pass

    asyncio.run(ask())


CASES: Final[Mapping[Callable[[openai.OpenAI], None], int]] = {
    plain: 1, streamed: 1, responses: 1, responses_streamed: 1, parsed: 1, awaited: 2,
}  # fmt: skip


LATER: Final = "it opens its span of a response when the response is there, so both have one"
UNREACHABLE: Final[Mapping[tuple[str, Callable[[openai.OpenAI], None]], str]] = {
    ("openllmetry", responses): LATER,
    ("openllmetry", responses_streamed): LATER,
}
"""What cannot be one span: theirs does not exist yet while the call runs."""


def wrong(telemetry: Telemetry, emulator: Emulator, calls: int) -> list[str]:
    """What is not as it should be after `calls` calls."""
    spans = [dict(span.attributes or {}) for span in telemetry.spans]
    marked = [span for span in spans if "promptcache.outcome" in span]
    truth = [record.outcome for record in emulator.ledger][-calls:]
    found: list[str] = []
    if len(spans) != calls:
        found.append(f"{len(spans)} spans for {calls} calls: {[span.name for span in telemetry.spans]}")
    if [span.get("promptcache.read_tokens") for span in marked] != [outcome.read for outcome in truth]:
        found.append(f"read tokens {[span.get('promptcache.read_tokens') for span in marked]}")
    if telemetry.metric("promptcache.calls") != calls:
        found.append(f"{telemetry.metric('promptcache.calls')} calls counted")
    return found


def check(other: str, first: str, case: Callable[[openai.OpenAI], None]) -> list[str]:
    """Runs one case, which wants a process of its own: not every instrumentation can be taken off again."""
    module, name = OTHERS[other]
    theirs: Any = getattr(import_module(module), name)()
    emulator, telemetry = Emulator(), Telemetry()
    providers = {"tracer_provider": telemetry.tracers, "meter_provider": telemetry.meters}
    with running(emulator) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="k") as client:
        plain(client)
        steps: list[Callable[[], Any]] = [telemetry.instrument, lambda: theirs.instrument(**providers)]
        for step in steps if first == "ours" else reversed(steps):
            step()
        case(client)
    PromptCacheInstrumentor().uninstrument()
    return wrong(telemetry, emulator, CASES[case])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("others", choices=OTHERS, nargs="+")
    asked = parser.parse_args()
    fine = True
    others: list[str] = asked.others
    for other, first, case in product(others, ("ours", "theirs"), CASES):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            problems = process.submit(check, other, first, case).result()
        known = bool(problems) and (other, case) in UNREACHABLE
        fine = fine and (known or not problems)
        said = f"known: {UNREACHABLE[other, case]}" if known else "; ".join(problems) or "ok"
        print(f"{other:14} {first:6} first  {case.__name__:20} {said}", flush=True)
    sys.exit(not fine)


if __name__ == "__main__":
    main()
