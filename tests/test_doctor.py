"""`promptcache doctor` names each fault, says what to do, and finds none where there is none."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from promptcache.cli.exit_codes import ExitCode
from promptcache.settings import Settings, list_setting_variables
from promptcache_exporters.doctor import environment, packages, table
from promptcache_exporters.doctor.finding import Finding, Level
from promptcache_exporters.doctor.program import check_program
from tests.support.forked_programs import run_forked
from tests.support.recorded_program import CALL, program_environ
from tests.support.span_builders import record_calls
from tests.support.wheel import ROOT

TIMEOUT: Final = 120
DOCTOR: Final = (sys.executable, "-m", "promptcache.cli", "doctor")
WITH_SERVED_EMULATOR: Final = """
import os, sys
from contextlib import nullcontext
from promptcache.cli import doctor
doctor._running_emulator = lambda: nullcontext(os.environ["OPENAI_BASE_URL"].removesuffix("/v1"))
doctor.app(sys.argv[1:])
"""
"""The trial call goes to the emulator of the tests: another one takes a second to start."""
WITHOUT_TRIAL_CALL: Final = """
import sys
from promptcache.cli import doctor
doctor.try_call = lambda: ()
doctor.app(sys.argv[1:])
"""

Findings = dict[str, dict[str, str]]
"""The findings of the doctor by name."""


def run_doctor(
    program: str, folder: Path, url: str, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the doctor as `program` in a copy of a process that has imported the SDKs."""
    environ = program_environ(url, **variables)
    return run_forked(program, *arguments, environ=environ, folder=folder, timeout=TIMEOUT)


def read_findings(process: subprocess.CompletedProcess[str]) -> Findings:
    findings = json.loads(process.stdout)["findings"]
    return {finding["name"]: finding for finding in findings}


def test_a_sound_installation_has_no_finding_with_advice(tmp_path: Path) -> None:
    """Every variable that the README lists is a setting to the doctor."""
    readme = (ROOT / "README.md").read_text()
    listed = set(re.findall(r"`(OTEL_PROMPTCACHE_\w+)`", readme))
    assert listed <= {*list_setting_variables(), *environment.OTHER_SETTINGS}
    process = subprocess.run(
        [*DOCTOR, "--json"],
        cwd=tmp_path,
        env=program_environ("http://127.0.0.1:9"),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert process.returncode == ExitCode.OK
    findings = read_findings(process)
    assert {finding["level"] for finding in findings.values()} == {"ok"}
    assert "is in a table of its own" in findings["trial"]["text"]
    assert not [*tmp_path.iterdir()]


FAULTS: Final[Mapping[str, Mapping[str, str]]] = {
    "setting-invalid": {"OTEL_PROMPTCACHE_HASHES": "non"},
    "price-file": {"OTEL_PROMPTCACHE_PRICES": "no-such-file.json"},
    "exporter-missing": {"OTEL_TRACES_EXPORTER": "zipkin_of_old"},
    "table-folder": {"OTEL_PROMPTCACHE_DB": "no-such-folder/calls.db"},
}
LONE_FAULTS: Final[Mapping[str, Mapping[str, str]]] = {
    "sdk-disabled": {"OTEL_SDK_DISABLED": "true"},
    "instrumentation-disabled": {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "flask, promptcache"},
}
DOUBTS: Final[Mapping[str, Mapping[str, str]]] = {
    "setting-unknown": {"OTEL_PROMPTCACHE_HASH": "all"},
    "short-key": {"OTEL_PROMPTCACHE_HASH_KEY": "x"},
}
LONE_DOUBTS: Final[Mapping[str, Mapping[str, str]]] = {
    "hashes-without-key": {"OTEL_PROMPTCACHE_HASHES": "all"},
}
SAMPLED: Final[Mapping[str, Mapping[str, str]]] = {
    "sampled": {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.0"},
}


@pytest.mark.parametrize(
    ("variables_by_name", "level", "exit_code"),
    [
        (FAULTS, "fault", ExitCode.FAULT_FOUND),
        *(({name: LONE_FAULTS[name]}, "fault", ExitCode.FAULT_FOUND) for name in LONE_FAULTS),
        (DOUBTS, "warning", ExitCode.OK),
        (LONE_DOUBTS, "warning", ExitCode.OK),
        (SAMPLED, "warning", ExitCode.FAULT_FOUND),
    ],
    ids=["faults", *LONE_FAULTS, "doubts", *LONE_DOUBTS, "sampled"],
)
def test_variables_that_lose_calls_or_privacy_are_named(
    variables_by_name: Mapping[str, Mapping[str, str]],
    level: str,
    exit_code: ExitCode,
    emulator_url: str,
    tmp_path: Path,
) -> None:
    """A process takes seconds, so faults that do not hide each other are planted together."""
    variables = {key: value for row in variables_by_name.values() for key, value in row.items()}
    process = run_doctor(WITH_SERVED_EMULATOR, tmp_path, emulator_url, "--json", **variables)
    assert process.returncode == exit_code
    findings = read_findings(process)
    for name, planted in variables_by_name.items():
        assert findings[name]["level"] == level
        assert any(variable in findings[name]["text"] for variable in planted) or name in {
            "table-folder"
        }
        assert findings[name]["advice"]


def make_link(path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere.db"))


def make_text_file(path: Path) -> None:
    path.write_bytes(b"text, and not a little of it\n" * 100)


def make_readable(path: Path) -> None:
    record_calls(path, {})
    path.chmod(0o644)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("table-unsafe", make_link),
        ("table-unreadable", make_text_file),
        ("table-readable", make_readable),
    ],
)
def test_a_table_that_is_not_as_it_should_be_is_named(
    name: str, make: Callable[[Path], None], tmp_path: Path
) -> None:
    make(tmp_path / "calls.db")
    found = {finding.name: finding for finding in table.check_table(tmp_path / "calls.db")}
    assert (found[name].level is not Level.OK, bool(found[name].advice)) == (True, True)


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MIN_FREE_BYTES", 2**80)
    assert "disk-full" in {finding.name for finding in table.check_table(tmp_path / "calls.db")}


def test_the_rows_of_the_table_are_counted(tmp_path: Path) -> None:
    record_calls(tmp_path / "promptcache.db", {}, {})
    (finding,) = table.check_table(tmp_path / "promptcache.db")
    assert "has 2 calls, the last at 2026-09-21" in finding.text


def run_program_under_doctor(
    folder: Path, url: str, program: str, *flags: str
) -> tuple[int, Findings]:
    (folder / "app.py").write_text(program)
    command = (sys.executable, *flags, "app.py")
    process = run_doctor(WITHOUT_TRIAL_CALL, folder, url, "--json", "--", *command)
    return process.returncode, read_findings(process)


def test_a_program_whose_calls_are_recorded_is_well(emulator_url: str, tmp_path: Path) -> None:
    code, findings = run_program_under_doctor(
        tmp_path, emulator_url, f"{CALL}\ncall(); call(); print('own output')"
    )
    assert (code, "2 calls were seen" in findings["program"]["text"]) == (ExitCode.OK, True)
    assert not (tmp_path / "promptcache.db").exists()


SUPPRESSED: Final = f"""{CALL}
from opentelemetry.instrumentation.utils import suppress_instrumentation
with suppress_instrumentation():
    call()
"""
UNPATCHED: Final = """
import sys, types
sys.modules["openai"] = types.ModuleType("openai")
import importlib.machinery
sys.modules["openai"].__spec__ = importlib.machinery.ModuleSpec("openai", None)
import anthropic
"""
STREAM: Final = f"""{CALL}
stream = openai.OpenAI().chat.completions.create(
    model="gpt-5.4", stream=True, messages=[{{"role": "user", "content": "Where?"}}])
for item in stream: pass
"""
KILLED: Final = f"{CALL}\nimport os\ncall()\nos._exit(0)"


@pytest.mark.parametrize(
    ("name", "program", "flags"),
    [
        ("not-reached", "print(1)", ("-I",)),
        ("no-sdk-imported", "print(1)", ()),
        ("no-calls", "import openai", ()),
        ("calls-suppressed", SUPPRESSED, ()),
        ("sdk-unpatched", UNPATCHED, ()),
        ("streams-without-usage", STREAM, ()),
        ("ended-abruptly", KILLED, ()),
        ("program-failed", "raise SystemExit(3)", ()),
    ],
)
def test_a_program_without_rows_is_told_the_reason(
    name: str, program: str, flags: tuple[str, ...], emulator_url: str, tmp_path: Path
) -> None:
    _, findings = run_program_under_doctor(tmp_path, emulator_url, program, *flags)
    assert findings[name]["level"] != "ok"
    assert findings[name]["advice"]


FACTS: Final[Mapping[str, Any]] = {
    "python": "python",
    "has_sdk": True,
    "sdks": {"openai": "observed"},
    "provider": "opentelemetry.trace.ProxyTracerProvider",
    "takes_processors": False,
    "sampler": None,
    "observed_calls": 2,
    "suppressed_calls": 0,
    "is_at_end": True,
}


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("rows-missing", {}),
        ("no-opentelemetry-sdk", {"has_sdk": False}),
        ("foreign-provider", {"provider": "ddtrace.opentelemetry.TracerProvider"}),
        ("sampled", {"sampler": "TraceIdRatioBased{0.1}", "takes_processors": True}),
    ],
)
def test_what_the_processes_say_is_understood(
    name: str, facts: Mapping[str, Any], tmp_path: Path
) -> None:
    found = list(check_program([{**FACTS, **facts}], tmp_path / "calls.db"))
    assert name in {finding.name for finding in found if finding.advice}


def test_another_owner_of_the_import_name_is_named() -> None:
    found = list(packages.check_import_name({"promptcache": ["promptcache", "promptcache-ai"]}))
    assert [finding.name for finding in found] == ["import-name-taken"]
    assert "pip uninstall promptcache-ai" in found[0].advice
    assert not list(packages.check_import_name({"promptcache": ["promptcache", "promptcache"]}))


def find_package_faults(
    monkeypatch: pytest.MonkeyPatch, versions: Mapping[str, str]
) -> list[Finding]:
    def find_versions(names: Any) -> dict[str, str]:
        return {name: versions[name] for name in names if name in versions}

    monkeypatch.setattr(packages, "find_versions", find_versions)
    return [finding for finding in packages.check_packages() if finding.advice]


@pytest.mark.parametrize(
    ("versions", "names"),
    [
        ({"openai": "1.39.0"}, ["sdk-too-old"]),
        ({"openai": "1.40.0"}, []),
        ({"openai": "1.9"}, ["sdk-too-old"]),
        ({"groq": "1.0.0rc1", "anthropic": "0.40"}, []),
        ({}, ["no-llm-sdk"]),
        ({"litellm": "1.80"}, []),
    ],
)
def test_an_sdk_that_is_too_old_or_missing_is_named(
    versions: Mapping[str, str], names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [finding.name for finding in find_package_faults(monkeypatch, versions)] == names


def test_a_missing_opentelemetry_sdk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_nothing(name: str) -> None:
        return None

    monkeypatch.setattr(packages, "find_spec", find_nothing)
    found = find_package_faults(monkeypatch, {"openai": "3.0"})
    assert [finding.name for finding in found] == ["no-opentelemetry-sdk"]


def test_the_oldest_releases_are_those_of_the_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = project["optional-dependencies"]["instruments-any"]
    assert dict(one.split(">=") for one in requirements) == packages.OLDEST_RELEASES


def test_the_doctor_writes_for_people_too(emulator_url: str, tmp_path: Path) -> None:
    target = {"OTEL_PROMPTCACHE_TARGET": "two"}
    process = run_doctor(WITHOUT_TRIAL_CALL, tmp_path, emulator_url, **target)
    assert process.returncode == ExitCode.FAULT_FOUND
    lines = process.stdout.splitlines()
    assert any(line.startswith("fault    setting-invalid: ") for line in lines)
    assert any(line.strip().startswith("To do: ") for line in lines)


def test_no_key_and_no_value_is_printed(emulator_url: str, tmp_path: Path) -> None:
    secrets = {"OTEL_PROMPTCACHE_HASH_KEY": "kanarie", "OTEL_PROMPTCACHE_TARGET": "kanarie"}
    process = run_doctor(WITH_SERVED_EMULATOR, tmp_path, emulator_url, **secrets)
    assert "kanarie" not in process.stdout + process.stderr


@pytest.mark.parametrize("typo", ["non", "ALL ", "statics", "0"])
def test_a_typo_in_the_hashes_exports_no_hash(typo: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        settings = Settings.load({"OTEL_PROMPTCACHE_HASHES": typo})
    assert settings.hashes == "none"
    assert "no hash is exported" in caplog.text


def test_the_doctor_needs_no_permission(tmp_path: Path) -> None:
    """A folder that cannot be written is a finding, not a failure (root may write everywhere)."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    folder.chmod(0o500)
    found = {finding.name for finding in table.check_table(folder / "calls.db")}
    assert ("table-read-only" in found) == (os.geteuid() != 0)
