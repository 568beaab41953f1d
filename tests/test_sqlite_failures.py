"""File errors, threads, other processes, forks and kills never disturb the application."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from promptcache_exporters.database import columns as table
from promptcache_exporters.database import sqlite_exporter as exporting
from promptcache_exporters.database import sqlite_file as store
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from tests.support.span_builders import (
    HIT,
    build_spans,
    end_span,
    make_tracer_provider,
    read_rows,
    record_calls,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.db"


@pytest.fixture
def short_lock_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "LOCK_TIMEOUT_SECONDS", 0.1)


def test_a_corrupt_file_is_logged_once_and_not_changed(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(b"this is no database" * 1000)
    provider = make_tracer_provider(SQLiteSpanExporter(path))
    for _ in range(3):
        end_span(provider, HIT)
    provider.shutdown()
    assert path.read_bytes() == b"this is no database" * 1000
    (record,) = caplog.records
    assert (record.levelno, str(path) in record.message) == (logging.WARNING, True)


@pytest.mark.parametrize("file_name", ["missing/calls.db", ".", "pipe"])
def test_an_unwritable_path_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file_name: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    exporter = SQLiteSpanExporter(tmp_path / file_name)
    assert [exporter.export(build_spans({})) for _ in range(2)] == [SpanExportResult.FAILURE] * 2
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("short_lock_timeout")
def test_a_locked_file_fails_after_the_timeout_and_recovers(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record_calls(path, {})
    other = sqlite3.connect(path, isolation_level=None)
    exporter = SQLiteSpanExporter(path)
    other.execute("BEGIN IMMEDIATE")
    assert [exporter.export(build_spans({})) for _ in range(2)] == [SpanExportResult.FAILURE] * 2
    assert ["locked" in record.message for record in caplog.records] == [True]
    other.execute("ROLLBACK")
    other.close()
    assert exporter.export(build_spans({}, {})) is SpanExportResult.SUCCESS
    exporter.shutdown()
    assert len(read_rows(path)) == 3


def test_the_first_opening_waits_for_a_reader(path: Path) -> None:
    record_calls(path, {})
    reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    reader.execute("PRAGMA journal_mode = DELETE")
    reader.execute("BEGIN")
    reader.execute(f"SELECT * FROM {table.CALLS_TABLE_NAME}").fetchall()
    timer = threading.Timer(0.1, reader.execute, ["COMMIT"])
    timer.start()
    record_calls(path, {})
    timer.join()
    reader.close()
    assert len(read_rows(path)) == 2


def test_a_full_disk_loses_only_the_current_batch(path: Path) -> None:
    record_calls(path, {})
    code = """
import resource, sys, logging
logging.basicConfig(stream=sys.stdout, format="%(message)s")
from opentelemetry.sdk.trace import ReadableSpan
from promptcache_exporters.sqlite import SQLiteSpanExporter
from tests.support.span_builders import HIT
exporter = SQLiteSpanExporter(sys.argv[1])
span = lambda n: ReadableSpan("x", attributes=HIT, start_time=n, end_time=n)
batch = lambda first: [span(n) for n in range(first, first + 500)]
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
print(exporter.export(batch(0)).name, exporter.export(batch(0)).name)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(exporter.export(batch(0)[:2]).name)
"""
    output = run_python(code, path).splitlines()
    assert output[1:] == ["FAILURE FAILURE", "SUCCESS"]
    assert "Cannot write" in output[0]
    assert len(read_rows(path)) == 3


def rotate(path: Path) -> None:
    path.rename(f"{path}.1")


@pytest.mark.parametrize("remove", [Path.unlink, rotate])
def test_a_deleted_or_rotated_file_is_created_again(
    path: Path, remove: Callable[[Path], None]
) -> None:
    exporter = SQLiteSpanExporter(path)
    exporter.export(build_spans({}, {}))
    remove(path)
    assert exporter.export(build_spans({})) is SpanExportResult.SUCCESS
    exporter.shutdown()
    assert len(read_rows(path)) == 1


def test_exporting_again_after_shutdown_works(path: Path) -> None:
    exporter = SQLiteSpanExporter(path)
    for _ in range(2):
        exporter.export(build_spans({}))
        exporter.shutdown()
    assert len(read_rows(path)) == 2


# Threads and processes

ROOT = Path(__file__).parent.parent
WRITE_PROGRAM = """
import sys
from tests.support.span_builders import HIT, end_span, make_tracer_provider
from promptcache_exporters.sqlite import SQLiteSpanExporter
provider = make_tracer_provider(SQLiteSpanExporter(sys.argv[1]), service=sys.argv[2])
for number in range(int(sys.argv[3])):
    end_span(provider, HIT, at=number)
    print(number, flush=True)
provider.shutdown()
"""


def start_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def run_python(code: str, *arguments: object) -> str:
    with start_python(code, *arguments) as process:
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return output


def test_many_exporters_create_the_same_file_at_once(tmp_path: Path) -> None:
    for attempt in range(20):
        path = tmp_path / f"{attempt}.db"
        exporters = [SQLiteSpanExporter(path) for _ in range(6)]
        threads = [
            threading.Thread(target=exporter.export, args=[build_spans({})])
            for exporter in exporters
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for exporter in exporters:
            exporter.shutdown()
        assert len(read_rows(path)) == 6


def test_several_processes_write_while_one_reads(path: Path) -> None:
    writers = [start_python(WRITE_PROGRAM, path, f"service-{number}", 150) for number in range(3)]
    counts = [0]
    while any(writer.poll() is None for writer in writers):
        if path.exists() and path.stat().st_size:
            with store.open_sqlite_read_only(path) as connection:
                counts.append(connection.execute("SELECT count(*) FROM calls").fetchone()[0])
    for writer in writers:
        output, _ = writer.communicate()
        assert (writer.returncode, output.count("\n")) == (0, 150)
    assert counts == sorted(counts)
    assert len(read_rows(path)) == 450


def test_a_killed_process_keeps_its_exported_calls(path: Path) -> None:
    with start_python(WRITE_PROGRAM, path, "doomed", 100_000) as writer:
        assert writer.stdout
        written = [int(writer.stdout.readline()) for _ in range(40)]
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    assert len(read_rows(path)) > written[-1]
    record_calls(path, {})
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_the_batch_processor_flushes_on_shutdown_from_many_threads(path: Path) -> None:
    provider = make_tracer_provider(SQLiteSpanExporter(path))
    provider.add_span_processor(
        BatchSpanProcessor(SQLiteSpanExporter(path.with_name("batched.db")))
    )

    def write() -> None:
        for _ in range(25):
            end_span(provider, HIT)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    provider.shutdown()
    assert len(read_rows(path)) == len(read_rows(path.with_name("batched.db"))) == 100


FORK_PROGRAM = """
import os, sys, threading
from promptcache.semconv import GEN_AI_REQUEST_MODEL
from tests.support.span_builders import HIT, end_span, make_tracer_provider
from promptcache_exporters.sqlite import SQLiteSpanExporter
exporter = SQLiteSpanExporter(sys.argv[1])
provider = make_tracer_provider(exporter)
stop = threading.Event()
def write():
    while not stop.is_set():
        end_span(provider, HIT)
thread = threading.Thread(target=write)
thread.start()
children = []
for number in range(20):
    child = os.fork()
    if not child:
        assert exporter._connection is None
        end_span(provider, {**HIT, GEN_AI_REQUEST_MODEL: "child"})
        provider.shutdown()
        os._exit(0)
    children.append(child)
codes = [os.waitpid(child, 0)[1] for child in children]
stop.set()
thread.join()
provider.shutdown()
print(codes)
"""


def test_forks_under_load_share_no_connection(path: Path) -> None:
    assert run_python(FORK_PROGRAM, path) == f"{[0] * 20}\n"
    assert [row["request_model"] for row in read_rows(path)].count("child") == 20


def test_a_child_forked_during_a_batch_does_not_write(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = SQLiteSpanExporter(path)
    exporter.export(build_spans({}))
    # A thread that is writing holds this lock.
    with exporter._lock:  # pyright: ignore[reportPrivateUsage]
        exporter.before_fork()
        exporter.after_fork_in_child()
        assert exporter.export(build_spans({})) is SpanExportResult.FAILURE
    assert "forked" in caplog.text
    # This process closes the file.
    exporter._is_orphaned = False  # pyright: ignore[reportPrivateUsage]
    exporter.shutdown()
    assert len(read_rows(path)) == 1
