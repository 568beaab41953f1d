"""The command line: what it prints where, its exit codes, and what it imports."""

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
from promptcache.cli.exit_codes import EXIT_CODE_MEANINGS, RECORD_COMMAND, ExitCode
from promptcache.semconv import BATCH, GEN_AI_REQUEST_MODEL, OUTCOME, READ_TOKENS
from promptcache_exporters.database import sqlite_file as store
from tests.support.span_builders import record_calls


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OTEL_PROMPTCACHE_DB", raising=False)
    return tmp_path / store.DEFAULT_PATH


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def pragma(path: Path, text: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA {text}")
    connection.close()


def test_version() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"promptcache {__version__}\n")


def test_help_teaches_and_names_every_command_and_exit_code() -> None:
    page = run("--help").stdout
    assert all(name in page for name in COMMANDS)
    assert all(f"{code.value}  {EXIT_CODE_MEANINGS[code]}"[:40] in page for code in ExitCode)
    assert RECORD_COMMAND in " ".join(page.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = run(name, "--help")
    assert (result.exit_code, "Usage" in result.stdout) == (0, True)


def test_an_unknown_command_is_a_usage_error() -> None:
    assert run("repotr").exit_code == ExitCode.USAGE


def test_how_to_begin_needs_nothing_that_is_not_installed() -> None:
    """The first steps install no exporter of metrics or logs; OpenTelemetry's default would ask for both."""
    said = run("report").stderr
    for words in (
        RECORD_COMMAND,
        "--traces_exporter promptcache_sqlite",
        "--metrics_exporter none",
        "--logs_exporter none",
    ):
        assert words in said


@pytest.mark.parametrize("port", ["99999", "-1"])
def test_a_port_that_is_none_is_a_usage_error(port: str) -> None:
    result = run("emulate", "--port", port)
    assert (result.exit_code, "--port" in result.stderr) == (ExitCode.USAGE, True)


def test_the_table_is_found_by_argument_variable_or_default(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = path.with_name("other.db")
    record_calls(path, {}, {})
    record_calls(other, {})
    assert run("report").stdout.startswith("Calls     2,")
    assert run("report", other).stdout.startswith("Calls     1,")
    monkeypatch.setenv("OTEL_PROMPTCACHE_DB", str(other))
    assert run("report").stdout.startswith("Calls     1,")


def no_database(path: Path) -> None:
    path.write_bytes(b"text, and not a little of it\n" * 100)


def of_another(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE customers (name)")
    connection.close()


def newer(path: Path) -> None:
    record_calls(path, {})
    pragma(path, "user_version = 100000")


def torn(path: Path) -> None:
    record_calls(path, *[{OUTCOME: "hit"}] * 50)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (Path.exists, ExitCode.NO_FILE, "does not exist. Record some calls first"),
        (Path.touch, ExitCode.NO_CALLS, "has no calls yet"),
        (Path.mkdir, ExitCode.NOT_A_TABLE, "is no regular file"),
        (no_database, ExitCode.NOT_A_TABLE, "file is not a database"),
        (of_another, ExitCode.NOT_A_TABLE, "another application"),
        (torn, ExitCode.NOT_A_TABLE, "malformed"),
        (newer, ExitCode.NEWER_SCHEMA, "Upgrade"),
    ],
)
def test_a_table_that_cannot_be_read_is_explained(
    path: Path, make: Any, code: ExitCode, words: str
) -> None:
    make(path)
    for more in ((), ("--json",)):
        result = run("report", *more)
        assert result.exit_code == code
        if more and code == ExitCode.NO_CALLS:
            assert json.loads(result.stdout)["totals"]["calls"] == 0
        else:
            assert result.stdout == ""
        assert words in result.stderr
        assert "Traceback" not in result.stderr


def test_a_table_of_an_older_version_is_read(path: Path) -> None:
    record_calls(path, {})
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE llm_calls DROP COLUMN miss_reason")
    connection.execute("PRAGMA user_version = 60")
    connection.close()
    result = run("report", "--by", "reason", "--json")
    assert json.loads(result.stdout)["groups"][0]["key"] is None


def test_json_is_all_of_stdout(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    record_calls(path, {})
    result = run("report", "--json", "--by", "model")
    assert (result.exit_code, list(json.loads(result.stdout))) == (
        0,
        ["totals", "by", "groups", "unread", "rent"],
    )
    assert "Sampled: 1" in result.stderr


def test_no_calls_that_match_is_said_in_json_too(path: Path) -> None:
    record_calls(path, {})
    result = run("report", "--json", "--since", "1s")
    assert (result.exit_code, json.loads(result.stdout)["totals"]["calls"]) == (
        ExitCode.NO_CALLS,
        0,
    )
    assert "no calls since" in result.stderr
    assert "(--since 1s)" in result.stderr
    assert run("report", "--since", "1s").stdout == ""


def test_a_since_that_is_none_is_named() -> None:
    said = " ".join(run("report", "--since", "tomorrow").stderr.split())
    assert "--since" in said
    assert "'tomorrow'" in said


@pytest.mark.parametrize("column", ["time", "input_tokens"])
def test_a_table_with_text_for_numbers_is_explained(path: Path, column: str) -> None:
    record_calls(path, {}, {OUTCOME: "cold"})
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            f"UPDATE llm_calls SET {column} = 'text' WHERE rowid = 1"
        )  # a name of ours
    for arguments in (("report", "--by", "outcome"), ("export", "--out", "calls.parquet")):
        result = run(*arguments)
        assert (result.exit_code, "text instead of a number" in result.stderr) == (
            ExitCode.NOT_A_TABLE,
            True,
        )


def test_the_help_of_the_report_explains_its_words() -> None:
    page = run("report", "--help").stdout
    assert all(f"{word}: " in page for word in ("prefix", "family", "callsite", "reason"))


HIT: dict[str, Any] = {}  # as `record` has it: 800 of 1,000 tokens read
JUDGED: list[tuple[list[dict[str, Any]], list[str], ExitCode]] = [
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


@pytest.mark.parametrize(("calls", "more", "code"), JUDGED)
def test_exit_codes(
    path: Path, calls: list[dict[str, Any]], more: list[str], code: ExitCode
) -> None:
    record_calls(path, *calls)
    assert run("report", *more).exit_code == code


def test_sampled_rows_are_not_judged(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record_calls(path, {READ_TOKENS: 0})
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.1")
    record_calls(path, {READ_TOKENS: 0})
    result = run("report", "--fail-below", "0.5")
    assert (result.exit_code, "Not judged" in result.stderr) == (ExitCode.SAMPLED, True)


def test_html_is_written_beside(path: Path) -> None:
    record_calls(path, {GEN_AI_REQUEST_MODEL: "<b>"})
    assert run("report", "--html", "report.html", "--by", "model").exit_code == 0
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
def test_since(text: str, instant: float) -> None:
    assert table_options.parse_since(text, 10_000) == instant


@pytest.mark.parametrize("text", ["", "m", "-5m", "5y", "1.2.3h", "tomorrow"])
def test_since_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        table_options.parse_since(text, 0)


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30
    )  # our own code


def test_a_report_imports_no_server_and_no_sdk(path: Path) -> None:
    record_calls(path, {})
    done = python(
        "import sys; sys.argv = ['promptcache', 'report']\n"
        "from promptcache.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'starlette', 'uvicorn', 'openai', 'opentelemetry.sdk', 'genai_prices', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_missing_extra_is_one_clear_line(missing: str) -> None:
    done = python(
        "import importlib.util as util, sys\n"
        f"find = util.find_spec\nutil.find_spec = lambda name: None if name == '{missing}' else find(name)\n"
        "from promptcache.cli import main\nmain()"
    )
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert done.stderr == 'The command line needs an extra: pip install "promptcache[report]"\n'
