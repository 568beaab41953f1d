"""`promptcache.record` records a process from within: a notebook, a server, a script."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import promptcache
from tests.support.forked_programs import run_forked
from tests.support.recorded_program import CALL, program_environ, read_rows

TIMEOUT: Final = 60
NEVER: Final = {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
"""An interval that never ends, so that only the end of a recording writes rows."""


def run(folder: Path, url: str, program: str, **variables: str) -> str:
    """Run a program and return its output. It must end well and print no error."""
    environ = program_environ(url, **{**NEVER, **variables})
    process = run_forked(f"import promptcache\n{program}", environ=environ, folder=folder)
    assert (process.returncode, process.stderr) == (0, "")
    return process.stdout


def count_rows(path: Path) -> int:
    return len(read_rows(path))


def test_a_plain_call_records_until_the_end_of_the_program(
    emulator_url: str, tmp_path: Path
) -> None:
    run(tmp_path, emulator_url, f"promptcache.record('calls.db')\n{CALL}\ncall()\ncall()")
    assert count_rows(tmp_path / "calls.db") == 2


def test_a_block_records_what_is_called_inside(emulator_url: str, tmp_path: Path) -> None:
    program = f"""{CALL}
from threading import Thread
call()
with promptcache.record('calls.db') as recording:
    call()
    thread = Thread(target=call)
    thread.start()
    thread.join()
print(recording)
call()
"""
    output = run(tmp_path, emulator_url, program)
    assert output == f"<ended recording {tmp_path / 'calls.db'}>\n"
    assert count_rows(tmp_path / "calls.db") == 2


def test_a_second_recording_of_a_table_adds_no_second_row(
    emulator_url: str, tmp_path: Path
) -> None:
    program = f"""{CALL}
promptcache.record('calls.db')
first = promptcache.record('calls.db')
call()
first.close()
first.close()
call()
"""
    run(tmp_path, emulator_url, program)
    assert count_rows(tmp_path / "calls.db") == 2


def test_two_tables_are_recorded_at_once(emulator_url: str, tmp_path: Path) -> None:
    program = f"""{CALL}
promptcache.record('all.db')
with promptcache.record('some.db'):
    call()
call()
"""
    run(tmp_path, emulator_url, program)
    assert (count_rows(tmp_path / "all.db"), count_rows(tmp_path / "some.db")) == (2, 1)


def test_a_recording_can_be_opened_again_after_its_end(emulator_url: str, tmp_path: Path) -> None:
    program = f"""{CALL}
for _ in range(2):
    with promptcache.record('calls.db'):
        call()
    call()
"""
    run(tmp_path, emulator_url, program)
    assert count_rows(tmp_path / "calls.db") == 2


PROVIDER: Final = """
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
provider = TracerProvider(resource=Resource({"service.name": "own"}))
"""


@pytest.mark.parametrize("order", ["provider first", "provider last"])
def test_an_existing_tracer_provider_is_used_and_never_replaced(
    order: str, emulator_url: str, tmp_path: Path
) -> None:
    steps = ["trace.set_tracer_provider(provider)", "promptcache.record('calls.db')"]
    if order == "provider last":
        steps.reverse()
    program = "\n".join(
        (
            PROVIDER,
            *steps,
            CALL,
            "call()",
            "print(trace.get_tracer_provider() is provider)",
        )
    )
    assert run(tmp_path, emulator_url, program) == "True\n"
    assert read_rows(tmp_path / "calls.db", "service") == [("own",)]


@pytest.mark.parametrize("options", ["", "tracer_provider=provider"])
def test_a_program_that_has_instrumented_by_hand_leaves_rows_too(
    options: str, emulator_url: str, tmp_path: Path
) -> None:
    program = f"""
{PROVIDER}
promptcache.PromptCacheInstrumentor().instrument({options})
{CALL}
promptcache.record('calls.db', service_name='named')
call()
"""
    run(tmp_path, emulator_url, program)
    expected = "own" if options else "named"
    assert read_rows(tmp_path / "calls.db", "service") == [(expected,)]


def test_a_recording_ends_where_its_block_ends_although_the_provider_goes_first(
    emulator_url: str, tmp_path: Path
) -> None:
    """Test suites shut their tracer providers down, and go on."""
    program = f"""
{PROVIDER}
trace.set_tracer_provider(provider)
{CALL}
with promptcache.record('calls.db'):
    call()
    provider.shutdown()
"""
    run(tmp_path, emulator_url, program)
    assert count_rows(tmp_path / "calls.db") == 1


def test_concurrent_tasks_open_and_close_recordings(emulator_url: str, tmp_path: Path) -> None:
    program = f"""{CALL}
import asyncio
async def work(number):
    async with promptcache.record(f'calls{{number}}.db'):
        await barrier.wait()
        await asyncio.to_thread(call)
        await barrier.wait()
async def main():
    global barrier
    barrier = asyncio.Barrier(3)
    await asyncio.gather(*map(work, range(3)))
asyncio.run(main())
call()
"""
    run(tmp_path, emulator_url, program)
    assert [count_rows(tmp_path / f"calls{number}.db") for number in range(3)] == [3, 3, 3]


def test_a_table_that_cannot_be_written_leaves_the_program_alone(
    emulator_url: str, tmp_path: Path
) -> None:
    (tmp_path / "calls.db").mkdir()
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import promptcache\npromptcache.record('calls.db')\n{CALL}\ncall()",
        ],
        cwd=tmp_path,
        env=program_environ(emulator_url),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert process.returncode == 0
    assert "LLM calls are missing from it" in process.stderr
    assert "Traceback" not in process.stderr


BREAK_EVERY_FUNCTION: Final = f"""{CALL}
import types
from promptcache_exporters.recording import late_provider, recorder, table_writer

def fail(*args, **kwargs):
    raise RuntimeError("a fault of ours")

broken = 0
for kind in (late_provider.LateTracerProvider, late_provider.LateTracer, recorder._Recorder,
             table_writer.TableWriter, table_writer.RecordingProcessor):
    for name, function in [*vars(kind).items()]:
        if not isinstance(function, types.FunctionType):
            continue
        if name == "__init__" and kind is recorder._Recorder:
            continue  # it runs at import
        setattr(kind, name, fail)
        with promptcache.record("calls.db") as recording:
            assert call().choices
            recording.flush()
        setattr(kind, name, function)
        recorder._recorder = recorder._Recorder()
        promptcache.PromptCacheInstrumentor().uninstrument()
        broken += 1
recorder.resolve_database_path = fail
promptcache.record("calls.db").close()
print(broken > 20)
"""


def test_no_fault_of_a_recording_reaches_the_application(emulator_url: str, tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", f"import promptcache\n{BREAK_EVERY_FUNCTION}"],
        cwd=tmp_path,
        env=program_environ(emulator_url),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert process.stdout == "True\n", process.stderr
    assert "promptcache failed with RuntimeError" in process.stderr


def test_without_the_sdk_the_extra_is_named(emulator_url: str, tmp_path: Path) -> None:
    program = """
import promptcache_exporters.recording.recorder as recorder
recorder.find_spec = lambda name: None
try:
    promptcache.record()
except ModuleNotFoundError as error:
    print(error)
"""
    output = run(tmp_path, emulator_url, program)
    assert output == 'promptcache.record needs an extra: pip install "promptcache[run]"\n'


def test_record_is_loaded_when_it_is_used() -> None:
    program = (
        "import sys, promptcache\n"
        "print(any(name.startswith('promptcache_exporters') for name in sys.modules))\n"
        "promptcache.record\n"
        "print(*[name for name in ('opentelemetry.sdk', 'sqlite3') if name in sys.modules])\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", program],
        env=program_environ("http://127.0.0.1:9"),
        capture_output=True,
        text=True,
    )
    assert process.stdout == "False\n\n", process.stderr


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="recrod"):
        _ = promptcache.recrod  # type: ignore[attr-defined]
