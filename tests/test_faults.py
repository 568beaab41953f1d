"""Whatever of ours fails, wherever: the application's results are the same and nothing escapes.

Sites are found by the test itself: every function of ours that a call shape runs, and every one of OpenTelemetry's that
ours call, made to raise, one at a time. Here one call shape goes through each; `HYPOTHESIS_PROFILE=fuzz` takes all.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Final

import openai
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from promptcache import PromptCacheInstrumentor, Settings, safety
from promptcache.emulator.engine import Emulator
from promptcache_exporters.sqlite import SQLiteSpanExporter

from .calls import CHAT, Notes, done, each
from .conftest import Telemetry
from .faults import broken, forget, functions, noted
from .kits import KITS, Kit

ALL: Final = os.environ.get("HYPOTHESIS_PROFILE") == "fuzz"
CASES: Final = [pytest.param(kit, kind, id=f"{kit.name}-{kind}") for kit in KITS for kind in kit.clients]
PRICES: Final = '{"models": []}'
Use = Callable[[], Any]

pytestmark = [
    # google-genai 3.4 makes a subclass that aiohttp 3.14 warns of.
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    # A stream that is dropped unread leaves its socket to the garbage collector, with us and without.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def uses(kit: Kit, client: Any, emulator: Emulator) -> Mapping[str, Use]:
    """What an application does with one client: all shapes of the matrix, streams given up, and a refusal of each."""

    async def left(start: Callable[[Any], Any]) -> Notes:
        stream = await done(start(client))
        items = each(stream)
        notes = [type(await anext(items)).__name__]
        await items.aclose()  # type: ignore[attr-defined]  # an async generator, which has it
        await done((getattr(stream, "aclose", None) or stream.close)())
        return notes

    async def refused(use: Callable[[Any], Any]) -> Notes:
        emulator.faults.add("429")
        try:
            return list(await done(use(client)))
        except Exception as error:  # noqa: BLE001  # each SDK has its own
            return [type(error).__name__, str(error)[:40]]  # further on, the number of the request
        finally:
            emulator.faults.clear()

    shapes = {shape.name: shape.use for shape in kit.shapes}
    starts: dict[str, Callable[[Any], Any]] = {**kit.starts, **{start.__name__: start for start in kit.streams}}
    return (
        {name: partial(use, client) for name, use in shapes.items()}
        | {f"left {name}": partial(left, start) for name, start in starts.items()}
        | {f"refused {name}": partial(refused, use) for name, use in list(shapes.items())[:2]}
    )


class Process:
    """An application whose telemetry is switched on anew for each of its steps, with nothing remembered."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._exporter = settings, SQLiteSpanExporter(folder / "calls.db")
        self.telemetry = Telemetry()
        self.telemetry.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))

    def renew(self) -> None:
        """Nothing is remembered: what runs once runs again."""
        safety._said.clear()  # pyright: ignore[reportPrivateUsage]  # what was said in an earlier step
        self._exporter.shutdown()
        self.telemetry.exporter.clear()
        forget()

    @contextmanager
    def instrumented(self) -> Generator[None]:
        self.telemetry.instrument(self._settings)
        try:
            yield
        finally:
            PromptCacheInstrumentor().uninstrument()


@pytest.fixture
def process(kit: Kit, tmp_path: Path) -> Process:
    """As much is switched on as can be, so that as much can fail."""
    (prices := tmp_path / "prices.json").write_text(PRICES)
    diagnostics = kit.name == "openai"  # what Anthropic's adds to a response is no fault
    return Process(
        Settings(
            hash_key="k", hashes="all", baggage_keys=("tenant",), metric_keys=("team",), prices=str(prices),
            provider_diagnostics=diagnostics,
        ),
        tmp_path,
    )  # fmt: skip


async def attempted(use: Use) -> Notes:
    try:
        return list(await use())
    except Exception as error:  # noqa: BLE001  # whatever escapes is what is looked for
        return [type(error).__name__, str(error)]


def named(site: list[FunctionType]) -> str:
    return f"{site[0].__module__}.{site[0].__qualname__}:{site[0].__code__.co_firstlineno}"


def share(kit: Kit, kind: str, every: int = 2) -> slice:
    """Which sites are tried with this client: those of a kit share them, and one kit takes what others leave out."""
    kinds = list(kit.clients)
    first = kinds.index(kind) * every + KITS.index(kit) % every
    return slice(None) if ALL else slice(first, None, len(kinds) * every)


async def sites(told: Mapping[str, Use], process: Process, share: slice) -> list[tuple[list[FunctionType], str]]:
    """Sites, and a use that comes there; all of the uses that do for `ALL`."""
    ways: dict[CodeType, list[str]] = {}
    for name, use in told.items():
        process.renew()
        with noted() as ran, process.instrumented():
            await use()
        for code in ran:
            ways.setdefault(code, []).append(name)
    known = functions()
    found = sorted(((known[code], names) for code, names in ways.items() if code in known), key=lambda it: named(it[0]))
    assert len(found) > 200
    chosen = list(enumerate(found))[share]
    return [(site, name) for at, (site, names) in chosen for name in (names if ALL else [names[at % len(names)]])]


@pytest.mark.parametrize(("kit", "kind"), CASES)
async def test_no_fault_of_ours_reaches_the_application(
    kit: Kit, kind: str, emulator: Emulator, emulator_url: str, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    wrong: list[str] = []
    async with kit.clients[kind](emulator_url) as client:
        told = uses(kit, client, emulator)
        for use in told.values():
            await use()
        expected = {name: await use() for name, use in told.items()}
        for site, name in await sites(told, process, share(kit, kind)):
            caplog.clear()
            process.renew()
            with broken(site, LookupError("the canary of a fault")), process.instrumented():
                seen = await attempted(told[name])
            said = [record.getMessage() for record in caplog.records if record.name.startswith("promptcache")]
            if seen != expected[name] or len(said) > 1 or "canary" in "".join(said):
                wrong.append(f"{named(site)} in {name}: {seen}, {said}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("kit", "kind"), CASES)
async def test_what_must_pass_passes(
    kit: Kit, kind: str, emulator: Emulator, emulator_url: str, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt, an exit or a cancellation that comes while our code runs is the application's."""
    wrong: list[str] = []
    passed: list[BaseException | None] = []

    def finalized(failed: Any) -> None:
        passed.append(failed.exc_value)

    monkeypatch.setattr(sys, "unraisablehook", finalized)
    kinds = itertools.cycle((KeyboardInterrupt, SystemExit, asyncio.CancelledError))
    async with kit.clients[kind](emulator_url) as client:
        told = uses(kit, client, emulator)
        for site, name in await sites(told, process, share(kit, kind, every=8)):
            process.renew()
            passed.clear()
            error = next(kinds)("the canary of an interrupt")
            with broken(site, error) as raised:
                try:
                    with process.instrumented():
                        await told[name]()
                except BaseException as interrupt:  # noqa: BLE001  # that is the question
                    passed.append(interrupt)
            if raised and error not in passed:
                wrong.append(f"{named(site)} in {name}: {error!r} from {set(raised)} became {passed}")
    assert not wrong, "\n".join(wrong)


def chat(emulator_url: str) -> None:
    with openai.OpenAI(base_url=f"{emulator_url}/v1", api_key="k", max_retries=0) as client:
        create: Any = client.chat.completions.create
        assert create(**CHAT).choices


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "promptcache"]


def test_a_kind_of_failure_is_said_once_and_takes_nothing_with_it(
    emulator_url: str, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise LookupError

    monkeypatch.setattr("promptcache.meters.Meters.record", fail)
    chat(emulator_url)
    chat(emulator_url)
    assert len(warnings(caplog)) == 1
    assert len(telemetry.spans) == 2, "a failed meter takes no span with it"


def test_a_clock_that_stands_still_or_breaks(
    emulator_url: str, instrumented: Callable[..., Telemetry], caplog: pytest.LogCaptureFixture
) -> None:
    ticks = iter([1_780_000_000.0, float("nan"), float("-inf"), 0.0])
    instrumented(clock=lambda: next(ticks))
    for _ in range(4):
        chat(emulator_url)
    assert len(warnings(caplog)) <= 2
