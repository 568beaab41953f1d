"""Test the command line: its output on stdout and stderr, its exit codes and its imports."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from promptcache import __version__
from promptcache.cli import table_options
from promptcache.cli.commands import COMMANDS, app
from promptcache.cli.entry_point import BARE_COMMANDS, EXTRAS
from promptcache.cli.exit_codes import EXIT_CODE_MEANINGS, RECORD_COMMAND, ExitCode
from promptcache.semconv import BATCH, GEN_AI_REQUEST_MODEL, OUTCOME, READ_TOKENS
from promptcache_exporters.database import file_path as store
from tests.support.span_builders import record_calls


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OTEL_PROMPTCACHE_DB", raising=False)
    return tmp_path / store.DEFAULT_PATH


def run_command(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def set_pragma(path: Path, text: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA {text}")
    connection.close()


def test_version_option_prints_the_version() -> None:
    result = run_command("--version")
    assert (result.exit_code, result.stdout) == (0, f"promptcache {__version__}\n")


def test_help_names_every_command_and_exit_code() -> None:
    page = run_command("--help").stdout
    assert all(name in page for name in COMMANDS)
    assert all(f"{code.value}  {EXIT_CODE_MEANINGS[code]}"[:40] in page for code in ExitCode)
    assert RECORD_COMMAND in " ".join(page.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = run_command(name, "--help")
    assert (result.exit_code, "Usage" in result.stdout) == (0, True)


def test_an_unknown_command_is_a_usage_error() -> None:
    assert run_command("repotr").exit_code == ExitCode.USAGE


def test_without_a_table_the_report_says_how_to_record_one() -> None:
    assert RECORD_COMMAND in run_command("report").stderr


@pytest.mark.parametrize("port", ["99999", "-1"])
def test_an_invalid_port_is_a_usage_error(port: str) -> None:
    result = run_command("emulate", "--port", port)
    assert (result.exit_code, "--port" in result.stderr) == (ExitCode.USAGE, True)


def test_the_table_is_found_by_argument_variable_or_default(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = path.with_name("other.db")
    record_calls(path, {}, {})
    record_calls(other, {})
    assert run_command("report").stdout.startswith("Calls     2,")
    assert run_command("report", other).stdout.startswith("Calls     1,")
    monkeypatch.setenv("OTEL_PROMPTCACHE_DB", str(other))
    assert run_command("report").stdout.startswith("Calls     1,")


def write_text_file(path: Path) -> None:
    path.write_bytes(b"text, and not a little of it\n" * 100)


def create_foreign_table(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE customers (name)")
    connection.close()


def create_newer_table(path: Path) -> None:
    record_calls(path, {})
    set_pragma(path, "user_version = 100000")


def create_damaged_table(path: Path) -> None:
    record_calls(path, *[{OUTCOME: "hit"}] * 50)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))


@pytest.mark.parametrize(
    ("create", "code", "message"),
    [
        (Path.exists, ExitCode.NO_FILE, "does not exist. Record some calls first"),
        (Path.touch, ExitCode.NO_CALLS, "has no calls yet. Record some calls first"),
        (Path.mkdir, ExitCode.NOT_A_TABLE, "is a directory, and no table"),
        (write_text_file, ExitCode.NOT_A_TABLE, "file is not a database"),
        (create_foreign_table, ExitCode.NOT_A_TABLE, "another application"),
        (create_damaged_table, ExitCode.NOT_A_TABLE, "malformed"),
        (create_newer_table, ExitCode.NEWER_SCHEMA, "Upgrade"),
    ],
)
def test_an_unreadable_table_gives_an_exit_code_and_a_message(
    path: Path, create: Any, code: ExitCode, message: str
) -> None:
    create(path)
    for options in ((), ("--json",)):
        result = run_command("report", *options)
        assert result.exit_code == code
        if options and code == ExitCode.NO_CALLS:
            assert json.loads(result.stdout)["totals"]["calls"] == 0
        else:
            assert result.stdout == ""
        assert message in result.stderr
        assert "Traceback" not in result.stderr


def test_a_table_of_an_older_version_is_read(path: Path) -> None:
    record_calls(path, {})
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE llm_calls DROP COLUMN miss_reason")
    connection.execute("PRAGMA user_version = 60")
    connection.close()
    result = run_command("report", "--by", "reason", "--json")
    assert json.loads(result.stdout)["groups"][0]["key"] is None


def test_stdout_contains_only_json(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    record_calls(path, {})
    result = run_command("report", "--json", "--by", "model")
    assert (result.exit_code, list(json.loads(result.stdout))) == (
        0,
        [
            "schema",
            "file",
            "window",
            "sampling",
            "totals",
            "by",
            "groups",
            "every_seconds",
            "periods",
            "unread",
            "absent",
            "rent",
        ],
    )
    assert "Sampled: 1" in result.stderr


def test_json_is_printed_when_no_call_matches(path: Path) -> None:
    record_calls(path, {})
    result = run_command("report", "--json", "--since", "1s")
    assert (result.exit_code, json.loads(result.stdout)["totals"]["calls"]) == (
        ExitCode.NO_CALLS,
        0,
    )
    assert "no calls since" in result.stderr
    assert "(--since 1s)" in result.stderr
    assert run_command("report", "--since", "1s").stdout == ""


def test_the_error_names_an_invalid_since_value() -> None:
    message = " ".join(run_command("report", "--since", "tomorrow").stderr.split())
    assert "--since" in message
    assert "'tomorrow'" in message


@pytest.mark.parametrize("column", ["time", "input_tokens"])
def test_text_in_a_number_column_is_left_out_of_the_report(path: Path, column: str) -> None:
    record_calls(path, {}, {OUTCOME: "cold"})
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE llm_calls SET {column} = 'text' WHERE rowid = 1")
    report = run_command("report", "--by", "outcome")
    assert (report.exit_code, "Left out  1 rows" in report.stdout) == (ExitCode.OK, True)
    export = run_command("export", "--out", "calls.parquet")
    message = "text instead of a number"
    assert (export.exit_code, message in export.stderr) == (ExitCode.NOT_A_TABLE, True)


def test_the_help_of_report_explains_the_group_keys() -> None:
    page = run_command("report", "--help").stdout
    assert all(f"{word}: " in page for word in ("prefix", "family", "callsite", "reason"))


HIT: dict[str, Any] = {}  # 800 of 1,000 input tokens were read, the default of `record_calls`
EXIT_CODE_CASES: list[tuple[list[dict[str, Any]], list[str], ExitCode]] = [
    ([HIT], ["--fail-below", "0.8"], ExitCode.OK),
    ([HIT], ["--fail-below", "0.81"], ExitCode.BELOW_TARGET),
    ([HIT, {READ_TOKENS: 0}], ["--fail-below", "0.5"], ExitCode.BELOW_TARGET),
    ([{READ_TOKENS: 0}], ["--fail-below", "0.5", "--min-tokens", "1001"], ExitCode.OK),
    ([{READ_TOKENS: 0}], ["--fail-below", "0.5", "--min-tokens", "1000"], ExitCode.BELOW_TARGET),
    ([{READ_TOKENS: 0}], [], ExitCode.OK),
    ([{OUTCOME: "unreported", READ_TOKENS: None}], ["--fail-below", "0.5"], ExitCode.NO_CALLS),
    ([HIT, {READ_TOKENS: 0, BATCH: True}], ["--fail-below", "0.8"], ExitCode.OK),
    ([HIT], ["--fail-below", "1.5"], ExitCode.USAGE),
    ([HIT], ["--since", "yesterday"], ExitCode.USAGE),
    ([HIT], ["--by", "weather"], ExitCode.USAGE),
    ([HIT], ["--html", "no/such/folder.html"], ExitCode.USAGE),
]


@pytest.mark.parametrize(("calls", "options", "code"), EXIT_CODE_CASES)
def test_calls_and_options_determine_the_exit_code(
    path: Path, calls: list[dict[str, Any]], options: list[str], code: ExitCode
) -> None:
    record_calls(path, *calls)
    assert run_command("report", *options).exit_code == code


def test_a_sampled_table_is_not_compared_with_the_target(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_calls(path, {READ_TOKENS: 0})
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.1")
    record_calls(path, {READ_TOKENS: 0})
    result = run_command("report", "--fail-below", "0.5")
    assert (result.exit_code, "Not judged" in result.stderr) == (ExitCode.SAMPLED, True)


def test_html_is_written_and_escaped(path: Path) -> None:
    record_calls(path, {GEN_AI_REQUEST_MODEL: "<b>"})
    assert run_command("report", "--html", "report.html", "--by", "model").exit_code == 0
    page = path.with_name("report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;" in page
    assert "80.0 %" in page


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("15m", 9_100),
        ("2h", 2_800),
        ("1.5h", 4_600),
        ("10s", 9_990),
        ("1970-01-01T01:00:00+00:00", 3_600),
    ],
)
def test_since_is_parsed_into_epoch_seconds(text: str, instant: float) -> None:
    assert table_options.parse_since(text, 10_000) == instant


@pytest.mark.parametrize("text", ["", "m", "-5m", "5y", "1.2.3h", "tomorrow"])
def test_an_invalid_since_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        table_options.parse_since(text, 0)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30
    )


def test_a_report_imports_no_server_and_no_sdk(path: Path) -> None:
    record_calls(path, {})
    process = run_python(
        "import sys; sys.argv = ['promptcache', 'report']\n"
        "from promptcache.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'starlette', 'uvicorn', 'openai', 'opentelemetry.sdk', 'genai_prices', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert process.stdout.splitlines()[-1] == "[]", process.stderr


WITHOUT_EXTRAS = """
import sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(name, name=name)

import importlib.util as util
find = util.find_spec
util.find_spec = lambda name: None if name.partition(".")[0] in {missing!r} else find(name)
sys.meta_path.insert(0, Finder())
sys.argv = ["promptcache", *{arguments!r}]
from promptcache.cli import main
main()
"""


def run_without(missing: tuple[str, ...], *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_python(WITHOUT_EXTRAS.format(missing=missing, arguments=arguments))


BARE = ("typer", "rich", "click", "starlette", "uvicorn", "opentelemetry.sdk")


@pytest.mark.parametrize("missing", [("typer",), ("rich",)])
@pytest.mark.parametrize(
    ("name", "extra"), [("report", "report"), ("run", "run"), ("emulate", "emulator")]
)
def test_the_error_for_a_missing_extra_is_one_line(
    missing: tuple[str, ...], name: str, extra: str
) -> None:
    process = run_without(missing, name)
    assert (process.returncode, process.stdout) == (ExitCode.USAGE, "")
    assert process.stderr == (
        f'promptcache {name} needs an extra: pip install "promptcache[{extra}]"\n'
    )


def test_every_command_needs_a_named_extra_or_none() -> None:
    assert {*EXTRAS, *BARE_COMMANDS} == {*COMMANDS}


def test_a_bare_installation_has_version_and_help() -> None:
    version, page = run_without(BARE, "--version"), run_without(BARE, "--help")
    assert (version.returncode, version.stdout) == (0, f"promptcache {__version__}\n")
    assert (page.returncode, page.stdout) == (0, run_without(BARE).stdout)
    assert all(name in page.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [
        ("cost", "--model", "claude-sonnet-4-6", "--read", "90000", "--output", "800", "--json"),
        ("cost", "--model", "gpt-6-sol", "--uncached", "9", "--tool", "web_search=4", "--json"),
        ("cost", "--model", "no-such-model", "--uncached", "9", "--json"),
        ("prices", "show", "claude-sonnet-4-6", "--json"),
        ("prices", "show", "gpt-6-sol", "--tier", "flex", "--at", "2026-11-20", "--json"),
    ],
)
def test_a_bare_installation_computes_the_same(arguments: tuple[str, ...]) -> None:
    bare, full = run_without(BARE, *arguments), run_without((), *arguments)
    assert (bare.returncode, bare.stdout) == (full.returncode, full.stdout), bare.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("cost",), "--model"),
        (("cost", "--model", "gpt-6-sol"), "give at least one token count"),
        (("cost", "--model", "gpt-6-sol", "--read", "-1"), "-1"),
        (("cost", "--model", "gpt-6-sol", "--reed", "1"), "--reed"),
        (("prices", "shwo"), "show"),
        (("repotr",), "no command repotr"),
    ],
)
def test_a_wrong_command_line_of_a_bare_installation_is_a_usage_error(
    arguments: tuple[str, ...], text: str
) -> None:
    process = run_without(BARE, *arguments)
    assert (process.returncode, text in process.stderr) == (ExitCode.USAGE, True)
    assert "Traceback" not in process.stderr


def test_a_bare_installation_prints_tables_and_help_pages() -> None:
    table = run_without(BARE, "cost", "--model", "claude-sonnet-4-6", "--read", "9000").stdout
    assert ("amount  " in table, "saved" in table) == (True, True)
    assert "--write-1h" in run_without(BARE, "cost", "--help").stdout
    assert "Source: " in run_without(BARE, "prices", "show", "gpt-6-sol").stdout
