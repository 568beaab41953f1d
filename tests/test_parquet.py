"""The Parquet export has the rows and the report of the table, and errors are explained."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest
from typer.testing import CliRunner, Result

from promptcache.cli.commands import app
from promptcache.cli.exit_codes import ExitCode
from promptcache.semconv import (
    COST_AMOUNT,
    GEN_AI_REQUEST_MODEL,
    GEN_AI_REQUEST_STREAM,
    GEN_AI_RESPONSE_FINISH_REASONS,
    OUTCOME,
    READ_TOKENS,
)
from promptcache_exporters.database import columns as table
from promptcache_exporters.database import parquet
from promptcache_exporters.database import sqlite_file as store
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.query import collect_report
from tests.support.span_builders import read_rows, record_calls


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OTEL_PROMPTCACHE_DB", raising=False)
    return tmp_path / "promptcache.db"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def record_example_calls(path: Path) -> None:
    record_calls(
        path,
        {},
        {READ_TOKENS: None, OUTCOME: "unreported"},
        {GEN_AI_REQUEST_MODEL: "", GEN_AI_RESPONSE_FINISH_REASONS: ("a", "b")},
    )
    record_calls(
        path,
        {GEN_AI_REQUEST_MODEL: 'null "\\N\u2028', GEN_AI_REQUEST_STREAM: False, COST_AMOUNT: None},
        service="it's",
    )


AMOUNTS: Final = (0.1 + 0.2, 2 / 3, 5e-324, 123456.123456789123, 1e-7, 1.0, 0.0)
"""Some of these amounts need more than fifteen digits."""


def read_parquet_rows(out: Path) -> list[dict[str, Any]]:
    """Return the rows of the file as DuckDB reads them, without the row ids."""
    result = duckdb.execute("SELECT * EXCLUDE id FROM read_parquet(?)", [str(out)])
    names = [name for name, *_ in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def delete_rows(path: Path, *ids: int) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            f"DELETE FROM {table.CALLS_TABLE_NAME} WHERE rowid = ?", [(row_id,) for row_id in ids]
        )


def test_an_export_contains_the_rows_of_the_table(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROWS_PER_PART", 3)
    monkeypatch.setattr(parquet, "ROWS_PER_JSON_OBJECT", 2)
    record_example_calls(path)
    record_calls(
        path,
        *(
            {COST_AMOUNT: amount, GEN_AI_RESPONSE_FINISH_REASONS: ("]", '"},{')}
            for amount in AMOUNTS
        ),
    )
    delete_rows(path, 6)
    out = path.with_name("it's.parquet")
    assert run("export", "--out", out).exit_code == ExitCode.OK
    rows = read_rows(path)
    assert read_parquet_rows(out) == [
        {name: value for name, value in row.items() if name != "prefix_links"} for row in rows
    ], "the links of a recording stay in the file"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert {file.name for file in path.parent.iterdir()} == {path.name, out.name}


@pytest.mark.parametrize("by", GroupBy)
def test_table_and_export_give_the_same_report(path: Path, by: GroupBy) -> None:
    record_example_calls(path)
    out = path.with_suffix(".parquet")
    assert parquet.export_calls_to_parquet(path, out) == 4
    assert collect_report(out, by) == collect_report(path, by)
    assert json.loads(run("report", out, "--json", "--by", by).stdout)["totals"]["calls"] == 4


def test_an_export_replaces_an_older_export(path: Path) -> None:
    record_example_calls(path)
    out = path.with_suffix(".parquet")
    for expected in (4, 8):
        parquet.export_calls_to_parquet(path, out)
        assert collect_report(out).totals.calls == expected
        record_example_calls(path)


def test_an_impossible_export_or_report_gives_an_exit_code(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = path.with_suffix(".parquet")
    assert run("export", "--out", out).exit_code == ExitCode.NO_FILE
    assert run("report", out).exit_code == ExitCode.NO_FILE
    record_example_calls(path)
    assert run("export", "--out", "calls.csv").exit_code == ExitCode.USAGE
    assert run("export", "--out", "no/such/folder.parquet").exit_code == ExitCode.USAGE
    out.write_bytes(b"no parquet")
    assert run("report", out).exit_code == ExitCode.NOT_A_TABLE
    monkeypatch.setattr(parquet, "find_spec", {"duckdb": None}.get)
    result = run("export", "--out", out)
    assert (result.exit_code, 'pip install "promptcache[duckdb]"' in result.stderr) == (
        ExitCode.USAGE,
        True,
    )
    assert out.read_bytes() == b"no parquet"


@pytest.mark.parametrize(
    "max_bytes", [3000, 4000, 10_000_000], ids=["limit of SQLite", "sum of lengths", "no limit"]
)
def test_an_export_holds_a_bounded_number_of_rows_in_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch, max_bytes: int
) -> None:
    record_calls(path, *({GEN_AI_REQUEST_MODEL: f"{number:0400}"} for number in range(40)))
    monkeypatch.setattr(parquet, "MAX_JSON_OBJECT_BYTES", max_bytes)
    monkeypatch.setattr(parquet, "ROWS_PER_JSON_OBJECT", 10)
    objects = list(parquet.columnar_json_lines(path, 1, 40))
    assert (len(objects) > 4) is (max_bytes < 10_000_000)
    assert max(map(len, objects)) <= max_bytes
    assert [row for line in objects for row in json.loads(line)["id"]] == list(range(1, 41))
    assert all(len(values) <= 10 for line in objects for values in json.loads(line).values())


def test_a_row_that_is_too_long_gives_an_error_and_no_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_calls(path, {}, {GEN_AI_REQUEST_MODEL: "m" * 1000})
    monkeypatch.setattr(parquet, "MAX_JSON_OBJECT_BYTES", 2500)
    result = run("export", "--out", "calls.parquet")
    assert (result.exit_code, "row 2 is too long" in result.stderr) == (ExitCode.NOT_A_TABLE, True)
    assert os.listdir() == [path.name]


@pytest.mark.parametrize("value", ["text", b"bytes"])
def test_a_value_of_a_wrong_type_gives_an_error_and_no_file(path: Path, value: object) -> None:
    record_example_calls(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            f"UPDATE {table.CALLS_TABLE_NAME} SET cost_amount = ? WHERE rowid = 2", (value,)
        )
    assert run("export", "--out", "calls.parquet").exit_code == ExitCode.NOT_A_TABLE
    assert os.listdir() == [path.name]


def test_an_empty_table_is_exported_as_an_empty_file(path: Path) -> None:
    store.open_or_create_for_writing(path, 1).close()
    out = path.with_suffix(".parquet")
    assert parquet.export_calls_to_parquet(path, out) == 0
    assert read_parquet_rows(out) == []


def test_an_interrupted_export_keeps_the_older_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_rows, progress = list[int](), list[tuple[int, int]]()
    original = parquet.columnar_json_lines
    monkeypatch.setattr(parquet, "ROWS_PER_PART", 1)

    def record_first_row(path: Path, first: int, last: int) -> Iterator[bytes]:
        first_rows.append(first)
        return original(path, first, last)

    monkeypatch.setattr(parquet, "columnar_json_lines", record_first_row)
    record_calls(path, *({GEN_AI_REQUEST_MODEL: str(number)} for number in range(30)))
    out = path.with_suffix(".parquet")
    out.write_bytes(b"an older export")

    def interrupt(*counts: int) -> None:
        progress.append((counts[0], counts[1]))
        if len(progress) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parquet.export_calls_to_parquet(path, out, interrupt)
    assert progress == [(1, 30), (2, 30)]
    assert len(first_rows) < 30
    assert out.read_bytes() == b"an older export"
    assert {file.name for file in path.parent.iterdir()} == {path.name, out.name}


def test_progress_is_shown_only_on_a_terminal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record_example_calls(path)
    without_terminal = run("export", "--out", "calls.parquet")
    monkeypatch.setenv("FORCE_COLOR", "1")
    on_terminal = run("export", "--out", "calls.parquet")
    assert "4 calls written" in without_terminal.stderr
    assert "joining parts" not in without_terminal.stderr
    assert "joining parts" in on_terminal.stderr
