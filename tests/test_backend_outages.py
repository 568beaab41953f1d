"""Backends in trouble for ten minutes: calls go on at their pace, within bounds, and none of them ever exports."""

from __future__ import annotations

import gc
import itertools
import logging
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from promptcache import PromptCacheInstrumentor, Settings
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from tests.support.mock_calls import make_mock_call

# One process computes what calls usually take, and compares.
pytestmark = pytest.mark.xdist_group("backend outages")

QUEUE: Final = 20
CALLS: Final = 200
Exporters = tuple[Any, ...]
"""Of spans, and of metrics where the backend takes them."""


def _otlp(protocol: str, port: int) -> Exporters:
    endpoint, more = (f"127.0.0.1:{port}", {"insecure": True}) if protocol == "grpc" else (None, {})
    package = f"opentelemetry.exporter.otlp.proto.{protocol}"
    return tuple(
        getattr(import_module(f"{package}.{module}"), name)(
            endpoint=endpoint or f"http://127.0.0.1:{port}/v1/{path}", timeout=1, **more
        )
        for module, name, path in (
            ("trace_exporter", "OTLPSpanExporter", "traces"),
            ("metric_exporter", "OTLPMetricExporter", "metrics"),
        )
    )


@contextmanager
def _port(*, listens: bool) -> Generator[int]:
    """One that refuses, or one that takes what is sent and never answers."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        if listens:
            held.listen(1000)
        yield held.getsockname()[1]


@contextmanager
def _slow_port() -> Generator[int]:
    """An HTTP server that answers after a third of a second."""
    over = threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            over.wait(0.3)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's own name
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        over.set()
        server.shutdown()
        thread.join()


@contextmanager
def _refused(protocol: str, folder: Path) -> Generator[Exporters]:
    with _port(listens=False) as port:
        yield _otlp(protocol, port)


@contextmanager
def _hanging(protocol: str, folder: Path) -> Generator[Exporters]:
    with _port(listens=True) as port:
        yield _otlp(protocol, port)


@contextmanager
def _slow(protocol: str, folder: Path) -> Generator[Exporters]:
    with _slow_port() as port:
        yield _otlp(protocol, port)


@contextmanager
def _locked(protocol: str, folder: Path) -> Generator[Exporters]:
    """Our own table, while another process keeps it to itself."""
    path = folder / "calls.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        made = SQLiteSpanExporter(path)
        made._lock_timeout_seconds = 0.5  # pyright: ignore[reportPrivateUsage]  # five seconds, while a test waits
        yield (made,)


@contextmanager
def _unwritable(protocol: str, folder: Path) -> Generator[Exporters]:
    yield (SQLiteSpanExporter(folder),)


TROUBLES: Final[Mapping[str, tuple[Callable[[str, Path], Any], str]]] = {
    "refused-http": (_refused, "http"),
    "refused-grpc": (_refused, "grpc"),
    "hanging-http": (_hanging, "http"),
    "hanging-grpc": (_hanging, "grpc"),
    "slow-http": (_slow, "http"),
    "locked-sqlite": (_locked, ""),
    "unwritable-sqlite": (_unwritable, ""),
}


class Application:
    """One with its telemetry as users set it up; who exports is noted."""

    def __init__(self, exporters: Exporters) -> None:
        self.exported: list[int] = []
        for exporter in exporters:
            exporter.export = self._noted(exporter.export)
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.batches = [
            BatchSpanProcessor(
                exporter,
                max_queue_size=QUEUE,
                schedule_delay_millis=10,
                max_export_batch_size=QUEUE // 2,
            )
            for exporter in exporters[:1]
        ]
        for batch in self.batches:
            self.tracers.add_span_processor(batch)
        readers = [PeriodicExportingMetricReader(exporter, 50, 1000) for exporter in exporters[1:]]
        self.meters = MeterProvider(readers, shutdown_on_exit=False)
        self.now = 1e9

    def _noted(self, export: Callable[..., Any]) -> Callable[..., Any]:
        def exporting(*args: Any, **kwargs: Any) -> Any:
            self.exported.append(threading.get_ident())
            return export(*args, **kwargs)

        return exporting

    @contextmanager
    def instrumented(self) -> Generator[None]:
        PromptCacheInstrumentor().instrument(
            tracer_provider=self.tracers,
            meter_provider=self.meters,
            clock=lambda: self.now,
            settings=Settings(memory_nodes=64, memory_calls=16),
        )
        try:
            yield
        finally:
            PromptCacheInstrumentor().uninstrument()

    def calls(self) -> float:
        """Makes calls for ten minutes; CPU microseconds of this thread for the slowest but one in a hundred."""
        call, spent = make_mock_call(), list[float]()
        for number in range(CALLS):
            self.now += 600 / CALLS
            begun = time.thread_time()
            call(f"order {number}")
            spent.append(time.thread_time() - begun)
        return sorted(spent)[-CALLS // 100 - 1] * 1e6


@pytest.fixture(scope="module")
def usual() -> float:
    """What calls take where nothing is exported."""
    application = Application(())
    with application.instrumented():
        application.calls()
        return application.calls()


def count_objects() -> int:
    gc.collect()
    return len(gc.get_objects())


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_backend_in_trouble_slows_no_call(
    trouble: str, usual: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    begin, protocol = TROUBLES[trouble]
    with begin(protocol, tmp_path) as exporters:
        application = Application(exporters)
        with application.instrumented():
            application.calls()
            application.calls()  # fills what is bounded
            objects, durations = [count_objects()], list[float]()
            for _ in range(2):
                durations.append(application.calls())
                objects.append(count_objects())
            slow = min(durations)
            # The exporter's queue is now full, now empty, which one round shows as growth. A leak grows in each round.
            grown = min(later - earlier for earlier, later in itertools.pairwise(objects))
        processor: Any = application.batches[0]
        waiting = len(processor._batch_processor._queue)  # no other way to see it
        exported = set(application.exported)
        for exporter in exporters:
            exporter.shutdown()
    application.tracers.shutdown()
    application.meters.shutdown(100)
    assert slow < 3 * usual + 2_000
    assert waiting <= QUEUE
    assert grown < CALLS / 2, "less than half an object a call"
    assert exported
    assert threading.get_ident() not in exported
