"""Measure the bytes of a row of the local table, with the links of a recording.

    python -m benchmarks.table_size

Three kinds of traffic run under `promptcache run` against the emulator: the demo's agents, an agent
of 60 turns, and 300 one-shot calls. The bytes are those of the file without its schema and without
free pages, with all indexes and the hourly sums.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from promptcache_emulator.engine import Emulator
from promptcache_emulator.server import running_server

ROOT: Final = Path(__file__).parent.parent
_SETUP: Final = """
import openai
client = openai.OpenAI()
system = {"role": "system", "content": "Follow the handbook. " * 500}
def ask(messages):
    answer = client.chat.completions.create(model="gpt-5.4", messages=[system, *messages])
    return {"role": "assistant", "content": answer.choices[0].message.content}
"""
_AGENT: Final = """
messages = []
for turn in range(60):
    messages.append({"role": "user", "content": f"Question {turn}"})
    messages.append(ask(messages))
"""
_ONE_SHOT: Final = """
for number in range(300):
    ask([{"role": "user", "content": f"Question {number}"}])
"""
EXAMPLE: Final = str(ROOT / "examples" / "support_agent.py")
PROGRAMS: Final[Mapping[str, list[list[str]]]] = {
    "the demo": [[EXAMPLE], [EXAMPLE, "--clock"]],
    "an agent of 60 turns": [["-c", _SETUP + _AGENT]],
    "300 one-shot calls": [["-c", _SETUP + _ONE_SHOT]],
}


def record_program(database: Path, arguments: list[str], environ: Mapping[str, str]) -> None:
    """Run a Python program under `promptcache run`."""
    run = [sys.executable, "-m", "promptcache.cli", "run", "--no-report", "--service", "agent"]
    subprocess.run(
        [*run, "--db", str(database), "--", sys.executable, *arguments],
        env=environ,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def measure_bytes(database: Path) -> tuple[int, int, int]:
    """Return the number of rows, their bytes with all indexes, and the bytes of all links."""
    with closing(sqlite3.connect(database)) as connection:
        rows, links = connection.execute(
            "SELECT count(*), sum(length(prefix_links)) FROM llm_calls"
        ).fetchone()
        (used,) = connection.execute(
            "SELECT sum(pgsize - unused) FROM dbstat WHERE name <> 'sqlite_schema'"
        ).fetchone()
    return rows, used, links or 0


def main() -> None:
    """Print one line for each kind of traffic."""
    with running_server(Emulator()) as url, tempfile.TemporaryDirectory() as folder:
        environ = os.environ | {
            "OPENAI_BASE_URL": f"{url}/v1",
            "OPENAI_API_KEY": "no-key-needed",
            "XDG_STATE_HOME": folder,
            "PYTHONPATH": f"{ROOT / 'instrumentation'}:{ROOT / 'exporters'}",
        }
        all_rows = all_used = 0
        for name, programs in PROGRAMS.items():
            database = Path(folder) / f"{name}.db"
            for arguments in programs:
                record_program(database, arguments, environ)
            rows, used, links = measure_bytes(database)
            all_rows, all_used = all_rows + rows, all_used + used
            print(f"{name}: {rows} rows, {used / rows:.0f} bytes each, links {links / rows:.0f}")
        print(f"all: {all_rows} rows, {all_used / all_rows:.0f} bytes each")


if __name__ == "__main__":
    main()
