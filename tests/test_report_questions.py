"""What a report can be asked: time, groups of several fields, conditions, CSV, and live."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from promptcache.cli.close_names import suggest_names
from promptcache.cli.commands import app
from promptcache.cli.exit_codes import ExitCode
from promptcache.cli.report_watch import watch_report
from promptcache.cli.scan_progress import show_scan_progress
from promptcache.semconv import (
    CACHE_NAME,
    COST_AMOUNT,
    GEN_AI_AGENT_NAME,
    GEN_AI_CONVERSATION_ID,
    GEN_AI_OPERATION_NAME,
    GEN_AI_PROMPT_NAME,
    GEN_AI_REQUEST_MODEL,
    INPUT_TOKENS,
    OUTCOME,
    READ_TOKENS,
    WRITE_TOKENS,
)
from promptcache_exporters.database import row_ranges
from promptcache_exporters.database.parquet import export_calls_to_parquet
from promptcache_exporters.report.call_field import Dimension, GroupBy, parse_call_field
from promptcache_exporters.report.call_filter import parse_field_condition
from promptcache_exporters.report.format import format_local_utc_offset, format_sparkline
from promptcache_exporters.report.query import TooManyPeriodsError, collect_report
from tests.support.report_text import render_report
from tests.support.span_builders import START, record_calls

HIT: dict[str, Any] = {}  # 800 of 1,000 input tokens were read, the default of `record_calls`
COLD: dict[str, Any] = {OUTCOME: "cold", READ_TOKENS: 0}
SONNET: dict[str, Any] = {GEN_AI_REQUEST_MODEL: "claude-Sonnet-5"}


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OTEL_PROMPTCACHE_DB", raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    return tmp_path / "promptcache.db"


@pytest.fixture(params=["table", "export"])
def place(request: pytest.FixtureRequest, path: Path) -> Any:
    """Return a function that returns the table, or an export of it."""

    def find_place() -> Path:
        if request.param == "table":
            return path
        exported = path.with_suffix(".parquet")
        export_calls_to_parquet(path, exported)
        return exported

    return find_place


def run_report(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def error_text(result: Result) -> str:
    """Return what stands on standard error, without the box that typer draws."""
    return " ".join(result.stderr.replace("│", " ").split())


def report_json(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run_report("--json", *arguments).stdout)
    return found


def test_until_leaves_out_later_calls(path: Path, place: Any) -> None:
    record_calls(path, {}, {}, COLD)
    found = collect_report(place(), until=START + 120)
    assert (found.totals.calls, found.last_call_time) == (2, START + 60)
    assert collect_report(place(), since=START + 60, until=START + 120).totals.calls == 1


def test_calls_are_grouped_by_several_fields(path: Path, place: Any) -> None:
    record_calls(path, {}, SONNET, {GEN_AI_REQUEST_MODEL: None}, service="shop")
    record_calls(path, {}, {}, service="desk")
    found = collect_report(place(), [GroupBy.SERVICE, GroupBy.MODEL])
    assert {group.values: group.totals.calls for group in found.groups} == {
        ("shop", "gpt-5.5"): 1,
        ("shop", "claude-Sonnet-5"): 1,
        ("shop", None): 1,
        ("desk", "gpt-5.5"): 2,
    }
    data = report_json("--by", "service,model")
    assert (data["by"], data["groups"][0]["values"]) == ("service,model", ["desk", "gpt-5.5"])


def test_calls_are_grouped_by_a_dimension_of_the_user(
    path: Path, place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_PROMPTCACHE_TABLE_KEYS", "team,is_vip,level,weight")
    more = {"is_vip": True, "level": 3, "weight": 0.5}
    record_calls(path, {"team": 'say "hi"', **more}, {"team": "search"}, {})
    for name, values in (
        ("team", {'say "hi"', "search", None}),
        ("is_vip", {"true", None}),
        ("level", {"3", None}),
        ("weight", {"0.5", None}),
    ):
        groups = collect_report(place(), Dimension(name)).groups
        assert {group.key for group in groups} == values
    assert report_json("--by", "team", "--where", "team~SAY")["totals"]["calls"] == 1


def test_damaged_dimensions_are_no_dimensions(path: Path) -> None:
    import sqlite3

    record_calls(path, {})
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE llm_calls SET dimensions = '{no json'")
    connection.close()
    assert [group.key for group in collect_report(path, Dimension("team")).groups] == [None]


@pytest.mark.parametrize("name", ["a'b", 'a"b', "", "a b", "x" * 65, "$"])
def test_a_text_that_is_no_name_does_not_reach_sql(path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        parse_call_field(name)
    record_calls(path, {})
    assert run_report("--by", name).exit_code == ExitCode.USAGE


def test_a_wrong_field_is_named_with_close_ones(path: Path) -> None:
    record_calls(path, {})
    result = run_report("--by", "servise")
    assert (result.exit_code, "did you mean service?" in error_text(result)) == (
        ExitCode.USAGE,
        True,
    )
    assert "service, model" in error_text(run_report("--by", "weather"))


@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        ("conversation", GEN_AI_CONVERSATION_ID),
        ("agent", GEN_AI_AGENT_NAME),
        ("prompt", GEN_AI_PROMPT_NAME),
    ],
)
def test_conversation_agent_and_prompt_are_fields(
    path: Path, place: Any, name: str, attribute: str
) -> None:
    record_calls(path, {attribute: "one"}, {attribute: "two"}, {})
    found = collect_report(place(), parse_call_field(name))
    assert {group.key for group in found.groups} == {"one", "two", None}


@pytest.mark.parametrize(
    ("conditions", "calls"),
    [
        (["service=shop"], 3),
        (["service!=shop"], 1),
        (["model~sonnet"], 1),
        (["model!~sonnet"], 3),
        (["service=shop", "model~SONNET"], 1),
        (["model="], 1),
        (["model!="], 3),
        (["outcome=cold"], 1),
        (["model='; DROP TABLE llm_calls; --"], 0),
        (["model=a=b"], 0),
    ],
)
def test_conditions_select_calls(path: Path, place: Any, conditions: list[str], calls: int) -> None:
    record_calls(path, {}, SONNET, {GEN_AI_REQUEST_MODEL: None, **COLD}, service="shop")
    record_calls(path, {}, service="desk")
    where = list(map(parse_field_condition, conditions))
    assert collect_report(place(), where=where).totals.calls == calls


def test_conditions_hold_in_every_range_of_rows(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_ranges, "ROWS_PER_RANGE", 2)
    record_calls(path, *[{}, SONNET] * 5)
    found = collect_report(path, where=[parse_field_condition("model~sonnet")], until=START + 300)
    assert found.totals.calls == 2


def test_a_selection_has_no_unread_writes_and_no_storage_costs(path: Path) -> None:
    """The call that reads a write, or uses a cache, may be one that the condition leaves out."""
    write = {READ_TOKENS: 0, WRITE_TOKENS: 500, OUTCOME: "cold"}
    cache = {GEN_AI_OPERATION_NAME: "create_cache", CACHE_NAME: "c/1"}
    record_calls(path, write, cache, COLD)
    everything = collect_report(path)
    assert everything.unread_writes
    assert everything.storage_costs
    selection = collect_report(path, where=[parse_field_condition("service=shop")])
    assert (selection.unread_writes, selection.storage_costs) == (None, None)


def test_periods_have_the_sums_of_their_calls(path: Path, place: Any) -> None:
    record_calls(path, {}, COLD, at=START)
    record_calls(path, COLD, service="desk", at=START + 3 * 3600)
    found = collect_report(place(), period_seconds=3600)
    hour = START - START % 3600
    assert [(one.start, one.totals.calls) for one in found.periods] == [
        (hour, 2),
        (hour + 3600, 0),
        (hour + 7200, 0),
        (hour + 10800, 1),
    ]
    assert [one.totals.hit_rate for one in found.periods] == [0.4, None, None, 0.0]
    assert sum(group.totals.calls for group in found.groups) == found.totals.calls == 3
    assert {group.key: sorted(group.totals_by_period) for group in found.groups} == {
        "shop": [0],
        "desk": [3],
    }


def test_days_begin_at_local_midnight(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    record_calls(path, {})
    (day,) = collect_report(path, period_seconds=86_400).periods
    assert time.localtime(day.start)[3:6] == (0, 0, 0)
    assert day.start <= START < day.start + 86_400


def test_too_many_periods_are_refused(path: Path) -> None:
    record_calls(path, {}, at=START)
    record_calls(path, {}, at=START + 86_400)
    with pytest.raises(TooManyPeriodsError, match="1,441 periods"):
        collect_report(path, period_seconds=60)
    result = run_report("--every", "1m")
    assert (result.exit_code, "--every" in error_text(result)) == (ExitCode.USAGE, True)


@pytest.mark.parametrize("text", ["", "1", "h", "0h", "1y", "soon", "-1h"])
def test_what_is_no_length_of_time_is_a_usage_error(path: Path, text: str) -> None:
    record_calls(path, {})
    result = run_report("--every", text)
    assert (result.exit_code, "--every" in error_text(result)) == (ExitCode.USAGE, True)


def test_the_terminal_shows_periods_as_rows_and_as_blocks(path: Path) -> None:
    record_calls(path, HIT, HIT, at=START)
    record_calls(path, COLD, at=START + 7200)
    text = render_report(collect_report(path, period_seconds=3600), width=120)
    assert "Hit rate  ▇ ▁" in text
    assert [line.split()[1:3] for line in text.splitlines() if line.startswith(" 2026-")] == [
        [time.strftime("%H:00", time.gmtime(START + 3600 * number)), calls]
        for number, calls in enumerate("201")
    ]
    assert "earlier ones" in render_report(
        collect_report(path, period_seconds=3600), width=120, limit=1
    )


def test_json_tells_the_window_the_conditions_and_the_file(path: Path) -> None:
    record_calls(path, {}, {})
    begin = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(START))
    data = report_json("--since", begin, "--every", "1h", "--where", "service=shop")
    assert data["schema"] == 1
    assert data["window"] == {
        "since": START,
        "until": None,
        "first_call": START,
        "last_call": START + 60,
        "where": ["service=shop"],
    }
    assert data["file"] == str(path)
    assert data["every_seconds"] == 3600
    assert [one["calls"] for one in data["periods"]] == [2]


def test_csv_has_a_line_for_each_group(path: Path) -> None:
    record_calls(path, {}, {GEN_AI_REQUEST_MODEL: "=cmd()"}, {GEN_AI_REQUEST_MODEL: 'a,"b"\n'})
    rows = list(csv.DictReader(io.StringIO(run_report("--csv", "--by", "model").stdout)))
    assert {row["model"] for row in rows} == {"gpt-5.5", "'=cmd()", 'a,"b"\n'}
    assert {(row["calls"], row["hit_rate"], row["wasted_usd"]) for row in rows} == {
        ("1", "0.8", "0.0")
    }


def test_csv_of_periods_has_their_start(path: Path) -> None:
    record_calls(path, {}, at=START)
    record_calls(path, COLD, {COST_AMOUNT: None}, service="desk", at=START + 3600)
    rows = list(csv.DictReader(io.StringIO(run_report("--csv", "--every", "1h").stdout)))
    assert [(row["service"], row["calls"]) for row in rows] == [("shop", "1"), ("desk", "2")]
    assert rows[0]["start"].endswith("+00:00")
    assert run_report("--csv", "--json").exit_code == ExitCode.USAGE


def test_watching_shows_what_was_written_meanwhile(path: Path) -> None:
    record_calls(path, {})
    text = io.StringIO()
    console = Console(file=text, width=100, force_terminal=True, color_system=None)
    counts = iter(range(2))

    def collect() -> Any:
        found = collect_report(path)
        record_calls(path, {}, service=f"late-{next(counts)}")
        return found

    watch_report(collect, 0.0, 20, console, rounds=2)
    assert "late-0" in text.getvalue()
    assert "late-1" not in text.getvalue()


def test_a_percentage_is_explained_as_a_share(path: Path) -> None:
    record_calls(path, {})
    result = run_report("--fail-below", "50")
    assert (result.exit_code, "did you mean 0.5?" in error_text(result)) == (ExitCode.USAGE, True)
    assert run_report("--fail-below", "-1").exit_code == ExitCode.USAGE


def test_utc_is_called_utc() -> None:
    assert format_local_utc_offset(START) == "UTC"


def test_an_unwritable_path_names_its_option(path: Path) -> None:
    record_calls(path, {})
    for command, option in (
        (["report", "--html", "no/x.html"], "--html"),
        (["export", "--out", "no/x.parquet"], "--out"),
    ):
        result = CliRunner().invoke(app, command)
        text = error_text(result)
        assert (result.exit_code, option in text, "cannot write" in text) == (2, True, True)


def test_a_condition_without_calls_is_named(path: Path) -> None:
    record_calls(path, {})
    result = run_report("--where", "service=ship")
    assert (result.exit_code, "--where service=ship" in error_text(result)) == (
        ExitCode.NO_CALLS,
        True,
    )


@pytest.mark.parametrize(
    ("command", "guess"),
    [
        (["repotr"], "did you mean report"),
        (["cost", "--model", "claude-sonet-4-6", "--read", "9"], "claude-sonnet-4-6"),
        (
            ["cost", "--model", "gpt-6-sol", "--provider", "opnai", "--read", "9"],
            "did you mean openai",
        ),
    ],
)
def test_a_mistyped_name_is_answered_with_close_ones(command: list[str], guess: str) -> None:
    result = CliRunner().invoke(app, command)
    assert result.exit_code in (ExitCode.USAGE, ExitCode.UNKNOWN_COST)
    assert guess in error_text(result)


def test_only_close_names_are_suggested() -> None:
    assert suggest_names("Reprt", ["report", "run"]) == "; did you mean report?"
    assert suggest_names("xyz", ["report", "run"]) == ""


@pytest.mark.parametrize(
    ("values", "highest", "sparks"),
    [
        ([0.0, 0.5, 1.0], 1.0, "▁▅█"),
        ([None, 1.0], 1.0, " █"),
        ([0.0, 0.0], None, "▁▁"),
        ([1.0, 4.0], None, "▃█"),
        ([], None, ""),
    ],
)
def test_sparklines(values: list[float | None], highest: float | None, sparks: str) -> None:
    assert format_sparkline(values, highest) == sparks


def test_input_tokens_of_all_periods_are_those_of_the_report(path: Path) -> None:
    record_calls(path, *({INPUT_TOKENS: 10**number} for number in range(6)))
    found = collect_report(path, [GroupBy.SERVICE, GroupBy.OUTCOME], period_seconds=60)
    tokens = [one.totals.input_tokens or 0 for one in found.periods]
    assert (tokens, sum(tokens)) == ([10**number for number in range(6)], 111_111)
    assert found.totals.input_tokens == 111_111


def test_only_a_long_scan_in_a_terminal_shows_its_progress() -> None:
    for is_terminal, shares, is_shown in (
        (True, (0.25, 1.0), True),
        (True, (1.0,), False),
        (False, (0.25, 1.0), False),
    ):
        console = Console(file=io.StringIO(), force_terminal=is_terminal)
        with show_scan_progress(console) as on_progress:
            for share in shares:
                on_progress(share)
        printed = console.file.getvalue()  # type: ignore[attr-defined]  # the StringIO above
        assert ("Reading the table" in printed) == is_shown
