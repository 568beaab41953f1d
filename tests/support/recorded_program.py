"""Run programs that call the emulator through OpenAI's SDK, and read the rows that they leave."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from tests.support.wheel import ROOT

CALL: Final = """
import openai
def call(question="Where is it?"):
    client = openai.OpenAI()
    system = {"role": "system", "content": "Follow the handbook. " * 500}
    prompt = [system, {"role": "user", "content": question}]
    return client.chat.completions.create(model="gpt-5.4", messages=prompt)
"""
"""Defines `call`, which makes one call."""

RUN: Final = (sys.executable, "-m", "promptcache.cli", "run")
"""The command `promptcache run` of this checkout."""


def program_environ(url: str, **variables: str) -> dict[str, str]:
    """Return an environment in which Python finds this checkout, and OpenAI's SDK the emulator."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "COV_", "PYTEST_", "PROMPTCACHE_"))
    }
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("instrumentation", "exporters"))
    return {
        **inherited,
        "PYTHONPATH": paths,
        "PYTHONWARNINGS": "ignore",
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": "no-key-needed",
        **variables,
    }


def run_recorded(
    folder: Path, url: str, program: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the file `program` of `folder` under `promptcache run`."""
    return subprocess.run(
        [*RUN, "--no-report", "--", sys.executable, program],
        cwd=folder,
        env=program_environ(url, **variables),
        capture_output=True,
        text=True,
        timeout=60,
    )


def read_rows(path: Path, columns: str = "service, outcome, input_tokens") -> list[tuple[Any, ...]]:
    """Return these columns of all calls in the table at `path`, in the order of their writing."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT {columns} FROM llm_calls ORDER BY rowid").fetchall()
