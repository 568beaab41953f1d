"""The local table keeps what it was told to, its hourly sums stay, and lost rows are counted."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult
from typer.testing import CliRunner, Result

from promptcache.cli.commands import app
from promptcache.cli.exit_codes import ExitCode
from promptcache.semconv import COST_AMOUNT, OUTCOME
from promptcache_exporters.database import hourly_sums, retention, sqlite_exporter
from promptcache_exporters.database.retention import Retention, parse_retention, read_retention
from promptcache_exporters.database.sqlite_file import open_or_create_for_writing
from promptcache_exporters.doctor.table import check_table
from promptcache_exporters.report.query import collect_report
from tests.support.recorded_program import program_environ
from tests.support.span_builders import START, build_spans, read_rows, record_calls

DAY: Final = 86_400.0
SAME: Final[Mapping[str, Any]] = {}
"""A call without a change to the default of `record_calls`."""
HOURLY_SUMS: Final = "SELECT * FROM llm_hours ORDER BY hour, service, provider, model, outcome"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("OTEL_PROMPTCACHE_KEEP", raising=False)
    return tmp_path / "calls.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    record_calls(path, {})
    with closing(open_or_create_for_writing(path, 5.0)) as opened:
        yield opened


def run_sql(path: Path, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as opened, opened:
        return opened.execute(statement, parameters).fetchall()


def run_prune(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["prune", *map(str, arguments)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30d,2GB", Retention(30 * DAY, 2e9)),
        (" 500 mb , 1.5h ", Retention(5400, 5e8)),
        ("2w", Retention(14 * DAY)),
        ("1TB", Retention(max_bytes=1e12)),
        ("", Retention()),
    ],
)
def test_a_retention_is_an_age_a_size_or_both(text: str, expected: Retention) -> None:
    assert parse_retention(text) == expected


@pytest.mark.parametrize("text", ["30", "30days", "d", "-1d", "0d", "30d,2d", "1GB 30d", "inf"])
def test_what_is_not_understood_deletes_nothing(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match="30d,2GB"):
        parse_retention(text)
    assert read_retention({"OTEL_PROMPTCACHE_KEEP": text}).keeps_everything
    assert "nothing is deleted" in caplog.text


def test_users_of_the_exporter_keep_everything(path: Path) -> None:
    record_calls(path, *[SAME] * 3, at=1000.0)
    record_calls(path, {})
    assert len(read_rows(path)) == 4


def test_old_calls_leave_the_table_and_the_newest_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_calls(path, *[SAME] * 3, at=time.time() - 40 * DAY)
    monkeypatch.setenv("OTEL_PROMPTCACHE_KEEP", "30d")
    record_calls(path, {}, at=time.time() - 35 * DAY)
    assert len(read_rows(path)) == 1, "it is too old too, but its number must not be given again"
    record_calls(path, {}, at=time.time())
    assert [row["time"] > time.time() - DAY for row in read_rows(path)] == [True]


def test_operations_on_a_named_cache_leave_once_all_of_them_are_old_and_it_has_expired(
    path: Path,
) -> None:
    now = 100 * DAY
    record_calls(path, {})
    rows: dict[str, list[tuple[float, str | None]]] = {
        "ended": [(10 * DAY, "1970-01-12T00:00:00Z")],
        "renewed": [(10 * DAY, "1970-01-12T00:00:00Z"), (80 * DAY, "1970-03-24T00:00:00Z")],
        "long": [(10 * DAY, "1970-06-01T00:00:00Z")],
        "unknown": [(10 * DAY, None)],
    }
    with closing(open_or_create_for_writing(path, 5.0)) as connection:
        connection.executemany(
            "INSERT INTO cache_rents (name, time, expires) VALUES (?, ?, ?)",
            [(name, *row) for name, of_name in rows.items() for row in of_name],
        )
        assert sum(retention.prune_steps(connection, Retention(30 * DAY), now)) == 2
        assert not list(retention.prune_steps(connection, Retention(max_bytes=1e9), now))
        left = connection.execute("SELECT name, count(*) FROM cache_rents GROUP BY name").fetchall()
    assert left == [("long", 1), ("renewed", 2)]


def test_a_file_that_is_too_large_loses_its_oldest_calls(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ROWS_PER_TRANSACTION", 50)
    monkeypatch.setattr(sqlite_exporter, "_PRUNE_STEPS", 1000)
    record_calls(path, {})
    columns = "provider, request_model, outcome, service"
    run_sql(
        path,
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT 4000)"
        f" INSERT INTO llm_calls (time, trace_id, span_id, {columns})"
        f" SELECT time + n, hex(randomblob(16)), hex(randomblob(8)), {columns}"
        " FROM llm_calls, numbers",
    )
    size = path.stat().st_size
    monkeypatch.setenv("OTEL_PROMPTCACHE_KEEP", f"{size // 2000}KB")
    record_calls(path, {}, at=START + 5000)
    times = [row["time"] for row in read_rows(path)]
    assert 1000 < len(times) < 2500
    assert min(times) > START
    with closing(open_or_create_for_writing(path, 5.0)) as opened:
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert path.stat().st_size < 0.6 * size, "the file itself got smaller"


def test_a_transaction_deletes_a_thousand_rows_at_most(
    path: Path, connection: sqlite3.Connection
) -> None:
    connection.executemany("INSERT INTO llm_calls (time) VALUES (?)", [(1.0,)] * 2500)
    steps = list(retention.prune_steps(connection, Retention(max_age_seconds=DAY), time.time()))
    assert steps == [1000, 1000, 500]
    assert retention.ROWS_PER_TRANSACTION == 1000


def test_an_exporter_prunes_a_little_with_each_batch(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ROWS_PER_TRANSACTION", 10)
    monkeypatch.setattr(sqlite_exporter, "_PRUNE_STEPS", 2)
    record_calls(path, *[SAME] * 50, at=1000.0)
    monkeypatch.setenv("OTEL_PROMPTCACHE_KEEP", "1d")
    exporter = sqlite_exporter.SQLiteSpanExporter(path)
    counts: list[int] = []
    for _ in range(4):
        exporter.export(build_spans({}))
        counts.append(len(read_rows(path)))
    exporter.shutdown()
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[1] > counts[2]


def test_the_hourly_sums_survive_pruning_and_equal_rebuilt_ones(path: Path) -> None:
    record_calls(path, *[{COST_AMOUNT: 0.1}] * 70)
    record_calls(path, {OUTCOME: "miss", COST_AMOUNT: None}, {OUTCOME: "miss"}, service="desk")
    kept = run_sql(path, HOURLY_SUMS)
    with closing(sqlite3.connect(path)) as opened:
        assert opened.execute(hourly_sums.rebuild_query()).fetchall() == kept
    assert len(kept) >= 3
    assert run_prune("--keep", "1d", path).exit_code == ExitCode.OK
    assert len(read_rows(path)) == 1
    assert run_sql(path, HOURLY_SUMS) == kept
    report = collect_report(path)
    assert (report.totals.calls, report.absent_rows.pruned) == (1, 71)


def test_a_span_that_is_exported_twice_is_summed_once(path: Path) -> None:
    record_calls(path, {})
    rows = run_sql(path, "SELECT * FROM llm_calls")
    marks = ", ".join("?" * len(rows[0]))
    for _ in range(2):
        run_sql(path, f"INSERT OR IGNORE INTO llm_calls VALUES ({marks})", *rows[0])
    assert run_sql(path, "SELECT sum(calls) FROM llm_hours") == [(1,)]


def test_a_file_of_an_older_release_gets_its_sums(path: Path) -> None:
    record_calls(path, *[SAME] * 3)
    for statement in (
        "DROP TRIGGER llm_hours_add",
        "DROP TABLE llm_hours",
        "DROP TABLE lost_rows",
        "PRAGMA user_version = 60",
    ):
        run_sql(path, statement)
    assert collect_report(path).totals.calls == 3
    record_calls(path, {}, at=START + DAY)
    assert run_sql(path, "SELECT sum(calls) FROM llm_hours") == [(4,)]


def test_a_file_that_cannot_shrink_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("CREATE TABLE one (a)")
        opened.execute("DROP TABLE one")
    record_calls(path, {})
    assert "cannot-shrink" not in {finding.name for finding in check_table(path)}
    monkeypatch.setenv("OTEL_PROMPTCACHE_KEEP", "30d")
    assert "cannot-shrink" in {finding.name for finding in check_table(path)}


WRITER: Final = """
import sys, time
from promptcache_exporters.database import retention, sqlite_exporter
from tests.support.span_builders import make_tracer_provider, end_span, HIT
retention.ROWS_PER_TRANSACTION = 50
sqlite_exporter._PRUNE_INTERVAL_SECONDS = 0.0
exporter = sqlite_exporter.SQLiteSpanExporter(sys.argv[1])
provider = make_tracer_provider(exporter)
for number in range(int(sys.argv[2])):
    end_span(provider, HIT, 1000.0 if number % 2 else time.time())
    print(number, flush=True)
"""


def start_writer(path: Path, count: int) -> subprocess.Popen[str]:
    root = str(Path(__file__).parent.parent)
    environ = program_environ("http://127.0.0.1:9", OTEL_PROMPTCACHE_KEEP="1d")
    environ["PYTHONPATH"] += f"{os.pathsep}{root}"
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(count)],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_eight_writers_and_a_kill_leave_a_sound_table(path: Path) -> None:
    """Every acknowledged row is in the sums, and the young rows are all there."""
    victim, writers = start_writer(path, 10_000), [start_writer(path, 40) for _ in range(7)]
    assert victim.stdout is not None
    for line in victim.stdout:
        if line == "20\n":
            break
    victim.send_signal(signal.SIGKILL)
    acknowledged = 21 + len(victim.stdout.readlines())
    victim.communicate(timeout=60)
    for writer in writers:
        output, errors = writer.communicate(timeout=120)
        assert (writer.returncode, errors, len(output.splitlines())) == (0, "", 40)
    assert run_sql(path, "PRAGMA integrity_check") == [("ok",)]
    ((summed,),) = run_sql(path, "SELECT sum(calls) FROM llm_hours")
    assert summed in (7 * 40 + acknowledged, 7 * 40 + acknowledged + 1)
    ((young,),) = run_sql(path, "SELECT count(*) FROM llm_calls WHERE time > 2000")
    ((young_sum,),) = run_sql(path, "SELECT sum(calls) FROM llm_hours WHERE hour > 1")
    assert young == young_sum >= 7 * 20 + 10
    assert not [row for row in run_sql(path, "SELECT rows FROM lost_rows") if row[0]]


def test_rows_that_could_not_be_written_are_counted(path: Path) -> None:
    record_calls(path, {})
    exporter = sqlite_exporter.SQLiteSpanExporter(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        exporter._lock_timeout_seconds = 0.01  # pyright: ignore[reportPrivateUsage]
        results = [exporter.export(build_spans(*[SAME] * count)) for count in (2, 3)]
        other.rollback()
    assert results == [SpanExportResult.FAILURE] * 2
    assert exporter.export(build_spans({})) == SpanExportResult.SUCCESS
    exporter.shutdown()
    assert run_sql(path, "SELECT rows, reason FROM lost_rows") == [(5, "SQLITE_BUSY")]
    assert collect_report(path).absent_rows.lost == 5
    result = CliRunner().invoke(app, ["report", str(path)])
    assert "Lost      5 rows that could not be written" in result.stdout
    assert "lost-rows" in {finding.name for finding in check_table(path)}


BAD_VALUES: Final[Mapping[str, tuple[str, object]]] = {
    "negative amount": ("cost_amount", -0.5),
    "negative saving": ("wasted_usd", -1e9),
    "negative tokens": ("input_tokens", -1),
    "text in an amount": ("cost_amount", "n/a"),
    "text in tokens": ("output_tokens", "0.5 USD"),
    "an amount that is infinite": ("without_cache", math.inf),
    "tokens beyond 64 bits in sum": ("read_tokens", 2**62),
    "a start after the year 9999": ("time", 253_402_300_800.0),
    "a start before 1970": ("time", -5.0),
    "a start that is text": ("time", "yesterday"),
    "bytes in a name": ("service", b"\xff\xfe"),
}


@pytest.mark.parametrize("name", BAD_VALUES)
def test_one_bad_row_is_left_out_and_counted(path: Path, name: str) -> None:
    column, value = BAD_VALUES[name]
    record_calls(path, *[SAME] * 4)
    run_sql(path, f"UPDATE llm_calls SET {column} = ? WHERE rowid IN (2, 3)", value)
    report = collect_report(path)
    assert (report.totals.calls, report.absent_rows.left_out) == (2, 2)
    assert report.totals.cost_usd == 0.02
    result = CliRunner().invoke(app, ["report", str(path)])
    assert (result.exit_code, "Left out  2 rows" in result.stdout) == (ExitCode.OK, True)


def test_bad_rows_alone_are_no_calls(path: Path) -> None:
    record_calls(path, {})
    run_sql(path, "UPDATE llm_calls SET input_tokens = -1")
    result = CliRunner().invoke(app, ["report", str(path)])
    assert result.exit_code == ExitCode.NO_CALLS
    assert "1 rows have values that no call can have" in result.stderr


def test_prune_says_what_it_would_delete_and_deletes_it(path: Path) -> None:
    record_calls(path, *[SAME] * 5)
    record_calls(path, {}, at=time.time())
    dry = run_prune("--keep", "1d", "--dry-run", path)
    assert dry.stdout.startswith("5 calls would be deleted")
    assert len(read_rows(path)) == 6
    assert run_prune("--keep", "1d", path).stdout.startswith("5 calls were deleted")
    assert len(read_rows(path)) == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), ExitCode.USAGE),
        (("--keep", "soon"), ExitCode.USAGE),
        (("--keep", "1d"), ExitCode.NO_FILE),
    ],
)
def test_prune_refuses_what_it_cannot_do(
    arguments: tuple[str, ...], code: ExitCode, path: Path
) -> None:
    assert run_prune(*arguments, path).exit_code == code
    assert not path.exists()
