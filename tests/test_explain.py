"""`promptcache explain` compares a call with an earlier one; the report gives the same advice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from promptcache.cli.commands import app
from promptcache.cli.exit_codes import ExitCode
from promptcache.diagnosis.miss_reasons import format_advice
from promptcache.semconv import (
    CODE_FILE_PATH,
    CODE_FUNCTION_NAME,
    CODE_LINE_NUMBER,
    GEN_AI_REQUEST_MODEL,
    GEN_AI_RESPONSE_MODEL,
    MISS_CONFIDENCE,
    MISS_HINT,
    MISS_INDEX,
    MISS_OFFSET,
    MISS_PARAMETER,
    MISS_REASON,
    MISS_SECTION,
    MISSED_TOKENS,
    OUTCOME,
    PREFIX_BLOCKS,
    PREFIX_CHAIN,
    PREFIX_CHAIN_START,
    PREFIX_FAMILY,
    PREFIX_SCOPE_HASH,
    PREFIX_SYSTEM_HASH,
    PREFIX_TOOLS_HASH,
    READ_TOKENS,
    WASTED_USD,
)
from promptcache_exporters.database.parquet import export_calls_to_parquet
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from promptcache_exporters.explain.query import (
    CallComparison,
    compare_costliest_misses,
    compare_trace_calls,
)
from promptcache_exporters.page.html_file import render_html
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.query import collect_report
from tests.support.otlp_json import encode_otlp_json_line
from tests.support.seeded_day import seeded_day
from tests.support.span_builders import START, read_rows, record_calls

HIT: dict[str, Any] = {
    PREFIX_FAMILY: "p1:f",
    PREFIX_TOOLS_HASH: "p1:t",
    PREFIX_SYSTEM_HASH: "p1:s",
    PREFIX_BLOCKS: 4,
    PREFIX_CHAIN: ("k1:a", "k1:b", "k1:c"),
    PREFIX_CHAIN_START: 1,
}
MISS: dict[str, Any] = {
    **HIT,
    PREFIX_SYSTEM_HASH: "p1:other",
    PREFIX_CHAIN: ("k1:a", "k1:b", "k1:x"),
    OUTCOME: "miss",
    READ_TOKENS: 0,
    MISS_REASON: "volatile_token",
    MISS_SECTION: "system",
    MISS_INDEX: 0,
    MISS_OFFSET: 1234,
    MISS_HINT: "timestamp",
    MISSED_TOKENS: 800,
    WASTED_USD: 0.02,
}


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OTEL_PROMPTCACHE_DB", raising=False)
    return tmp_path / "promptcache.db"


def run_explain(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["explain", *map(str, arguments)])


def single_comparison(comparisons: list[CallComparison]) -> CallComparison:
    (comparison,) = comparisons
    return comparison


def trace_id_of(path: Path, number: int) -> str:
    return str(read_rows(path)[number]["trace_id"])


def test_a_call_is_compared_with_the_previous_call_of_its_family(path: Path) -> None:
    record_calls(path, HIT, {**HIT, PREFIX_FAMILY: "p1:another"}, MISS, HIT)
    comparison = single_comparison(compare_trace_calls(path, trace_id_of(path, 2)))
    assert comparison.previous_call
    assert comparison.previous_call["time"] == START
    assert comparison.unchanged_parts == {
        "model": True,
        "answering model": None,
        "tools": True,
        "system": False,
        "parameters": None,
        "breakpoints": None,
    }
    assert comparison.shared_blocks == 3
    assert comparison.advice == format_advice("volatile_token", "system", 0)


@pytest.mark.parametrize(
    ("reason", "parameters"),
    [
        ("cache_key_changed", False),
        ("per_user_key_or_prefix", False),
        ("scope_changed", None),
        ("volatile_token", True),
    ],
)
def test_reason_and_table_agree_about_the_parameters(
    path: Path, reason: str, parameters: bool | None
) -> None:
    same = {PREFIX_SCOPE_HASH: "p1:scope"}
    record_calls(path, {**HIT, **same}, {**MISS, **same, MISS_REASON: reason})
    comparison = single_comparison(compare_trace_calls(path, trace_id_of(path, 1)))
    assert comparison.unchanged_parts["parameters"] is parameters


def test_a_moved_alias_shows_in_the_table(path: Path) -> None:
    first, second = ({GEN_AI_RESPONSE_MODEL: f"gpt-4.1-2026-0{n}"} for n in (1, 2))
    record_calls(path, {**HIT, **first}, {**MISS, **second, MISS_REASON: "model_changed"})
    comparison = single_comparison(compare_trace_calls(path, trace_id_of(path, 1)))
    assert comparison.unchanged_parts["answering model"] is False


@pytest.mark.parametrize(("confidence", "doubt"), [(0.7, "probably "), (0.75, ""), (0.95, "")])
def test_an_unsure_reason_is_probable(path: Path, confidence: float, doubt: str) -> None:
    more = {MISS_CONFIDENCE: confidence, MISS_PARAMETER: "reasoning_effort"}
    record_calls(path, HIT, {**MISS, **more})
    text = " ".join(run_explain(trace_id_of(path, 1), path).output.split())
    assert f"Miss reason {doubt}volatile_token" in text
    assert "parameter reasoning_effort" in text


def test_a_repeated_break_is_counted_and_its_cost_summed(path: Path) -> None:
    elsewhere = {**MISS, MISS_INDEX: 1, WASTED_USD: 5.0}
    record_calls(path, HIT, MISS, elsewhere, MISS, MISS)
    record_calls(path, MISS, service="another")
    comparison = single_comparison(compare_trace_calls(path, trace_id_of(path, 3)))
    assert (comparison.repeated_breaks, comparison.family_calls) == (4, 6)
    assert comparison.repeated_wasted_usd == pytest.approx(0.08)


def test_all_comparisons_of_one_output_give_the_same_counts(path: Path) -> None:
    record_calls(path, HIT, MISS, MISS, MISS)
    assert {
        (comparison.repeated_breaks, comparison.family_calls)
        for comparison in compare_costliest_misses(path, 3)
    } == {(3, 4)}
    assert {
        (comparison.repeated_breaks, comparison.family_calls)
        for comparison in compare_costliest_misses(path, 3, START + 120)
    } == {(2, 2)}


def test_an_export_is_not_exported_again(path: Path) -> None:
    out = path.with_suffix(".parquet")
    out.write_bytes(b"PAR1")
    result = CliRunner().invoke(app, ["export", "--out", "x.parquet", str(out)])
    assert (result.exit_code, "which only report, explain" in result.stderr) == (7, True)


def test_the_explanation_is_the_same_for_a_table_a_file_and_an_export(path: Path) -> None:
    lines, exported = path.with_suffix(".jsonl"), path.with_suffix(".parquet")
    spans = list(seeded_day(300))
    SQLiteSpanExporter(path).export(spans)
    lines.write_text(encode_otlp_json_line(spans))
    export_calls_to_parquet(path, exported)
    trace_id = str(read_rows(path)[7]["trace_id"])
    for arguments in (("--worst", "20"), (trace_id,)):
        found = [
            json.loads(run_explain(*arguments, "--from", place, "--json").stdout)["calls"]
            for place in (path, lines, exported)
        ]
        assert found[0] == found[1] == found[2]
    worst = json.loads(run_explain("--worst", 20, "--json").stdout)["calls"]
    assert any(one["relative"] for one in worst)


def test_a_file_and_another_source_are_not_both_given(path: Path) -> None:
    record_calls(path, MISS)
    assert run_explain("--worst", 1, path, "--from", path).exit_code == 2


def test_the_first_call_of_a_family_has_no_previous_call(path: Path) -> None:
    record_calls(path, {**HIT, OUTCOME: "cold"})
    comparison = single_comparison(compare_trace_calls(path, trace_id_of(path, 0)))
    assert (comparison.previous_call, comparison.shared_blocks, comparison.advice) == (
        None,
        None,
        "",
    )
    assert set(comparison.unchanged_parts.values()) == {None}
    assert "no earlier call of this prefix family" in run_explain(trace_id_of(path, 0)).stdout


def test_the_worst_problems_are_different_and_sorted_by_the_sum_wasted(path: Path) -> None:
    often = {**MISS, WASTED_USD: 0.2}
    once = {**MISS, MISS_INDEX: 1, WASTED_USD: 0.3}
    free = {**MISS, MISS_INDEX: 2, WASTED_USD: 0.0}
    unpriced = {**MISS, MISS_INDEX: 3, WASTED_USD: None}
    record_calls(path, HIT, often, {**often, WASTED_USD: 0.25}, once, free, unpriced)
    found = compare_costliest_misses(path, 9)
    assert [one.call["wasted_usd"] for one in found] == [0.25, 0.3]
    assert [one.repeated_wasted_usd for one in found] == [pytest.approx(0.45), 0.3]
    assert [one.repeated_breaks for one in found] == [2, 1]
    assert len(compare_costliest_misses(path, 1)) == 1
    later = compare_costliest_misses(path, 9, START + 180)
    assert [one.call["wasted_usd"] for one in later] == [0.3]
    earlier = compare_costliest_misses(path, 9, until=START + 120)
    assert [one.call["wasted_usd"] for one in earlier] == [0.2]


def test_the_worst_problems_can_be_those_of_one_service(path: Path) -> None:
    record_calls(path, HIT, {**MISS, WASTED_USD: 9.0}, service="desk")
    record_calls(path, HIT, MISS)
    worst = run_explain("--worst", 1, "--where", "service=shop").stdout
    assert "$0.0200 wasted" in worst
    assert "--where" in run_explain("--worst", 1, "--where", "service").stderr


def test_the_line_of_code_is_shown(path: Path) -> None:
    site = {CODE_FILE_PATH: "app.py", CODE_LINE_NUMBER: 7, CODE_FUNCTION_NAME: "ask"}
    record_calls(path, HIT, {**MISS, **site})
    assert "Code app.py:7 in ask" in " ".join(run_explain("--worst", 1).stdout.split())


def test_the_output_shows_difference_cost_and_advice(path: Path) -> None:
    record_calls(path, HIT, MISS, MISS)
    result = run_explain(trace_id_of(path, 2).upper())
    assert result.exit_code == ExitCode.OK
    text = " ".join(result.stdout.split())
    for words in (
        "system p1:other p1:other same",
        "60.0 s earlier",
        "the first 4 of 4 blocks",
        "volatile_token in system[0] at about byte 1,234, looks like timestamp",
        "800 tokens missed, $0.0200 wasted",
        "2 of 3 calls of this prefix family missed for this reason there, $0.0400 wasted in total",
        format_advice("volatile_token", "system", 0),
    ):
        assert words in text
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_stdout_is_one_json_document(path: Path) -> None:
    record_calls(path, HIT, MISS)
    (comparison,) = json.loads(run_explain("--worst", 1, "--json").stdout)["calls"]
    assert list(comparison) == [
        "call",
        "relative",
        "equal",
        "equal_blocks",
        "repeated",
        "of",
        "wasted_usd",
        "advice",
    ]
    assert (
        comparison["call"]["miss_hint"],
        comparison["relative"]["outcome"],
        comparison["of"],
    ) == (
        "timestamp",
        "hit",
        2,
    )


def test_names_cannot_send_escape_sequences_to_the_terminal(path: Path) -> None:
    record_calls(
        path,
        HIT,
        {
            **MISS,
            GEN_AI_REQUEST_MODEL: "[red]\x1b[31m\nx",
            MISS_HINT: "\x07",
            MISS_REASON: "{where}\x1b",
        },
    )
    text = run_explain("--worst", 1).stdout
    assert "[red]\\x1b[31m\\x0ax" in text
    assert not {"\x1b", "\x07"} & set(text)


def test_the_path_of_the_table_is_an_argument(path: Path) -> None:
    other = path.with_name("other.db")
    record_calls(other, HIT, MISS)
    assert run_explain("--worst", 1, other).exit_code == ExitCode.OK
    assert run_explain(trace_id_of(other, 1), other).exit_code == ExitCode.OK
    assert run_explain("--worst", 1).exit_code == ExitCode.NO_FILE


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["0" * 32], ExitCode.NO_CALLS),
        (["--worst", "1"], ExitCode.NO_CALLS),
        (["--worst", "0"], ExitCode.USAGE),
        (["nonsense"], ExitCode.USAGE),
        ([], ExitCode.USAGE),
        (["0" * 32, "x.db", "--worst", "1"], ExitCode.USAGE),
    ],
)
def test_the_exit_code_tells_the_kind_of_failure(
    path: Path, arguments: list[str], code: ExitCode
) -> None:
    record_calls(path, HIT)
    assert run_explain(*arguments).exit_code == code


def test_the_report_by_reason_gives_advice(path: Path) -> None:
    record_calls(path, HIT, MISS, {**MISS, MISS_REASON: "of_a_later_version"})
    result = CliRunner().invoke(app, ["report", "--by", "reason"])
    assert f"volatile_token: {format_advice('volatile_token')}" in " ".join(result.stdout.split())
    assert "of_a_later_version:" not in result.stdout
    assert format_advice("volatile_token") in render_html(collect_report(path, GroupBy.REASON))
    assert format_advice("volatile_token") not in render_html(collect_report(path, GroupBy.OUTCOME))


def test_a_table_in_place_of_a_trace_id_is_named(tmp_path: Path) -> None:
    table = tmp_path / "calls.db"
    table.touch()
    result = CliRunner().invoke(app, ["explain", str(table)], env={"COLUMNS": "500"})
    assert result.exit_code == 2
    assert f"promptcache explain --worst 3 {table}" in result.stderr
