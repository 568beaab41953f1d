"""Launch a program of one framework, and look at the rows that it leaves at its exit.

    python -m tests.frameworks.launch autogen

The program is an application in `programs/`. It runs under `opentelemetry-instrument` or
`promptcache run`, with the real packages, against the emulator. Each of its calls must have a row
with the agent that a span around the call names. No line may be wrong, and most must be the one
that a person would name. Prints the figures, and exits with 1 if they are not the expected ones.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

from promptcache_emulator.engine import Emulator
from promptcache_emulator.server import running_server
from tests.alerts_e2e.local_services import free_port

PROGRAMS: Final = Path(__file__).parent / "programs"
SCRIPTS: Final = Path(sys.executable).parent
MARK: Final = "# call"
"""Ends each line of a program that a person would name for a call."""
TIMEOUT: Final = 180
RIGHT_LINES: Final = 0.8
"""The least share of the lines that are right. All others must be absent."""

AIDER_OPTIONS: Final = (
    *("--model", "openai/gpt-4o-mini", "--no-git", "--yes-always", "--no-check-update"),
    *("--no-show-model-warnings", "--no-show-release-notes", "--analytics-disable"),
    *("--openai-api-base", "{url}/v1", "--chat-mode", "ask"),
)


class Row(NamedTuple):
    """One call as the table has it: its function, whether its line is a marked one, its agent."""

    function: str | None
    has_marked_line: bool
    agent: str | None


@dataclass(frozen=True)
class Launch:
    """A program, and the calls that it makes.

    `calls` maps function and agent to the number of calls. A function of None stands for a call
    about which nothing true can be said: no line of an application makes it or waits for it.
    """

    command: tuple[str, ...]
    calls: Mapping[tuple[str | None, str | None], int]
    is_recorded: bool = False
    """Whether `promptcache run` launches it, and not `opentelemetry-instrument`."""
    paths: tuple[str, ...] = ()
    """What is requested from it if it is a server."""
    client: Launch | None = None
    """The program that calls it if it is a gateway: the variable `PROXY` has its address."""
    environ: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def is_server(self) -> bool:
        """Whether it answers at a port, until SIGTERM ends it."""
        return "{port}" in self.command

    @property
    def nameable(self) -> int:
        """The number of calls that a line of the application makes or waits for."""
        return sum(count for (function, _), count in self.calls.items() if function is not None)


LAUNCHES: Final[Mapping[str, tuple[Launch, ...]]] = {
    "instructor": (
        Launch(
            ("python", "instructor_calls.py"),
            {(name, None): 1 for name in ("ask", "ask_stream", "ask_async", "ask_other")},
        ),
    ),
    "langgraph": (
        Launch(
            ("python", "langgraph_calls.py"),
            {
                ("ask", None): 1,
                ("stream", None): 1,
                ("ask_async", None): 2,
                ("stream_async", None): 2,
                ("ask_many", None): 2,
            },
        ),
        Launch(
            ("uvicorn", "langgraph_server:app", "--port", "{port}"),
            {("answer", None): 2, ("answer_in_thread", None): 1, ("read_tokens", None): 1},
            is_recorded=True,
            paths=("/answer", "/answer-in-thread", "/stream", "/answer"),
        ),
    ),
    "strands": (
        Launch(
            ("python", "strands_calls.py"),
            {("ask", "warden"): 1, ("ask_async", "guide"): 2, ("stream", "warden"): 2},
        ),
    ),
    "crewai": (
        Launch(
            ("python", "crewai_calls.py"),
            {
                (name, None): 1
                for name in ("ask_model", "ask_crew", "ask_crew_async", "ask_crew_natively")
            },
        ),
    ),
    "dspy": (
        Launch(
            ("python", "dspy_calls.py"),
            {
                ("ask", None): 1,
                ("ask_async", None): 1,
                ("ask_in_threads", None): 2,
                ("stream", None): 1,
            },
        ),
    ),
    "autogen": (
        Launch(
            ("python", "autogen_calls.py"),
            {
                ("ask_agent", "warden"): 1,
                ("ask_team", "warden"): 2,
                ("ask_team", "guide"): 2,
                ("stream_team", "warden"): 2,
                ("stream_team", "guide"): 2,
            },
        ),
    ),
    "google-adk": (
        Launch(
            ("python", "google_adk_calls.py"),
            {("ask_async", "warden"): 2, ("ask_guide", "guide"): 1, ("ask", "warden"): 1},
        ),
    ),
    "llama-index": (
        Launch(
            ("python", "llama_index_calls.py"),
            {
                ("ask", None): 1,
                ("stream", None): 1,
                ("ask_async", None): 2,
                ("ask_agent", None): 2,
                ("read_agent", None): 1,
            },
        ),
    ),
    "openai-agents": (
        Launch(
            ("python", "openai_agents_calls.py"),
            {
                ("ask", None): 1,
                ("ask_async", None): 2,
                ("stream", None): 2,
                ("stream_guide", None): 1,
            },
            is_recorded=True,
        ),
    ),
    "pydantic-ai": (
        Launch(
            ("python", "pydantic_ai_calls.py"),
            {
                ("ask", "warden"): 1,
                ("ask_async", "guide"): 2,
                ("stream", "warden"): 2,
                ("stream_events", "warden"): 2,
            },
        ),
    ),
    "litellm-proxy": (
        Launch(
            ("litellm", "--config", "litellm_proxy.yaml", "--port", "{port}"),
            {(None, None): 3},
            is_recorded=True,
            environ={"LITELLM_MASTER_KEY": "sk-camp"},
            client=Launch(
                ("python", "litellm_calls.py"),
                {(name, None): 1 for name in ("ask", "stream", "ask_async")},
            ),
        ),
    ),
    "aider": (
        Launch(("python", "aider_calls.py"), {("ask", None): 1, ("stream", None): 1}),
        Launch(
            ("aider", *AIDER_OPTIONS, "--message", "Where is my tent?"),
            {(None, None): 1},
            is_recorded=True,
        ),
    ),
}
"""Framework -> its programs, each with the calls that must have a row."""


def run_launch(launch: Launch, url: str, folder: Path) -> Iterator[Result]:
    """Run a program, and its client if it has one, to the end. Yield what their rows are like."""
    table = folder / "calls.db"
    shutil.copytree(PROGRAMS, programs := folder / "programs")  # some write beside themselves
    with running(launch, url, programs, table) as (process, address):
        for path in launch.paths:
            urllib.request.urlopen(f"{address}{path}", timeout=TIMEOUT).read()
        if launch.client is not None:
            client = replace(launch.client, environ={**launch.environ, "PROXY": address})
            (folder / "client").mkdir()
            yield from run_launch(client, url, folder / "client")
        if launch.is_server:
            process.send_signal(signal.SIGTERM)
        process.wait(TIMEOUT)
    yield Result(launch, read_rows(table))


@contextmanager
def running(
    launch: Launch, url: str, programs: Path, table: Path
) -> Generator[tuple[subprocess.Popen[bytes], str]]:
    """Start a program, and wait until it answers if it is a server. Yield it and its address."""
    port = free_port()
    program, *arguments = (part.format(port=port, url=url) for part in launch.command)
    launcher: tuple[str | Path, ...]
    if launch.is_recorded:
        launcher = (SCRIPTS / "promptcache", "run", "--db", table, "--no-report", "--")
    else:
        launcher = (SCRIPTS / "opentelemetry-instrument",)
    process = subprocess.Popen(
        [*launcher, SCRIPTS / program, *arguments],
        cwd=programs,
        env=launched_environ(launch, url, table),
    )
    with process:
        try:
            address = f"http://127.0.0.1:{port}"
            if launch.is_server:
                wait_for_server(address)
            yield process, address
        finally:
            process.kill()


def launched_environ(launch: Launch, url: str, table: Path) -> Mapping[str, str]:
    """Return the environment of a program: the launcher writes its spans into `table`."""
    return {
        **os.environ,
        "EMULATOR": url,
        "EMULATOR_OPENAI": f"{url}/v1",
        "OPENAI_API_KEY": "k",
        "OTEL_TRACES_EXPORTER": "promptcache_sqlite",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_PROMPTCACHE_DB": str(table),
        "PYTHONWARNINGS": "ignore",
        "LITELLM_LOCAL_MODEL_COST_MAP": "true",
        **launch.environ,
    }


def wait_for_server(address: str) -> None:
    """Return when a server answers, with whatever."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(address, timeout=TIMEOUT).read()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(f"no server at {address}")


def read_rows(table: Path) -> list[Row]:
    """Return the calls of a table."""
    with closing(sqlite3.connect(table)) as connection:
        columns = "code_function, code_file, code_line, agent_name"
        rows = connection.execute(f"SELECT {columns} FROM llm_calls").fetchall()
    return [
        Row(function and function.rpartition(".")[2], is_marked(file, line), agent)
        for function, file, line, agent in rows
    ]


def is_marked(file: str | None, line: int | None) -> bool:
    """Return whether a line of a program is one that a person would name for a call."""
    if file is None or line is None:
        return False
    return (PROGRAMS / file).read_text(encoding="utf-8").splitlines()[line - 1].endswith(MARK)


@dataclass(frozen=True)
class Result:
    """How the rows of a launch compare with the expected calls."""

    launch: Launch
    rows: list[Row]

    @property
    def right(self) -> int:
        """The number of rows that name the line that a person would name."""
        expected: Counter[str] = Counter()
        for (function, _), count in self.launch.calls.items():
            if function is not None:
                expected[function] += count
        marked = Counter(row.function for row in self.rows if row.has_marked_line)
        return sum(min(count, marked[function]) for function, count in expected.items())

    @property
    def wrong(self) -> int:
        """The number of rows that name another line."""
        return sum(row.function is not None for row in self.rows) - self.right

    @property
    def has_right_agents(self) -> bool:
        """Whether the calls have rows, no more and no less, and each its agent or none."""
        expected: Counter[str | None] = Counter()
        for (_, agent), count in self.launch.calls.items():
            expected[agent] += count
        return Counter(row.agent for row in self.rows) == expected

    @property
    def is_right(self) -> bool:
        """Whether each call has a row and its agent, no line is wrong, and enough are right."""
        enough = self.right >= RIGHT_LINES * self.launch.nameable
        return self.has_right_agents and not self.wrong and enough

    def __str__(self) -> str:
        """Return the figures. If they are wrong, then also the rows."""
        calls, rows = self.launch.calls, Counter((row.function, row.agent) for row in self.rows)
        agents = "agents right" if self.has_right_agents else "AGENTS WRONG"
        figures = (
            f"{sum(calls.values())} calls, {len(self.rows)} rows at exit, "
            f"{self.right} of {self.launch.nameable} lines right, {self.wrong} wrong, {agents}"
        )
        return figures if self.is_right else f"{figures}; expected {calls}, found {dict(rows)}"


def main(name: str) -> int:
    """Launch the programs of one framework."""
    is_right, emulator = True, Emulator()
    # A provider takes some time, in which a framework begins to wait for the answer.
    emulator.faults.add_fault("slow=0.05", times=1000)
    with running_server(emulator) as url:
        for launch in LAUNCHES.get(name, ()):
            with tempfile.TemporaryDirectory() as folder:
                for result in run_launch(launch, url, Path(folder)):
                    is_right = is_right and result.is_right
                    print(f"  {' '.join(result.launch.command):44} {result}", flush=True)
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
