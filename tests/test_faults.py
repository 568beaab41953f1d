"""A failure anywhere in our code leaves the results of the application unchanged.

The test finds the patch sites itself: each function of ours that a use of an SDK runs, and each
function of OpenTelemetry that our code calls. One after the other is made to raise. By default each
of them raises once for each of our functions that calls it. With `HYPOTHESIS_PROFILE=fuzz` each
raises in every client and on every path through our code that leads to it.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import re
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Final

import openai
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from promptcache import PromptCacheInstrumentor, attributes
from promptcache.common import safely as safety
from promptcache_emulator.engine import Emulator
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from tests.support.call_shapes import CHAT, Notes
from tests.support.faults import (
    AREAS,
    OURS,
    Stack,
    break_functions,
    clear_caches,
    clock,
    find_functions,
    record_called_code,
)
from tests.support.sdks import Kit
from tests.support.telemetry import Telemetry
from tests.support.transparency_cases import KITS, Use, all_uses

TRY_ALL_PATHS: Final = os.environ.get("HYPOTHESIS_PROFILE") == "fuzz"
CASES: Final = [
    pytest.param(kit, kind, id=f"{kit.name}-{kind}") for kit in KITS for kind in kit.clients
]
PRICES: Final = '{"models": []}'
PatchSite = list[FunctionType]
PathsByCode = Mapping[CodeType, Mapping[Stack, str]]
"""The code that runs, the call stacks that lead to it, and the name of a use for each stack."""

pytestmark = [
    # aiohttp 3.14 warns of a subclass that google-genai 3.4 makes.
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    # openai 3.52 opens its connections in a way that websockets 17 deprecates.
    pytest.mark.filterwarnings(
        "ignore:connect\\(\\) must be used as a context manager:DeprecationWarning"
    ),
    # An unread stream leaves its socket to the garbage collector, also without instrumentation.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


class Process:
    """An application that is instrumented anew, without any state, for each of its steps."""

    def __init__(self, folder: Path) -> None:
        self._exporter = SQLiteSpanExporter(folder / "calls.db")
        self.telemetry = Telemetry()
        self.telemetry.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))

    def renew(self) -> None:
        """Drop all state, so that code that runs once in a process runs again."""
        gc.collect(0)
        safety.failure_counts.clear()  # earlier log messages
        self._exporter.shutdown()
        self.telemetry.exporter.clear()
        clear_caches()

    @contextmanager
    def instrumented(self) -> Generator[None]:
        """Instrument with settings from the environment, and collect the metrics at the end."""
        telemetry, instrumentor = self.telemetry, PromptCacheInstrumentor()
        instrumentor.instrument(
            tracer_provider=telemetry.tracers,
            meter_provider=telemetry.meters,
            clock=clock,
            recording_key=b"k" * 32,
        )
        try:
            with attributes(team="tents"):
                yield
            telemetry.reader.collect()
        finally:
            instrumentor.uninstrument()


@pytest.fixture(autouse=True)
def collection_between_steps() -> Generator[None]:
    """Collect garbage in this thread only, between two steps.

    A collection in the emulator's thread would end streams of this thread while they run.
    """
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def process(kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Process:
    """Return a process with every feature switched on, so that all of our code runs."""
    (prices := tmp_path / "prices.json").write_text(PRICES)
    settings = {
        "HASH_KEY": "k",
        "HASHES": "all",
        "CALLSITE": "true",
        "BAGGAGE_KEYS": "tenant",
        "METRIC_KEYS": "team=tents|boats",
        "GENAI_METRICS": "true",
        "TARGET": "0.6",
        "PROVIDERS": "gateway.example=openai,127.0.0.1=gateway",
        "PRICES": str(prices),
        "MEMORY_CALLS": "1000",
        "PROVIDER_DIAGNOSTICS": str(kit.name == "openai"),  # those of Anthropic change the response
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"OTEL_PROMPTCACHE_{name}", value)
    return Process(tmp_path)


async def run_use(use: Use) -> Notes:
    try:
        return list(await use())
    except Exception as error:  # noqa: BLE001  # the test compares the exception
        return [type(error).__name__, str(error)]


def site_name(site: PatchSite) -> str:
    return f"{site[0].__module__}.{site[0].__qualname__}:{site[0].__code__.co_firstlineno}"


PATHS_BY_CLIENT: Final[dict[tuple[str, str], PathsByCode]] = {}


async def find_paths(
    kit: Kit, kind: str, uses_by_name: Mapping[str, Use], process: Process
) -> PathsByCode:
    """Return the code of ours that runs while the application uses this client."""
    if (kit.name, kind) not in PATHS_BY_CLIENT:
        paths: dict[CodeType, dict[Stack, str]] = {}
        for name, use in uses_by_name.items():
            process.renew()
            with (
                record_called_code(None if TRY_ALL_PATHS else 1) as stacks_by_code,
                process.instrumented(),
            ):
                await use()
            for code, stacks in stacks_by_code.items():
                paths.setdefault(code, {}).update(
                    {stack: name for stack in stacks if stack not in paths.get(code, {})}
                )
        PATHS_BY_CLIENT[kit.name, kind] = paths
    return PATHS_BY_CLIENT[kit.name, kind]


def select_sites(
    paths: PathsByCode, tried: set[tuple[CodeType, Stack]]
) -> list[tuple[PatchSite, str]]:
    """Return patch sites, each with the name of a use that reaches it on a path not yet `tried`."""
    known, chosen = find_functions(), list[tuple[PatchSite, str]]()
    for code in paths.keys() & known.keys():
        new = {stack: name for stack, name in paths[code].items() if (code, stack) not in tried}
        chosen += [(known[code], name) for name in dict.fromkeys(new.values())]
        if not TRY_ALL_PATHS:
            tried.update((code, stack) for stack in new)
    names = [site_name(known[code]) for code in paths if code in known]
    assert all(any(name.startswith(area) for name in names) for area in AREAS.values())
    return sorted(chosen, key=lambda it: (site_name(it[0]), it[1]))


TRIED_FAILURES: Final[set[tuple[CodeType, Stack]]] = set()
TRIED_INTERRUPTS: Final[set[tuple[CodeType, Stack]]] = set()


@pytest.mark.parametrize(("kit", "kind"), CASES)
async def test_a_failure_in_our_code_never_reaches_the_application(
    kit: Kit,
    kind: str,
    emulator: Emulator,
    emulator_url: str,
    process: Process,
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures: list[str] = []
    async with kit.clients[kind](emulator_url) as client:
        uses_by_name = all_uses(kit, client, emulator)
        for use in uses_by_name.values():
            await use()
        expected = {name: await use() for name, use in uses_by_name.items()}
        for site, name in select_sites(
            await find_paths(kit, kind, uses_by_name, process), TRIED_FAILURES
        ):
            caplog.clear()
            process.renew()
            with (
                break_functions(site, LookupError("the canary of a fault")),
                process.instrumented(),
            ):
                notes = await run_use(uses_by_name[name])
            messages = {
                re.sub(r"failure \d+ of", "failure of", record.getMessage())
                for record in caplog.records
                if record.name.startswith("promptcache")
            }
            if notes != expected[name] or len(messages) > 1 or "canary" in "".join(messages):
                failures.append(f"{site_name(site)} in {name}: {notes}, {messages}")
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize(("kit", "kind"), CASES)
async def test_interrupts_and_cancellations_reach_the_application(
    kit: Kit,
    kind: str,
    emulator: Emulator,
    emulator_url: str,
    process: Process,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An interrupt, exit or cancellation that is raised in our code reaches the application."""
    failures: list[str] = []
    escaped: list[BaseException | None] = []

    def record_unraisable(unraisable: Any) -> None:
        escaped.append(unraisable.exc_value)

    monkeypatch.setattr(sys, "unraisablehook", record_unraisable)
    kinds = itertools.cycle((KeyboardInterrupt, SystemExit, asyncio.CancelledError))
    async with kit.clients[kind](emulator_url) as client:
        uses_by_name = all_uses(kit, client, emulator)
        selected = select_sites(
            await find_paths(kit, kind, uses_by_name, process), TRIED_INTERRUPTS
        )
        for site, name in selected if TRY_ALL_PATHS else selected[::4]:
            process.renew()
            escaped.clear()
            error = next(kinds)("the canary of an interrupt")
            with break_functions(site, error) as raised:
                try:
                    with process.instrumented():
                        await uses_by_name[name]()
                except BaseException as interrupt:  # noqa: BLE001  # the test compares the exception
                    escaped.append(interrupt)
            if raised and error not in escaped:
                failures.append(
                    f"{site_name(site)} in {name}: {error!r} from {set(raised)} became {escaped}"
                )
    assert not failures, "\n".join(failures)


def test_every_module_is_covered_by_the_uses() -> None:
    """A new module fails this test until one of the uses runs its code."""
    assert PATHS_BY_CLIENT.keys() == {(kit.name, kind) for kit in KITS for kind in kit.clients}
    # Files are compared and not code objects: two equal functions of two modules have equal code.
    own_files = {
        site[0].__code__.co_filename
        for site in find_functions().values()
        if site[0].__module__.startswith(OURS)
    }
    covered_files = {code.co_filename for paths in PATHS_BY_CLIENT.values() for code in paths}
    assert own_files - covered_files == set()


def send_chat(emulator_url: str) -> None:
    with openai.OpenAI(base_url=f"{emulator_url}/v1", api_key="k", max_retries=0) as client:
        create: Any = client.chat.completions.create
        assert create(**CHAT).choices


def promptcache_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "promptcache"]


def test_a_repeated_failure_is_logged_once_and_loses_no_span(
    emulator_url: str,
    telemetry: Telemetry,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise LookupError

    monkeypatch.setattr("promptcache.telemetry.metrics.MetricsRecorder.record_call", fail)
    send_chat(emulator_url)
    send_chat(emulator_url)
    assert len(promptcache_warnings(caplog)) == 1, "the next line is the tenth failure"
    assert len(telemetry.spans) == 2, "a span is exported although its metrics failed"


def test_an_odd_clock_raises_nothing_and_is_logged_at_most_twice(
    emulator_url: str, instrumented: Callable[..., Telemetry], caplog: pytest.LogCaptureFixture
) -> None:
    ticks = itertools.cycle([1_780_000_000.0, float("nan"), float("-inf"), 0.0])
    instrumented(clock=lambda: next(ticks))
    for _ in range(4):
        send_chat(emulator_url)
    assert len(promptcache_warnings(caplog)) <= 2
