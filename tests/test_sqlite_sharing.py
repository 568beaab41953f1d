"""The local table in a folder that others can write to."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult
from typer.testing import CliRunner

from promptcache.cli.commands import app
from promptcache_exporters.sqlite import SQLiteSpanExporter
from tests.support.span_builders import build_spans

USER: Final = 1000
OTHER_USER: Final = 1001


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.db"


def write_calls(path: Path) -> SpanExportResult:
    exporter = SQLiteSpanExporter(path)
    try:
        return exporter.export(build_spans({}))
    finally:
        exporter.shutdown()


def replace_by_link(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.rename(path.with_name("target"))
    path.symlink_to(path.with_name("target"))


def make_world_writable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.chmod(0o666)


def give_to_another_user(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only root can change an owner, and root may use all files: pretend that both are others.
    monkeypatch.setattr(os, "lstat", lstat_with_owners({path: OTHER_USER}))
    monkeypatch.setattr(os, "geteuid", lambda: USER)


def lstat_with_owners(owners: dict[Path, int]) -> Callable[[Path], os.stat_result]:
    lstat = os.lstat

    def changed(path: Path) -> os.stat_result:
        fields = list(lstat(path))
        fields[stat.ST_UID] = owners.get(path, USER)
        return os.stat_result(fields)

    return changed


RISKS: Final[list[tuple[Callable[[Path, pytest.MonkeyPatch], None], str]]] = [
    (replace_by_link, "is a symbolic link"),
    (make_world_writable, "every user can write"),
    (give_to_another_user, "belongs to another user"),
]


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize(("spoil", "problem"), RISKS)
def test_a_file_that_others_control_is_refused_and_named(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    suffix: str,
    spoil: Callable[[Path, pytest.MonkeyPatch], None],
    problem: str,
) -> None:
    assert write_calls(path) is SpanExportResult.SUCCESS
    file = path.with_name(path.name + suffix)
    file.touch()
    spoil(file, monkeypatch)
    before = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        assert write_calls(path) is SpanExportResult.FAILURE
    assert path.read_bytes() == before
    (message,) = caplog.messages
    assert str(file) in message
    assert problem in message


def test_a_link_to_nothing_is_not_followed(path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere"))
    assert write_calls(path) is SpanExportResult.FAILURE
    assert not path.with_name("elsewhere").exists()


def test_a_group_may_share_the_table(path: Path) -> None:
    write_calls(path)
    path.chmod(0o660)
    assert write_calls(path) is SpanExportResult.SUCCESS


def test_root_may_write_the_table_of_a_user(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_calls(path)
    monkeypatch.setattr(os, "lstat", lstat_with_owners({path: OTHER_USER}))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert write_calls(path) is SpanExportResult.SUCCESS


@pytest.mark.parametrize("command", [["report"], ["explain", "--worst", "1"], ["export"]])
def test_commands_that_read_warn_and_go_on(path: Path, command: list[str]) -> None:
    write_calls(path)
    path.chmod(0o666)
    out = ["--out", str(path.with_name("calls.parquet"))] if command == ["export"] else []
    result = CliRunner().invoke(app, [*command, *out, str(path)])
    assert "every user can write" in result.stderr
    assert "cannot be read" not in result.stderr
