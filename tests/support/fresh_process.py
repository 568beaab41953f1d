"""Run a program in a fresh process in which promptcache instruments, as the launcher starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

START: Final = """
import sys
from importlib.metadata import entry_points
(entry_point,) = [
    entry
    for entry in entry_points(group="opentelemetry_instrumentor")
    if entry.name == "promptcache"
]
instrumentor = entry_point.load()()
instrumentor.instrument()
"""
"""Loads the instrumentor by its entry point and switches it on."""


def run_after_instrumenting(program: str) -> str:
    """Return the standard output of `program`, which runs after `START` in a fresh process."""
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "COV_"))
    }
    process = subprocess.run(
        [sys.executable, "-c", START + program], capture_output=True, text=True, env=environ
    )
    assert (process.returncode, process.stderr) == (0, "")
    return process.stdout.strip()
