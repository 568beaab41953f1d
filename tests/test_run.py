"""`promptcache run` records a program that knows nothing of it, and that notices nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from promptcache.cli.program_name import name_program
from promptcache_exporters.recording.program import choose_exporters
from tests.alerts_e2e.local_services import free_port
from tests.support.recorded_program import CALL, RUN, program_environ, read_rows

TIMEOUT: Final = 60


def run_program(
    folder: Path, url: str, program: str, *options: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Write `program` to app.py, and run it under `promptcache run`."""
    (folder / "app.py").write_text(program)
    return run_command(folder, url, *options, "--", sys.executable, "app.py", **variables)


def run_command(
    folder: Path, url: str, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, *arguments],
        cwd=folder,
        env=program_environ(url, **variables),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


@contextmanager
def running(folder: Path, url: str, *command: str, **variables: str) -> Generator[Any]:
    """Run a command under `promptcache run`, and kill it at the end of the block."""
    process = subprocess.Popen(
        [*RUN, "--", *command],
        cwd=folder,
        env=program_environ(url, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_a_program_leaves_its_rows_and_the_report_goes_to_standard_error(
    emulator_url: str, tmp_path: Path
) -> None:
    program = f"{CALL}\ncall(); call()\nprint('answer', end='')"
    process = run_program(tmp_path, emulator_url, program)
    assert (process.returncode, process.stdout) == (0, "answer")
    assert "Calls     2," in process.stderr
    rows = read_rows(tmp_path / "promptcache.db", "service, outcome")
    assert rows == [("app", "cold"), ("app", "hit")]


def test_the_report_covers_the_calls_of_this_run_only(emulator_url: str, tmp_path: Path) -> None:
    first = run_program(tmp_path, emulator_url, f"{CALL}\ncall(); call()")
    second = run_program(tmp_path, emulator_url, f"{CALL}\ncall()")
    assert ("Calls     2," in first.stderr, "Calls     1," in second.stderr) == (True, True)
    assert len(read_rows(tmp_path / "promptcache.db")) == 3


def test_a_program_without_calls_is_told_so(emulator_url: str, tmp_path: Path) -> None:
    process = run_program(tmp_path, emulator_url, "print(1)")
    assert (process.stdout, "recorded no LLM call" in process.stderr) == ("1\n", True)
    assert not (tmp_path / "promptcache.db").exists()


def test_live_shows_each_call(emulator_url: str, tmp_path: Path) -> None:
    process = run_program(
        tmp_path, emulator_url, f"{CALL}\ncall(); call()", "--live", "--no-report"
    )
    lines = process.stderr.splitlines()
    assert ["cold" in lines[0], "hit" in lines[1], len(lines)] == [True, True, 3]
    assert "is new. It keeps 30d,2GB of calls" in lines[2]
    assert process.stdout == ""


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("sys.exit(7)", 7),
        ("raise RuntimeError('own')", 1),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
        ("os.abort()", -signal.SIGABRT),
    ],
)
def test_a_program_ends_as_it_does_alone(
    ending: str, status: int, emulator_url: str, tmp_path: Path
) -> None:
    process = run_program(tmp_path, emulator_url, f"import os, signal, sys\n{ending}")
    assert process.returncode == status


@pytest.mark.parametrize(
    ("command", "status", "text"),
    [("no-such-program", 127, "not found"), ("./app.txt", 126, "Permission denied")],
)
def test_a_program_that_cannot_start_gives_the_exit_code_of_a_shell(
    command: str, status: int, text: str, emulator_url: str, tmp_path: Path
) -> None:
    (tmp_path / "app.txt").write_text("")
    process = run_command(tmp_path, emulator_url, "--", command)
    assert (process.returncode, text in process.stderr) == (status, True)
    assert "Traceback" not in process.stderr


WAIT: Final = f"""
import signal, sys, time
{CALL}
call()
stream = openai.OpenAI().chat.completions.create(
    model="gpt-5.4", stream=True, messages=[{{"role": "user", "content": "Where?"}}])
next(iter(stream))
print("ready", flush=True)
time.sleep({TIMEOUT})
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_program_after_its_last_rows(
    number: signal.Signals, emulator_url: str, tmp_path: Path
) -> None:
    """The interval of the batches is far away, so that only the signal can write the rows."""
    (tmp_path / "app.py").write_text(WAIT)
    interval = {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
    with running(tmp_path, emulator_url, sys.executable, "app.py", **interval) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        output, errors = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, output) == (-number, "")
    assert "Calls     2," in errors
    assert len(read_rows(tmp_path / "promptcache.db")) == 2


def test_a_program_handles_signals_itself(emulator_url: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import signal\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('user', flush=True))\n"
        "signal.signal(signal.SIGTERM, lambda *_: exit(5))\n"
        "print('ready', flush=True)\n"
        "while True: signal.pause()\n"
    )
    with running(tmp_path, emulator_url, sys.executable, "app.py") as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == "user\n"
        process.terminate()
        assert process.wait(TIMEOUT) == 5


def test_a_program_keeps_its_search_path_and_its_own_sitecustomize(
    emulator_url: str, tmp_path: Path
) -> None:
    show = "import sys; print(mark, sys.path, sys.modules['sitecustomize'].__file__, sys.argv)"
    (tmp_path / "app.py").write_text(show)
    (tmp_path / "sitecustomize.py").write_text("import builtins; builtins.mark = 'own'")
    paths = program_environ(emulator_url)["PYTHONPATH"] + f":{tmp_path}"
    command = [sys.executable, "app.py", "--flag", "-x"]
    alone = subprocess.run(
        command,
        cwd=tmp_path,
        env=program_environ(emulator_url, PYTHONPATH=paths),
        capture_output=True,
        text=True,
    )
    below = run_command(tmp_path, emulator_url, "--", *command, PYTHONPATH=paths)
    assert alone.stdout.startswith("own [")
    assert (below.stdout, alone.stderr) == (alone.stdout, "")


OWN_PROVIDER: Final = f"""
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
{CALL}
call()
kept = InMemorySpanExporter()
provider = TracerProvider(resource=Resource({{"service.name": "own"}}))
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)
call()
with trace.get_tracer("app").start_as_current_span("chat", attributes={{
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5.4"}}):
    call()
print(trace.get_tracer_provider() is provider, [span.name for span in kept.get_finished_spans()])
"""


def test_the_tracer_provider_of_the_program_stays_and_gets_a_processor(
    emulator_url: str, tmp_path: Path
) -> None:
    process = run_program(tmp_path, emulator_url, OWN_PROVIDER)
    assert process.stdout == "True ['chat gpt-5.4', 'chat']\n"
    assert "Overriding" not in process.stderr
    services = read_rows(tmp_path / "promptcache.db", "service")
    assert services == [("app",), ("own",), ("own",)]


def test_the_exporters_of_the_user_work_beside_it(emulator_url: str, tmp_path: Path) -> None:
    console = {"OTEL_TRACES_EXPORTER": "console", "OTEL_SERVICE_NAME": "shop"}
    process = run_program(tmp_path, emulator_url, f"{CALL}\ncall()", **console)
    assert '"name": "chat gpt-5.4"' in process.stdout
    assert read_rows(tmp_path / "promptcache.db", "service") == [("shop",)]


ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.mark.parametrize(
    ("environ", "has_otlp", "expected"),
    [
        ({}, True, {}),
        ({"OTEL_SERVICE_NAME": "shop"}, True, {}),
        ({"OTEL_TRACES_EXPORTER": "none"}, True, {}),
        ({ENDPOINT: "http://here"}, False, {}),
        ({ENDPOINT: "http://here"}, True, ("otlp", "otlp", "otlp")),
        ({ENDPOINT: "http://here", "OTEL_LOGS_EXPORTER": "none"}, True, ("otlp", "otlp", "none")),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, True, ("none", "prometheus", "none")),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://here"}, True, ("otlp", "none", "none")),
        ({"OTEL_CONFIG_FILE": "otel.yaml"}, True, ("none", "none", "none")),
    ],
)
def test_a_signal_without_a_setting_is_not_exported(
    environ: dict[str, str], has_otlp: bool, expected: Any
) -> None:
    chosen = choose_exporters(environ, has_otlp=has_otlp)
    names = ("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER")
    assert (tuple(chosen[name] for name in names) if chosen else {}) == expected


FORK: Final = f"""
import multiprocessing
{CALL}
if __name__ == "__main__":
    call()
    for method in ("fork", "spawn"):
        child = multiprocessing.get_context(method).Process(target=call)
        child.start()
        child.join()
        print(child.exitcode)
"""


def test_child_processes_are_recorded(emulator_url: str, tmp_path: Path) -> None:
    interval = {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
    process = run_program(tmp_path, emulator_url, FORK, **interval)
    assert process.stdout == "0\n0\n", process.stderr
    assert len(read_rows(tmp_path / "promptcache.db")) == 3


def test_pytest_is_recorded(emulator_url: str, tmp_path: Path) -> None:
    (tmp_path / "test_app.py").write_text(f"{CALL}\ndef test_call(): assert call()")
    process = run_command(
        tmp_path, emulator_url, "--", sys.executable, "-m", "pytest", "-q", "test_app.py"
    )
    assert "1 passed" in process.stdout
    assert read_rows(tmp_path / "promptcache.db", "service") == [("pytest",)]


SERVED: Final = f"""
{CALL}
async def app(scope, receive, send):
    if scope["type"] == "http":
        call()
        await send({{"type": "http.response.start", "status": 200, "headers": []}})
        await send({{"type": "http.response.body", "body": b"done"}})
"""


def fetch_when_served(url: str) -> bytes:
    """Return the answer of a server that may still be starting."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
                return bytes(answer.read())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_uvicorn_is_recorded_until_it_is_stopped(
    workers: str, emulator_url: str, tmp_path: Path
) -> None:
    (tmp_path / "served.py").write_text(SERVED)
    port = free_port()
    command = (sys.executable, "-m", "uvicorn", "served:app", "--port", str(port))
    interval = {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
    with running(tmp_path, emulator_url, *command, "--workers", workers, **interval) as process:
        answers = [fetch_when_served(f"http://127.0.0.1:{port}/") for _ in range(4)]
        assert answers == [b"done"] * 4
        process.terminate()
        _, errors = process.communicate(timeout=TIMEOUT)
    assert "Calls     4," in errors
    assert read_rows(tmp_path / "promptcache.db", "service") == [("uvicorn",)] * 4


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("python app.py --x", "app"),
        ("/usr/bin/python3.12 -u src/agent.py", "agent"),
        ("python -m shop.server", "shop.server"),
        ("python", "python"),
        ("python -c print(1)", "python"),
        ("python3 -X dev app.py", "app"),
        ("uvicorn served:app", "uvicorn"),
        ("/opt/bin/celery -A tasks worker", "celery"),
    ],
)
def test_the_service_is_named_after_the_program(command: str, name: str) -> None:
    assert name_program(command.split()) == name
