"""The table as Parquet: the same report from it, row for row the same facts, and clear words where it cannot be."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner, Result

from promptcache.attributes import COST_AMOUNT, FINISH_REASONS, OUTCOME, READ_TOKENS, REQUEST_MODEL, REQUEST_STREAM
from promptcache.commands import app
from promptcache.exits import Exit
from promptcache_exporters import parquet
from promptcache_exporters.figures import By, collect

from .rows import record, rows


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OTEL_PROMPTCACHE_DB", raising=False)
    return tmp_path / "promptcache.db"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def fill(path: Path) -> None:
    record(path, {}, {READ_TOKENS: None, OUTCOME: "unreported"}, {REQUEST_MODEL: "", FINISH_REASONS: ("a", "b")})
    record(path, {REQUEST_MODEL: 'null "\\N\u2028', REQUEST_STREAM: False, COST_AMOUNT: None}, service="it's")


def test_an_export_holds_the_same_facts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "CHUNK", 3)
    fill(path)
    out = path.with_name("it's.parquet")
    assert run("export", "--out", out).exit_code == Exit.OK
    found = duckdb.execute("SELECT * EXCLUDE id FROM read_parquet(?)", [str(out)])
    names = [name for name, *_ in found.description or ()]
    assert [dict(zip(names, row, strict=True)) for row in found.fetchall()] == rows(path)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert {file.name for file in path.parent.iterdir()} == {path.name, out.name}


@pytest.mark.parametrize("by", By)
def test_both_give_the_same_report(path: Path, by: By) -> None:
    fill(path)
    out = path.with_suffix(".parquet")
    assert parquet.export(path, out) == 4
    assert collect(out, by) == collect(path, by)
    assert json.loads(run("report", out, "--json", "--by", by).stdout)["totals"]["calls"] == 4


def test_an_export_replaces_an_older_one(path: Path) -> None:
    fill(path)
    out = path.with_suffix(".parquet")
    for expected in (4, 8):
        parquet.export(path, out)
        assert collect(out).totals.calls == expected
        fill(path)


def test_trouble_is_explained(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = path.with_suffix(".parquet")
    assert run("export", "--out", out).exit_code == Exit.NO_FILE
    assert run("report", out).exit_code == Exit.NO_FILE
    fill(path)
    assert run("export", "--out", "calls.csv").exit_code == Exit.USAGE
    assert run("export", "--out", "no/such/folder.parquet").exit_code == Exit.USAGE
    out.write_bytes(b"no parquet")
    assert run("report", out).exit_code == Exit.NOT_A_TABLE
    monkeypatch.setattr(parquet, "find_spec", {"duckdb": None}.get)
    result = run("export", "--out", out)
    assert (result.exit_code, 'pip install "promptcache[duckdb]"' in result.stderr) == (Exit.USAGE, True)
    assert out.read_bytes() == b"no parquet"
