"""A PostgreSQL of the machine, on a socket in a folder of its own; the network cannot reach it."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

NULL: Final = "\\N"


@dataclass(frozen=True)
class PostgresServer:
    """A running server. Statements go through psql."""

    folder: Path

    def run(self, sql: str) -> list[list[str | None]]:
        """Run statements, and return the rows of the last one as text. NULL is None."""
        options = ["-X", "-q", "--csv", "-t", "-v", "ON_ERROR_STOP=1", "-P", f"null={NULL}"]
        command = ["psql", *options, "-h", str(self.folder), "-U", "postgres", "-d", "postgres"]
        done = subprocess.run(
            command, input=sql, capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        rows = csv.reader(io.StringIO(done.stdout))
        return [[None if value == NULL else value for value in row] for row in rows]


def find_program(name: str) -> str:
    """Return the path of a program. Debian keeps those of the server out of PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)])
    if found := shutil.which(name, path=path):
        return found
    raise FileNotFoundError(f"{name} is missing: apt-get install postgresql")


def as_server_user(command: Sequence[str]) -> list[str]:
    """Return the command for the user of the server, which must not be root."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else [*command]


@contextmanager
def running_postgres() -> Generator[PostgresServer]:
    """Start a server in a temporary folder, and stop it at the end."""
    with TemporaryDirectory(prefix="promptcache-postgres-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        data = str(folder / "data")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        initialise = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D", data]
        run_quietly(folder, [find_program("initdb"), *initialise])
        control = [find_program("pg_ctl"), "-D", data, "-w", "-l", str(folder / "log")]
        run_quietly(folder, [*control, "-o", options, "start"])
        try:
            yield PostgresServer(folder)
        finally:
            run_quietly(folder, [*control, "-m", "immediate", "stop"])


def run_quietly(folder: Path, command: Sequence[str]) -> None:
    subprocess.run(
        as_server_user(command), stdout=subprocess.DEVNULL, check=True, cwd=folder, timeout=120
    )
