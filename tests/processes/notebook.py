"""Run a notebook that records itself, in a real kernel: `make processes`.

A cell is run twice, as people do. Prints the rows, and exits with 1 if one is missing or surplus.
"""

from __future__ import annotations

import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from promptcache_emulator.engine import Emulator
from promptcache_emulator.server import running_server
from tests.support.recorded_program import CALL, program_environ, read_rows

RECORD: Final = "import promptcache\npromptcache.record('calls.db')"
CELLS: Final = (RECORD, f"{CALL}\ncall(); call();", RECORD, "call();")
TIMEOUT_SECONDS: Final = 120


def run_notebook(folder: Path) -> list[Any]:
    """Run the cells in a kernel of its own, and return their outputs."""
    formats: Any = import_module("nbformat.v4")  # it has no types
    client: Any = import_module("nbclient").NotebookClient
    notebook = formats.new_notebook(cells=[formats.new_code_cell(cell) for cell in CELLS])
    where = {"metadata": {"path": str(folder)}}
    client(notebook, timeout=TIMEOUT_SECONDS, kernel_name="python3", resources=where).execute()
    return [output for cell in notebook.cells for output in cell.outputs]


def main() -> None:
    """Run the notebook against the emulator, and look at its table."""
    with running_server(Emulator()) as url, tempfile.TemporaryDirectory() as name:
        os.environ.update(program_environ(url, XDG_STATE_HOME=name))
        outputs = run_notebook(Path(name))
        rows = read_rows(Path(name) / "calls.db", "service, outcome, prefix_links IS NULL")
    print(f"notebook: {rows}")
    shown = [output for output in outputs if "recording" not in str(output)]
    expected = [("notebook", outcome, 0) for outcome in ("cold", "hit", "hit")]
    sys.exit(rows != expected or bool(shown))


if __name__ == "__main__":
    main()
