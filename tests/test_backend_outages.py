"""A backend outage of ten minutes slows no call, grows no memory, and no call exports itself."""

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
from promptcache.telemetry import pending_measurements
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from tests.support.mock_calls import make_mock_call

# All cases run in one process, which measures the usual duration once.
QUEUE: Final = 20
CALLS: Final = 200
Exporters = tuple[Any, ...]
"""A span exporter, and a metric exporter if the backend takes metrics."""


def otlp_exporters(protocol: str, port: int) -> Exporters:
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
def reserve_port(*, listens: bool) -> Generator[int]:
    """Yield a port that refuses connections, or one that accepts them and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if listens:
            listener.listen(1000)
        yield listener.getsockname()[1]


@contextmanager
def run_slow_server() -> Generator[int]:
    """Yield the port of an HTTP server that answers after 0.3 seconds."""
    stopped = threading.Event()

    class SlowHandler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            stopped.wait(0.3)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's own name
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), SlowHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        stopped.set()
        server.shutdown()
        thread.join()


@contextmanager
def refuse_connections(protocol: str, folder: Path) -> Generator[Exporters]:
    with reserve_port(listens=False) as port:
        yield otlp_exporters(protocol, port)


@contextmanager
def accept_without_answer(protocol: str, folder: Path) -> Generator[Exporters]:
    with reserve_port(listens=True) as port:
        yield otlp_exporters(protocol, port)


@contextmanager
def answer_slowly(protocol: str, folder: Path) -> Generator[Exporters]:
    with run_slow_server() as port:
        yield otlp_exporters(protocol, port)


@contextmanager
def lock_table(protocol: str, folder: Path) -> Generator[Exporters]:
    """Yield an exporter to a local table that another connection has locked."""
    path = folder / "calls.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        exporter = SQLiteSpanExporter(path)
        exporter._lock_timeout_seconds = 0.5  # pyright: ignore[reportPrivateUsage]  # not five seconds
        yield (exporter,)


@contextmanager
def use_unwritable_table(protocol: str, folder: Path) -> Generator[Exporters]:
    yield (SQLiteSpanExporter(folder),)


OUTAGES: Final[Mapping[str, tuple[Callable[[str, Path], Any], str]]] = {
    "refused-http": (refuse_connections, "http"),
    "refused-grpc": (refuse_connections, "grpc"),
    "hanging-http": (accept_without_answer, "http"),
    "hanging-grpc": (accept_without_answer, "grpc"),
    "slow-http": (answer_slowly, "http"),
    "locked-sqlite": (lock_table, ""),
    "unwritable-sqlite": (use_unwritable_table, ""),
}


class Application:
    """An application with the usual telemetry, which records the threads that export."""

    def __init__(self, exporters: Exporters) -> None:
        self.exporting_threads: list[int] = []
        for exporter in exporters:
            exporter.export = self._record_thread(exporter.export)
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

    def _record_thread(self, export: Callable[..., Any]) -> Callable[..., Any]:
        def exporting(*args: Any, **kwargs: Any) -> Any:
            self.exporting_threads.append(threading.get_ident())
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

    def make_calls(self) -> float:
        """Make calls for ten minutes of clock time. Return the 99th percentile in CPU µs."""
        call, durations = make_mock_call(), list[float]()
        for number in range(CALLS):
            self.now += 600 / CALLS
            start = time.thread_time()
            call(f"order {number}")
            durations.append(time.thread_time() - start)
        return sorted(durations)[-CALLS // 100 - 1] * 1e6


@pytest.fixture(scope="module")
def usual_microseconds() -> float:
    """CPU microseconds of a call when nothing is exported."""
    application = Application(())
    with application.instrumented():
        application.make_calls()
        return application.make_calls()


def count_objects() -> int:
    gc.collect()
    return len(gc.get_objects())


@pytest.mark.parametrize("outage", OUTAGES)
def test_an_outage_of_a_backend_slows_no_call(
    outage: str,
    usual_microseconds: float,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.CRITICAL)
    # The values that wait for a collection are bounded, but would look like a leak before.
    monkeypatch.setattr(pending_measurements, "_MAX_RECORDINGS", 10)
    start_outage, protocol = OUTAGES[outage]
    with start_outage(protocol, tmp_path) as exporters:
        application = Application(exporters)
        with application.instrumented():
            application.make_calls()
            application.make_calls()  # fills the bounded stores
            objects, durations = [count_objects()], list[float]()
            for _ in range(2):
                durations.append(application.make_calls())
                objects.append(count_objects())
            microseconds = min(durations)
            # A queue that fills looks like growth in one round. A leak grows in each round.
            object_growth = min(later - earlier for earlier, later in itertools.pairwise(objects))
        processor: Any = application.batches[0]
        queue_length = len(
            processor._batch_processor._queue
        )  # there is no public way to its length
        exported = set(application.exporting_threads)
        for exporter in exporters:
            exporter.shutdown()
    application.tracers.shutdown()
    application.meters.shutdown(100)
    assert microseconds < 3 * usual_microseconds + 2_000
    assert queue_length <= QUEUE
    assert object_growth < CALLS / 2, "half an object or more per call"
    assert exported
    assert threading.get_ident() not in exported
