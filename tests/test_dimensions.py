"""Attributes of the user's choice reach the local table, if they are listed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.recorded_program import CALL, program_environ
from tests.support.recorded_program import read_rows as read_columns
from tests.support.span_builders import read_rows, record_calls


@pytest.mark.parametrize(
    ("keys", "attributes", "expected"),
    [
        ("", {"team": "search"}, None),
        ("team", {"team": "search", "tenant": "acme"}, {"team": "search"}),
        (
            " tenant , team ",
            {"team": "search", "tenant": 7},
            {"team": "search", "tenant": 7},
        ),
        ("team", {"tenant": "acme"}, None),
        ("team", {"team": "x" * 128}, {"team": "x" * 128}),
        ("team", {"team": "x" * 129}, None),
        ("team", {"team": "é" * 65}, None),
        ("team,flag", {"team": ("a", "b"), "flag": True}, {"flag": True}),
        ("share", {"share": float("nan")}, None),
    ],
)
def test_listed_attributes_are_one_json_object(
    keys: str,
    attributes: dict[str, Any],
    expected: dict[str, Any] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_PROMPTCACHE_TABLE_KEYS", keys)
    record_calls(tmp_path / "calls.db", attributes)
    (row,) = read_rows(tmp_path / "calls.db")
    assert (row["dimensions"] and json.loads(row["dimensions"])) == expected


def test_an_attribute_of_the_application_reaches_the_table(
    emulator_url: str, tmp_path: Path
) -> None:

    program = f"""{CALL}
import promptcache
with promptcache.record("calls.db"), promptcache.attributes(team="search", tenant="acme"):
    call()
"""
    environ = program_environ(emulator_url, OTEL_PROMPTCACHE_TABLE_KEYS="team")
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environ, check=True)
    assert read_columns(tmp_path / "calls.db", "dimensions") == [('{"team":"search"}',)]
