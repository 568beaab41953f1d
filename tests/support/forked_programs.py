"""Run programs in forked copies of a process that has imported the SDKs already.

A program of a test takes a tenth of a second this way, where a fresh process needs seconds for its
imports. The copy ends as a fresh process does: exit functions, finalizers, exit code. promptcache
and its exporters are not imported before, so each program still loads them by itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from typing import Any, Final

_IMPORTED_FIRST: Final = (
    *("openai.resources.chat.completions", "anthropic", "google.genai", "httpcore2", "truststore"),
    *("boto3", "aiobotocore.session", "anyio.streams.tls", "encodings.idna", "sqlite3"),
    *("typer", "rich.console"),
    *("opentelemetry.sdk.trace.export", "opentelemetry.instrumentation.instrumentor"),
)
"""What the programs import besides promptcache."""

_SERVER: Final = """
import gc, importlib, json, os, sys, warnings

def wait_for_program():
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            return request
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    os._exit(0)

warnings.simplefilter("ignore")
for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(name)
    except ImportError:
        pass
gc.collect()
gc.freeze()  # the last collection of a copy then passes over what was imported here
del gc, importlib, warnings, name
request = wait_for_program()
for number, path in enumerate(request["files"]):
    file = os.open(path, os.O_RDWR)
    os.dup2(file, number)
    os.close(file)
os.environ.clear()
os.environ.update(request["environ"])
os.chdir(request["folder"])
sys.argv[1:] = request["arguments"]
program = request["program"]
del json, os, request, wait_for_program, number, path, file
exec(compile(program, "<string>", "exec"))
"""


@lru_cache(maxsize=1)
def _server() -> subprocess.Popen[str]:
    """Return the process that is copied. It ends with this one, when its input is closed."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _SERVER, json.dumps(_IMPORTED_FIRST)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run_forked(
    program: str,
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run `program` as `python -c` does, with all warnings off. Return its exit code and output.

    A program that runs longer than `timeout` seconds is killed: its exit code is -9.
    """
    with TemporaryDirectory() as outputs:
        files = [Path(outputs, name) for name in ("in", "out", "error")]
        for file in files:
            file.touch()
        request = {
            "program": program,
            "arguments": arguments,
            "environ": dict(os.environ if environ is None else environ),
            "folder": str(folder or Path.cwd()),
            "files": [str(file) for file in files],
        }
        exit_code = _run_in_copy(request, timeout)
        _, output, errors = (file.read_text() for file in files)
    return subprocess.CompletedProcess([sys.executable, *arguments], exit_code, output, errors)


def _run_in_copy(request: Mapping[str, Any], timeout: float) -> int:
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    child = int(server.stdout.readline())
    killer = Timer(timeout, os.kill, (child, 9))
    killer.start()
    try:
        return int(server.stdout.readline())
    finally:
        killer.cancel()
