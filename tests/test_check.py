"""`promptcache check`: the checks of the pytest plugin for programs without pytest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from promptcache.cli import check, child_process
from promptcache.cli.exit_codes import ExitCode
from promptcache_testing.lock_file import to_entry, to_toml
from promptcache_testing.placeholders import PLACEHOLDER
from promptcache_testing.program_run.process_report import Failure, FailureKind
from promptcache_testing.summaries import PromptSummary, TestSummary
from tests.support.plugin_runs import LIGHT_AGENT
from tests.support.recorded_program import program_environ

CHECK: Final = (sys.executable, "-m", "promptcache.cli", "check")
TWO_CALLS: Final = "\nagent = Agent(); agent.run('one'); agent.run('two')\n"


class Programs:
    """A folder with the light agent, in which programs are checked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "agent.py").write_text(LIGHT_AGENT)

    def check(self, code: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Write `code` to program.py, and check it."""
        (self.folder / "program.py").write_text("from agent import Agent, HANDBOOK, TOOLS\n" + code)
        return self.run(*options, "--", sys.executable, "program.py", **variables)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environ = program_environ("http://unused.invalid", PYTHONHASHSEED="1", **variables)
        for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
            del environ[name]
        return subprocess.run(
            [*CHECK, *arguments],
            cwd=self.folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


def read_json(process: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(process.stdout)
    assert found["exit_code"] == process.returncode
    return found


STABLE: Final = """
from agent import Agent, HANDBOOK, TOOLS
import asyncio, contextlib, os, threading, uuid, httpx
print("key:", os.environ["OPENAI_API_KEY"])
open("agent.py").close()
with contextlib.suppress(httpx.ConnectError):
    httpx.get("https://allowed.invalid/")

def talk():
    agent = Agent(user=str(uuid.uuid4()))
    agent.run("one")
    agent.run("two")

thread = threading.Thread(target=talk)
thread.start()
thread.join()

async def talk_async():
    body = {"model": "gpt-4.1", "tools": TOOLS, "messages": [
        {"role": "system", "content": HANDBOOK}, {"role": "user", "content": "Be quick."}]}
    async with httpx.AsyncClient() as client:
        post = lambda: client.post("https://api.openai.com/v1/chat/completions", json=body)
        answers = await asyncio.gather(post(), post())
    assert all(answer.json()["choices"] for answer in answers)

asyncio.run(talk_async())
"""


def test_a_stable_program_passes_without_a_key(programs: Programs) -> None:
    """Its calls come from a thread and from asyncio; it is a module, and it needs its folder."""
    (programs.folder / "program.py").write_text(STABLE)
    options = ("--fail-below=0.7", "--allow-host=allowed.invalid", "--lock=new.lock", "--update")
    process = programs.run(*options, "--", sys.executable, "-m", "program")
    assert (process.returncode, process.stderr) == (ExitCode.OK, "")
    assert process.stdout.count(f"key: {PLACEHOLDER}\n") == 1
    assert process.stdout.endswith("program: new\n\npromptcache check: passed\n")
    _, row = (line for line in process.stdout.splitlines() if line.endswith(" program"))
    assert row.split()[0] == "4"
    assert "system_tokens = " in (programs.folder / "new.lock").read_text()


def test_a_date_in_the_system_prompt_fails_with_its_place(programs: Programs) -> None:
    """It differs from the lock too."""
    summary = programs.folder / "summary.md"
    entry = to_entry(TestSummary("program", True, 0.9, 0, [], [PromptSummary("", "", 1, 1, [])]))
    (programs.folder / "old.lock").write_text(to_toml({"program": entry}))
    process = programs.check(
        "import datetime\n"
        "agent = Agent(HANDBOOK + f'Today is {datetime.date.today()}.')\n"
        "agent.run('one'); agent.run('two')",
        "--lock=old.lock",
        GITHUB_STEP_SUMMARY=str(summary),
    )
    assert process.returncode == ExitCode.UNSTABLE_PREFIX
    place = "`system[0]` (byte 10095, looks like a `date`)"
    assert f": volatile_token: {place}\n  Move this value into the last message" in process.stdout
    assert "program differs from old.lock: prompt 0: tools changed (" in process.stdout
    assert "accept it with --update" in process.stdout
    assert f"second run differs: {place} at agent.py:" in summary.read_text()
    assert summary.read_text().count("### Prompt cache") == 1
    assert "promptcache check: failed (exit code 11)\n" in process.stdout


def test_every_kind_of_failure_is_named(programs: Programs) -> None:
    code = """
import contextlib, os, httpx
if not os.fork():
    Agent().run("one"); os._exit(0)
with contextlib.suppress(OSError):
    httpx.get("https://metrics.example.com/?key=secret")
agent.history[0]["content"] = "x" + HANDBOOK
agent.run("three")
raise SystemExit(3)
"""
    options = ("--once", "--json", "--fail-below=0.9", "--min-calls=4")
    found = read_json(programs.check(TWO_CALLS + code, *options))
    assert found["program_status"] == 3
    expected = [
        ("inconclusive", "the program ended with exit code 3"),
        ("inconclusive", "a process that called a model left no result"),
        ("inconclusive", "no request leaves the machine: GET https://metrics.example.com/;"),
        ("unstable", "call 3 (agent.py:"),
        ("hit_rate", "0.9 is required"),
        ("no_calls", "checked nothing: 3 of at least 4 calls"),
    ]
    failures = [(one["kind"], one["text"]) for one in found["failures"]]
    assert [kind for kind, _ in failures] == [kind for kind, _ in expected]
    assert all(words in text for (_, words), (_, text) in zip(expected, failures, strict=True))
    assert "secret" not in json.dumps(found)


def test_what_breaks_the_cache_decides_the_exit_code() -> None:
    kinds: tuple[FailureKind, ...] = ("no_calls", "inconclusive", "hit_rate", "unstable")
    codes = [check.choose_exit_code([Failure(one, "") for one in kinds[:n]]) for n in range(5)]
    assert codes == [
        ExitCode.OK,
        ExitCode.NO_CALLS,
        ExitCode.INCONCLUSIVE,
        ExitCode.BELOW_TARGET,
        ExitCode.UNSTABLE_PREFIX,
    ]


def test_a_program_that_fails_in_the_second_run_only_is_inconclusive(programs: Programs) -> None:
    process = programs.check(
        TWO_CALLS + "assert 'second' not in __import__('os').getcwd(), 'canary'", "--json"
    )
    found = read_json(process)
    assert (found["exit_code"], found["program_status"]) == (ExitCode.INCONCLUSIVE, 0)
    (failure,) = found["failures"]
    assert failure["text"].endswith("it failed: the program ended with exit code 1")
    assert "AssertionError: canary" in process.stderr
    assert "canary" not in process.stdout


def test_a_program_that_fails_writes_no_lock(programs: Programs) -> None:
    options = ("--once", "--lock", "new.lock", "--update")
    process = programs.check(TWO_CALLS + "raise SystemExit(3)", *options)
    assert process.returncode == ExitCode.INCONCLUSIVE
    assert "new.lock was not written, since the run is incomplete" in process.stdout
    assert not (programs.folder / "new.lock").exists()


def test_forked_processes_are_answered_and_checked_each_by_itself(programs: Programs) -> None:
    code = """
import multiprocessing, os
def talk(role):
    agent = Agent(HANDBOOK + role); agent.run("one"); agent.run("two")
talk("first")
child = multiprocessing.get_context("fork").Process(target=talk, args=["second"])
child.start(); child.join()
if os.fork():
    os.wait()
else:
    talk("third")
"""
    found = read_json(programs.check(code, "--once", "--json"))
    assert found["failures"] == []
    counts = {one["name"]: len(one["calls"]) for one in found["processes"]}
    assert counts == {"program": 2, "program (process 2)": 2, "program (process 3)": 2}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--once", "--", sys.executable, "-I", "-c", "1"), 2, "no Python process of the program"),
        (("--", "no-such-program"), 2, "no-such-program: not found"),
        (("--update", "--", "true"), 2, "it needs --lock FILE"),
        (("--lock", "none.lock", "--", "true"), 4, "does not exist; --update writes it"),
        (("--fail-below", "90", "--", "true"), 2, "did you mean 0.9?"),
    ],
)
def test_what_cannot_be_checked_is_said(
    arguments: tuple[str, ...], code: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "_forward_signals", str)  # those of pytest stay
    result = CliRunner().invoke(check.app, arguments)
    assert result.exit_code == code
    assert words in " ".join(result.stderr.replace("│", " ").split())


def test_a_process_that_cannot_start_sends_nothing(programs: Programs) -> None:
    (programs.folder / "program.py").write_text("print('ran')")
    startup = Path(__file__).parent.parent / "exporters/promptcache_exporters/recording/startup"
    environ = os.environ | {"PROMPTCACHE_CHECK": "{}"}
    environ["PYTHONPATH"] = os.pathsep.join([str(startup), *map(os.path.abspath, sys.path)])
    process = subprocess.run(
        [sys.executable, "program.py"], cwd=programs.folder, env=environ, capture_output=True
    )
    assert process.returncode
    assert not process.stdout
